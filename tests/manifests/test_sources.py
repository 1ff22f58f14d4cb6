"""What the files of manifests/ and docs/deploy.md say, as far as no cluster and no kubectl is needed to tell."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from ingressd import __version__
from ingressd.cli import main, run

ROOT = Path(__file__).parent.parent.parent
MANIFESTS = ROOT / "manifests"
DEPLOY = ROOT / "docs" / "deploy.md"

PODS = """
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: fancy-api-service-x7k2p
  namespace: sample
  labels: {kubernetes.io/service-name: fancy-api-service}
addressType: IPv4
ports: [{name: http, port: 80, protocol: TCP}]
endpoints:
  - {addresses: [198.51.100.7], conditions: {ready: true, serving: true, terminating: false}}
  - {addresses: [198.51.100.8], conditions: {ready: true, serving: true, terminating: false}}
"""
"""What Kubernetes writes for the pods of the sample."""


def _in_namespace(folder: Path, namespace: str) -> Iterator[object]:
    """The objects of the files, in the namespace that kustomize would put them into."""
    for file in sorted(folder.glob("*.yaml")):
        for document in yaml.safe_load_all(file.read_text()):
            if document["kind"] != "Kustomization":
                document["metadata"].setdefault("namespace", namespace)
                yield document


def test_the_sample_is_routed_to_its_pods_and_to_the_addresses_written_by_hand(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sample = tmp_path / "sample.yaml"
    sample.write_text(yaml.safe_dump_all(_in_namespace(MANIFESTS / "sample", "sample")))
    (tmp_path / "pods.yaml").write_text(PODS)
    assert main.main(["routes", "--manifests", str(tmp_path), "--output", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["problems"] == []
    assert [(row["host"], row["path"], row["service"], row["port"], row["endpoints"]) for row in found["routes"]] == [
        (
            "fancy-api.example.com",
            "/legacy",
            "legacy-api-service",
            "http",
            ["192.0.2.10:8080", "192.0.2.11:8080"],
        ),
        (
            "fancy-api.example.com",
            "/",
            "fancy-api-service",
            "8081",
            ["198.51.100.7:80", "198.51.100.8:80"],
        ),
    ]


def test_image_and_labels_have_the_version_of_the_package() -> None:
    kustomization = yaml.safe_load((MANIFESTS / "base" / "kustomization.yaml").read_text())
    assert kustomization["images"] == [{"name": "ingressd", "newTag": __version__}]
    (labels,) = kustomization["labels"]
    assert labels["pairs"]["app.kubernetes.io/version"] == __version__
    assert set(re.findall(r"ingressd:(\d[\w.]*)", DEPLOY.read_text())) == {__version__}


@pytest.mark.parametrize("file", [DEPLOY, *sorted(MANIFESTS.rglob("*.yaml"))], ids=lambda file: file.name)
def test_every_flag_of_ingressd_that_is_named_exists(file: Path) -> None:
    flags = {flag.option for section in run.SECTIONS.values() for flag in section}
    text = re.sub(r"^ *(kubectl|curl) .*$", "", file.read_text(), flags=re.MULTILINE)
    named = set(re.findall(r"(?<![\w-])--[a-z-]+(?==|`)", text))
    assert named <= flags


def test_every_folder_of_manifests_is_documented() -> None:
    folders = {path.parent.relative_to(ROOT) for path in MANIFESTS.rglob("kustomization.yaml")}
    documented = {Path(name) for name in re.findall(r"^\| `(manifests/[\w/-]+)` \|", DEPLOY.read_text(), re.MULTILINE)}
    assert documented == folders
