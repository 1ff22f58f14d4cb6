"""All checks there are: each endpoint of a checked cluster is asked again and again, once for each check it has.

An endpoint has a timer and no task; a check is a task, and at most CONCURRENT run at a time: those that are due then
wait for their turn in the order in which they became due. A check that takes its time thus holds up other checks at
worst, and never the controller's loop.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from ingressd.aio import spawn
from ingressd.control.health.probe import NotAsked, Probe
from ingressd.control.health.standing import Standing, first_pause, next_pause
from ingressd.model import Cluster, ClusterKey, Endpoint, HealthCheck

CONCURRENT = 64
"""Checks at one time."""
GATHER = 0.01
"""Seconds for which changes are gathered before they are told: a node that dies takes many endpoints along."""


class Change(NamedTuple):
    """An endpoint is healthy again, or no longer. `why` is what its last check met."""

    endpoint: Endpoint
    check: HealthCheck
    healthy: bool
    why: str


class _Watched:
    """One endpoint and one check."""

    __slots__ = ("check", "endpoint", "references", "standing", "task", "timer", "why")

    def __init__(self, endpoint: Endpoint, check: HealthCheck, healthy: bool) -> None:
        self.endpoint = endpoint
        self.check = check
        self.standing = Standing(check, healthy)
        self.references = 0
        """How many clusters have both."""
        self.why = ""
        """What the last check met, empty if it passed."""
        self.timer: asyncio.TimerHandle | None = None
        self.task: asyncio.Task[None] | None = None


def _same(former: Cluster, now: Cluster | None) -> bool:
    """Whether there is nothing to do for a cluster."""
    return now is former or (now is not None and now.endpoints == former.endpoints and now.health == former.health)


class Checks:
    """For one event loop."""

    def __init__(
        self,
        probe: Probe,
        on_change: Callable[[], None],
        *,
        later: Callable[..., asyncio.TimerHandle] | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`on_change` is called soon after endpoints have become healthy or unhealthy. `later` is loop.call_later,
        `chance` gives numbers from 0 to 1."""
        loop = asyncio.get_running_loop()
        self._probe = probe
        self._on_change = on_change
        self._later = later or loop.call_later
        self._clock = loop.time
        self._chance = chance
        self._watched: dict[tuple[Endpoint, HealthCheck], _Watched] = {}
        self._followed: dict[ClusterKey, Cluster] = {}
        self._running = 0
        self._waiting: deque[_Watched] = deque()
        self._changes: list[Change] = []
        self._telling: asyncio.TimerHandle | None = None
        self.unhealthy: dict[HealthCheck, set[Endpoint]] = {}
        """By check, those that have failed it."""
        self.passed = 0
        self.failed = 0
        """How many checks have."""

    def __len__(self) -> int:
        """How many endpoints are checked; one with two checks counts twice."""
        return len(self._watched)

    @property
    def waiting(self) -> int:
        """How many checks are due and wait for others to end."""
        return sum(watched.references > 0 for watched in self._waiting)

    def take_changes(self) -> list[Change]:
        """What has changed since the call before, in its order."""
        changes, self._changes = self._changes, []
        return changes

    def state(self, endpoint: Endpoint, check: HealthCheck) -> tuple[Standing, str] | None:
        """The standing of an endpoint, and what its last check met; None if it is not checked so."""
        watched = self._watched.get((endpoint, check))
        return (watched.standing, watched.why) if watched is not None else None

    def follow(self, clusters: Mapping[ClusterKey, Cluster]) -> None:
        """From now on these are the clusters with a check. What is checked already goes on as it is; an endpoint whose
        check is replaced by another keeps its state."""
        ended: list[_Watched] = []
        unhealthy: set[tuple[ClusterKey, Endpoint]] = set()
        for key, former in list(self._followed.items()):
            if not _same(former, clusters.get(key)):
                assert former.health is not None
                failed = self.unhealthy.get(former.health, ())
                unhealthy.update((key, endpoint) for endpoint in former.endpoints if endpoint in failed)
                ended += self._refer(former, -1)
                del self._followed[key]
        for key, cluster in clusters.items():
            known = key in self._followed
            self._followed[key] = cluster
            if not known:
                assert cluster.health is not None
                for endpoint in cluster.endpoints:
                    if (endpoint, cluster.health) not in self._watched:
                        self._begin(endpoint, cluster.health, (key, endpoint) not in unhealthy)
                for _ in self._refer(cluster, 1):
                    pass
        for watched in ended:
            if watched.references == 0:
                self._end(watched)

    def _refer(self, cluster: Cluster, count: int) -> Iterator[_Watched]:
        """Counts a cluster's references up or down; gives those that are left with none."""
        assert cluster.health is not None
        for endpoint in cluster.endpoints:
            watched = self._watched[endpoint, cluster.health]
            watched.references += count
            if watched.references == 0:
                yield watched

    def _begin(self, endpoint: Endpoint, check: HealthCheck, healthy: bool) -> None:
        watched = self._watched[endpoint, check] = _Watched(endpoint, check, healthy)
        if not healthy:
            self.unhealthy.setdefault(check, set()).add(endpoint)
        watched.timer = self._later(first_pause(check, self._chance()), self._due, watched)

    def _end(self, watched: _Watched) -> None:
        if self._watched.pop((watched.endpoint, watched.check), None) is None:
            return
        self._forget(watched)
        if watched.timer is not None:
            watched.timer.cancel()
        if watched.task is not None:
            watched.task.cancel()

    def _forget(self, watched: _Watched) -> None:
        """It is not unhealthy any more, or not there any more."""
        if (of_check := self.unhealthy.get(watched.check)) is not None:
            of_check.discard(watched.endpoint)
            if not of_check:
                del self.unhealthy[watched.check]

    def _due(self, watched: _Watched) -> None:
        watched.timer = None
        if self._running >= CONCURRENT:
            self._waiting.append(watched)
        else:
            self._start(watched)

    def _start(self, watched: _Watched) -> None:
        self._running += 1
        watched.task = spawn(self._ask(watched), f"health check of {watched.endpoint}")
        watched.task.add_done_callback(self._asked)

    def _asked(self, _: "asyncio.Task[None]") -> None:
        self._running -= 1
        while self._waiting:
            watched = self._waiting.popleft()
            if watched.references:
                self._start(watched)
                return

    async def _ask(self, watched: _Watched) -> None:
        started = self._clock()
        asked = True
        try:
            why = await self._probe(watched.endpoint, watched.check)
        except NotAsked as error:
            asked, why = False, str(error)
        watched.task = None
        watched.timer = self._later(
            next_pause(watched.check, self._clock() - started, self._chance()), self._due, watched
        )
        watched.why = why
        if why:
            self.failed += 1
        else:
            self.passed += 1
        if asked and watched.standing.note(not why):
            self._note(watched)

    def _note(self, watched: _Watched) -> None:
        healthy = watched.standing.healthy
        if healthy:
            self._forget(watched)
        else:
            self.unhealthy.setdefault(watched.check, set()).add(watched.endpoint)
        self._changes.append(Change(watched.endpoint, watched.check, healthy, watched.why))
        if self._telling is None:
            self._telling = self._later(GATHER, self._tell)

    def _tell(self) -> None:
        self._telling = None
        self._on_change()

    async def close(self) -> None:
        """Ends all checks."""
        tasks = [watched.task for watched in self._watched.values() if watched.task is not None]
        self.follow({})
        if self._telling is not None:
            self._telling.cancel()
        if tasks:
            await asyncio.wait(tasks)
