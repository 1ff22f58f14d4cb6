"""How a worker begins and ends: told over its link, ended by a message or the link's end."""

import asyncio
import contextlib
import os
import signal
import socket

import msgspec
import pytest

from ingressd.link import Drain, Report, frames_from_worker
from ingressd.model import Timeouts, Update
from ingressd.proxy.worker import UNREAD
from ingressd.proxy.worker import Worker as LivingWorker
from ingressd.telemetry.logwriter import LogWriter
from tests.kit import HOST, Client, Upstream, Worker, always, eventually, get, ok, serving
from tests.kit.stream import DEADLINE
from tests.kit.upstream import Connection
from tests.kit.worker import SETTINGS


async def test_it_exits_with_0_when_the_link_ends_and_reports_what_it_did_last() -> None:
    async with Upstream(always(ok())) as upstream, Worker(serving(upstream)) as worker, Client(worker.port) as client:
        for _ in range(3):
            await client.ask(get("/"))
        worker.unlink()
        await worker.exited()
        assert sum(series.requests for series in worker.requests()) == 3
        assert worker.counter("requests") == 3
        assert len(worker.log) == 3


async def test_it_exits_with_0_when_the_controller_is_killed() -> None:
    async with Worker() as worker:
        await worker.abandon()
        await worker.exited()


@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGTERM])
async def test_signals_are_for_the_controller(which: signal.Signals) -> None:
    async with Upstream(always(ok())) as upstream, Worker(serving(upstream)) as worker, Client(worker.port) as client:
        worker.process.send_signal(which)
        for _ in range(3):
            assert (await client.ask(get("/"))).status == 200


async def test_it_exits_with_1_when_it_cannot_follow_so_that_it_is_replaced() -> None:
    async with Worker() as worker:
        # An Update whose clusters are no clusters; what no controller of ours sends.
        body = msgspec.msgpack.encode({"type": "Update", "generation": 2, "clusters": [1]})
        await worker.tell_bytes(len(body).to_bytes(4, "big") + body)
        await worker.exited(1)
        assert "ValidationError" in worker.stderr()


async def test_a_request_under_way_is_finished_before_the_end() -> None:
    async def slow(connection: Connection) -> None:
        await connection.request()
        worker.unlink()
        await eventually(worker.refuses_connections, "new connections are refused")
        await connection.send(ok(b"late"))
        await connection.request()

    async with Upstream(slow) as upstream, Worker(serving(upstream)) as worker, Client(worker.port) as client:
        response = await client.ask(get("/"))
        assert (response.body, response.get(b"connection")) == (b"late", b"close")
        assert await client.ended()
        await worker.exited()


async def test_what_waits_to_be_accepted_is_served_before_the_end() -> None:
    """The worker is stopped for a moment: what connects meanwhile waits in the queue of its socket."""
    timeouts = Timeouts(drain=8)
    async with Upstream(always(ok())) as upstream, Worker(serving(upstream), timeouts=timeouts) as worker:
        worker.process.send_signal(signal.SIGSTOP)
        async with contextlib.AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(Client(worker.port)) for _ in range(50)]
            worker.unlink()
            worker.process.send_signal(signal.SIGCONT)
            await eventually(worker.refuses_connections, "new connections are refused")
            for client in clients:
                response = await client.ask(get("/"))
                assert (response.status, response.get(b"connection")) == (200, b"close")
        await worker.exited()


async def test_a_connection_that_was_promised_another_request_gets_it() -> None:
    """Closing it would cross with a request on its way, which would be lost."""

    async def halting(connection: Connection) -> None:
        await connection.request()
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nha")
        await eventually(worker.refuses_connections, "new connections are refused")
        await connection.send(b"lt")
        await connection.request()
        await connection.send(ok(b"last"))
        await connection.request()

    timeouts = Timeouts(drain=8)
    async with (
        Upstream(halting) as upstream,
        Worker(serving(upstream), timeouts=timeouts) as worker,
        Client(worker.port) as client,
    ):
        await client.send(get("/"))
        await client.read_until(b"ha")
        worker.unlink()
        await client.read_until(b"lt")
        response = await client.ask(get("/"))
        assert (response.body, response.get(b"connection")) == (b"last", b"close")
        assert await client.ended()
        await worker.exited()


