"""Message bodies: none, of a known length, in chunks, or up to the end of the connection (RFC 9112 section 6)."""

from ingressd.http1.chunked import ChunkedDecoder

NONE = 0
LENGTH = 1
CHUNKED = 2
UNTIL_CLOSE = 3


class Body:
    """One body being read. `done` when its end was passed; `framing` is one of the four above."""

    __slots__ = ("_decoder", "_remaining", "done", "framing")

    def __init__(self, framing: int, length: int = 0) -> None:
        self.begin(framing, length)

    def begin(self, framing: int, length: int) -> None:
        """What __init__ does, for `new_body`."""
        if framing == LENGTH and length == 0:
            framing = NONE
        self.framing = framing
        self.done = framing == NONE
        self._remaining = length
        self._decoder: ChunkedDecoder | None = ChunkedDecoder() if framing == CHUNKED else None

    @property
    def trailers(self) -> bytes:
        """Field lines that came behind a chunked body."""
        return self._decoder.trailers if self._decoder is not None else b""

    def feed(self, data: bytes, start: int, payload: list[bytes]) -> int:
        """Appends what `data` from `start` carries to `payload`. Returns the offset behind what belongs to the body:
        less than len(data) only when `done`. Raises FramingError."""
        length = len(data)
        if self.done or start >= length:
            return start
        if self._decoder is not None:
            start = self._decoder.feed(data, start, payload)
            self.done = self._decoder.done
            return start
        end = length
        if self.framing == LENGTH:
            if length - start >= self._remaining:
                end = start + self._remaining
                self.done = True
            self._remaining -= end - start
        p = data
        payload.append(data if end - start == length else p[start:end])
        return end


def new_body(framing: int, length: int) -> Body:
    """`Body(framing, length)`, without the ado of a call."""
    body = Body.__new__(Body)
    body.begin(framing, length)
    return body
