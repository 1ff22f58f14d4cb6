"""Whatever one tenant writes into its objects, the routes of another stay as they are."""

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from ingressd.model import ClusterKey, Route, Snapshot, Update
from ingressd.resources import Store, parse
from ingressd.routing import Table
from ingressd.translate import Options, translate
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
texts = st.sampled_from(HOSTILE) | st.text(alphabet=st.characters(exclude_categories=()), max_size=20)
hosts = texts.filter(lambda text: text not in ("", "shop.example", "*.shop.example"))
ports = st.fixed_dictionaries({"number": st.integers(-1, 70000)}) | st.fixed_dictionaries({"name": texts})
backends = st.fixed_dictionaries(
    {"service": st.fixed_dictionaries({"name": texts, "port": ports})}
) | st.fixed_dictionaries({"resource": st.fixed_dictionaries({"kind": texts, "name": texts})})
paths = st.fixed_dictionaries(
    {
        "path": texts | st.sampled_from(["/", "/cart", "/eu"]),
        "pathType": st.sampled_from(["Exact", "Prefix", "ImplementationSpecific"]) | texts,
        "backend": backends,
    }
)
annotation_keys = st.sampled_from(
    [
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
)


def ingresses(hosts: st.SearchStrategy[str]) -> st.SearchStrategy[dict[str, Any]]:
    rules = st.fixed_dictionaries(
        {"host": hosts}, optional={"http": st.fixed_dictionaries({"paths": st.lists(paths, max_size=3)})}
    )
    return st.fixed_dictionaries(
        {
            "apiVersion": st.just("networking.k8s.io/v1"),
            "kind": st.just("Ingress"),
            "metadata": st.fixed_dictionaries(
                {"name": st.sampled_from(["shop", "a"]) | texts, "namespace": st.just("attacker")},
                optional={
                    "annotations": st.dictionaries(annotation_keys | texts, texts, max_size=4),
                    "creationTimestamp": st.just("2025-01-01T00:00:00Z") | texts,
                },
            ),
            "spec": st.fixed_dictionaries(
                {"rules": st.lists(rules, max_size=3), "ingressClassName": st.just("ingressd")},
                optional={
                    "defaultBackend": backends,
                    "tls": st.lists(st.fixed_dictionaries({"hosts": st.lists(texts, max_size=2), "secretName": texts})),
                },
            ),
        }
    )


services = st.fixed_dictionaries(
    {
        "apiVersion": st.just("v1"),
        "kind": st.just("Service"),
        "metadata": st.fixed_dictionaries({"name": st.just("web") | texts, "namespace": st.just("attacker")}),
        "spec": st.fixed_dictionaries(
            {"ports": st.just([{"port": 80, "name": "http"}])},
            optional={"type": st.just("ExternalName"), "externalName": texts},
        ),
    }
)
slices = st.fixed_dictionaries(
    {
        "apiVersion": st.just("discovery.k8s.io/v1"),
        "kind": st.just("EndpointSlice"),
        "metadata": st.fixed_dictionaries(
            {
                "name": st.just("web-1") | texts,
                "namespace": st.just("attacker"),
                "labels": st.fixed_dictionaries({"kubernetes.io/service-name": st.just("web") | texts}),
            }
        ),
        "addressType": st.sampled_from(["IPv4", "IPv6", "FQDN"]) | texts,
        "endpoints": st.lists(st.fixed_dictionaries({"addresses": st.lists(texts, max_size=2)}), max_size=2),
        "ports": st.lists(
            st.fixed_dictionaries({"port": st.integers(-1, 70000)}, optional={"name": texts}), max_size=2
        ),
    }
)


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


@settings(max_examples=300, deadline=None)
@given(st.lists(ingresses(hosts) | services | slices, min_size=1, max_size=4))
def test_hostile_text_changes_no_answer_for_another_tenant(objects: list[dict[str, Any]]) -> None:
    """With any host but the victim's, and but for the hosts of nobody, which are free to take."""
    snapshot = attacked(objects)
    assert victims_part(snapshot) == victims_part(ALONE)
    free = {at for at, (host, _) in enumerate(REQUESTS) if host in (b"other.example", b"")}
    now, before = answers(snapshot), answers(ALONE)
    assert [answer for at, answer in enumerate(now) if at not in free] == [
        answer for at, answer in enumerate(before) if at not in free
    ]


@settings(max_examples=300, deadline=None)
@given(st.lists(ingresses(st.sampled_from(["shop.example", "*.shop.example"]) | texts) | services | slices, max_size=4))
def test_hostile_objects_on_the_same_host_take_no_route_of_another_tenant(objects: list[dict[str, Any]]) -> None:
    """Kubernetes gives nobody a host alone: a newer Ingress may add paths to it, but it takes none that are there."""
    assert victims_part(attacked(objects)) == victims_part(ALONE)


def test_the_attacker_is_heard_at_all() -> None:
    """That the attacks above get as far as routes of their own."""
    store = Store()
    for resource in VICTIM:
        store.upsert(resource)
    snapshot = attacked(
        [
            {
                "apiVersion": "networking.k8s.io/v1",
                "kind": "Ingress",
                "metadata": {"name": "a", "namespace": "attacker"},
                "spec": {
                    "ingressClassName": "ingressd",
                    "rules": [
                        {
                            "host": "shop.example",
                            "http": {
                                "paths": [
                                    {
                                        "path": "/x",
                                        "pathType": "Prefix",
                                        "backend": {"service": {"name": "web", "port": {"number": 80}}},
                                    }
                                ]
                            },
                        }
                    ],
                },
            }
        ]
    )
    assert answers(snapshot)[REQUESTS.index((b"shop.example", b"/x"))] == ("shop.example", None)
