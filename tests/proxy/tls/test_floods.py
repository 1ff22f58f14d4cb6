"""Connections that never get through their handshake: they have a time, there are only so many, and nobody waits."""

import asyncio
import contextlib
import random
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from typing import cast

import pytest

from ingressd.model import Limits, Timeouts
from ingressd.proxy.context import Context
from ingressd.proxy.gate import Gate
from ingressd.proxy.tls_server import TlsServer
from ingressd.telemetry.logwriter import LogWriter
from tests.kit import Client, Upstream, Worker, always, get, ok, serving
from tests.proxy.tls.conftest import Pki
from tests.proxy.tls.kit import Secure, connected, fetch, secured, settings, unverified
from tests.proxy.tls.test_client_hello import hello

HELLO = hello()
FLOOR = 0.020
"""Seconds: a p99 that nobody minds, and that a busy core alone may take."""


@pytest.mark.alone
async def test_a_handshake_has_a_time(pki: Pki) -> None:
    quick = settings(timeouts=Timeouts(handshake=0.3))
    async with Worker(secured(serving(), pki.web.model("web")), quick) as worker:
        async with contextlib.AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(Client(worker.tls_port)) for _ in range(3)]
            await clients[1].send(HELLO[:100])
            await clients[2].send(HELLO)
            for client in clients:
                with contextlib.suppress(ConnectionError):
                    await client.read_to_end()
        await worker.reported(lambda: worker.counter("tls_handshake_failures", "timeout") == 3, "all three timed out")
        await worker.reported(lambda: worker.gauge("tls_handshakes_open") == 0, "none is left")


@pytest.mark.alone
async def test_only_so_many_wait_and_those_who_are_quick_get_through(pki: Pki) -> None:
    few = settings(limits=Limits(handshakes=10))
    async with (
        Upstream(always(ok(b"hello"))) as upstream,
        Worker(secured(serving(upstream), pki.web.model("web")), few) as worker,
        contextlib.AsyncExitStack() as stack,
    ):
        for _ in range(25):
            client = await stack.enter_async_context(Client(worker.tls_port))
            await client.send(HELLO[:50])
        assert (await fetch(worker.tls_port, unverified())).status == 200
        await worker.reported(
            lambda: worker.counter("tls_handshake_failures", "crowded_out") == 16, "the oldest were dropped"
        )
        assert worker.gauge("tls_handshakes_open") == 9


async def test_in_each_turn_of_the_loop_one_handshake_is_begun() -> None:
    context = Context(settings(), asyncio.get_running_loop(), LogWriter(sys.stdout.fileno()))
    gate = Gate(context, context.tls)
    begun = []

    class Server:
        def first_step(self) -> None:
            begun.append(self)

    servers = [Server() for _ in range(4)]
    for server in servers[:3]:
        gate.submit(cast(TlsServer, server))
    assert begun == servers[:1]
    for count in (2, 3):
        await asyncio.sleep(0)
        assert begun == servers[:count]
    gate.submit(cast(TlsServer, servers[3]))
    assert begun == servers[:3], "the poller has handed out nothing since the first"
    await asyncio.sleep(0)
    assert begun == servers
    context.poller.close()


async def requests(client: Secure, beside: Callable[[], Awaitable[None]] | None = None) -> float:
    """Makes a hundred, and calls `beside` before each. The p99 of their times, in seconds."""
    took = []
    for _ in range(100):
        if beside is not None:
            await beside()
        start = time.perf_counter()
        assert (await client.ask(get("/"))).status == 200
        took.append(time.perf_counter() - start)
    return sorted(took)[98]


