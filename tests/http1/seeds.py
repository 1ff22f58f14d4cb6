"""Valid streams to start from, as they are met in the wild, and the damaged ones made of them."""

import random
from collections.abc import Iterator

from tests.http1.messages import mutate
from tests.http1.reading import Kind, chunked_bytes, request_bytes, response_bytes

REQUESTS = (
    request_bytes(),
    request_bytes(b"User-Agent: curl/8.5.0", b"Accept: */*"),
    request_bytes(line=b"GET / HTTP/1.0", host=None),
    request_bytes(b"Connection: close", line=b"HEAD /a/b;c=d?e=f&g HTTP/1.1"),
    request_bytes(b"Content-Length: 5", b"Expect: 100-continue", line=b"POST /form HTTP/1.1") + b"hello",
    request_bytes(b"Transfer-Encoding: chunked", b"TE: trailers", line=b"PUT /x HTTP/1.1")
    + b"5;a=b\r\nhello\r\n1\r\n!\r\n0\r\nX-Checksum: 1\r\n\r\n",
    request_bytes(
        b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13", line=b"GET /ws HTTP/1.1"
    ),
    request_bytes(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk"),
    request_bytes(line=b"OPTIONS * HTTP/1.1"),
    request_bytes(line=b"GET http://b.example:8080/a?b HTTP/1.1"),
    request_bytes(line=b"CONNECT b.example:443 HTTP/1.1", host=b"b.example:443"),
    request_bytes(b"X-Forwarded-For: 192.0.2.1, 192.0.2.2", b"X-Forwarded-Proto: https", b"X-Request-ID: 1", b"X_A: 1"),
    request_bytes(b"Cookie: a=b; c=d", b"Connection: x-a, keep-alive", b"X-A: 1", b"Authorization: Basic YTpi"),
    b"\r\n" + request_bytes(line=b"GET /%7Euser/../a//b/./ HTTP/1.1", host=b"[2001:db8::1]:80"),
    request_bytes(line=b"GET /1 HTTP/1.1") + request_bytes(b"Content-Length: 3", line=b"POST /2 HTTP/1.1") + b"abc",
)
RESPONSES = (
    response_bytes(b"Content-Length: 5", b"Content-Type: text/plain") + b"hello",
    response_bytes(b"Transfer-Encoding: chunked", b"Trailer: X-A")
    + chunked_bytes(b"hello", b"!", trailers=b"X-A: 1\r\n"),
    response_bytes(b"Server: x", b"Connection: close") + b"hello",
    response_bytes(b"Connection: keep-alive", b"Content-Length: 0", line=b"HTTP/1.0 404 Not Found"),
    response_bytes(line=b"HTTP/1.1 204 No Content"),
    response_bytes(b"Content-Length: 9", line=b"HTTP/1.1 304 Not Modified"),
    response_bytes(line=b"HTTP/1.1 100 Continue") + response_bytes(b"Content-Length: 2") + b"ok",
    response_bytes(b"Connection: upgrade", b"Upgrade: websocket", line=b"HTTP/1.1 101 Switching Protocols")
    + b"\x81\x00",
    response_bytes(b"Set_Cookie: a", b"Connection: x-a", b"X-A: 1", b"Content-Length: 0", line=b"HTTP/1.1 200"),
)


def streams(damaged: int, seed: int = 1) -> Iterator[tuple[Kind, bytes]]:
    """All seeds, and `damaged` of them with up to three changes each: the same ones each time for the same `seed`."""
    seeds = [(Kind.REQUEST, data) for data in REQUESTS]
    seeds += [(kind, data) for data in RESPONSES for kind in (Kind.RESPONSE, Kind.RESPONSE_TO_HEAD)]
    yield from seeds
    choices = random.Random(seed)
    for _ in range(damaged):
        kind, data = seeds[choices.randrange(len(seeds))]
        yield kind, mutate(data, choices)
