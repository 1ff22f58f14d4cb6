"""Secrets and ConfigMaps, one by one: only those that something refers to, each by its name.

A role may then name them (resourceNames), and no list holds anything else. What that costs is a connection for each
watch, so it is bounded: WATCHED of them are watched, in the order in which they were first referred to, and change at
once. The others are read every `Timing.poll` seconds; those that are missing sooner, after 0.5, 1, 2 ... seconds,
because somebody is about to make them. Of more than a few hundred each is read more seldom, so that all of them make
`Timing.reads` requests a second, and CONCURRENT are made at a time. Where only `get` is granted, and not `list` and
`watch`, all are read in this way; whether they may be watched by now is tried again ever less often.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from functools import partial
from math import inf
from random import uniform
from time import monotonic

import msgspec

from ingressd.aio import spawn
from ingressd.model import ObjectRef, Problem
from ingressd.resources import Resource, parse_json
from ingressd.resources.store import Name
from ingressd.source.cluster.api import Api, ApiError
from ingressd.source.cluster.backoff import Backoff
from ingressd.source.cluster.kinds import NAMED
from ingressd.source.cluster.listwatch import CERTAIN, ListWatch, Timing
from ingressd.source.cluster.outage import Outage
from ingressd.source.cluster.refusal import refusal

WATCHED = 200
CONCURRENT = 8
SELDOM = 3600.0
"""Seconds between two attempts to watch what we were never allowed to."""
JITTER = 0.1
"""By which part a pause between two looks is longer or shorter."""


class _One:
    """What is known of one object that is referred to."""

    def __init__(self, ref: ObjectRef, timing: Timing) -> None:
        self.ref = ref
        self.resource: Resource | None = None
        self.settled = False
        """Whether it was read, found missing, or refused."""
        self.problems: tuple[Problem, ...] = ()
        self.watch: ListWatch[Resource] | None = None
        self.rights = Backoff(timing.again, SELDOM)
        """Of attempts to watch it that were refused."""
        self.watch_from = -inf
        """When it may be tried to watch it, in time.monotonic()."""
        self.heard: float | None = None
        self.restarts = 0
        self.task: asyncio.Task[None] | None = None

    @property
    def all_restarts(self) -> int:
        """Those of the watch that is open among them."""
        return self.restarts + (self.watch.restarts if self.watch is not None else 0)


class Named:
    """Calls `changed` as a ListWatch does, and `noted` when missing() or problems() are other than before."""

    def __init__(
        self,
        api: Api,
        changed: Callable[[ObjectRef, Resource | None], None],
        noted: Callable[[], None],
        outage: Outage,
        timing: Timing,
        watched: int = WATCHED,
    ) -> None:
        self._api = api
        self._changed = changed
        self._noted = noted
        self._outage = outage
        self._timing = timing
        self._free = watched
        """Watches that may still be opened."""
        self._turns = asyncio.Semaphore(CONCURRENT)
        self._ones: dict[ObjectRef, _One] = {}
        self._former: Counter[str] = Counter()
        """By kind the restarts of watches of those that nothing refers to any more."""
        self._running = False
        self.failure: BaseException | None = None
        """A defect that has ended the reading of an object."""

    def want(self, refs: Collection[ObjectRef]) -> None:
        """From now on these are read, and others are not."""
        for ref in self._ones.keys() - refs:
            self._drop(self._ones.pop(ref))
        for ref in sorted(refs - self._ones.keys()):
            one = self._ones[ref] = _One(ref, self._timing)
            if self._running:
                self._start(one)

    def start(self) -> None:
        """Begins to read."""
        self._running = True
        self.failure = None
        for one in self._ones.values():
            self._start(one)

    async def stop(self) -> None:
        """Ends that; what is known stays."""
        self._running = False
        tasks = [one.task for one in self._ones.values() if one.task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def missing(self) -> Iterator[ObjectRef]:
        """Those of which nothing is known yet."""
        return (ref for ref, one in self._ones.items() if not one.settled)

    def problems(self) -> Iterator[Problem]:
        """Of objects that cannot be read or must not be."""
        for one in self._ones.values():
            yield from one.problems

    def figures(self) -> Iterator[tuple[str, int, float | None]]:
        """For each object its kind, how often its watch broke off, and when there was last news of it; then the same of
        those before."""
        for ref, one in self._ones.items():
            watch = one.watch
            heard = watch.heard if watch is not None else one.heard
            yield ref.kind, one.all_restarts, heard
        for kind, restarts in self._former.items():
            yield kind, restarts, None

    def _start(self, one: _One) -> None:
        one.task = spawn(self._follow(one), f"read {one.ref}")
        one.task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            self.failure = task.exception()
            self._noted()

    def _drop(self, one: _One) -> None:
        self._former[one.ref.kind] += one.all_restarts
        if one.task is not None:
            one.task.cancel()
        if one.resource is not None:
            self._changed(one.ref, None)
        self._noted()

    async def _follow(self, one: _One) -> None:
        backoff = Backoff(self._timing.shortest, self._timing.poll)
        try:
            while True:
                if self._free and monotonic() >= one.watch_from:
                    await self._watch(one)
                await asyncio.sleep(await self._look(one, backoff))
        finally:
            self._outage.forget(one)

    # --- watched

    async def _watch(self, one: _One) -> None:
        """Until the API server refuses to list or watch."""
        ref, kind = one.ref, NAMED[one.ref.kind]
        one.watch = watch = ListWatch(
            self._api,
            kind,
            partial(parse_json, kind.name),
            partial(self._saw_watched, one),
            partial(self._note_watch, one),
            self._outage,
            self._timing,
            ref.namespace,
            {"fieldSelector": f"metadata.name={ref.name}"},
            patient=False,
        )
        self._free -= 1
        try:
            await watch.run()
            if watch.listed:
                one.rights.reset()  # an API server that has just started may refuse for a moment what it allows
            one.watch_from = monotonic() + max(self._timing.again, one.rights.pause())
        finally:
            self._free += 1
            one.watch = None
            one.restarts += watch.restarts
            one.heard = watch.heard

    def _saw_watched(self, one: _One, _: Name, resource: Resource | None) -> None:
        self._saw(one, resource)

    def _saw(self, one: _One, resource: Resource | None) -> None:
        if one.resource != resource:
            one.resource = resource
            self._changed(one.ref, resource)

    def _note_watch(self, one: _One) -> None:
        """What is refused here may be had by `get`, so it is no problem yet."""
        watch = one.watch
        if watch is None or watch.refused is not None:
            return
        problems = tuple(watch.problems())
        if watch.listed and not watch.objects and not problems:
            self._saw(one, None)  # it may have been there before this watch
        self._settle(one, problems, watch.listed)

    # --- looked at

    async def _look(self, one: _One, backoff: Backoff) -> float:
        """Reads the object. Gives the seconds to wait before the next look."""
        ref, kind = one.ref, NAMED[one.ref.kind]
        try:
            async with self._turns:
                data = await self._api.request("GET", kind.path(ref.namespace, ref.name))
        except ApiError as error:
            return self._look_failed(one, backoff, error)
        self._heard(one)
        backoff.reset()
        found = parse_json(kind.name, msgspec.Raw(data))
        if isinstance(found, tuple):
            self._settle(one, tuple(Problem(ref, each.reason, each.message, each.field) for each in found))
        else:
            self._saw(one, found)
            self._settle(one, ())
        return self._timing.poll * uniform(1 - JITTER, 1 + JITTER) * self._crowding()

    def _look_failed(self, one: _One, backoff: Backoff, error: ApiError) -> float:
        ref = one.ref
        pause = max(backoff.pause() * self._crowding(), error.retry_after)
        if error.status == 404:
            self._heard(one)
            self._saw(one, None)
            self._settle(one, ())
        elif error.status == 403:
            self._heard(one)
            settled = one.settled or backoff.failures >= CERTAIN
            self._settle(one, (refusal(NAMED[ref.kind], "get", ref.namespace, error, ref.name),), settled)
        else:
            self._outage.lost(one, one.heard, f"{ref}: {error.message}")
        return pause

    def _crowding(self) -> float:
        """How much longer than usual pauses are."""
        return max(1.0, len(self._ones) / (self._timing.poll * self._timing.reads))

    def _heard(self, one: _One) -> None:
        one.heard = monotonic()
        self._outage.found(one)

    def _settle(self, one: _One, problems: tuple[Problem, ...], settled: bool = True) -> None:
        if (one.problems, one.settled) != (problems, settled):
            one.problems, one.settled = problems, settled
            self._noted()
