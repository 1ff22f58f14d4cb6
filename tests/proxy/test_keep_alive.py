"""Connections on both sides serve one request after another (RFC 9112 section 9)."""

import asyncio
import socket
import sys
from typing import cast

import pytest

from ingressd.model import AccessLogFormat, Snapshot, Timeouts, WorkerSettings
from ingressd.proxy import stream
from ingressd.proxy.context import Context
from ingressd.proxy.downstream import Downstream
from ingressd.telemetry.logwriter import LogWriter
from tests import kit
from tests.kit import (
    Client,
    Upstream,
    Worker,
    always,
    cluster,
    eventually,
    get,
    ok,
    request,
    serving,
    virtual_host,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

HIGH_WATER = 64 * 1024
"""Bytes not sent yet above which nothing more is written (`proxy/stream.py`)."""


async def test_one_client_connection_carries_many_requests_over_one_upstream_connection(worker: Worker) -> None:
    async with Upstream(always(ok(b"hello"))) as upstream:
        await worker.publish(serving(upstream))
        async with Client(worker.port) as client:
            for number in range(20):
                response = await client.ask(get(f"/{number}"))
                assert (response.status, response.body) == (200, b"hello")
                assert b"connection" not in response.names
        assert len(upstream.connections) == 1
        assert [message.target for message in upstream.requests] == [b"/%d" % number for number in range(20)]
        assert all(b"connection" not in message.names for message in upstream.requests)


async def test_connections_of_many_clients_share_an_upstream_connection(worker: Worker) -> None:
    async with Upstream(always(ok())) as upstream:
        await worker.publish(serving(upstream))
        for _ in range(5):
            async with Client(worker.port) as client:
                assert (await client.ask(get())).status == 200
        assert len(upstream.connections) == 1


async def test_connection_close_of_the_client_ends_its_connection_and_no_other(worker: Worker) -> None:
    async with Upstream(always(ok())) as upstream:
        await worker.publish(serving(upstream))
        for _ in range(2):
            async with Client(worker.port) as client:
                response = await client.ask(get("/", "Connection: close"))
                assert response.get(b"connection") == b"close"
                assert await client.ended()
        assert len(upstream.connections) == 1


async def test_connection_close_of_the_upstream_ends_its_connection_and_not_the_clients(worker: Worker) -> None:
    async with Upstream(always(ok(b"bye", "Connection: close"))) as upstream, Client(worker.port) as client:
        await worker.publish(serving(upstream))
        for _ in range(3):
            response = await client.ask(get())
            assert response.body == b"bye"
            assert b"connection" not in response.names
        assert len(upstream.connections) == 3


async def test_an_upstream_of_http_1_0_gets_a_new_connection_each_time_unless_it_keeps_it() -> None:
    async with (
        Upstream(always(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok")) as plain,
        Upstream(always(b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok")) as keeping,
    ):
        clusters = (cluster("keeping", keeping), cluster("plain", plain))
        hosts = tuple(virtual_host(f"{each.key.service}.example", "/", each) for each in clusters)
        async with Worker(Snapshot(hosts, clusters)) as worker, Client(worker.port) as client:
            for host in ("plain.example", "keeping.example") * 3:
                response = await client.ask(get(host=host))
                assert response.line == b"HTTP/1.1 200 OK"
                assert b"connection" not in response.names
        assert (len(plain.connections), len(keeping.connections)) == (3, 1)


async def test_http_1_0_without_keep_alive_ends_with_the_response(worker: Worker) -> None:
    async with Upstream(always(ok())) as upstream, Client(worker.port) as client:
        await worker.publish(serving(upstream))
        response = await client.ask(request(version="1.0"))
        assert response.line == b"HTTP/1.1 200 OK"
        assert (response.body, response.get(b"connection")) == (b"ok", b"close")
        assert await client.ended()
        assert upstream.requests[0].line == b"GET / HTTP/1.1"


async def test_http_1_0_with_keep_alive_goes_on(worker: Worker) -> None:
    async with Upstream(always(ok())) as upstream, Client(worker.port) as client:
        await worker.publish(serving(upstream))
        for _ in range(3):
            response = await client.ask(request("GET", "/", "Connection: keep-alive", version="1.0"))
            assert (response.body, response.get(b"connection")) == (b"ok", b"keep-alive")
        response = await client.ask(request("GET", "/none", "Connection: Keep-Alive", host="b.example", version="1.0"))
        assert (response.status, response.get(b"connection")) == (404, b"keep-alive")
        assert (await client.ask(request(version="1.0"))).get(b"connection") == b"close"
        assert await client.ended()


async def test_http_1_0_without_host_goes_to_the_virtual_host_of_no_host(worker: Worker) -> None:
    async with Upstream(always(ok())) as upstream, Client(worker.port) as client:
        await worker.publish(serving(upstream, host=""))
        assert (await client.ask(b"GET / HTTP/1.0\r\n\r\n")).body == b"ok"
        # What is sent upstream is HTTP/1.1, which demands a Host field, even an empty one (RFC 9112 section 3.2).
        assert upstream.requests[0].get(b"host") == b""


@pytest.mark.parametrize("blank", [b"\r\n", b"\r\n\r\n"])
async def test_empty_lines_between_requests_are_overlooked(blank: bytes, worker: Worker) -> None:
    async with Upstream(always(ok())) as upstream, Client(worker.port) as client:
        await worker.publish(serving(upstream))
        for _ in range(2):
            assert (await client.ask(blank + get())).status == 200


async def test_a_client_that_closes_between_requests_leaves_nothing_behind() -> None:
    async with Upstream(always(ok())) as upstream, Worker(serving(upstream)) as worker:
        for _ in range(10):
            async with Client(worker.port) as client:
                await client.ask(get())
                client.half_close()
                assert await client.ended()
        async with Client(worker.port) as client:
            await client.ask(get())
            client.reset()
        await worker.reported(lambda: worker.gauge("downstream_connections_open", "idle") == 0, "none is open")
        assert [line.split(b'" ')[1][:4] for line in await worker.logged(11)] == [b"200 "] * 11


async def test_the_time_of_an_idle_connection_begins_when_the_client_has_taken_all() -> None:
    # In this process, because how much of a response waits in the kernel decides.
    timeouts = Timeouts(client_body=1.0, keep_alive=100.0)
    settings = WorkerSettings(worker=0, workers=1, timeouts=timeouts, access_log=AccessLogFormat.OFF)
    context = Context(settings, asyncio.get_running_loop(), LogWriter(sys.stdout.fileno()))
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    async with kit.Stream(theirs) as client:
        downstream = Downstream(context, b"http", 80)
        connection = stream.Stream(context.poller, ours, ("127.0.0.1", 0), cast(asyncio.Protocol, downstream))
        connection.start()
        asked: list[bytes] = []
        while connection.get_write_buffer_size() <= HIGH_WATER:
            asked.append(get())
            await client.send(asked[-1])
            await eventually(lambda: context.counters.requests == len(asked), "the request is answered")
        for _ in asked:
            await client.response()
        downstream.check(context.now + 99.0)
        await client.send(get())
        assert (await client.response()).status == 404
        downstream.check(context.now + 101.0)
        assert await client.ended()
    context.poller.close()
