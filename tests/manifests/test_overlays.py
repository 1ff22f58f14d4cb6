"""What each overlay and component changes, and that what users put on top of them builds."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ingressd.admin.app import ENDPOINTS
from ingressd.cli import cluster, tls, writing
from tests.manifests.built import (
    CLUSTER_WIDE,
    COMPONENTS,
    MANIFESTS,
    NAMESPACE,
    OVERLAYS,
    ROOT,
    WORKLOADS,
    Install,
    Object,
    Rule,
    built,
    classes_fit,
    install,
    kustomize,
    matches,
    published,
    selectors,
    source,
    yaml_blocks,
)

MONITOR, SELECTOR = (MANIFESTS / "components" / name for name in ("service-monitor", "namespace-selector"))


# --- the overlays, each by what it is for


def changed(before: Any, after: Any, path: str = "") -> Iterator[str]:
    """Where two values differ: the shortest paths."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in before.keys() | after.keys():
            if key in before and key in after:
                yield from changed(before[key], after[key], f"{path}/{key}")
            else:
                yield f"{path}/{key}"
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for number, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from changed(one, other, f"{path}/{number}")
    elif before != after:
        yield path


def by_name(found: Install) -> dict[str, Object]:
    return {
        "workload" if one["kind"] in WORKLOADS else f"{one['kind']} {one['metadata']['name']}": one
        for one in found.objects
    }


CONTAINER = "/workload/spec/template/spec/containers/0"


CHANGES = {
    "nodeport": {
        f"{CONTAINER}/args",
        *(f"/Service ingressd/spec/{key}" for key in ("type", "externalTrafficPolicy")),
        *(f"/Service ingressd/spec/ports/{at}/nodePort" for at in (0, 1)),
    },
    "hostport-daemonset": {
        "/workload/kind",
        *(f"/workload/spec/{key}" for key in ("replicas", "strategy", "updateStrategy")),
        "/workload/spec/template/spec/topologySpreadConstraints",
        *(f"{CONTAINER}/ports/{at}/hostPort" for at in (0, 1)),
        f"{CONTAINER}/args/1",
        *(f"/Service ingressd/spec/{key}" for key in ("type", "externalTrafficPolicy")),
        "/Namespace ingressd/metadata/labels/pod-security.kubernetes.io/enforce",
        "/PodDisruptionBudget ingressd",
    },
    "namespaced": {
        f"{CONTAINER}/args",
        "/Namespace ingressd",
        "/IngressClass ingressd",
        *(f"/{kind} ingressd" for kind in ("ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding")),
    },
    "replace-ingress-nginx": {f"{CONTAINER}/args", "/IngressClass ingressd", "/IngressClass nginx"},
    "beside-ingress-nginx": {f"{CONTAINER}/args", "/IngressClass ingressd"},
}
"""What is other than in the base."""


@pytest.mark.parametrize("name", OVERLAYS)
def test_an_overlay_changes_what_it_is_for_and_nothing_else(name: str) -> None:
    """So that what is said of the base here holds for it too."""
    assert set(changed(by_name(install("base")), by_name(install(name)))) == CHANGES[name]


def test_base_has_all_its_parts() -> None:
    assert sorted(one["kind"] for one in install("base").objects) == [
        "ClusterRole",
        "ClusterRoleBinding",
        "Deployment",
        "IngressClass",
        "Namespace",
        "NetworkPolicy",
        "PodDisruptionBudget",
        "Role",
        "RoleBinding",
        "Service",
        "ServiceAccount",
    ]


