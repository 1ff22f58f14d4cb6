"""What a process that dies, or hangs, takes with it."""

import asyncio
import os
import signal

from tests.chaos.table import Table
from tests.chaos.traffic import flowing
from tests.chaos.world import World, no_duplicates, refused
from tests.control.process import exists
from tests.kit import eventually

CLIENTS = 9
"""Connections that a Traffic has open at a time that are kept, and so may be lost with a worker: all but new ones."""


async def test_a_worker_is_killed(world: World, table: Table) -> None:
    pods = [await world.pod(f"pod-{number}") for number in range(2)]
    world.route("shop", *pods)
    ingressd = await world.start("--workers=2")
    async with flowing(world.port, "shop.example") as traffic:
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
    traffic.none_lost(but=CLIENTS + 2)
    assert all(each.ended - killed < 1 for each in traffic.lost), "after that, nothing is"
    assert recovered < 5, "1 on a machine that has nothing else to do"
    await no_duplicates(world, *pods)


async def test_a_worker_that_dies_again_and_again(world: World, table: Table) -> None:
    pods = [await world.pod(f"pod-{number}") for number in range(2)]
    world.route("shop", *pods)
    ingressd = await world.start("--workers=2")
    deaths = 4
    async with flowing(world.port, "shop.example", only=("new",)) as traffic:
        await traffic.more(50)
        for death in range(deaths):
            pids = await ingressd.pids()
            os.kill(pids[1], signal.SIGKILL)
            await ingressd.says("was killed by SIGKILL", death + 1)
            await ingressd.restarted(pids)
        recovered = await traffic.well(20)
    assert "starting another now" in ingressd.text()
    assert "starting another in 1 s" in ingressd.text()
    assert "starting another in 2 s" in ingressd.text()
    assert await ingressd.metric("ingressd_worker_restarts_total") == deaths
    table.add(f"a worker killed {deaths} times in a row", traffic.requests, len(traffic.lost), recovered=recovered)
    # A new connection to it that was just accepted is its own; those that wait for it are not lost.
    traffic.none_lost(but=2 * deaths)


async def test_a_worker_hangs(world: World, table: Table) -> None:
    """Stopped by a signal: nothing runs in it any more, and its connections stay open."""
    pods = [await world.pod(f"pod-{number}") for number in range(2)]
    world.route("shop", *pods)
    ingressd = await world.start("--workers=2")
    clock = asyncio.get_running_loop().time
    async with flowing(world.port, "shop.example", only=("new", "kept")) as traffic:
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
    traffic.none_lost(but=5 * 2)
    assert await ingressd.metric("ingressd_worker_hangs_total") == 1


async def test_the_controller_is_killed(world: World, table: Table) -> None:
    """Requests under way are finished; nobody listens any more, and another ingressd can."""
    pods = [await world.pod(f"pod-{number}") for number in range(2)]
    world.route("shop", *pods)
    ingressd = await world.start("--workers=2")
    port = ingressd.port
    clock = asyncio.get_running_loop().time
    async with flowing(lambda: port, "shop.example", only=("slow", "upload")) as traffic:
        await traffic.more(30)
        workers = await ingressd.pids()
        killed = clock()
        os.kill(ingressd.process.pid, signal.SIGKILL)
        await eventually(lambda: refused(port), "nobody listens")
        freed = clock() - killed
        again = await world.start("--workers=2", f"--http-port={port}")
        await traffic.well(20, kinds=("upload", "slow"))
        recovered = clock() - killed
        assert again.port == port
    # Who comes while nobody listens is refused; all else was finished.
    cut = [each for each in traffic.lost if "ConnectionRefusedError" not in each.why and "nothing came" not in each.why]
    table.add("the controller killed, another started (requests cut)", traffic.requests, len(cut), recovered=recovered)
    assert not cut, cut[:5]
    assert freed < 5
    await eventually(lambda: not any(map(exists, workers)), "the workers have ended", within=90)
    await no_duplicates(world, *pods)
