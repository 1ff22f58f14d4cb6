"""Generated messages: valid ones, and valid ones that were damaged."""

from collections.abc import Callable
from typing import Protocol

from hypothesis import strategies as st

from tests.http1.peers import LLHTTP_METHODS
from tests.http1.reading import chunked_bytes, request_bytes, response_bytes

TCHARS = "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
VALUE_BYTES = bytes([9, *range(0x20, 0x7F), *range(0x80, 0x100)])
TARGET_BYTES = bytes(byte for byte in range(0x21, 0x7F) if byte not in b"#")
SPECIAL_NAMES = (
    b"Accept",
    b"Authorization",
    b"Cookie",
    b"Expect",
    b"Forwarded",
    b"Hose",
    b"Keep-Alive",
    b"Proxy",
    b"Proxy-Authorization",
    b"Proxy-Connection",
    b"Referer",
    b"TE",
    b"Trailer",
    b"User-Agent",
    b"X-Forwarded-For",
    b"X-Forwarded-Host",
    b"X-Forwarded-Port",
    b"X-Forwarded-Proto",
    b"X-Forwarded-Weird-And-Far-Too-Long-To-Be-Known",
    b"X-Real-IP",
    b"X-Request-ID",
    b"X-Scheme",
    b"X_Under_Score",
)
CONNECTION_OPTIONS = (
    b"close",
    b"keep-alive",
    b"upgrade",
    b"x-a",
    b"TE",
    b"host",
    b"Cookie",
    b"content-length",
    b"",
    b"x",
)


def _joined(characters: bytes, least: int, most: int) -> st.SearchStrategy[bytes]:
    return st.lists(st.sampled_from(characters), min_size=least, max_size=most).map(bytes)


def _any_case(name: bytes) -> st.SearchStrategy[bytes]:
    return st.sampled_from((name, name.lower(), name.upper(), name.swapcase()))


names = st.one_of(st.sampled_from(SPECIAL_NAMES).flatmap(_any_case), _joined(TCHARS.encode(), 1, 20))
values = st.one_of(
    st.sampled_from((b"", b"1", b"trailers", b"100-continue", b"192.0.2.1", b"gzip, trailers", b"a:b", b"https")),
    _joined(VALUE_BYTES, 0, 30),
)
spaces = st.sampled_from((b" ", b"", b"\t", b" \t "))


@st.composite
def field_lines(draw: st.DrawFn, most: int = 8) -> list[bytes]:
    """Field lines that say nothing of framing and of Host."""
    lines = []
    for name, value in draw(st.lists(st.tuples(names, values), max_size=most)):
        if name.lower() not in (b"host", b"content-length", b"transfer-encoding", b"connection", b"upgrade"):
            lines.append(name + b":" + draw(spaces) + value + draw(spaces))
    if draw(st.booleans()):
        options = draw(st.lists(st.sampled_from(CONNECTION_OPTIONS), max_size=4))
        lines.insert(draw(st.integers(0, len(lines))), b"Connection: " + b",".join(options))
    return lines


@st.composite
def targets(draw: st.DrawFn) -> bytes:
    """Origin form, and sometimes absolute form."""
    origin = b"/" + draw(_joined(TARGET_BYTES, 0, 30))
    if draw(st.integers(0, 4)):
        return origin
    return draw(st.sampled_from((b"http://b.example", b"HTTP://[::1]:8080", b"https://c:1"))) + origin


bodies = st.lists(st.binary(max_size=40), max_size=5)
trailer_lines = st.lists(
    st.tuples(
        st.sampled_from((b"X-A", b"grpc-status", b"Digest", b"Cookie", b"Keep-Alive", b"X_U", b"X-Real-IP")), values
    ),
    max_size=3,
).map(lambda lines: b"".join(name + b": " + value.strip(b" \t") + b"\r\n" for name, value in lines))


@st.composite
def framed(draw: st.DrawFn, lines: list[bytes], most: int = 3) -> tuple[list[bytes], bytes]:
    """Field lines with those that frame a body, and the body."""
    chunks = draw(bodies)
    kind = draw(st.integers(1, most))
    if kind == 1:
        return lines, b""
    content = b"".join(chunks)
    line = b"Content-Length: %d" % len(content) if kind == 2 else b"Transfer-Encoding: chunked"
    position = draw(st.integers(0, len(lines)))
    body = content if kind == 2 else chunked_bytes(*chunks, trailers=draw(trailer_lines))
    return [*lines[:position], line, *lines[position:]], body


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """A valid request, whole."""
    method = draw(st.sampled_from([*LLHTTP_METHODS[:8], b"PATCH", b"M-SEARCH"]))
    target = draw(targets())
    lines, body = draw(framed(draw(field_lines())))
    if draw(st.integers(0, 5)) == 0:
        lines = [*lines, b"Connection: Upgrade", b"Upgrade: websocket"]
    position = draw(st.integers(0, len(lines)))
    host = draw(st.sampled_from((b"Host: a.example", b"host:A.Example:8080", b"HOST: [2001:db8::1] ")))
    head = [*lines[:position], host, *lines[position:]]
    return request_bytes(*head, line=method + b" " + target + b" HTTP/1.1", host=None) + body


@st.composite
def responses(draw: st.DrawFn) -> bytes:
    """A valid final response that says where its body ends, whole."""
    status = draw(st.sampled_from((b"200", b"201", b"206", b"301", b"404", b"418", b"500", b"599")))
    reason = draw(_joined(VALUE_BYTES, 0, 12))
    lines, body = draw(framed(draw(field_lines())))
    if not body and not any(line.startswith((b"Content-Length", b"Transfer-Encoding")) for line in lines):
        lines = [*lines, b"Content-Length: 0"]
    return response_bytes(*lines, line=b"HTTP/1.1 " + status + b" " + reason) + body


