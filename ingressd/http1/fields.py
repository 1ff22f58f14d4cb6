"""Field lines, which all heads share: scanned in one pass, forwarded without what concerns one connection only.

Theory of operation. A head is fed the bytes received so far and answers where it ends, or -1 while its end is not
there yet. Lines are checked as they are passed; what is kept for the other side is remembered as runs of whole lines
(`kept`), cut where a field is dropped, so a field that nobody asks for never becomes an object. Fields that decide
framing, routing or the log are the exception: `Known` in `grammar`.

Rules of this file and of `head`:
- Refuse, never repair (RFC 9112 sections 2.2, 3, 5, 6; RFC 9110 section 5): a line ends in CRLF, a name is a token
  with the colon right behind it, no line is folded, a length is plain digits, once, and never beside Transfer-Encoding.
- Message framing sent onwards is written here (`forward`), never copied.
- Feeding a head whole or byte by byte gives the same result: a line is judged once its line feed is there (`_refuse`),
  and until then nothing of it is scanned again (`_more`). Only what a message begins with can be refused at once.

Compiled with `fields.pxd`, where `p`, `token` and the like are C pointers into the same bytes.
"""

from ingressd.http1.errors import FramingError
from ingressd.http1.grammar import (
    CANDIDATES,
    CODES,
    MAX_CONTENT_LENGTH_DIGITS,
    MAX_FIELD,
    MAX_FIELDS,
    MAX_HEAD,
    NAME_ROOM,
    NAMES,
    NOT_IN_TRAILERS,
    SEVERAL,
    TOKEN,
    VALUE,
    Known,
    known,
)

_HOST = int(Known.HOST)
_CONNECTION = int(Known.CONNECTION)
_CONTENT_LENGTH = int(Known.CONTENT_LENGTH)
_TRANSFER_ENCODING = int(Known.TRANSFER_ENCODING)
_TE = int(Known.TE)
_HOP = int(Known.HOP)
_REQUEST_ID = int(Known.REQUEST_ID)
_FORWARDED_OTHER = int(Known.FORWARDED_OTHER)


