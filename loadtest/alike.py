"""Checks that proxies do the same work by HTTP and HTTPS: that each answers as its upstream does, and asks it the same.

What may differ is in MAY_DIFFER, with why; everything else has to be the same byte for byte.
"""

import contextlib
import hashlib
import http.client
import ssl
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import generators
import rig
from rig import ECHO_HOST, LOOPBACK, Process, RigError, Upstreams

MAY_DIFFER = {
    "connection": "concerns one connection",
    "keep-alive": "concerns one connection",
    "date": "the second in which it was written",
    "server": "Envoy and Caddy may put their own",
    "via": "Caddy writes it",
    "x-envoy-external-address": "Envoy writes it beside X-Real-IP",
    "x-original-forwarded-for": "ingressd keeps there what the client said",
}
"""Names of fields, of requests and of responses, that are not compared."""
REQUEST_ID = "x-request-id"
TIMEOUT = 30.0
HANDSHAKES = 0.2
"""Seconds of handshakes of each kind."""
LOG_WITHIN = 10.0
"""Seconds until a request is in the access log."""

Fields = list[tuple[str, str]]


class Asked(NamedTuple):
    """A request of which every answer has to be the same. The body is of that many bytes."""

    method: str
    path: str
    body: int = 0
    fields: tuple[tuple[str, str], ...] = ()


ASKED = (
    Asked("GET", "/"),
    Asked("HEAD", "/"),
    *(Asked("GET", path) for path in rig.FILES),
    Asked("HEAD", "/1mib"),
    Asked("GET", "/64kib", fields=(("Range", "bytes=100-199"),)),
    Asked("GET", "/1kib", fields=(("If-Modified-Since", "Fri, 01 Jan 2100 00:00:00 GMT"),)),
    Asked("PUT", "/upload", 1 << 20),
    Asked("DELETE", "/missing"),
)
SPOOFED = (
    ("X-Forwarded-For", "192.0.2.9"),
    ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-Host", "elsewhere.example"),
    ("X-Real-IP", "192.0.2.9"),
    ("X-Request-ID", "chosen-by-the-client"),
)
"""What a client that nobody trusts must not get through."""
OWN = (("Accept", "*/*"), ("Accept-Encoding", "identity"), ("Cookie", "a=b; c=d"), ("X-Custom", "~!@#$ %^&*()"))


class Answer(NamedTuple):
    """Of a response all that counts: the body as its length and hash."""

    status: int
    fields: Fields
    length: int
    hash: str


class Side(NamedTuple):
    """One of the two ports of a proxy. Over TLS there is a context."""

    port: int
    context: ssl.SSLContext | None = None

    @property
    def scheme(self) -> str:
        return "http" if self.context is None else "https"


def check(processes: Sequence[Process], upstreams: Upstreams, context: ssl.SSLContext) -> list[str]:
    """What is not alike, in words; nothing if all is well. The context is to take the one certificate of all alone."""
    wrong = []
    direct = {asked: _ask(Side(upstreams.responses), asked) for asked in ASKED}
    for process in processes:
        for side in (Side(process.port), Side(process.https_port, context)):
            wrong += [f"{process.name}: {side.scheme}: {problem}" for problem in _wrong(process, side, direct)]
        for resume in (False, True):
            try:
                generators.handshakes(process, HANDSHAKES, resume)
            except RigError as error:
                wrong.append(str(error))
    return wrong


def _wrong(process: Process, side: Side, direct: Mapping[Asked, Answer]) -> Iterator[str]:
    """By one of its ports."""
    for asked, expected in direct.items():
        yield from _about(asked, differences(expected, _ask(side, asked)))
    ids = set()
    for spoofed in ((), SPOOFED, SPOOFED):
        fields = (*OWN, *spoofed)
        problems, number = forwarding(fields, _received(side, fields), side.port, side.scheme)
        ids.add(number)
        yield from _about(Asked("POST", "/asked?a=b%20c"), problems)
    if len(ids) != 3 or "chosen-by-the-client" in ids:
        yield f"{REQUEST_ID} is not new in each request: {sorted(ids)}"
    if (status := _ask(side, Asked("GET", "/"), "nobody.example.com").status) != 404:
        yield f"{status} for a host that is not configured, not 404"
    yield from _websocket(side)
    yield from _log(process, side)


def differences(expected: Answer, got: Answer) -> list[str]:
    """In words."""
    found = []
    if got.status != expected.status:
        found.append(f"status {got.status} and not {expected.status}")
    if (got.length, got.hash) != (expected.length, expected.hash):
        found.append(f"another body: {got.length} bytes, the upstream sent {expected.length}")
    return found + _fields(expected.fields, got.fields)


