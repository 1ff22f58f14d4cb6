"""Whatever one tenant writes into its objects, the routes of another stay as they are."""

from copy import deepcopy
from typing import Any

import msgspec
from hypothesis import find, given, settings
from hypothesis import strategies as st

from ingressd.model import ClusterKey, Route, Snapshot, Update
from ingressd.resources import parse
from ingressd.routing import Table
from ingressd.translate import Options, translate
from tests.resources.mutations import texts, with_leaves_replaced
from tests.translate.manifests import read, store_of

VICTIM = read("""
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: shop, namespace: victim, creationTimestamp: "2024-01-01T00:00:00Z"}
spec:
  ingressClassName: ingressd
  defaultBackend: {service: {name: web, port: {number: 80}}}
  rules:
  - host: shop.example
    http:
      paths:
      - {path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}
      - {path: /cart, pathType: Exact, backend: {service: {name: web, port: {name: http}}}}
  - host: "*.shop.example"
    http:
      paths:
      - {path: /eu, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: victim}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: victim, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [10.0.0.1]}]
""").resources
REQUESTS = [
    (host, path)
    for host in (b"shop.example", b"de.shop.example", b"other.example", b"")
    for path in (b"/", b"/cart", b"/cart/", b"/eu", b"/eu/x", b"/x")
]

HOSTILE = [
    "",
    "*",
    "/",
    "..",
    "victim/web",
    "victim-web-80",
    "victim\x00web",
    "../victim/web",
    "shop.example\n",
    "shop.example:80",
    "SHOP.example",
    "shop.example.",
    "*.example",
    "sh*p.example",
    "/}\n location / { proxy_pass http://10.6.6.6; }",
    '";} server { listen 80; #',
    "$(id)",
    "{{ .Values.x }}",
    "/%2e%2e/cart",
    "/(a+)+$",
    "\u202eexample",
    "\ud800",
    "é" * 300,
    "0x50",
    "80",
    "http",
    "web",
]
hostile = st.sampled_from(HOSTILE) | texts

BACKEND = {"service": {"name": "web", "port": {"number": 80}}}
INGRESS = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "Ingress",
    "metadata": {"name": "shop", "namespace": "attacker"},
    "spec": {
        "ingressClassName": "ingressd",
        "tls": [{"hosts": ["shop.example"], "secretName": "victim"}],
        "defaultBackend": BACKEND,
        "rules": [],
    },
}
ANNOTATIONS = [
    "nginx.ingress.kubernetes.io/server-alias",
    "nginx.ingress.kubernetes.io/server-snippet",
    "nginx.ingress.kubernetes.io/configuration-snippet",
    "nginx.ingress.kubernetes.io/auth-url",
    "nginx.ingress.kubernetes.io/rewrite-target",
    "nginx.ingress.kubernetes.io/use-regex",
    "nginx.ingress.kubernetes.io/canary",
    "nginx.ingress.kubernetes.io/default-backend",
    "ingressd.dev/anything",
]
SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "web", "namespace": "attacker"},
    "spec": {"type": "ClusterIP", "externalName": "web.victim.svc", "ports": [{"port": 80, "name": "http"}]},
}
SLICE = {
    "apiVersion": "discovery.k8s.io/v1",
    "kind": "EndpointSlice",
    "metadata": {"name": "web-1", "namespace": "attacker", "labels": {"kubernetes.io/service-name": "web"}},
    "addressType": "IPv4",
    "endpoints": [{"addresses": ["10.6.6.6"]}],
    "ports": [{"name": "http", "port": 6666}],
}


@st.composite
def ingresses(draw: st.DrawFn, hosts: list[str]) -> dict[str, Any]:
    """Valid but for a value or two; its paths are those of the victim and others."""
    ingress: dict[str, Any] = deepcopy(INGRESS)
    ingress["metadata"]["name"] = draw(st.sampled_from(["shop", "a", "b"]))
    ingress["metadata"]["annotations"] = draw(st.dictionaries(st.sampled_from(ANNOTATIONS), hostile, max_size=3))
    for _ in range(draw(st.integers(1, 2))):
        path = {
            "path": draw(st.sampled_from(["/", "/cart", "/cart/", "/eu", "/eu/x", "/x"])),
            "pathType": draw(st.sampled_from(["Exact", "Prefix", "ImplementationSpecific"])),
            "backend": deepcopy(BACKEND),
        }
        ingress["spec"]["rules"].append({"host": draw(st.sampled_from(hosts)), "http": {"paths": [path]}})
    return draw(with_leaves_replaced(ingress, hostile))


