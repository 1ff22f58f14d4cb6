"""What controller and worker say to each other over their socketpair, and how it is framed.

Controller -> worker: WorkerSettings once, TicketKeys (first before the first Update, and whenever they are renewed),
Updates, and Drain towards the end. Worker -> controller: Serving after each Update, a Report each second, Findings
whenever they are others. A frame is a length (4 bytes, big endian) and a msgpack message. No IO here: bytes in,
messages out.
"""

from array import array
from collections.abc import Iterator
from typing import Generic, TypeVar

import msgspec

from ingressd.model import ClusterKey, Endpoint, Update, WorkerSettings
from ingressd.model.tls import Hidden, hide, reveal

T = TypeVar("T")

HISTOGRAMS = (
    "request_duration_seconds",
    "response_duration_seconds",
    "header_duration_seconds",
    "connect_duration_seconds",
    "request_size",
    "response_size",
    "bytes_sent",
)
"""The request histograms of ingress-nginx, in the order of RequestSeries.sums."""

TIME_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
LENGTH_BUCKETS = (10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 100.0)
SIZE_BUCKETS = (10.0, 100.0, 1e3, 1e4, 1e5, 1e6, 1e7)
BUCKETS = (TIME_BUCKETS, TIME_BUCKETS, TIME_BUCKETS, TIME_BUCKETS, LENGTH_BUCKETS, LENGTH_BUCKETS, SIZE_BUCKETS)
"""Upper bounds of each of HISTOGRAMS, without +Inf."""


class RequestSeries(msgspec.Struct, frozen=True, array_like=True):
    """Requests that share all labels, counted since the report before."""

    host: str
    """Of the rule, so wildcards stay one series; empty for rules without host."""
    path: str
    namespace: str
    ingress: str
    service: str
    method: str
    status: int
    requests: int
    values: bytes
    """A table of native doubles with a column for each of HISTOGRAMS: the sums in its first row, then the observations
    per bucket, not cumulative, the last being +Inf. Columns of fewer buckets end in zeros. As it is counted, because a
    worker has thousands to report, and to make numbers of it took as long as some requests."""

    @property
    def sums(self) -> tuple[float, ...]:
        """One of each of HISTOGRAMS."""
        return tuple(array("d", self.values)[: len(HISTOGRAMS)])

    @property
    def buckets(self) -> tuple[tuple[int, ...], ...]:
        """The observations per bucket of each of HISTOGRAMS."""
        values, width = array("d", self.values), len(HISTOGRAMS)
        return tuple(
            tuple(map(int, values[width + which :: width][: len(bounds) + 1])) for which, bounds in enumerate(BUCKETS)
        )


class Sample(msgspec.Struct, frozen=True, array_like=True):
    """A figure of our own: the metric's name without prefix, the value of its one label (or empty), the figure."""

    name: str
    label: str
    value: float


class Serving(msgspec.Struct, frozen=True, tag=True):
    """The worker serves this generation (and accepts connections)."""

    generation: int


class Report(msgspec.Struct, frozen=True, tag=True):
    """What happened in a worker since its report before."""

    requests: tuple[RequestSeries, ...] = ()
    counters: tuple[Sample, ...] = ()
    """Increments."""
    gauges: tuple[Sample, ...] = ()
    """Values as they are now; none where only the rest is reported."""


class Ejected(msgspec.Struct, frozen=True, array_like=True):
    """An endpoint that the worker has ejected."""

    endpoint: Endpoint
    failures: int
    """In a row."""
    ejections: int
    """How many, this one included."""
    until: float
    """Seconds since 1970; 0 where its time is over and a request decides whether it is back."""


class Findings(msgspec.Struct, frozen=True, tag=True):
    """What the worker has found about endpoints: all of it, as it is now."""

    ejected: tuple[Ejected, ...] = ()
    panicking: tuple[ClusterKey, ...] = ()
    """Clusters without an available endpoint, whose requests therefore go to all; sorted."""


TICKET_KEY_BYTES = 80
"""A name (16), an HMAC key (32) and an AES key (32), as OpenSSL takes them."""


class TicketKeys(msgspec.Struct, frozen=True, tag=True):
    """What TLS session tickets are encrypted with (RFC 5077 section 4, RFC 8446 section 4.6.1), the same in all
    workers. Each has TICKET_KEY_BYTES. New tickets get the first; those made with the others are still taken."""

    keys: tuple[Hidden, ...]


class Drain(msgspec.Struct, frozen=True, tag=True):
    """The controller is about to end. From now on each response is the last of its connection, and says so."""

    listening: bool
    """Whether new connections are still accepted. If not, the worker exits once the last connection has ended, or
    after Timeouts.drain."""
    handed_over: bool = False
    """Whether another process has the listening sockets."""


ToWorker = WorkerSettings | TicketKeys | Update | Drain
FromWorker = Serving | Report | Findings

_LENGTH = 4
_encoder = msgspec.msgpack.Encoder(enc_hook=reveal)


def frame(message: ToWorker | FromWorker) -> bytes:
    """The bytes that carry `message`."""
    body = _encoder.encode(message)
    return len(body).to_bytes(_LENGTH, "big") + body


class Frames(Generic[T]):
    """Cuts a byte stream into the messages of one direction."""

    def __init__(self, decoder: "msgspec.msgpack.Decoder[T]") -> None:
        self._decoder = decoder
        self._data = bytearray()

    def feed(self, data: bytes) -> Iterator[T]:
        """The messages that `data` completes. Raises msgspec.DecodeError for what no peer of ours sends."""
        self._data += data
        while len(self._data) >= _LENGTH:
            end = _LENGTH + int.from_bytes(self._data[:_LENGTH], "big")
            if len(self._data) < end:
                return
            body = bytes(self._data[_LENGTH:end])
            del self._data[:end]
            yield self._decoder.decode(body)


def frames_to_worker() -> Frames[ToWorker]:
    """What a worker reads with."""
    return Frames(msgspec.msgpack.Decoder(ToWorker, dec_hook=hide))


def frames_from_worker() -> Frames[FromWorker]:
    """What the controller reads with, one for each worker."""
    return Frames(msgspec.msgpack.Decoder(FromWorker))
