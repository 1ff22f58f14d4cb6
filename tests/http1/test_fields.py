"""Field lines: RFC 9110 section 5, RFC 9112 section 5; what is forwarded: RFC 9110 section 7.6."""

import pytest

from ingressd.http1 import RequestHead, ResponseHead
from tests.http1.reading import Kind, field_lines, read, read_every_way, request_bytes, response_bytes

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
        assert request.head["persistent"] is expected
        assert field_lines(request.forwarded) == [b"Host: a.example"]
        data = response_bytes(*fields, b"Content-Length: 0", line=b"HTTP/1.%d 200 OK" % minor)
        response = read_every_way(data, Kind.RESPONSE).message
        assert response.head["persistent"] is expected
        assert field_lines(response.forwarded) == []


HOP_BY_HOP = [
    # RFC 9110 section 7.6.1, and `Proxy`, which CGI turns into HTTP_PROXY (CVE-2016-5385)
    b"Keep-Alive: timeout=5",
    b"Proxy-Connection: keep-alive",
    b"Proxy-Authorization: Basic YTpi",
    b"Proxy-Authenticate: Basic",
    b"Proxy: http://evil.example",
    b"HTTP2-Settings: AAMAAABkAAQAAP__",
    b"TE: gzip",
    b"Upgrade: websocket",
    b"Connection: x",
    b"KEEP-ALIVE: 1",
    b"pRoXy: x",
]


@pytest.mark.parametrize("line", HOP_BY_HOP)
def test_fields_of_one_connection_are_not_forwarded(line: bytes) -> None:
    for position in range(3):
        fields = [b"X-A: 1", b"X-B: 2"]
        fields.insert(position, line)
        request = read_every_way(request_bytes(*fields)).message
        assert field_lines(request.forwarded) == [b"Host: a.example", b"X-A: 1", b"X-B: 2"]
        response = read_every_way(response_bytes(*fields, b"Content-Length: 0"), Kind.RESPONSE).message
        assert field_lines(response.forwarded) == [b"X-A: 1", b"X-B: 2"]


NAMED = {
    # RFC 9110 section 7.6.1: (fields, those forwarded)
    "before": ((b"Connection: x-a", b"X-A: 1", b"X-B: 2"), [b"X-B: 2"]),
    "behind": ((b"X-A: 1", b"X-B: 2", b"Connection: X-a"), [b"X-B: 2"]),
    "several times": ((b"X-A: 1", b"X-B: 2", b"x-A: 3", b"Connection: x-a"), [b"X-B: 2"]),
    "several": ((b"X-A: 1", b"X-B: 2", b"Connection: x-a , keep-alive,X-B"), []),
    "in two fields": ((b"Connection: x-a", b"X-A: 1", b"Connection: x-b", b"X-B: 2"), []),
    "not there": ((b"Connection: x-c", b"X-A: 1", b"X-B: 2"), [b"X-A: 1", b"X-B: 2"]),
    "only whole names": ((b"Connection: x", b"X-A: 1"), [b"X-A: 1"]),
    "a name that a value looks like": ((b"Connection: x-b", b"X-A: X-B: 1"), [b"X-A: X-B: 1"]),
    "known fields": ((b"Connection: authorization, referer", b"Authorization: a", b"Referer: b"), []),
}


@pytest.mark.parametrize(("fields", "kept"), NAMED.values(), ids=NAMED.keys())
def test_fields_that_connection_names_are_not_forwarded(fields: tuple[bytes, ...], kept: list[bytes]) -> None:
    request = read_every_way(request_bytes(*fields)).message
    assert field_lines(request.forwarded) == [b"Host: a.example", *kept]
    response = read_every_way(response_bytes(*fields, b"Content-Length: 0"), Kind.RESPONSE).message
    assert field_lines(response.forwarded) == kept


def test_connection_cannot_take_away_what_routing_framing_and_trust_rest_on() -> None:
    data = request_bytes(
        b"Connection: host, content-length, transfer-encoding, x-forwarded-proto, x-forwarded-for, x-forwarded-x",
        b"Content-Length: 0",
        b"X-Forwarded-Proto: https",
        b"X-Forwarded-For: 192.0.2.1",
        b"X-Forwarded-X: y",
    )
    message = read_every_way(data, trusted=True).message
    assert message.head["forwarded_for"] == b"192.0.2.1"
    assert message.head["has_proto"] is True
    assert field_lines(message.forwarded) == [
        b"Host: a.example",
        b"X-Forwarded-Proto: https",
        b"X-Forwarded-X: y",
        b"Content-Length: 0",
    ]


def test_connection_may_name_a_thousand_fields() -> None:
    options = b",".join(b"x-%d" % number for number in range(1000))
    fields = [b"X-%d: 1" % number for number in range(80)]
    message = read(request_bytes(b"Connection: " + options, *fields, b"X-Y: 1")).message
    assert field_lines(message.forwarded) == [b"Host: a.example", b"X-Y: 1"]


