"""resources -> model: the whole way from what a cluster says to what the proxy does."""

from collections.abc import Collection, Iterable, Iterator

import msgspec

from ingressd.model import ObjectRef, Problem, Route, Severity, Snapshot
from ingressd.resources import Ingress, Store
from ingressd.resources.finding import listing, shown
from ingressd.resources.store import Name
from ingressd.translate.annotations import CANARY, annotation_faults, is_canary
from ingressd.translate.backends import Backends
from ingressd.translate.classes import CLASS_ANNOTATION, Classes
from ingressd.translate.hosts import DEFAULT_PATH, Hosts
from ingressd.translate.options import Options


class Translation(msgspec.Struct, frozen=True):
    """All sorted. `problems` are distinct; `passed_over` are the Ingresses of other controllers; `references` are the
    Secrets that our Ingresses name, whether they exist or not."""

    snapshot: Snapshot
    problems: tuple[Problem, ...] = ()
    passed_over: tuple[ObjectRef, ...] = ()
    references: tuple[ObjectRef, ...] = ()


def translate(store: Store, options: Options) -> Translation:
    """The desired state of all objects together. The same objects give an equal result, in whatever order they came.

    Never raises for a bad object: what it asks for and cannot have is a Problem, and the rest goes on.
    """
    return Translator(store, options).translation


class Translator:
    """A translation of a store, and what it takes to bring it up to date when only endpoints have changed."""

    def __init__(
        self, store: Store, options: Options, former: "Translator | None" = None, changed: Collection[Name] = ()
    ) -> None:
        """The result is the same with and without `former`, a translation of the same store from before; but with it
        only the Services that have `changed` since (namespace and name), themselves or in their endpoints, are looked
        at."""
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
        self._backends: Backends = Backends(store, former._backends if former is not None else None, changed)
        references: set[ObjectRef] = set()
        for ingress in ours:
            self._problems += _remarks(ingress)
            if is_canary(ingress.metadata.annotations):
                self._problems.append(_no_canary(ingress.ref))
            else:
                hosts.add(ingress)
                references.update(_references(ingress))
        snapshot = Snapshot(
            virtual_hosts=hosts.virtual_hosts(self._backends, options.policy),
            default=_default(options, self._backends, self._problems),
            clusters=self._backends.clusters,
        )
        self._backends.forget_former()
        self._places = {cluster.key: at for at, cluster in enumerate(snapshot.clusters)}
        self.translation = Translation(
            snapshot, self._all_problems(), tuple(sorted(passed_over)), tuple(sorted(references))
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
        return tuple(sorted({*self._problems, *self._backends.problems()}))


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


def _references(ingress: Ingress) -> Iterator[ObjectRef]:
    """The Secrets it names."""
    for tls in ingress.spec.tls:
        if tls.secret_name:
            yield ObjectRef("Secret", ingress.namespace, tls.secret_name)


def _no_canary(ref: ObjectRef) -> Problem:
    """A canary never serves alone: taken for an ordinary Ingress, it could win all the traffic of the main one."""
    message = "canaries are not supported yet: this Ingress gets no request, the main one gets them all"
    return Problem(ref, "CanaryNotServed", message, f"metadata.annotations[{CANARY}]")


def _remarks(ingress: Ingress) -> Iterator[Problem]:
    """What is said of an Ingress whatever others there are."""
    annotations = ingress.metadata.annotations
    for field, reason, message in annotation_faults(annotations):
        yield Problem(ingress.ref, reason, message, field, Severity.WARNING)
    annotated, named = annotations.get(CLASS_ANNOTATION), ingress.spec.ingress_class_name
    if annotated is not None and named is not None and annotated != named:
        message = f"{shown(annotated)} is not read: spec.ingressClassName is {shown(named)} and goes first"
        field = f"metadata.annotations[{CLASS_ANNOTATION}]"
        yield Problem(ingress.ref, "ClassAnnotationIgnored", message, field, Severity.WARNING)
    if ingress.spec.tls:
        hosts = dict.fromkeys(host for tls in ingress.spec.tls for host in tls.hosts)
        served = listing(list(hosts)) if hosts else "every host of this Ingress"
        message = f"HTTPS is not served yet, only HTTP: {served}"
        yield Problem(ingress.ref, "TLSNotServed", message, "spec.tls", Severity.WARNING)
