"""The core of the controller, without IO: changes of objects go in, what to publish comes out.

It holds the objects, what they translate to, and what was published last. Everything is called from the one loop of the
controller.
"""

import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property

import msgspec

from ingressd.control.dns import Addresses, with_addresses
from ingressd.model import (
    SELF_SIGNED,
    Cluster,
    ClusterKey,
    Endpoint,
    ObjectRef,
    Problem,
    Severity,
    Snapshot,
    Update,
    diff,
)
from ingressd.model.tls import reveal
from ingressd.resources import Endpoints, EndpointSlice, Ingress, Resource, Secret, Service, Store
from ingressd.source.base import Changes
from ingressd.translate import Keyring, Options, Translation, Translator

Locate = Callable[[Problem], Problem]
"""Adds the file and line of a problem, as far as the source knows them."""


class Published:
    """A snapshot that was published, with its generation (from 1; 0 is the empty one before the first)."""

    def __init__(self, generation: int, snapshot: Snapshot) -> None:
        self.generation = generation
        self.snapshot = snapshot

    def whole(self) -> Update:
        """The update that gives a worker all of it."""
        return Update.of(self.snapshot, self.generation)

    @cached_property
    def checksum(self) -> int:
        """Of the snapshot's content: equal snapshots have equal ones, in every controller. 32 bits."""
        certificates = tuple(one for one in self.snapshot.certificates if one.name != SELF_SIGNED)
        snapshot = msgspec.structs.replace(self.snapshot, certificates=certificates)
        return zlib.crc32(msgspec.msgpack.encode(snapshot, enc_hook=reveal))

    def ingresses(self) -> set[tuple[str, str]]:
        """Namespace and name of every Ingress that has a route."""
        routes = (route for host in self.snapshot.virtual_hosts for route in (*host.routes, host.default) if route)
        return {(route.source.namespace, route.source.name) for route in routes if route.source.kind == "Ingress"}


