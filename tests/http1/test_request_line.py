"""Request lines: RFC 9112 section 3. The name of a case is the rule."""

import pytest

from tests.http1.reading import field_lines, read_every_way, request_bytes

REFUSED = {
    # 3: method SP request-target SP HTTP-version
    "two spaces before the target": (b"GET  / HTTP/1.1", 400),
    "two spaces before the version": (b"GET /  HTTP/1.1", 400),
    "tab as separator": (b"GET\t/ HTTP/1.1", 400),
    "tab before the version": (b"GET /\tHTTP/1.1", 400),
    "space at the end": (b"GET / HTTP/1.1 ", 400),
    "space at the start": (b" GET / HTTP/1.1", 400),
    "no version (HTTP/0.9)": (b"GET /", 400),
    "no target": (b"GET HTTP/1.1", 400),
    "no target, but both spaces": (b"GET  HTTP/1.1", 400),
    "no target for CONNECT": (b"CONNECT  HTTP/1.1", 400),
    "space in the target": (b"GET /a b HTTP/1.1", 400),
    # 2.2: a bare CR or LF is no line end and no space
    "bare CR in the target": (b"GET /a\rb HTTP/1.1", 400),
    "bare CR at the end": (b"GET / HTTP/1.1\r", 400),
    "bare LF in the target": (b"GET /a\nb HTTP/1.1", 400),
    "NUL in the target": (b"GET /\0 HTTP/1.1", 400),
    "form feed as separator": (b"GET\x0c/ HTTP/1.1", 400),
    # 3.1: method = token
    "no method": (b"/ HTTP/1.1", 400),
    "colon in the method": (b"GE:T / HTTP/1.1", 400),
    "quote in the method": (b'"GET" / HTTP/1.1', 400),
    "NUL in the method": (b"GET\0 / HTTP/1.1", 400),
    "letters beyond ASCII in the method": (b"G\xc3\x89T / HTTP/1.1", 400),
    # 3.2: the four forms of a target
    "relative target": (b"GET a/b HTTP/1.1", 400),
    "authority form without CONNECT": (b"GET a.example:80 HTTP/1.1", 400),
    "asterisk without OPTIONS": (b"GET * HTTP/1.1", 400),
    "asterisk and more": (b"OPTIONS *a HTTP/1.1", 400),
    "fragment": (b"GET /a#b HTTP/1.1", 400),
    "letters beyond ASCII in the target": (b"GET /\xc3\xa9 HTTP/1.1", 400),
    "DEL in the target": (b"GET /\x7f HTTP/1.1", 400),
    "absolute form of another scheme": (b"GET ftp://a.example/ HTTP/1.1", 400),
    "absolute form without a scheme": (b"GET ://a.example/ HTTP/1.1", 400),
    "absolute form with one slash": (b"GET http:/a.example/ HTTP/1.1", 400),
    "absolute form without a host": (b"GET http:///a HTTP/1.1", 400),
    "absolute form with a port alone": (b"GET http://:80/a HTTP/1.1", 400),
    "absolute form with userinfo (RFC 9110 section 4.2.4)": (b"GET http://user:pw@a.example/ HTTP/1.1", 400),
    "absolute form with userinfo without password": (b"GET http://user@a.example/ HTTP/1.1", 400),
    "absolute form with a word as port": (b"GET http://a.example:http/ HTTP/1.1", 400),
    "absolute form with a backslash in the host": (b"GET http://a.example\\b/ HTTP/1.1", 400),
    # 2.3: HTTP-version = HTTP-name "/" DIGIT "." DIGIT, case-sensitive
    "version in lower case": (b"GET / http/1.1", 400),
    "version without minor": (b"GET / HTTP/1", 400),
    "version with two digits": (b"GET / HTTP/1.10", 400),
    "version with a leading zero": (b"GET / HTTP/01.1", 400),
    "version with a letter": (b"GET / HTTP/1.x", 400),
    "version with a comma": (b"GET / HTTP/1,1", 400),
    "version of another protocol": (b"GET / ICY/1.0", 400),
    "HTTP/0.9": (b"GET / HTTP/0.9", 505),
    "HTTP/1.2": (b"GET / HTTP/1.2", 505),
    "HTTP/2.0": (b"GET / HTTP/2.0", 505),
    "HTTP/3.0": (b"GET / HTTP/3.0", 505),
    "the preface of HTTP/2 (RFC 9113 section 3.4)": (b"PRI * HTTP/2.0", 505),
}


@pytest.mark.parametrize(("line", "status"), REFUSED.values(), ids=REFUSED.keys())
def test_refused(line: bytes, status: int) -> None:
    assert read_every_way(request_bytes(line=line)).status == status


