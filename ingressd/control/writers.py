"""Everything that is written to a cluster, put together: the Lease, the status of Ingresses, Events."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from ingressd.aio import spawn
from ingressd.control.api import Objects
from ingressd.control.election import Times
from ingressd.control.events import EventWriter
from ingressd.control.leader import Leader, identity_of
from ingressd.control.replicas import read_is_last
from ingressd.control.status import AddressSource, StatusWriter
from ingressd.model import ObjectRef, Problem
from ingressd.resources import Ingress
from ingressd.source.cluster.api import Api, ApiError
from ingressd.telemetry.exposition import WritingFigures

SETTLE = 5.0
"""Seconds, at least, before a leader that ends asks whether it is the last replica: until then EndpointSlices may not
show yet who ends with it, and who has just been started in its place."""
DEFECT_PAUSE = 60.0
"""Seconds after which a writer that failed by a defect of ours goes on."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WritingOptions:
    """Named as the flags are. `published` is None if no status is written; `namespaces` are those that are watched,
    none for all; `pod` and `namespace` are where we run."""

    pod: str
    namespace: str
    election_id: str
    election: Times
    published: AddressSource | None
    update_status_on_shutdown: bool = False
    namespaces: tuple[str, ...] = ()


class ClusterWriters:
    """See Writers."""

    def __init__(self, api: Api, options: WritingOptions) -> None:
        self._options = options
        times = options.election
        # No write may be under way any more when another leads: none takes longer than until then, and all are given up
        # when the lead is lost.
        self._objects = Objects(api, times.write, lambda: self._leader.leads)
        leases, identity = Objects(api, times.ask), identity_of(options.pod)
        self._leader = Leader(
            leases, options.namespace, options.election_id, identity, times, on_loss=self._objects.abandon
        )
        self._status = (
            StatusWriter(self._objects, self._leader, options.published, options.namespaces)
            if options.published is not None
            else None
        )
        self._events = EventWriter(self._objects, self._leader, options.pod)
        self._ours: Mapping[ObjectRef, Ingress] = {}
        self._problems: Sequence[Problem] = ()
        self._leading: asyncio.Task[None] | None = None
        self._writing: list[asyncio.Task[None]] = []

    def take(self, ours: Mapping[ObjectRef, Ingress], problems: Sequence[Problem]) -> None:
        """See Writers."""
        if problems is not self._problems:
            self._problems = problems
            self._events.problems(problems)
        if ours is not self._ours:
            former, self._ours = self._ours, ours
            self._note_ours(former)

    def _note_ours(self, former: Mapping[ObjectRef, Ingress]) -> None:
        new = [ref for ref in self._ours if ref not in former]
        changed = [ref for ref, ingress in self._ours.items() if former.get(ref, ingress) is not ingress]
        self._events.removed([ref for ref in former if ref not in self._ours])
        self._events.served(new, first=True)
        self._events.served(changed, first=False)
        if self._status is not None:
            names = [(ref.namespace, ref.name) for ref in self._ours]
            self._status.take(names, [(ref.namespace, ref.name) for ref in (*new, *changed)])

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """See Writers."""
        self._leading = spawn(_forever(self._leader.run), "election")
        self._writing = [spawn(_forever(self._events.run), "events")]
        if self._status is not None:
            self._writing.append(spawn(_forever(self._status.run), "status of Ingresses"))
        try:
            yield
        finally:
            await _end([self._leading, *self._writing])

    async def finish(self, leaving: float | None = 0.0) -> None:
        """See Writers."""
        may_clear = self._options.update_status_on_shutdown and leaving is not None
        if may_clear and self._leader.leads:
            await asyncio.sleep(max(leaving or 0.0, SETTLE))
        await _end(self._writing)
        try:
            if may_clear and self._status is not None and self._leader.leads and await self._is_last():
                _log.info("this is the last replica: clearing the status of Ingresses")
                await self._status.clear()
            if self._leading is not None:
                await _end([self._leading])
            await self._leader.release()
        except Exception:  # a defect of ours must not stand in the way of ending
            _log.exception("what is written to the cluster could not be brought to its end")

    async def _is_last(self) -> bool:
        """Whether to clear the status; only if it is certain that no other replica goes on."""
        published = self._options.published
        if published is None or published.service is None:
            return False
        try:
            return await read_is_last(self._objects, *published.service, self._options.pod)
        except ApiError as error:
            _log.warning("the status of Ingresses stays: it is not known whether there are other replicas: %s", error)
            return False

    def figures(self) -> WritingFigures:
        """See Writers."""
        return WritingFigures(
            election=self._options.election_id,
            leads=self._leader.leads,
            statuses=self._status.writes if self._status is not None else 0,
            status_failures=self._status.failures if self._status is not None else 0,
            events=self._events.writes,
            event_failures=self._events.failures,
            events_dropped=self._events.dropped,
        )


async def _forever(run: Callable[[], Awaitable[None]]) -> None:
    """Traffic is served all the same, so what fails by a defect is begun again."""
    while True:
        try:
            await run()
        except Exception:
            _log.exception("nothing is written to the cluster by this part for %g s", DEFECT_PAUSE)
        await asyncio.sleep(DEFECT_PAUSE)


async def _end(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
