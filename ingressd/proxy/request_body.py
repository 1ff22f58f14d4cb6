"""A request body on its way upstream: framed anew, and kept while it may have to be sent again."""

from ingressd.http1.body import CHUNKED, LENGTH, NONE, Body
from ingressd.http1.chunked import encode_chunk, encode_last_chunk
from ingressd.http1.head import RequestHead

REPLAY = 64 * 1024
"""Bytes of a body that are kept for another attempt; with more of it sent there is none."""


class RequestBody:
    """`done` once all of it was fed. `lost`: its beginning is not here any more, so it cannot be sent again."""

    __slots__ = ("_body", "_kept", "_size", "done", "lost")

    def __init__(self, framing: int, length: int = 0) -> None:
        self._body = Body(framing, length)
        self._kept: list[bytes] = []
        self._size = 0
        self.done = self._body.done
        self.lost = False

    def feed(self, data: bytes, start: int) -> tuple[int, bytes]:
        """Takes what belongs to the body from `data`. Returns the offset behind it, and the same as it goes upstream.
        Raises FramingError."""
        payload: list[bytes] = []
        body = self._body
        end = body.feed(data, start, payload)
        if body.framing == CHUNKED:
            encoded = encode_chunk(payload)
            if body.done:
                encoded += encode_last_chunk(body.trailers)
        else:
            encoded = payload[0] if payload else b""
        self.done = body.done
        if encoded and not self.lost:
            self._kept.append(encoded)
            self._size += len(encoded)
        return end, encoded

    def begin(self) -> bytes:
        """All of it so far, for a new attempt."""
        return b"".join(self._kept) if self._kept else b""

    def sent(self) -> None:
        """What was fed is on its way: from now on only so much of it is kept."""
        if self._size > REPLAY:
            self.lost = True
            self._kept = []
            self._size = 0


NO_BODY = RequestBody(NONE)
"""Shared by all requests without one."""


def body_of(head: RequestHead) -> RequestBody:
    """The body that the head of a request announces (RFC 9112 section 6.3)."""
    if head.chunked:
        return RequestBody(CHUNKED)
    if head.content_length > 0:
        return RequestBody(LENGTH, head.content_length)
    return NO_BODY