services = with_leaves_replaced(SERVICE, hostile | st.just("ExternalName"))
slices = with_leaves_replaced(SLICE, hostile | st.sampled_from(["10.0.0.1", "IPv6", "FQDN", "shop.example"]))


def attacks(hosts: list[str]) -> st.SearchStrategy[list[dict[str, Any]]]:
    return st.lists(ingresses(hosts) | services | slices, min_size=1, max_size=5)


def attacked(objects: list[dict[str, Any]]) -> Snapshot:
    """The snapshot with the other tenant's objects added. It can be sent to a worker, and its Problems be shown."""
    store = store_of(VICTIM)
    for raw in objects:
        parsed = parse(raw)
        msgspec.json.encode(parsed.problems)
        for resource in parsed.resources:
            store.upsert(resource)
    translation = translate(store, Options())
    msgspec.json.encode(translation.problems)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(translation.snapshot), type=Snapshot) == translation.snapshot
    return translation.snapshot


def names_a_host_of_the_victim(raw: dict[str, Any]) -> bool:
    return any(rule["host"] in SAME_HOSTS for rule in raw["spec"].get("rules", ())) if "spec" in raw else False


def victims_part(snapshot: Snapshot) -> tuple[object, object]:
    routes: list[tuple[str, Route]] = [
        (host.host, route)
        for host in snapshot.virtual_hosts
        for route in (*host.routes, *filter(None, [host.default]))
        if route.source.namespace == "victim"
    ]
    return routes, [cluster for cluster in snapshot.clusters if cluster.key.namespace == "victim"]


def answers(snapshot: Snapshot) -> list[tuple[str, ClusterKey | None] | None]:
    table = Table().updated(Update.of(snapshot, 1))
    found = (table.lookup(host, path) for host, path in REQUESTS)
    return [(decision.host, decision.route.cluster) if decision else None for decision in found]


ALONE = attacked([])
SAME_HOSTS = ["shop.example", "*.shop.example", ""]
OTHER_HOSTS = ["other.example", "shop.example.evil.example", "*.example", "xn--shp-fna.example"]


@settings(max_examples=300, deadline=None)
@given(attacks(OTHER_HOSTS))
def test_hostile_text_changes_no_answer_for_another_tenant(objects: list[dict[str, Any]]) -> None:
    """With every host but the victim's. Hosts that are nobody's are free to take."""
    snapshot = attacked([raw for raw in objects if not names_a_host_of_the_victim(raw)])
    assert victims_part(snapshot) == victims_part(ALONE)
    free = {at for at, (host, _) in enumerate(REQUESTS) if host in (b"other.example", b"")}
    now, before = answers(snapshot), answers(ALONE)
    assert [answer for at, answer in enumerate(now) if at not in free] == [
        answer for at, answer in enumerate(before) if at not in free
    ]


@settings(max_examples=300, deadline=None)
@given(attacks(SAME_HOSTS))
def test_hostile_objects_on_the_same_host_take_no_route_of_another_tenant(objects: list[dict[str, Any]]) -> None:
    """Kubernetes gives nobody a host alone: a newer Ingress may add paths to it, but it takes none that are there."""
    assert victims_part(attacked(objects)) == victims_part(ALONE)


def test_the_attacks_get_as_far_as_routes() -> None:
    """Else the tests above would show nothing."""
    found = find(
        attacks(SAME_HOSTS),
        lambda objects: any(cluster.key.namespace == "attacker" for cluster in attacked(objects).clusters),
        settings=settings(max_examples=2000, deadline=None),
    )
    assert victims_part(attacked(found)) == victims_part(ALONE)