class Head:
    """What all heads share. Made by one of its subclasses."""

    __slots__ = (
        "_fields",
        "_named",
        "_position",
        "_run",
        "_seen",
        "_unwanted",
        "chunked",
        "close",
        "connection_upgrade",
        "content_length",
        "end",
        "keep_alive",
        "kept",
        "minor",
        "raw",
        "start",
    )

    def _begin(self) -> None:
        """The part of __init__ that all heads share."""
        self.raw = b""
        """The bytes it was scanned from, `start` to `end`; other bytes may lie around it."""
        self.start = 0
        self.end = -1
        self.minor = 1
        """x of HTTP/1.x."""
        self.kept: list[bytes] = []
        """Runs of whole field lines to forward."""
        self.content_length = -1
        """-1: not given."""
        self.chunked = False
        self.close = False
        """Connection: close."""
        self.keep_alive = False
        """Connection: keep-alive."""
        self.connection_upgrade = False
        """Connection: upgrade."""
        self._position = -1
        """Where the line begins that is to be scanned next; -1: the start line is not passed yet."""
        self._seen = 0
        """There is no line feed between the line to be scanned next and here."""
        self._run = -1
        """Where the run begins that is not in `kept` yet."""
        self._fields = 0
        self._unwanted = 0
        """The mark in TOKEN of characters that a field is dropped for."""
        self._named: set[bytes] | None = None
        """Fields to remove, in lower case."""

    def persists(self) -> bool:
        """Whether the sender lets the connection go on after this message (RFC 9112 section 9.3)."""
        return not self.close and (self.minor > 0 or self.keep_alive)

    def get(self, name: bytes) -> bytes | None:
        """The value of the first forwarded field of this name (lower case)."""
        for run in self.kept:
            for line in run.split(b"\r\n"):
                key, _, value = line.partition(b":")
                if key.lower() == name:
                    return value.strip(b" \t")
        return None

    def _scan_fields(self, buffer: bytes) -> int:
        """Scans field lines. Returns the offset behind the empty line that ends them, or -1 when there is more to come.
        Raises FramingError."""
        p = buffer
        token = TOKEN
        valid = VALUE
        length = len(buffer)
        line = self._position
        while line < length:
            i = line
            if p[i] == 13:
                if i + 1 == length:
                    break
                if p[i + 1] != 10:
                    return self._refuse(buffer, line, i, "carriage return without line feed")
                if i + 2 - self.start > MAX_HEAD:
                    self._check_size(line, i + 2)
                if self._run < line:
                    self.kept.append(p[self._run : line])
                if self._named is not None:
                    self._drop_named()
                self.end = i + 2
                return i + 2
            marks = 0
            while i < length and token[p[i]]:
                marks |= token[p[i]]
                i += 1
            if i == length:
                break
            size = i - line
            if p[i] != 58 or size == 0:
                return self._refuse(buffer, line, i, "malformed or folded field line")
            i += 1
            while i < length and (p[i] == 32 or p[i] == 9):
                i += 1
            value = i
            while i < length and valid[p[i]]:
                i += 1
            if i == length:
                break
            if p[i] != 13:
                return self._refuse(buffer, line, i, "control character in a field value")
            if i + 1 == length:
                break
            if p[i + 1] != 10:
                return self._refuse(buffer, line, i, "carriage return without line feed")
            value_end = i
            while value_end > value and (p[value_end - 1] == 32 or p[value_end - 1] == 9):
                value_end -= 1
            i += 2
            if i - line > MAX_FIELD or i - self.start > MAX_HEAD:
                self._check_size(line, i)
            self._fields += 1
            if self._fields > MAX_FIELDS:
                raise FramingError("too many fields", 431, "head_too_large")
            keep = (marks & self._unwanted) == 0
            if keep:
                code = known_at(buffer, line, size)
                if code:
                    keep = self._on_field(code, p[value:value_end])
            if not keep:
                if self._run < line:
                    self.kept.append(p[self._run : line])
                self._run = i
            line = i
        self._position = line
        return self._more(buffer, line)

    def _more(self, buffer: bytes, line: int) -> int:
        """There is no line feed from `line` on: says that more is needed, unless there is too much already."""
        self._seen = len(buffer)
        self._check_size(line, self._seen)
        return -1

    def _waits(self, buffer: bytes) -> bool:
        """Whether there is still no line feed since the last time, so that there is nothing to scan."""
        return self._seen > 0 and buffer.find(b"\n", self._seen) < 0

    def _refuse(self, buffer: bytes, line: int, at: int, detail: str) -> int:
        """Refuses the line that begins at `line` for what stands at `at`, or for its size; -1 while it is not whole."""
        self._position = line if self._position >= 0 else -1
        end = buffer.find(b"\n", at)
        if end < 0:
            return self._more(buffer, line)
        self._check_size(line, end + 1)
        raise FramingError(detail)

    def _check_size(self, line: int, end: int) -> None:
        """Refuses a line, or a head, that is too long when it reaches up to `end`, for the limit it meets first."""
        if end - line > MAX_FIELD and line - self.start <= MAX_HEAD - MAX_FIELD:
            raise FramingError("field line too long", 431, "head_too_large")
        if end - self.start > MAX_HEAD:
            raise FramingError("head too large", 431, "head_too_large")

    def _on_field(self, code: int, value: bytes) -> bool:
        """Takes note of a Known field; whether it is forwarded as it stands."""
        if code == _CONNECTION:
            self._on_connection(value)
            return False
        if code == _CONTENT_LENGTH:
            self._on_content_length(value)
            return False
        if code == _TRANSFER_ENCODING:
            if self.chunked:
                raise FramingError("several transfer codings")
            if value.lower() != b"chunked":
                raise FramingError("transfer coding other than chunked", 501, "transfer_coding")
            self.chunked = True
            return False
        return code != _HOP and code != _TE

    def _on_connection(self, value: bytes) -> None:
        if value == b"keep-alive":
            self.keep_alive = True
            return
        for option in value.lower().split(b","):
            option = option.strip(b" \t")
            if option == b"keep-alive":
                self.keep_alive = True
            elif option == b"close":
                self.close = True
            elif option == b"upgrade":
                self.connection_upgrade = True
            elif option and not _end_to_end(option):
                if self._named is None:
                    self._named = set()
                self._named.add(option)

    def _on_content_length(self, value: bytes) -> None:
        if self.content_length >= 0:
            raise FramingError("several Content-Length fields")
        p = value
        digits = len(value)
        if digits == 0 or digits > MAX_CONTENT_LENGTH_DIGITS:
            raise FramingError("Content-Length is not a number")
        length = 0
        for i in range(digits):
            if not 48 <= p[i] <= 57:
                raise FramingError("Content-Length is not a number")
            length = length * 10 + (p[i] - 48)
        self.content_length = length

    def _check_framing(self) -> None:
        """RFC 9112 section 6.1: what could be read in two ways is an attack."""
        if self.chunked:
            if self.content_length >= 0:
                raise FramingError("both Content-Length and Transfer-Encoding")
            if self.minor == 0:
                raise FramingError("Transfer-Encoding in HTTP/1.0")

    def drop(self, names: frozenset[bytes]) -> None:
        """Removes fields by name (lower case) from what is forwarded."""
        self._named = set(names)
        self._drop_named()

    def _drop_named(self) -> None:
        """Removes the fields that Connection names (RFC 9110 section 7.6.1)."""
        named = self._named or set()
        lines = b"".join(self.kept).split(b"\r\n")
        self.kept = [line + b"\r\n" for line in lines if line and line.partition(b":")[0].lower() not in named]


