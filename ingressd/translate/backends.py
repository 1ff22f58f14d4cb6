"""Backends of Ingresses -> clusters. What a backend lacks is a Problem of the Ingress; its route stays all the same."""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

import msgspec

from ingressd.model import Cluster, ClusterKey, Endpoint, ObjectRef, Problem, Severity
from ingressd.resources import IngressBackend, Service, ServicePort, ServiceType, Store
from ingressd.resources.finding import listing, shown
from ingressd.resources.ingress import ServiceBackendPort
from ingressd.resources.store import Name
from ingressd.resources.syntax import port_fault
from ingressd.translate.addresses import canonical, is_loopback
from ingressd.translate.endpoints import find_endpoints
from ingressd.translate.health import Checks

SERVICE_NOT_FOUND = "ServiceNotFound"
PORT_NOT_FOUND = "PortNotFound"
NO_ENDPOINTS = "NoEndpoints"

HTTPS = frozenset(("https", "kubernetes.io/wss"))
"""Values of a Service port's appProtocol that mean TLS (v1 ServicePort)."""


class Fault(NamedTuple):
    """Why a backend cannot serve; `field` is the place below the backend."""

    reason: str
    message: str
    field: str
    severity: Severity = Severity.ERROR


class Outcome(NamedTuple):
    """What became of a backend. A cluster without endpoints answers 503. `problems` are those of EndpointSlices.
    `https`: its Service port says that its endpoints speak TLS."""

    cluster: Cluster
    fault: Fault | None = None
    problems: tuple[Problem, ...] = ()
    https: bool = False


class Refreshed(NamedTuple):
    """What a look at endpoints has changed: clusters as they are now, and whether problems() differs."""

    clusters: list[Cluster]
    other_problems: bool


class Backends:
    """Resolves the backends of one translation, each Service port once, and again when its endpoints have changed."""

    def __init__(
        self, store: Store, checks: Checks, former: "Backends | None" = None, changed: Collection[Name] = ()
    ) -> None:
        """What `former` found is taken over, but for Services (namespace and name) that have changed since, themselves
        or in their endpoints."""
        self._store = store
        self._checks = checks
        self._former = former._outcomes if former is not None else {}
        self._changed = changed
        self._outcomes: dict[ClusterKey, Outcome] = {}
        self._ports: dict[ClusterKey, ServiceBackendPort] = {}
        self._keys: defaultdict[Name, list[ClusterKey]] = defaultdict(list)
        """By namespace and name of the Service."""
        self._users: defaultdict[ClusterKey, dict[ObjectRef, str]] = defaultdict(dict)
        """The objects that use a Service port, each with the first place in it that does."""
        self._secure: set[ClusterKey] = set()
        """Those that requests go to over TLS."""
        self._unusable: list[Problem] = []
        """Of backends that no change of endpoints can make better."""

    @property
    def clusters(self) -> tuple[Cluster, ...]:
        """All that were resolved, sorted by key."""
        found = (self._checked(outcome.cluster) for outcome in self._outcomes.values())
        return tuple(sorted(found, key=lambda cluster: cluster.key))

    def resolve(self, source: ObjectRef, backend: IngressBackend, field: str) -> ClusterKey | None:
        """The cluster behind a backend, None if nothing can ever serve it. `field` is the backend's place in `source`;
        Problems name it, once for each Service port that an object uses."""
        service = backend.service
        if service is None:
            message = "a resource backend is not supported: write `service` with the `name` and `port` of a Service"
            self._unusable.append(Problem(source, "ResourceBackend", message, f"{field}.resource"))
            return None
        key = ClusterKey(source.namespace, service.name, str(service.port))
        return self._use(key, service.port, source, field)

    def resolve_first_port(self, source: ObjectRef) -> ClusterKey | None:
        """The cluster of the first port of a Service that the controller's flags name."""
        service = self._store.service(source.namespace, source.name)
        if service is None:
            message = f"--default-backend-service names {source.namespace}/{source.name}, which does not exist"
            self._unusable.append(Problem(source, SERVICE_NOT_FOUND, message))
            return None
        if not service.spec.ports:
            message = "--default-backend-service needs a Service with a port: add one to spec.ports"
            self._unusable.append(Problem(source, PORT_NOT_FOUND, message, "spec.ports"))
            return None
        port = ServiceBackendPort(number=service.spec.ports[0].port)
        return self._use(ClusterKey(source.namespace, source.name, str(port)), port, source, "")

    def speaks_https(self, key: ClusterKey) -> bool:
        """Whether the appProtocol of a Service port that was resolved says so."""
        return self._outcomes[key].https

    def reached_over_tls(self, key: ClusterKey) -> None:
        """Requests go to a cluster that was resolved over TLS, by some route at least."""
        self._secure.add(key)

    def name_of(self, key: ClusterKey) -> str:
        """The DNS name of the Service behind a cluster that was resolved."""
        return self._outcomes[key].cluster.dns_name or f"{key.service}.{key.namespace}.svc"

    def forget_former(self) -> None:
        """All backends are resolved: what was found before is of no use any more."""
        self._former = {}

    def problems(self) -> Iterator[Problem]:
        """Of all backends that were resolved."""
        yield from self._unusable
        for key, outcome in self._outcomes.items():
            yield from outcome.problems
            if outcome.fault is not None:
                for source, field in self._users[key].items():
                    yield _problem(source, field, outcome.fault)

    def refresh(self, services: Iterable[Name]) -> Refreshed:
        """Looks again for the endpoints of these Services (namespace and name). Nothing else may have changed in the
        store."""
        clusters: list[Cluster] = []
        other_problems = False
        for key in [key for service in services for key in self._keys.get(service, ())]:
            former = self._outcomes[key]
            outcome = self._outcomes[key] = self._outcome(key, self._ports[key])
            if outcome.cluster != former.cluster:
                clusters.append(self._checked(outcome.cluster))
            other_problems |= (outcome.fault, outcome.problems) != (former.fault, former.problems)
        return Refreshed(clusters, other_problems)

    def _checked(self, cluster: Cluster) -> Cluster:
        """The cluster with its health check and slow start, which are not the Service's alone to say."""
        check, slow_start = self._checks.of(cluster.key, cluster.key in self._secure)
        if check is None and not slow_start:
            return cluster
        return msgspec.structs.replace(cluster, health=check, slow_start=slow_start)

    def _use(self, key: ClusterKey, port: ServiceBackendPort, source: ObjectRef, field: str) -> ClusterKey:
        if key not in self._outcomes:
            known = self._former.get(key) if (key.namespace, key.service) not in self._changed else None
            self._outcomes[key] = known or self._outcome(key, port)
            self._ports[key] = port
            self._keys[key.namespace, key.service].append(key)
        self._users[key].setdefault(source, field)
        return key

    def _outcome(self, key: ClusterKey, wanted: ServiceBackendPort) -> Outcome:
        service = self._store.service(key.namespace, key.service)
        if service is None:
            message = f"there is no Service {shown(key.service)} in namespace {shown(key.namespace)}"
            return Outcome(Cluster(key), Fault(SERVICE_NOT_FOUND, message, "service.name"))
        external = service.spec.type == ServiceType.EXTERNAL_NAME
        port = _find_port(service, wanted)
        if port is None and external and not service.spec.ports and wanted.number is not None:
            port = ServicePort(port=wanted.number)
        if port is None:
            return Outcome(Cluster(key), _port_not_found(service, wanted))
        if port.protocol != "TCP":
            message = f"port {key.port} of Service {key.service} is {port.protocol}: HTTP needs a TCP port"
            return Outcome(Cluster(key), Fault("ProtocolNotTCP", message, "service.port"))
        https = port.app_protocol in HTTPS
        if external:
            return _external(key, service, port)._replace(https=https)
        found = find_endpoints(self._store, service, port)
        cluster = Cluster(key, found.endpoints, terminating=found.terminating)
        if found.endpoints:
            return Outcome(cluster, None, found.problems, https)
        message = f"Service {key.service} {found.why}: requests are answered with 503"
        fault = Fault(NO_ENDPOINTS, message, "service.name", Severity.WARNING)
        return Outcome(cluster, fault, found.problems, https)


