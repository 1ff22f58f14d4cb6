"""Kubernetes objects as ingressd sees them: typed, decoded from raw mappings, and the Store that holds them.

No IO, no clock, no logging. Nothing here knows what an object means for routing: that is `translate`. What belongs
here beside decoding is what the API server checks in a single object: a broken edit never replaces the last good state.
"""

from ingressd.resources.config_map import ConfigMap
from ingressd.resources.endpoint_slice import EndpointSlice, SliceEndpoint, SlicePort
from ingressd.resources.endpoints import Endpoints, EndpointsPort, EndpointsSubset
from ingressd.resources.ingress import (
    HTTPIngressPath,
    Ingress,
    IngressBackend,
    IngressRule,
    IngressTLS,
    PathType,
    ResourceBackend,
    ServiceBackend,
)
from ingressd.resources.ingress_class import IngressClass
from ingressd.resources.parse import Parsed, Resource, parse, parse_json
from ingressd.resources.secret import Secret
from ingressd.resources.service import Service, ServicePort, ServiceType
from ingressd.resources.store import Store

__all__ = [
    "ConfigMap",
    "EndpointSlice",
    "Endpoints",
    "EndpointsPort",
    "EndpointsSubset",
    "HTTPIngressPath",
    "Ingress",
    "IngressBackend",
    "IngressClass",
    "IngressRule",
    "IngressTLS",
    "Parsed",
    "PathType",
    "Resource",
    "ResourceBackend",
    "Secret",
    "Service",
    "ServiceBackend",
    "ServicePort",
    "ServiceType",
    "SliceEndpoint",
    "SlicePort",
    "Store",
    "parse",
    "parse_json",
]
