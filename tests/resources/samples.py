"""One valid manifest of each kind, with every field that is read, and ways to edit and parse them."""

from copy import deepcopy
from typing import Any

from ingressd.model import Problem, Severity
from ingressd.resources import Parsed, Resource, parse

Raw = dict[str, Any]
Row = tuple[Raw, str, object, str, str]
"""A sample, the field to edit in dots, the value, the field that is named, words of the message."""

PATH = "spec.rules.0.http.paths.0"
FIELD = "spec.rules[0].http.paths[0]"
"""The first path of INGRESS, in dots and as Problems name it."""

INGRESS: Raw = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "Ingress",
    "metadata": {
        "name": "web",
        "namespace": "shop",
        "creationTimestamp": "2024-05-01T12:00:00Z",
        "labels": {"app": "web"},
        "annotations": {"nginx.ingress.kubernetes.io/rewrite-target": "/"},
    },
    "spec": {
        "ingressClassName": "ingressd",
        "defaultBackend": {"resource": {"apiGroup": "k8s.example.com", "kind": "StorageBucket", "name": "icons"}},
        "tls": [{"hosts": ["shop.example"], "secretName": "shop-tls"}],
        "rules": [
            {
                "host": "shop.example",
                "http": {
                    "paths": [
                        {
                            "path": "/cart",
                            "pathType": "Prefix",
                            "backend": {"service": {"name": "cart", "port": {"number": 80}}},
                        },
                        {
                            "path": "/exact",
                            "pathType": "Exact",
                            "backend": {"service": {"name": "cart", "port": {"name": "http"}}},
                        },
                        {
                            "pathType": "ImplementationSpecific",
                            "backend": {"service": {"name": "web", "port": {"number": 65535}}},
                        },
                    ]
                },
            },
            {"host": "*.shop.example"},
            {},
        ],
    },
    "status": {"loadBalancer": {}},
}
INGRESS_CLASS: Raw = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "IngressClass",
    "metadata": {"name": "public", "annotations": {"ingressclass.kubernetes.io/is-default-class": "true"}},
    "spec": {"controller": "ingressd.dev/ingress-controller", "parameters": {"kind": "ConfigMap", "name": "x"}},
}
SERVICE: Raw = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "web", "namespace": "shop"},
    "spec": {
        "type": "ClusterIP",
        "clusterIP": "None",
        "selector": {"app": "web"},
        "ports": [
            {"name": "http", "port": 80, "targetPort": "web", "protocol": "TCP"},
            {"name": "dns", "port": 53, "targetPort": 5353, "protocol": "UDP"},
        ],
    },
}
EXTERNAL_NAME: Raw = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "api", "namespace": "shop"},
    "spec": {"type": "ExternalName", "externalName": "api.example.com"},
}
ENDPOINT_SLICE: Raw = {
    "apiVersion": "discovery.k8s.io/v1",
    "kind": "EndpointSlice",
    "metadata": {"name": "web-1", "namespace": "shop", "labels": {"kubernetes.io/service-name": "web"}},
    "addressType": "IPv4",
    "endpoints": [
        {"addresses": ["10.0.0.1"], "conditions": {"ready": True, "serving": True, "terminating": False}, "zone": "a"},
        {"addresses": ["10.0.0.2"]},
    ],
    "ports": [{"name": "http", "port": 8080, "protocol": "TCP", "appProtocol": "http"}],
}
ENDPOINTS: Raw = {
    "apiVersion": "v1",
    "kind": "Endpoints",
    "metadata": {"name": "web", "namespace": "shop"},
    "subsets": [{"addresses": [{"ip": "10.0.0.1"}], "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}]}],
}
SECRET: Raw = {
    "apiVersion": "v1",
    "kind": "Secret",
    "metadata": {"name": "shop-tls", "namespace": "shop"},
    "type": "kubernetes.io/tls",
    "data": {"tls.key": "aHVudGVyMg=="},
    "stringData": {"password": "hunter2"},
}
CONFIG_MAP: Raw = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "settings", "namespace": "shop"},
    "data": {"key": "value"},
}

SAMPLES = [INGRESS, INGRESS_CLASS, SERVICE, EXTERNAL_NAME, ENDPOINT_SLICE, ENDPOINTS, SECRET, CONFIG_MAP]


def edited(sample: Raw, path: str, value: object) -> Raw:
    """A copy with one field set: `spec.rules.0.host`."""
    copy: Any = deepcopy(sample)
    *parents, last = (int(step) if step.isdigit() else step for step in path.split("."))
    container = copy
    for step in parents:
        container = container[step]
    container[last] = value
    result: Raw = copy
    return result


def without(sample: Raw, path: str) -> Raw:
    """A copy without one field."""
    copy: Any = deepcopy(sample)
    *parents, last = (int(step) if step.isdigit() else step for step in path.split("."))
    container = copy
    for step in parents:
        container = container[step]
    del container[last]
    result: Raw = copy
    return result


def only(parsed: Parsed) -> Resource:
    assert not parsed.problems
    [resource] = parsed.resources
    return resource


def refused(raw: Raw) -> Problem:
    """The one Problem of an object that is refused."""
    parsed = parse(raw)
    assert not parsed.resources
    [problem] = parsed.problems
    assert problem.severity is Severity.ERROR
    return problem
