"""After thousands of exchanges of all kinds, access log on, a worker is as it was after the first thousands."""

import asyncio
from pathlib import Path

import pytest

from ingressd.model import Endpoint, Snapshot
from tests.faults.left import Left, counted_objects
from tests.faults.planned import Upstreams, carry_out, plan
from tests.kit import HOST, Client, Upstream, Worker, cluster, get, refused_port, request, virtual_host
from tests.kit.upstream import Connection

PLANNED = 3000
OTHERS = 150
"""Of each kind."""

GROWTH = 1 << 20
"""Bytes by which a batch of them may raise the resident memory: a quarter of a KiB for each exchange."""

BATCHES = 6
"""At most, until one adds no more than that to what those before it have made of the memory."""

TUNNEL = "tunnel.example"
REFUSED = "refused.example"
UPGRADE = request("GET", "/", "Connection: Upgrade", "Upgrade: echo", host=TUNNEL)


async def tunnel(connection: Connection) -> None:
    """Says what it hears, then that it has no more to say."""
    await connection.request_head()
    await connection.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
    await connection.send(await connection.read_exactly(4))
    connection.half_close()
    await connection.read_to_end()


async def others(worker: Worker) -> None:
    """What `planned` has not: tunnels, our own responses, garbage, connections that say nothing or not enough."""
    for number in range(OTHERS):
        async with Client(worker.port) as client:
            await client.send(UPGRADE + b"ping")
            assert (await client.response()).status == 101
            assert await client.read_exactly(4) == b"ping"
            if number % 3 == 0:
                client.half_close()
            elif number % 3 == 1:
                client.reset()
        async with Client(worker.port) as client:
            assert (await client.ask(get(f"/{number}", host="nobody.example"))).status == 404
            assert (await client.ask(get(f"/{number}", host=REFUSED))).status == 502
            await client.send(get("/")[: number % 30])
        async with Client(worker.port) as client:
            assert (await client.ask(b"\x00" * (number % 1000 + 1))).status == 400


@pytest.mark.alone
@pytest.mark.slow
async def test_memory_is_level_and_nothing_stays_open(tmp_path: Path) -> None:
    plans = [plan(number) for number in range(PLANNED)]
    upstream, tunnels = Upstream(Upstreams(plans).script), Upstream(tunnel)
    endpoints: dict[str, Endpoint] = {HOST: upstream.endpoint, TUNNEL: tunnels.endpoint, REFUSED: refused_port()}
    clusters = {host: cluster(host.split(".")[0], endpoint) for host, endpoint in endpoints.items()}
    snapshot = Snapshot(
        tuple(virtual_host(host, "/", clusters[host]) for host in sorted(clusters)), tuple(clusters.values())
    )
    memory = []
    with counted_objects(tmp_path):
        async with Worker(snapshot) as worker:
            left = await Left.baseline(worker)
            async with upstream, tunnels:
                for _ in range(BATCHES):
                    await asyncio.gather(carry_out(worker, plans), others(worker))
                    reports = len(worker.reports)
                    await worker.reported(lambda: len(worker.reports) > reports + 1, "a report behind the batch")  # noqa: B023
                    memory.append(worker.resident())
                    if len(memory) > 2 and memory[-1] - max(memory[:-1]) <= GROWTH:
                        break
            await left.no_connection()
    print(f"MiB after each batch: {[round(size / (1 << 20), 1) for size in memory]}")
    assert memory[-1] - max(memory[:-1]) <= GROWTH, memory
