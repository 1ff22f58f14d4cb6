"""Routes and the virtual hosts that hold them."""

from enum import IntEnum

import msgspec

from ingressd.model.cluster import ClusterKey
from ingressd.model.problem import ObjectRef
from ingressd.model.tls import HttpsRedirect, UpstreamTls


class PathKind(IntEnum):
    """How a path is compared (networking.k8s.io/v1 HTTPIngressPath.pathType). The order is the precedence: where both
    match, EXACT wins. ImplementationSpecific is translated to PREFIX."""

    PREFIX = 0
    EXACT = 1

    @property
    def path_type(self) -> str:
        """The same as pathType has it: Prefix or Exact."""
        return self.name.capitalize()


class PathMatch(msgspec.Struct, frozen=True, order=True):
    """`value` begins with `/` and is compared with the normalised path of the request: EXACT as a whole, PREFIX element
    by element, a trailing slash of the rule being ignored. Sorts by precedence: the greater of two that match wins."""

    kind: PathKind
    value: str

    @property
    def precedence(self) -> tuple[int, int, str]:
        """Exact before prefix, then longer before shorter; the text makes the order total."""
        return (self.kind, len(self.value), self.value)


class Policy(msgspec.Struct, frozen=True):
    """How exchanges on a route are carried out. Times in seconds.

    connect: until the upstream connection stands; send: between two writes to the upstream that it accepts;
    read: between two reads from it. tries: upstream connections one request may use up in all.
    https_redirect: where requests that did not come by https are sent instead; None: nowhere.
    upstream_tls: how connections to endpoints are encrypted; None: not at all.
    """

    connect_timeout: float = 5.0
    send_timeout: float = 60.0
    read_timeout: float = 60.0
    tries: int = 3
    https_redirect: HttpsRedirect | None = None
    upstream_tls: UpstreamTls | None = None


class Route(msgspec.Struct, frozen=True):
    """Where requests whose path matches go. `source` is the Ingress it comes from, and `field` the place in it.
    `cluster` is None where the backend is no Service at all (answered 503, never another route)."""

    path: PathMatch
    source: ObjectRef
    cluster: ClusterKey | None
    field: str = ""
    policy: Policy = Policy()


class VirtualHost(msgspec.Struct, frozen=True):
    """All routes of one host. `host` is lower case: a name, `*.` and a name (exactly one label in front), or empty for
    requests whose host is no other virtual host's. `routes` are sorted, highest precedence first.
    `default` serves paths that no route matches; without it they go to the snapshot's default."""

    host: str
    routes: tuple[Route, ...] = ()
    default: Route | None = None
