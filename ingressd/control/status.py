"""Writes status.loadBalancer of the Ingresses that are ours, as the leader.

The address is that of a Service, or given. Nothing here watches statuses: all are compared now and then, and one
whenever its Ingress changes.
"""

import asyncio
import contextlib
import logging
import math
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any, NamedTuple, Protocol

from ingressd.control.api import (
    CONFLICT,
    FORBIDDEN,
    NOT_FOUND,
    NotAllowedNow,
    Object,
    Objects,
    Page,
    is_passing,
)
from ingressd.control.load_balancer import PublishedService, given, shown
from ingressd.control.pacing import Refusals, TokenBucket
from ingressd.control.status_plan import SeenIngress, StatusPlan
from ingressd.resources.store import Name
from ingressd.source.cluster.api import ApiError
from ingressd.source.cluster.backoff import Backoff
from ingressd.source.cluster.kinds import LISTED

RATE, BURST = 50.0, 50
"""Requests about Ingresses: a second in the long run, and at once."""
CONCURRENCY = 8
SHORTEST = 0.5
"""Seconds before what failed twice is tried again; then twice as long."""
TRIES = 3
"""Of one Ingress that others change at the same time."""
LIST_FROM = 20
"""Ingresses to compare from which on they are listed instead of read one by one."""

INGRESS = next(kind for kind in LISTED if kind.name == "Ingress")

Decide = Callable[[SeenIngress], Mapping[str, Any] | None]
"""What to send for an Ingress; None for nothing."""

_log = logging.getLogger(__name__)


class Timing(NamedTuple):
    """Seconds."""

    look: float = 10.0
    """Between two looks at the Service, and at most before what failed is tried again."""
    compare: float = 300.0
    """Between two comparisons of all Ingresses."""
    clear: float = 20.0
    """For taking all addresses away in the end; enough for some thousand Ingresses."""


TIMING = Timing()


@dataclass(frozen=True, slots=True)
class AddressSource:
    """Where the addresses come from: `service` (namespace, name), or `addresses` if there are any."""

    service: Name | None = None
    addresses: tuple[str, ...] = ()


class Lead(Protocol):
    """Whether this controller may write."""

    @property
    def leads(self) -> bool:
        """At this moment."""

    async def led(self) -> None:
        """Waits until it does."""


