"""A cluster of one kube-apiserver and one etcd, of which tests can take away and bring back what they need.

etcd listens on a UNIX socket, the API server on a port of 127.0.0.1 that stays ours over restarts: a socket that never
listens is bound to it first, and the API server shares the port (SO_REUSEPORT). While it is down, connections to it are
refused, as on a real host.

Both keep everything in a temporary folder and are killed, by their process ids, when the block is left; if this process
is killed, they end with it.
"""

import asyncio
import json
import shutil
import signal
import socket
import ssl
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import aiohttp
import yaml

from tests.cluster.api import Api, ApiError, Object
from tests.cluster.assets import Assets, find
from tests.cluster.pki import ISSUER, Keys
from tests.cluster.program import Program

STARTING = 90.0
"""Seconds a start may take; on a busy machine with 2 cores it takes 5 to 20."""
STOPPING = 30.0
"""Seconds that the API server has to end by SIGTERM."""
POLL = 0.05
SERVICE_ADDRESSES = "10.96.0.0/16,fd00:10:96::/112"
"""Cluster IPs are of these networks; room for 65,000 Services."""

ADMIN = "admin-of-tests"
NOBODY = "nobody-of-tests"
"""Static tokens: of a user in system:masters, and of one without any role."""

_TOKENS = f'{ADMIN},admin,admin,"system:masters"\n{NOBODY},nobody,nobody\n'
_AUDIT_POLICY = """
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- {level: Metadata, userGroups: ["system:serviceaccounts"]}
- {level: None}
"""


class ClusterError(Exception):
    """The cluster does not start. The text has the ends of the logs."""


class Access(NamedTuple):
    """What somebody asked the API server for, and the HTTP status it answered with. `resource` is as in a Role:
    `ingresses` or `ingresses/status`."""

    verb: str
    group: str
    resource: str
    namespace: str
    name: str
    status: int


