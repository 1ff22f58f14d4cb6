"""Nothing is lost when pods, objects or ingressd itself are replaced."""

import asyncio
import signal
from collections import Counter
from typing import Literal

import pytest

from tests.chaos.secure import SecureClient
from tests.chaos.table import Table
from tests.chaos.traffic import Traffic, flowing
from tests.chaos.world import World, ingress, no_duplicates, refused
from tests.kit import Client, eventually, get
from tests.netlab import Pod

When = Literal["before", "at", "after"]


@pytest.mark.parametrize("when", ["before", "at", "after"])
async def test_endpoints_are_replaced_one_by_one(world: World, table: Table, when: When) -> None:
    """The pod closes its listening socket before, at, or after the change of the EndpointSlice."""
    pods = [await world.pod(f"old-{number}") for number in range(3)]
    world.route("shop", *pods)
    await world.start()
    posts: Counter[str] = Counter()

    async def stop(pod: Pod) -> None:
        # What it has counted is gone with it.
        posts.update(await world.posts(pod))
        await pod.stop()

    async with flowing(world.port, "shop.example", world.https()) as traffic:
        await traffic.every_kind()
        for number in range(3):
            new = await world.pod(f"new-{number}")
            old = pods[number]
            pods[number] = new
            if when == "before":
                await stop(old)
                await traffic.more(100)
                world.endpoints("shop", *pods)
            elif when == "at":
                await asyncio.gather(stop(old), asyncio.to_thread(world.endpoints, "shop", *pods, terminating=[old]))
                world.endpoints("shop", *pods)
            else:
                world.endpoints("shop", *pods, terminating=[old])
                await traffic.more(100)
                await stop(old)
                world.endpoints("shop", *pods)
            await traffic.met(new.name)
            await traffic.more(100)
    posts.update(await world.posts(*pods))
    what = f"endpoints replaced one by one, sockets closed {when} the EndpointSlice"
    table.add(what, traffic.requests, len(traffic.lost))
    traffic.none_lost()
    assert traffic.resumed > 0
    assert {number for number, count in posts.items() if count > 1} == set()


