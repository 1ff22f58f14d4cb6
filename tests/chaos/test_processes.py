"""What a process that dies, or hangs, takes with it."""

import asyncio
import contextlib
import os
import signal
from pathlib import Path

import pytest

from tests.chaos.secure import SecureClient
from tests.chaos.table import Table
from tests.chaos.traffic import HANDSHAKES, flowing
from tests.chaos.world import World, no_duplicates, refused
from tests.control.process import exists
from tests.kit import Client, eventually, get


async def test_a_worker_is_killed(world: World, table: Table) -> None:
    pods = [await world.pod(f"pod-{number}") for number in range(2)]
    world.route("shop", *pods)
    ingressd = await world.start("--workers=2")
    async with flowing(world.port, "shop.example", world.https()) as traffic:
        await traffic.every_kind()
        before = await ingressd.pids()
        clock = asyncio.get_running_loop().time
        killed = clock()
        os.kill(before[0], signal.SIGKILL)
        await ingressd.restarted(before)
        recovered = clock() - killed
        after = await ingressd.pids()
        await traffic.more(300)
        await traffic.every_kind()
        assert after[1] == before[1]
    lost = len(traffic.lost)
    table.add("a worker killed (its own connections are lost)", traffic.requests, lost, recovered=recovered)
    # Each client has one connection, and loses at most that.
    traffic.none_lost(but=traffic.clients)
    assert all(each.ended - killed < 1 for each in traffic.lost), "after that, nothing is"
    assert traffic.resumed > 0
    assert recovered < 5, "1 on a machine that has nothing else to do"
    await no_duplicates(world, *pods)


async def test_only_the_connections_of_a_worker_that_is_killed_are_cut(world: World) -> None:
    """Tunnels that are open, over TLS and not: each goes on unless it is that worker's."""
    world.route("shop", await world.pod("pod"))
    ingressd = await world.start("--workers=2")
    context = world.https().context()
    async with contextlib.AsyncExitStack() as stack:
        tunnels: list[Client] = []
        for _ in range(12):
            tunnels.append(await stack.enter_async_context(Client(ingressd.port)))
            tunnels.append(await stack.enter_async_context(SecureClient(ingressd.https_port, context, "shop.example")))
        for client in tunnels:
            await client.send(get("/echo", "Connection: Upgrade", "Upgrade: websocket", host="shop.example"))
            assert (await client.message_head()).status == 101
        pids = await ingressd.pids()
        its = served_by(pids[0])
        mine = [each for each in tunnels if each.address[1] in its]
        others = [each for each in tunnels if each.address[1] not in its]
        assert mine, "the kernel has given it some"
        os.kill(pids[0], signal.SIGKILL)
        await ingressd.restarted(pids)
        for client in others:
            await client.send(b"still here")
            assert await client.read_exactly(10) == b"still here"
        for client in mine:
            with pytest.raises(ConnectionError):
                await client.read_exactly(1)


def served_by(pid: int) -> set[int]:
    """The ports of the other ends of the TCP connections of a process."""
    inodes = {os.readlink(each) for each in Path(f"/proc/{pid}/fd").iterdir() if each.is_symlink()}
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {int(line[2].partition(":")[2], 16) for line in lines if f"socket:[{line[9]}]" in inodes}


async def test_a_worker_that_dies_again_and_again(world: World, table: Table) -> None:
    pods = [await world.pod(f"pod-{number}") for number in range(2)]
    world.route("shop", *pods)
    ingressd = await world.start("--workers=2")
    deaths = 4
    async with flowing(world.port, "shop.example", world.https(), only=("new", *HANDSHAKES)) as traffic:
        for death in range(deaths):
            # Those that have waited for it are served first.
            await traffic.more(2 * traffic.clients)
            pids = await ingressd.pids()
            os.kill(pids[1], signal.SIGKILL)
            await ingressd.says("was killed by SIGKILL", death + 1)
            await ingressd.restarted(pids)
        recovered = await traffic.well(20)
    assert "starting another now" in ingressd.text()
    assert "starting another in 1 s" in ingressd.text()
    assert "starting another in 2 s" in ingressd.text()
    assert await ingressd.metric("ingressd_worker_restarts_total") == deaths
    what = f"a worker killed {deaths} times in a row (its own connections are lost)"
    table.add(what, traffic.requests, len(traffic.lost), recovered=recovered)
    # A new connection to it that was just accepted is its own; those that wait for it are not lost.
    traffic.none_lost(but=traffic.clients * deaths)


async def test_a_worker_hangs(world: World, table: Table) -> None:
    """Stopped by a signal: nothing runs in it any more, and its connections stay open."""
    pods = [await world.pod(f"pod-{number}") for number in range(2)]
    world.route("shop", *pods)
    ingressd = await world.start("--workers=2")
    clock = asyncio.get_running_loop().time
    async with flowing(
        world.port, "shop.example", world.https(), only=("new", "kept", "https-kept", *HANDSHAKES)
    ) as traffic:
        await traffic.more(200)
        before = await ingressd.pids()
        stopped = clock()
        os.kill(before[0], signal.SIGSTOP)
        await ingressd.says("hangs: nothing was heard of it for 10 s")
        await ingressd.restarted(before)
        recovered = clock() - stopped
        await traffic.more(200)
        await traffic.well(20)
    table.add(
        "a worker that hangs (its own connections are lost)", traffic.requests, len(traffic.lost), recovered=recovered
    )
    traffic.none_lost(but=traffic.clients * 2)
    assert await ingressd.metric("ingressd_worker_hangs_total") == 1


async def test_the_controller_is_killed(world: World, table: Table) -> None:
    """Requests under way are finished; nobody listens any more, and another ingressd can."""
    pods = [await world.pod(f"pod-{number}") for number in range(2)]
    world.route("shop", *pods)
    ingressd = await world.start("--workers=2")
    port, https_port = ingressd.port, ingressd.https_port
    kinds = ("upload", "slow", "https-upload", "https-slow")
    clock = asyncio.get_running_loop().time
    async with flowing(lambda: port, "shop.example", world.https(lambda: https_port), only=kinds) as traffic:
        await traffic.more(30)
        workers = await ingressd.pids()
        killed = clock()
        os.kill(ingressd.process.pid, signal.SIGKILL)
        await eventually(lambda: refused(port) and refused(https_port), "nobody listens")
        freed = clock() - killed
        again = await world.start("--workers=2", f"--http-port={port}", f"--https-port={https_port}")
        await traffic.well(20, kinds=kinds)
        recovered = clock() - killed
        assert (again.port, again.https_port) == (port, https_port)
    # Who comes while nobody listens is refused; all else was finished.
    cut = [each for each in traffic.lost if "ConnectionRefusedError" not in each.why and "nothing came" not in each.why]
    table.add("the controller killed, another started (requests cut)", traffic.requests, len(cut), recovered=recovered)
    assert not cut, cut[:5]
    assert freed < 5
    await eventually(lambda: not any(map(exists, workers)), "the workers have ended", within=90)
    await no_duplicates(world, *pods)