def test_a_new_version_is_there_before_the_old_one_goes() -> None:
    for name in {"base", *OVERLAYS} - {"hostport-daemonset"}:
        assert install(name).workload["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}


def test_replicas_are_spread_as_far_as_there_is_room() -> None:
    """Over nodes and zones; what cannot be spread runs nevertheless."""
    for one in install("base").pod["topologySpreadConstraints"]:
        assert (one["maxSkew"], one["whenUnsatisfiable"]) == (1, "ScheduleAnyway")
        assert one["matchLabelKeys"] == ["pod-template-hash"]


def test_base_is_behind_a_load_balancer() -> None:
    for name in {"base", *OVERLAYS} - {"hostport-daemonset"}:
        assert install(name).values[writing.PUBLISH_SERVICE] == "ingressd/ingressd"
    spec = install("base").service["spec"]
    assert (spec["type"], spec["externalTrafficPolicy"]) == ("LoadBalancer", "Local")
    assert install("base").one("PodDisruptionBudget")["spec"]["maxUnavailable"] == 1
    assert install("base").workload["spec"]["replicas"] >= 2
    keys = [one["topologyKey"] for one in install("base").pod["topologySpreadConstraints"]]
    assert keys == ["kubernetes.io/hostname", "topology.kubernetes.io/zone"]


def test_nodeport() -> None:
    spec = install("nodeport").service["spec"]
    assert (spec["type"], spec["externalTrafficPolicy"]) == ("NodePort", "Cluster")
    assert spec["ports"] == [
        {"name": "http", "port": 80, "targetPort": "http", "nodePort": 30080},
        {"name": "https", "port": 443, "targetPort": "https", "nodePort": 30443},
    ]
    assert install("nodeport").values[tls.PUBLISHED_HTTPS_PORT] == 30443


def test_hostport_daemonset() -> None:
    found = install("hostport-daemonset")
    assert found.workload["kind"] == "DaemonSet"
    assert found.container["ports"][:2] == [
        {"name": "http", "containerPort": 80, "hostPort": 80},
        {"name": "https", "containerPort": 443, "hostPort": 443},
    ]
    assert not {"replicas", "strategy"} & found.workload["spec"].keys()
    assert "topologySpreadConstraints" not in found.pod
    assert found.service["spec"].keys() == {"type", "selector", "ports"}
    assert not found.values[writing.PUBLISH_SERVICE]
    assert found.workload["spec"]["updateStrategy"]["rollingUpdate"] == {"maxUnavailable": 1}


def test_namespaced_has_nothing_outside_of_its_namespace() -> None:
    found = install("namespaced")
    assert not found.of_kind(*CLUSTER_WIDE)
    assert found.values[cluster.WATCH_NAMESPACE] == NAMESPACE


def test_replace_ingress_nginx() -> None:
    found = install("replace-ingress-nginx")
    ingress_class = found.one("IngressClass")
    assert ingress_class["metadata"]["name"] == "nginx"
    assert ingress_class["spec"]["controller"] == "k8s.io/ingress-nginx"


def test_beside_ingress_nginx_differs_in_leaving_status_and_class_alone() -> None:
    beside, after = install("beside-ingress-nginx"), install("replace-ingress-nginx")
    assert not beside.of_kind("IngressClass")
    assert beside.arguments == [*after.arguments, "--update-status=false"]
    # All else stays, so that the second is an upgrade of the first.
    assert [one["metadata"]["name"] for one in beside.objects] == [
        one["metadata"]["name"] for one in after.objects if one["kind"] != "IngressClass"
    ]


# --- what a user puts on top


@pytest.mark.parametrize("name", ["base", *OVERLAYS])
def test_another_namespace_reaches_every_object(name: str, tmp_path: Path) -> None:
    found = kustomize(tmp_path, source(name), components=[MONITOR], namespace="edge")
    for one in found.objects:
        named = one["metadata"].get("namespace") if one["kind"] not in CLUSTER_WIDE else "edge"
        assert named == "edge", one["metadata"]["name"]
    assert [one["metadata"]["name"] for one in found.of_kind("Namespace")] in ([], ["edge"])
    for binding in found.of_kind("RoleBinding", "ClusterRoleBinding"):
        assert binding["subjects"][0]["namespace"] == "edge"


def test_every_component_is_tested_here() -> None:
    assert {MANIFESTS / "components" / name for name in COMPONENTS} == {MONITOR, SELECTOR}


def test_service_monitor(tmp_path: Path) -> None:
    found = kustomize(tmp_path, source("base"), components=[MONITOR])
    (metrics,) = (one for one in found.of_kind("Service") if one is not found.service)
    monitor = found.one("ServiceMonitor")["spec"]
    assert matches(monitor["selector"]["matchLabels"], metrics["metadata"]["labels"])
    assert not matches(monitor["selector"]["matchLabels"], found.service["metadata"]["labels"])
    (port,) = metrics["spec"]["ports"]
    (endpoint,) = monitor["endpoints"]
    assert (endpoint["port"], endpoint["path"]) == (port["name"], "/metrics")
    assert endpoint["path"] in ENDPOINTS
    assert (port["port"], port["targetPort"]) == (found.ports["admin"], "admin")
    for selector in selectors(found.objects):
        assert matches(selector, found.template["metadata"]["labels"])
    (policy,) = (one for one in found.of_kind("NetworkPolicy") if one["metadata"]["name"] == "ingressd-metrics")
    (rule,) = policy["spec"]["ingress"]
    assert rule["ports"] == [{"port": "admin"}]
    assert rule["from"]


def test_namespace_selector(tmp_path: Path) -> None:
    found = kustomize(tmp_path, source("base"), components=[SELECTOR])
    assert found.values[cluster.WATCH_NAMESPACE_SELECTOR] == "ingressd.dev/serve=true"
    more = found.rules("ClusterRole") - install("base").rules("ClusterRole")
    assert more == {Rule(verb, "", "namespaces", "") for verb in ("list", "watch")}


# --- the sample


def test_the_sample_is_in_one_namespace_and_its_parts_fit() -> None:
    sample = built(MANIFESTS / "sample")
    assert {one["metadata"].get("namespace") for one in sample.objects} == {None, "sample"}
    services = {one["metadata"]["name"]: one["spec"] for one in sample.of_kind("Service")}
    assert set(services) == {"fancy-api-service", "legacy-api-service"}
    fancy = services["fancy-api-service"]
    assert fancy["ports"] == [{"name": "http", "port": 8081, "targetPort": 80}]
    assert matches(fancy["selector"], sample.template["metadata"]["labels"])
    assert "selector" not in services["legacy-api-service"]
    endpoint_slice = sample.one("EndpointSlice")
    assert endpoint_slice["metadata"]["labels"]["kubernetes.io/service-name"] == "legacy-api-service"


# --- docs/deploy.md


def test_the_kustomizations_of_the_documentation_build(tmp_path: Path) -> None:
    blocks = [block for block in yaml_blocks() if "kind: Kustomization" in block]
    assert len(blocks) > 1
    for number, block in enumerate(blocks):
        document = yaml.safe_load(block)
        (tmp_path / str(number)).mkdir()
        paths = {key: [_here(path) for path in document.pop(key, [])] for key in ("resources", "components")}
        found = kustomize(tmp_path / str(number), *paths["resources"], components=paths["components"], **document)
        assert classes_fit(found), block
        assert published(found), block


def _here(path: str) -> Path:
    """What a path leads to in a folder beside the checkout, as the page has it."""
    return ROOT / path.removeprefix("../ingressd/")
