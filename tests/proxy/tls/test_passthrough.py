"""TLS that is passed on as it is, by its server name; and the PROXY protocol, which comes before anything else."""

import asyncio
import contextlib
import socket
import ssl
import sys
from collections.abc import AsyncIterator

import msgspec
import pytest

from ingressd.model import (
    ClusterKey,
    Ejection,
    Endpoint,
    HttpsRedirect,
    Limits,
    Policy,
    Snapshot,
    Timeouts,
    TlsHost,
    TlsSettings,
    Update,
)
from ingressd.proxy import stream
from ingressd.proxy.context import Context
from ingressd.proxy.gate import Gate
from ingressd.proxy.passthrough import IDLE_TIME, Passthrough
from ingressd.telemetry.logwriter import LogWriter
from tests.kit import (
    DEADLINE,
    Client,
    Stream,
    Upstream,
    Worker,
    always,
    cluster,
    eventually,
    get,
    ok,
    refused_port,
    serving,
    virtual_host,
)
from tests.kit.upstream import Connection
from tests.proxy.tls.conftest import Pki
from tests.proxy.tls.kit import LOCAL, connected, fetch, secured, settings, tls_upstream, unverified
from tests.proxy.tls.test_client_hello import hello
from tests.proxy.tls.test_proxy_protocol import v1, v2
from tests.proxy.tls.test_upstreams import server_context

PASSTHROUGH = settings(TlsSettings(passthrough=True))
PASSED = ClusterKey("default", "passed", "443")


def passing(pki: Pki, *endpoints: Endpoint, plain: Upstream | None = None) -> Snapshot:
    """b.example is passed to `endpoints`, a.example is served."""
    web = pki.web.model("web")
    base = serving(plain) if plain is not None else serving()
    target = cluster("passed", *endpoints, port="443")
    base = Snapshot(base.virtual_hosts, tuple(sorted((*base.clusters, target), key=lambda each: each.key)))
    return secured(base, web, hosts=(TlsHost("a.example", web.name), TlsHost("b.example", passthrough=PASSED)))


async def test_a_name_is_passed_to_its_cluster_and_others_are_not(pki: Pki) -> None:
    context = server_context(pki, pki.other, "other")
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    async with Upstream(always(ok(b"served"))) as plain, tls_upstream(context, ok(b"passed")) as upstream:
        # The first endpoint refuses: another is tried.
        snapshot = passing(pki, refused_port(), upstream.endpoint, plain=plain)
        async with Worker(snapshot, PASSTHROUGH) as worker:
            trusting = pki.authority.client_context()
            for _ in range(2):
                assert (await fetch(worker.tls_port, trusting, "b.example")).body == b"passed"
            assert (await fetch(worker.tls_port, trusting, "a.example")).body == b"served"
            assert upstream.names == ["b.example"] * 2
            await worker.reported(lambda: worker.counter("tls_passthrough_connections") == 2, "they are counted")
            await worker.reported(lambda: worker.gauge("tls_passthrough_connections_open") == 0, "none of them is left")
        async with Worker(snapshot, settings()) as worker:
            assert (await fetch(worker.tls_port, unverified(), "b.example")).status == 404


