"""HTTPS to endpoints: verified or not, pooled by what was asked of them, and failing with a word."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator

import msgspec
import pytest

from ingressd.link import HISTOGRAMS
from ingressd.model import Policy, SecretName, Snapshot, UpstreamTls, VirtualHost
from ingressd.proxy.tls_client import is_for
from tests.kit import (
    HOST,
    Client,
    Upstream,
    Worker,
    always,
    cluster,
    eventually,
    get,
    ok,
    pause,
    refused_port,
    route,
)
from tests.kit.pki import Issued
from tests.kit.upstream import Connection
from tests.proxy.tls.conftest import Pki
from tests.proxy.tls.kit import SETTINGS, TlsUpstream, secured, tls_upstream

CA = SecretName("default", "ca")
VERIFIED = UpstreamTls("a.example", verify=True, trust=CA)


def server_context(pki: Pki, issued: Issued, name: str, *, ask: bool = False) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pki.file(issued, name))
    if ask:
        context.verify_mode = ssl.CERT_OPTIONAL
        context.load_verify_locations(cadata=pki.clients.pem.decode())
    return context


def to(pki: Pki, upstream: TlsUpstream | Upstream | None, *policies: UpstreamTls | None) -> Snapshot:
    """/0, /1 and so on, each by one of these policies."""
    web = cluster("web", *([upstream] if upstream is not None else []))
    routes = [route(f"/{n}", web, policy=Policy(upstream_tls=policy, tries=1)) for n, policy in enumerate(policies)]
    snapshot = Snapshot((VirtualHost(HOST, tuple(reversed(routes))),), (web,))
    return secured(snapshot, pki.client.model("client"), bundles=(pki.authority.bundle(),))


@contextlib.asynccontextmanager
async def asked(snapshot: Snapshot) -> AsyncIterator[tuple[Worker, Client]]:
    async with Worker(snapshot, SETTINGS) as worker, Client(worker.port) as client:
        yield worker, client


@contextlib.asynccontextmanager
async def complaining(snapshot: Snapshot) -> AsyncIterator[Client]:
    """The same for a worker that says in its log that it makes no TLS connection."""
    async with Worker(snapshot, SETTINGS) as worker:
        async with Client(worker.port) as client:
            yield client
        with pytest.raises(AssertionError, match="no TLS to "):
            await worker.stop()


async def test_connections_are_pooled_and_shared_only_by_equal_policies(pki: Pki) -> None:
    other = msgspec.structs.replace(VERIFIED, send_name=True)
    async with (
        tls_upstream(server_context(pki, pki.web, "web"), ok(b"hello")) as upstream,
        asked(to(pki, upstream, VERIFIED, other, VERIFIED)) as (worker, client),
    ):
        for path in ("/0", "/0", "/2", "/1", "/1", "/0"):
            answer = await client.ask(get(path))
            assert (answer.status, answer.body) == (200, b"hello")
        assert upstream.names == [None, "a.example"]
        await worker.reported(lambda: worker.gauge("upstream_connections_open", "idle") == 2, "both are kept")
        assert worker.counter("upstream_connections_reused") == 4
        await worker.publish(to(pki, None, VERIFIED))
        await worker.reported(
            lambda: worker.gauge("upstream_connections_open", "idle") == 0, "those of no endpoint are closed"
        )


@pytest.mark.parametrize(
    ("policy", "status"),
    [
        (VERIFIED, 200),
        (msgspec.structs.replace(VERIFIED, name="www.example.com", send_name=True), 200),
        (msgspec.structs.replace(VERIFIED, name="b.example"), 502),
        (msgspec.structs.replace(VERIFIED, name="b.example", send_name=True), 502),
        (msgspec.structs.replace(VERIFIED, name="b.example", verify=False), 200),
        (msgspec.structs.replace(VERIFIED, trust=None), 502),
        (msgspec.structs.replace(VERIFIED, trust=SecretName("default", "missing")), 502),
        (UpstreamTls("anything"), 200),
    ],
)
async def test_verification(pki: Pki, policy: UpstreamTls, status: int) -> None:
    async with tls_upstream(server_context(pki, pki.web, "web"), ok(b"hello")) as upstream:
        snapshot = to(pki, upstream, policy)
        if status == 200:
            async with asked(snapshot) as (_, client):
                assert (await client.ask(get("/0"))).body == b"hello"
            return
        async with complaining(snapshot) as client:
            answer = await client.ask(get("/0"))
            assert (answer.status, b"upstream_certificate" in answer.body) == (502, True)
            assert upstream.requests == []


@pytest.mark.parametrize("issued", ["stranger", "expired"])
async def test_certificates_that_are_not_good(pki: Pki, issued: str) -> None:
    bad = pki.stranger if issued == "stranger" else pki.authority.expired("a.example")
    async with (
        tls_upstream(server_context(pki, bad, issued), ok(b"hello")) as upstream,
        complaining(to(pki, upstream, VERIFIED, UpstreamTls("a.example"))) as client,
    ):
        assert (await client.ask(get("/0"))).status == 502
        assert (await client.ask(get("/1"))).status == 200


async def test_what_we_cannot_verify_is_no_fault_of_the_endpoints(pki: Pki) -> None:
    """They serve another route, and go on doing so, however many requests of the first one come to nothing."""
    missing = msgspec.structs.replace(VERIFIED, trust=SecretName("default", "missing"))
    context = server_context(pki, pki.web, "web")
    async with tls_upstream(context, ok(b"1")) as first, tls_upstream(context, ok(b"2")) as second:
        web = cluster("web", first, second)
        routes = [
            route(path, web, policy=Policy(upstream_tls=policy, tries=3))
            for path, policy in (("/good", VERIFIED), ("/bad", missing))
        ]
        snapshot = secured(
            Snapshot((VirtualHost(HOST, tuple(routes)),), (web,)),
            pki.client.model("client"),
            bundles=(pki.authority.bundle(),),
        )
        async with Worker(snapshot, SETTINGS) as worker:
            async with Client(worker.port) as client:
                for _ in range(20):
                    answer = await client.ask(get("/bad"))
                    assert (answer.status, b"upstream_certificate" in answer.body) == (502, True)
                bodies = {(await client.ask(get("/good"))).body for _ in range(4)}
            assert bodies == {b"1", b"2"}, "neither is left out"
            with pytest.raises(AssertionError, match="no TLS to "):
                await worker.stop()
            assert worker.counter("ejections") == 0
            assert worker.counter("ejections_refused") == 0
            assert worker.counter("upstream_connect_failures") == 0


async def test_our_own_certificate_is_shown(pki: Pki) -> None:
    showing = UpstreamTls("a.example", certificate=SecretName("default", "client"))
    context = server_context(pki, pki.web, "web", ask=True)
    async with (
        tls_upstream(context, ok(b"hello")) as upstream,
        asked(to(pki, upstream, showing, UpstreamTls("a.example"))) as (_, client),
    ):
        for path in ("/0", "/1"):
            assert (await client.ask(get(path))).status == 200
        assert upstream.shown == [ssl.PEM_cert_to_DER_cert(pki.client.chain.decode()), None]


async def test_protocols_are_limited(pki: Pki) -> None:
    context = server_context(pki, pki.web, "web")
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    old = UpstreamTls("a.example", protocols=("TLSv1.2",))
    async with tls_upstream(context, ok(b"hello")) as upstream, complaining(to(pki, upstream, old)) as client:
        answer = await client.ask(get("/0"))
        assert (answer.status, b"upstream_tls" in answer.body) == (502, True)


async def test_ciphers_are_limited(pki: Pki) -> None:
    context = server_context(pki, pki.web, "web")
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE+CHACHA20")
    wanted, other = (UpstreamTls("a.example", ciphers=f"ECDHE+{kind}") for kind in ("CHACHA20", "AESGCM"))
    async with tls_upstream(context, ok(b"hello")) as upstream, complaining(to(pki, upstream, wanted, other)) as client:
        assert (await client.ask(get("/0"))).status == 200
        assert (await client.ask(get("/1"))).status == 502


async def test_an_endpoint_that_speaks_no_tls(pki: Pki) -> None:
    async with Upstream(always(ok(b"hello"))) as upstream:
        upstream.script = _say_http
        async with complaining(to(pki, upstream, UpstreamTls("a.example"))) as client:
            assert (await client.ask(get("/0"))).status == 502


async def _say_http(connection: object) -> None:
    from tests.kit.upstream import Connection

    assert isinstance(connection, Connection)
    await connection.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")


async def test_an_endpoint_that_says_nothing_is_given_up_in_time(pki: Pki) -> None:
    async def silent(connection: object) -> None:
        from tests.kit.upstream import Connection

        assert isinstance(connection, Connection)
        await connection.read_to_end()

    policy = Policy(upstream_tls=UpstreamTls("a.example"), tries=1, connect_timeout=0.3)
    async with Upstream(silent) as upstream:
        web = cluster("web", upstream)
        snapshot = Snapshot((VirtualHost(HOST, (route("/", web, policy=policy),)),), (web,))
        async with asked(secured(snapshot, pki.web.model("web"))) as (_, client):
            assert (await client.ask(get("/"))).status == 504
        await upstream.all_closed()


@contextlib.asynccontextmanager
async def hesitating(upstream: TlsUpstream, go: asyncio.Event) -> AsyncIterator[Upstream]:
    """An endpoint in front of `upstream` that passes on what a connection says from when `go` is set."""

    async def script(connection: Connection) -> None:
        first = await connection.read_some()
        await go.wait()
        reader, writer = await asyncio.open_connection(upstream.endpoint.address, upstream.endpoint.port)
        writer.write(first)

        async def back() -> None:
            while data := await reader.read(1 << 16):
                await connection.send(data)

        answering = asyncio.get_running_loop().create_task(back())
        try:
            while data := await connection.read_some():
                writer.write(data)
        finally:
            writer.transport.abort()
            await asyncio.gather(answering, return_exceptions=True)

    async with Upstream(script) as front:
        yield front


async def test_the_time_to_connect_goes_on_until_tls_stands(pki: Pki) -> None:
    go = asyncio.Event()
    async with (
        tls_upstream(server_context(pki, pki.web, "web"), ok(b"hello")) as upstream,
        hesitating(upstream, go) as front,
        asked(to(pki, front, UpstreamTls("a.example"))) as (worker, client),
    ):
        await client.send(get("/0"))
        await eventually(lambda: len(front.connections) == 1, "the endpoint has accepted")
        await pause(0.05)
        go.set()
        assert (await client.response()).status == 200
        assert (await client.ask(get("/0"))).status == 200
        await worker.stop()
        sums = [dict(zip(HISTOGRAMS, series.sums, strict=True)) for series in worker.requests()]
        connecting = sum(each["connect_duration_seconds"] for each in sums)
        assert 0.04 < connecting <= sum(each["header_duration_seconds"] for each in sums)


async def test_a_connection_whose_client_has_left_meanwhile_is_kept_for_another(pki: Pki) -> None:
    go = asyncio.Event()
    async with (
        tls_upstream(server_context(pki, pki.web, "web"), ok(b"hello")) as upstream,
        hesitating(upstream, go) as front,
        asked(to(pki, front, UpstreamTls("a.example"))) as (worker, client),
    ):
        async with Client(worker.port) as leaving:
            await leaving.send(get("/0"))
            await eventually(lambda: len(front.connections) == 1, "the endpoint has accepted")
        await worker.logged(1)
        go.set()
        await worker.reported(lambda: worker.gauge("upstream_connections_open", "idle") == 1, "it waits for a request")
        assert (await client.ask(get("/0"))).status == 200
        await worker.stop()
        assert worker.counter("upstream_connections") == worker.counter("upstream_connections_reused") == 1
        assert len(front.connections) == 1


async def test_an_endpoint_that_refuses(pki: Pki) -> None:
    web = cluster("web", refused_port())
    policy = Policy(upstream_tls=UpstreamTls("a.example"), tries=1)
    snapshot = Snapshot((VirtualHost(HOST, (route("/", web, policy=policy),)),), (web,))
    async with asked(secured(snapshot, pki.web.model("web"))) as (_, client):
        answer = await client.ask(get("/"))
        assert (answer.status, b"connect_failed" in answer.body) == (502, True)


async def test_a_body_without_length_that_is_cut_off_is_not_taken_for_whole(pki: Pki) -> None:
    """RFC 9112 section 9.8: only close_notify says that it is."""
    response = b"HTTP/1.1 200 OK\r\n\r\nhalf"
    async with (
        tls_upstream(server_context(pki, pki.web, "web"), response, close=True) as upstream,
        asked(to(pki, upstream, UpstreamTls("a.example"))) as (worker, client),
    ):
        await client.send(get("/0"))
        with pytest.raises(ConnectionError):
            await client.response()
        assert b"upstream_closed" in await worker.line(b"upstream_closed")


def test_names_of_certificates() -> None:
    def certificate(*names: tuple[str, str], common: str = "") -> dict[str, object]:
        subject = ((("commonName", common),),) if common else ()
        return {"subject": subject, "subjectAltName": names}

    assert is_for(certificate(("DNS", "A.example")), "a.EXAMPLE")
    assert is_for(certificate(("DNS", "*.example.com")), "www.example.com")
    assert not is_for(certificate(("DNS", "*.example.com")), "example.com")
    assert not is_for(certificate(("DNS", "*.example.com")), "a.b.example.com")
    assert not is_for(certificate(("DNS", "w*.example.com")), "www.example.com")
    assert not is_for(certificate(("DNS", "*.com")), "example.com")
    assert not is_for(certificate(("DNS", "b.example"), common="a.example"), "a.example")
    assert is_for(certificate(common="a.example"), "a.example")
    assert is_for(certificate(("IP Address", "10.0.0.1")), "10.0.0.1")
    assert is_for(certificate(("IP Address", "0:0:0:0:0:0:0:1")), "::1")
    assert not is_for(certificate(("DNS", "10.0.0.1")), "10.0.0.1")
    assert not is_for({}, "a.example")