def test_fields_with_an_underscore_are_dropped_from_requests_only() -> None:
    """CGI, and what follows it, turns `X_Real_IP` and `X-Real-IP` into the same variable."""
    fields = (b"X_Forwarded_For: 192.0.2.1", b"X-A: 1", b"_: 2", b"Content_Length: 7", b"X-B: _", b"a_: 3")
    request = read_every_way(request_bytes(*fields)).message
    assert field_lines(request.forwarded) == [b"Host: a.example", b"X-A: 1", b"X-B: _"]
    assert request.head["content_length"] == -1
    response = read_every_way(response_bytes(*fields, b"Content-Length: 0"), Kind.RESPONSE).message
    assert field_lines(response.forwarded) == list(fields)


FORWARDED = [
    b"X-Forwarded-Proto: https",
    b"X-Forwarded-Host: b.example",
    b"X-Forwarded-Port: 443",
    b"X-Forwarded-Scheme: https",
    b"X-Scheme: https",
    b"Forwarded: for=192.0.2.1",
    b"X-Original-Forwarded-For: 192.0.2.2",
    b"X-Forwarded-Server: c.example",
    b"X-Forwarded-Client-Cert: By=spiffe://a",
    b"X-Forwarded-By-A-Name-Of-More-Than-Thirty-Two-Letters: 1",
    b"x-forwarded-: 1",
]
CONSUMED = [b"X-Forwarded-For: 192.0.2.1", b"X-Real-IP: 192.0.2.3", b"X-Request-ID: abc", b"x-FORWARDED-for: 192.0.2.4"]


def test_nothing_that_an_untrusted_client_says_of_others_is_forwarded() -> None:
    message = read_every_way(request_bytes(*FORWARDED, b"X-A: 1", *CONSUMED)).message
    assert field_lines(message.forwarded) == [b"Host: a.example", b"X-A: 1"]
    assert message.head["forwarded_for"] == b"192.0.2.1, 192.0.2.4"
    assert message.head["request_id"] == b""
    for name in ("has_proto", "has_host", "has_port", "has_scheme", "has_x_scheme"):
        assert message.head[name] is False


def test_what_a_trusted_proxy_says_is_kept_except_what_is_written_anew() -> None:
    message = read_every_way(request_bytes(*FORWARDED, b"X-A: 1", *CONSUMED), trusted=True).message
    assert field_lines(message.forwarded) == [b"Host: a.example", *FORWARDED, b"X-A: 1"]
    assert message.head["forwarded_for"] == b"192.0.2.1, 192.0.2.4"
    assert message.head["request_id"] == b"abc"
    for name in ("has_proto", "has_host", "has_port", "has_scheme", "has_x_scheme"):
        assert message.head[name] is True


@pytest.mark.parametrize(
    ("line", "flag"),
    list(zip(FORWARDED, ("has_proto", "has_host", "has_port", "has_scheme", "has_x_scheme"), strict=False)),
)
def test_each_trusted_field_sets_its_own_flag(line: bytes, flag: str) -> None:
    head = read_every_way(request_bytes(line), trusted=True).message.head
    assert [name for name in head if name.startswith("has_") and head[name]] == [flag]


def test_forwarded_fields_of_a_response_are_nothing_special() -> None:
    fields = (*FORWARDED, b"X-Forwarded-For: a", b"X-Request-ID: b", b"X-Real-IP: c")
    message = read_every_way(response_bytes(*fields, b"Content-Length: 0"), Kind.RESPONSE).message
    assert field_lines(message.forwarded) == list(fields)


def test_expect_is_forwarded_and_noted() -> None:
    """RFC 9110 section 10.1.1: passed through."""
    message = read_every_way(request_bytes(b"Expect: 100-Continue")).message
    assert message.head["expect_continue"] is True
    assert field_lines(message.forwarded) == [b"Host: a.example", b"Expect: 100-Continue"]
    message = read_every_way(request_bytes(b"Expect: something")).message
    assert message.head["expect_continue"] is False
    assert field_lines(message.forwarded) == [b"Host: a.example", b"Expect: something"]


def test_expect_of_an_http_1_0_client_is_ignored() -> None:
    """RFC 9110 section 10.1.1: it does not wait, and could not read a 100."""
    message = read_every_way(request_bytes(b"Expect: 100-continue", line=b"POST / HTTP/1.0")).message
    assert message.head["expect_continue"] is False
    assert field_lines(message.forwarded) == [b"Host: a.example"]


