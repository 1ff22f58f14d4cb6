"""Idle upstream connections: kept per endpoint, used again, closed in time, and never handed out when they are dead."""

import asyncio
import socket
import sys
from contextlib import AsyncExitStack
from typing import cast

import msgspec
import pytest

from ingressd.model import AccessLogFormat, Limits, Snapshot, Timeouts, Update
from ingressd.proxy import stream
from ingressd.proxy.context import Context
from ingressd.proxy.downstream import Downstream
from ingressd.telemetry.logwriter import LogWriter
from tests.kit import (
    Client,
    Stream,
    Upstream,
    Worker,
    always,
    cluster,
    each,
    eventually,
    get,
    ok,
    request,
    serving,
    virtual_host,
)
from tests.kit.upstream import Connection
from tests.kit.worker import SETTINGS

SHORT = 0.3


async def test_as_many_connections_as_requests_at_once_and_no_more() -> None:
    waiting: list[Connection] = []

    async def script(connection: Connection) -> None:
        while await connection.request():
            if len(upstream.requests) <= 5:
                waiting.append(connection)
            else:
                await connection.send(ok())

    async with Upstream(script) as upstream, Worker(serving(upstream)) as worker, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(Client(worker.port)) for _ in range(5)]
        for client in clients:
            await client.send(get())
        await upstream.received(5)
        for connection in waiting:
            await connection.send(ok())
        for client in clients:
            await client.response()
        for client in clients:
            assert (await client.ask(get())).status == 200
        assert len(upstream.connections) == 5


async def test_the_connection_used_last_is_used_first() -> None:
    # Sequential requests need one connection, however many there are: the others grow old and are closed.
    async def script(connection: Connection) -> None:
        while message := await connection.request():
            if message.target == b"/together":
                await eventually(lambda: len(upstream.requests) >= 3, "all three are here")
            await connection.send(ok(b"%d" % connection.number))

    async with Upstream(script) as upstream, Worker(serving(upstream)) as worker, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(Client(worker.port)) for _ in range(3)]
        for client in clients:
            await client.send(get("/together"))
        for client in clients:
            await client.response()
        answers = {(await client.ask(get())).body for _ in range(10) for client in clients}
        assert len(answers) == 1


async def test_an_idle_connection_is_closed_after_its_time() -> None:
    async with (
        Upstream(always(ok())) as upstream,
        Worker(serving(upstream), timeouts=Timeouts(upstream_idle=SHORT)) as worker,
        Client(worker.port) as client,
    ):
        await client.ask(get())
        assert upstream.open == 1
        await upstream.all_closed()
        await client.ask(get())
        assert len(upstream.connections) == 2


async def test_a_connection_is_not_used_beyond_its_age() -> None:
    async with (
        Upstream(always(ok())) as upstream,
        Worker(serving(upstream), timeouts=Timeouts(upstream_age=SHORT)) as worker,
        Client(worker.port) as client,
    ):
        await client.ask(get())
        first = upstream.connections[0]
        # Kept busy, so that it is not idleness that ends it.
        while len(upstream.connections) == 1:
            await client.ask(get())
        await eventually(lambda: first.socket.fileno() < 0, "the old one is closed")


async def test_an_idle_connection_is_closed_at_its_age_too() -> None:
    timeouts = Timeouts(upstream_idle=600.0, upstream_age=SHORT)
    async with (
        Upstream(always(ok())) as upstream,
        Worker(serving(upstream), timeouts=timeouts) as worker,
        Client(worker.port) as client,
    ):
        await client.ask(get())
        await upstream.all_closed()


