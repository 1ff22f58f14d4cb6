"""What an exchange becomes after 101 Switching Protocols (RFC 9110 section 7.8): bytes passed on as they are.

Each direction ends for itself. One time of silence counts for both; it is kept as the deadline of the upstream.
"""

from typing import TYPE_CHECKING

from ingressd.proxy.context import Context
from ingressd.proxy.upstream import Upstream
from ingressd.telemetry.record import Attempt, Record

if TYPE_CHECKING:
    from ingressd.proxy.downstream import Downstream


class Tunnel:
    """Between a client and an endpoint. The exchange counts it, and ends it."""

    __slots__ = ("_attempt", "_context", "_downstream", "_half_closed", "_record", "_upstream", "idle_time")

    def __init__(
        self, context: Context, downstream: "Downstream", upstream: Upstream, record: Record, attempt: Attempt
    ) -> None:
        self._context = context
        self._downstream = downstream
        self._upstream = upstream
        self._record = record
        self._attempt = attempt
        self._half_closed = False
        self.idle_time: float = context.settings.timeouts.tunnel_idle
        """Seconds of silence in both directions after which it ends."""
        self._touch()

    def up(self, data: bytes) -> None:
        """Bytes from the client."""
        self._touch()
        self._record.request_length += len(data)
        self._upstream.write(data)

    def down(self, data: bytes) -> None:
        """Bytes from the endpoint."""
        self._touch()
        size = len(data)
        self._record.bytes_sent += size
        self._record.body_bytes_sent += size
        self._attempt.response_length += size
        self._downstream.write(data)

    def client_ended(self) -> bool:
        """The client has nothing more to say; it may still listen. True if the other direction had ended before."""
        if not self._half_closed:
            self._half_closed = True
            self._upstream.half_close()
            return False
        return True

    def upstream_ended(self) -> bool:
        """The same for the endpoint."""
        if not self._half_closed:
            self._half_closed = True
            self._downstream.half_close()
            return False
        return True

    def _touch(self) -> None:
        self._upstream.deadline = self._context.now + self.idle_time