UPGRADE = {
    # RFC 9110 section 7.8: (line, fields, what is asked for upstream)
    "WebSocket": (b"GET / HTTP/1.1", (b"Connection: Upgrade", b"Upgrade: websocket"), b"websocket"),
    "in other order": (b"GET / HTTP/1.1", (b"Upgrade: WebSocket", b"Connection: keep-alive, upgrade"), b"WebSocket"),
    "a list": (b"GET / HTTP/1.1", (b"Connection: upgrade", b"Upgrade: a/1, b"), b"a/1, b"),
    "not named in Connection": (b"GET / HTTP/1.1", (b"Upgrade: websocket",), b""),
    "nothing to upgrade to": (b"GET / HTTP/1.1", (b"Connection: upgrade",), b""),
    "HTTP/1.0": (b"GET / HTTP/1.0", (b"Connection: upgrade", b"Upgrade: websocket"), b""),
    # RFC 9113 section 3.1 took it back; a proxy that passes it on opens a way past itself
    "h2c": (b"GET / HTTP/1.1", (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c"), b""),
    "H2C": (b"GET / HTTP/1.1", (b"Connection: upgrade", b"Upgrade: H2C"), b""),
    "h2c in a list": (b"GET / HTTP/1.1", (b"Connection: upgrade", b"Upgrade: websocket, h2c"), b""),
    "h2c with a version": (b"GET / HTTP/1.1", (b"Connection: upgrade", b"Upgrade: h2c-14"), b""),
    "h2c and another": (
        b"GET / HTTP/1.1",
        (b"Connection: upgrade", b"Upgrade: h2c", b"Upgrade: websocket"),
        b"websocket",
    ),
}


@pytest.mark.parametrize(("line", "fields", "upgrade"), UPGRADE.values(), ids=UPGRADE.keys())
def test_upgrade(line: bytes, fields: tuple[bytes, ...], upgrade: bytes) -> None:
    message = read_every_way(request_bytes(*fields, line=line)).message
    assert message.head["upgrade"] == upgrade
    added = [b"Connection: Upgrade", b"Upgrade: " + upgrade] if upgrade else []
    assert field_lines(message.forwarded) == [b"Host: a.example", *added]


def test_an_upgrade_leaves_no_room_for_te() -> None:
    fields = (b"Connection: Upgrade, TE", b"TE: trailers", b"Upgrade: websocket")
    message = read_every_way(request_bytes(*fields)).message
    added = [b"Connection: Upgrade", b"Upgrade: websocket"]
    assert field_lines(message.forwarded) == [b"Host: a.example", *added]


TE = {
    # RFC 9110 section 10.1.4
    "trailers": (b"TE: trailers", True),
    "Trailers": (b"TE: Trailers", True),
    "in a list": (b"TE: gzip, trailers;q=0.5", True),
    "a coding": (b"TE: deflate", False),
    "empty": (b"TE:", False),
}


@pytest.mark.parametrize(("field", "wanted"), TE.values(), ids=TE.keys())
def test_te_is_reduced_to_trailers(field: bytes, wanted: bool) -> None:
    message = read_every_way(request_bytes(field, b"Connection: TE")).message
    assert message.head["te_trailers"] is wanted
    added = [b"Connection: TE", b"TE: trailers"] if wanted else []
    assert field_lines(message.forwarded) == [b"Host: a.example", *added]


def test_what_the_log_asks_for() -> None:
    fields = (b"User-Agent:  curl/8 ", b"REFERER: http://b/", b"authorization: Basic YTpi", b"Accept: */*")
    message = read_every_way(request_bytes(*fields)).message
    assert message.head["user_agent"] == b"curl/8"
    assert message.head["referer"] == b"http://b/"
    assert message.head["authorization"] == b"Basic YTpi"
    assert message.head["accept"] == b"*/*"
    assert field_lines(message.forwarded) == [b"Host: a.example", *fields]


def test_get_finds_forwarded_fields() -> None:
    head = RequestHead(False)
    data = request_bytes(b"X-A:  1\t", b"Keep-Alive: 5", b"x-a: 2", b"X-B:")
    assert head.feed(data, 0) == len(data)
    assert head.get(b"x-a") == b"1"
    assert head.get(b"x-b") == b""
    assert head.get(b"keep-alive") is None
    assert head.get(b"x") is None


def test_forward_appends_what_is_added_behind_all_that_was_received() -> None:
    data = request_bytes(b"X-A: 1", b"Content-Length: 3", line=b"POST /a HTTP/1.0")
    head = RequestHead(False)
    head.feed(data, 0)
    assert head.forward(b"X-B: 2\r\nX-C: 3\r\n") == (
        b"POST /a HTTP/1.1\r\nHost: a.example\r\nX-A: 1\r\nContent-Length: 3\r\nX-B: 2\r\nX-C: 3\r\n\r\n"
    )
    data = response_bytes(b"X-A: 1", b"Content-Length: 3", line=b"HTTP/1.0 404 Not Found")
    response = ResponseHead()
    response.feed(data, 0)
    assert response.forward(b"Content-Length: 3\r\n") == (
        b"HTTP/1.1 404 Not Found\r\nX-A: 1\r\nContent-Length: 3\r\n\r\n"
    )


def test_a_head_is_read_where_it_begins_and_leaves_what_follows() -> None:
    before, data, behind = b"\xff" * 7, request_bytes(b"X-A: 1"), b"\x00 body"
    head = RequestHead(False)
    assert head.feed(before + data + behind, len(before)) == len(before) + len(data)
    assert (head.start, head.end, head.line) == (len(before), len(before) + len(data), b"GET / HTTP/1.1")
    assert head.forward(b"") == data
    pieces = RequestHead(False)
    ends = [pieces.feed(before + data[:length], len(before)) for length in range(len(data) + 1)]
    assert ends == [-1] * len(data) + [len(before) + len(data)]
    assert pieces.forward(b"") == data
