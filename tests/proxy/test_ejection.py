"""Endpoints that fail are left out for a while: exchanges through a real worker."""

import asyncio
import contextlib
import time
from contextlib import AsyncExitStack

import msgspec
import pytest

from ingressd.model import Ejection, Endpoint, Policy, Snapshot
from tests.kit import Client, Upstream, Worker, always, cluster, deaf_port, each, get, ok, refused_port, serving
from tests.kit.stream import DEADLINE, Closed, eventually, pause
from tests.kit.upstream import Connection, Script
from tests.kit.worker import SETTINGS

LONG = msgspec.structs.replace(SETTINGS, ejection=Ejection(base=600.0, longest=600.0))
"""Nobody is tried again before the end of the test."""
SHORT = msgspec.structs.replace(SETTINGS, ejection=Ejection(base=0.2, longest=0.2))


def gateway_error(status: int) -> bytes:
    return b"HTTP/1.1 %d Oops\r\nContent-Length: 0\r\n\r\n" % status


async def ejected(worker: Worker, *endpoints: Endpoint) -> None:
    """Waits until the worker says that it has ejected exactly these."""
    await eventually(
        lambda: {each.endpoint for each in worker.findings.ejected} == set(endpoints), f"ejected: {endpoints}"
    )


async def test_an_endpoint_that_refuses_connections_is_left_out_and_no_request_is_lost() -> None:
    refused = refused_port()
    async with Upstream(always(ok())) as upstream, Worker(serving(upstream, refused), LONG) as worker:
        async with Client(worker.port) as client:
            for _ in range(40):
                assert (await client.ask(get())).status == 200
        await ejected(worker, refused)
        (found,) = worker.findings.ejected
        assert (found.failures, found.ejections) == (5, 1)
        assert 500 < found.until - time.time() <= 601
        await worker.stop()
        assert worker.counter("upstream_connect_failures") == 5
        assert worker.counter("ejections") == 1
        assert worker.gauge("endpoints_ejected") == 1


@pytest.mark.parametrize("status", [502, 503, 504])
async def test_an_endpoint_that_answers_as_a_gateway_in_trouble_is_left_out(status: int) -> None:
    async with (
        Upstream(always(gateway_error(status))) as bad,
        Upstream(always(ok())) as good,
        Worker(serving(bad, good), LONG) as worker,
        Client(worker.port) as client,
    ):
        found = [(await client.ask(get())).status for _ in range(30)]
        assert found.count(status) == 5
        await ejected(worker, bad.endpoint)


async def test_other_errors_are_the_applications_own() -> None:
    async with (
        Upstream(always(gateway_error(500))) as bad,
        Upstream(always(ok())) as good,
        Worker(serving(bad, good), LONG) as worker,
        Client(worker.port) as client,
    ):
        found = [(await client.ask(get())).status for _ in range(30)]
        assert found.count(500) == 15
        await worker.stop()
        assert worker.counter("ejections") == 0


async def closes(connection: Connection) -> None:
    await connection.request()


async def garbles(connection: Connection) -> None:
    await connection.request()
    await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n")


async def cuts(connection: Connection) -> None:
    await connection.request()
    await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf")


async def fails_and_cuts(connection: Connection) -> None:
    await connection.request()
    await connection.send(b"HTTP/1.1 503 Oops\r\nContent-Length: 1000\r\n\r\nhalf")


async def is_silent(connection: Connection) -> None:
    await connection.request()
    await connection.request()


@pytest.mark.parametrize("script", [closes, garbles, is_silent, cuts, fails_and_cuts])
async def test_responses_that_do_not_come_or_do_not_hold_count(script: Script) -> None:
    policy = Policy(read_timeout=0.2)
    async with (
        Upstream(script) as bad,
        Upstream(always(ok())) as good,
        Worker(serving(bad, good, policy=policy), LONG) as worker,
    ):
        for _ in range(10):
            async with Client(worker.port) as client:
                with contextlib.suppress(Closed):
                    await client.ask(get())
        await ejected(worker, bad.endpoint)
        assert len(bad.requests) == 5


async def test_an_endpoint_that_accepts_no_connection_in_time_counts() -> None:
    policy = Policy(connect_timeout=0.2)
    with deaf_port() as deaf:
        async with Upstream(always(ok())) as good, Worker(serving(deaf, good, policy=policy), LONG) as worker:
            async with Client(worker.port) as client:
                for _ in range(10):
                    assert (await client.ask(get())).status == 200
            await ejected(worker, deaf)


async def test_idle_connections_that_endpoints_close_are_no_failures() -> None:
    async def script(connection: Connection) -> None:
        """Answers once, and closes when the next request is there."""
        if await connection.request():
            await connection.send(ok())
            await connection.request()

    async with Upstream(script) as one, Upstream(script) as two, Worker(serving(one, two), LONG) as worker:
        async with Client(worker.port) as client:
            for _ in range(60):
                assert (await client.ask(get())).status == 200
        await worker.stop()
        assert worker.counter("upstream_retries") > 10
        assert worker.counter("ejections") == 0


async def test_one_request_readmits_an_endpoint_that_is_well_again() -> None:
    answer = gateway_error(503)
    async with (
        Upstream(each(lambda message: answer)) as sick,
        Upstream(always(ok())) as good,
        Worker(serving(sick, good), SHORT) as worker,
        Client(worker.port) as client,
    ):
        for _ in range(20):
            await client.ask(get())
        await ejected(worker, sick.endpoint)
        answer = ok(b"well")
        async with asyncio.timeout(DEADLINE):
            while worker.findings.ejected:
                await client.ask(get())
        bodies = [(await client.ask(get())).body for _ in range(10)]
        assert bodies.count(b"well") == 5


