"""The chunked transfer coding (RFC 9112 section 7.1): decoded strictly, encoded anew.

What arrives is taken apart and framed again rather than copied: chunk extensions end here, and an upstream never sees
framing that a client wrote. Several small chunks that arrive together leave as one.
"""

import re

from ingressd.http1.errors import FramingError
from ingressd.http1.fields import Trailers
from ingressd.http1.grammar import MAX_CHUNK_EXTENSIONS, MAX_HEAD

_SIZE = 0
_EXTENSIONS = 1
_SIZE_LF = 2
_DATA = 3
_DATA_CR = 4
_DATA_LF = 5
_TRAILERS = 6
_DONE = 7

MAX_SIZE_DIGITS = 15
"""Hexadecimal digits of a chunk size: below 2**60. llhttp: 2**64."""

LAST_CHUNK = b"0\r\n\r\n"

_EXTENSION = re.compile(
    # *( ";" name [ "=" ( token / quoted-string ) ] ), section 7.1.1 without the whitespace it calls bad.
    rb"(?:;[!#$%&'*+.^_`|~0-9A-Za-z-]+"
    rb"(?:=(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+"
    rb'|"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*"))?)*'
)


class ChunkedDecoder:
    """Takes a chunked body apart. `done` once its end was passed; `trailers` are then field lines fit to forward."""

    __slots__ = ("_digits", "_extensions", "_remaining", "_section", "_state", "_trailers", "done", "trailers")

    def __init__(self) -> None:
        self.done = False
        self.trailers = b""
        self._state = _SIZE
        self._remaining = 0
        self._digits = 0
        self._extensions = b""
        self._trailers: Trailers | None = None
        self._section = b""

    def feed(self, data: bytes, start: int, payload: list[bytes]) -> int:
        """Decodes `data` from `start`, appending what it carries to `payload`. Returns the offset behind what belongs
        to the body: less than len(data) only when `done`. Raises FramingError."""
        p = data
        length = len(data)
        i = start
        while i < length:
            state = self._state
            if state == _DATA:
                take = self._remaining
                if take > length - i:
                    take = length - i
                payload.append(p[i : i + take] if take < length else data)
                self._remaining -= take
                i += take
                if self._remaining == 0:
                    self._state = _DATA_CR
                continue
            if state == _TRAILERS:
                return self._feed_trailers(data, i)
            if state == _EXTENSIONS:
                i = self._feed_extensions(data, i)
                continue
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
                    self._extensions = b";"
                    self._state = _EXTENSIONS
                    continue
                else:
                    raise FramingError("malformed chunk size")
                self._digits += 1
                if self._digits > MAX_SIZE_DIGITS:
                    raise FramingError("chunk size too large")
                self._remaining = self._remaining * 16 + digit
            elif state == _SIZE_LF:
                if byte != 10:
                    raise FramingError("carriage return without line feed")
                self._state = _DATA if self._remaining else _TRAILERS
                self._digits = 0
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

    def _feed_extensions(self, data: bytes, start: int) -> int:
        """Gathers extensions up to the carriage return behind them, where they are checked and forgotten."""
        end = data.find(b"\r", start)
        self._extensions += data[start : end if end >= 0 else len(data)]
        if len(self._extensions) > MAX_CHUNK_EXTENSIONS:
            raise FramingError("chunk extensions too long")
        if end < 0:
            return len(data)
        if not _EXTENSION.fullmatch(self._extensions):
            raise FramingError("malformed chunk extension")
        self._extensions = b""
        self._state = _SIZE_LF
        return end + 1

    def _feed_trailers(self, data: bytes, start: int) -> int:
        """The trailer section is short and rare, so it is kept until it is whole."""
        before = len(self._section)
        if before == 0 and data.startswith(b"\r\n", start):
            end = 2
        else:
            if self._trailers is None:
                self._trailers = Trailers()
            self._section += data[start : start + MAX_HEAD + 1 - before]
            end = self._trailers.feed(self._section, 0)
            if end < 0:
                return len(data)
            self.trailers = b"".join(self._trailers.kept)
            self._trailers = None
            self._section = b""
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
    return b"".join([b"%x\r\n" % size, *payload, b"\r\n"])


def encode_last_chunk(trailers: bytes) -> bytes:
    """The end of a chunked body, with `trailers` as field lines."""
    return b"0\r\n%b\r\n" % trailers if trailers else LAST_CHUNK
