"""Which Events are to be written when: each thing once, what comes back or stays as a series, and none too often.
Without IO; all `now` are seconds of a clock that never goes back.

A remark is about one object. What is wrong is told when it has been so for PATIENCE seconds. While it is true it is
written again every REFRESH seconds, so that the API server does not forget it (it keeps Events for an hour); when it
comes and goes, every REPEAT seconds at most. No object and no moment takes more than a token bucket gives. What is not
true any more before it could be written is dropped.
"""

import heapq
import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from itertools import count
from typing import NamedTuple

from ingressd.control.pacing import TokenBucket
from ingressd.model import ObjectRef, Problem

PATIENCE = 1.0
"""Seconds for which a problem has to be true before it is told: a Secret is read only when an Ingress names it, and
what is applied together is seen one after another."""
REPEAT = 60.0
REFRESH = 1800.0
FORGET = 3600.0
"""Seconds that a remark which is not true any more is known, so that it becomes a series when it comes back."""
KEPT = 10_000
"""Such remarks, at most."""
SLACK = 1000
"""Items of an agenda that may be of no use before they are thrown away, beside as many as there are entries."""
STALE = 60.0
"""Seconds after which a sync is no news for who begins to lead: the leader before has told of it."""
OBJECT_RATE, OBJECT_BURST = 1 / 60, 10
RATE, BURST = 10.0, 50
NOTE_BYTES = 1024
"""As much as an Event takes."""


class EventType(StrEnum):
    """Event.type."""

    WARNING = "Warning"
    NORMAL = "Normal"


class Remark(NamedTuple):
    """What an Event says."""

    object: ObjectRef
    type: EventType
    """NORMAL is a sync, WARNING all else."""
    reason: str
    note: str


class Written(NamedTuple):
    """An Event that is there: its name, and how many times it says that the thing has happened."""

    name: str
    times: int


class Due(NamedTuple):
    """An Event to write. `times` is how many times the thing has happened since `before` was written. With `only_new`
    one that is there already is left as it is."""

    remark: Remark
    times: int
    before: Written | None = None
    only_new: bool = False


@dataclass(slots=True)
class _Entry:
    pending: int = 0
    """How many times it has happened that are not written."""
    only_new: bool = False
    last: float = 0.0
    """When the last of these was."""
    ready: float = math.inf
    """When it may be written."""
    told: float = -math.inf
    written: Written | None = None


def warning(problem: Problem) -> Remark:
    """What an Event says of a problem."""
    text = f"{problem.field}: {problem.message}" if problem.field else problem.message
    return Remark(problem.object, EventType.WARNING, problem.reason, _shortened(text))


def sync(ref: ObjectRef) -> Remark:
    """What an Event says of an Ingress that is served as it is now. The words are those of ingress-nginx."""
    return Remark(ref, EventType.NORMAL, "Sync", "Scheduled for sync")


def _any(problem: Problem) -> bool:
    return True


def _never(ref: ObjectRef) -> float:
    return 0.0


