"""Builders of what a worker is told to serve."""

from typing import Protocol

from ingressd.model import (
    Cluster,
    ClusterKey,
    Endpoint,
    ObjectRef,
    PathKind,
    PathMatch,
    Policy,
    Route,
    Snapshot,
    VirtualHost,
)

HOST = "a.example"
"""The host that `serving` and `request` mean unless told otherwise."""


class HasEndpoint(Protocol):
    """An upstream of the kit."""

    @property
    def endpoint(self) -> Endpoint: ...


def cluster(name: str, *endpoints: Endpoint | HasEndpoint, namespace: str = "default", port: str = "80") -> Cluster:
    """The cluster of Service `name`; upstreams stand for their endpoints."""
    plain = {item if isinstance(item, Endpoint) else item.endpoint for item in endpoints}
    return Cluster(ClusterKey(namespace, name, port), tuple(sorted(plain)))


def route(
    path: str,
    to: Cluster | None,
    kind: PathKind = PathKind.PREFIX,
    policy: Policy | None = None,
    ingress: str = "web",
) -> Route:
    """A route of Ingress default/`ingress`; `to` is None for one that nothing serves."""
    return Route(
        PathMatch(kind, path),
        ObjectRef("Ingress", "default", ingress),
        to.key if to is not None else None,
        policy=policy or Policy(),
    )


def virtual_host(host: str, path: str, to: Cluster | None, policy: Policy | None = None) -> VirtualHost:
    """A virtual host with one route. For several: `VirtualHost(host, (route(...), ...))`, highest precedence first."""
    return VirtualHost(host, (route(path, to, policy=policy),))


def serving(*endpoints: Endpoint | HasEndpoint, host: str = HOST, policy: Policy | None = None) -> Snapshot:
    """The state in which all of `host` goes to Service default/web with these endpoints."""
    web = cluster("web", *endpoints)
    return Snapshot((virtual_host(host, "/", web, policy),), (web,))
