"""Writes Events (events.k8s.io/v1) about problems and syncs, as the leader: what control.event_ledger says is due.

The name of an Event follows from what it says and from the uid of its object. So who begins to lead finds the Events of
the leader before it and goes on with their series, instead of writing all of them once more.
"""

import asyncio
import contextlib
import logging
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from time import monotonic
from typing import Any

import msgspec

from ingressd.control.api import (
    CONFLICT,
    FORBIDDEN,
    NOT_FOUND,
    Metadata,
    NotAllowedNow,
    Object,
    Objects,
    is_passing,
    micro_time,
)
from ingressd.control.event_ledger import Due, EventLedger, EventType, Remark, Written
from ingressd.control.pacing import Refusals
from ingressd.control.status import Lead
from ingressd.model import ObjectRef, Problem
from ingressd.resources.syntax import subdomain_fault
from ingressd.source.cluster.api import ApiError
from ingressd.source.cluster.backoff import Backoff
from ingressd.source.cluster.kinds import LISTED, NAMED, Kind

CONTROLLER = "ingressd.dev/ingress-controller"
"""reportingController, whatever the class."""
INSTANCE_CHARACTERS = 128
NAME_CHARACTERS = 236
"""Of the object's name in that of an Event; 17 more follow."""
ACTIONS = {EventType.NORMAL: "Sync", EventType.WARNING: "Translate"}
GROUP = "events.k8s.io/v1"
CLUSTER_SCOPED = "default"
"""The namespace of Events about objects without one."""
TRIES = 3
LOOK = 5.0
"""Seconds after which who has nothing to write looks whether it still leads."""
SHORTEST, LONGEST = 1.0, 30.0
"""Pauses after failures of the API server, in seconds."""

KINDS: Mapping[str, Kind] = {kind.name: kind for kind in (*LISTED, *NAMED.values())}
"""Kinds of objects that get Events."""

_log = logging.getLogger(__name__)


class EventSeries(msgspec.Struct, frozen=True):
    """EventSeries."""

    count: int = 1


class Event(msgspec.Struct, frozen=True):
    """Event, events.k8s.io/v1, as far as it is read."""

    metadata: Metadata = Metadata()
    series: EventSeries | None = None


