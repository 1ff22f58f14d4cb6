"""Heads of requests and responses: scanned in one pass, forwarded without what concerns one connection only.

Theory of operation. A head is fed the bytes received so far and answers where it ends, or -1 while its end is not there
yet. Lines are checked as they are passed; what is kept for the other side is remembered as runs of whole lines (`kept`),
cut where a field is dropped, so a field that nobody asks for never becomes an object. Fields that decide framing, routing
or the log are the exception: `Known` in `grammar`.

Rules of this file:
- Refuse, never repair (RFC 9112 sections 2.2, 3, 5, 6; RFC 9110 section 5): a line ends in CRLF, a name is a token with
  the colon right behind it, no line is folded, lengths are plain digits, given once, and never beside Transfer-Encoding.
- Message framing sent onwards is written here (`forward`), never copied.
- Feeding a head whole or byte by byte gives the same result: a partial line is scanned again from its start.

Compiled with `head.pxd`, where `p`, `token` and the like are C pointers into the same bytes.
"""

from ingressd.http1.errors import FramingError
from ingressd.http1.grammar import (
    HOST,
    KNOWN_LENGTHS,
    MAX_CONTENT_LENGTH_DIGITS,
    MAX_FIELD,
    MAX_FIELDS,
    MAX_HEAD,
    MAX_REQUEST_LINE,
    MAYBE_KNOWN,
    TARGET,
    TOKEN,
    VALUE,
    Known,
    known,
)

_HOST = int(Known.HOST)
_CONNECTION = int(Known.CONNECTION)
_CONTENT_LENGTH = int(Known.CONTENT_LENGTH)
_TRANSFER_ENCODING = int(Known.TRANSFER_ENCODING)
_UPGRADE = int(Known.UPGRADE)
_TE = int(Known.TE)
_EXPECT = int(Known.EXPECT)
_HOP = int(Known.HOP)
_REFERER = int(Known.REFERER)
_USER_AGENT = int(Known.USER_AGENT)
_AUTHORIZATION = int(Known.AUTHORIZATION)
_ACCEPT = int(Known.ACCEPT)
_REQUEST_ID = int(Known.REQUEST_ID)
_FORWARDED_FOR = int(Known.FORWARDED_FOR)
_FORWARDED_PROTO = int(Known.FORWARDED_PROTO)
_FORWARDED_HOST = int(Known.FORWARDED_HOST)
_FORWARDED_PORT = int(Known.FORWARDED_PORT)
_FORWARDED_SCHEME = int(Known.FORWARDED_SCHEME)
_SCHEME = int(Known.SCHEME)
_REAL_IP = int(Known.REAL_IP)
_FORWARDED_OTHER = int(Known.FORWARDED_OTHER)

# Never removed because Connection names them: they decide where a message goes and where it ends.
_END_TO_END = frozenset((b"host", b"content-length", b"transfer-encoding"))
_NOT_IN_TRAILERS = frozenset((_HOST, _CONNECTION, _CONTENT_LENGTH, _TRANSFER_ENCODING, _UPGRADE, _TE, _EXPECT, _HOP))