async def test_a_trial_that_is_cut_behind_its_head_has_failed() -> None:
    async with (
        Upstream(cuts) as bad,
        Upstream(always(ok())) as good,
        Worker(serving(bad, good), SHORT) as worker,
    ):
        async with asyncio.timeout(DEADLINE):
            while not worker.findings.ejected or worker.findings.ejected[0].ejections < 4:
                async with Client(worker.port) as client:
                    with contextlib.suppress(Closed):
                        await client.ask(get())
        await worker.stop()
        assert len(bad.requests) == 4 + worker.counter("ejections")


async def test_a_response_without_end_readmits_an_endpoint() -> None:
    well = False

    async def script(connection: Connection) -> None:
        await connection.request()
        if well:
            await connection.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
            with contextlib.suppress(ConnectionError):
                while True:
                    await connection.send(b"data: well\n\n")
                    await pause(0.05)

    async with (
        Upstream(script) as sick,
        Upstream(always(ok())) as good,
        Worker(serving(sick, good), SHORT) as worker,
    ):
        async with Client(worker.port) as client:
            for _ in range(10):
                await client.ask(get())
        await ejected(worker, sick.endpoint)
        well = True
        async with AsyncExitStack() as stack:
            streams = len(sick.requests)
            async with asyncio.timeout(DEADLINE):
                while len(sick.requests) == streams:
                    client = await stack.enter_async_context(Client(worker.port))
                    await client.send(get())
                    await client.message_head()
            await ejected(worker)


async def test_a_tunnel_readmits_an_endpoint_when_it_begins() -> None:
    async def script(connection: Connection) -> None:
        message = await connection.request()
        if message is None or message.get(b"upgrade") is None:
            return
        await connection.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
        await connection.read_to_end()

    async with (
        Upstream(script) as sick,
        Upstream(always(ok())) as good,
        Worker(serving(sick, good), SHORT) as worker,
        AsyncExitStack() as stack,
    ):
        async with Client(worker.port) as client:
            for _ in range(10):
                await client.ask(get())
        await ejected(worker, sick.endpoint)
        async with asyncio.timeout(DEADLINE):
            while worker.findings.ejected:
                client = await stack.enter_async_context(Client(worker.port))
                await client.send(get("/", "Connection: Upgrade", "Upgrade: echo"))
                await client.message_head()


async def test_while_it_is_sick_each_trial_costs_one_request() -> None:
    statuses: list[int] = []
    async with (
        Upstream(always(gateway_error(503))) as sick,
        Upstream(always(ok())) as good,
        Worker(serving(sick, good), SHORT) as worker,
        Client(worker.port) as client,
    ):
        async with asyncio.timeout(DEADLINE):
            while not worker.findings.ejected or worker.findings.ejected[0].ejections < 4:
                statuses.append((await client.ask(get())).status)
        assert statuses.count(503) == len(sick.requests)
        # Five have ejected it, and each trial is an ejection; the last ones may not have been told yet.
        await worker.stop()
        assert len(sick.requests) == 4 + worker.counter("ejections")


async def test_at_most_half_of_the_endpoints_are_left_out() -> None:
    async with AsyncExitStack() as stack:
        sick = [await stack.enter_async_context(Upstream(always(gateway_error(503)))) for _ in range(4)]
        worker = await stack.enter_async_context(Worker(serving(*sick), LONG))
        client = await stack.enter_async_context(Client(worker.port))
        for _ in range(60):
            assert (await client.ask(get())).status == 503
        await eventually(lambda: len(worker.findings.ejected) == 2, "two are ejected")
        await worker.stop()
        assert worker.gauge("endpoints_ejected") == 2
        assert worker.counter("ejections_refused") > 0


async def test_a_worker_without_ejection_leaves_nobody_out() -> None:
    off = msgspec.structs.replace(SETTINGS, ejection=Ejection(enabled=False))
    async with (
        Upstream(always(gateway_error(503))) as bad,
        Upstream(always(ok())) as good,
        Worker(serving(bad, good), off) as worker,
        Client(worker.port) as client,
    ):
        found = [(await client.ask(get())).status for _ in range(30)]
        assert found.count(503) == 15


async def test_unhealthy_endpoints_get_nothing_unless_all_are() -> None:
    script = each(lambda message: ok())
    async with Upstream(script) as one, Upstream(script) as two:
        state = serving(one, two)

        def sick(*upstreams: Upstream) -> Snapshot:
            unhealthy = tuple(sorted(upstream.endpoint for upstream in upstreams))
            (web,) = state.clusters
            return msgspec.structs.replace(state, clusters=(msgspec.structs.replace(web, unhealthy=unhealthy),))

        async with Worker(sick(one)) as worker, Client(worker.port) as client:
            for _ in range(10):
                assert (await client.ask(get())).status == 200
            assert (len(one.requests), len(two.requests)) == (0, 10)
            await worker.publish(sick(one, two))
            for _ in range(10):
                assert (await client.ask(get())).status == 200
            assert (len(one.requests), len(two.requests)) == (5, 15)
            await eventually(lambda: worker.findings.panicking == (cluster("web").key,), "it says that it panics")
            await worker.publish(sick(two))
            for _ in range(10):
                assert (await client.ask(get())).status == 200
            assert (len(one.requests), len(two.requests)) == (15, 15)
            await eventually(lambda: worker.findings.panicking == (), "no more")