class StatusWriter:
    """Keeps the statuses right while it leads. Needs the rights to get and list Ingresses, to patch their status, and
    to get the Service."""

    def __init__(
        self,
        objects: Objects,
        lead: Lead,
        published: AddressSource,
        namespaces: Collection[str] = (),
        timing: Timing = TIMING,
    ) -> None:
        """`objects` must write only for the leader. `namespaces` are those that are watched; none means all."""
        self.writes = 0
        self.failures = 0
        self._objects = objects
        self._lead = lead
        self._published = published
        self._namespaces = tuple(namespaces) or ("",)
        self._timing = timing
        self._plan = StatusPlan()
        self._plan.want(given(published.addresses))
        self._clock = monotonic
        self._bucket = TokenBucket(RATE, BURST)
        self._refusals = Refusals("the status of Ingresses is not written")
        self._backoff = Backoff(SHORTEST, timing.look)
        self._unread = False
        """Whether the Service could not be read."""
        self._later: list[Name] = []
        """What could not be done and is tried again at the next look."""
        self._broken = False
        """Whether the API server has failed in this round, so that the rest of it can wait."""
        self._not_before = -math.inf
        """Until when it has asked us to wait."""
        self._woken = asyncio.Event()
        self._said: dict[str, str] = {}

    def take(self, ours: Collection[Name], changed: Iterable[Name]) -> None:
        """`ours` are all Ingresses that are ours; `changed` those that are new or have changed."""
        self._plan.take(ours, changed)
        if self._plan.is_due:
            self._woken.set()

    async def run(self) -> None:
        """Writes until cancelled."""
        while True:
            await self._lead.led()
            look_at = compare_at = self._clock()
            while self._lead.leads:
                if looking := self._clock() >= look_at:
                    await self._look()
                    self._plan.again(self._later)
                    self._later.clear()
                if self._clock() >= compare_at:
                    compare_at = self._clock() + self._timing.compare
                    self._plan.all_due()
                self._woken.clear()
                await self._write(self._plan.take_due())
                if looking:
                    look_at = self._clock() + self._until_look()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(look_at - self._clock()):
                        await self._woken.wait()

    async def clear(self) -> None:
        """Takes our addresses away, after `run` has ended; for the last replica. What fails is only logged."""
        self._bucket = TokenBucket(math.inf, 1)  # as fast as the API server takes it: the pod has not long to live
        try:
            async with asyncio.timeout(self._timing.clear):
                ours = [seen async for seen in self._listed() if self._plan.clearing(seen)]
                await _all(self._clear(seen) for seen in ours)
        except (ApiError, TimeoutError) as error:
            _log.warning("the status of Ingresses is not cleared: %s", str(error) or "it takes too long")

    def _until_look(self) -> float:
        """Seconds. What could not be done is tried again sooner, but not sooner than the API server wants it."""
        if self._unread or self._later:
            return max(self._backoff.pause(), self._not_before - self._clock())
        self._backoff.reset()
        for subject in ("list", "write"):  # the next failure is news
            self._said.pop(subject, None)
        return self._timing.look

    def _heed(self, error: ApiError) -> None:
        self._not_before = max(self._not_before, self._clock() + error.retry_after)

    async def _look(self) -> None:
        """Reads the addresses of the Service. If they cannot be had, those known before stay in force."""
        if self._published.service is None or self._published.addresses:
            return
        namespace, name = self._published.service
        try:
            found = await self._objects.get(f"/api/v1/namespaces/{namespace}/services/{name}", PublishedService)
        except ApiError as error:
            self._unread = True
            self._heed(error)
            self._say("service", logging.WARNING, f"the Service {namespace}/{name} cannot be read: {error}")
            return
        self._unread = False
        if found.addresses:
            self._plan.want(found.addresses)
            self._say("service", logging.INFO, f"the address of Ingresses is {shown(found.addresses)}")
        else:
            why = f"the Service {namespace}/{name} ({found.spec.type}) has no address"
            self._say("service", logging.WARNING, f"{why}: the status of Ingresses stays as it is")

    def _say(self, subject: str, level: int, line: str) -> None:
        """Logs what is not what was said last of the subject."""
        if self._said.get(subject) != line:
            self._said[subject] = line
            _log.log(level, "%s", line)

    # --- Ingresses

    async def _write(self, due: Sequence[Name]) -> None:
        """Compares these Ingresses, and writes those that differ."""
        self._broken = self._clock() < self._not_before
        if self._broken or len(due) < LIST_FROM:
            await _all(self._settle(name, None) for name in due)
            return
        left = set(due)
        try:
            different = [seen async for seen in self._listed() if seen.name in left and self._plan.patch(seen)]
        except ApiError as error:
            self.failures += 1
            self._later += due
            self._heed(error)
            self._say("list", logging.WARNING, f"Ingresses cannot be listed, so their status is not written: {error}")
            return
        await _all(self._settle(seen.name, seen) for seen in different)

    async def _listed(self) -> AsyncIterator[SeenIngress]:
        for namespace in self._namespaces:
            async for page in self._objects.pages(INGRESS.path(namespace), Page[SeenIngress]):
                for seen in page:
                    yield seen

    async def _settle(self, name: Name, seen: SeenIngress | None) -> None:
        """Makes the status of one Ingress what it should be. What cannot be done now is left for later."""
        if self._broken or self._refusals.pause(name[0], self._clock()) > 0:
            self._later.append(name)
            return
        try:
            if not await self._try(name, seen, self._plan.patch):
                self._later.append(name)
        except NotAllowedNow:
            self._later.append(name)
        except ApiError as error:
            if error.status == NOT_FOUND:
                return
            self.failures += 1
            if error.status == FORBIDDEN:
                self._refusals.note(name[0], str(error), self._clock())
                self._later.append(name)
            elif is_passing(error):
                self._broken = True
                self._heed(error)
                self._later.append(name)
                self._say("write", logging.WARNING, f"the status of Ingresses is not written for now: {error}")
            else:
                _log.warning("the status of Ingress %s/%s is not written: %s", *name, error)

    async def _try(self, name: Name, seen: SeenIngress | None, decide: Decide) -> bool:
        """Sends what is decided about an Ingress. False if others change it all the time."""
        for _ in range(TRIES):
            if seen is None:
                await self._pace()
                seen = await self._objects.get(INGRESS.path(*name), SeenIngress)
            patch = decide(seen)
            if patch is None:
                return True
            try:
                await self._pace()
                await self._patch(name, patch)
                return True
            except ApiError as error:
                if error.status != CONFLICT:
                    raise
                seen = None
        return False

    async def _patch(self, name: Name, patch: Mapping[str, Any]) -> None:
        await self._objects.patch(f"{INGRESS.path(*name)}/status", patch, Object)
        self.writes += 1
        self._refusals.granted(name[0])

    async def _clear(self, seen: SeenIngress) -> None:
        try:
            if await self._try(seen.name, seen, self._plan.clearing):
                return
            why = "others change it all the time"
        except NotAllowedNow:
            why = "another controller leads"
        except ApiError as error:
            if error.status == NOT_FOUND:
                return
            self.failures += 1
            why = str(error)
        _log.warning("the status of Ingress %s/%s is not cleared: %s", *seen.name, why)

    async def _pace(self) -> None:
        seconds = self._bucket.wait(self._clock())
        self._bucket.take(self._clock())
        await asyncio.sleep(seconds)


async def _all(work: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Does all of it, some at a time."""
    todo = iter(work)

    async def do() -> None:
        for each in todo:
            await each

    await asyncio.gather(*(do() for _ in range(CONCURRENCY)))