def forwarding(sent: Sequence[tuple[str, str]], received: bytes, port: int, scheme: str) -> tuple[list[str], str]:
    """What is wrong with a request for /asked?a=b%20c of ECHO_HOST as the upstream received it; and its request id."""
    head, _, body = received.partition(b"\r\n\r\n")
    line, *lines = head.decode("latin-1").split("\r\n")
    got = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    ids = [value for name, value in got if name == REQUEST_ID]
    added = dict.fromkeys(("x-forwarded-proto", "x-forwarded-scheme", "x-scheme"), scheme)
    added |= {"x-real-ip": LOOPBACK, "x-forwarded-for": LOOPBACK}
    added |= {"x-forwarded-host": ECHO_HOST, "x-forwarded-port": str(port)}
    expected = [("host", ECHO_HOST), ("content-length", str(len(_BODY))), *added.items()]
    expected += [(name.lower(), value) for name, value in sent if name.lower() not in {*added, REQUEST_ID}]
    wrong = _fields(expected, [(name, value) for name, value in got if name != REQUEST_ID])
    if line != "POST /asked?a=b%20c HTTP/1.1":
        wrong.append(f"the request line became {line!r}")
    if body != _BODY:
        wrong.append(f"the upstream received the body {body[:100]!r}")
    if len(ids) != 1:
        wrong.append(f"{len(ids)} fields {REQUEST_ID}")
    return wrong, ids[0] if ids else ""


_BODY = bytes(range(256)) * 8


def _fields(expected: Fields, got: Fields) -> list[str]:
    """Differences; names without regard to case, in any order."""
    wanted, have = (
        sorted((name.lower(), value) for name, value in fields if name.lower() not in MAY_DIFFER)
        for fields in (expected, got)
    )
    missing = [f"{name}: {value!r} is missing" for name, value in wanted if (name, value) not in have]
    more = [f"{name}: {value!r} is too much" for name, value in have if (name, value) not in wanted]
    if not missing and not more and len(wanted) != len(have):
        more.append("a field is repeated")
    return missing + more


def _about(asked: Asked, problems: Sequence[str]) -> list[str]:
    return [f"{asked.method} {asked.path}: {problem}" for problem in problems]


def _connected(side: Side, host: str) -> contextlib.closing[http.client.HTTPConnection]:
    return contextlib.closing(rig.connected(side.port, host, TIMEOUT, side.context))


def _send(
    connection: http.client.HTTPConnection, asked: Asked, host: str, body: bytes | None
) -> http.client.HTTPResponse:
    connection.putrequest(asked.method, asked.path, skip_host=True, skip_accept_encoding=True)
    connection.putheader("Host", host)
    for name, value in asked.fields:
        connection.putheader(name, value)
    if body is not None:
        connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body)
    return connection.getresponse()


def _ask(side: Side, asked: Asked, host: str = "") -> Answer:
    host = host or rig.host(0)
    with _connected(side, host) as connection:
        response = _send(connection, asked, host, bytes(asked.body) if asked.body else None)
        digest, length = hashlib.sha256(), 0
        while piece := response.read(1 << 16):
            digest.update(piece)
            length += len(piece)
        return Answer(response.status, response.getheaders(), length, digest.hexdigest())


def _received(side: Side, fields: tuple[tuple[str, str], ...]) -> bytes:
    """What reaches the upstream of a request with a body."""
    with _connected(side, ECHO_HOST) as connection:
        return _send(connection, Asked("POST", "/asked?a=b%20c", fields=fields), ECHO_HOST, _BODY).read()


def _websocket(side: Side) -> list[str]:
    """A handshake and one message."""
    with _connected(side, ECHO_HOST) as client:
        client.sock.sendall(
            f"GET / HTTP/1.1\r\nHost: {ECHO_HOST}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )
        file = client.sock.makefile("rb")
        head = b"".join(iter(file.readline, b"\r\n"))
        if not head.startswith(b"HTTP/1.1 101 ") or b": s3pplmbitxaq9kygzzhzrbk+xoo=" not in head.lower():
            return [f"the WebSocket handshake was answered with {head!r}"]
        masked = bytes(octet ^ mask for octet, mask in zip(b"hello", (1, 2, 3, 4, 1), strict=True))
        client.sock.sendall(bytes((0x81, 0x85, 1, 2, 3, 4)) + masked)
        if (echo := file.read(7)) != b"\x81\x05hello":
            return [f"the echo of a WebSocket message was {echo!r}"]
    return []


def _log(process: Process, side: Side) -> list[str]:
    """That a request is in the access log, once, with method and status."""
    path = f"/logged-{time.time_ns()}"
    _ask(side, Asked("GET", path))
    end = time.monotonic() + LOG_WITHIN
    while time.monotonic() < end:
        found = [line for line in process.log.read_text(errors="replace").splitlines() if path in line]
        if found:
            return [] if len(found) == 1 and "GET" in found[0] and "200" in found[0] else [f"logged as {found}"]
        time.sleep(0.05)
    raise RigError(f"{process.name} did not log a request within {LOG_WITHIN:g} s")
