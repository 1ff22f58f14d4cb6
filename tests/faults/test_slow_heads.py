"""Heads that come a byte now and then, or never to an end, while everybody else is served as usual."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from ingressd.model import Policy, Timeouts
from tests.faults.left import Left, counted_objects
from tests.kit import Client, Message, Upstream, Worker, get, ok, pause, serving
from tests.kit.upstream import Connection

HEAD_TIME = 1.0
"""Seconds for a head; short, because it is waited for."""

SLOW_CLIENTS = 500
SLOW_UPSTREAMS = 100


def echo(message: Message) -> bytes:
    return ok(message.target)


@pytest_asyncio.fixture
async def worker(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Worker]:
    """One whose upstream answers with the target, but what is under /slow as `answer_slowly` does it."""
    with counted_objects(tmp_path_factory.mktemp("slow")):
        upstream = Upstream(answer_slowly)
        timeouts = Timeouts(client_header=HEAD_TIME)
        async with Worker(serving(upstream, policy=Policy(read_timeout=HEAD_TIME)), timeouts=timeouts) as worker:
            left = await Left.baseline(worker)
            async with upstream:
                yield worker
            await left.nothing()


async def answer_slowly(connection: Connection) -> None:
    """/slow/stop/N: the first N bytes of the answer and no more; /slow/drip: byte by byte."""
    while (message := await connection.request()) is not None:
        data = echo(message)
        if message.target.startswith(b"/slow/stop/"):
            await connection.send(data[: int(message.target.rpartition(b"/")[2])])
        elif message.target.startswith(b"/slow/drip"):
            for at in range(len(data)):
                await connection.send(data[at : at + 1])
                await pause(0.01)
        else:
            await connection.send(data)


async def served_as_usual(worker: Worker, until: "asyncio.Task[None]") -> int:
    """Sends request after request, on one connection and on new ones, until the task is over. Returns how many were
    answered, which must be all."""
    count = 0
    async with Client(worker.port) as kept:
        while not until.done():
            async with Client(worker.port) as new:
                for client in (kept, new):
                    target = f"/{count}"
                    response = await client.ask(get(target))
                    assert (response.status, response.body) == (200, target.encode())
                    count += 1
    await until
    return count


@pytest.mark.alone
async def test_five_hundred_clients_that_send_a_byte_now_and_then(worker: Worker) -> None:
    head = get("/never", *(f"X-{number}: {number}" for number in range(100)))
    clients = [Client(worker.port) for _ in range(SLOW_CLIENTS)]

    async def drip() -> None:
        """A byte on each, again and again. Each is refused when its time is over; no byte makes it longer."""
        for client in clients:
            await client.__aenter__()
        for at in range(len(head) - 1):
            open_still = [client for client in clients if client.silent()]
            if not open_still:
                break
            for client in open_still:
                with contextlib.suppress(ConnectionError):
                    client.socket.send(head[at : at + 1])
            await pause(0.02)
        for client in clients:
            assert (await client.response()).status == 408

    dripping = asyncio.create_task(drip())
    try:
        assert await served_as_usual(worker, dripping) > 100
    finally:
        for client in clients:
            client.close()


@pytest.mark.alone
async def test_a_hundred_upstreams_that_send_a_byte_now_and_then(worker: Worker) -> None:
    async def drip(number: int) -> None:
        target = f"/slow/drip/{number}"
        async with Client(worker.port) as client:
            assert (await client.ask(get(target))).body == target.encode()

    async def all_drip() -> None:
        await asyncio.gather(*map(drip, range(SLOW_UPSTREAMS)))

    assert await served_as_usual(worker, asyncio.create_task(all_drip())) > 20


@pytest.mark.alone
async def test_requests_that_stop_at_each_byte_of_the_head(worker: Worker) -> None:
    head = get("/never")

    async def stop(at: int) -> None:
        async with Client(worker.port) as client:
            await client.send(head[:at])
            response = await client.response()
            assert (response.status, b"slow_head" in response.body) == (408, True)
            assert await client.ended()

    async def all_stop() -> None:
        await asyncio.gather(*map(stop, range(1, len(head))))

    assert await served_as_usual(worker, asyncio.create_task(all_stop())) > 20


@pytest.mark.alone
async def test_responses_that_stop_at_each_byte_of_the_head(worker: Worker) -> None:
    size = len(ok(b"/slow/stop/NN")) - len(b"/slow/stop/NN")

    async def stop(at: int) -> None:
        async with Client(worker.port) as client:
            response = await client.ask(get(f"/slow/stop/{at}"))
            assert (response.status, b"upstream_timeout" in response.body) == (504, True)
            assert (await client.ask(get("/next"))).body == b"/next"

    async def all_stop() -> None:
        await asyncio.gather(*map(stop, range(size)))

    assert await served_as_usual(worker, asyncio.create_task(all_stop())) > 20
