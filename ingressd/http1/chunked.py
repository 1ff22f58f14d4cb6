"""The chunked transfer coding (RFC 9112 section 7.1): decoded strictly, encoded anew.

What arrives is taken apart and framed again rather than copied: chunk extensions end here, and an upstream never sees
framing that a client wrote. Several small chunks that arrive together leave as one.
"""

from ingressd.http1.errors import FramingError
from ingressd.http1.grammar import MAX_CHUNK_LINE, MAX_HEAD, VALUE
from ingressd.http1.head import Trailers

_SIZE = 0
_EXTENSION = 1
_SIZE_LF = 2
_DATA = 3
_DATA_CR = 4
_DATA_LF = 5
_TRAILERS = 6
_DONE = 7

MAX_SIZE_DIGITS = 15
"""Hexadecimal digits of a chunk size: below 2**60. llhttp: 2**64."""

LAST_CHUNK = b"0\r\n\r\n"


class ChunkedDecoder:
    """Takes a chunked body apart. `done` once its end was passed; `trailers` are then field lines fit to forward."""

    __slots__ = ("_digits", "_extension", "_remaining", "_state", "_trailers", "done", "trailers")

    def __init__(self) -> None:
        self.done = False
        self.trailers = b""
        self._state = _SIZE
        self._remaining = 0
        self._digits = 0
        self._extension = 0
        self._trailers = b""

    def feed(self, data: bytes, start: int, payload: list[bytes]) -> int:
        """Decodes `data` from `start`, appending what it carries to `payload`. Returns the offset behind what belongs to
        the body: less than len(data) only when `done`. Raises FramingError."""
        p = data
        valid = VALUE
        length = len(data)
        i = start
        while i < length:
            state = self._state
            if state == _DATA:
                take = self._remaining
                if take > length - i:
                    take = length - i
                payload.append(data[i : i + take] if take < length else data)
                self._remaining -= take
                i += take
                if self._remaining == 0:
                    self._state = _DATA_CR
                continue
            if state == _TRAILERS:
                return self._feed_trailers(data, i)
            byte = p[i]
            i += 1
            if state == _SIZE:
                if 48 <= byte <= 57:
                    digit = byte - 48
                elif 97 <= byte | 32 <= 102:
                    digit = (byte | 32) - 87
                elif self._digits and byte == 13:
                    self._state = _SIZE_LF
                    continue
                elif self._digits and byte == 59:
                    self._state = _EXTENSION
                    continue
                else:
                    raise FramingError("malformed chunk size")
                self._digits += 1
                if self._digits > MAX_SIZE_DIGITS:
                    raise FramingError("chunk size too large")
                self._remaining = self._remaining * 16 + digit
            elif state == _EXTENSION:
                if byte == 13:
                    self._state = _SIZE_LF
                elif not valid[byte]:
                    raise FramingError("control character in a chunk extension")
                self._extension += 1
                if self._extension > MAX_CHUNK_LINE:
                    raise FramingError("chunk extension too long")
            elif state == _SIZE_LF:
                if byte != 10:
                    raise FramingError("carriage return without line feed")
                self._state = _DATA if self._remaining else _TRAILERS
                self._digits = self._extension = 0
            elif state == _DATA_CR:
                if byte != 13:
                    raise FramingError("chunk longer than its size")
                self._state = _DATA_LF
            elif state == _DATA_LF:
                if byte != 10:
                    raise FramingError("carriage return without line feed")
                self._state = _SIZE
            else:
                return i - 1
        return i

    def _feed_trailers(self, data: bytes, start: int) -> int:
        """The trailer section is short and rare: it is kept and scanned from its start when more of it arrives."""
        before = len(self._trailers)
        self._trailers += data[start : start + MAX_HEAD + 1 - before]
        trailers = Trailers()
        end = trailers.feed(self._trailers, 0)
        if end < 0:
            return len(data)
        self.trailers = b"".join(trailers.kept)
        self._trailers = b""
        self._state = _DONE
        self.done = True
        return start + end - before


def encode_chunk(payload: list[bytes]) -> bytes:
    """One chunk of everything in `payload`; nothing for nothing, because an empty chunk is the last."""
    size = 0
    for piece in payload:
        size += len(piece)
    if size == 0:
        return b""
    return b"%x\r\n%b\r\n" % (size, b"".join(payload))


def encode_last_chunk(trailers: bytes) -> bytes:
    """The end of a chunked body, with `trailers` as field lines."""
    return b"0\r\n%b\r\n" % trailers if trailers else LAST_CHUNK
