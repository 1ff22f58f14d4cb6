"""What holds for each way to install ingressd: it fits the program that it starts."""

import pytest

from ingressd import __version__
from ingressd.admin.app import ENDPOINTS
from ingressd.admin.app import STOP_TIMEOUT as ADMIN_STOP
from ingressd.cli import objects, run, tls, writing
from ingressd.control.controller import STOP_GRACE
from ingressd.control.election import Times
from ingressd.control.status import Timing
from ingressd.control.writers import SETTLE
from ingressd.proxy import worker
from ingressd.proxy.last_call import LAST_CALL
from tests.manifests.built import (
    CLUSTER_WIDE,
    NAMESPACE,
    OVERLAYS,
    ROOT,
    Install,
    Rule,
    classes_fit,
    install,
    matches,
    published,
    selectors,
)

SPARE = 5.0
"""Seconds between the end of ingressd as planned and the kill."""

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
    assert each.ports == {
        "http": each.values[run.HTTP_PORT],
        "https": tls.https_port(each.values),
        "admin": each.values[run.HEALTHZ_PORT],
    }
    for name, path in (("readinessProbe", "/readyz"), ("livenessProbe", "/healthz")):
        assert each.container[name]["httpGet"] == {"path": path, "port": "admin"}
        assert path in ENDPOINTS


def test_endpoints_are_told_the_port_that_clients_use(each: Install) -> None:
    """X-Forwarded-Port is the port that the pod listens on, so it is the same as the Service's."""
    ports = [(port["port"], port["targetPort"]) for port in each.service["spec"]["ports"]]
    assert ports == [(each.values[run.HTTP_PORT], "http"), (tls.https_port(each.values), "https")]


def test_the_pod_tells_its_name_and_namespace(each: Install) -> None:
    fields = {one["name"]: one["valueFrom"]["fieldRef"]["fieldPath"] for one in each.container["env"]}
    assert fields == {"POD_NAME": "metadata.name", "POD_NAMESPACE": "metadata.namespace"}


def test_a_busy_controller_is_not_killed_soon(each: Install) -> None:
    probe = each.container["livenessProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] >= 60
    assert each.container["readinessProbe"]["periodSeconds"] <= 5


def test_what_is_published_is_the_service_that_is_installed(each: Install) -> None:
    assert published(each)


def test_without_a_limit_of_cpu_the_number_of_workers_is_given(each: Install) -> None:
    assert "cpu" in each.container["resources"]["limits"] or each.values[run.WORKERS] is not None


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
    assert min(pod["runAsUser"], pod["runAsGroup"]) > 0
    assert pod["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["sysctls"] == [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}]
    assert container == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    # With the network of the node, the sysctl would not be allowed and its ports would all be ours.
    assert not {"hostNetwork", "hostPID", "hostIPC", "volumes", "initContainers"} & each.pod.keys()


def test_resources_are_asked_for_and_memory_is_limited(each: Install) -> None:
    assert each.container["resources"]["requests"].keys() == {"cpu", "memory"}
    assert each.container["resources"]["limits"].keys() == {"memory"}


def test_the_policy_opens_the_port_for_requests_alone(each: Install) -> None:
    policy = each.one("NetworkPolicy")["spec"]
    assert policy["policyTypes"] == ["Ingress"]
    assert policy["ingress"] == [{"ports": [{"port": "http"}, {"port": "https"}]}]


# --- rights


OBJECTS = {
    *(Rule(verb, "networking.k8s.io", "ingresses", "") for verb in READ),
    *(Rule(verb, "", "services", "") for verb in READ),
    *(Rule(verb, "discovery.k8s.io", "endpointslices", "") for verb in READ),
    *(Rule(verb, "events.k8s.io", "events", "") for verb in ("get", "create", "patch")),
    Rule("patch", "networking.k8s.io", "ingresses/status", ""),
    *(Rule(verb, "", "secrets", "") for verb in READ),
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
    assert "lifecycle" not in each.container, "what waits there is not said to clients"
    grace = each.values[run.SHUTDOWN_GRACE_PERIOD]
    assert grace >= 30, "for load balancers to notice"
    election = Times(each.values[writing.ELECTION_TTL])
    # Looking for other replicas, clearing the status, and giving up the Lease, beside which all else ends.
    writers = max(grace, SETTLE) + election.write + Timing().clear + 2 * election.ask
    end = max(grace + each.values[run.DRAIN_TIMEOUT] + STOP_GRACE, writers) + ADMIN_STOP
    assert each.pod["terminationGracePeriodSeconds"] >= end + SPARE
    assert LAST_CALL + worker.LINK_CLOSE + worker.LOG_CLOSE < STOP_GRACE


def test_the_documentation_says_how_a_pod_ends() -> None:
    values = install("base").values
    page = " ".join((ROOT / "docs" / "deploy.md").read_text().split())
    assert f"serves for {values[run.SHUTDOWN_GRACE_PERIOD]:g} more seconds" in page
    assert f"gives requests under way {values[run.DRAIN_TIMEOUT]:g} seconds" in page