class Cluster:
    """Runs and is ready within its block. `flags` are added to those of kube-apiserver: `--request-timeout=5s`."""

    def __init__(self, *flags: str, assets: Assets | None = None) -> None:
        self._flags = flags
        self._assets = assets
        self.host = "127.0.0.1"
        self.runs_pods = False
        """Whether somebody makes pods of Deployments."""

    async def __aenter__(self) -> Self:
        assets = self._assets or find()
        self._folder = tempfile.TemporaryDirectory(prefix="ingressd-cluster-")
        folder = Path(self._folder.name)
        self._reserved = socket.socket()
        self._reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._reserved.bind(("127.0.0.1", 0))
        self.port: int = self._reserved.getsockname()[1]
        self.url = f"https://{self.host}:{self.port}"
        self._keys = Keys(folder)
        self.ca_file = self._keys.ca_file
        self._audit = folder / "audit.log"
        (folder / "tokens.csv").write_text(_TOKENS)
        (folder / "audit.yaml").write_text(_AUDIT_POLICY)
        self._etcd_socket = folder / "etcd.sock"
        self._etcd = Program([assets.etcd, *self._etcd_flags(folder)], folder / "etcd.log")
        self._apiserver = Program([assets.kube_apiserver, *self._apiserver_flags(folder)], folder / "apiserver.log")
        try:
            self._etcd.start()
            await self.start()
        except BaseException:
            self._close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def _close(self) -> None:
        self._apiserver.kill()
        self._etcd.kill()
        self._reserved.close()
        self._folder.cleanup()

    # --- who talks to it

    def api(self, token: str = ADMIN, namespace: str = "default", url: str = "") -> Api:
        """A client; `async with` it. `url` is that of a proxy in between, on 127.0.0.1."""
        context = ssl.create_default_context(cadata=self.ca_file.read_text())
        return Api(url or self.url, context, f"Bearer {token}", namespace)

    def kubeconfig(
        self,
        file: Path,
        token: str | Path = ADMIN,
        *,
        namespace: str = "default",
        url: str = "",
        context: str = "tests",
    ) -> Path:
        """Writes a kubeconfig with one context, and gives back its path. A token that is a path is named as
        `tokenFile`, which clients read again; `url` is that of a proxy in between, on 127.0.0.1."""
        user = {"tokenFile": str(token)} if isinstance(token, Path) else {"token": token}
        cluster = {"server": url or self.url, "certificate-authority": str(self.ca_file)}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "tests", "cluster": cluster}],
            "users": [{"name": "tests", "user": user}],
            "contexts": [{"name": context, "context": {"cluster": "tests", "user": "tests", "namespace": namespace}}],
            "current-context": context,
        }
        file.write_text(yaml.safe_dump(config))
        return file

    def certificate(self, folder: Path, name: str, life: float) -> dict[str, str]:
        """The user of a kubeconfig: one in system:masters, with a certificate that is accepted for `life` seconds."""
        certificate, key = self._keys.client(folder, name, "system:masters", life)
        return {"client-certificate": str(certificate), "client-key": str(key)}

    def answers_at_loopback(self) -> None:
        """Skips a test that has somebody reach the API server by a relay at 127.0.0.1, if its certificate is not for
        that address. It is."""

    def short_token(self, account: Object, life: float) -> str:
        """A token of a service account (as read from the API) that is accepted for `life` seconds; one that was used is
        accepted for up to 10 s more, because the API server keeps what it has verified that long."""
        metadata = account["metadata"]
        return self._keys.token(metadata["namespace"], metadata["name"], metadata["uid"], life)

    def accesses(self, user: str) -> set[Access]:
        """All that a service account (`system:serviceaccount:NAMESPACE:NAME`) has asked for, refused or not. Answered
        requests may come some milliseconds late; a watch is there as soon as it has begun."""
        found = set()
        for line in self._audit.read_text().splitlines() if self._audit.exists() else ():
            entry = json.loads(line)
            if entry["user"]["username"] == user and (target := entry.get("objectRef")):
                resource = "/".join(filter(None, (target.get("resource", ""), target.get("subresource", ""))))
                where = target.get("apiGroup", ""), resource, target.get("namespace", ""), target.get("name", "")
                found.add(Access(entry["verb"], *where, entry.get("responseStatus", {}).get("code", 0)))
        return found

    # --- what can happen to it

    def kill(self) -> None:
        """The API server is gone at once; its connections are reset. etcd keeps what was written."""
        self._apiserver.kill()

    async def stop(self) -> None:
        """The API server ends as it does on SIGTERM."""
        self._apiserver.signal(signal.SIGTERM)
        await self._apiserver.ended(STOPPING)

    async def start(self) -> None:
        """Starts the API server on its port, and waits until it is ready. Raises ClusterError."""
        self._apiserver.start()
        await self._ready()

    async def restart(self) -> None:
        """Kills the API server and starts it again. Watches from before it are answered with 410 if anything has been
        written since: what it needs for them was in its memory."""
        self.kill()
        await self.start()

    async def forget(self) -> None:
        """Starts both anew with nothing of what was written, as if etcd was put back to a state before that."""
        self.kill()
        self._etcd.kill()
        shutil.rmtree(self._etcd_socket.with_name("etcd"))
        self._etcd.start()
        await self.start()

    def freeze(self) -> None:
        """The API server answers nothing from now on, not even in open watches, and closes nothing."""
        self._apiserver.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Ends `freeze`."""
        self._apiserver.signal(signal.SIGCONT)

    async def compact(self) -> int:
        """etcd forgets all revisions before the present one, which is given back. What the API server has in its memory
        it still serves: for a watch to be answered with 410, restart it after."""
        async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(self._etcd_socket))) as session:

            async def call(method: str, body: Object) -> Object:
                async with session.post(f"http://etcd/v3/kv/{method}", json=body) as response:
                    assert response.status == 200, await response.text()
                    answer: Object = await response.json(content_type=None)
                    return answer

            revision = int((await call("range", {"key": "AA=="}))["header"]["revision"])
            await call("compaction", {"revision": str(revision), "physical": True})
            return revision

    def logs(self, lines: int = 40) -> str:
        """The last lines of both logs."""
        return "\n".join(
            f"--- last {lines} lines of {program.name}\n{program.tail(lines)}"
            for program in (self._etcd, self._apiserver)
        )

    # --- start

    async def _ready(self) -> None:
        end = time.monotonic() + STARTING
        async with self.api() as admin:
            while not await self._answers(admin):
                for program in (self._etcd, self._apiserver):
                    if not program.running:
                        raise ClusterError(f"{program.name} has ended by itself\n{self.logs()}")
                if time.monotonic() > end:
                    raise ClusterError(f"not ready after {STARTING:g} s\n{self.logs()}")
                await asyncio.sleep(POLL)

    @staticmethod
    async def _answers(admin: Api) -> bool:
        """Whether it is ready, and has made the namespace `default`, which it does on its own time."""
        try:
            await admin.request("GET", "/readyz")
            await admin.get("Namespace", "default")
        except (ApiError, aiohttp.ClientError, TimeoutError):
            return False
        return True

    def _etcd_flags(self, folder: Path) -> list[str]:
        # etcd wants a port in the peer's name, even where it is only the name of a socket in the working folder.
        peer, client = "unix://peer:1", f"unix://{self._etcd_socket}"
        return [
            f"--data-dir={folder / 'etcd'}",
            "--unsafe-no-fsync",
            "--log-level=warn",
            f"--listen-client-urls={client}",
            "--advertise-client-urls=unix://client:1",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
        ]

    def _apiserver_flags(self, folder: Path) -> list[str]:
        keys = self._keys
        return [
            f"--etcd-servers=unix://{self._etcd_socket}",
            "--bind-address=127.0.0.1",
            f"--secure-port={self.port}",
            "--permit-port-sharing",
            f"--tls-cert-file={keys.certificate_file}",
            f"--tls-private-key-file={keys.key_file}",
            f"--client-ca-file={keys.ca_file}",
            f"--token-auth-file={folder / 'tokens.csv'}",
            "--authorization-mode=RBAC",
            f"--service-account-issuer={ISSUER}",
            f"--service-account-signing-key-file={keys.token_key_file}",
            f"--service-account-key-file={keys.token_key_file}",
            f"--service-cluster-ip-range={SERVICE_ADDRESSES}",
            # The address of the Service `kubernetes` would have to be one that is not of loopback.
            "--endpoint-reconciler-type=none",
            f"--audit-policy-file={folder / 'audit.yaml'}",
            f"--audit-log-path={self._audit}",
            *self._flags,
        ]
