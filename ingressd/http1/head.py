"""Heads of requests and responses: their start lines, what their fields mean here, and how they are forwarded.

The rules of scanning are in `fields`. Compiled with `head.pxd`.
"""

import re

from ingressd import octets
from ingressd.http1.errors import FramingError
from ingressd.http1.fields import Head
from ingressd.http1.grammar import GET, IDEMPOTENT, MAX_EMPTY_LINES, MAX_REQUEST_LINE, TARGET, TOKEN, VALUE, Known
from ingressd.http1.host import valid_host

_HOST = int(Known.HOST)
_UPGRADE = int(Known.UPGRADE)
_TE = int(Known.TE)
_EXPECT = int(Known.EXPECT)
_REFERER = int(Known.REFERER)
_USER_AGENT = int(Known.USER_AGENT)
_AUTHORIZATION = int(Known.AUTHORIZATION)
_REQUEST_ID = int(Known.REQUEST_ID)
_FORWARDED_FOR = int(Known.FORWARDED_FOR)
_FORWARDED_PROTO = int(Known.FORWARDED_PROTO)
_FORWARDED_HOST = int(Known.FORWARDED_HOST)
_FORWARDED_PORT = int(Known.FORWARDED_PORT)
_FORWARDED_SCHEME = int(Known.FORWARDED_SCHEME)
_SCHEME = int(Known.SCHEME)
_REAL_IP = int(Known.REAL_IP)
_FORWARDED_OTHER = int(Known.FORWARDED_OTHER)

_VERSION = re.compile(rb" HTTP/[0-9]\.[0-9]\r\n")