class Head:
    """What all heads share: the field lines."""

    __slots__ = (
        "_fields",
        "_named",
        "_position",
        "_run",
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

    def __init__(self) -> None:
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
        self._run = -1
        self._fields = 0
        self._named: list[bytes] | None = None

    @property
    def persistent(self) -> bool:
        """Whether the sender lets the connection go on after this message (RFC 9112 section 9.3)."""
        return not self.close and (self.minor > 0 or self.keep_alive)

    def get(self, name: bytes) -> bytes | None:
        """The value of the first forwarded field of this name (lower case); for what is asked too rarely to be Known."""
        for run in self.kept:
            for line in run.split(b"\r\n"):
                key, _, value = line.partition(b":")
                if key.lower() == name:
                    return value.strip(b" \t")
        return None

    def scan_fields(self, buffer: bytes, line: int) -> int:
        """Scans field lines from `line` on. Returns the offset behind the empty line that ends them, or -1 when there is
        more to come. Raises FramingError."""
        p = buffer
        token = TOKEN
        valid = VALUE
        maybe = MAYBE_KNOWN
        length = len(buffer)
        if self._run < 0:
            self._run = line
        while line < length:
            i = line
            if p[i] == 13:
                if i + 1 == length:
                    break
                if p[i + 1] != 10:
                    raise FramingError("carriage return without line feed")
                if i + 2 - self.start > MAX_HEAD:
                    raise FramingError("head too large", 431, "head_too_large")
                if self._run < line:
                    self.kept.append(buffer[self._run : line])
                if self._named is not None:
                    self._drop_named()
                self.raw = buffer
                self.end = i + 2
                return i + 2
            underscore = 0
            while i < length:
                mark = token[p[i]]
                if mark == 0:
                    break
                underscore |= mark
                i += 1
            if i == length:
                break
            name_end = i
            if p[i] != 58 or i == line:
                if i == line and (p[i] == 32 or p[i] == 9):
                    raise FramingError("folded field line")
                raise FramingError("malformed field name")
            i += 1
            while i < length and (p[i] == 32 or p[i] == 9):
                i += 1
            value = i
            while i < length and valid[p[i]]:
                i += 1
            if i == length:
                break
            if p[i] != 13:
                raise FramingError("control character in a field value")
            if i + 1 == length:
                break
            if p[i + 1] != 10:
                raise FramingError("carriage return without line feed")
            value_end = i
            while value_end > value and (p[value_end - 1] == 32 or p[value_end - 1] == 9):
                value_end -= 1
            i += 2
            if i - line > MAX_FIELD:
                raise FramingError("field line too long", 431, "head_too_large")
            self._fields += 1
            if self._fields > MAX_FIELDS:
                raise FramingError("too many fields", 431, "head_too_large")
            size = name_end - line
            keep = (underscore & 2) == 0
            if keep and (
                maybe[size * 32 + (p[line] & 31)] if size < KNOWN_LENGTHS else p[line] | 32 == 120  # x-forwarded-...
            ):
                code = known(buffer[line:name_end].lower())
                if code:
                    keep = self.on_field(code, buffer[value:value_end])
            if not keep:
                if self._run < line:
                    self.kept.append(buffer[self._run : line])
                self._run = i
            line = i
        self._position = line
        if length - line > MAX_FIELD:
            raise FramingError("field line too long", 431, "head_too_large")
        if length - self.start > MAX_HEAD:
            raise FramingError("head too large", 431, "head_too_large")
        return -1

    def on_field(self, code: int, value: bytes) -> bool:
        """Takes note of a Known field; whether it is forwarded as it stands."""
        if code == _CONNECTION:
            self._on_connection(value.lower())
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
        return code != _HOP and code != _UPGRADE and code != _TE

    def _on_connection(self, value: bytes) -> None:
        if value == b"keep-alive":
            self.keep_alive = True
        elif value == b"close":
            self.close = True
        else:
            for option in value.split(b","):
                option = option.strip(b" \t")
                if option == b"keep-alive":
                    self.keep_alive = True
                elif option == b"close":
                    self.close = True
                elif option == b"upgrade":
                    self.connection_upgrade = True
                elif option and option not in _END_TO_END:
                    if self._named is None:
                        self._named = []
                    self._named.append(option)

    def _on_content_length(self, value: bytes) -> None:
        if self.content_length >= 0:
            raise FramingError("several Content-Length fields")
        if not value.isdigit() or len(value) > MAX_CONTENT_LENGTH_DIGITS:
            raise FramingError("Content-Length is not a number")
        self.content_length = int(value)

    def check_framing(self) -> None:
        """RFC 9112 section 6.1: what could be read in two ways is an attack."""
        if self.chunked:
            if self.content_length >= 0:
                raise FramingError("both Content-Length and Transfer-Encoding")
            if self.minor == 0:
                raise FramingError("Transfer-Encoding in HTTP/1.0")

    def _drop_named(self) -> None:
        """Removes the fields that Connection names (RFC 9110 section 7.6.1)."""
        named = self._named or []
        lines = b"".join(self.kept).split(b"\r\n")
        self.kept = [line + b"\r\n" for line in lines if line and line.partition(b":")[0].lower() not in named]


class RequestHead(Head):
    """The head of a request: RFC 9112 sections 2.3, 3 and 5.

    With `trusted`, forwarded fields of the client are believed and kept; otherwise they are dropped, and what they said is
    in `forwarded_for` alone.
    """

    __slots__ = (
        "_host_fields",
        "_line_end",
        "accept",
        "authorization",
        "expect_continue",
        "forwarded_for",
        "has_host",
        "has_port",
        "has_proto",
        "has_scheme",
        "has_x_scheme",
        "host",
        "host_replaced",
        "method",
        "path",
        "path_normal",
        "referer",
        "request_id",
        "target",
        "te_trailers",
        "trusted",
        "upgrade",
        "user_agent",
    )

    def __init__(self, trusted: bool = False) -> None:
        Head.__init__(self)
        self.trusted = trusted
        self.method = b""
        self.target = b""
        """Origin form or `*`: what is forwarded."""
        self.path = b""
        """The target without its query; `path_normal` says that it is in normal form already."""
        self.path_normal = True
        self.host = b""
        """The authority the request is for: of an absolute target, else of the Host field. Valid, not normalised."""
        self.host_replaced = False
        self.upgrade = b""
        self.expect_continue = False
        self.te_trailers = False
        self.referer = b""
        self.user_agent = b""
        self.authorization = b""
        self.accept = b""
        self.request_id = b""
        self.forwarded_for = b""
        self.has_proto = False
        self.has_host = False
        self.has_port = False
        self.has_scheme = False
        self.has_x_scheme = False
        self._host_fields = 0
        self._line_end = -1

    @property
    def line(self) -> bytes:
        """The request line as received, for the log."""
        return self.raw[self.start : self._line_end]

    def feed(self, buffer: bytes, start: int) -> int:
        """Scans `buffer` from `start`, where the head begins; on later calls the same bytes and more behind them.

        Returns the offset behind the head, or -1 when there is more to come. Raises FramingError.
        """
        self.raw = buffer
        if self._position < 0:
            # At least one empty line before a request is to be overlooked: RFC 9112 section 2.2.
            while buffer.startswith(b"\r\n", start):
                start += 2
            self.start = start
            line = self._scan_line(buffer, start)
            if line < 0:
                return -1
            self._position = line
        end = self.scan_fields(buffer, self._position)
        if end >= 0:
            if self._host_fields != 1 and (self._host_fields > 1 or self.minor > 0):
                raise FramingError("no Host field" if self._host_fields == 0 else "several Host fields")
            self.check_framing()
            if self.upgrade and (not self.connection_upgrade or self.minor == 0):
                self.upgrade = b""
        return end

    def _scan_line(self, buffer: bytes, start: int) -> int:
        """The request line: method SP request-target SP HTTP/1.x CRLF (RFC 9112 section 3)."""
        p = buffer
        token = TOKEN
        valid = TARGET
        length = len(buffer)
        i = start
        while i < length and token[p[i]]:
            i += 1
        if i < length and (p[i] != 32 or i == start):
            raise FramingError("malformed method")
        method_end = i
        i += 1
        first = i
        query = -1
        normal = True
        while i < length:
            mark = valid[p[i]]
            if mark != 1:
                if mark == 0:
                    break
                if query < 0:
                    if mark == 3:
                        query = i
                    elif p[i] == 37 or (i + 1 < length and (p[i + 1] == 47 or p[i + 1] == 46)):
                        normal = False
            i += 1
        if i < length and (p[i] != 32 or i == first):
            raise FramingError("malformed request target")
        if i - start > MAX_REQUEST_LINE:
            raise FramingError("request line too long", 414, "uri_too_long")
        # " HTTP/1.1\r\n" is 11 bytes; a shorter rest must at least begin like it.
        if length - i < 11:
            if not b" HTTP/1.1\r\n".startswith(buffer[i:length]) and not b" HTTP/1.0\r\n".startswith(buffer[i:length]):
                self._refuse_version(buffer[i:length])
            return -1
        if not buffer.startswith(b" HTTP/1.", i) or p[i + 9] != 13 or p[i + 10] != 10 or (p[i + 8] | 1) != 49:
            self._refuse_version(buffer[i : i + 11])
            return -1
        self.minor = p[i + 8] - 48
        self.method = buffer[start:method_end]
        self._line_end = i + 9
        if p[first] == 47:
            self.target = buffer[first:i]
            self.path = buffer[first:query] if query >= 0 else self.target
            self.path_normal = normal
        else:
            self._other_target(buffer[first:i])
        return i + 11

    def _refuse_version(self, rest: bytes) -> None:
        """`rest` is what stands behind the target, perhaps not all of it yet; it is not HTTP/1.0 or HTTP/1.1."""
        for at, byte in enumerate(rest[:9]):
            if byte != b" HTTP/0.0"[at] and not (at in (6, 8) and 48 <= byte <= 57):
                raise FramingError("malformed request line")
        if len(rest) >= 9:
            if rest[6:9] not in (b"1.0", b"1.1"):
                raise FramingError("HTTP version not supported", 505, "version_not_supported")
            if not b"\r\n".startswith(rest[9:]):
                raise FramingError("malformed request line")

    def _other_target(self, target: bytes) -> None:
        """Asterisk, absolute and authority form (RFC 9112 section 3.2)."""
        if self.method == b"CONNECT":
            # The target is not looked at: this proxy opens no tunnels to places of a client's choice.
            self.target = self.path = target
            self.path_normal = True
            return
        if target == b"*":
            if self.method != b"OPTIONS":
                raise FramingError("asterisk target in a request that is not OPTIONS")
            self.target = self.path = target
            self.path_normal = True
            return
        scheme, separator, rest = target.partition(b"://")
        if not separator or scheme.lower() not in (b"http", b"https"):
            raise FramingError("malformed request target")
        cut = len(rest)
        for mark in (b"/", b"?"):
            at = rest.find(mark)
            if 0 <= at < cut:
                cut = at
        self.host = rest[:cut]
        if not valid_host(self.host):
            raise FramingError("malformed authority in the request target")
        self.host_replaced = True
        self.target = rest[cut:]
        if not self.target:
            self.target = b"*" if self.method == b"OPTIONS" else b"/"
        elif not self.target.startswith(b"/"):
            self.target = b"/" + self.target
        self.path = self.target.partition(b"?")[0]
        self.path_normal = False

    def on_field(self, code: int, value: bytes) -> bool:
        if code == _HOST:
            self._host_fields += 1
            if not valid_host(value):
                raise FramingError("malformed Host field")
            if self.host_replaced:
                return False
            self.host = value
            return True
        if code == _USER_AGENT:
            self.user_agent = value
            return True
        if code == _REFERER:
            self.referer = value
            return True
        if code == _ACCEPT:
            self.accept = value
            return True
        if code == _AUTHORIZATION:
            self.authorization = value
            return True
        if code == _EXPECT:
            if value.lower() == b"100-continue":
                self.expect_continue = True
            return True
        if code == _UPGRADE:
            # Nobody asks a proxy for cleartext HTTP/2 by Upgrade but to smuggle requests past it.
            if not value.lower().startswith(b"h2c"):
                self.upgrade = value
            return False
        if code == _TE:
            if b"trailers" in value.lower():
                self.te_trailers = True
            return False
        if code >= _REQUEST_ID and code <= _FORWARDED_OTHER:
            return self._on_forwarded(code, value)
        return Head.on_field(self, code, value)

    def _on_forwarded(self, code: int, value: bytes) -> bool:
        if code == _FORWARDED_FOR:
            self.forwarded_for = self.forwarded_for + b", " + value if self.forwarded_for else value
            return False
        if not self.trusted or code == _REAL_IP:
            return False
        if code == _REQUEST_ID:
            self.request_id = value
            return False
        if code == _FORWARDED_PROTO:
            self.has_proto = True
        elif code == _FORWARDED_HOST:
            self.has_host = True
        elif code == _FORWARDED_PORT:
            self.has_port = True
        elif code == _FORWARDED_SCHEME:
            self.has_scheme = True
        elif code == _SCHEME:
            self.has_x_scheme = True
        return True

    def forward(self, added: bytes) -> bytes:
        """The head as it goes upstream, always HTTP/1.1; `added` are whole field lines."""
        parts = [self.method, b" ", self.target, b" HTTP/1.1\r\n"]
        if self.host_replaced:
            parts.append(b"Host: %b\r\n" % self.host)
        parts += self.kept
        if self.chunked:
            parts.append(b"Transfer-Encoding: chunked\r\n")
        elif self.content_length >= 0:
            parts.append(b"Content-Length: %d\r\n" % self.content_length)
        if self.upgrade:
            parts.append(b"Connection: Upgrade\r\nUpgrade: %b\r\n" % self.upgrade)
        elif self.te_trailers:
            parts.append(b"Connection: TE\r\nTE: trailers\r\n")
        parts.append(added)
        parts.append(b"\r\n")
        return b"".join(parts)


class ResponseHead(Head):
    """The head of a response: RFC 9112 sections 2.3, 4 and 5."""

    __slots__ = ("_line_end", "_reason", "status", "upgrade")

    def __init__(self) -> None:
        Head.__init__(self)
        self.status = 0
        self.upgrade = b""
        self._reason = b""
        self._line_end = -1

    def feed(self, buffer: bytes, start: int) -> int:
        """As RequestHead.feed."""
        self.raw = buffer
        if self._position < 0:
            self.start = start
            line = self._scan_line(buffer, start)
            if line < 0:
                return -1
            self._position = line
        end = self.scan_fields(buffer, self._position)
        if end >= 0:
            self.check_framing()
        return end

    def _scan_line(self, buffer: bytes, start: int) -> int:
        """The status line: HTTP/1.x SP 3DIGIT [SP reason] CRLF (RFC 9112 section 4)."""
        p = buffer
        valid = VALUE
        length = len(buffer)
        if length - start < 12:
            if not b"HTTP/1.".startswith(buffer[start : start + 7]):
                raise FramingError("malformed status line")
            if b"\n" not in buffer[start:]:
                return -1
        if not buffer.startswith(b"HTTP/1.", start) or (p[start + 7] | 1) != 49 or p[start + 8] != 32:
            raise FramingError("malformed status line")
        i = start + 9
        code = buffer[i : i + 3]
        if len(code) != 3 or not code.isdigit() or code < b"100":
            raise FramingError("malformed status code")
        i += 3
        if i < length and p[i] == 32:
            i += 1
            first = i
            while i < length and valid[p[i]]:
                i += 1
            reason = buffer[first:i]
        else:
            reason = b""
        if i - start > MAX_FIELD:
            raise FramingError("status line too long")
        if i < length and p[i] != 13:
            raise FramingError("malformed status line")
        if i + 1 >= length:
            return -1
        if p[i + 1] != 10:
            raise FramingError("carriage return without line feed")
        self.minor = p[start + 7] - 48
        self.status = int(code)
        self._reason = reason
        self._line_end = i
        return i + 2

    def on_field(self, code: int, value: bytes) -> bool:
        if code == _UPGRADE:
            self.upgrade = value
            return False
        return Head.on_field(self, code, value)

    def forward(self, added: bytes) -> bytes:
        """The head as it goes to the client, always HTTP/1.1; `added` are whole field lines, framing among them."""
        parts = [b"HTTP/1.1 %d " % self.status, self._reason, b"\r\n"]
        parts += self.kept
        parts.append(added)
        parts.append(b"\r\n")
        return b"".join(parts)


class Trailers(Head):
    """A trailer section (RFC 9112 section 7.1.2). Fields that must not come so late are dropped: RFC 9110 section 6.5.1."""

    __slots__ = ()

    def feed(self, buffer: bytes, start: int) -> int:
        """As RequestHead.feed."""
        if self._position < 0:
            self.start = start
            self._position = start
        return self.scan_fields(buffer, self._position)

    def on_field(self, code: int, value: bytes) -> bool:
        return code not in _NOT_IN_TRAILERS and not (_REQUEST_ID <= code <= _FORWARDED_OTHER)


def valid_host(value: bytes) -> bool:
    """Whether `value` is a host with an optional port (RFC 3986 section 3.2): a name, an IPv4 address or [IPv6]."""
    p = value
    valid = HOST
    length = len(value)
    i = 0
    if length == 0:
        return False
    if p[0] == 91:
        i = value.find(b"]") + 1
        if i < 4 or value[1 : i - 1].strip(b"0123456789abcdefABCDEF:.") or b":" not in value[:i]:
            return False
    else:
        while i < length and valid[p[i]]:
            i += 1
        if i == 0:
            return False
    if i == length:
        return True
    if p[i] != 58:
        return False
    port = value[i + 1 :]
    return len(port) <= 5 and (not port or port.isdigit())
