"""Which fields are forwarded, and which are taken note of: RFC 9110 section 7.6."""

import pytest

from ingressd.http1 import RequestHead, ResponseHead
from tests.http1.reading import Kind, field_lines, read, read_every_way, request_bytes, response_bytes

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


@pytest.mark.parametrize("letter", [b"x", b"X", b"h", b"z", b"1", b"~"])
def test_a_name_of_any_length_is_known_for_what_it_is(letter: bytes) -> None:
    # Up to 31 bytes a name is looked up by its length and its first letter, beyond them it is compared.
    for length in range(1, 70):
        line = letter * length + b": 1"
        message = read_every_way(request_bytes(line), splits=()).message
        assert field_lines(message.forwarded) == [b"Host: a.example", line]
        line = b"X-Forwarded-" + letter * (length - 1) + b": 1"
        message = read_every_way(request_bytes(line), splits=()).message
        assert field_lines(message.forwarded) == [b"Host: a.example"]


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
