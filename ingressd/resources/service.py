"""Service, v1."""

import re
from collections import Counter
from collections.abc import Iterator
from enum import StrEnum
from typing import ClassVar

import msgspec

from ingressd.resources.finding import Finding, invalid, missing
from ingressd.resources.metadata import KubernetesObject, Part, ServiceMetadata
from ingressd.resources.syntax import is_address, label_fault, port_fault, subdomain_fault

PROTOCOLS = ("TCP", "UDP", "SCTP")
_DECIMAL = re.compile(r"[0-9]{1,5}")


class ServiceType(StrEnum):
    """ServiceSpec.type. A headless Service is a CLUSTER_IP one without address, which makes no difference to us."""

    CLUSTER_IP = "ClusterIP"
    NODE_PORT = "NodePort"
    LOAD_BALANCER = "LoadBalancer"
    EXTERNAL_NAME = "ExternalName"


class ServicePort(Part, frozen=True):
    """ServicePort. `target_port` is the pods' port, by number or by the name of a container port; None: as `port`.
    `app_protocol` is what is spoken there, as `https`."""

    port: int | None = None
    name: str = ""
    protocol: str = "TCP"
    target_port: int | str | None = None
    app_protocol: str = ""

    def __post_init__(self) -> None:
        if not self.protocol:  # so the API fills it in
            msgspec.structs.force_setattr(self, "protocol", "TCP")

    @property
    def numeric_target(self) -> int | None:
        """The pods' port where the Service alone says it: None if it is the name of a container port."""
        match self.target_port:
            case None | 0 | "":
                return self.port
            case int(number):
                return number
            case text:
                return int(text) if _DECIMAL.fullmatch(text) else None

    def findings(self, field: str) -> Iterator[Finding]:
        if self.port is None:
            yield missing(f"{field}.port", "write the number of the port")
        elif fault := port_fault(self.port):
            yield invalid(f"{field}.port", self.port, fault)
        if self.name and (fault := label_fault(self.name)):
            yield invalid(f"{field}.name", self.name, fault)
        if self.protocol not in PROTOCOLS:
            yield invalid(f"{field}.protocol", self.protocol, "write TCP, UDP or SCTP")
        target = self.numeric_target
        if self.target_port and target is not None and (fault := port_fault(target)):
            yield invalid(f"{field}.targetPort", self.target_port, fault)


class ServiceSpec(Part, frozen=True):
    """ServiceSpec. The selector is not read: EndpointSlices say what it selects."""

    type: str = ServiceType.CLUSTER_IP
    external_name: str = ""
    ports: tuple[ServicePort, ...] = ()

    def findings(self) -> Iterator[Finding]:
        if self.type and self.type not in tuple(ServiceType):  # the API fills in ClusterIP where it is empty
            yield invalid("spec.type", self.type, "write ClusterIP, NodePort, LoadBalancer or ExternalName")
        if self.type == ServiceType.EXTERNAL_NAME:
            yield from self._external_name_findings()
        for at, port in enumerate(self.ports):
            yield from port.findings(f"spec.ports[{at}]")
            if not port.name and len(self.ports) > 1:
                yield missing(f"spec.ports[{at}].name", "of several ports each needs a name")
        for name, count in Counter(port.name for port in self.ports if port.name).items():
            if count > 1:
                yield invalid("spec.ports", name, f"is the name of {count} ports; give each its own")

    def _external_name_findings(self) -> Iterator[Finding]:
        name = self.external_name.removesuffix(".").lower()
        if not name:
            yield missing("spec.externalName", "a Service of type ExternalName needs a DNS name")
        elif subdomain_fault(name) and not is_address(name):
            yield invalid("spec.externalName", self.external_name, "write a DNS name, without scheme, port and path")


class Service(KubernetesObject, frozen=True, kw_only=True):
    """Service, v1."""

    KIND: ClassVar[str] = "Service"
    metadata: ServiceMetadata = ServiceMetadata()
    spec: ServiceSpec = ServiceSpec()

    def findings(self) -> Iterator[Finding]:
        yield from super().findings()
        yield from self.spec.findings()

    @staticmethod
    def _name_fault(name: str) -> str:
        return label_fault(name)
