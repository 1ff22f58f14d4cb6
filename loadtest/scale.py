"""A large cluster: how long ingressd takes to start, what it holds, how soon a change counts, what changes cost.

    make cluster-assets
    .venv/bin/python -m loadtest.scale
    .venv/bin/python -m loadtest.scale --ingresses 500 --changes 50 --json results.json

A real API server with its etcd is filled with Ingresses, and a Service and an EndpointSlice for each; then ingressd
runs as manifests/ has it. Two pods of a lab (network namespaces, hence root) answer for the hosts whose slices are
changed, so what is measured is a request that the new endpoint has answered. All of it runs on this machine, the API
server too, which makes the times longer than they are where it has CPUs of its own.
"""

import argparse
import asyncio
import json
import os
import platform
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path

from ingressd import __version__
from ingressd.aio import spawn
from ingressd.control.build import compiled_summary, hot_modules
from tests.cluster.api import Api, Object
from tests.cluster.apiserver import Cluster
from tests.cluster.assets import AssetsError, find
from tests.cluster.controller import Ingressd, Installation, installed
from tests.cluster.until import until
from tests.kit import Client, get
from tests.netlab import Lab, Pod, why_not

WRITERS = 16
"""Objects created at a time."""
PORT = 8080
PAUSE = 0.1
"""Seconds between two changes of which the delay is measured: each comes after quiet."""
RATE = 10.0
"""Changes per second, while CPU time is measured."""
STARTING = 300.0
SETTLING = 1800.0
"""Seconds to wait at most: for ready, and for the status of all Ingresses."""
TICKS = os.sysconf("SC_CLK_TCK")

Figures = dict[str, float]


