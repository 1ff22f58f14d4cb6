"""What is remembered of one exchange for the access log and the metrics."""

from ingressd.http1.head import RequestHead
from ingressd.routing.table import Decision

NO_REASON = ""


class Attempt:
    """One try to have an upstream answer. Times in seconds, -1 where it never came so far."""

    __slots__ = ("address", "connect_time", "header_time", "response_length", "response_time", "status")

    def __init__(self, address: bytes) -> None:
        self.begin(address)

    def begin(self, address: bytes) -> None:
        """What __init__ does, for `new_attempt`."""
        self.address = address
        self.connect_time = -1.0
        """Until the connection stood; 0 for one from the pool."""
        self.header_time = -1.0
        """Until the response head was there, from the start of the attempt."""
        self.response_time = -1.0
        """Until the last byte of the response, or the failure."""
        self.response_length = 0
        """Bytes of body."""
        self.status = 0
        """Of the response, or 502 or 504 for a failure, as in nginx; 0 for neither: the client had left."""


class Record:
    """One exchange. `started` in seconds of the loop's clock; lengths in bytes."""

    __slots__ = (
        "attempts",
        "body_bytes_sent",
        "bytes_sent",
        "decision",
        "head",
        "reason",
        "remote_address",
        "request_id",
        "request_length",
        "started",
        "status",
    )

    def __init__(self, remote_address: bytes, started: float) -> None:
        self.begin(remote_address, started)

    def begin(self, remote_address: bytes, started: float) -> None:
        """What __init__ does, for `new_record`."""
        self.remote_address = remote_address
        self.started = started
        self.head: RequestHead | None = None
        """None where not even a request line could be read."""
        self.decision: Decision | None = None
        self.request_id = b""
        self.request_length = 0
        self.status = 0
        self.reason = NO_REASON
        """Why the response is our own, or was cut; empty for one an upstream gave."""
        self.bytes_sent = 0
        self.body_bytes_sent = 0
        self.attempts: list[Attempt] = []


def new_attempt(address: bytes) -> Attempt:
    """`Attempt(address)`, without the ado of a call."""
    attempt = Attempt.__new__(Attempt)
    attempt.begin(address)
    return attempt


def new_record(remote_address: bytes, started: float) -> Record:
    """`Record(remote_address, started)`, without the ado of a call."""
    record = Record.__new__(Record)
    record.begin(remote_address, started)
    return record
