"""resources -> model: the whole way from what a cluster says to what the proxy does."""

from collections.abc import Collection, Iterable, Iterator

import msgspec

from ingressd.model import ClusterKey, ObjectRef, Problem, Route, Severity, Snapshot, VirtualHost
from ingressd.resources import Ingress, Store
from ingressd.resources.finding import shown
from ingressd.resources.store import Name
from ingressd.translate.annotation_keys import field_of
from ingressd.translate.annotations import CANARY, annotation_faults, is_canary
from ingressd.translate.backends import Backends
from ingressd.translate.classes import CLASS_ANNOTATION, Classes
from ingressd.translate.health import Checks
from ingressd.translate.hosts import DEFAULT_PATH, Hosts
from ingressd.translate.keyring import Keyring
from ingressd.translate.options import Options
from ingressd.translate.policies import Policies
from ingressd.translate.tls_annotations import annotation_field, tls_annotations
from ingressd.translate.tls_hosts import Resolved, TlsHosts


class Translation(msgspec.Struct, frozen=True):
    """All sorted. `problems` are distinct; `passed_over` are the Ingresses of other controllers; `references` are the
    Secrets that our Ingresses and the flags name, whether they exist or not; `due` is when a new translation would give
    something else though no object has changed, in seconds since 1970: the time of a certificate begins or ends."""

    snapshot: Snapshot
    problems: tuple[Problem, ...] = ()
    passed_over: tuple[ObjectRef, ...] = ()
    references: tuple[ObjectRef, ...] = ()
    due: int | None = None


def translate(store: Store, options: Options, now: int | None = None) -> Translation:
    """The desired state of all objects together. The same objects give an equal result, in whatever order they came.
    `now` is in seconds since 1970; without it no certificate is too old or too young.

    Never raises for a bad object: what it asks for and cannot have is a Problem, and the rest goes on.
    """
    return Translator(store, options, Keyring(), now).translation