class Filled:
    """The objects, by number from 0."""

    def __init__(self, api: Api, class_name: str, first: Pod, ingresses: int, namespaces: int) -> None:
        """`first` is the endpoint of all hosts, to begin with."""
        self.ingresses = ingresses
        self._api = api
        self._class = class_name
        self._first = first
        self._namespaces = [f"scale-{number}" for number in range(min(namespaces, ingresses))]

    def host(self, number: int) -> str:
        return f"h{number}.example"

    async def fill(self) -> None:
        """Creates all of them."""
        for name in self._namespaces:
            await self._api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        await _side_by_side(self._create, range(self.ingresses))

    async def _create(self, number: int) -> None:
        for value in (self._service(number), self._slice(number), self._ingress(number)):
            await self._api.create(value)

    async def move(self, number: int, address: str) -> None:
        """Replaces the endpoint of one host."""
        patch = {"endpoints": [{"addresses": [address], "conditions": {"ready": True}}]}
        await self._api.patch("EndpointSlice", f"web-{number}", patch, self._namespace(number))

    def _namespace(self, number: int) -> str:
        return self._namespaces[number % len(self._namespaces)]

    def _metadata(self, number: int, **more: object) -> Object:
        return {"name": f"web-{number}", "namespace": self._namespace(number), **more}

    def _service(self, number: int) -> Object:
        spec = {"selector": {"app": f"web-{number}"}, "ports": [{"name": "http", "port": 80, "targetPort": PORT}]}
        return {"apiVersion": "v1", "kind": "Service", "metadata": self._metadata(number), "spec": spec}

    def _slice(self, number: int) -> Object:
        return {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": self._metadata(number, labels={"kubernetes.io/service-name": f"web-{number}"}),
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": PORT}],
            "endpoints": [{"addresses": [self._first.address], "conditions": {"ready": True}}],
        }

    def _ingress(self, number: int) -> Object:
        backend = {"service": {"name": f"web-{number}", "port": {"name": "http"}}}
        rule = {"host": self.host(number), "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}
        return {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "Ingress",
            "metadata": self._metadata(number),
            "spec": {"ingressClassName": self._class, "rules": [rule]},
        }


class Process:
    """What the kernel says of one."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    @property
    def resident(self) -> float:
        """MiB of memory."""
        return self._status("VmRSS")

    @property
    def peak(self) -> float:
        """MiB that were resident at most."""
        return self._status("VmHWM")

    @property
    def cpu(self) -> float:
        """Seconds so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    @property
    def parent(self) -> "Process":
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return Process(int(fields[1]))

    def _status(self, key: str) -> float:
        found = re.search(rf"^{key}:\s+(\d+) kB$", Path(f"/proc/{self.pid}/status").read_text(), re.MULTILINE)
        return int(found[1]) / 1024 if found else 0.0


async def measure(options: argparse.Namespace, folder: Path) -> Figures:
    """All figures, printed as they come."""
    async with Lab() as lab, Cluster() as cluster, cluster.api() as admin:
        admin.namespace = "ingressd"
        await admin.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": admin.namespace}})
        async with installed(cluster, admin, folder) as installation:
            pods = await lab.pod(port=PORT), await lab.pod(port=PORT)
            filled = Filled(admin, installation.ingress_class, pods[0], options.ingresses, options.namespaces)
            begun = time.monotonic()
            await filled.fill()
            print(f"filled in {time.monotonic() - begun:.0f} s", flush=True)
            return await _measure(options, installation, filled, pods)


async def _measure(
    options: argparse.Namespace, installation: Installation, filled: Filled, pods: tuple[Pod, Pod]
) -> Figures:
    found: Figures = {}

    def note(name: str, value: float) -> None:
        found[name] = round(value, 4)
        print(f"{name:<48} {value:12.4g}", flush=True)

    begun = time.monotonic()
    async with installation.replica() as ingressd:
        await ingressd.ready(STARTING)
        note("cold start to ready, s", time.monotonic() - begun)
        workers = [Process(each["pid"]) for each in (await ingressd.admin("/api/snapshot"))[1]["workers"]]
        controller = workers[0].parent
        note("controller when ready, MiB", controller.resident)
        note("a worker when ready, MiB", max(worker.resident for worker in workers))
        await until(_all_written(ingressd, filled.ingresses), "every Ingress has its status", SETTLING)
        note("status of all written after, s", time.monotonic() - begun)

        delays, writes = await _delays(ingressd, filled, pods, options.changes)
        note("writing a slice, p50, ms", statistics.median(writes) * 1000)
        note("slice change to its first answer, p50, ms", statistics.median(delays) * 1000)
        note("slice change to its first answer, p99, ms", percentile(delays, 0.99) * 1000)
        note("slice change to its first answer, longest, ms", max(delays) * 1000)

        for rate in (0.0, RATE):
            spent = await _cpu([controller, *workers], filled, rate, options.seconds)
            note(f"CPU of the controller at {rate:g} changes/s, % of one", spent[0] * 100)
            note(f"CPU of a worker at {rate:g} changes/s, % of one", max(spent[1:]) * 100)
        note("controller in the end, MiB", controller.resident)
        note("controller at its peak, MiB", controller.peak)
        note("a worker in the end, MiB", max(worker.resident for worker in workers))
        note("a worker at its peak, MiB", max(worker.peak for worker in workers))
    return found


def _all_written(ingressd: Ingressd, number: int) -> Callable[[], Awaitable[bool]]:
    async def all_written() -> bool:
        await asyncio.sleep(1.0)  # the page of metrics is not small
        return await ingressd.metric("ingressd_status_writes_total") >= number

    return all_written


async def _delays(
    ingressd: Ingressd, filled: Filled, pods: tuple[Pod, Pod], changes: int
) -> tuple[list[float], list[float]]:
    """Seconds from the moment when a change is sent to the API server, to the end of the first response of the new
    endpoint, and to the answer of the API server. Each change is of another host, as far as there are."""
    delays, writes = [], []
    async with Client(ingressd.port) as client:
        for number in range(changes):
            lap, which = divmod(number, filled.ingresses)
            pod, former = pods[(lap + 1) % 2], pods[lap % 2]
            asked = get(host=filled.host(which))
            await _answered(client, asked, former)
            await asyncio.sleep(PAUSE)
            begun = time.perf_counter()
            writing = spawn(_timed(filled.move(which, pod.address)), "change")
            await _answered(client, asked, pod)
            delays.append(time.perf_counter() - begun)
            writes.append(await writing)
            await asyncio.sleep(PAUSE)
    return delays, writes


async def _answered(client: Client, request: bytes, pod: Pod) -> None:
    """Asks again and again until a pod has answered."""
    name = pod.name.encode()
    while (await client.ask(request)).body.strip() != name:
        pass


async def _timed(work: Awaitable[None]) -> float:
    begun = time.perf_counter()
    await work
    return time.perf_counter() - begun


async def _cpu(processes: Sequence[Process], filled: Filled, rate: float, seconds: float) -> list[float]:
    """CPUs in use by each, while slices change at `rate` per second."""
    loop = asyncio.get_running_loop()
    begun, before = loop.time(), [process.cpu for process in processes]
    for number in range(round(seconds * rate)):
        # Another address each time, so that each is a change.
        await filled.move(number % filled.ingresses, f"203.0.113.{number % 250 + 1}")
        await asyncio.sleep(max(0.0, begun + (number + 1) / rate - loop.time()))
    await asyncio.sleep(max(0.0, begun + seconds - loop.time()))
    passed = loop.time() - begun
    return [(process.cpu - former) / passed for process, former in zip(processes, before, strict=True)]


def percentile(values: Iterable[float], part: float) -> float:
    """The smallest value that `part` of them do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -int(-part * len(ordered) // 1) - 1)]


async def _side_by_side(work: Callable[[int], Awaitable[None]], numbers: Iterable[int]) -> None:
    todo = iter(numbers)

    async def do() -> None:
        for number in todo:
            await work(number)

    await asyncio.gather(*(do() for _ in range(WRITERS)))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m loadtest.scale", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--ingresses", type=int, default=5000, metavar="N", help="and as many Services and slices")
    parser.add_argument("--namespaces", type=int, default=100, metavar="N", help="that they are spread over")
    parser.add_argument("--changes", type=int, default=200, metavar="N", help="of which the delay is measured")
    parser.add_argument("--seconds", type=float, default=30.0, help="for which CPU time is measured, twice")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    options = parser.parse_args()
    try:
        find()
    except AssetsError as error:
        parser.error(str(error))
    if reason := why_not():
        parser.error(reason)
    print(f"ingressd {__version__} ({compiled_summary(hot_modules())}), Python {platform.python_version()}, ", end="")
    print(f"{os.cpu_count()} CPUs; {options.ingresses} Ingresses, Services and EndpointSlices", flush=True)
    with tempfile.TemporaryDirectory(prefix="ingressd-scale-") as folder:
        found = asyncio.run(measure(options, Path(folder)))
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
