"""A cluster: one port of one Service as the proxy sees it, with the endpoints that may be picked."""

from typing import NamedTuple

import msgspec


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


class Cluster(msgspec.Struct, frozen=True):
    """`endpoints` are sorted and distinct. `dns_name`, if set, is resolved by the controller into endpoints at
    `dns_port` (Services of type ExternalName); then translate leaves `endpoints` empty."""

    key: ClusterKey
    endpoints: tuple[Endpoint, ...] = ()
    dns_name: str = ""
    dns_port: int = 0
