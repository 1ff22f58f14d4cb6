"""A cluster as a source of objects: what all lists and watches find, put together."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Collection, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from time import monotonic
from typing import NamedTuple

from ingressd.aio import spawn
from ingressd.model import ObjectRef, Problem
from ingressd.resources import Resource, parse_json
from ingressd.resources.store import Name
from ingressd.source.base import Changes, WatchFigures
from ingressd.source.cluster.access import Access
from ingressd.source.cluster.api import Api
from ingressd.source.cluster.kinds import INGRESS_CLASS, LISTED, NAMESPACE
from ingressd.source.cluster.listwatch import ListWatch, Timing
from ingressd.source.cluster.named import WATCHED, Named
from ingressd.source.cluster.outage import Outage
from ingressd.source.cluster.wire import Namespace, decode_namespace

SHOWN = 10
"""Objects that missing() names at most."""

_log = logging.getLogger(__name__)
_TIMING = Timing()


class Scope(NamedTuple):
    """Which namespaces are read: `namespace` alone, those whose labels `selector` selects, or all if both are empty."""

    namespace: str = ""
    selector: str = ""


EVERYWHERE = Scope()


class ClusterSource:
    """See Source. Objects are given when every kind has been listed, so that no part of a cluster is taken for all of
    it; problems are given at once."""

    def __init__(
        self, access: Access, scope: Scope = EVERYWHERE, timing: Timing = _TIMING, watched: int = WATCHED
    ) -> None:
        self.scope = scope
        self.api = Api(access)
        self._outage = Outage(_log, monotonic)
        self._news = asyncio.Event()
        self._pending: dict[ObjectRef, Resource | None] = {}
        """What has changed and is not given yet; None for what is gone."""
        self._problems: tuple[Problem, ...] = ()
        self._problems_changed = False
        self._moved: set[str] = set()
        """Namespaces that were selected or dropped; their objects are not in `pending` yet."""
        self._complete = False
        """Whether it was told that missing() is empty."""
        self._kinds = [
            ListWatch[Resource](
                self.api,
                kind,
                partial(parse_json, kind.name),
                partial(self._changed, kind.name),
                self._noted,
                self._outage,
                timing,
                scope.namespace,
            )
            for kind in LISTED
        ]
        self._namespaces = (
            ListWatch[Namespace](
                self.api,
                NAMESPACE,
                decode_namespace,
                self._namespace_changed,
                self._noted,
                self._outage,
                timing,
                selector={"labelSelector": scope.selector},
            )
            if scope.selector
            else None
        )
        self._named = Named(self.api, self._put, self._noted, self._outage, timing, watched)

    def load(self) -> Changes:
        """See Source."""
        return Changes()

    async def watch(self) -> AsyncGenerator[Changes, None]:
        """See Source."""
        tasks = [spawn(watch.run(), f"watch {watch.kind.name}") for watch in self._all()]
        for task in tasks:
            task.add_done_callback(lambda _: self._news.set())
        self._named.start()
        try:
            while True:
                await self._news.wait()
                self._news.clear()
                for task in tasks:
                    if task.done():
                        task.result()
                if self._named.failure is not None:
                    raise self._named.failure
                if (changes := self._collect()) is not None:
                    yield changes
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            await self._named.stop()
            await self.api.close()

    def locate(self, problem: Problem) -> Problem:
        """See Source."""
        return problem

    def need(self, refs: Collection[ObjectRef]) -> None:
        """See Source."""
        self._named.want(frozenset(refs))
        self._complete = self._complete and not self.missing()

    def missing(self) -> Sequence[str]:
        """See Source. Without the right to read IngressClasses, Ingresses still have the name of their class."""
        return [*self._unlisted(), *self._unread()]

    def figures(self) -> Mapping[str, WatchFigures]:
        """See Source."""
        now = monotonic()
        found: dict[str, WatchFigures] = {}
        told = ((watch.kind.name, watch.restarts, watch.heard) for watch in self._all())
        for kind, restarts, heard in (*told, *self._named.figures()):
            age = None if heard is None else now - heard
            former = found.get(kind, WatchFigures(0, None))
            ages = [one for one in (age, former.age) if one is not None]
            found[kind] = WatchFigures(former.restarts + restarts, max(ages, default=None))
        return found

    def _all(self) -> "list[ListWatch[Resource] | ListWatch[Namespace]]":
        return [*self._kinds, *([self._namespaces] if self._namespaces is not None else [])]

    def _unlisted(self) -> Iterator[str]:
        for watch in self._all():
            if not watch.listed and not (watch.kind is INGRESS_CLASS and watch.refused_for_good):
                why = watch.refused.message if watch.refused else watch.error
                yield f"{watch.kind.name} objects are not listed yet{f': {why}' if why else ''}"

    def _unread(self) -> Iterator[str]:
        refs = list(self._named.missing())
        yield from (f"{ref} is not read yet" for ref in islice(refs, SHOWN))
        if len(refs) > SHOWN:
            yield f"{len(refs) - SHOWN} more objects that are referred to are not read yet"

    # --- what comes from lists and watches

    def _changed(self, kind: str, name: Name, resource: Resource | None) -> None:
        self._move()
        if resource is None or self._is_selected(name[0]):
            self._put(ObjectRef(kind, *name), resource)

    def _put(self, ref: ObjectRef, resource: Resource | None) -> None:
        self._pending[ref] = resource
        self._news.set()

    def _noted(self) -> None:
        self._problems_changed = True
        self._news.set()

    def _namespace_changed(self, name: Name, namespace: Namespace | None) -> None:
        self._moved.add(name[1])
        self._noted()

    def _move(self) -> None:
        """Objects of namespaces that are selected from now on have been read already. All are gone through once,
        however many namespaces there are."""
        moved, self._moved = self._moved, set()
        for watch in self._kinds if moved else ():
            for name, resource in watch.objects.items():
                if name[0] in moved:
                    self._put(ObjectRef(watch.kind.name, *name), resource if self._is_selected(name[0]) else None)

    def _is_selected(self, namespace: str) -> bool:
        return not namespace or self._namespaces is None or ("", namespace) in self._namespaces.objects

    # --- what is given

    def _collect(self) -> Changes | None:
        """What has come since the last time, if it is to be given now."""
        self._move()
        former, self._problems = self._problems, self._current_problems()
        complete = not self.missing()
        first, self._complete = complete and not self._complete, complete
        pending: dict[ObjectRef, Resource | None] = {}
        if not any(self._unlisted()):
            pending, self._pending = self._pending, pending
        if not (pending or first or self._problems != former):
            return None
        upserts = tuple(resource for resource in pending.values() if resource is not None)
        removals = tuple(ref for ref, resource in pending.items() if resource is None)
        return Changes(upserts, removals, self._problems)

    def _current_problems(self) -> tuple[Problem, ...]:
        if not self._problems_changed:
            return self._problems
        self._problems_changed = False
        found = (problem for watch in self._all() for problem in watch.problems())
        selected = (problem for problem in found if self._is_selected(problem.object.namespace))
        return tuple(sorted({*selected, *self._named.problems()}))
