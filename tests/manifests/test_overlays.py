"""Each way to install ingressd builds, and fits the program that it starts."""

from pathlib import Path

import pytest
import yaml

from ingressd import __version__
from ingressd.admin.app import ENDPOINTS
from ingressd.admin.app import STOP_TIMEOUT as ADMIN_STOP
from ingressd.cli import cluster, objects, run, writing
from ingressd.control.controller import STOP_GRACE
from ingressd.control.election import Times
from ingressd.control.status import Timing
from ingressd.proxy import worker
from tests.manifests.built import (
    CLUSTER_WIDE,
    COMPONENTS,
    MANIFESTS,
    NAMESPACE,
    OVERLAYS,
    ROOT,
    Install,
    Rule,
    built,
    install,
    kustomize,
    matches,
    selectors,
    source,
    yaml_blocks,
)

SPARE = 5.0
"""Seconds between the end of ingressd as planned and the kill."""

MONITOR, SELECTOR = (MANIFESTS / "components" / name for name in ("service-monitor", "namespace-selector"))

READ = ("get", "list", "watch")


@pytest.fixture(params=["base", *OVERLAYS])
def each(request: pytest.FixtureRequest) -> Install:
    """An installation, one after the other."""
    return install(request.param)


# --- objects


def test_every_object_is_there_once_and_in_its_namespace(each: Install) -> None:
    names = [(one["kind"], one["metadata"]["name"]) for one in each.objects]
    assert len(names) == len(set(names))
    for one in each.objects:
        expected = None if one["kind"] in CLUSTER_WIDE else NAMESPACE
        assert one["metadata"].get("namespace") == expected, one["metadata"]["name"]


def test_every_object_has_the_recommended_labels(each: Install) -> None:
    for one in [*each.objects, each.template]:
        labels = one["metadata"]["labels"]
        assert labels["app.kubernetes.io/name"] == "ingressd"
        assert labels["app.kubernetes.io/component"] == "ingress-controller"
        assert labels["app.kubernetes.io/version"] == __version__


def test_every_selector_picks_the_pods(each: Install) -> None:
    for selector in selectors(each.objects):
        assert matches(selector, each.template["metadata"]["labels"])
        # A selector cannot be changed, and old pods must be found.
        assert "app.kubernetes.io/version" not in selector


def test_what_is_bound_to_the_account_of_the_pods_is_there(each: Install) -> None:
    there = {(one["kind"], one["metadata"]["name"]) for one in each.objects}
    assert ("ServiceAccount", each.pod["serviceAccountName"]) in there
    for binding in each.of_kind("RoleBinding", "ClusterRoleBinding"):
        assert (binding["roleRef"]["kind"], binding["roleRef"]["name"]) in there
        (subject,) = binding["subjects"]
        assert (subject["kind"], subject["name"]) == ("ServiceAccount", each.pod["serviceAccountName"])
        assert subject["namespace"] == NAMESPACE
    bound = {binding["roleRef"]["name"] for binding in each.of_kind("RoleBinding", "ClusterRoleBinding")}
    assert bound == {role["metadata"]["name"] for role in each.of_kind("Role", "ClusterRole")}


# --- flags


def test_the_flags_are_accepted_and_ask_for_a_cluster(each: Install) -> None:
    assert not each.values[objects.MANIFESTS]


def test_ports_and_probes_are_those_of_the_flags(each: Install) -> None:
    assert each.ports == {"http": each.values[run.HTTP_PORT], "admin": each.values[run.HEALTHZ_PORT]}
    for name, path in (("readinessProbe", "/readyz"), ("livenessProbe", "/healthz")):
        assert each.container[name]["httpGet"] == {"path": path, "port": "admin"}
        assert path in ENDPOINTS


def test_endpoints_are_told_the_port_that_clients_use(each: Install) -> None:
    """X-Forwarded-Port is the port that the pod listens on, so it is the same as the Service's."""
    (port,) = each.service["spec"]["ports"]
    assert (port["port"], port["targetPort"]) == (each.values[run.HTTP_PORT], "http")


def published(found: Install) -> bool:
    """Whether the addresses for the status are those of the Service of this installation, or of no Service."""
    service = found.service["metadata"]
    return found.values[writing.PUBLISH_SERVICE] in ("", f"{service['namespace']}/{service['name']}")


def test_what_is_published_is_the_service_that_is_installed(each: Install) -> None:
    assert published(each)


def test_without_a_limit_of_cpu_the_number_of_workers_is_given(each: Install) -> None:
    assert "cpu" in each.container["resources"]["limits"] or each.values[run.WORKERS] is not None


def classes_fit(found: Install) -> bool:
    """Whether the IngressClass of this installation, if it has one, is the one that its flags ask for."""
    wanted = {(found.values[objects.INGRESS_CLASS_FLAG], found.values[objects.CONTROLLER_CLASS_FLAG])}
    return {(one["metadata"]["name"], one["spec"]["controller"]) for one in found.of_kind("IngressClass")} <= wanted


def test_the_class_is_the_one_that_is_served(each: Install) -> None:
    assert classes_fit(each)


