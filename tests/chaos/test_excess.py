"""Too much of something: the excess is refused, said in metrics, and over when it is over."""

import asyncio
import contextlib
import os
import resource
from collections import Counter

from ingressd.aio import spawn
from tests.chaos.table import Table
from tests.chaos.traffic import flowing
from tests.chaos.world import World, not_slowed
from tests.kit import Client, get

SLOW = 5000
ADMITTED = 3000
PER_CLIENT = 150_000
"""Bytes of a worker's memory. Half of them have 100,000 bytes to take."""


async def test_few_file_descriptors(world: World, table: Table) -> None:
    pods = [await world.pod(f"pod-{number}") for number in range(2)]
    world.route("shop", *pods)
    ingressd = await world.start("--workers=1", before=["prlimit", "--nofile=256:256"])
    assert "ulimit -n" in ingressd.text()
    clock = asyncio.get_running_loop().time
    async with flowing(world.port, "shop.example", tolerated=(503,)) as traffic:
        await traffic.every_kind()
        statuses: Counter[int] = Counter()
        async with contextlib.AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(Client(ingressd.port)) for _ in range(400)]
            for client in clients:
                with contextlib.suppress(ConnectionError):
                    statuses[(await client.ask(get("/", host="shop.example"))).status] += 1
            await ingressd.until_metric("ingressd_downstream_connections_refused_total", 250)
        ended = clock()
        recovered = await traffic.well(20)
        assert clock() - ended < 20
    assert statuses[200] > 30
    assert statuses[503] > 0
    assert statuses.keys() <= {200, 503}
    late = [each for each in traffic.lost if each.ended > ended + recovered]
    table.add(
        "400 connections to a worker with `ulimit -n 256`",
        traffic.requests,
        len(late),
        traffic.answered + len(traffic.lost) - len(late),
        recovered=recovered,
    )
    assert not late, late[:5]


async def test_nobody_reads_the_access_log(world: World, table: Table) -> None:
    pods = [await world.pod(f"pod-{number}") for number in range(2)]
    world.route("shop", *pods)
    read, write = os.pipe()
    try:
        ingressd = await world.start("--workers=1", log=write)
        os.close(write)
        clock = asyncio.get_running_loop().time
        async with flowing(world.port, "shop.example") as traffic:
            await traffic.every_kind()
            before = traffic.p99(0)
            full = clock()
            # Long lines, so that 4 MiB are soon there.
            await asyncio.gather(*(long_lines(ingressd.port) for _ in range(4)))
            dropped = await ingressd.until_metric("ingressd_access_log_dropped_lines_total", 1)
            begin = clock()
            await traffic.more(200)
            during = traffic.p99(begin)
            drain = spawn(asyncio.to_thread(read_all, read), "somebody reads again")
            written = await ingressd.metric("ingressd_access_log_lines_total")
            begin = clock()
            await ingressd.until_metric("ingressd_access_log_lines_total", written + 500)
            recovered = clock() - begin
        ingressd.kill()
        await drain
    finally:
        os.close(read)
    assert dropped > 0
    assert full < begin
    table.add("an access log that nobody reads", traffic.requests, len(traffic.lost), 0, before, during, recovered)
    traffic.none_lost()
    not_slowed(before, during)


async def long_lines(port: int) -> None:
    long = get("/", "User-Agent: " + "x" * 7000, "Referer: " + "y" * 7000, host="nobody.example")
    async with Client(port) as client:
        for _ in range(30):
            await client.send(long * 5)
            for _ in range(5):
                await client.response()


def read_all(descriptor: int) -> None:
    while os.read(descriptor, 1 << 20):
        pass


async def test_thousands_of_slow_clients(world: World, table: Table) -> None:
    """Half of them send a head a byte at a time, half take a large response a little at a time."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    pods = [await world.pod(f"pod-{number}") for number in range(2)]
    world.route("shop", *pods)
    world.route("large", await world.pod("large"))
    ingressd = await world.start("--workers=1", f"--max-worker-connections={ADMITTED}", "--proxy-read-timeout=20s")
    memory = await ingressd.until_metric("ingressd_worker_memory_bytes", 1)
    clock = asyncio.get_running_loop().time
    try:
        async with flowing(world.port, "shop.example", tolerated=(503,)) as traffic:
            await traffic.every_kind()
            before = traffic.p99(0)
            async with contextlib.AsyncExitStack() as stack:
                for number in range(SLOW):
                    client = await stack.enter_async_context(Client(ingressd.port, receive_buffer=4096))
                    with contextlib.suppress(ConnectionError):
                        await client.send(b"G" if number % 2 else get("/big/100000", host="large.example"))
                    if number % 20 == 0:
                        await asyncio.sleep(0.01)
                refused = await ingressd.until_metric("ingressd_downstream_connections_refused_total", SLOW - ADMITTED)
                # Those who are in are served as before.
                begin = clock()
                await traffic.more(300)
                during = traffic.p99(begin)
                grown = await ingressd.metric("ingressd_worker_memory_bytes") - memory
            recovered = await traffic.well(30)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    what = f"{SLOW:,} slow clients, of which {ADMITTED:,} may come in"
    table.add(what, traffic.requests, len(traffic.lost), traffic.answered, before, during, recovered)
    assert refused >= SLOW - ADMITTED
    assert grown < ADMITTED * PER_CLIENT
    traffic.none_lost()
    not_slowed(before, during)