class EventWriter:
    """Needs the rights to get, create and patch Events, and to get the objects they are about."""

    def __init__(self, objects: Objects, lead: Lead, instance: str) -> None:
        """`objects` must write only for the leader. `instance` is the pod."""
        self.writes = 0
        self.failures = 0
        self._objects = objects
        self._lead = lead
        self._instance = instance[:INSTANCE_CHARACTERS]
        self._ledger = EventLedger(_has_events)
        self._refusals = Refusals("Events are not written")
        self._backoff = Backoff(SHORTEST, LONGEST)
        self._clock = monotonic
        self._woken = asyncio.Event()
        self._said = ""

    @property
    def dropped(self) -> int:
        """Events that were due and never written."""
        return self._ledger.dropped

    def problems(self, problems: Iterable[Problem]) -> None:
        """These are all problems there are."""
        dropped = self._ledger.dropped
        self._ledger.problems(problems, self._clock())
        if not self._lead.leads:  # it is for others to write
            self._ledger.dropped = dropped
        self._woken.set()

    def served(self, refs: Iterable[ObjectRef], *, first: bool) -> None:
        """These Ingresses are served as they are now; `first`: for the first time."""
        self._ledger.served(refs, self._clock(), first=first)
        self._woken.set()

    def removed(self, refs: Iterable[ObjectRef]) -> None:
        """These Ingresses are not served any more."""
        self._ledger.removed(refs)

    async def run(self) -> None:
        """Writes until cancelled."""
        while True:
            await self._lead.led()
            self._ledger.lead(self._clock())
            while self._lead.leads:
                self._woken.clear()
                due = self._ledger.next(self._clock(), self._pause)
                if isinstance(due, Due):
                    await self._write(due)
                    continue
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(min(due, LOOK)):
                        await self._woken.wait()

    def _pause(self, ref: ObjectRef) -> float:
        return self._refusals.pause(_namespace(ref), self._clock())

    async def _write(self, due: Due) -> None:
        try:
            uid = await self._uid(due.remark.object)
            if uid is None:
                self._ledger.refused(due)
                return
            self._ledger.written(due, await self._post(due, uid), self._clock())
        except NotAllowedNow:
            self._ledger.failed(due, self._clock())
        except ApiError as error:
            await self._note_failure(due, error)
        else:
            self._refusals.granted(_namespace(due.remark.object))
            self._backoff.reset()
            self._said = ""

    async def _note_failure(self, due: Due, error: ApiError) -> None:
        self.failures += 1
        now, namespace = self._clock(), _namespace(due.remark.object)
        if error.status == FORBIDDEN:
            self._refusals.note(namespace, str(error), now)
            self._ledger.failed(due, now)
        elif is_passing(error):
            self._ledger.failed(due, now)
            if self._said != (line := str(error)):
                self._said = line
                _log.warning("Events are not written for now: %s", line)
            await asyncio.sleep(max(self._backoff.pause(), error.retry_after))
        else:
            self._ledger.refused(due)
            _log.warning("an Event about %s is not written: %s", due.remark.object, error)

    async def _uid(self, ref: ObjectRef) -> str | None:
        """Of the object; None if there is no such object. Without the right to ask, the Event goes without it."""
        try:
            return (await self._objects.get(KINDS[ref.kind].path(ref.namespace, ref.name), Object)).metadata.uid
        except ApiError as error:
            if error.status not in (NOT_FOUND, FORBIDDEN):
                raise
            return None if error.status == NOT_FOUND else ""

    async def _post(self, due: Due, uid: str) -> Written:
        """Writes the Event, or the series of the one that is there."""
        name, namespace = _name(due.remark, uid), _namespace(due.remark.object)
        path = f"/apis/{GROUP}/namespaces/{namespace}/events"
        before = due.before if due.before and due.before.name == name else None
        for _ in range(TRIES):
            if before is not None:
                times = before.times + due.times
                try:
                    await self._objects.patch(f"{path}/{name}", {"series": _series(times)}, Object)
                    self.writes += 1
                    return Written(name, times)
                except ApiError as error:
                    if error.status != NOT_FOUND:
                        raise
            try:
                await self._objects.create(path, self._event(due, name, uid), Object)
                self.writes += 1
                return Written(name, due.times)
            except ApiError as error:
                if error.status != CONFLICT:
                    raise
            before = await self._there(f"{path}/{name}", name)
            if before is not None and due.only_new:
                return before
        raise ApiError(CONFLICT, "", f"Event {namespace}/{name} comes and goes")

    async def _there(self, path: str, name: str) -> Written | None:
        try:
            event = await self._objects.get(path, Event)
        except ApiError as error:
            if error.status != NOT_FOUND:
                raise
            return None
        return Written(name, event.series.count if event.series else 1)

    def _event(self, due: Due, name: str, uid: str) -> Mapping[str, Any]:
        remark, kind = due.remark, KINDS[due.remark.object.kind]
        regarding = {
            "apiVersion": f"{kind.group}/{kind.version}" if kind.group else kind.version,
            "kind": kind.name,
            "namespace": remark.object.namespace,
            "name": remark.object.name,
            "uid": uid,
        }
        return {
            "apiVersion": GROUP,
            "kind": "Event",
            "metadata": {"name": name, "namespace": _namespace(remark.object)},
            "eventTime": micro_time(),
            "reportingController": CONTROLLER,
            "reportingInstance": self._instance,
            "action": ACTIONS[remark.type],
            "reason": remark.reason,
            "type": remark.type,
            "note": remark.note,
            "regarding": regarding,
            **({"series": _series(due.times)} if due.times > 1 else {}),
        }


def _has_events(problem: Problem) -> bool:
    """Whether its object can have Events: it is one object, of a kind that we know the place of."""
    return problem.object.kind in KINDS and not subdomain_fault(problem.object.name)


def _namespace(ref: ObjectRef) -> str:
    return ref.namespace or CLUSTER_SCOPED


def _name(remark: Remark, uid: str) -> str:
    """The same for the same remark about the same object, in every controller."""
    said = msgspec.json.encode((uid, remark))
    name = remark.object.name[:NAME_CHARACTERS].rstrip("-.")
    return f"{name}.{blake2b(said, digest_size=8).hexdigest()}"


def _series(times: int) -> Mapping[str, Any]:
    return {"count": times, "lastObservedTime": micro_time()}