async def test_idle_connections_are_closed_after_their_next_response() -> None:
    timeouts = Timeouts(keep_alive=600, client_header=600, drain=8)
    async with (
        Upstream(always(ok())) as upstream,
        Worker(serving(upstream), timeouts=timeouts) as worker,
        Client(worker.port) as used,
        Client(worker.port) as fresh,
    ):
        await used.ask(get("/"))
        worker.unlink()
        await eventually(worker.refuses_connections, "new connections are refused")
        for client in (used, fresh):
            assert (await client.ask(get("/"))).get(b"connection") == b"close"
            assert await client.ended()
        await worker.exited()


async def test_idle_connections_end_with_the_keep_alive_timeout_and_at_the_latest_with_the_time_to_drain() -> None:
    timeouts = Timeouts(keep_alive=0.5, client_header=600, drain=1.5)
    async with (
        Upstream(always(ok())) as upstream,
        Worker(serving(upstream), timeouts=timeouts) as worker,
        Client(worker.port) as used,
        Client(worker.port) as fresh,
    ):
        await used.ask(get("/"))
        worker.unlink()
        assert await used.ended()
        assert worker.process.poll() is None
        assert await fresh.ended()
        await worker.exited()


async def test_a_tunnel_goes_on_while_all_else_ends_and_is_cut_after_the_time_to_drain() -> None:
    async def echo(connection: Connection) -> None:
        await connection.request()
        await connection.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            while data := await connection.read_some():
                await connection.send(data)

    timeouts = Timeouts(keep_alive=0.1, drain=1.5)
    async with (
        Upstream(echo) as upstream,
        Worker(serving(upstream), timeouts=timeouts) as worker,
        Client(worker.port) as client,
    ):
        await client.send(get("/", "Connection: Upgrade", "Upgrade: websocket"))
        await client.message_head()
        worker.unlink()
        await eventually(worker.refuses_connections, "new connections are refused")
        await client.send(b"still there?")
        assert await client.read_exactly(12) == b"still there?"
        assert worker.process.poll() is None
        assert not await client.ended(), "a reset: nobody takes it for an orderly end"
        await worker.exited()


async def test_before_the_end_it_accepts_connections_and_asks_each_to_go() -> None:
    async with Upstream(always(ok())) as upstream, Worker(serving(upstream)) as worker, Client(worker.port) as early:
        await early.ask(get("/"))
        await worker.tell(Drain(listening=True))
        await worker.replace(worker.snapshot)  # it has read what came before
        async with Client(worker.port) as late:
            for client in (early, late):
                assert (await client.ask(get("/"))).get(b"connection") == b"close"
                assert await client.ended()
        assert worker.process.poll() is None
        assert len(upstream.connections) == 1, "connections to endpoints are kept"


async def test_what_a_controller_that_stands_still_is_told_is_bounded_and_nothing_is_forgotten() -> None:
    ours, theirs = socket.socketpair()
    _, link = await asyncio.open_unix_connection(sock=theirs)
    log = os.open(os.devnull, os.O_WRONLY)
    writer = LogWriter(log)
    worker = LivingWorker(SETTINGS, link, writer)
    for _ in range(5_000):
        worker.context.counters.requests += 1
        worker.report()
    assert UNREAD < link.transport.get_write_buffer_size() < 2 * UNREAD
    assert worker.context.counters.requests > 0, "counted here meanwhile"

    frames, found = frames_from_worker(), 0
    reader, other = await asyncio.open_unix_connection(sock=ours)
    async with asyncio.timeout(DEADLINE):
        while found < 5_000:
            for message in frames.feed(await reader.read(1 << 20)):
                assert isinstance(message, Report)
                found += sum(int(sample.value) for sample in message.counters if sample.name == "requests")
            worker.report()
    assert found == 5_000
    for end in (link, other):
        end.close()
    writer.close(DEADLINE)
    os.close(log)


async def test_a_log_that_nobody_reads_does_not_keep_it_from_its_end() -> None:
    async with Upstream(always(ok())) as upstream, Worker(serving(upstream)) as worker, Client(worker.port) as client:
        worker.stop_reading_log()
        for _ in range(20):
            await client.send(get("/", "User-Agent: " + "x" * 8000) * 10)
            for _ in range(10):
                await client.response()
        worker.unlink()
        await worker.exited()


async def test_a_worker_number_and_settings_arrive_before_anything_is_served() -> None:
    settings = msgspec.structs.replace(SETTINGS, worker=1, workers=2)
    async with Upstream(always(ok())) as upstream, Worker(settings=settings) as worker, Client(worker.port) as client:
        assert (await client.ask(get("/"))).status == 404
        await worker.tell(Update.of(serving(upstream, host=HOST), 2))
        await eventually(lambda: worker.serving == 2, "the whole state is served")
        assert (await client.ask(get("/"))).status == 200
