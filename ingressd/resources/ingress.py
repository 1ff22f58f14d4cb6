"""Ingress, networking.k8s.io/v1, and what the API server checks in it."""

from collections.abc import Iterator
from enum import StrEnum
from typing import ClassVar

from ingressd.resources.finding import Finding, invalid, missing, plain
from ingressd.resources.metadata import AnnotatedMetadata, KubernetesObject, Part
from ingressd.resources.syntax import host_fault, label_fault, port_fault, port_name_fault, subdomain_fault

_FORBIDDEN_IN_PATHS = ("//", "/./", "/../", "%2f", "%2F")
_FORBIDDEN_AT_END = ("/.", "/..")


class PathType(StrEnum):
    """HTTPIngressPath.pathType."""

    EXACT = "Exact"
    PREFIX = "Prefix"
    IMPLEMENTATION_SPECIFIC = "ImplementationSpecific"


class ServiceBackendPort(Part, frozen=True):
    """Exactly one of the two; a number of 0 beside a name counts as left out, as in the API."""

    name: str = ""
    number: int | None = None

    def __str__(self) -> str:
        return self.name or str(self.number or "")

    def findings(self, field: str) -> Iterator[Finding]:
        if self.name and self.number:
            yield invalid(field, f"{self.name}/{self.number}", "write either `name` or `number`, not both")
        elif self.name:
            if fault := port_name_fault(self.name):
                yield invalid(f"{field}.name", self.name, fault)
        elif self.number is None:
            yield missing(field, "write the `number` or the `name` of a port of the Service")
        elif fault := port_fault(self.number):
            yield invalid(f"{field}.number", self.number, fault)


class ServiceBackend(Part, frozen=True):
    """A port of a Service in the namespace of the Ingress."""

    name: str = ""
    port: ServiceBackendPort = ServiceBackendPort()

    def findings(self, field: str) -> Iterator[Finding]:
        if not self.name:
            yield missing(f"{field}.name", "write the name of a Service")
        elif fault := label_fault(self.name):
            yield invalid(f"{field}.name", self.name, fault)
        yield from self.port.findings(f"{field}.port")


class ResourceBackend(Part, frozen=True):
    """TypedLocalObjectReference: an object of any kind in the namespace of the Ingress."""

    api_group: str = ""
    kind: str = ""
    name: str = ""

    def findings(self, field: str) -> Iterator[Finding]:
        if not self.kind:
            yield missing(f"{field}.kind", "write the kind of the object")
        if not self.name:
            yield missing(f"{field}.name", "write the name of the object")


class IngressBackend(Part, frozen=True):
    """Exactly one of the two."""

    service: ServiceBackend | None = None
    resource: ResourceBackend | None = None

    def findings(self, field: str) -> Iterator[Finding]:
        if self.service and self.resource:
            yield Finding(field, "InvalidValue", "has a `service` and a `resource`: write one of them")
        elif self.service:
            yield from self.service.findings(f"{field}.service")
        elif self.resource:
            yield from self.resource.findings(f"{field}.resource")
        else:
            yield missing(field, "write `service` with the `name` and `port` of a Service")


class HTTPIngressPath(Part, frozen=True):
    """One path of a host. `path` may be empty only for ImplementationSpecific."""

    path: str = ""
    path_type: str = ""
    """One of PathType; a text here, so that a wrong one is reported with its field like everything else."""
    backend: IngressBackend = IngressBackend()

    def findings(self, field: str) -> Iterator[Finding]:
        if not self.path_type:
            yield missing(f"{field}.pathType", "write Prefix, Exact or ImplementationSpecific")
        elif self.path_type not in tuple(PathType):
            yield invalid(f"{field}.pathType", self.path_type, "write Prefix, Exact or ImplementationSpecific")
        else:
            yield from self._path_findings(f"{field}.path")
        yield from self.backend.findings(f"{field}.backend")

    def _path_findings(self, field: str) -> Iterator[Finding]:
        strict = self.path_type != PathType.IMPLEMENTATION_SPECIFIC
        if not self.path:
            if strict:
                yield missing(field, f"a path of type {self.path_type} begins with `/`; `/` alone matches every path")
        elif not self.path.startswith("/"):
            yield invalid(field, self.path, f"a path begins with `/`: write {plain('/' + self.path.lstrip('^/'))}")
        elif strict and (found := next((part for part in _FORBIDDEN_IN_PATHS if part in self.path), "")):
            yield invalid(field, self.path, f"a path of type {self.path_type} must not contain {found}")
        elif strict and self.path.endswith(_FORBIDDEN_AT_END):
            yield invalid(field, self.path, f"a path of type {self.path_type} must not end with /. or /..")
        elif any("\ud800" <= character <= "\udfff" or character == "\0" for character in self.path):
            yield invalid(field, self.path, "no request can have this path: it is not valid UTF-8 without NUL")


class HTTPIngressRuleValue(Part, frozen=True):
    """The paths of a host."""

    paths: tuple[HTTPIngressPath, ...] = ()


class IngressRule(Part, frozen=True):
    """The rules of one host; an empty host is every host. Without `http`, all of its traffic goes to defaultBackend."""

    host: str = ""
    http: HTTPIngressRuleValue | None = None

    def findings(self, field: str) -> Iterator[Finding]:
        if self.host and (fault := host_fault(self.host)):
            yield invalid(f"{field}.host", self.host, fault)
        if self.http is not None:
            if not self.http.paths:
                yield missing(f"{field}.http.paths", "write at least one path, or leave `http` out")
            for at, path in enumerate(self.http.paths):
                yield from path.findings(f"{field}.http.paths[{at}]")


class IngressTLS(Part, frozen=True):
    """The Secret with the certificate for some hosts."""

    hosts: tuple[str, ...] = ()
    secret_name: str = ""

    def findings(self, field: str) -> Iterator[Finding]:
        for at, host in enumerate(self.hosts):
            if (fault := host_fault(host)) and subdomain_fault(host):  # an IP address may stand here, unlike in rules
                yield invalid(f"{field}.hosts[{at}]", host, fault)
        if self.secret_name and (fault := subdomain_fault(self.secret_name)):
            yield invalid(f"{field}.secretName", self.secret_name, fault)


class IngressSpec(Part, frozen=True):
    """IngressSpec."""

    ingress_class_name: str | None = None
    default_backend: IngressBackend | None = None
    tls: tuple[IngressTLS, ...] = ()
    rules: tuple[IngressRule, ...] = ()

    def findings(self) -> Iterator[Finding]:
        if self.ingress_class_name is not None and (fault := subdomain_fault(self.ingress_class_name)):
            yield invalid("spec.ingressClassName", self.ingress_class_name, fault)
        if not self.rules and self.default_backend is None:
            yield missing("spec", "write `rules`, `defaultBackend` or both")
        if self.default_backend is not None:
            yield from self.default_backend.findings("spec.defaultBackend")
        for at, tls in enumerate(self.tls):
            yield from tls.findings(f"spec.tls[{at}]")
        for at, rule in enumerate(self.rules):
            yield from rule.findings(f"spec.rules[{at}]")


class Ingress(KubernetesObject, frozen=True, kw_only=True):
    """Ingress, networking.k8s.io/v1."""

    KIND: ClassVar[str] = "Ingress"
    metadata: AnnotatedMetadata = AnnotatedMetadata()
    spec: IngressSpec = IngressSpec()

    def findings(self) -> Iterator[Finding]:
        yield from super().findings()
        yield from self.spec.findings()