@pytest.mark.parametrize(
    ("first", "later"),
    [
        # What has just been used is handed out without a look at it, except where a body may come that must not.
        (request("HEAD"), 0.0),
        (get(), 0.1),
    ],
    ids=["at once", "later"],
)
async def test_bytes_that_lie_on_an_idle_connection_answer_no_request(first: bytes, later: float) -> None:
    # In this process, where the loop cannot hear of them before the next request is there.
    settings = msgspec.structs.replace(SETTINGS, access_log=AccessLogFormat.OFF)
    context = Context(settings, asyncio.get_running_loop(), LogWriter(sys.stdout.fileno()))
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    answers = {b"GET": ok(), b"HEAD": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"}
    async with Upstream(each(lambda message: answers[message.method])) as upstream:
        context.apply(Update.of(serving(upstream), 1))
        downstream = Downstream(context, b"http", 80)
        async with Stream(theirs) as client:
            stream.Stream(context.poller, ours, ("127.0.0.1", 0), cast(asyncio.Protocol, downstream)).start()
            await client.send(first)
            assert (await client.response(head_only=first.startswith(b"HEAD"))).status == 200
            await eventually(lambda: len(context.pool) == 1, "the connection is kept")
            context.now += later
            upstream.connections[0].socket.send(b"HTTP/1.1 299 Forged\r\nContent-Length: 0\r\n\r\n")
            downstream.data_received(get())
            assert (await client.response()).status == 200
        assert len(upstream.connections) == 2
        await eventually(lambda: not context.downstreams, "the client has gone")
        for each_upstream in list(context.upstreams):
            each_upstream.abort()
        await upstream.all_closed()
    context.poller.close()


async def test_a_connection_serves_its_number_of_requests_and_no_more() -> None:
    settings = msgspec.structs.replace(SETTINGS, limits=Limits(upstream_requests=3))
    async with (
        Upstream(always(ok())) as upstream,
        Worker(serving(upstream), settings=settings) as worker,
        Client(worker.port) as client,
    ):
        for _ in range(7):
            await client.ask(get())
        assert len(upstream.connections) == 3
        await eventually(lambda: upstream.open == 1, "the two that are spent are closed")


async def test_above_the_limit_the_one_idle_for_longest_is_closed() -> None:
    settings = msgspec.structs.replace(SETTINGS, limits=Limits(upstream_idle=2))
    async with AsyncExitStack() as stack:
        upstreams = [await stack.enter_async_context(Upstream(always(ok()))) for _ in range(3)]
        clusters = tuple(cluster(f"c{number}", upstream) for number, upstream in enumerate(upstreams))
        hosts = tuple(virtual_host(f"{each.key.service}.example", "/", each) for each in clusters)
        async with Worker(Snapshot(hosts, clusters), settings=settings) as worker, Client(worker.port) as client:
            for number in (0, 1, 0, 2):
                await client.ask(get(host=f"c{number}.example"))
            await upstreams[1].all_closed()
            assert [upstream.open for upstream in upstreams] == [1, 0, 1]
            await worker.reported(lambda: worker.gauge("upstream_connections_open", "idle") == 2, "two are idle")


async def test_idle_connections_to_an_endpoint_that_is_removed_are_closed() -> None:
    async with (
        Upstream(always(ok())) as one,
        Upstream(always(ok())) as two,
        Worker(serving(one, two)) as worker,
        Client(worker.port) as client,
    ):
        for _ in range(2):
            await client.ask(get())
        assert (one.open, two.open) == (1, 1)
        await worker.publish(serving(two))
        await one.all_closed()
        assert two.open == 1
        assert (await client.ask(get())).status == 200
        assert len(two.connections) == 1


async def test_an_endpoint_that_another_cluster_still_has_keeps_its_connections() -> None:
    async with Upstream(always(ok())) as upstream:
        clusters = (cluster("a", upstream), cluster("b", upstream))
        hosts = tuple(virtual_host(f"{each.key.service}.example", "/", each) for each in clusters)
        async with Worker(Snapshot(hosts, clusters)) as worker, Client(worker.port) as client:
            await client.ask(get(host="a.example"))
            await worker.publish(Snapshot(hosts[1:], clusters[1:]))
            assert (await client.ask(get(host="b.example"))).status == 200
            assert (await client.ask(get(host="a.example"))).status == 404
            assert len(upstream.connections) == 1


async def test_a_connection_in_use_when_its_endpoint_is_removed_is_closed_after_the_response() -> None:
    async def script(connection: Connection) -> None:
        await connection.request()
        await worker.publish(serving())
        await connection.send(ok(b"whole"))
        assert await connection.read_some() == b""

    async with Upstream(script) as upstream, Worker(serving(upstream)) as worker, Client(worker.port) as client:
        assert (await client.ask(get())).body == b"whole"
        await upstream.all_closed()
        assert (await client.ask(get())).status == 503


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_connection_that_its_peer_has_closed_is_not_handed_out(method: str, how: str) -> None:
    async def script(connection: Connection) -> None:
        await connection.request()
        await connection.send(ok())
        getattr(connection, how)()

    async with Upstream(script) as upstream, Worker(serving(upstream)) as worker, Client(worker.port) as client:
        for _ in range(20):
            await client.send(request(method, "/", body=b"once"))
            assert (await client.response()).status == 200
        # Each was closed right behind its response, and no request was received twice.
        assert len(upstream.connections) == len(upstream.requests) == 20
        lines = await worker.logged(20)
        # What must not be repeated is not even sent; for others the proxy may find out by trying.
        assert method == "GET" or all(b", " not in line for line in lines)


async def test_what_is_open_is_reported() -> None:
    async def script(connection: Connection) -> None:
        while message := await connection.request():
            if message.target == b"/wait":
                await connection.read_some()
            await connection.send(ok())

    async with (
        Upstream(script) as upstream,
        Worker(serving(upstream)) as worker,
        Client(worker.port) as one,
        Client(worker.port) as two,
    ):
        await one.ask(get())
        await two.send(get("/wait"))
        await upstream.received(2)
        async with Client(worker.port) as three:
            await three.ask(get())
        await worker.reported(
            lambda: (
                (worker.gauge("upstream_connections_open", "idle"), worker.gauge("upstream_connections_open", "active"))
                == (1, 1)
                and worker.gauge("downstream_connections_open", "idle") == 1
                and worker.gauge("downstream_connections_open", "active") == 1
            ),
            "one of each kind is open",
        )
        assert worker.counter("upstream_connections") == 2
        assert worker.counter("upstream_connections_reused") == 1
        assert worker.gauge("worker_memory_bytes") > 1 << 20
        assert worker.gauge("tasks", "worker") >= 3  # two kinds of periodic work, and what follows the controller