class Reconciler:
    """Keeps what the objects say and what was published of it."""

    def __init__(self, options: Options, locate: Locate, clock: Callable[[], float] = time.time) -> None:
        """`clock` gives seconds since 1970."""
        self._options = options
        self._clock = clock
        self._keyring = Keyring()
        self._locate = locate
        self._store = Store()
        self._source_problems: tuple[Problem, ...] = ()
        self._translator: Translator | None = None
        """Of the last translation; None if there is none that could be used."""
        self._services: set[tuple[str, str]] = set()
        """Those that have changed since, themselves or in their endpoints: namespace and name."""
        self._secrets: set[tuple[str, str]] = set()
        """The same of Secrets."""
        self._only_small = True
        """Whether nothing else but endpoints and Secrets has changed since."""
        self._translation = Translation(Snapshot())
        self.ours: Mapping[ObjectRef, Ingress] = {}
        """The Ingresses that are ours. The same mapping as long as nothing has been translated anew."""
        self._dns_clusters: tuple[Cluster, ...] = ()
        self._found: tuple[Problem, ...] = ()
        """What `problems` was made of."""
        self.problems: tuple[Problem, ...] = ()
        """All there are now, with their places; sorted. The same tuple as long as nothing has changed."""
        self.published = Published(0, Snapshot())

    @property
    def passed_over(self) -> tuple[ObjectRef, ...]:
        """The Ingresses of other controllers."""
        return self._translation.passed_over

    def objects(self) -> Mapping[str, int]:
        """How many objects there are, by kind."""
        return Counter(resource.KIND for resource in self._store)

    @property
    def references(self) -> tuple[ObjectRef, ...]:
        """The objects that have to be read by name, sorted."""
        return self._translation.references

    @property
    def due(self) -> int | None:
        """When rebuild() has something to do though nothing has changed, in seconds since 1970."""
        return self._translation.due

    def dns_names(self) -> frozenset[str]:
        """The names that have to be resolved for clusters."""
        return frozenset(cluster.dns_name for cluster in self._dns_clusters)

    def take(self, changes: Changes) -> bool:
        """Puts the changes into the store. False if nothing that we read has changed."""
        changed = changes.problems != self._source_problems
        self._source_problems = changes.problems
        for resource in changes.upserts:
            former = self._store.get(resource.ref) if isinstance(resource, EndpointSlice) else None
            if self._store.upsert(resource):
                changed = True
                self._note_change(former, resource)
        for ref in changes.removals:
            former = self._store.get(ref)
            if self._store.remove(ref):
                changed = True
                self._note_change(former)
        return changed

    def _note_change(self, *selves: Resource | None) -> None:
        """Something has changed: what it was, what it is. Endpoints and Secrets alone are no reason to translate all
        anew."""
        for one in selves:
            if isinstance(one, EndpointSlice):
                self._services.add((one.namespace, one.service))
            elif isinstance(one, Endpoints | Service):
                self._services.add((one.namespace, one.name))
            elif isinstance(one, Secret):
                self._secrets.add((one.namespace, one.name))
            self._only_small &= one is None or isinstance(one, EndpointSlice | Endpoints | Secret)

    def rebuild(self) -> None:
        """Works out what the objects mean now."""
        translator, self._translator = self._translator, None  # if this fails, all is translated the next time
        services, self._services = self._services, set()
        secrets, self._secrets = self._secrets, set()
        only_small, self._only_small = self._only_small, True
        now = int(self._clock())
        if translator is None or not only_small:
            translator = Translator(self._store, self._options, self._keyring, now, translator, services)
            clusters = translator.translation.snapshot.clusters
            self._dns_clusters = tuple(cluster for cluster in clusters if cluster.dns_name)
            passed_over = set(translator.translation.passed_over)
            self.ours = {one.ref: one for one in self._store.ingresses if one.ref not in passed_over}
        else:
            if services:
                translator.update_endpoints(services)
            due = translator.translation.due
            if translator.names_any(secrets) or (due is not None and due <= now):
                translator.update_secrets(now)
        self._translator = translator
        self._translation = translator.translation

    def publish(
        self,
        addresses: Addresses,
        dns_errors: Mapping[str, str],
        checked: Callable[[Snapshot], Snapshot] = lambda snapshot: snapshot,
    ) -> Update | None:
        """What leads from the snapshot published before to the one that is wanted now, which then counts as published.
        None if that is the same; the first is published even if it is empty, for workers wait for it.

        `addresses` are those of dns_names(); `dns_errors` says by name what their look-ups met. `checked` adds what
        health checks have found.
        """
        self.note_problems(dns_errors)
        snapshot = self._translation.snapshot
        if self._dns_clusters:
            snapshot = with_addresses(snapshot, addresses, self._meanwhile(addresses, dns_errors))
        snapshot = checked(snapshot)
        generation = self.published.generation + 1
        update = diff(self.published.snapshot, snapshot, generation)
        if update is None and generation > 1:
            return None
        self.published = Published(generation, snapshot)
        return update or self.published.whole()

    def _meanwhile(
        self, addresses: Addresses, dns_errors: Mapping[str, str]
    ) -> Mapping[ClusterKey, tuple[Endpoint, ...]]:
        """The endpoints published before of clusters whose name is another one now, until its first look-up has
        ended: nobody is better served by 503."""
        asked = {
            cluster.key
            for cluster in self._dns_clusters
            if cluster.dns_name not in dns_errors and not addresses(cluster.dns_name)
        }
        if not asked:
            return {}
        return {cluster.key: cluster.endpoints for cluster in self.published.snapshot.clusters if cluster.key in asked}

    def note_problems(self, dns_errors: Mapping[str, str]) -> None:
        """Brings `problems` up to date."""
        located = map(self._locate, (*self._translation.problems, *self._dns_problems(dns_errors)))
        found = (*self._source_problems, *located)
        if found != self._found:
            self._found = found
            self.problems = tuple(sorted(set(found)))

    def _dns_problems(self, errors: Mapping[str, str]) -> Iterator[Problem]:
        """Addresses found earlier stay in use, so a failure is only a warning."""
        for cluster in self._dns_clusters:
            if error := errors.get(cluster.dns_name):
                yield Problem(
                    ObjectRef("Service", cluster.key.namespace, cluster.key.service),
                    "NameNotResolved",
                    f"{cluster.dns_name}: {error}",
                    "spec.externalName",
                    Severity.WARNING,
                )