async def test_an_endpoint_that_refuses_is_counted_and_ejected_and_one_that_accepts_is_back(pki: Pki) -> None:
    async def sick(connection: Connection) -> None:
        await connection.read_some()
        await connection.send(b"HTTP/1.1 503 Oops\r\nContent-Length: 0\r\n\r\n")

    refused = refused_port()
    once = settings(TlsSettings(passthrough=True), ejection=Ejection(failures=1, base=600.0, longest=600.0))
    async with Upstream(sick) as upstream, Worker(passing(pki, refused, upstream.endpoint), once) as worker:
        for _ in range(4):
            async with Client(worker.tls_port) as client:
                await client.send(hello("b.example"))
                await client.read_to_end()
        await eventually(lambda: [each.endpoint for each in worker.findings.ejected] == [refused], "it is ejected")
        await worker.reported(lambda: worker.counter("upstream_connections") == 4, "connections are counted")
        assert worker.counter("upstream_connect_failures") == 1
    quick = settings(TlsSettings(passthrough=True), ejection=Ejection(failures=1, base=0.1, longest=0.1))
    async with Upstream(sick) as upstream, Upstream(always(ok())) as well:
        snapshot = passing(pki, upstream.endpoint, well.endpoint)
        plain = virtual_host("b.example", "/", cluster("passed", upstream, well, port="443"))
        snapshot = msgspec.structs.replace(snapshot, virtual_hosts=(plain,))
        async with Worker(snapshot, quick) as worker, Client(worker.port) as client:
            assert {(await client.ask(get(host="b.example"))).status for _ in range(2)} == {200, 503}
            await eventually(lambda: len(worker.findings.ejected) == 1, "what answers 503 is ejected")
            async with asyncio.timeout(DEADLINE):
                while worker.findings.ejected:
                    async with Client(worker.tls_port) as other:
                        await other.send(hello("b.example"))
                        other.half_close()
                        await other.read_to_end()


async def test_passthrough_counts_for_the_limit_of_connections_as_any_other(pki: Pki) -> None:
    async def wait(connection: Connection) -> None:
        await connection.read_to_end()

    one = settings(TlsSettings(passthrough=True), limits=Limits(connections=1))
    async with (
        Upstream(wait) as upstream,
        Worker(passing(pki, upstream.endpoint), one) as worker,
    ):
        async with Client(worker.tls_port) as first:
            await first.send(hello("b.example"))
            await eventually(lambda: len(upstream.connections) == 1, "it is passed on")
            async with Client(worker.port) as client:
                assert (await client.response()).status == 503
                assert await client.ended()
            async with Client(worker.tls_port) as client:
                await client.send(hello("b.example"))
                with contextlib.suppress(ConnectionError):
                    assert await client.read_to_end() == b""
        await upstream.all_closed()
        await worker.reported(lambda: worker.gauge("tls_passthrough_connections_open") == 0, "the first has gone")
        async with Client(worker.port) as client:
            assert (await client.ask(get(host="b.example"))).status == 404
            async with Client(worker.tls_port) as other:
                await other.send(hello("b.example"))
                with contextlib.suppress(ConnectionError):
                    assert await other.read_to_end() == b""
        await worker.stop()
        assert worker.counter("downstream_connections") == 5
        assert worker.counter("downstream_connections_refused") == 3
        assert len(upstream.connections) == 1


@contextlib.asynccontextmanager
async def started(upstream: Upstream) -> AsyncIterator[tuple[Passthrough, Stream]]:
    """A passthrough in this process, where the clock is ours, and its client's end."""
    context = Context(PASSTHROUGH, asyncio.get_running_loop(), LogWriter(sys.stdout.fileno()))
    context.apply(Update.of(Snapshot(clusters=(cluster("passed", upstream, port="443"),)), 1))
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    passthrough = Passthrough(Gate(context, context.tls), PASSED, b"hello")
    async with Stream(theirs) as client:
        stream.Stream(context.poller, ours, None, passthrough).start()
        assert context.passthroughs == {passthrough}
        yield passthrough, client
        await eventually(lambda: not context.passthroughs, "it is over")
    context.poller.close()


async def test_it_ends_when_neither_side_says_anything_for_its_time() -> None:
    heard = b""

    async def listen(connection: Connection) -> None:
        nonlocal heard
        while data := await connection.read_some():
            heard += data

    async with Upstream(listen) as upstream:
        async with started(upstream) as (passthrough, client):
            await eventually(lambda: heard == b"hello", "it is passed on")
            start = asyncio.get_running_loop().time()
            passthrough.check(start)
            passthrough.check(start + IDLE_TIME - 1)
            await client.send(b"more")
            await eventually(lambda: heard == b"hellomore", "that too")
            passthrough.check(start + IDLE_TIME)
            await upstream.connections[0].send(b"answer")
            assert await client.read_exactly(6) == b"answer"
            passthrough.check(start + 2 * IDLE_TIME)
            passthrough.check(start + 3 * IDLE_TIME - 1)
            assert passthrough.transport is not None
            assert not passthrough.transport.is_closing()
            passthrough.check(start + 3 * IDLE_TIME)
            assert await client.ended()
        await upstream.all_closed()


