"""The objects that manifests/ comes to, as `kubectl kustomize` builds them."""

import functools
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from ingressd.cli import flags, objects, run, writing
from ingressd.cli.flags import Values
from tests.cluster.kubectl import kubectl

Object = dict[str, Any]

ROOT = Path(__file__).parent.parent.parent
MANIFESTS = ROOT / "manifests"
OVERLAYS = sorted(path.name for path in (MANIFESTS / "overlays").iterdir())
COMPONENTS = sorted(path.name for path in (MANIFESTS / "components").iterdir())
NAMESPACE = "ingressd"

WORKLOADS = ("Deployment", "DaemonSet")
CLUSTER_WIDE = ("Namespace", "ClusterRole", "ClusterRoleBinding", "IngressClass")
CUSTOM = ("ServiceMonitor",)
"""Kinds that a cluster knows only with the operator they belong to."""


class Rule(NamedTuple):
    """One right. `name` is that of the only object it holds for, or empty."""

    verb: str
    group: str
    resource: str
    name: str


class Install:
    """What one installation of ingressd consists of."""

    def __init__(self, objects: Sequence[Object]) -> None:
        self.objects = objects

    def of_kind(self, *kinds: str) -> list[Object]:
        return [each for each in self.objects if each["kind"] in kinds]

    def one(self, *kinds: str) -> Object:
        (found,) = self.of_kind(*kinds)
        return found

    @property
    def workload(self) -> Object:
        return self.one(*WORKLOADS)

    @property
    def template(self) -> Object:
        found: Object = self.workload["spec"]["template"]
        return found

    @property
    def pod(self) -> Object:
        found: Object = self.template["spec"]
        return found

    @property
    def container(self) -> Object:
        found: Object
        (found,) = self.pod["containers"]
        return found

    @property
    def service(self) -> Object:
        """The one that clients use."""
        (found,) = (each for each in self.of_kind("Service") if each["spec"]["ports"][0]["targetPort"] == "http")
        return found

    @property
    def ports(self) -> Mapping[str, int]:
        """Those of the container, by name."""
        return {port["name"]: port["containerPort"] for port in self.container["ports"]}

    @property
    def arguments(self) -> list[str]:
        """As the container gets them: Kubernetes puts in the variables of its environment."""
        namespace = self.workload["metadata"]["namespace"]
        return [text.replace("$(POD_NAMESPACE)", namespace) for text in self.container["args"]]

    @property
    def values(self) -> Values:
        """What the flags come to. Raises UsageError."""
        command, *arguments = self.arguments
        assert command == "run"
        return flags.read("run", "", run.SECTIONS, arguments, {})

    def rules(self, *kinds: str) -> set[Rule]:
        """The rights in all roles of these kinds."""
        return {
            Rule(verb, group, resource, name)
            for role in self.of_kind(*kinds)
            for rule in role["rules"]
            for group in rule["apiGroups"]
            for resource in rule["resources"]
            for verb in rule["verbs"]
            for name in rule.get("resourceNames", [""])
        }


@functools.cache
def built(folder: Path) -> Install:
    """What a folder with a kustomization comes to."""
    return Install([each for each in yaml.safe_load_all(kubectl("kustomize", folder)) if each])


def source(name: str) -> Path:
    """The folder of `base`, or of the overlay of that name."""
    return MANIFESTS / "base" if name == "base" else MANIFESTS / "overlays" / name


def install(name: str) -> Install:
    """What `source` comes to."""
    return built(source(name))


def kustomize(folder: Path, *resources: Path, components: Sequence[Path] = (), **more: object) -> Install:
    """A kustomization that is written into `folder`, which must have none."""
    document = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [os.path.relpath(path, folder) for path in resources],
        "components": [os.path.relpath(path, folder) for path in components],
        **more,
    }
    with (folder / "kustomization.yaml").open("x") as file:
        yaml.safe_dump(document, file)
    return built(folder)


def published(found: Install) -> bool:
    """Whether the addresses for the status are those of the Service of this installation, or of no Service."""
    service = found.service["metadata"]
    return found.values[writing.PUBLISH_SERVICE] in ("", f"{service['namespace']}/{service['name']}")


def classes_fit(found: Install) -> bool:
    """Whether the IngressClass of this installation, if it has one, is the one that its flags ask for."""
    wanted = {(found.values[objects.INGRESS_CLASS_FLAG], found.values[objects.CONTROLLER_CLASS_FLAG])}
    return {(one["metadata"]["name"], one["spec"]["controller"]) for one in found.of_kind("IngressClass")} <= wanted


def yaml_blocks() -> list[str]:
    """Those of docs/deploy.md."""
    page = (ROOT / "docs" / "deploy.md").read_text()
    return re.findall(r"^```yaml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


def matches(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Whether a selector, which must not be empty, picks what has these labels."""
    return bool(selector) and selector.items() <= labels.items()


def selectors(objects: Sequence[Object]) -> Iterator[Mapping[str, str]]:
    """Every selector that picks pods of ingressd."""
    for each in objects:
        spec = each.get("spec", {})
        match each["kind"]:
            case "Service":
                yield spec["selector"]
            case "PodDisruptionBudget" | "Deployment" | "DaemonSet":
                yield spec["selector"]["matchLabels"]
            case "NetworkPolicy":
                yield spec["podSelector"]["matchLabels"]
        for constraint in spec.get("template", {}).get("spec", {}).get("topologySpreadConstraints", []):
            yield constraint["labelSelector"]["matchLabels"]
