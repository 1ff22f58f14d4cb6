"""Pods, manifests, and ingressd in front of them."""

import asyncio
import base64
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
from cryptography import x509

from tests.chaos.secure import Https
from tests.chaos.traffic import Traffic
from tests.kit import eventually
from tests.kit.pki import Authority
from tests.netlab import Lab, Pod

SERVER = Path(__file__).with_name("pod.py")
STARTING = 30.0
"""Seconds that a start, or an end, may take on a busy machine."""
TIMEOUTS = ("--proxy-connect-timeout=1s", "--proxy-read-timeout=2s", "--proxy-send-timeout=2s")
SLOWEST = 3 * 1.0 + 2.0
"""Seconds that these allow for an answer: three tries to connect, and one to be answered."""
FLOOR = 0.4
"""Seconds below which a p99 says more about the machine than about us: what a fault costs is a timeout or more."""


class Ingressd:
    """One `ingressd run` over the manifests of a World. It is killed at the end, unless it has ended."""

    def __init__(self, folder: Path, name: str, flags: Sequence[str], before: Sequence[str], log: int | None) -> None:
        self.log = folder / f"{name}.log"
        self.access_log = folder / f"{name}.access.log"
        common = ["--manifests", str(folder / "manifests"), "--bind-address=127.0.0.1", "--access-log-format=json"]
        ports = ["--http-port=0", "--https-port=0", "--healthz-port=0"]
        with self.log.open("wb") as errors, self.access_log.open("wb") as access:
            self.process = subprocess.Popen(
                [*before, sys.executable, "-m", "ingressd", "run", *common, *ports, *TIMEOUTS, *flags],
                stdin=subprocess.DEVNULL,
                stdout=access if log is None else log,
                stderr=errors,
                start_new_session=True,
            )
        self.port = 0
        self.https_port = 0
        self.admin_port = 0

    async def ready(self) -> None:
        """Waits until it serves."""
        await eventually(lambda: "ready: " in self.text(), "ingressd is ready", STARTING, self.text)
        self.port = self._port_of("listening on ")
        self.https_port = self._port_of("HTTPS on ")
        self.admin_port = self._port_of("admin API on ")

    def _port_of(self, mark: str) -> int:
        return int(re.findall(re.escape(mark) + r"https?://\S*:(\d+)", self.text())[-1])

    def text(self) -> str:
        """What it has said on stderr."""
        return self.log.read_text(errors="replace")

    async def says(self, words: str, count: int = 1) -> None:
        """Waits until it does, so often."""
        await eventually(lambda: self.text().count(words) >= count, f"the log says {words}", STARTING, self.text)

    async def admin(self, path: str) -> tuple[int, str]:
        """Status and body."""
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{self.admin_port}{path}") as response,
        ):
            return response.status, await response.text()

    async def pids(self) -> list[int]:
        """Of the workers."""
        workers: list[dict[str, Any]] = json.loads((await self.admin("/api/snapshot"))[1])["workers"]
        return [worker["pid"] for worker in workers]

    async def metric(self, name: str) -> float:
        """By its name, and labels if it has some: a regular expression."""
        page = (await self.admin("/metrics"))[1]
        (value,) = re.findall(rf"^{name} (\S+)$", page, re.MULTILINE)
        return float(value)

    async def until_metric(self, name: str, least: float) -> float:
        """Waits until it is that much; workers report once a second."""
        found = 0.0
        async with asyncio.timeout(STARTING):
            while found < least:
                found = await self.metric(name)
                await asyncio.sleep(0.1)
        return found

    async def restarted(self, former: Sequence[int]) -> None:
        """Waits until a worker has another process than in `former`, and all serve."""
        async with asyncio.timeout(STARTING):
            while True:
                pids = await self.pids()
                if pids != list(former) and 0 not in pids and (await self.admin("/readyz"))[0] == 200:
                    return
                await asyncio.sleep(0.02)

    async def ended(self) -> int:
        """Waits for its end. Gives the exit code."""
        await eventually(lambda: self.process.poll() is not None, "ingressd has ended", STARTING, self.text)
        return self.process.returncode

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


