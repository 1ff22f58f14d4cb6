"""The lab itself."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from ingressd.aio import spawn
from tests.kit import Client, get
from tests.netlab import Lab, LabError, Pod, why_not

ONE_AND_KILLED = """
import asyncio, os
from tests.netlab import Lab
async def main():
    async with Lab() as lab:
        print((await lab.pod()).namespace, lab.bridge, flush=True)
        os.kill(os.getpid(), 9)
asyncio.run(main())
"""


def present() -> set[str]:
    """All network namespaces and links of this machine."""
    found: set[str] = set()
    for command in (["ip", "-json", "netns", "list"], ["ip", "-json", "link", "show"]):
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        entries: list[dict[str, Any]] = json.loads(text or "[]")
        found.update(entry.get("name") or entry["ifname"] for entry in entries)
    return found


async def answer(pod: Pod) -> bytes:
    async with Client(pod.port, pod.address) as client:
        return (await client.ask(get("/"))).body


async def test_each_pod_answers_at_its_own_address(lab: Lab) -> None:
    pods = [await lab.pod(name=name) for name in ("red", "green")]
    pods.append(await lab.pod(lab.free_address(6), name="blue"))
    assert len({pod.address for pod in pods}) == 3
    assert [await answer(pod) for pod in pods] == [b"red\n", b"green\n", b"blue\n"]


async def test_a_pod_can_have_a_chosen_address_and_port_once(lab: Lab) -> None:
    chosen = str(lab.networks[0][5])
    pod = await lab.pod(chosen, port=80)
    assert (pod.address, pod.port) == (chosen, 80)
    assert await answer(pod) == f"{pod.name}\n".encode()
    with pytest.raises(LabError, match=f"there is a pod with the address {chosen}"):
        await lab.pod(chosen)
    with pytest.raises(LabError, match=r"192\.0\.2\.1 is not in 1.*/19 or fd00:.*/64"):
        await lab.pod("192.0.2.1")


async def test_a_new_pod_can_take_over_an_address(lab: Lab) -> None:
    first = await lab.pod(name="first")
    assert await answer(first) == b"first\n"
    await first.remove()
    assert await answer(await lab.pod(first.address, name="second")) == b"second\n"


async def test_the_server_of_a_pod_speaks_http(lab: Lab) -> None:
    pod = await lab.pod(name="red")
    url = f"http://{pod.address}:{pod.port}/"

    async def pieces() -> AsyncIterator[bytes]:
        yield b"one"
        yield b"two"

    async with aiohttp.ClientSession() as session:
        for method, body in (("GET", None), ("POST", b"body"), ("PUT", pieces())):
            async with session.request(method, url, data=body) as response:
                assert (response.status, await response.text()) == (200, "red\n")
        async with session.head(url) as response:
            assert (response.status, response.content_length, await response.text()) == (200, 4, "")


async def test_a_pod_that_stops_finishes_its_exchange_and_refuses_after(lab: Lab) -> None:
    pod = await lab.pod(name="red")
    async with Client(pod.port, pod.address) as busy, Client(pod.port, pod.address) as idle:
        for client in (busy, idle):
            assert (await client.ask(get("/"))).body == b"red\n"
        await busy.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
        assert (await busy.response()).status == 100
        stopping = spawn(pod.stop(), "the pod stops")
        assert await idle.ended()
        await busy.send(b"body")
        response = await busy.response()
        assert (response.status, response.body) == (200, b"red\n")
        assert b"Connection: close" in response.fields
        await stopping
    with pytest.raises(ConnectionRefusedError):
        await answer(pod)
    await pod.start()
    assert await answer(pod) == b"red\n"


async def test_a_killed_pod_closes_its_connections_and_refuses_after(lab: Lab) -> None:
    pod = await lab.pod()
    async with Client(pod.port, pod.address) as client:
        await client.ask(get("/"))
        pod.kill()
        await client.ended()
    with pytest.raises(ConnectionRefusedError):
        await answer(pod)


async def test_nobody_is_at_the_address_of_a_removed_pod(lab: Lab) -> None:
    pod = await lab.pod()
    await answer(pod)
    await pod.remove()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await answer(pod)


async def test_a_pod_that_is_cut_off_is_silent_until_it_is_mended(lab: Lab) -> None:
    pod = await lab.pod(name="red")
    async with Client(pod.port, pod.address) as client:
        await client.ask(get("/"))
        await pod.cut()
        await client.send(get("/"))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await client.response()
        await pod.mend()
        assert (await client.response()).body == b"red\n"


async def test_a_pod_can_be_given_rules_for_packets_and_be_rid_of_them(lab: Lab) -> None:
    pod = await lab.pod(name="red")
    async with Client(pod.port, pod.address) as client:
        await pod.filter(f"tcp dport {pod.port} tcp flags & (syn | ack) == syn reject with tcp reset")
        with pytest.raises(ConnectionRefusedError):
            await answer(pod)
        assert (await client.ask(get("/"))).body == b"red\n", "connections that stand are not meant"
        await pod.filter("out tcp sport 8080 drop")
        await client.send(get("/"))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await client.response()
        await pod.filter()
        assert (await client.response()).body == b"red\n"
        assert await answer(pod) == b"red\n"
    with pytest.raises(LabError, match="nft: "):
        await pod.filter("nonsense")


async def test_a_pod_can_run_another_server(lab: Lab, tmp_path: Path) -> None:
    program = tmp_path / "server.py"
    program.write_text("import sys; sys.argv.insert(1, sys.argv.pop()); print(sys.argv[1:], flush=True)\n")
    with pytest.raises(LabError, match=r"\['more', 'red', '8080'\]"):
        await lab.pod(name="red", server=(program, "more"))


async def test_labs_at_the_same_time_have_networks_of_their_own_and_leave_nothing(lab: Lab) -> None:
    async with Lab() as other:
        assert not set(other.networks) & set(lab.networks)
        pod = await other.pod(name="other")
        assert await answer(pod) == b"other\n"
        assert {other.bridge, pod.namespace} <= present()
        number = pod.namespace.rpartition("p")[2]
    assert not {name for name in present() if name == other.bridge or name.endswith((f"p{number}", f"v{number}"))}


def run(script: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "TMPDIR": str(folder)}
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment)


async def test_what_a_killed_lab_left_goes_away_with_the_next(lab: Lab, tmp_path: Path) -> None:
    killed = await asyncio.to_thread(run, ONE_AND_KILLED, tmp_path)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    left = set(killed.stdout.split())
    assert len(left) == 2
    assert left <= present()
    async with Lab():
        assert not left & present()


def test_where_there_can_be_no_lab_the_reason_is_said() -> None:
    assert why_not(user=0) == ""
    assert "run this as root" in why_not(user=1000)