ACCEPTED = {
    # line: (method, target forwarded, path, host, minor)
    "origin form": (b"GET /a/b?c=d HTTP/1.1", (b"GET", b"/a/b?c=d", b"/a/b", b"a.example", 1)),
    "query alone": (b"GET /?q HTTP/1.1", (b"GET", b"/?q", b"/", b"a.example", 1)),
    "a second question mark": (b"GET /a?b?c/../d HTTP/1.1", (b"GET", b"/a?b?c/../d", b"/a", b"a.example", 1)),
    "characters that browsers do not encode": (
        b'GET /a|b{c}^`?x="<>\\ HTTP/1.1',
        (b"GET", b'/a|b{c}^`?x="<>\\', b"/a|b{c}^`", b"a.example", 1),
    ),
    "a target that is only slashes": (b"GET //// HTTP/1.1", (b"GET", b"////", b"////", b"a.example", 1)),
    "what looks like absolute form behind a slash": (
        b"GET /http://b.example/ HTTP/1.1",
        (b"GET", b"/http://b.example/", b"/http://b.example/", b"a.example", 1),
    ),
    "HTTP/1.0": (b"GET / HTTP/1.0", (b"GET", b"/", b"/", b"a.example", 0)),
    "a method of one's own": (b"X-FR.OB!1 / HTTP/1.1", (b"X-FR.OB!1", b"/", b"/", b"a.example", 1)),
    "a method in lower case is another method": (b"get / HTTP/1.1", (b"get", b"/", b"/", b"a.example", 1)),
    # 3.2.2: the host of an absolute target replaces Host, and origin form is forwarded
    "absolute form": (b"GET http://b.example/a?b HTTP/1.1", (b"GET", b"/a?b", b"/a", b"b.example", 1)),
    "absolute form with port": (b"GET http://b.example:8080/ HTTP/1.1", (b"GET", b"/", b"/", b"b.example:8080", 1)),
    "absolute form of https": (b"GET HTTPS://b.example/ HTTP/1.1", (b"GET", b"/", b"/", b"b.example", 1)),
    "absolute form of IPv6": (b"GET http://[::1]:80/a HTTP/1.1", (b"GET", b"/a", b"/a", b"[::1]:80", 1)),
    "absolute form without path": (b"GET http://b.example HTTP/1.1", (b"GET", b"/", b"/", b"b.example", 1)),
    "absolute form with query alone": (b"GET http://b.example?c/d HTTP/1.1", (b"GET", b"/?c/d", b"/", b"b.example", 1)),
    "absolute form in HTTP/1.0": (b"GET http://b.example/ HTTP/1.0", (b"GET", b"/", b"/", b"b.example", 0)),
    # 3.2.4
    "asterisk form": (b"OPTIONS * HTTP/1.1", (b"OPTIONS", b"*", b"*", b"a.example", 1)),
    "asterisk from absolute form": (b"OPTIONS http://b.example HTTP/1.1", (b"OPTIONS", b"*", b"*", b"b.example", 1)),
    "OPTIONS of one resource": (b"OPTIONS /a HTTP/1.1", (b"OPTIONS", b"/a", b"/a", b"a.example", 1)),
    "OPTIONS of the root": (b"OPTIONS http://b.example/ HTTP/1.1", (b"OPTIONS", b"/", b"/", b"b.example", 1)),
    # 3.2.3: refused later, with 405; here only its end must be found
    "CONNECT": (b"CONNECT b.example:443 HTTP/1.1", (b"CONNECT", b"b.example:443", b"b.example:443", b"a.example", 1)),
    "CONNECT of IPv6": (b"CONNECT [::1]:443 HTTP/1.1", (b"CONNECT", b"[::1]:443", b"[::1]:443", b"a.example", 1)),
}


@pytest.mark.parametrize(("line", "expected"), ACCEPTED.values(), ids=ACCEPTED.keys())
def test_accepted(line: bytes, expected: tuple[bytes, bytes, bytes, bytes, int]) -> None:
    message = read_every_way(request_bytes(line=line)).message
    head = message.head
    assert (head["method"], head["target"], head["path"], head["host"], head["minor"]) == expected
    method, target, _, host, _ = expected
    assert head["line"] == line
    assert message.forwarded.startswith(b"%b %b HTTP/1.1\r\n" % (method, target))
    assert field_lines(message.forwarded) == [b"Host: " + host]


NORMAL = {
    b"/": True,
    b"/a/b/": True,
    b"/a.b/c..d/e.": True,
    b"/a?b=/../%2f//": True,
    b"*": True,
    b"//": False,
    b"/a//b": False,
    b"/./a": False,
    b"/a/..": False,
    b"/.well-known/x": False,  # in normal form, but telling costs more than normalising it
    b"/a%20b": False,
    b"http://b.example/a": False,
}


@pytest.mark.parametrize(("target", "normal"), NORMAL.items())
def test_tells_which_paths_are_normal_already(target: bytes, normal: bool) -> None:
    method = b"OPTIONS" if target == b"*" else b"GET"
    message = read_every_way(request_bytes(line=method + b" " + target + b" HTTP/1.1")).message
    assert message.head["path_normal"] is normal


@pytest.mark.parametrize("count", range(5))
def test_empty_lines_before_a_request_are_overlooked(count: int) -> None:
    """RFC 9112 section 2.2: at least one."""
    message = read_every_way(b"\r\n" * count + request_bytes()).message
    assert message.head["start"] == 2 * count
    assert message.head["line"] == b"GET / HTTP/1.1"


def test_many_empty_lines_before_a_request_are_refused() -> None:
    assert read_every_way(b"\r\n" * 5 + request_bytes()).status == 400


@pytest.mark.parametrize("start", [b"\n", b"\r", b"\n\r\n", b"\r\r\n", b" \r\n", b"\0"])
def test_other_bytes_before_a_request_are_refused(start: bytes) -> None:
    assert read_every_way(start + request_bytes()).status == 400


@pytest.mark.parametrize("hello", [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"\x80.\x01"])
def test_another_protocol_is_refused_by_its_first_byte(hello: bytes) -> None:
    """A client that speaks TLS to this port waits for an answer, and sends no line feed."""
    assert read_every_way(hello).status == 400


def test_empty_lines_alone_are_no_request() -> None:
    reading = read_every_way(b"\r\n\r\n\r\n")
    assert not reading.messages
    assert not reading.unfinished


@pytest.mark.parametrize("end", range(1, len(request_bytes())))
def test_a_part_of_a_head_is_unfinished(end: int) -> None:
    reading = read_every_way(request_bytes()[:end])
    assert not reading.messages
    assert reading.unfinished