class Trailers(Head):
    """A trailer section (RFC 9112 section 7.1.2) without fields that must not come so late (RFC 9110 section 6.5.1)."""

    __slots__ = ()

    def __init__(self) -> None:
        self._begin()
        self._named = set(NOT_IN_TRAILERS)
        self._unwanted = 2

    def feed(self, buffer: bytes, start: int) -> int:
        """As RequestHead.feed."""
        self.raw = buffer
        if self._waits(buffer):
            return self._more(buffer, self._position)
        if self._position < 0:
            self.start = self._position = self._run = start
        return self._scan_fields(buffer)

    def _on_field(self, code: int, value: bytes) -> bool:
        if code in (_CONTENT_LENGTH, _TRANSFER_ENCODING, _HOST):
            raise FramingError("trailer that says where a message ends or goes")
        return _HOP < code < _REQUEST_ID


def known_at(buffer: bytes, line: int, size: int) -> int:
    """The Known code of the field name of `size` bytes at `line`, 0 for none."""
    p = buffer
    candidate = CANDIDATES
    names = NAMES
    codes = CODES
    if size >= NAME_ROOM:
        return known(p[line : line + size].lower()) if p[line] | 32 == 120 else 0  # x-forwarded-...
    which = candidate[size * 32 + (p[line] & 31)]
    if which == 0:
        return 0
    if which == SEVERAL:
        return known(p[line : line + size].lower())
    name = which * NAME_ROOM
    for i in range(size):
        # Lower case; no other character of a token becomes a letter, a digit or a hyphen by this.
        if p[line + i] | 32 != names[name + i]:
            return 0
    return codes[which]


def _end_to_end(option: bytes) -> bool:
    """Whether a field is forwarded even if Connection names it: it decides where a message goes or where it ends, or
    says on whose behalf it is sent."""
    code = known(option)
    return code in (_HOST, _CONTENT_LENGTH, _TRANSFER_ENCODING) or _REQUEST_ID <= code <= _FORWARDED_OTHER