class EventLedger:
    """Everything there is to say, and what was said."""

    def __init__(self, takes: Callable[[Problem], bool] = _any) -> None:
        """Problems that `takes` says no to are passed over."""
        self.dropped = 0
        """Remarks that were never written."""
        self._entries: dict[Remark, _Entry] = {}
        self._takes = takes
        self._problems: frozenset[Problem] = frozenset()
        self._true: Counter[Remark] = Counter()
        """How many problems say each."""
        self._gone: dict[Remark, float] = {}
        """Those that are not true any more, and since when; the oldest first."""
        self._agenda: tuple[list[tuple[float, int, Remark]], ...] = ([], [])
        """When each may be written: problems, then syncs. An item counts only if its entry says the same time."""
        self._order = count()
        self._bucket = TokenBucket(RATE, BURST)
        self._buckets: dict[ObjectRef, TokenBucket] = {}

    # --- what happens

    def problems(self, problems: Iterable[Problem], now: float) -> None:
        """These are all problems there are."""
        former, self._problems = self._problems, frozenset(problems)
        # Sorted, so that the same problems are always told in the same order.
        for problem in sorted(filter(self._takes, self._problems - former)):
            self._begin(warning(problem), now)
        for problem in sorted(filter(self._takes, former - self._problems)):
            self._end(warning(problem), now)
        self._forget(now)

    def served(self, refs: Iterable[ObjectRef], now: float, *, first: bool) -> None:
        """These Ingresses are served as they are now; `first`: for the first time that this process knows of."""
        for ref in refs:
            entry = self._entries.setdefault(sync(ref), _Entry())
            entry.pending = 0 if entry.only_new else entry.pending
            entry.only_new = first and not entry.pending
            self._happened(sync(ref), entry, now)

    def removed(self, refs: Iterable[ObjectRef]) -> None:
        """These Ingresses are not served any more."""
        for ref in refs:
            self._entries.pop(sync(ref), None)

    def lead(self, now: float) -> None:
        """What is due is ours to write from now on."""
        old = [
            remark
            for remark, entry in self._entries.items()
            if remark.type is EventType.NORMAL and entry.pending and entry.last < now - STALE
        ]
        for remark in old:
            del self._entries[remark]

    # --- what to write

    def next(self, now: float, pause: Callable[[ObjectRef], float] = _never) -> Due | float:
        """What to write now, or the seconds until this is worth asking again. The outcome is to be told before it is
        asked again. `pause` gives the seconds in which nothing can be written about an object."""
        for agenda in self._agenda:
            while agenda and agenda[0][0] <= now:
                if (wait := self._bucket.wait(now)) > 0:
                    return wait
                ready, _, remark = heapq.heappop(agenda)
                entry = self._entries.get(remark)
                if entry is None or entry.ready != ready:
                    continue
                if (wait := max(pause(remark.object), self._bucket_of(remark.object).wait(now))) > 0:
                    self._schedule(remark, entry, now + wait)
                    continue
                self._bucket.take(now)
                entry.ready = math.inf
                due = Due(remark, max(1, entry.pending), entry.written, entry.only_new)
                entry.pending, entry.only_new = 0, False
                return due
        return min((agenda[0][0] for agenda in self._agenda if agenda), default=math.inf) - now

    def written(self, due: Due, written: Written, now: float) -> None:
        """It is there now, as this."""
        self._bucket_of(due.remark.object).take(now)
        if (entry := self._entries.get(due.remark)) is None:
            return
        entry.told, entry.written = now, written
        if due.remark.type is EventType.WARNING:
            self._schedule(due.remark, entry, now + (REPEAT if entry.pending else REFRESH))
        elif entry.pending:
            self._schedule(due.remark, entry, now + REPEAT)

    def failed(self, due: Due, again: float) -> None:
        """It could not be written, and may be tried at `again`."""
        if (entry := self._entries.get(due.remark)) is None:
            self.dropped += 1
            return
        entry.only_new = due.only_new and not entry.pending
        entry.pending += due.times
        self._schedule(due.remark, entry, again)

    def refused(self, due: Due) -> None:
        """It can never be written."""
        self.dropped += 1

    # ---

    def _bucket_of(self, ref: ObjectRef) -> TokenBucket:
        if (bucket := self._buckets.get(ref)) is None:
            bucket = self._buckets[ref] = TokenBucket(OBJECT_RATE, OBJECT_BURST)
        return bucket

    def _happened(self, remark: Remark, entry: _Entry, now: float) -> None:
        entry.last = now
        entry.pending += 1
        wait = PATIENCE if remark.type is EventType.WARNING else 0.0
        self._schedule(remark, entry, min(entry.ready, max(now + wait, entry.told + REPEAT)))

    def _schedule(self, remark: Remark, entry: _Entry, ready: float) -> None:
        if entry.ready != ready:
            entry.ready = ready
            agenda = self._agenda[remark.type is EventType.NORMAL]
            if len(agenda) > 2 * len(self._entries) + SLACK:  # nobody takes items out of it but the leader
                agenda[:] = [item for item in agenda if (one := self._entries.get(item[2])) and one.ready == item[0]]
                heapq.heapify(agenda)
            heapq.heappush(agenda, (ready, next(self._order), remark))

    def _begin(self, remark: Remark, now: float) -> None:
        """A problem says so."""
        self._true[remark] += 1
        if self._true[remark] == 1:
            self._gone.pop(remark, None)
            entry = self._entries.setdefault(remark, _Entry())
            self._happened(remark, entry, now)

    def _end(self, remark: Remark, now: float) -> None:
        """A problem does not say so any more."""
        self._true[remark] -= 1
        if self._true[remark]:
            return
        del self._true[remark]
        entry = self._entries[remark]
        if entry.written is None:
            self.dropped += bool(entry.pending) and now >= entry.last + PATIENCE
            del self._entries[remark]
            return
        entry.ready = math.inf
        self._gone[remark] = now

    def _forget(self, now: float) -> None:
        while self._gone:
            remark, since = next(iter(self._gone.items()))
            if len(self._gone) <= KEPT and now - since < FORGET:
                break
            del self._gone[remark], self._entries[remark]
        if len(self._buckets) > KEPT:
            self._buckets = {ref: bucket for ref, bucket in self._buckets.items() if not bucket.is_full(now)}


def _shortened(text: str) -> str:
    data = text.encode(errors="replace")  # half a character (a lone surrogate) cannot be sent
    return data.decode() if len(data) <= NOTE_BYTES else data[: NOTE_BYTES - 3].decode(errors="ignore") + "..."
