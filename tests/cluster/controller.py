"""`ingressd run` as it runs in a pod: as a service account, with the roles of manifests/, at ports of its own choice.

    async with installed(cluster, admin, folder) as installation, installation.replica() as ingressd:
        await ingressd.ready()
        await ingressd.answers("a.example", "pod-1")

The files of the service account are where a pod has them, in a mount namespace of the process; that takes root.
"""

import asyncio
import json
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp

from ingressd.source.cluster.access import ACCOUNT_FOLDER
from tests.cluster.api import Api
from tests.cluster.apiserver import Cluster
from tests.cluster.program import Program
from tests.cluster.until import until
from tests.kit import Client, eventually, get
from tests.manifests.built import Install, kustomize, source

STARTING = 30.0
"""Seconds that a start, or an end, may take; on a busy machine with 2 cores it takes 2 to 5."""
CONVERGING = 20.0
"""Seconds within which a change is served. Far more than it takes; with the API server away pauses grow to 30 s."""
ADDRESS = "192.0.2.80"
"""Of the Service in front of ingressd, for the status of Ingresses."""
FAILED = 0
"""In place of the status of a response that did not come."""

WORKLOADS = ("Deployment", "DaemonSet")
_CLUSTER_WIDE = ("ClusterRole", "ClusterRoleBinding", "IngressClass")
# Everything at /run is the process's own, so that the folder of the account can be made there.
_IN_POD = 'mount -t tmpfs tmpfs /run && mkdir -p "$0" && mount --bind "$1" "$0" && shift && exec "$@"'


async def ask(port: int, host: str, path: str = "/") -> tuple[int, str]:
    """Status and body, without the line end, of a GET on a connection of its own; FAILED and the error if no whole
    response comes."""
    try:
        async with Client(port) as client:
            message = await client.ask(get(path, "Accept: application/json", host=host))
    except (OSError, AssertionError) as error:  # TimeoutError is an OSError
        return FAILED, str(error)
    return message.status, message.body.decode().strip()


class Ingressd:
    """One replica. It runs within its block, and ends there in order unless it was killed."""

    def __init__(self, name: str, command: list[str | Path], log: Path) -> None:
        self.name = name
        self.port = 0
        self.admin_port = 0
        self._program = Program(command, log)
        self._killed = False

    async def __aenter__(self) -> Self:
        self._program.start()
        try:
            await eventually(self._listens, f"{self.name} listens", STARTING, self.log)
        except BaseException:
            self._program.kill()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is not None:
                print(f"--- log of {self.name}\n{self.log()}")
            elif not self._killed:
                self._program.signal(signal.SIGTERM)
                await self._program.ended(STARTING)
                assert self._program.code == 0, self.log()
                assert "Traceback" not in self.log(), self.log()
        finally:
            self._program.kill()

    def _listens(self) -> bool:
        if not self._program.running:
            raise AssertionError(f"{self.name} has ended by itself: {self.log()}")
        found = re.search(r"listening on http://\S+:(\d+)$.*^.*admin API on http://\S+:(\d+)$", self.log(), re.M | re.S)
        if found is not None:
            self.port, self.admin_port = int(found[1]), int(found[2])
        return found is not None

    @property
    def https_port(self) -> int:
        found = re.search(r"HTTPS on https://\S+:(\d+)$", self.log(), re.MULTILINE)
        assert found, self.log()
        return int(found[1])

    @property
    def running(self) -> bool:
        return self._program.running

    def kill(self) -> None:
        """It is gone at once."""
        self._killed = True
        self._program.kill()

    def log(self) -> str:
        """All of it so far."""
        return self._program.tail(100_000)

    # --- what it serves

    async def answers(self, host: str, *expected: str | int, path: str = "/", within: float = CONVERGING) -> None:
        """Waits until requests to a host have been answered by every one of `expected`: names of pods, or statuses."""
        wanted: set[str | int] = set(expected)
        met: set[str | int] = set()

        async def all_met() -> bool:
            status, body = await ask(self.port, host, path)
            met.add(body if status == 200 else status)
            return wanted <= met

        try:
            await until(all_met, f"{host}{path} is answered by {expected}", within)
        except AssertionError as error:
            raise AssertionError(f"{error}; so far by {met}") from None

    # --- what it says of itself

    async def ready(self, within: float = STARTING) -> None:
        """Waits until it is ready."""

        missing: list[str] = []

        async def is_ready() -> bool:
            status, document = await self.admin("/readyz")
            missing[:] = document["missing"]
            return status == 200

        try:
            await until(is_ready, f"{self.name} is ready", within)
        except AssertionError as error:
            raise AssertionError(f"{error}; missing: {missing}") from error

    async def admin(self, path: str) -> tuple[int, Any]:
        """Status and document of an endpoint of the admin API."""
        status, body = await self._admin(path)
        return status, json.loads(body)

    async def metric(self, line: str) -> float:
        """The value on the lines of the metrics page that begin with `line`, added up."""
        _, page = await self._admin("/metrics")
        return sum(float(found.rpartition(" ")[2]) for found in page.splitlines() if found.startswith(line))

    async def problems(self) -> set[tuple[str, str]]:
        """The name and the reason of each."""
        _, document = await self.admin("/api/problems")
        return {(found["object"]["name"], found["reason"]) for found in document["problems"]}

    async def _admin(self, path: str) -> tuple[int, str]:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{self.admin_port}{path}") as response,
        ):
            return response.status, await response.text()


