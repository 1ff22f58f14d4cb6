"""A cluster that is there already, for test runs on a machine that has no programs to start one: that of KUBECONFIG.

Any will do that nobody depends on, as one of kind or k3d: tests make namespaces, roles and IngressClasses, and take
them away again. What takes an API server of our own, to kill it, to look into its audit log or to sign tokens, skips
the test that asks for it, and says so.
"""

import ssl
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self
from urllib.parse import urlsplit

import pytest
import yaml

from ingressd.source.cluster.access import Kubeconfig
from tests.cluster.api import Api, Object
from tests.cluster.apiserver import ADMIN, NOBODY, Access, Cluster
from tests.cluster.assets import AssetsError, find


def choose(environment: Mapping[str, str]) -> Cluster:
    """One of our own where its programs are, else the one of KUBECONFIG. Raises AssetsError."""
    try:
        return Cluster(assets=find(environment))
    except AssetsError:
        if environment.get("KUBEBUILDER_ASSETS") or not (paths := environment.get("KUBECONFIG")):
            raise
        return Existing(paths)


class Existing(Cluster):
    """See Cluster. `paths` are kubeconfig files, of which the current context is taken: it has to be that of an
    administrator, with a token or a certificate."""

    def __init__(self, paths: str) -> None:
        super().__init__()
        self._paths = paths
        self.runs_pods = True

    async def __aenter__(self) -> Self:
        self._found = found = await Kubeconfig(self._paths, "").load()
        self.url = str(found.host)
        parts = urlsplit(self.url)
        self.host = parts.hostname or ""
        self.port = parts.port or 443
        self.ca_file = Path(found.ssl_ca_cert or ssl.get_default_verify_paths().openssl_cafile)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """It stays as it is."""

    def api(self, token: str = ADMIN, namespace: str = "default", url: str = "") -> Api:
        """See Cluster."""
        context = ssl.create_default_context(cafile=self.ca_file)
        context.verify_flags &= ~getattr(ssl, "VERIFY_X509_STRICT", 0)
        authorization = f"Bearer {token}"
        if token == NOBODY:
            self._skip("has no user without rights that is known to the tests")
        if token == ADMIN:
            authorization = str(self._found.api_key.get("BearerToken", "")).strip()
            if self._found.cert_file:
                context.load_cert_chain(self._found.cert_file, self._found.key_file)
        return Api(url or self.url, context, authorization, namespace)

    def kubeconfig(
        self,
        file: Path,
        token: str | Path = ADMIN,
        *,
        namespace: str = "default",
        url: str = "",
        context: str = "tests",
    ) -> Path:
        """See Cluster. Through a proxy in between, the certificate is still that of the host."""
        if token == NOBODY:
            self._skip("has no user without rights that is known to the tests")
        super().kubeconfig(file, token, namespace=namespace, url=url, context=context)
        config = yaml.safe_load(file.read_text())
        if url:
            config["clusters"][0]["cluster"]["tls-server-name"] = self._found.tls_server_name or self.host
        if token == ADMIN:
            config["users"][0]["user"] = self._administrator()
        file.write_text(yaml.safe_dump(config))
        return file

    def _administrator(self) -> dict[str, Any]:
        """As the user of a kubeconfig."""
        found = self._found
        if found.cert_file:
            return {"client-certificate": str(found.cert_file), "client-key": str(found.key_file)}
        return {"token": str(found.api_key.get("BearerToken", "")).removeprefix("Bearer ").strip()}

    def answers_at_loopback(self) -> None:
        """See Cluster."""
        if self.host != "127.0.0.1":
            self._skip(f"is at {self.host}, and its certificate need not hold for a relay at 127.0.0.1")

    # --- what only one of our own lets us do

    def certificate(self, folder: Path, name: str, life: float) -> dict[str, str]:
        self._skip("does not give us its key to sign certificates with")

    def short_token(self, account: Object, life: float) -> str:
        self._skip("does not give us its key to sign tokens with")

    def accesses(self, user: str) -> set[Access]:
        self._skip("does not show us its audit log")

    def kill(self) -> None:
        self._skip("is not ours to be killed")

    async def stop(self) -> None:
        self._skip("is not ours to be stopped")

    async def start(self) -> None:
        self._skip("is not ours to be started")

    async def forget(self) -> None:
        self._skip("is not ours to be emptied")

    def freeze(self) -> None:
        self._skip("is not ours to be stopped")

    def thaw(self) -> None:
        self._skip("is not ours to be stopped")

    async def compact(self) -> int:
        self._skip("does not let us at its etcd")

    def logs(self, lines: int = 40) -> str:
        return f"those of {self.url} are not here"

    def _skip(self, why: str) -> NoReturn:
        pytest.skip(f"the cluster of KUBECONFIG={self._paths} {why}: this test needs one that is started for it")