class RequestHead(Head):
    """The head of a request: RFC 9112 sections 2.3, 3 and 5.

    With `trusted`, forwarded fields of the client are believed and kept; otherwise they are dropped, and what they said
    is in `forwarded_for` alone. Fields with an underscore in their name are dropped: CGI and its heirs would take `X_A`
    for `X-A`.
    """

    __slots__ = (
        "_host_fields",
        "_line_kept",
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
        "idempotent",
        "line",
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
        self.begin(trusted)

    def begin(self, trusted: bool) -> None:
        """What __init__ does, for `request_head`."""
        self._begin()
        self._unwanted = 2
        self.trusted = trusted
        self.method = b""
        self.idempotent = False
        self.line = b""
        """The request line as received, for the log."""
        self.target = b""
        """Origin form or `*`: what is forwarded."""
        self.path = b""
        """The target without its query; `path_normal` says that it is in normal form already."""
        self.path_normal = True
        self.host = b""
        """The authority the request is for: of an absolute target, else of the Host field. Valid, not normalised; empty
        only in HTTP/1.0."""
        self.host_replaced = False
        self.upgrade = b""
        self.expect_continue = False
        self.te_trailers = False
        self.referer = b""
        self.user_agent = b""
        self.authorization = b""
        self.request_id = b""
        self.forwarded_for = b""
        self.has_proto = False
        self.has_host = False
        self.has_port = False
        self.has_scheme = False
        self.has_x_scheme = False
        self._host_fields = 0
        self._line_kept = False
        """The request line may be forwarded as it is."""

    @property
    def accept(self) -> bytes:
        """The Accept field, which decides the form of our own responses."""
        return self.get(b"accept") or b""

    def feed(self, buffer: bytes, start: int) -> int:
        """Scans `buffer` from `start`, where the head begins; on later calls the same bytes and more behind them.

        Returns the offset behind the head, or -1 when there is more to come. Raises FramingError.
        """
        self.raw = buffer
        if self._waits(buffer):
            return self._more(buffer, self._position)
        if self._position < 0:
            line = self._scan_line(buffer, start)
            if line < 0:
                return -1
            self._position = self._run = line
        end = self._scan_fields(buffer)
        if end >= 0:
            if self._host_fields != 1 and (self._host_fields > 1 or self.minor > 0):
                raise FramingError("no Host field" if self._host_fields == 0 else "several Host fields")
            self._check_framing()
            if self.upgrade and (not self.connection_upgrade or self.minor == 0):
                self.upgrade = b""
        return end

    def _check_size(self, line: int, end: int) -> None:
        if self._position >= 0:
            Head._check_size(self, line, end)
        elif end - self.start > MAX_REQUEST_LINE:
            raise FramingError("request line too long", 414, "uri_too_long")

    def _scan_line(self, buffer: bytes, start: int) -> int:
        """The request line: method SP request-target SP HTTP/1.x CRLF (RFC 9112 section 3)."""
        p = buffer
        token = TOKEN
        valid = TARGET
        length = len(buffer)
        self.start = i = start
        while i + 1 < length and p[i] == 13 and p[i + 1] == 10:
            i += 2
        if i - start > 2 * MAX_EMPTY_LINES:
            raise FramingError("too many empty lines before a request")
        if i == length or (i + 1 == length and p[i] == 13):
            return -1
        self.start = start = i
        while i < length and token[p[i]]:
            i += 1
        if i == start:
            raise FramingError("malformed method")
        if i == length:
            return self._more(buffer, start)
        if p[i] != 32:
            return self._refuse(buffer, start, i, "malformed method")
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
        if i == length:
            return self._more(buffer, start)
        if p[i] != 32 or i == first:
            return self._refuse(buffer, start, i, "malformed request target")
        end = i + 11
        if not buffer.startswith((b" HTTP/1.1\r\n", b" HTTP/1.0\r\n"), i):
            return self._refuse_version(buffer, i)
        if end - start > MAX_REQUEST_LINE:
            self._check_size(start, end)
        self.minor = p[i + 8] - 48
        if method_end - start == 3 and p[start] == 71 and p[start + 1] == 69 and p[start + 2] == 84:
            self.method = GET
            self.idempotent = True
        else:
            self.method = p[start:method_end]
            self.idempotent = self.method in IDEMPOTENT
        self.line = p[start : i + 9]
        if p[first] == 47:
            self._line_kept = self.minor == 1
            self.target = p[first:i]
            self.path = p[first:query] if query >= 0 else self.target
            self.path_normal = normal
        else:
            self._other_target(p[first:i])
        return end

    def _refuse_version(self, buffer: bytes, at: int) -> int:
        """What stands behind the target, at `at`, is not HTTP/1.0 or HTTP/1.1, or not whole yet."""
        end = buffer.find(b"\n", at)
        if end >= 0 and _VERSION.fullmatch(buffer[at : end + 1]):
            self._check_size(self.start, end + 1)
            raise FramingError("HTTP version not supported", 505, "version_not_supported")
        return self._refuse(buffer, self.start, at, "malformed request line")

    def _other_target(self, target: bytes) -> None:
        """Asterisk, absolute and authority form (RFC 9112 section 3.2)."""
        if self.method == b"CONNECT":
            # The target is not looked at: this proxy opens no tunnels to places of a client's choice.
            self.target = self.path = target
            return
        if target == b"*":
            if self.method != b"OPTIONS":
                raise FramingError("asterisk target in a request that is not OPTIONS")
            self.target = self.path = target
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
        self.path_normal = self.path == b"*"

    def _on_field(self, code: int, value: bytes) -> bool:
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
        if code == _AUTHORIZATION:
            self.authorization = value
            return True
        if code == _EXPECT:
            if self.minor == 0:
                # An HTTP/1.0 client does not wait and cannot read a 100 (RFC 9110 section 10.1.1).
                return False
            if value.lower() == b"100-continue":
                self.expect_continue = True
            return True
        if code == _UPGRADE:
            # Nobody asks a proxy for cleartext HTTP/2 by Upgrade but to smuggle requests past it.
            if b"h2c" not in value.lower():
                self.upgrade = value
            return False
        if code == _TE:
            if b"trailers" in value.lower():
                self.te_trailers = True
            return False
        if code >= _REQUEST_ID and code <= _FORWARDED_OTHER:
            return self._on_forwarded(code, value)
        return Head._on_field(self, code, value)

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
        parts = [self.line, b"\r\n"] if self._line_kept else [self.method, b" ", self.target, b" HTTP/1.1\r\n"]
        if self.host_replaced or not self.host:
            # Empty where an HTTP/1.0 client named none (RFC 9112 section 3.2).
            parts.append(b"Host: %b\r\n" % self.host)
        parts += self.kept
        if self.chunked:
            parts.append(b"Transfer-Encoding: chunked\r\n")
        elif self.content_length >= 0:
            parts += [b"Content-Length: ", octets.decimal(self.content_length), b"\r\n"]
        if self.upgrade:
            parts.append(b"Connection: Upgrade\r\nUpgrade: %b\r\n" % self.upgrade)
        elif self.te_trailers:
            parts.append(b"Connection: TE\r\nTE: trailers\r\n")
        parts.append(added)
        parts.append(b"\r\n")
        return octets.join(parts)


class ResponseHead(Head):
    """The head of a response: RFC 9112 sections 2.3, 4 and 5."""

    __slots__ = ("_line_end", "status", "upgrade")

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """What __init__ does, for `response_head`."""
        self._begin()
        self.status = 0
        self.upgrade = b""
        self._line_end = -1

    def feed(self, buffer: bytes, start: int) -> int:
        """As RequestHead.feed."""
        self.raw = buffer
        if self._waits(buffer):
            return self._more(buffer, self._position if self._position >= 0 else self.start)
        if self._position < 0:
            self.start = start
            line = self._scan_line(buffer, start)
            if line < 0:
                return -1
            self._position = self._run = line
        end = self._scan_fields(buffer)
        if end >= 0:
            self._check_framing()
        return end

    def _scan_line(self, buffer: bytes, start: int) -> int:
        """The status line: HTTP/1.x SP 3DIGIT [SP reason] CRLF (RFC 9112 section 4)."""
        p = buffer
        valid = VALUE
        length = len(buffer)
        if not buffer.startswith(b"HTTP/1.", start):
            if length - start < 7 and b"HTTP/1.".startswith(buffer[start:]):
                return -1
            raise FramingError("malformed status line")
        i = start + 12
        if i + 1 >= length or (p[start + 7] | 1) != 49 or p[start + 8] != 32:
            return self._refuse(buffer, start, start, "malformed status line")
        status = 0
        for at in range(start + 9, i):
            if not 48 <= p[at] <= 57:
                return self._refuse(buffer, start, start, "malformed status line")
            status = status * 10 + (p[at] - 48)
        if status < 100:
            return self._refuse(buffer, start, start, "malformed status line")
        if p[i] == 32:
            i += 1
            while i < length and valid[p[i]]:
                i += 1
        if i == length or (i + 1 == length and p[i] == 13):
            return self._more(buffer, start)
        if p[i] != 13 or p[i + 1] != 10:
            return self._refuse(buffer, start, i, "malformed status line")
        self._check_size(start, i + 2)
        self.minor = p[start + 7] - 48
        self.status = status
        self._line_end = i
        return i + 2

    def _on_field(self, code: int, value: bytes) -> bool:
        if code == _UPGRADE:
            self.upgrade = value
            return False
        return Head._on_field(self, code, value)

    def forward(self, added: bytes) -> bytes:
        """The head as it goes to the client, always HTTP/1.1; `added` are whole field lines, framing among them."""
        # From the status code on; the space behind it belongs there even if no reason follows.
        p = self.raw
        code = self.start + 9
        parts = [b"HTTP/1.1 ", p[code : self._line_end], b"\r\n" if self._line_end - code > 3 else b" \r\n"]
        parts += self.kept
        parts.append(added)
        parts.append(b"\r\n")
        return octets.join(parts)


def request_head(trusted: bool) -> RequestHead:
    """`RequestHead(trusted)`, without the ado of a call."""
    head = RequestHead.__new__(RequestHead)
    head.begin(trusted)
    return head


def response_head() -> ResponseHead:
    """`ResponseHead()`, without the ado of a call."""
    head = ResponseHead.__new__(ResponseHead)
    head.begin()
    return head