SMUGGLING_LINES = (
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding : chunked",
    b" Transfer-Encoding: chunked",
    b"Transfer-Encoding: \x0bchunked",
    b"Transfer-Encoding: xchunked",
    b"Transfer-Encoding: chunked, identity",
    b"Transfer-Encoding: identity, chunked",
    b"Transfer-Encoding:chunked\x00",
    b"transfer-encoding: Chunked ",
    b"Transfer_Encoding: chunked",
    b"Content-Length: 0",
    b"Content-Length: 5",
    b"Content-Length: +5",
    b"Content-Length: 5, 5",
    b"Content-Length: 0x5",
    b"Content-Length: 5 5",
    b"Content-Length: ",
    b"Content-Length : 5",
    b"Content_Length: 5",
    b"Content-Length: 99999999999999999999",
    b"Content-Length:\t005",
    b"Host: b.example",
    b"Host: a b",
    b"Host: a@b",
    b"Host: a,b",
    b"Host:",
    b"Connection: close",
    b"Connection: content-length",
    b"Connection: transfer-encoding, host",
    b"Connection: upgrade",
    b"Upgrade: h2c",
    b"Upgrade: websocket",
    b"HTTP2-Settings: AAA",
    b"Expect: 100-continue",
    b"X: \x00",
    b"X: a\rb",
    b"X: a\nb",
    b"X\x00: a",
    b": a",
    b"X",
    b"\tX: folded",
)
NASTY = (
    b"\r", b"\n", b"\r\n", b"\r\n\r\n", b"\n\n", b"\r\r\n", b"\0", b" ", b"\t", b"\x0b", b"\x0c", b"\x7f", b"\xff",
    b":", b";", b",", b"/", b"?", b"#", b"%", b"*", b"@", b"\\", b'"', b"'", b"(", b"[", b"]", b"=", b"_", b"-", b"+",
    b"0", b"0x", b"1", b"f", b"F", b"g", b"fffffffffffffff", b"1000000000000000", b"0\r\n\r\n", b";a", b';a="b"',
    b"HTTP/1.0", b"HTTP/1.1", b"HTTP/2.0", b"http://u:p@h/", b"GET / HTTP/1.1\r\nHost: s\r\n\r\n",
)  # fmt: skip


class Choices(Protocol):
    """Where decisions come from: random.Random, or hypothesis."""

    def randrange(self, stop: int, /) -> int:
        """From 0 up to but not including `stop`."""


def _line_ends(data: bytes) -> list[int]:
    """Offsets behind the line feeds of the first head, at least one."""
    head = data.find(b"\r\n\r\n")
    end = head + 2 if head >= 0 else len(data)
    return [i + 1 for i in range(end) if data[i] == 10] or [0]


def _insert(data: bytes, choices: Choices) -> bytes:
    at = choices.randrange(len(data) + 1)
    return data[:at] + NASTY[choices.randrange(len(NASTY))] + data[at:]


def _replace(data: bytes, choices: Choices) -> bytes:
    at = choices.randrange(len(data) + 1)
    return data[:at] + NASTY[choices.randrange(len(NASTY))] + data[at + 1 :]


def _any_byte(data: bytes, choices: Choices) -> bytes:
    at = choices.randrange(len(data) + 1)
    return data[:at] + bytes([choices.randrange(256)]) + data[at + 1 :]


def _delete(data: bytes, choices: Choices) -> bytes:
    at = choices.randrange(len(data) + 1)
    return data[:at] + data[at + 1 + choices.randrange(4) :]


def _repeat(data: bytes, choices: Choices) -> bytes:
    at = choices.randrange(len(data) + 1)
    length = choices.randrange(30)
    return data[: at + length] + data[at:]


def _add_line(data: bytes, choices: Choices) -> bytes:
    ends = _line_ends(data)
    at = ends[choices.randrange(len(ends))]
    return data[:at] + SMUGGLING_LINES[choices.randrange(len(SMUGGLING_LINES))] + b"\r\n" + data[at:]


def _repeat_line(data: bytes, choices: Choices) -> bytes:
    ends = _line_ends(data)
    which = choices.randrange(len(ends))
    start = ends[which - 1] if which else 0
    return data[: ends[which]] + data[start:]


def _swap_case(data: bytes, choices: Choices) -> bytes:
    at = choices.randrange(len(data) + 1)
    return data[:at] + data[at : at + 20].swapcase() + data[at + 20 :]


def _version(data: bytes, choices: Choices) -> bytes:
    return data.replace(b"HTTP/1.1", (b"HTTP/1.0", b"HTTP/0.9", b"HTTP/1.2", b"http/1.1")[choices.randrange(4)], 1)


MUTATIONS: tuple[Callable[[bytes, Choices], bytes], ...] = (
    _insert,
    _replace,
    _any_byte,
    _delete,
    _repeat,
    _add_line,
    _add_line,
    _repeat_line,
    _swap_case,
    _version,
)


def mutate(data: bytes, choices: Choices) -> bytes:
    """`data` with up to three changes."""
    for _ in range(1 + choices.randrange(3)):
        data = MUTATIONS[choices.randrange(len(MUTATIONS))](data, choices)
    return data


class _Drawn:
    def __init__(self, draw: st.DrawFn) -> None:
        self._draw = draw

    def randrange(self, stop: int, /) -> int:
        return self._draw(st.integers(0, stop - 1))


@st.composite
def damaged(draw: st.DrawFn, messages: st.SearchStrategy[bytes]) -> bytes:
    """A valid message with up to three changes."""
    return mutate(draw(messages), _Drawn(draw))