async def test_a_client_that_is_gone_when_the_endpoint_accepts_leaves_no_connection() -> None:
    async def listen(connection: Connection) -> None:
        assert await connection.read_to_end() == b""

    async with Upstream(listen) as upstream:
        async with started(upstream) as (passthrough, _):
            passthrough.abort()
        await eventually(lambda: len(upstream.connections) == 1, "the endpoint has accepted")
        await upstream.all_closed()


async def test_every_byte_goes_both_ways_whatever_it_is(pki: Pki) -> None:
    first = hello("b.example")
    large = bytes(range(256)) * 20_000

    async def echo(connection: Connection) -> None:
        got = await connection.read_to_end()
        assert got == first + large
        await connection.send(large)

    async with Upstream(echo) as upstream:
        async with Worker(passing(pki, upstream.endpoint), PASSTHROUGH) as worker, Client(worker.tls_port) as client:
            await client.send(first[:40])
            await client.send(first[40:] + large)
            client.half_close()
            assert await client.read_to_end() == large
            await worker.reported(lambda: worker.gauge("tls_passthrough_connections_open") == 0, "both ends are closed")
        await upstream.all_closed()


async def test_a_connection_that_breaks_is_not_taken_for_one_that_ended(pki: Pki) -> None:
    async def broken(connection: Connection) -> None:
        await connection.read_some()
        connection.reset()

    async with (
        Upstream(broken) as upstream,
        Worker(passing(pki, upstream.endpoint), PASSTHROUGH) as worker,
        Client(worker.tls_port) as client,
    ):
        await client.send(hello("b.example"))
        assert not await client.ended(), "that would be orderly"


async def test_nor_is_one_that_the_client_breaks(pki: Pki) -> None:
    orderly: list[bool] = []
    begun: list[Connection] = []

    async def listen(connection: Connection) -> None:
        await connection.read_exactly(len(first))
        begun.append(connection)
        orderly.append(await connection.ended())

    first = hello("b.example")
    async with Upstream(listen) as upstream, Worker(passing(pki, upstream.endpoint), PASSTHROUGH) as worker:
        for number, end in enumerate((Client.reset, Client.close), 1):
            async with Client(worker.tls_port) as client:
                await client.send(first)
                await eventually(lambda: len(begun) == number, "it is passed on")  # noqa: B023
                end(client)
            await upstream.all_closed()
    assert orderly == [False, True]


async def test_without_an_endpoint_it_is_closed(pki: Pki) -> None:
    for endpoints, asked in (((), 0), (tuple(refused_port() for _ in range(4)), 3)):
        async with Worker(passing(pki, *endpoints), PASSTHROUGH) as worker, Client(worker.tls_port) as client:
            await client.send(hello("b.example"))
            with contextlib.suppress(ConnectionError):
                assert await client.read_to_end() == b""
            await worker.reported(lambda: worker.counter("tls_passthrough_failures") == 1, "it is counted")
            assert worker.counter("upstream_connect_failures") == asked
            assert worker.counter("upstream_connections") == 0


async def test_a_slow_side_stops_the_other(pki: Pki) -> None:
    async def deaf(connection: Connection) -> None:
        await connection.read_some()
        await asyncio.Event().wait()

    async with (
        Upstream(deaf, receive_buffer=4096) as upstream,
        Worker(passing(pki, upstream.endpoint), PASSTHROUGH) as worker,
        Client(worker.tls_port) as client,
    ):
        before = worker.resident()
        await client.send(hello("b.example"))
        await client.fill(bytes(1 << 16))
        assert worker.resident() - before < 16 << 20


