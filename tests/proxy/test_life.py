"""How a worker begins and ends: told over its link, ended by the link's end or SIGTERM."""

import asyncio
import signal

import msgspec

from ingressd.model import Timeouts, Update
from ingressd.proxy.worker import DRAIN
from tests.kit import HOST, Client, Upstream, Worker, always, eventually, get, ok, serving
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


async def test_it_exits_with_0_on_SIGTERM_and_reports_what_it_did_last() -> None:
    async with Upstream(always(ok())) as upstream, Worker(serving(upstream)) as worker, Client(worker.port) as client:
        for _ in range(3):
            await client.ask(get("/"))
        worker.process.send_signal(signal.SIGTERM)
        await worker.exited()
        assert sum(series.requests for series in worker.requests()) == 3
        assert len(worker.log) == 3


async def test_SIGINT_leaves_it_running() -> None:
    async with Upstream(always(ok())) as upstream, Worker(serving(upstream)) as worker, Client(worker.port) as client:
        worker.process.send_signal(signal.SIGINT)
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
        worker.process.send_signal(signal.SIGTERM)
        # It accepts nothing more: that is how the signal's arrival shows.
        await eventually(worker.refuses_connections, "new connections are refused")
        await connection.send(ok(b"late"))
        await connection.request()

    async with Upstream(slow) as upstream, Worker(serving(upstream)) as worker, Client(worker.port) as client:
        response = await client.ask(get("/"))
        assert (response.body, response.get(b"connection")) == (b"late", b"close")
        assert await client.ended()
        await worker.exited()


async def test_a_connection_whose_response_began_before_the_end_is_closed_after_it() -> None:
    async def halting(connection: Connection) -> None:
        await connection.request()
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nha")
        await eventually(worker.refuses_connections, "new connections are refused")
        await connection.send(b"lt")
        await connection.request()

    async with Upstream(halting) as upstream, Worker(serving(upstream)) as worker, Client(worker.port) as client:
        await client.send(get("/"))
        await client.read_until(b"ha")
        worker.process.send_signal(signal.SIGTERM)
        await client.read_until(b"lt")
        began = asyncio.get_running_loop().time()
        assert await client.ended()
        assert asyncio.get_running_loop().time() - began < DRAIN / 2
        await worker.exited()
        assert worker.log[0].split(b'" ')[1].startswith(b"200 4 ")


async def test_idle_connections_are_closed_at_once_when_it_ends() -> None:
    timeouts = Timeouts(keep_alive=600, client_header=600)
    async with (
        Upstream(always(ok())) as upstream,
        Worker(serving(upstream), timeouts=timeouts) as worker,
        Client(worker.port) as used,
        Client(worker.port) as fresh,
    ):
        await used.ask(get("/"))
        worker.unlink()
        assert await used.ended()
        assert await fresh.ended()
        await worker.exited()


async def test_a_log_that_nobody_reads_does_not_keep_it_from_its_end() -> None:
    async with Upstream(always(ok())) as upstream, Worker(serving(upstream)) as worker, Client(worker.port) as client:
        worker.stop_reading_log()
        for _ in range(20):
            await client.send(get("/", "User-Agent: " + "x" * 8000) * 10)
            for _ in range(10):
                await client.response()
        worker.process.send_signal(signal.SIGTERM)
        await worker.exited()


async def test_a_worker_number_and_settings_arrive_before_anything_is_served() -> None:
    settings = msgspec.structs.replace(SETTINGS, worker=1, workers=2)
    async with Upstream(always(ok())) as upstream, Worker(settings=settings) as worker, Client(worker.port) as client:
        assert (await client.ask(get("/"))).status == 404
        await worker.tell(Update.of(serving(upstream, host=HOST), 2))
        await eventually(lambda: worker.serving == 2, "the whole state is served")
        assert (await client.ask(get("/"))).status == 200