def test_variables_of_services_are_kept_away(each: Install) -> None:
    """Of a Service named ingressd they look like flags."""
    assert each.pod["enableServiceLinks"] is False
    assert {one["name"] for one in each.container["env"]} == {"POD_NAME", "POD_NAMESPACE"}


def test_the_image_is_that_of_this_version(each: Install) -> None:
    assert each.container["image"] == f"ingressd:{__version__}"


# --- security


def test_the_pod_may_do_nothing_but_listen(each: Install) -> None:
    """What the API server thinks of it is in tests/cluster/test_manifests.py."""
    pod, container = each.pod["securityContext"], each.container["securityContext"]
    assert pod["runAsNonRoot"] is True
    assert pod["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["sysctls"] == [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}]
    assert container == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    # With the network of the node, the sysctl would not be allowed and its ports would all be ours.
    assert not {"hostNetwork", "hostPID", "hostIPC", "volumes", "initContainers"} & each.pod.keys()


def test_memory_is_limited(each: Install) -> None:
    assert each.container["resources"]["limits"]["memory"]


def test_the_policy_opens_the_port_for_requests_alone(each: Install) -> None:
    policy = each.one("NetworkPolicy")["spec"]
    assert policy["policyTypes"] == ["Ingress"]
    assert policy["ingress"] == [{"ports": [{"port": "http"}]}]


# --- rights


OBJECTS = {
    *(Rule(verb, "networking.k8s.io", "ingresses", "") for verb in READ),
    *(Rule(verb, "", "services", "") for verb in READ),
    *(Rule(verb, "discovery.k8s.io", "endpointslices", "") for verb in READ),
    *(Rule(verb, "events.k8s.io", "events", "") for verb in ("get", "create", "patch")),
    Rule("patch", "networking.k8s.io", "ingresses/status", ""),
    Rule("get", "", "secrets", ""),
}
"""Objects are listed and watched for what they say, and read one by one for their status and for Events about them."""
CLASSES = {Rule(verb, "networking.k8s.io", "ingressclasses", "") for verb in READ}
LEASES = {
    Rule("create", "coordination.k8s.io", "leases", ""),
    Rule("get", "coordination.k8s.io", "leases", writing.ELECTION_ID.default),
    Rule("patch", "coordination.k8s.io", "leases", writing.ELECTION_ID.default),
}


@pytest.mark.parametrize("name", ["base", *OVERLAYS])
def test_the_rights_are_those_that_are_used(name: str) -> None:
    found = install(name)
    if name == "namespaced":
        assert (found.rules("ClusterRole"), found.rules("Role")) == (set(), OBJECTS | LEASES)
    else:
        assert (found.rules("ClusterRole"), found.rules("Role")) == (OBJECTS | CLASSES, LEASES)


# --- the end of a pod


def test_there_is_time_to_end_in_order(each: Install) -> None:
    command, seconds = each.container["lifecycle"]["preStop"]["exec"]["command"]
    assert command == "sleep"
    election = Times(each.values[writing.ELECTION_TTL])
    # Looking for other replicas, clearing the status, and giving up the Lease, beside which the workers end.
    writers = election.write + Timing().clear + 2 * election.ask
    end = int(seconds) + max(STOP_GRACE, writers) + ADMIN_STOP
    assert each.pod["terminationGracePeriodSeconds"] >= end + SPARE
    assert worker.DRAIN + worker.LINK_CLOSE + worker.LOG_CLOSE < STOP_GRACE


def test_a_new_version_is_there_before_the_old_one_goes() -> None:
    for name in set(OVERLAYS) - {"hostport-daemonset"}:
        assert install(name).workload["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}


# --- the overlays, each by what it is for


def test_base_is_behind_a_load_balancer() -> None:
    assert install("base").values[writing.PUBLISH_SERVICE] == "ingressd/ingressd"
    spec = install("base").service["spec"]
    assert (spec["type"], spec["externalTrafficPolicy"]) == ("LoadBalancer", "Local")
    assert install("base").one("PodDisruptionBudget")["spec"]["maxUnavailable"] == 1
    assert install("base").workload["spec"]["replicas"] >= 2
    keys = [one["topologyKey"] for one in install("base").pod["topologySpreadConstraints"]]
    assert keys == ["kubernetes.io/hostname", "topology.kubernetes.io/zone"]


def test_nodeport() -> None:
    spec = install("nodeport").service["spec"]
    assert (spec["type"], spec["externalTrafficPolicy"]) == ("NodePort", "Cluster")
    assert spec["ports"] == [{"name": "http", "port": 80, "targetPort": "http", "nodePort": 30080}]


def test_hostport_daemonset() -> None:
    found = install("hostport-daemonset")
    assert found.workload["kind"] == "DaemonSet"
    assert found.container["ports"][0] == {"name": "http", "containerPort": 80, "hostPort": 80}
    assert not {"replicas", "strategy"} & found.workload["spec"].keys()
    assert "topologySpreadConstraints" not in found.pod
    assert found.service["spec"].keys() == {"type", "selector", "ports"}
    assert not found.values[writing.PUBLISH_SERVICE]


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