@pytest.mark.parametrize("write", [v1, v2])
async def test_a_trusted_balancer_tells_the_client(pki: Pki, write: object) -> None:
    assert callable(write)
    header = write("198.51.100.7", "203.0.113.1", 1000, 4443)
    said = settings(proxy_protocol=True, trusted_proxies=LOCAL)
    async with (
        Upstream(always(ok(b"hello"))) as upstream,
        Worker(secured(serving(upstream), pki.web.model("web")), said) as worker,
        Client(worker.port) as client,
    ):
        for byte in header:
            await client.send(bytes((byte,)))
        assert (await client.ask(get("/", "X-Forwarded-For: 9.9.9.9"))).status == 200
        assert (await client.ask(get("/"))).status == 200
        async with connected(worker.tls_port, unverified(), before=header) as secure:
            assert (await secure.ask(get("/"))).status == 200
        for message in upstream.requests:
            assert message.get(b"x-real-ip") == message.get(b"x-forwarded-for") == b"198.51.100.7"
        first, _, last = upstream.requests
        assert first.get(b"x-original-forwarded-for") == b"9.9.9.9"
        assert (first.get(b"x-forwarded-proto"), last.get(b"x-forwarded-proto")) == (b"http", b"https")
        assert last.get(b"x-forwarded-port") == b"4443"
        assert b"198.51.100.7" in (await worker.logged(3))[0]


async def test_tls_that_a_balancer_has_taken_off_was_https(pki: Pki) -> None:
    said = settings(proxy_protocol=True, trusted_proxies=LOCAL)
    async with (
        Upstream(always(ok(b"hello"))) as upstream,
        Worker(serving(upstream), said) as worker,
        Client(worker.port) as client,
    ):
        await client.ask(v1("198.51.100.7", "203.0.113.1", 1000, 443) + get("/"))
        assert upstream.requests[0].get(b"x-forwarded-proto") == b"https"
        assert upstream.requests[0].get(b"x-forwarded-port") == b"443"
    policy = Policy(https_redirect=HttpsRedirect())
    async with Upstream(always(ok())) as upstream, Worker(serving(upstream, policy=policy), said) as worker:
        for port, status in ((443, 200), (80, 308)):
            async with Client(worker.port) as client:
                answer = await client.ask(v1("198.51.100.7", "203.0.113.1", 1000, port) + get("/"))
                assert answer.status == status


async def test_a_trusted_balancer_must_say_who_it_is_for(pki: Pki) -> None:
    said = settings(proxy_protocol=True, trusted_proxies=LOCAL)
    async with Worker(secured(serving(), pki.web.model("web")), said) as worker:
        for port in (worker.port, worker.tls_port):
            async with Client(port) as client:
                await client.send(get("/"))
                with contextlib.suppress(ConnectionError):
                    assert await client.read_to_end() == b""
        await worker.reported(
            lambda: worker.counter("tls_handshake_failures", "proxy_header") == 2, "both were refused"
        )


async def test_nobody_else_is_believed(pki: Pki) -> None:
    said = settings(proxy_protocol=True, trusted_proxies=("192.0.2.0/24",))
    async with (
        Upstream(always(ok(b"hello"))) as upstream,
        Worker(secured(serving(upstream), pki.web.model("web")), said) as worker,
        Client(worker.port) as client,
    ):
        assert (await client.ask(get("/"))).status == 200
        async with Client(worker.port) as client:
            await client.send(v1("198.51.100.7", "203.0.113.1", 1, 2) + get("/"))
            assert (await client.response()).status == 400
        assert (await fetch(worker.tls_port, unverified())).status == 200
        assert {message.get(b"x-real-ip") for message in upstream.requests} == {b"127.0.0.1"}


async def test_passthrough_is_cut_when_a_worker_has_drained(pki: Pki) -> None:
    async def wait(connection: Connection) -> None:
        await connection.read_to_end()

    quick = settings(TlsSettings(passthrough=True), timeouts=Timeouts(drain=0.5))
    async with (
        Upstream(wait) as upstream,
        Worker(passing(pki, upstream.endpoint), quick) as worker,
        Client(worker.tls_port) as client,
    ):
        await client.send(hello("b.example"))
        await eventually(lambda: len(upstream.connections) == 1, "it is passed on")
        worker.unlink()
        with contextlib.suppress(ConnectionError):
            assert await client.read_to_end() == b""
