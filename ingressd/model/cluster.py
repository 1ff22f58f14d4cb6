"""A cluster: one port of one Service as the proxy sees it, with the endpoints that may be picked."""

from typing import NamedTuple

import msgspec

from ingressd.model.health import HealthCheck


class Endpoint(NamedTuple):
    """An address that accepts connections: an IP literal (v4, or v6 without brackets) and a port."""

    address: str
    port: int

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


class ClusterKey(NamedTuple):
    """Names a cluster. A tuple and not a joined string: `a-b/c` and `a/b-c` must never meet.

    `port` is what the Ingress says (`backend.service.port`), a name or a number in decimal.
    """

    namespace: str
    service: str
    port: str

    def __str__(self) -> str:
        return f"{self.namespace}-{self.service}-{self.port}"


class Cluster(msgspec.Struct, frozen=True, omit_defaults=True):
    """`endpoints` are sorted and distinct. `dns_name`, if set, is resolved by the controller into endpoints at
    `dns_port` (Services of type ExternalName); then translate leaves `endpoints` empty.

    `health`, `terminating` and `unhealthy` belong to the controller or come from it: translate says which check there
    is, and which endpoints get nothing because they terminate; the controller makes the checks, and workers are told
    only which of `endpoints` have failed theirs (sorted). `slow_start` is how many seconds an endpoint that is new or
    back takes to get its full share; 0 for none."""

    key: ClusterKey
    endpoints: tuple[Endpoint, ...] = ()
    dns_name: str = ""
    dns_port: int = 0
    slow_start: float = 0.0
    unhealthy: tuple[Endpoint, ...] = ()
    health: HealthCheck | None = None
    terminating: tuple[Endpoint, ...] = ()
