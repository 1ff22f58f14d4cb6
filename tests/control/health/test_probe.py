"""One check of one endpoint, over real sockets."""

import asyncio
import resource
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from ingressd.control.health.probe import NotAsked, Prober
from ingressd.model import CheckType, Endpoint, HealthCheck
from tests.kit import Upstream, always, deaf_port, eventually, ok, refused_port
from tests.kit.pki import Authority
from tests.kit.upstream import Connection, Script
from tests.proxy.tls.kit import TlsUpstream, tls_upstream

TCP = HealthCheck(CheckType.TCP)
SOON = HealthCheck(timeout=0.2)


@pytest_asyncio.fixture
async def prober() -> AsyncIterator[Prober]:
    made = Prober()
    yield made
    await made.close()


def answer(status: str, *fields: str) -> bytes:
    return "".join([f"HTTP/1.1 {status}\r\n", *(f"{field}\r\n" for field in fields), "\r\n"]).encode()


async def test_a_request_is_what_the_check_says(prober: Prober) -> None:
    async with Upstream(always(ok())) as upstream:
        check = HealthCheck(path="/up%20there?deep=1", host="probe.example")
        assert await prober.ask(upstream.endpoint, check) == ""
        assert await prober.ask(upstream.endpoint, HealthCheck()) == ""
        await upstream.all_closed()
    first, second = upstream.requests
    assert (first.method, first.target) == (b"GET", b"/up%20there?deep=1")
    assert first.get(b"host") == b"probe.example"
    assert (first.get(b"user-agent") or b"").startswith(b"ingressd-health-check/")
    assert second.get(b"host") == str(upstream.endpoint).encode()
    assert len(upstream.connections) == 2


async def test_a_port_of_its_own(prober: Prober) -> None:
    async with Upstream(always(ok())) as upstream:
        asked = Endpoint(upstream.endpoint.address, 1)
        assert await prober.ask(asked, HealthCheck(port=upstream.endpoint.port)) == ""
        assert await prober.ask(asked, HealthCheck(CheckType.TCP, port=upstream.endpoint.port)) == ""
        await upstream.received(1)


@pytest.mark.parametrize(
    ("status", "expected", "why"),
    [
        ("200 OK", ((200, 399),), ""),
        ("204 No Content", ((200, 399),), ""),
        ("302 Found", ((200, 399),), ""),
        ("404 Not Found", ((200, 399),), "answered 404"),
        ("500 Oops", ((200, 399),), "answered 500"),
        ("404 Not Found", ((200, 200), (404, 404)), ""),
        ("201 Created", ((200, 200), (404, 404)), "answered 201"),
    ],
)
async def test_statuses(prober: Prober, status: str, expected: tuple[tuple[int, int], ...], why: str) -> None:
    async with Upstream(always(answer(status, "Content-Length: 0", "Location: /elsewhere"))) as upstream:
        assert await prober.ask(upstream.endpoint, HealthCheck(expected_status=expected)) == why
        assert len(upstream.requests) == 1, "redirects are not followed"


async def test_of_a_response_only_the_head_is_waited_for(prober: Prober) -> None:
    async def script(connection: Connection) -> None:
        await connection.request()
        await connection.send(answer("200 OK", "Content-Length: 1000000"))
        await connection.request()

    async with Upstream(script) as upstream:
        assert await prober.ask(upstream.endpoint, HealthCheck()) == ""
        await upstream.all_closed()


async def closes(connection: Connection) -> None:
    await connection.request()


async def garbles(connection: Connection) -> None:
    await connection.request()
    await connection.send(b"hello\r\n\r\n")


async def is_silent(connection: Connection) -> None:
    await connection.request()
    await connection.request()


async def drips(connection: Connection) -> None:
    await connection.request()
    while True:
        await connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        await asyncio.sleep(0)


@pytest.mark.parametrize("script", [closes, garbles])
async def test_what_is_no_response(prober: Prober, script: Script) -> None:
    async with Upstream(script) as upstream:
        assert (await prober.ask(upstream.endpoint, HealthCheck())).startswith("no valid response: ")


@pytest.mark.parametrize("script", [is_silent, drips])
async def test_a_response_that_does_not_come_in_time(prober: Prober, script: Script) -> None:
    async with Upstream(script) as upstream:
        assert await prober.ask(upstream.endpoint, SOON) == "no answer within 0.2 s"


@pytest.mark.parametrize("check", [SOON, HealthCheck(CheckType.TCP, timeout=0.2)])
async def test_connections_that_are_not_accepted(prober: Prober, check: HealthCheck) -> None:
    assert await prober.ask(refused_port(), check) == "connection refused"
    with deaf_port() as deaf:
        assert await prober.ask(deaf, check) == "no answer within 0.2 s"


async def test_tcp_sends_nothing(prober: Prober) -> None:
    async with Upstream(always(ok())) as upstream:
        assert await prober.ask(upstream.endpoint, TCP) == ""
        await eventually(lambda: len(upstream.connections) == 1, "it was accepted")
        await upstream.all_closed()
        assert upstream.requests == []


@pytest_asyncio.fixture
async def secure(tmp_path: Path) -> AsyncIterator[TlsUpstream]:
    """Shows a certificate that nobody vouches for."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issued = Authority().issue("other.example")
    (tmp_path / "chain").write_bytes(issued.chain)
    (tmp_path / "key").write_bytes(issued.key)
    context.load_cert_chain(tmp_path / "chain", tmp_path / "key")
    async with tls_upstream(context, answer("200 OK", "Content-Length: 0")) as upstream:
        yield upstream


async def test_https_asks_whatever_certificate_is_shown(prober: Prober, secure: TlsUpstream) -> None:
    check = HealthCheck(CheckType.HTTPS, path="/up", host="probe.example:8443")
    assert await prober.ask(secure.endpoint, check) == ""
    assert (
        await prober.ask(secure.endpoint, HealthCheck(CheckType.HTTPS, expected_status=((204, 204),))) == "answered 200"
    )
    assert secure.requests[0].startswith(b"GET /up HTTP/1.1\r\nHost: probe.example:8443\r\n")
    assert secure.names == ["probe.example", None]


async def refuses(connection: Connection) -> None:
    """As a server does that was sent no HTTP."""
    await connection.send(answer("400 Bad Request", "Content-Length: 0"))
    await connection.request()


async def test_https_where_there_is_no_tls_and_http_where_there_is(prober: Prober, secure: TlsUpstream) -> None:
    async with Upstream(refuses) as upstream:
        why = await prober.ask(upstream.endpoint, HealthCheck(CheckType.HTTPS))
        assert why.startswith("no TLS: "), why
    assert await prober.ask(secure.endpoint, HealthCheck())
    assert await prober.ask(refused_port(), HealthCheck(CheckType.HTTPS)) == "connection refused"


@pytest.mark.parametrize("check", [HealthCheck(), TCP])
async def test_without_descriptors_nobody_can_be_asked(prober: Prober, check: HealthCheck) -> None:
    endpoint = refused_port()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.socket() as highest:
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest.fileno(), hard))
    try:
        with pytest.raises(NotAsked, match="too many open files"):
            await prober.ask(endpoint, check)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