class Translator:
    """A translation of a store, with what it takes to bring it up to date when only endpoints or Secrets change."""

    def __init__(
        self,
        store: Store,
        options: Options,
        keyring: Keyring,
        now: int | None,
        former: "Translator | None" = None,
        changed: Collection[Name] = (),
    ) -> None:
        """The result is the same with and without `former`, a translation of the same store from before; but with it
        only the Services that have `changed` since (namespace and name), themselves or in their endpoints, are looked
        at. The `keyring` has the certificates that are in use; `now` is as translate() has it."""
        classes = Classes(store.ingress_classes, options)
        ours: list[Ingress] = []
        passed_over: list[ObjectRef] = []
        for ingress in store.ingresses:
            if classes.has(ingress):
                ours.append(ingress)
            else:
                passed_over.append(ingress.ref)
        ours.sort(key=lambda ingress: ingress.metadata.age)
        self._problems: list[Problem] = []
        """All but those of backends, which endpoints may change."""
        hosts = Hosts(self._problems)
        self._store = store
        self._keyring = keyring
        checks = Checks(store, options.health_check)
        former_backends = former._backends if former is not None else None
        self._backends: Backends = Backends(store, checks, former_backends, changed)
        self._tls_hosts = TlsHosts(options, self._problems)
        policies = Policies(options, self._tls_hosts, self._backends, self._problems)
        passing: dict[ObjectRef, bool] = {}
        """The Ingresses whose TLS is to be passed through."""
        for ingress in ours:
            self._problems += _remarks(ingress)
            if is_canary(ingress.metadata.annotations):
                self._problems.append(_no_canary(ingress.ref))
                continue
            said = tls_annotations(ingress.metadata.annotations, ingress.namespace)
            for fault in said.faults:
                self._problems.append(Problem(ingress.ref, fault.reason, fault.message, fault.field, fault.severity))
            if said.passthrough:
                passing[ingress.ref] = False
            hosts.add(ingress)
            checks.add(ingress)
            policies.add(ingress, said)
            self._tls_hosts.add(ingress, said)
        self._tls_hosts.set_names(hosts.names)
        virtual_hosts = hosts.virtual_hosts(self._backends, policies)
        default = _default(options, self._backends, self._problems)
        self._backends.forget_former()
        self._tls_hosts.passthrough = self._passthrough(options, virtual_hosts, passing)
        references = tuple(sorted(set(self._tls_hosts.references())))
        self._secrets = frozenset((ref.namespace, ref.name) for ref in references)
        clusters = self._backends.clusters
        self._problems += checks.problems
        self._places = {cluster.key: at for at, cluster in enumerate(clusters)}
        self._resolved = Resolved()
        self.translation = Translation(
            Snapshot(virtual_hosts, clusters, default), passed_over=tuple(sorted(passed_over)), references=references
        )
        self.update_secrets(now)

    def names_any(self, secrets: Collection[Name]) -> bool:
        """Whether any of these Secrets is one of `references`."""
        return not self._secrets.isdisjoint(secrets)

    def update_secrets(self, now: int | None) -> None:
        """Brings the translation up to date with Secrets and with the time, which is as translate() has it. The result
        is that of a new translation, as long as nothing else has changed in the store."""
        self._resolved = found = self._tls_hosts.resolve(self._store, self._keyring, now)
        snapshot = msgspec.structs.replace(
            self.translation.snapshot,
            certificates=found.certificates,
            trust_bundles=found.trust_bundles,
            tls_hosts=found.tls_hosts,
            default_certificate=found.default_certificate,
        )
        self.translation = msgspec.structs.replace(
            self.translation, snapshot=snapshot, problems=self._all_problems(), due=found.due
        )

    def update_endpoints(self, services: Iterable[Name]) -> None:
        """Brings the translation up to date with EndpointSlices and Endpoints of these Services (namespace and name).
        The result is that of a new translation, as long as nothing else has changed in the store."""
        refreshed = self._backends.refresh(services)
        if refreshed.clusters:
            clusters = list(self.translation.snapshot.clusters)
            for cluster in refreshed.clusters:
                clusters[self._places[cluster.key]] = cluster
            snapshot = msgspec.structs.replace(self.translation.snapshot, clusters=tuple(clusters))
            self.translation = msgspec.structs.replace(self.translation, snapshot=snapshot)
        if refreshed.other_problems:
            self.translation = msgspec.structs.replace(self.translation, problems=self._all_problems())

    def _all_problems(self) -> tuple[Problem, ...]:
        return tuple(sorted({*self._problems, *self._backends.problems(), *self._resolved.problems}))

    def _passthrough(
        self, options: Options, virtual_hosts: Iterable[VirtualHost], passing: dict[ObjectRef, bool]
    ) -> dict[str, ClusterKey]:
        """The hosts whose path `/` belongs to an Ingress that asks for it, and where that leads."""
        found: dict[str, ClusterKey] = {}
        for host in virtual_hosts if passing else ():
            routes = [route for route in host.routes if route.path.value == "/"]
            route = next(iter(routes), host.default)
            if host.host and route is not None and route.source in passing and route.cluster is not None:
                passing[route.source] = True
                if options.ssl_passthrough:
                    found[host.host] = route.cluster
        for ref, used in passing.items():
            if not options.ssl_passthrough:
                message = "ssl-passthrough needs the flag --enable-ssl-passthrough: TLS ends here"
            elif not used:
                message = "ssl-passthrough needs a rule with a host whose path / belongs to this Ingress: TLS ends here"
            else:
                continue
            field = annotation_field("ssl-passthrough")
            self._problems.append(Problem(ref, "PassthroughNotServed", message, field))
        return found


def _default(options: Options, backends: Backends, problems: list[Problem]) -> Route | None:
    """The controller's default backend."""
    wanted = options.default_backend_service
    if not wanted:
        return None
    namespace, slash, name = wanted.partition("/")
    source = ObjectRef("Service", namespace, name)
    if not (namespace and slash and name):
        source = ObjectRef("Service", "", wanted)
        message = f"--default-backend-service is {shown(wanted)}: write namespace/name"
        problems.append(Problem(source, "InvalidValue", message))
        return Route(DEFAULT_PATH, source, None, policy=options.policy)
    return Route(DEFAULT_PATH, source, backends.resolve_first_port(source), policy=options.policy)


def _no_canary(ref: ObjectRef) -> Problem:
    """A canary never serves alone: taken for an ordinary Ingress, it could win all the traffic of the main one."""
    message = "canaries are not supported yet: this Ingress gets no request, the main one gets them all"
    return Problem(ref, "CanaryNotServed", message, field_of(CANARY))


def _remarks(ingress: Ingress) -> Iterator[Problem]:
    """What is said of an Ingress whatever others there are."""
    annotations = ingress.metadata.annotations
    for field, reason, message in annotation_faults(annotations):
        yield Problem(ingress.ref, reason, message, field, Severity.WARNING)
    annotated, named = annotations.get(CLASS_ANNOTATION), ingress.spec.ingress_class_name
    if annotated is not None and named is not None and annotated != named:
        message = f"{shown(annotated)} is not read: spec.ingressClassName is {shown(named)} and goes first"
        yield Problem(ingress.ref, "ClassAnnotationIgnored", message, field_of(CLASS_ANNOTATION), Severity.WARNING)
