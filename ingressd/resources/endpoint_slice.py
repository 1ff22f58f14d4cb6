"""EndpointSlice, discovery.k8s.io/v1: some of the endpoints of a Service."""

from collections.abc import Iterator
from typing import ClassVar

from ingressd.resources.finding import Finding, invalid, missing
from ingressd.resources.metadata import KubernetesObject, LabelledMetadata, Part
from ingressd.resources.syntax import port_fault

SERVICE_NAME = "kubernetes.io/service-name"
ADDRESS_TYPES = ("IPv4", "IPv6", "FQDN")


class EndpointConditions(Part, frozen=True):
    """EndpointConditions, with what the API says of those left out."""

    ready: bool = True
    serving: bool = True
    terminating: bool = False


class SliceEndpoint(Part, frozen=True):
    """Endpoint. Only the first address counts: the API calls them interchangeable and kube-proxy uses the first."""

    addresses: tuple[str, ...] = ()
    conditions: EndpointConditions = EndpointConditions()


class SlicePort(Part, frozen=True):
    """EndpointPort. Without `port` it stands for all ports."""

    name: str = ""
    port: int | None = None
    protocol: str = "TCP"


class EndpointSlice(KubernetesObject, frozen=True, kw_only=True):
    """EndpointSlice, discovery.k8s.io/v1."""

    KIND: ClassVar[str] = "EndpointSlice"
    metadata: LabelledMetadata = LabelledMetadata()
    address_type: str = ""
    endpoints: tuple[SliceEndpoint, ...] = ()
    ports: tuple[SlicePort, ...] = ()

    @property
    def service(self) -> str:
        """The Service it belongs to, in the same namespace; empty for none."""
        return self.metadata.labels.get(SERVICE_NAME, "")

    def findings(self) -> Iterator[Finding]:
        yield from super().findings()
        if not self.address_type:
            yield missing("addressType", "write IPv4 or IPv6")
        elif self.address_type not in ADDRESS_TYPES:
            yield invalid("addressType", self.address_type, "write IPv4 or IPv6")
        for at, endpoint in enumerate(self.endpoints):
            if not endpoint.addresses:
                yield missing(f"endpoints[{at}].addresses", "write the address of the endpoint")
        for at, port in enumerate(self.ports):
            if port.port is not None and (fault := port_fault(port.port)):
                yield invalid(f"ports[{at}].port", port.port, fault)