class Installation:
    """The objects that an overlay comes to, in the namespace of a test, without its pods."""

    def __init__(self, cluster: Cluster, found: Install, folder: Path) -> None:
        self.install = found
        self.account = str(found.pod["serviceAccountName"])
        self.namespace = str(found.workload["metadata"]["namespace"])
        classes = found.of_kind("IngressClass")
        self.ingress_class = str(classes[0]["metadata"]["name"]) if classes else "ingressd"
        self._cluster = cluster
        self._folder = folder
        self._replicas = 0
        (folder / "account").mkdir()
        (folder / "account" / "ca.crt").write_text(cluster.ca_file.read_text())

    def hand_out(self, token: str) -> None:
        """Puts a token where the replicas have that of their service account."""
        fresh = self._folder / "token"
        fresh.write_text(token)
        fresh.rename(self._folder / "account" / "token")

    def replica(self, *flags: str, api_port: int = 0) -> Ingressd:
        """One that is not started yet; `flags` go after those of the container, `api_port` is that of a relay in front
        of the API server."""
        name = f"ingressd-{self._replicas}"
        self._replicas += 1
        service = self.install.service["metadata"]
        own = ["--http-port=0", "--https-port=0", "--healthz-port=0", "--bind-address=127.0.0.1"]
        own.append("--shutdown-grace-period=0s")  # nobody has to learn first that it is going
        published = f"--publish-service={service['namespace']}/{service['name']}"
        environment = [
            f"KUBERNETES_SERVICE_HOST={'127.0.0.1' if api_port else self._cluster.host}",
            f"KUBERNETES_SERVICE_PORT={api_port or self._cluster.port}",
            f"POD_NAMESPACE={self.namespace}",
            f"POD_NAME={name}",
        ]
        command: list[str | Path] = [
            *("unshare", "--mount", "sh", "-c", _IN_POD, ACCOUNT_FOLDER, self._folder / "account"),
            *("env", *environment, sys.executable, "-m", "ingressd"),
            *(*self.install.arguments, *own, published, *flags),
        ]
        return Ingressd(name, command, self._folder / f"{name}.log")


@asynccontextmanager
async def installed(cluster: Cluster, admin: Api, folder: Path, overlay: str = "base") -> AsyncIterator[Installation]:
    """What `overlay` comes to, built by kubectl kustomize for the namespace of this test, and a token handed out. The
    Service in front of it has ADDRESS."""
    built = folder / "manifests"
    built.mkdir()
    suffix = f"-{admin.namespace}"
    found = await asyncio.to_thread(
        kustomize, built, source(overlay), namespace=admin.namespace, nameSuffix="" if overlay != "base" else suffix
    )
    for each in found.objects:
        if each["kind"] != "Namespace" and not (cluster.runs_pods and each["kind"] in WORKLOADS):
            await admin.apply(each)
    status = {"loadBalancer": {"ingress": [{"ip": ADDRESS}]}}
    await admin.patch("Service", found.service["metadata"]["name"], {"status": status}, sub="status")
    installation = Installation(cluster, found, folder)
    installation.hand_out(await admin.token(installation.account))
    try:
        yield installation
    finally:
        for each in found.of_kind(*_CLUSTER_WIDE):
            await admin.delete(each["kind"], each["metadata"]["name"])