async def test_a_thousand_changes_of_objects(world: World, table: Table) -> None:
    """A quarter of them new certificates of the very host that is asked: open connections stay as they are, and
    each new one is soon shown the new one."""
    pods = [await world.pod(f"pod-{number}") for number in range(3)]
    world.route("shop", *pods)
    ingressd = await world.start()
    changes = 1000
    size = 40 << 20
    https = world.https()
    clock = asyncio.get_running_loop().time
    async with (
        flowing(world.port, "shop.example", https) as traffic,
        Client(ingressd.port) as download,
        Client(ingressd.port) as tunnel,
        SecureClient(ingressd.https_port, https.context(), "shop.example") as secure_download,
        SecureClient(ingressd.https_port, https.context(), "shop.example") as secure_tunnel,
    ):
        downloads, tunnels = (download, secure_download), (tunnel, secure_tunnel)
        await traffic.every_kind()
        for client in tunnels:
            await client.send(get("/echo", "Connection: Upgrade", "Upgrade: websocket", host="shop.example"))
            assert (await client.message_head()).status == 101
        for client in downloads:
            await client.send(get(f"/big/{size}", host="shop.example"))
            assert (await client.message_head()).status == 200
            assert len(await client.read_exactly(size // 2)) == size // 2
        for number in range(changes):
            match number % 4:
                case 0 if number % 8:
                    world.service("shop", health_check_interval=f"{1 + number % 3}s", slow_start=f"{1 + number % 5}s")
                case 0:
                    world.write(f"more-{number % 40}", ingress(f"more-{number}", "shop"))
                case 1:
                    world.endpoints("shop", *pods[number % 3 :], *pods[: number % 3])
                case 2:
                    world.endpoints("shop", *(pod for at, pod in enumerate(pods) if at != number // 4 % 3))
                case _:
                    certificate = world.certify("shop")
                    if number % 100 == 99:
                        await shown(traffic, certificate)
            await asyncio.sleep(0.01)
        # It has been shown so often in a row that all workers have it.
        settled = clock()
        world.write("last", ingress("last", "shop"))
        await traffic.more(200)
        await traffic.every_kind()
        for client in tunnels:
            await client.send(b"still here")
            assert await client.read_exactly(10) == b"still here"
        for client in downloads:
            assert len(await client.read_exactly(size - size // 2)) == size - size // 2
        async with Client(ingressd.port) as client:
            assert (await client.ask(get("/", host="last.example"))).status == 200
    table.add("1,000 changes of Ingresses, Services and Secrets", traffic.requests, len(traffic.lost))
    traffic.none_lost()
    await no_duplicates(world, *pods)
    assert await ingressd.metric("ingressd_snapshot_generation") > 100
    checked = r'ingressd_endpoints_checked\{state="healthy"\}'
    assert await ingressd.metric(checked) == len(pods) - 1, "as Service and slice say by now"
    late = [each for each in traffic.handshakes if each.begun > settled]
    assert any(each.resumed for each in late)
    assert {each.certificate for each in late} == {certificate}, "nobody is shown one from before, nor resumes with it"


async def shown(traffic: Traffic, certificate: int, times: int = 12) -> None:
    """Waits until it was shown so often in a row."""
    await eventually(
        lambda: [each.certificate for each in traffic.handshakes[-times:]] == [certificate] * times,
        "every handshake shows the new certificate",
        within=30,
    )


async def test_a_replica_ends_and_another_goes_on(world: World, table: Table) -> None:
    """As behind a load balancer that follows /readyz: new connections go to the first replica until it notices."""
    pods = [await world.pod(f"pod-{number}") for number in range(2)]
    world.route("shop", *pods)
    first = await world.start("--shutdown-grace-period=4s", "--drain-timeout=60s")
    second = await world.start()
    chosen = first
    async with flowing(lambda: chosen.port, "shop.example", world.https(lambda: chosen.https_port)) as traffic:
        await traffic.every_kind()
        first.process.send_signal(signal.SIGTERM)

        await first.says("stopping: SIGTERM")
        assert (await first.admin("/readyz"))[0] == 503
        # The load balancer looks once a second.
        await asyncio.sleep(1)
        chosen = second
        assert await first.ended() == 0
        await traffic.more(200)
        await traffic.every_kind()
    table.add("SIGTERM, with a load balancer in front", traffic.requests, len(traffic.lost))
    traffic.none_lost()
    await no_duplicates(world, *pods)


async def test_a_second_signal_ends_at_once(world: World) -> None:
    world.route("shop", await world.pod("pod"))
    ingressd = await world.start("--shutdown-grace-period=1h")
    ingressd.process.send_signal(signal.SIGTERM)
    await ingressd.says("listening for 3600 s more")
    ingressd.process.send_signal(signal.SIGTERM)
    assert await ingressd.ended() == 1
    await eventually(lambda: refused(ingressd.port), "the port is free")


async def test_a_new_process_takes_over_the_ports(world: World, table: Table) -> None:
    """Three times one after the other, with other numbers of workers."""
    pods = [await world.pod(f"pod-{number}") for number in range(2)]
    world.route("shop", *pods)
    handover = f"--handover-socket={world.folder / 'handover'}"
    running = await world.start(handover, "--workers=2")
    port, https_port, admin = running.port, running.https_port, running.admin_port
    ports = [f"--http-port={port}", f"--https-port={https_port}", f"--healthz-port={admin}"]
    async with flowing(lambda: port, "shop.example", world.https(lambda: https_port)) as traffic:
        await traffic.every_kind()
        for workers in (3, 1, 2):
            await eventually((world.folder / "handover").exists, "the socket is there")
            after = await world.start(handover, f"--workers={workers}", *ports)
            await running.says("another process has taken over the listening sockets")
            await traffic.every_kind()
            assert await running.ended() == 0
            running = after
        await traffic.more(200)
    table.add("ingressd replaced on the same ports, three times", traffic.requests, len(traffic.lost))
    traffic.none_lost()
    await no_duplicates(world, *pods)