@pytest.mark.alone
async def test_a_flood_costs_connections_there_are_no_cpu_time(pki: Pki) -> None:
    """CPU time of the worker, which a busy machine does not stretch as it does a clock."""
    async with (
        Upstream(always(ok(b"hello"))) as upstream,
        Worker(secured(serving(upstream), pki.web.model("web")), settings()) as worker,
        connected(worker.tls_port, unverified()) as client,
        contextlib.AsyncExitStack() as stack,
    ):

        async def cost() -> float:
            before = worker.cpu_seconds()
            await requests(client)
            return worker.cpu_seconds() - before

        quiet = await cost()
        for number in range(800):
            half_open = await stack.enter_async_context(Client(worker.tls_port))
            await half_open.send(HELLO[: number % 200])
        assert await cost() <= 2 * quiet + 0.1
        await worker.reported(lambda: worker.gauge("tls_handshakes_open") == 800, "they are there")


@pytest.mark.alone
async def test_a_flood_does_not_slow_connections_there_are(pki: Pki) -> None:
    """By the clock: with 900 half-open handshakes and one more before each request, the p99 of requests is within twice
    what it was, or small in any case. A machine that is busy for a while has two more rounds to show it."""
    patient = settings(timeouts=Timeouts(handshake=60.0))
    async with (
        Upstream(always(ok(b"hello"))) as upstream,
        Worker(secured(serving(upstream), pki.web.model("web")), patient) as worker,
        connected(worker.tls_port, unverified()) as client,
    ):
        rounds = []
        for _ in range(3):
            async with contextlib.AsyncExitStack() as stack:

                async def one_more(stack: contextlib.AsyncExitStack = stack) -> None:
                    half_open = await stack.enter_async_context(Client(worker.tls_port))
                    # Of some the whole ClientHello, which the worker answers.
                    half_open.socket.send(random.choice((HELLO[:1], HELLO[:100], HELLO)))

                quiet = statistics.median([await requests(client) for _ in range(3)])
                for _ in range(900):
                    await one_more()
                await worker.reported(lambda: worker.gauge("tls_handshakes_open") >= 900, "they are there")
                flooded = statistics.median([await requests(client, one_more) for _ in range(3)])
            rounds.append((quiet, flooded))
            if flooded <= max(2 * quiet, FLOOR):
                break
            await worker.reported(lambda: worker.gauge("tls_handshakes_open") == 0, "they have gone")
        assert any(flooded <= max(2 * quiet, FLOOR) for quiet, flooded in rounds), f"p99 before and during: {rounds}"


@pytest.mark.alone
async def test_what_is_sent_before_its_turn_is_not_kept(pki: Pki) -> None:
    """Else a few hundred clients that never get through fill the memory: here they send as much as is taken."""
    data = HELLO + 128 * (b"\x17\x03\x03\x40\x00" + bytes(16384))
    async with (
        Worker(secured(serving(), pki.web.model("web")), settings()) as worker,
        contextlib.AsyncExitStack() as stack,
    ):
        waiting = [await stack.enter_async_context(Client(worker.tls_port)) for _ in range(400)]
        before = most_resident(worker)
        pushing = [each.socket for each in waiting]
        for each in pushing:
            with contextlib.suppress(OSError):
                each.send(data)
        while pushing:
            for each in list(pushing):
                try:
                    each.send(data[len(HELLO) :])
                except BlockingIOError:
                    continue
                except OSError:
                    pushing.remove(each)
        assert most_resident(worker) - before < 200 * 2**20


def most_resident(worker: Worker) -> int:
    """The most memory there ever was, in bytes."""
    with open(f"/proc/{worker.pid}/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))


@pytest.mark.alone
async def test_many_handshakes_at_once_take_turns_with_requests(pki: Pki) -> None:
    async with (
        Upstream(always(ok(b"hello"))) as upstream,
        Worker(secured(serving(upstream), pki.web.model("web")), settings()) as worker,
        connected(worker.tls_port, unverified()) as client,
        contextlib.AsyncExitStack() as stack,
    ):
        waiting = [await stack.enter_async_context(Client(worker.tls_port)) for _ in range(200)]
        for each in waiting:
            each.socket.send(HELLO)
        assert (await client.ask(get("/"))).status == 200
        for each in waiting:
            assert (await each.read_some())[:1] == b"\x16"
        await asyncio.sleep(0)
