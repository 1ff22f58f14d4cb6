"""Finds kube-apiserver, etcd and kubectl, and builds them.

They are looked for in the folder that KUBEBUILDER_ASSETS names, as envtest does, else in a folder of the user's cache
that has the versions in its name. `go.mod` beside this file says which those are, and its `go.sum` what the sources
must be: all three come as source from the Go module proxy, and Go builds them. Where there are none, `existing` takes
the cluster of KUBECONFIG.
"""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
PROGRAMS: Mapping[str, str] = {
    "etcd": "go.etcd.io/etcd/server/v3",
    "kubectl": "k8s.io/kubernetes/cmd/kubectl",
    "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
}
"""Name of the file -> Go package."""


class AssetsError(Exception):
    """A program is missing or cannot be built. The text says what to do."""


class Assets(NamedTuple):
    """Paths of the programs."""

    etcd: Path
    kube_apiserver: Path
    kubectl: Path


def find(environment: Mapping[str, str] = os.environ) -> Assets:
    """The programs. Raises AssetsError if one is missing."""
    named = environment.get("KUBEBUILDER_ASSETS")
    folder = Path(named) if named else cache_folder(environment)
    if missing := _missing(folder):
        if named:
            advice = "KUBEBUILDER_ASSETS names that folder: name another, or unset it and run `make cluster-assets`"
        else:
            advice = (
                "run `make cluster-assets` (needs Go), or set KUBEBUILDER_ASSETS to a folder that has them, or "
                "KUBECONFIG for a cluster to try things in"
            )
        raise AssetsError(f"no {' and no '.join(missing)} in {folder}: {advice}")
    return Assets(folder / "etcd", folder / "kube-apiserver", folder / "kubectl")


def cache_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Where `build` puts the programs of the versions in go.mod."""
    cache = environment.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    name = f"{_version('k8s.io/kubernetes')}-etcd-{_version('go.etcd.io/etcd/server/v3')}"
    return Path(cache) / "ingressd" / "cluster-assets" / name


def build(folder: Path) -> None:
    """Builds what is missing in `folder`. Raises AssetsError."""
    missing = _missing(folder)
    if missing and shutil.which("go") is None:
        raise AssetsError("go is not in PATH: install the Go that tests/cluster/go.mod asks for, or a newer one")
    folder.mkdir(parents=True, exist_ok=True)
    if missing:
        print(f"building {', '.join(missing)} from source, which takes some minutes, once", flush=True)
    for name in missing:
        start = time.monotonic()
        # Renamed when complete: a build that was broken off leaves nothing that looks like a program.
        partial = folder / f".{name}.{os.getpid()}"
        flags = ["-trimpath", "-buildvcs=false", f"-ldflags={_linker_flags()}", "-o", str(partial)]
        done = subprocess.run(
            ["nice", "-n", "19", "go", "build", *flags, PROGRAMS[name]],
            cwd=HERE,
            env={**os.environ, "CGO_ENABLED": "0"},
        )
        if done.returncode:
            partial.unlink(missing_ok=True)
            raise AssetsError(f"`go build {PROGRAMS[name]}` failed in {HERE}: it says why above")
        partial.rename(folder / name)
        print(f"built {folder / name} in {time.monotonic() - start:.0f} s", flush=True)


def _missing(folder: Path) -> list[str]:
    return [name for name in PROGRAMS if not os.access(folder / name, os.X_OK)]


def _version(module: str) -> str:
    """The version of a module that go.mod requires, as v1.36.3."""
    found = re.search(rf"^\t{re.escape(module)} (v\S+)", (HERE / "go.mod").read_text(), re.MULTILINE)
    assert found is not None, f"go.mod does not require {module}"
    return found[1]


def _linker_flags() -> str:
    """No symbols, and the version that /version and `kubectl version` say; without it that is v0.0.0-master."""
    version = _version("k8s.io/kubernetes")
    major, minor, _ = version.removeprefix("v").split(".", 2)
    values = {"gitVersion": version, "gitMajor": major, "gitMinor": minor}
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    stamps = [f"-X {package}.{name}={value}" for package in packages for name, value in values.items()]
    return " ".join(["-s -w", *stamps])
