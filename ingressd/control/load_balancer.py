"""Where clients reach this controller: what belongs into status.loadBalancer of the Ingresses that it serves.

The address of an Ingress is that of the Service in front of the controller, computed as ingress-nginx does.
"""

from collections.abc import Iterable

import msgspec

from ingressd.resources import ServiceType
from ingressd.resources.syntax import is_address


class PortStatus(msgspec.Struct, frozen=True, order=True, omit_defaults=True):
    """IngressPortStatus, and PortStatus of a Service."""

    port: int
    protocol: str
    error: str | None = None


class Address(msgspec.Struct, frozen=True, omit_defaults=True):
    """IngressLoadBalancerIngress, and LoadBalancerIngress of a Service. It has an `ip` or a `hostname`; some load
    balancers give both."""

    ip: str = ""
    hostname: str = ""
    ports: tuple[PortStatus, ...] = ()


class LoadBalancer(msgspec.Struct, frozen=True):
    """IngressLoadBalancerStatus, and LoadBalancerStatus of a Service."""

    ingress: tuple[Address, ...] | None = None


class LoadBalancerStatus(msgspec.Struct, frozen=True, rename="camel"):
    """IngressStatus, and ServiceStatus as far as it is read."""

    load_balancer: LoadBalancer = LoadBalancer()

    @property
    def addresses(self) -> tuple[Address, ...]:
        """In order, so that they can be compared."""
        return in_order(self.load_balancer.ingress or ())


class PublishedSpec(msgspec.Struct, frozen=True):
    """ServiceSpec, as far as it says addresses."""

    type: str = ServiceType.CLUSTER_IP
    cluster_ip: str = msgspec.field(name="clusterIP", default="")
    external_ips: tuple[str, ...] = msgspec.field(name="externalIPs", default=())
    external_name: str = msgspec.field(name="externalName", default="")


class PublishedService(msgspec.Struct, frozen=True):
    """The Service in front of the controller."""

    spec: PublishedSpec = PublishedSpec()
    status: LoadBalancerStatus = LoadBalancerStatus()

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Where it is reached, in order; none while it has no address. A NodePort without externalIPs gives its
        clusterIP, as in ingress-nginx: the addresses of nodes would need the right to read nodes."""
        spec = self.spec
        external = [Address(ip=ip) for ip in spec.external_ips]
        match spec.type:
            case ServiceType.EXTERNAL_NAME:
                return given([spec.external_name.removesuffix(".").lower()])
            case ServiceType.LOAD_BALANCER:
                told = self.status.load_balancer.ingress or ()
                known = {each.ip for each in told}
                return in_order([*told, *(each for each in external if each.ip not in known)])
            case ServiceType.NODE_PORT if external:
                return in_order(external)
        return given([spec.cluster_ip] if spec.cluster_ip != "None" else [])  # that is how a headless one is written


def given(texts: Iterable[str]) -> tuple[Address, ...]:
    """Of IP addresses and host names, in order."""
    return in_order(Address(ip=text) if is_address(text) else Address(hostname=text) for text in texts if text)


def in_order(addresses: Iterable[Address]) -> tuple[Address, ...]:
    """Sorted by host name and IP address, each once: the first that has them."""
    distinct: dict[tuple[str, str], Address] = {}
    for address in addresses:
        if address.ip or address.hostname:
            distinct.setdefault((address.hostname, address.ip), address)
    return tuple(address for _, address in sorted(distinct.items()))


def shown(addresses: Iterable[Address]) -> str:
    """For the log."""
    return ", ".join(address.hostname or address.ip for address in addresses)
