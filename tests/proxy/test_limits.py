"""How much a worker accepts. The sizes of heads are in test_request_framing."""

from contextlib import AsyncExitStack

import msgspec

from ingressd.model import Limits
from tests.kit import Client, Upstream, Worker, always, eventually, get, ok, serving
from tests.kit.worker import SETTINGS

TWO = msgspec.structs.replace(SETTINGS, limits=Limits(connections=2))


async def test_a_connection_above_the_limit_is_answered_503_and_closed() -> None:
    async with (
        Upstream(always(ok())) as upstream,
        Worker(serving(upstream), settings=TWO) as worker,
        Client(worker.port) as one,
        Client(worker.port) as two,
    ):
        for client in (one, two):
            assert (await client.ask(get())).status == 200
        async with Client(worker.port) as three:
            response = await three.response()
            assert (response.status, response.get(b"connection")) == (503, b"close")
            assert response.get(b"retry-after") == b"1"
            assert b"too_many_connections" in response.body
            assert await three.ended()
        # Those that were there first go on.
        for client in (one, two):
            assert (await client.ask(get())).status == 200
        assert b'"-" 503 ' in (await worker.logged(5))[2]
        await worker.stop()
        assert worker.counter("downstream_connections_refused") == 1
        assert worker.counter("downstream_connections") == 3
        assert worker.counter("errors", "too_many_connections") == 1


async def test_when_one_has_gone_another_is_accepted() -> None:
    async with (
        Upstream(always(ok())) as upstream,
        Worker(serving(upstream), settings=TWO) as worker,
        Client(worker.port) as one,
    ):
        await one.ask(get())
        async with Client(worker.port) as two:
            await two.ask(get())
            before = worker.descriptors()
        await eventually(lambda: worker.descriptors() < before, "the second is closed")
        async with Client(worker.port) as three:
            assert (await three.ask(get())).status == 200


async def test_a_client_that_has_sent_its_request_already_gets_the_refusal_too() -> None:
    async with (
        Upstream(always(ok())) as upstream,
        Worker(serving(upstream), settings=TWO) as worker,
        Client(worker.port) as one,
        Client(worker.port) as two,
    ):
        for client in (one, two):
            await client.ask(get())
        for _ in range(50):
            async with Client(worker.port) as more:
                assert (await more.ask(get("/", "Padding: " + "x" * 3000))).status == 503


async def test_a_refused_connection_leaves_nothing_behind() -> None:
    async with (
        Upstream(always(ok())) as upstream,
        Worker(serving(upstream), settings=TWO) as worker,
        AsyncExitStack() as stack,
    ):
        kept = [await stack.enter_async_context(Client(worker.port)) for _ in range(2)]
        for client in kept:
            await client.ask(get())
        before = worker.descriptors()
        for _ in range(50):
            async with Client(worker.port) as more:
                assert (await more.response()).status == 503
        await eventually(lambda: worker.descriptors() == before, "all refused connections are closed")
