"""Field lines: RFC 9110 section 5, RFC 9112 section 5; Host and persistence."""

import pytest

from tests.http1.reading import Kind, field_lines, read_every_way, request_bytes, response_bytes

REFUSED = {
    # RFC 9112 section 5.1: no whitespace before the colon
    "space before the colon": b"X-A : 1",
    "tab before the colon": b"X-A\t: 1",
    "space in the name": b"X A: 1",
    # RFC 9110 section 5.1: field-name = token
    "no name": b": 1",
    "no colon": b"X-A",
    "colon nowhere but in a later line": b"X-A\r\nX-B: 1",
    "quote in the name": b'X"A: 1',
    "at sign in the name": b"X@A: 1",
    "slash in the name": b"X/A: 1",
    "parenthesis in the name": b"X(A): 1",
    "NUL in the name": b"X\0A: 1",
    "letters beyond ASCII in the name": b"X-\xc3\xa9: 1",
    "bare CR in the name": b"X\rA: 1",
    # RFC 9112 section 5.2: obs-fold
    "line that begins with a space": b"X-A: 1\r\n 2",
    "line that begins with a tab": b"X-A: 1\r\n\t2",
    "first line that begins with a space": b" X-A: 1",
    "line of spaces": b"X-A: 1\r\n  ",
    # RFC 9110 section 5.5: no control characters in a value
    "NUL in the value": b"X-A: a\0b",
    "bell in the value": b"X-A: a\x07b",
    "form feed in the value": b"X-A: \x0c",
    "DEL in the value": b"X-A: a\x7fb",
    "escape at the end of the value": b"X-A: a\x1b",
    # RFC 9112 section 2.2: a line ends in CRLF
    "bare CR in the value": b"X-A: a\rb",
    "bare CR at the end of the value": b"X-A: a\r",
    "bare LF in the value": b"X-A: a\nX-B: b",
    "bare LF right behind the colon": b"X-A:\nX-B: b",
    "bare LF as an empty line": b"X-A: a\r\n\nX-B: b",
    "bare CR as an empty line": b"X-A: a\r\n\rX-B: b",
}


@pytest.mark.parametrize("line", REFUSED.values(), ids=REFUSED.keys())
@pytest.mark.parametrize("last", [False, True], ids=["with a line behind", "last"])
def test_refused_in_requests(line: bytes, last: bool) -> None:
    assert read_every_way(request_bytes(line, *() if last else (b"X-Z: 9",))).status == 400


@pytest.mark.parametrize("line", REFUSED.values(), ids=REFUSED.keys())
def test_refused_in_responses(line: bytes) -> None:
    assert read_every_way(response_bytes(line, b"Content-Length: 0"), Kind.RESPONSE).status == 400


KEPT = {
    "plain": b"X-A: 1",
    "no space": b"X-A:1",
    "tab": b"X-A:\t1",
    "spaces and tabs around": b"X-A: \t 1 \t ",
    "space and tab inside": b"X-A: 1 \t 2",
    "no value": b"X-A:",
    "a value of whitespace": b"X-A: \t ",
    "obs-text": b"X-A: caf\xc3\xa9 \x80\xff",
    "colons": b"X-A: a:b: c",
    "all characters of a token": b"!#$%&'*+-.^`|~09AZaz: 1",
    "a name of one letter": b"x: 1",
    "a very long name": b"X-" + b"a" * 300 + b": 1",
    "length and first letter of a known name": b"Hose: 1",
    "the same in other case": b"hOSE: 1",
    "as long as Content-Length": b"Content-Lengtg: 7",
}


@pytest.mark.parametrize("line", KEPT.values(), ids=KEPT.keys())
def test_unknown_fields_are_forwarded_byte_by_byte_as_they_came(line: bytes) -> None:
    message = read_every_way(request_bytes(line, b"X-A: 2", line)).message
    assert field_lines(message.forwarded) == [b"Host: a.example", line, b"X-A: 2", line]
    message = read_every_way(response_bytes(line, b"Content-Length: 0", line), Kind.RESPONSE).message
    assert field_lines(message.forwarded) == [line, line]


HOSTS = {
    # RFC 9112 section 3.2, RFC 3986 section 3.2.2
    b"a": True,
    b"a.example": True,
    b"A.Example.": True,
    b"a.example:80": True,
    b"a.example:": True,
    b"a_b.example": True,
    b"xn--bcher-kva.example": True,
    b"192.0.2.1:8080": True,
    b"[::1]": True,
    b"[::ffff:192.0.2.1]:80": True,
    b"a=b": True,
    b"": False,
    b":80": False,
    b"a:b": False,
    b"a:80:81": False,
    b"a:123456": False,
    b"a:-1": False,
    b"a:+1": False,
    b"a:8 0": False,
    b"a b": False,
    b"a\tb": False,
    b"a/b": False,
    b"a\\b": False,
    b"a@b": False,
    b"user:1@a": False,
    b"a?b": False,
    b"a#b": False,
    b"a,b": True,  # a sub-delim; nothing splits Host at commas
    b'"a"': False,
    b"<a>": False,
    b"{a}": False,
    b"a|b": False,
    b"a^b": False,
    b"caf\xc3\xa9.example": False,
    b"[::1": False,
    b"::1": False,
    b"[]": False,
    b"[:]": False,
    b"[a]": False,
    b"[::1]a": False,
    b"[::1]:x": False,
    b"[::g]": False,
    b"[1234]": False,
    b"[192.0.2.1]": False,
    b"[fe80::1%eth0]": False,
    b"[v1.a]": False,
    b"]": False,
    b"http://a": False,
}


