"""Endpoints, v1: the endpoints of a Service in the form that EndpointSlices replace."""

from collections.abc import Iterator
from typing import ClassVar

from ingressd.resources.finding import Finding, invalid, missing
from ingressd.resources.metadata import KubernetesObject, Metadata, Part
from ingressd.resources.syntax import port_fault


class EndpointsAddress(Part, frozen=True):
    """EndpointAddress."""

    ip: str = ""


class EndpointsPort(Part, frozen=True):
    """EndpointPort of v1."""

    port: int | None = None
    name: str = ""
    protocol: str = "TCP"


class EndpointsSubset(Part, frozen=True):
    """EndpointSubset: ready addresses, each with all of the ports."""

    addresses: tuple[EndpointsAddress, ...] = ()
    ports: tuple[EndpointsPort, ...] = ()


class Endpoints(KubernetesObject, frozen=True, kw_only=True):
    """Endpoints, v1. It has the name of its Service."""

    KIND: ClassVar[str] = "Endpoints"
    metadata: Metadata = Metadata()
    subsets: tuple[EndpointsSubset, ...] = ()

    def findings(self) -> Iterator[Finding]:
        yield from super().findings()
        for at, subset in enumerate(self.subsets):
            for place, address in enumerate(subset.addresses):
                if not address.ip:
                    yield missing(f"subsets[{at}].addresses[{place}].ip", "write the address of the endpoint")
            for place, port in enumerate(subset.ports):
                field = f"subsets[{at}].ports[{place}].port"
                if port.port is None:
                    yield missing(field, "write the number of the port")
                elif fault := port_fault(port.port):
                    yield invalid(field, port.port, fault)
