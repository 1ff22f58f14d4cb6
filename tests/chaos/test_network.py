"""What breaks below HTTP, or behind it: the right answer in time, others not slowed, and recovery by itself.

`shaky.example` has an endpoint that will break and one that is sound; `steady.example` has two of its own. Whatever the
one does, requests to the others take no longer, and a request that meets it is answered within what the timeouts allow:
by the sound endpoint where it may be sent again (RFC 9110 section 9.2.2), else with 502 or 504.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import NamedTuple

import dns.rcode
import pytest

from tests.chaos.table import Table
from tests.chaos.traffic import Traffic, flowing
from tests.chaos.world import SLOWEST, World, no_duplicates, not_slowed
from tests.control.dns_server import dns_server
from tests.netlab import Pod

BROKEN = 4.0
"""Seconds for which each fault lasts."""
SOUND = 1.5
"""Seconds before it by which the others are judged."""
MARGIN = 1.0
"""Seconds that a busy machine may add to an answer."""
RECOVERY = 30.0
"""Seconds within which all is well again after a fault: an endpoint may be ejected for 10."""
NOT_OURS = (502, 504)
FEW = 60
"""Requests that meet a broken endpoint before each worker has ejected it: 5 in a row, those under way, and trials."""


class Fault(NamedTuple):
    """`breaks` a pod, and `mends` it. Of what meets it, requests of these `kinds` may be cut: what has begun to be
    answered cannot be sent again."""

    name: str
    breaks: Callable[[World, Pod], Awaitable[object]]
    mends: Callable[[World, Pod], Awaitable[object]]
    kinds: tuple[str, ...] = ()
    all_of_them: bool = False
    """Whether the sound endpoint of the same host breaks likewise."""


def mode(name: str) -> Callable[[World, Pod], Awaitable[object]]:
    return lambda world, pod: world.tell(pod, f"mode {name}")


def rules(*lines: str) -> Callable[[World, Pod], Awaitable[object]]:
    return lambda world, pod: pod.filter(*lines)


SYN = "tcp flags & (syn | ack) == syn"
SERVED = "tcp dport 8080"
FAULTS = (
    Fault("a pod vanishes without a FIN", lambda _, pod: pod.cut(), lambda _, pod: pod.mend(), ("slow", "tunnel")),
    Fault("a pod drops SYNs", rules(f"{SERVED} {SYN} drop"), rules()),
    Fault("a pod resets connections", mode("reset"), mode("ok")),
    Fault("a pod accepts and never answers", mode("mute"), mode("ok")),
    Fault("a pod answers a byte a second", mode("trickle"), mode("ok"), ("kept", "new", "slow", "upload")),
    Fault("a pod answers garbage", mode("garbage"), mode("ok")),
    Fault("a pod closes after the head", mode("head"), mode("ok"), ("kept", "new", "slow", "upload", "tunnel")),
    Fault(
        "a pod refuses half of all connections",
        rules(f"{SERVED} {SYN} numgen random mod 2 == 0 reject with tcp reset"),
        rules(),
    ),
    Fault(
        "a network that loses 5 % of all packets",
        rules("numgen random mod 100 < 5 drop", "out numgen random mod 100 < 5 drop"),
        rules(),
        all_of_them=True,
    ),
)


@asynccontextmanager
async def both(world: World) -> AsyncIterator[tuple[Traffic, Traffic]]:
    """Load on the host that will break and on the one that will not."""
    async with AsyncExitStack() as stack:
        yield (
            await stack.enter_async_context(flowing(world.port, "shaky.example", tolerated=NOT_OURS)),
            await stack.enter_async_context(flowing(world.port, "steady.example")),
        )


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
async def test_fault(world: World, table: Table, fault: Fault) -> None:
    broken, sound, *others = [await world.pod(name) for name in ("broken", "sound", "steady-0", "steady-1")]
    world.route("shaky", broken, sound)
    world.route("steady", *others)
    await world.start()
    clock = asyncio.get_running_loop().time
    async with both(world) as (shaky, steady):
        await shaky.every_kind()
        await steady.every_kind()
        begin = clock()
        await asyncio.sleep(SOUND)
        before = steady.p99(begin)
        at = clock()
        for pod in (broken, sound) if fault.all_of_them else (broken,):
            await fault.breaks(world, pod)
        await asyncio.sleep(BROKEN)
        during = steady.p99(at)
        met = [each for each in shaky.done if each.ended >= at]
        by_sound = [each for each in met if each.pod == "sound" and each.took < SLOWEST]
        for pod in (broken, sound) if fault.all_of_them else (broken,):
            await fault.mends(world, pod)
        mended = clock()
        recovered = await shaky.met("broken", mended)
        await shaky.well(RECOVERY)
    late = [each for each in shaky.done if each.kind in ("kept", "new", "upload") and each.took > SLOWEST + MARGIN]
    cut = [each for each in shaky.lost if each.kind in fault.kinds]
    lost = [*late, *(each for each in shaky.lost if each not in cut)]
    table.add(
        fault.name,
        shaky.requests + steady.requests,
        len(lost) + len(steady.lost),
        shaky.answered + len(cut),
        before,
        during,
        recovered,
    )
    assert not lost, lost[:5]
    assert shaky.answered + len(cut) <= FEW, "the endpoint that breaks is soon left out"
    steady.none_lost()
    not_slowed(before, during)
    assert len(by_sound) >= 5, "the other endpoint goes on serving"
    await no_duplicates(world, broken, sound, *others)


async def test_a_name_stops_resolving(world: World, table: Table) -> None:
    pod, other = await world.pod("pod"), await world.pod("steady")
    async with dns_server() as server:
        server.records("pods.test", f"A {pod.address}", ttl=1)
        world.route("shaky", external="pods.test")
        world.route("steady", other)
        await world.start(f"--nameserver={server.address}")
        async with both(world) as (shaky, steady):
            await shaky.well(10)
            answered = shaky.answered
            await steady.more(200)
            before = steady.p99(0)
            at = asyncio.get_running_loop().time()
            for rcode in (dns.rcode.SERVFAIL, dns.rcode.NXDOMAIN):
                server.rcode("pods.test", rcode)
                await shaky.more(300)
            server.silent("pods.test")
            await shaky.more(300)
            during = steady.p99(at)
            server.records("pods.test", f"A {pod.address}", ttl=1)
            recovered = await shaky.well(RECOVERY)
    requests, lost = shaky.requests + steady.requests, len(shaky.lost) + len(steady.lost)
    table.add("a name stops resolving", requests, lost, shaky.answered - answered, before, during, recovered)
    shaky.none_lost()
    steady.none_lost()
    assert shaky.answered == answered
    not_slowed(before, during)
