"""Where the API server is, and who we are there: from a kubeconfig, or in a pod from its service account.

An Access is loaded again whenever the API server does not know us any more, so that tokens, certificates and plugins'
credentials may be replaced while we run. The token of a service account is also read again every minute, by
kubernetes_asyncio, before the API server could refuse the old one.
"""

import asyncio
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import yaml
from kubernetes_asyncio.client.configuration import Configuration
from kubernetes_asyncio.config.config_exception import ConfigException
from kubernetes_asyncio.config.incluster_config import InClusterConfigLoader
from kubernetes_asyncio.config.kube_config import KubeConfigLoader, KubeConfigMerger

from ingressd.source.base import SourceError

ACCOUNT_FOLDER = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where a pod has the token and the CA of its service account."""
PLUGIN_TIMEOUT = 30.0
"""Seconds that a credential plugin may take, or an identity provider."""
CONNECTIONS = 500
"""At a time. Each watch has one to itself: a watch of HTTP/1.1 is a response that does not end."""
_HOST = "KUBERNETES_SERVICE_HOST"
# Runs a command for some seconds at most. kubernetes_asyncio waits for ever, and leaves the command running when it is
# cancelled.
_BOUNDED = """
import subprocess, sys
try:
    done = subprocess.run(sys.argv[2:], capture_output=True, timeout=float(sys.argv[1]))
except subprocess.TimeoutExpired:
    sys.exit(f"{sys.argv[2]} has not answered within {sys.argv[1]} s")
except OSError as error:
    sys.exit(f"{sys.argv[2]}: {error.strerror}")
sys.stderr.buffer.write(done.stderr[-4096:])
sys.stdout.buffer.write(done.stdout)
sys.exit(done.returncode)
"""


class AccessError(Exception):
    """The configuration cannot be had now: one line for the log."""


class Access(Protocol):
    """A way to the API server."""

    async def load(self) -> Configuration:
        """A configuration with credentials as they are now. Raises AccessError."""


class ServiceAccount:
    """That of the pod we run in (kubernetes.io: "Accessing the Kubernetes API from a Pod")."""

    def __init__(self, environment: Mapping[str, str], folder: Path = ACCOUNT_FOLDER) -> None:
        token, ca = str(folder / "token"), str(folder / "ca.crt")
        self._loader = InClusterConfigLoader(token, ca, environ=dict(environment))

    async def load(self) -> Configuration:
        made = Configuration()
        try:
            self._loader.load_and_set(made)
        except (ConfigException, OSError, UnicodeDecodeError) as error:
            raise AccessError(f"the service account cannot be used: {error}") from error
        return _prepared(made)


class _Loader(KubeConfigLoader):
    """Gives plugins PLUGIN_TIMEOUT seconds."""

    async def load_from_exec_plugin(self) -> bool:
        assert self._user is not None
        plugin = self._user["exec"].value
        if plugin.get("command"):  # otherwise it is said below that it is missing
            arguments = [f"{PLUGIN_TIMEOUT:g}", str(plugin["command"]), *map(str, plugin.get("args") or ())]
            plugin.update(command=sys.executable, args=["-I", "-c", _BOUNDED, *arguments])
        return await super().load_from_exec_plugin()


class Kubeconfig:
    """One or several kubeconfig files (`a:b`, merged as kubectl does). Without `context` the current one."""

    def __init__(self, paths: str, context: str) -> None:
        """Raises SourceError for what is not there or cannot be read."""
        self._paths = [os.path.expanduser(path) for path in paths.split(os.pathsep) if path]
        self._context = context or None
        try:
            self._loader()
        except AccessError as error:
            raise SourceError(str(error)) from error

    async def load(self) -> Configuration:
        made = Configuration()
        loader = self._loader()
        try:
            async with asyncio.timeout(2 * PLUGIN_TIMEOUT):
                await loader.load_and_set(made)
        except TimeoutError as error:
            raise AccessError(f"{self._named()}: no credentials within {2 * PLUGIN_TIMEOUT:g} s") from error
        except Exception as error:  # plugins and identity providers fail in ways of their own
            raise AccessError(f"{self._named()}: {error}") from error
        return _prepared(made)

    def _loader(self) -> KubeConfigLoader:
        """Reads the files. Raises AccessError."""
        found = [path for path in self._paths if os.path.exists(path)]
        if not found:
            raise AccessError(f"there is no kubeconfig {self._named()}: write --kubeconfig PATH, or --manifests PATH")
        try:
            merged = KubeConfigMerger(os.pathsep.join(found)).config
            return _Loader(config_dict=merged, config_base_path=None, active_context=self._context)
        except (ConfigException, OSError, yaml.YAMLError, UnicodeDecodeError) as error:
            raise AccessError(f"{self._named()}: {' '.join(str(error).split())}") from error
        except (AttributeError, KeyError, TypeError) as error:
            raise AccessError(f"{self._named()} is not a kubeconfig") from error

    def _named(self) -> str:
        return os.pathsep.join(self._paths)


def find(kubeconfig: str, context: str, environment: Mapping[str, str]) -> Access:
    """The way that the flags and the environment show: `kubeconfig` if it is given, else the service account of the pod
    we run in, else the kubeconfig that kubectl would take. Raises SourceError."""
    if kubeconfig:
        return Kubeconfig(kubeconfig, context)
    if not context and environment.get(_HOST):
        return ServiceAccount(environment)
    paths = environment.get("KUBECONFIG") or os.path.join(environment.get("HOME") or "~", ".kube", "config")
    return Kubeconfig(paths, context)


def _prepared(configuration: Configuration) -> Configuration:
    """Verifies certificates as other clients of the API do. The strict mode that Python has since 3.13 refuses CAs that
    lack extensions nobody else asks for."""
    configuration.disable_strict_ssl_verification = True
    configuration.connection_pool_maxsize = CONNECTIONS
    return configuration