def _problem(source: ObjectRef, field: str, fault: Fault) -> Problem:
    """`field` is empty for the backend that flags name: it has no place in an object."""
    place = ".".join(filter(None, (field, fault.field))) if field else ""
    return Problem(source, fault.reason, fault.message, place, fault.severity)


def _find_port(service: Service, wanted: ServiceBackendPort) -> ServicePort | None:
    """The TCP port if several protocols share a number, as with DNS."""
    found: ServicePort | None = None
    for port in service.spec.ports:
        if (port.name == wanted.name) if wanted.name else (port.port == wanted.number):
            if port.protocol == "TCP":
                return port
            found = found or port
    return found


def _port_not_found(service: Service, wanted: ServiceBackendPort) -> Fault:
    ports = [f"{port.port} ({port.name})" if port.name else str(port.port) for port in service.spec.ports]
    message = f"Service {service.name} has no port {shown(wanted.name) if wanted.name else wanted.number}"
    field = "service.port.name" if wanted.name else "service.port.number"
    return Fault(PORT_NOT_FOUND, f"{message}: it has {listing(ports)}", field)


def _external(key: ClusterKey, service: Service, port: ServicePort) -> Outcome:
    """A Service of type ExternalName. Its port is the targetPort, as in ingress-nginx; it is `port` if left out."""
    name = service.spec.external_name.removesuffix(".").lower()
    number = port.numeric_target
    if number is None or port_fault(number):
        message = f"Service {key.service} is an ExternalName and has no pods: its targetPort must be a number"
        return Outcome(Cluster(key), Fault(PORT_NOT_FOUND, message, "service.port"))
    if is_loopback(name):
        message = f"Service {key.service} has the externalName {shown(name)}: it must not name this host itself"
        return Outcome(Cluster(key), Fault("ExternalNameRefused", message, "service.name"))
    if address := canonical(name):
        return Outcome(Cluster(key, (Endpoint(address, number),)))
    if ":" in name or re.fullmatch(r"[0-9.]+", name):
        message = f"Service {key.service} has the externalName {shown(name)}: no endpoint can have this address"
        return Outcome(Cluster(key), Fault("ExternalNameRefused", message, "service.name"))
    return Outcome(Cluster(key, dns_name=name, dns_port=number))
