"""Which source the flags lead to."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ingressd.cli import cluster, flags, objects
from ingressd.cli.flags import UsageError
from ingressd.source.base import Source, SourceError
from ingressd.source.cluster.access import Access, Kubeconfig, ServiceAccount, find
from ingressd.source.cluster.source import ClusterSource, Scope
from ingressd.source.directory import DirectorySource


@pytest.fixture
def kubeconfig(tmp_path: Path) -> Path:
    path = tmp_path / "config"
    path.write_text(
        yaml.safe_dump(
            {
                "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}],
                "users": [{"name": "u", "user": {"token": "t"}}],
                "contexts": [{"name": name, "context": {"cluster": "c", "user": "u"}} for name in ("one", "two")],
                "current-context": "one",
            }
        )
    )
    return path


def source(*arguments: str, **environment: str) -> Source:
    sections: flags.Sections = {"objects": objects.FLAGS, "cluster": cluster.FLAGS}
    return cluster.source(flags.read("run", "", sections, arguments, environment), environment)


def test_manifests_are_read_in_place_of_a_cluster(tmp_path: Path) -> None:
    assert isinstance(source("--manifests", str(tmp_path), KUBERNETES_SERVICE_HOST="10.0.0.1"), DirectorySource)


@pytest.mark.parametrize(
    ("arguments", "scope"),
    [
        ([], Scope()),
        (["--watch-namespace=shop"], Scope(namespace="shop")),
        (["--watch-namespace-selector=stage=live"], Scope(selector="stage=live")),
        (["--context=two"], Scope()),
    ],
)
def test_a_cluster(kubeconfig: Path, arguments: list[str], scope: Scope) -> None:
    found = source("--kubeconfig", str(kubeconfig), *arguments)
    assert isinstance(found, ClusterSource)
    assert found.scope == scope


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--manifests=x", "--kubeconfig=y"], "--kubeconfig is for a cluster, and --manifests reads files instead"),
        (["--manifests=x", "--watch-namespace=y"], "--watch-namespace is for a cluster"),
        (["--watch-namespace=a", "--watch-namespace-selector=b"], "exclude each other"),
    ],
)
def test_flags_that_exclude_each_other(arguments: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        source(*arguments)


def way(kubeconfig: str = "", context: str = "", **environment: str) -> Access:
    return find(kubeconfig, context, environment)


def test_what_is_named_goes_before_the_pod_and_the_pod_before_the_home(kubeconfig: Path) -> None:
    path = str(kubeconfig)
    pod = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}
    assert isinstance(way(path, **pod), Kubeconfig)
    assert isinstance(way("", "two", KUBECONFIG=path, **pod), Kubeconfig)
    assert isinstance(way(KUBECONFIG=path, **pod), ServiceAccount)
    assert isinstance(way(KUBECONFIG=path), Kubeconfig)
    (kubeconfig.parent / ".kube").mkdir()
    kubeconfig.rename(kubeconfig.parent / ".kube" / "config")
    assert isinstance(way(HOME=str(kubeconfig.parent)), Kubeconfig)


@pytest.mark.parametrize(
    ("text", "context", "said"),
    [
        (None, "", "there is no kubeconfig {path}: write --kubeconfig PATH, or --manifests PATH"),
        ("{", "", "{path}: "),
        ("[]", "", "{path} is not a kubeconfig"),
        ("", "", "{path} is not a kubeconfig"),
        ("{clusters: [], users: [], contexts: []}", "", "{path}: .*current-context"),
        (..., "three", "{path}: .*three"),
    ],
)
def test_a_kubeconfig_that_cannot_be_used(kubeconfig: Path, text: object, context: str, said: str) -> None:
    if text is None:
        kubeconfig.unlink()
    elif isinstance(text, str):
        kubeconfig.write_text(text)
    with pytest.raises(SourceError, match=said.format(path=kubeconfig)) as caught:
        way(str(kubeconfig), context)
    assert "\n" not in str(caught.value)


def test_who_reads_files_does_not_load_the_client_of_the_api() -> None:
    script = "import sys, ingressd.cli.run, ingressd.control.run; sys.exit('kubernetes_asyncio' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0
