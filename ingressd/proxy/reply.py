"""The response of an upstream on its way to the client: its head rewritten, its body framed for whom it goes to.

Nothing here decides: the exchange has found that the response is worth passing on.
"""

from typing import TYPE_CHECKING

from ingressd import octets
from ingressd.http1.body import LENGTH, NONE
from ingressd.http1.chunked import encode_chunk, encode_last_chunk
from ingressd.http1.head import RequestHead, ResponseHead
from ingressd.proxy.https import drop_hsts
from ingressd.telemetry.record import Record

if TYPE_CHECKING:
    from ingressd.proxy.downstream import Downstream


class Reply:
    """To one request. Begins with `begin`."""

    __slots__ = ("_chunked", "_downstream", "_head", "_record", "until_close")

    def begin(
        self,
        downstream: "Downstream",
        record: Record,
        request: RequestHead,
        head: ResponseHead,
        framing: int,
        persist: bool,
        hsts: bytes,
    ) -> None:
        """What comes first: `head`, whose body has `framing` (http1.body). `persist`: the connection may serve another
        request after it, if the client can tell where it ends. `hsts` is a field line for it."""
        self._downstream = downstream
        self._record = record
        self._chunked = False
        self.until_close = False
        """For the client the response goes on to the end of the connection."""
        if framing == NONE:
            added = _without_body(request, head)
        elif framing == LENGTH:
            added = octets.join([b"Content-Length: ", octets.decimal(head.content_length), b"\r\n"])
        elif request.minor > 0:
            self._chunked = True
            added = b"Transfer-Encoding: chunked\r\n"
        else:
            self.until_close = True
            added = b""
        if self.until_close or not persist:
            added += b"Connection: close\r\n"
        elif request.minor == 0:
            added += b"Connection: keep-alive\r\n"
        if hsts:
            drop_hsts(head)
            added += hsts
        self._head = head.forward(added)
        """For the client. Kept until the first of the body is there: one write for both."""

    @property
    def unsent(self) -> bool:
        """Nothing of it has gone to the client yet."""
        return len(self._head) > 0

    def pass_on(self, payload: list[bytes], last: bytes = b"") -> int:
        """More of the body, and what may stand behind it. Returns the bytes of body."""
        size = 0
        for piece in payload:
            size += len(piece)
        if self._chunked:
            data = encode_chunk(payload) + last
        elif len(payload) == 1:
            data = payload[0]
        else:
            data = octets.join(payload)
        record = self._record
        record.body_bytes_sent += len(data)
        record.bytes_sent += len(data)
        if self._head:
            record.bytes_sent += len(self._head)
            data = octets.join([self._head, data])
            self._head = b""
        if data:
            self._downstream.write(data)
        return size

    def end(self, payload: list[bytes], trailers: bytes) -> int:
        """The last of the body, as `pass_on`. `trailers` are whole field lines."""
        return self.pass_on(payload, encode_last_chunk(trailers) if self._chunked else b"")


def _without_body(request: RequestHead, head: ResponseHead) -> bytes:
    """What a response that ends with its head says of a body (RFC 9110 section 8.6)."""
    if head.status == 204:
        return b""
    if head.content_length >= 0:
        return octets.join([b"Content-Length: ", octets.decimal(head.content_length), b"\r\n"])
    if head.chunked and request.minor > 0:
        return b"Transfer-Encoding: chunked\r\n"
    if request.method == b"HEAD" or head.status == 304:
        return b""
    return b"Content-Length: 0\r\n"
