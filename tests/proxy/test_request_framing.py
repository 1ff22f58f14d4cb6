"""A request that could be read in two ways is refused and its connection closed; none of it is forwarded (RFC 9112)."""

import pytest

from tests.kit import Client, chunked, get, request
from tests.proxy.conftest import Proxy

pytestmark = pytest.mark.asyncio(loop_scope="module")

START = b"POST / HTTP/1.1\r\nHost: a.example\r\n"
CHUNKED = START + b"Transfer-Encoding: chunked\r\n\r\n"


def post(*lines: bytes, body: bytes = b"") -> bytes:
    return START + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body


REFUSED = {
    # message framing, section 6
    "length-and-chunked": (400, post(b"Content-Length: 5", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n")),
    "chunked-and-length": (400, post(b"Transfer-Encoding: chunked", b"Content-Length: 5", body=b"0\r\n\r\n")),
    "two-lengths": (400, post(b"Content-Length: 5", b"Content-Length: 6", body=b"hello")),
    "two-equal-lengths": (400, post(b"Content-Length: 5", b"Content-Length: 5", body=b"hello")),
    "list-of-lengths": (400, post(b"Content-Length: 5, 5", body=b"hello")),
    "signed-length": (400, post(b"Content-Length: +5", body=b"hello")),
    "negative-length": (400, post(b"Content-Length: -5", body=b"hello")),
    "hexadecimal-length": (400, post(b"Content-Length: 0x5", body=b"hello")),
    "empty-length": (400, post(b"Content-Length:", body=b"hello")),
    "length-in-words": (400, post(b"Content-Length: five", body=b"hello")),
    "length-with-space": (400, post(b"Content-Length: 5 5", body=b"hello")),
    "length-with-underscore": (400, post(b"Content-Length: 1_0", body=b"hello")),
    "length-beyond-integers": (400, post(b"Content-Length: 99999999999999999999", body=b"hello")),
    "unknown-coding": (501, post(b"Transfer-Encoding: gzip")),
    "chunked-not-last": (501, post(b"Transfer-Encoding: chunked, identity", body=b"0\r\n\r\n")),
    "chunked-twice": (400, post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n")),
    "chunked-with-tab-inside": (501, post(b"Transfer-Encoding: chun\tked", body=b"0\r\n\r\n")),
    "identity-coding": (501, post(b"Transfer-Encoding: identity", body=b"hello")),
    "empty-coding": (501, post(b"Transfer-Encoding:", body=b"hello")),
    "chunked-in-1.0": (400, CHUNKED.replace(b"1.1", b"1.0") + b"0\r\n\r\n"),
    # chunks, section 7.1
    "chunk-size-missing": (400, CHUNKED + b"\r\nhello\r\n0\r\n\r\n"),
    "chunk-size-not-hexadecimal": (400, CHUNKED + b"5g\r\nhello\r\n0\r\n\r\n"),
    "chunk-size-with-0x": (400, CHUNKED + b"0x5\r\nhello\r\n0\r\n\r\n"),
    "chunk-size-negative": (400, CHUNKED + b"-5\r\nhello\r\n0\r\n\r\n"),
    "chunk-size-with-space": (400, CHUNKED + b"5 \r\nhello\r\n0\r\n\r\n"),
    "chunk-size-beyond-integers": (400, CHUNKED + b"10000000000000005\r\nhello\r\n0\r\n\r\n"),
    "chunk-size-ended-by-line-feed": (400, CHUNKED + b"5\nhello\r\n0\r\n\r\n"),
    "chunk-longer-than-its-size": (400, CHUNKED + b"4\r\nhello\r\n0\r\n\r\n"),
    "chunk-shorter-than-its-size": (400, CHUNKED + b"6\r\nhello\r\n0\r\n\r\n"),
    "chunk-extension-with-line-feed": (400, CHUNKED + b"5;a\nb\r\nhello\r\n0\r\n\r\n"),
    "chunk-extension-too-long": (400, CHUNKED + b"5;" + b"x" * 2000 + b"\r\nhello\r\n0\r\n\r\n"),
    "trailer-folded": (400, CHUNKED + chunked(b"x", trailers=b"A: 1\r\n 2\r\n")),
    "trailer-malformed": (400, CHUNKED + chunked(b"x", trailers=b"A 1\r\n")),
    "trailer-content-length": (400, CHUNKED + chunked(b"x", trailers=b"Content-Length: 3\r\n")),
    "trailer-transfer-encoding": (400, CHUNKED + chunked(b"x", trailers=b"Transfer-Encoding: chunked\r\n")),
    "trailer-host": (400, CHUNKED + chunked(b"x", trailers=b"Host: b.example\r\n")),
    "trailers-too-large": (431, CHUNKED + chunked(b"x", trailers=b"A: %b\r\n" % (b"x" * 8000) * 5)),
    # fields, section 5
    "bare-line-feed-after-request-line": (400, b"GET / HTTP/1.1\nHost: a.example\r\n\r\n"),
    "bare-line-feed-after-field": (400, b"GET / HTTP/1.1\r\nHost: a.example\nA: 1\r\n\r\n"),
    "bare-line-feeds-only": (400, b"GET / HTTP/1.1\nHost: a.example\n\n"),
    "bare-carriage-return-in-value": (400, get("/", "A: 1\rB: 2")),
    "bare-carriage-return-before-end": (400, b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\r\n"),
    "folded-field": (400, get("/", "A: 1", " 2")),
    "folded-by-tab": (400, get("/", "A: 1", "\t2")),
    "folded-first-field": (400, b"GET / HTTP/1.1\r\n Host: a.example\r\n\r\n"),
    "space-before-colon": (400, get("/", "Content-Length : 5")),
    "tab-before-colon": (400, get("/", "A\t: 5")),
    "name-empty": (400, get("/", ": value")),
    "name-with-space": (400, get("/", "A B: 1")),
    "name-with-obs-text": (400, get("/", "\xe9: 1")),
    "no-colon": (400, get("/", "nothing")),
    "nul-in-value": (400, get("/", "A: \x001")),
    "control-character-in-value": (400, get("/", "A: \x01")),
    "delete-in-value": (400, get("/", "A: \x7f")),
    # Host, section 3.2
    "no-host": (400, b"GET / HTTP/1.1\r\n\r\n"),
    "two-hosts": (400, get("/", "Host: a.example")),
    "two-different-hosts": (400, get("/", "host: b.example")),
    "empty-host": (400, get(host="")),
    "host-with-space": (400, get(host="a.example b.example")),
    "host-with-path": (400, get(host="a.example/x")),
    "host-with-user": (400, get(host="user@a.example")),
    "host-with-bad-port": (400, get(host="a.example:http")),
    "host-list": (400, get(host="a.example:80:80")),
    "host-bad-literal": (400, get(host="[::1")),
    # the request line, section 3
    "no-version": (400, b"GET /\r\nHost: a.example\r\n\r\n"),
    "two-spaces-before-target": (400, b"GET  / HTTP/1.1\r\nHost: a.example\r\n\r\n"),
    "two-spaces-before-version": (400, b"GET /  HTTP/1.1\r\nHost: a.example\r\n\r\n"),
    "tab-for-space": (400, b"GET\t/ HTTP/1.1\r\nHost: a.example\r\n\r\n"),
    "space-behind-version": (400, b"GET / HTTP/1.1 \r\nHost: a.example\r\n\r\n"),
    "leading-space": (400, b" GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"),
    "method-with-control-character": (400, b"G\x00T / HTTP/1.1\r\nHost: a.example\r\n\r\n"),
    "lower-case-version": (400, b"GET / http/1.1\r\nHost: a.example\r\n\r\n"),
    "version-with-more-digits": (400, b"GET / HTTP/1.11\r\nHost: a.example\r\n\r\n"),
    "http-0.9": (400, b"GET /\r\n\r\n"),
    "http-1.2": (505, request(version="1.2")),
    "http-2-preface": (505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "target-with-control-character": (400, b"GET /\x01 HTTP/1.1\r\nHost: a.example\r\n\r\n"),
    "target-with-obs-text": (400, b"GET /\xe9 HTTP/1.1\r\nHost: a.example\r\n\r\n"),
    "target-with-fragment": (400, get("/#x")),
    "target-without-slash": (400, get("index.html")),
    "target-of-other-scheme": (400, get("ftp://a.example/")),
    "authority-with-user": (400, get("http://user@a.example/")),
    "tls-hello": (400, bytes.fromhex("16030100") + b"\x05hello" + b"\r\n\r\n"),
    # limits
    "long-request-line": (414, get("/" + "x" * 8200)),
    "endless-request-line": (414, b"GET /" + b"x" * 70_000),
    "long-field": (431, get("/", "A: " + "x" * 8200)),
    "endless-field": (431, b"GET / HTTP/1.1\r\nHost: a.example\r\nA: " + b"x" * 70_000),
    "long-head": (431, get("/", *["A: " + "x" * 8000] * 5)),
    "many-fields": (431, get("/", *["A: 1"] * 100)),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_refused_with_nothing_forwarded_and_the_connection_closed(case: str, proxy: Proxy) -> None:
    status, data = REFUSED[case]
    async with Client(proxy.worker.port) as client:
        await client.send(data + get("/smuggled"))
        response = await client.response()
        assert (response.status, response.get(b"connection")) == (status, b"close")
        assert await client.ended()
    async with Client(proxy.worker.port) as client:
        await client.ask(get("/after"))
    # Whatever had been forwarded would have come before this one.
    assert [message.target for message in proxy.upstream.requests] == [b"/after"]


@pytest.mark.parametrize("case", [name for name in REFUSED if name.startswith(("chunk-", "trailer"))])
async def test_a_body_that_goes_wrong_after_its_head_was_forwarded_ends_both_connections(
    case: str, proxy: Proxy
) -> None:
    status, data = REFUSED[case]
    head, body = CHUNKED, data.removeprefix(CHUNKED)
    async with Client(proxy.worker.port) as client:
        count = len(proxy.upstream.connections)
        await client.send(head)
        async with Client(proxy.worker.port) as other:
            # When this is answered the head has been read, and forwarded on a connection of its own.
            await other.ask(get("/other"))
        await client.send(body + get("/smuggled"))
        assert (await client.response()).status == status
        assert await client.ended()
    async with Client(proxy.worker.port) as client:
        await client.ask(get("/after"))
    assert [message.target for message in proxy.upstream.requests] == [b"/other", b"/after"]
    assert len(proxy.upstream.connections) <= count + 2


ACCEPTED = {
    "length-zero": post(b"Content-Length: 0"),
    "length-with-zeros": post(b"Content-Length: 0005", body=b"hello"),
    "length-with-blanks": post(b"Content-Length: \t 5 \t", body=b"hello"),
    "names-in-any-case": post(b"CONTENT-LENGTH: 5", body=b"hello"),
    "no-blank-behind-colon": post(b"Content-Length:5", body=b"hello"),
    "chunked-in-any-case": post(b"Transfer-Encoding: CHUNKED", body=b"5\r\nhello\r\n0\r\n\r\n"),
    "chunk-size-with-zeros": CHUNKED + b"0000005\r\nhello\r\n000\r\n\r\n",
    "empty-value": get("/", "A:"),
    "value-of-obs-text": get("/", "A: \xe9\xff"),
    "hundred-fields": get("/", *["A: 1"] * 99),
    "longest-field": get("/", "A: " + "x" * (8192 - 5)),
    "host-with-port": get(host="a.example:65535"),
}


@pytest.mark.parametrize("case", ACCEPTED)
async def test_accepted_and_the_connection_goes_on(case: str, proxy: Proxy) -> None:
    async with Client(proxy.worker.port) as client:
        await client.send(ACCEPTED[case] + get("/next"))
        for _ in range(2):
            assert (await client.response()).status == 200
    assert [message.body for message in proxy.upstream.requests] == [
        b"hello" if b"hello" in ACCEPTED[case] else b"",
        b"",
    ]