@pytest.mark.parametrize(("host", "valid"), HOSTS.items())
def test_host(host: bytes, valid: bool) -> None:
    reading = read_every_way(request_bytes(host=host))
    if valid:
        assert reading.message.head["host"] == host
        assert field_lines(reading.message.forwarded) == [b"Host: " + host]
    else:
        assert reading.status == 400
    # In absolute form the same rules hold; there a slash, a question mark or a space ends the authority.
    if not {*b"/?# \t\xc3"} & {*host}:
        assert (read_every_way(request_bytes(line=b"GET http://%b/ HTTP/1.1" % host)).refusal is None) is valid


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (request_bytes(host=None), 400),
        (request_bytes(b"Host: a.example"), 400),
        (request_bytes(b"Host: b.example"), 400),
        (request_bytes(b"HOST: b.example", b"host: c.example"), 400),
        (request_bytes(b"Host: b.example", line=b"GET / HTTP/1.0"), 400),
        (request_bytes(line=b"GET http://b.example/ HTTP/1.1", host=None), 400),
        (request_bytes(b"Host: a", line=b"GET http://b.example/ HTTP/1.1"), 400),
        (request_bytes(line=b"GET http://b.example/ HTTP/1.1", host=b"a b"), 400),
    ],
    ids=["none", "twice the same", "two", "three", "two in 1.0", "none, absolute", "two, absolute", "bad, absolute"],
)
def test_host_is_there_once(data: bytes, status: int) -> None:
    """RFC 9112 section 3.2."""
    assert read_every_way(data).status == status


def test_http_1_0_needs_no_host_and_sends_an_empty_one_on() -> None:
    """RFC 9112 section 3.2: a sender without an authority sends the field with no value."""
    message = read_every_way(request_bytes(b"X-A: 1", line=b"GET / HTTP/1.0", host=None)).message
    assert message.head["host"] == b""
    assert message.forwarded == b"GET / HTTP/1.1\r\nHost: \r\nX-A: 1\r\n\r\n"


def test_host_of_an_absolute_target_replaces_the_field() -> None:
    """RFC 9112 section 3.2.2."""
    message = read_every_way(request_bytes(b"X-A: 1", line=b"GET http://b.example:81/ HTTP/1.1")).message
    assert message.head["host_replaced"] is True
    assert message.forwarded == b"GET / HTTP/1.1\r\nHost: b.example:81\r\nX-A: 1\r\n\r\n"


PERSISTENT = {
    # RFC 9112 section 9.3: (fields, in HTTP/1.1, in HTTP/1.0)
    "nothing": ((), True, False),
    "close": ((b"Connection: close",), False, False),
    "Close": ((b"Connection: Close",), False, False),
    "keep-alive": ((b"Connection: keep-alive",), True, True),
    "Keep-Alive": ((b"Connection: Keep-Alive",), True, True),
    "both": ((b"Connection: keep-alive, close",), False, False),
    "in two fields": ((b"Connection: keep-alive", b"Connection: close"), False, False),
    "in a list with whitespace and empty elements": ((b"Connection: ,\tx ,, close ,",), False, False),
    "close as a part of a word": ((b"Connection: closed, disclose",), True, False),
    "an empty field": ((b"Connection:",), True, False),
    "a field that is not Connection": ((b"Proxy-Connection: close", b"Keep-Alive: timeout=5"), True, False),
}


@pytest.mark.parametrize(("fields", "in_1_1", "in_1_0"), PERSISTENT.values(), ids=PERSISTENT.keys())
def test_persistence(fields: tuple[bytes, ...], in_1_1: bool, in_1_0: bool) -> None:
    for minor, expected in ((1, in_1_1), (0, in_1_0)):
        request = read_every_way(request_bytes(*fields, line=b"GET / HTTP/1.%d" % minor)).message
        assert request.head["persists"] is expected
        assert field_lines(request.forwarded) == [b"Host: a.example"]
        data = response_bytes(*fields, b"Content-Length: 0", line=b"HTTP/1.%d 200 OK" % minor)
        response = read_every_way(data, Kind.RESPONSE).message
        assert response.head["persists"] is expected
        assert field_lines(response.forwarded) == []
