"""The JSON documents of the API, in pieces, so that a large snapshot never holds up the controller's loop for long.

Keys are stable: programs read them. Nothing of a private key is in them: an encoder refuses what holds one.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, TypeVar

import msgspec

from ingressd.admin.view import ClusterHealth, EndpointHealth, View, WorkerStatus
from ingressd.model import Certificate, Cluster, ClusterKey, Problem, Route, TlsHost, VirtualHost

PIECE = 100
"""Virtual hosts or clusters encoded in one go: a few milliseconds."""

T = TypeVar("T")

_encode = msgspec.json.Encoder().encode


def snapshot(view: View) -> Iterator[bytes]:
    """What is published, and which generation each worker serves."""
    state = view.snapshot
    head = {
        "generation": view.generation,
        "workers": [_worker(status) for status in view.workers()],
        "default": state.default and _route(state.default),
        "default_certificate": state.default_certificate and str(state.default_certificate),
    }
    # An object is left open after its last member, for the two long arrays to follow.
    yield _encode(head)[:-1]
    yield b',"virtual_hosts":['
    yield from _elements(map(_virtual_host, state.virtual_hosts))
    yield b'],"clusters":['
    yield from _elements(map(_cluster, state.clusters))
    yield b'],"tls_hosts":['
    yield from _elements(map(_tls_host, state.tls_hosts))
    yield b'],"certificates":['
    yield from _elements(map(_certificate, state.certificates))
    yield b"]}"


def endpoints(view: View) -> Iterator[bytes]:
    """The state of every endpoint, by cluster."""
    yield b'{"clusters":['
    yield from _elements(map(_cluster_health, view.endpoints()))
    yield b"]}"


def problems(view: View) -> Iterator[bytes]:
    """What is wrong with which object, and the Ingresses that are left to other controllers."""
    yield b'{"problems":['
    yield from _elements(map(_encodable, view.problems))
    yield b'],"passed_over":['
    yield from _elements(view.passed_over)
    yield b"]}"


def _encodable(problem: Problem) -> Problem:
    """File names are bytes to the system; those that are not UTF-8 come as text that JSON cannot have."""
    if problem.file.isascii():
        return problem
    ref = msgspec.structs.replace(problem.object, name=_text(problem.object.name))
    return msgspec.structs.replace(problem, object=ref, file=_text(problem.file), message=_text(problem.message))


def _text(text: str) -> str:
    return text.encode(errors="backslashreplace").decode()


def _elements(values: Iterable[object]) -> Iterator[bytes]:
    rest = iter(values)
    comma = b""
    while piece := list(islice(rest, PIECE)):
        yield comma + _encode(piece)[1:-1]
        comma = b","


def _worker(status: WorkerStatus) -> dict[str, Any]:
    return {"worker": status.worker, "pid": status.pid or None, "generation": status.generation}


def _virtual_host(host: VirtualHost) -> dict[str, Any]:
    return {
        "host": host.host,
        "routes": [_route(route) for route in host.routes],
        "default": host.default and _route(host.default),
    }


def _route(route: Route) -> dict[str, Any]:
    return {
        "path": route.path.value,
        "path_type": route.path.kind.path_type,
        "cluster": route.cluster and _cluster_key(route.cluster),
        "source": route.source,
        "field": route.field,
        "policy": route.policy,
    }


def _tls_host(host: TlsHost) -> dict[str, Any]:
    return {
        "host": host.host,
        "certificate": host.certificate and str(host.certificate),
        "client_auth": host.client_auth and host.client_auth.mode,
        "passthrough": host.passthrough and _cluster_key(host.passthrough),
    }


def _certificate(certificate: Certificate) -> dict[str, Any]:
    return {
        "name": str(certificate.name),
        "names": certificate.names,
        "not_before": certificate.not_before,
        "not_after": certificate.not_after,
        "serial_number": certificate.serial_number,
        "issuer": certificate.issuer_common_name,
    }


def _cluster_key(key: ClusterKey) -> dict[str, str]:
    return {"namespace": key.namespace, "service": key.service, "port": key.port}


def _cluster_health(cluster: ClusterHealth) -> dict[str, Any]:
    return {
        **_cluster_key(cluster.key),
        "check": cluster.check,
        "slow_start": cluster.slow_start,
        "panicking": cluster.panicking,
        "endpoints": [_endpoint_health(endpoint) for endpoint in cluster.endpoints],
    }


def _endpoint_health(state: EndpointHealth) -> dict[str, Any]:
    return {
        "address": str(state.endpoint),
        "serving": state.serving,
        "terminating": state.terminating,
        "health": state.health,
        "last_failure": state.last_failure or None,
        "ejected": [each._asdict() for each in state.ejected],
    }


def _cluster(cluster: Cluster) -> dict[str, Any]:
    return {
        **_cluster_key(cluster.key),
        "dns_name": cluster.dns_name or None,
        "endpoints": [str(endpoint) for endpoint in cluster.endpoints],
    }
