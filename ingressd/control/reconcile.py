"""The core of the controller, without IO: changes of objects go in, what to publish comes out.

It holds the objects, what they translate to, and what was published last. Everything is called from the one loop of the
controller.
"""

import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property

import msgspec

from ingressd.control.dns import Addresses, with_addresses
from ingressd.model import Cluster, ObjectRef, Problem, Severity, Snapshot, Update, diff
from ingressd.resources import Store
from ingressd.source.base import Changes
from ingressd.translate import Options, Translation, translate

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
        return zlib.crc32(msgspec.msgpack.encode(self.snapshot))

    def ingresses(self) -> set[tuple[str, str]]:
        """Namespace and name of every Ingress that has a route."""
        routes = (route for host in self.snapshot.virtual_hosts for route in (*host.routes, host.default) if route)
        return {(route.source.namespace, route.source.name) for route in routes if route.source.kind == "Ingress"}


class Reconciler:
    """Keeps what the objects say and what was published of it."""

    def __init__(self, options: Options, locate: Locate) -> None:
        self._options = options
        self._locate = locate
        self._store = Store()
        self._source_problems: tuple[Problem, ...] = ()
        self._translation = Translation(Snapshot())
        self._translation_problems: tuple[Problem, ...] = ()
        self.problems: tuple[Problem, ...] = ()
        """All there are now, of the source, of translate and of DNS, with their places; sorted."""
        self.published = Published(0, Snapshot())

    @property
    def passed_over(self) -> tuple[ObjectRef, ...]:
        """The Ingresses of other controllers."""
        return self._translation.passed_over

    def objects(self) -> Mapping[str, int]:
        """How many objects there are, by kind."""
        return Counter(resource.KIND for resource in self._store)

    def dns_names(self) -> frozenset[str]:
        """The names that have to be resolved for clusters."""
        return frozenset(cluster.dns_name for cluster in self._dns_clusters())

    def take(self, changes: Changes) -> bool:
        """Puts the changes into the store. False if nothing that we read has changed."""
        upserted = [self._store.upsert(resource) for resource in changes.upserts]
        removed = [self._store.remove(ref) for ref in changes.removals]
        other_problems = changes.problems != self._source_problems
        self._source_problems = changes.problems
        return any(upserted) or any(removed) or other_problems

    def rebuild(self) -> None:
        """Works out anew what the objects mean."""
        self._translation = translate(self._store, self._options)
        self._translation_problems = tuple(map(self._locate, self._translation.problems))

    def publish(self, addresses: Addresses, dns_errors: Mapping[str, str]) -> Update | None:
        """What leads from the snapshot published before to the one that is wanted now, which then counts as published.
        None if that is the same; the first is published even if it is empty, for workers wait for it.

        `addresses` are those of dns_names(); `dns_errors` says by name what their look-ups met.
        """
        dns_problems = map(self._locate, self._dns_problems(dns_errors))
        self.problems = tuple(sorted({*self._source_problems, *self._translation_problems, *dns_problems}))
        snapshot = with_addresses(self._translation.snapshot, addresses)
        generation = self.published.generation + 1
        update = diff(self.published.snapshot, snapshot, generation)
        if update is None and generation > 1:
            return None
        self.published = Published(generation, snapshot)
        return update or self.published.whole()

    def _dns_clusters(self) -> Iterator[Cluster]:
        return (cluster for cluster in self._translation.snapshot.clusters if cluster.dns_name)

    def _dns_problems(self, errors: Mapping[str, str]) -> Iterator[Problem]:
        """Addresses found earlier stay in use, so a failure is only a warning."""
        for cluster in self._dns_clusters():
            if error := errors.get(cluster.dns_name):
                yield Problem(
                    ObjectRef("Service", cluster.key.namespace, cluster.key.service),
                    "NameNotResolved",
                    f"{cluster.dns_name}: {error}",
                    "spec.externalName",
                    Severity.WARNING,
                )