class World:
    """See above. `ingressd` is the one that was started last."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.folder = folder
        self.ingressd: Ingressd
        self.authority = Authority()
        self._lab = lab
        self._all: list[Ingressd] = []
        self._pods: dict[str, Pod] = {}
        (folder / "manifests").mkdir()

    async def __aenter__(self) -> Self:
        self.write(
            "class",
            {
                "apiVersion": "networking.k8s.io/v1",
                "kind": "IngressClass",
                "metadata": {"name": "ingressd"},
                "spec": {"controller": "ingressd.dev/ingress-controller"},
            },
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for each in self._all:
            each.kill()

    def port(self) -> int:
        """Of the ingressd started last."""
        return self.ingressd.port

    def https(self, port: Callable[[], int] | None = None) -> Https:
        """For HTTPS clients of this port, or of that of the ingressd started last."""
        return Https(port or (lambda: self.ingressd.https_port), self.authority.pem)

    async def start(self, *flags: str, before: Sequence[str] = (), log: int | None = None) -> Ingressd:
        """Starts an ingressd, and waits until it serves. `before` is a command that runs it; `log` is where its access
        log goes in place of a file."""
        made = Ingressd(self.folder, f"ingressd-{len(self._all)}", flags, before, log)
        self._all.append(made)
        await made.ready()
        self.ingressd = made
        return made

    # --- pods

    async def pod(self, name: str) -> Pod:
        """A new one, which listens."""
        control = self.folder / f"{name}.sock"
        pod = await self._lab.pod(name=name, server=(SERVER, str(control)))
        self._pods[name] = pod
        return pod

    async def tell(self, pod: Pod, line: str) -> str:
        """Tells the server of a pod, as pod.py has it."""
        reader, writer = await asyncio.open_unix_connection(self.folder / f"{pod.name}.sock", limit=1 << 24)
        writer.write(line.encode() + b"\n")
        answer = await reader.read()
        writer.close()
        return answer.decode()

    async def posts(self, *pods: Pod) -> Counter[str]:
        """How often each upload has reached one of them, which must run."""
        found: Counter[str] = Counter()
        for pod in pods:
            found.update(filter(None, (await self.tell(pod, "posts")).split(",")))
        return found

    # --- objects

    def write(self, name: str, *objects: Mapping[str, Any]) -> None:
        """Into a file of its own, in one step."""
        path = self.folder / "manifests" / f"{name}.json"
        draft = path.with_suffix(".draft")
        draft.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))
        draft.replace(path)

    def route(self, name: str, *pods: Pod, external: str = "") -> None:
        """`name`.example leads to these pods, or to an external name (port 8080), over HTTP and HTTPS."""
        self.certify(name)
        self.service(name, external)
        self.write(f"{name}-ingress", ingress(name, secured=True))
        if not external:
            self.endpoints(name, *pods)

    def service(self, name: str, external: str = "", **annotations: str) -> None:
        """Service `name`, with annotations of ingressd."""
        named = {f"ingressd.dev/{key.replace('_', '-')}": value for key, value in annotations.items()}
        self.write(
            f"{name}-service",
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": name, "namespace": "chaos", "annotations": named},
                "spec": {
                    "ports": [{"port": 8080}],
                    **({"type": "ExternalName", "externalName": external} if external else {"selector": {"app": name}}),
                },
            },
        )

    def certify(self, name: str) -> int:
        """A new certificate for `name`.example, in the Secret of its Ingress. Its serial number."""
        issued = self.authority.issue(f"{name}.example")
        files = {"tls.crt": issued.chain, "tls.key": issued.key}
        self.write(
            f"{name}-secret",
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "type": "kubernetes.io/tls",
                "metadata": {"name": f"{name}-tls", "namespace": "chaos"},
                "data": {key: base64.b64encode(data).decode() for key, data in files.items()},
            },
        )
        return x509.load_pem_x509_certificate(issued.certificate).serial_number

    def endpoints(self, name: str, *pods: Pod, terminating: Sequence[Pod] = ()) -> None:
        """The EndpointSlice of a Service."""
        entries = [
            {"addresses": [pod.address], "conditions": {"ready": True, "serving": True, "terminating": False}}
            for pod in pods
        ]
        entries += [
            {"addresses": [pod.address], "conditions": {"ready": False, "serving": True, "terminating": True}}
            for pod in terminating
        ]
        self.write(
            f"{name}-slice",
            {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {"name": name, "namespace": "chaos", "labels": {"kubernetes.io/service-name": name}},
                "addressType": "IPv4",
                "ports": [{"port": 8080}],
                "endpoints": entries,
            },
        )


def ingress(name: str, service: str = "", secured: bool = False) -> dict[str, Any]:
    """An Ingress of the host `name`.example, if `secured` with a certificate, and no redirect of what is not."""
    host = f"{name}.example"
    backend = {"service": {"name": service or name, "port": {"number": 8080}}}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {
            "name": name,
            "namespace": "chaos",
            "annotations": {"nginx.ingress.kubernetes.io/ssl-redirect": "false"},
        },
        "spec": {
            "ingressClassName": "ingressd",
            **({"tls": [{"hosts": [host], "secretName": f"{name}-tls"}]} if secured else {}),
            "rules": [
                {
                    "host": host,
                    "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]},
                }
            ],
        },
    }


def not_slowed(before: float, during: float) -> None:
    """Asserts that a p99 has not doubled, or is small in any case."""
    assert during <= max(2 * before, FLOOR), f"p99 was {before * 1000:.0f} ms and is {during * 1000:.0f} ms"


async def no_duplicates(world: World, *pods: Pod) -> None:
    """Asserts that no upload has reached a pod twice."""
    twice = {number: count for number, count in (await world.posts(*pods)).items() if count > 1}
    assert not twice, f"uploads that were sent more than once: {twice}"


def refused(port: int) -> bool:
    """Whether nobody listens there."""
    with socket.socket() as sock:
        sock.settimeout(0.2)
        return sock.connect_ex(("127.0.0.1", port)) != 0


__all__ = ["FLOOR", "SLOWEST", "Ingressd", "Traffic", "World", "ingress", "no_duplicates", "not_slowed", "refused"]
