"""Runs kubectl, which has kustomize built in."""

import os
import shutil
import subprocess
from pathlib import Path

from tests.cluster.assets import Assets, AssetsError, find

SECONDS = 60


class KubectlError(Exception):
    """kubectl failed. The text is the command and what it wrote to standard error."""


def program() -> str | Path:
    """That of the assets, else the one in PATH. Raises AssetsError."""
    try:
        return find().kubectl
    except AssetsError:
        if found := shutil.which("kubectl"):
            return found
        raise


def kubectl(
    *arguments: str | Path, kubeconfig: Path | None = None, stdin: str | None = None, assets: Assets | None = None
) -> str:
    """What kubectl writes to standard output. `kubectl("kustomize", folder)` or `kubectl("apply", "-f", "-",
    "--dry-run=server", kubeconfig=path, stdin=text)`. Without `kubeconfig` it reaches no cluster, least of all the
    user's own. Raises KubectlError."""
    command = [str(assets.kubectl if assets else program()), *map(str, arguments)]
    environment = {**os.environ, "KUBECONFIG": str(kubeconfig or os.devnull)}
    if kubeconfig is not None:
        environment["KUBECACHEDIR"] = str(kubeconfig.parent / "kubectl-cache")
    done = subprocess.run(command, input=stdin or "", capture_output=True, text=True, env=environment, timeout=SECONDS)
    if done.returncode:
        raise KubectlError(f"kubectl {' '.join(command[1:])}: {done.stderr.strip()}")
    return done.stdout
