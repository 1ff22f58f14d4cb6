"""Who of several controllers leads: a state machine over a Lease (coordination.k8s.io/v1), without IO and clock.

The Lease is a record that changes hands by optimistic concurrency: each write names the version it was decided on, and
the API server refuses it if the record is another by then. What the machine relies on beside that is only that all
clocks run at about the same rate:

- The leader leads until `renew_deadline` after the *start* of its last write that was confirmed.
- Others take the Lease over when they have seen it unchanged for all of its leaseDurationSeconds, by their own clock.
  A write is seen after it was started, so by then the leader has long stopped, though it may be cut off and not know.
- The times in the record are for people. Nothing compares them with a clock, so clocks may differ by hours.

All `now` are seconds of one clock of this process that never goes back.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from ingressd.control.api import Metadata

JITTER = 0.2
"""By which part a pause is longer or shorter, so that candidates do not ask in step."""


class LeaseSpec(msgspec.Struct, frozen=True, rename="camel"):
    """LeaseSpec, as far as it matters here."""

    holder_identity: str | None = None
    lease_duration_seconds: int | None = None
    acquire_time: str | None = None
    renew_time: str | None = None
    lease_transitions: int | None = None


class Lease(msgspec.Struct, frozen=True):
    """Lease, coordination.k8s.io/v1."""

    metadata: Metadata = Metadata()
    spec: LeaseSpec = LeaseSpec()


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds. A leader that can write nothing any more is replaced after `lease` and at most two pauses."""

    lease: int = 15

    @property
    def renew_deadline(self) -> float:
        """After the last confirmed write the leader stops."""
        return self.lease * 2 / 3

    @property
    def retry(self) -> float:
        """Between two looks at the Lease, and between two renewals."""
        return self.lease * 2 / 15

    @property
    def ask(self) -> float:
        """For one request about the Lease: before the deadline there is time for two that fail and a third."""
        return self.lease / 5

    @property
    def write(self) -> float:
        """For any write that only the leader may do: what was started before the deadline is over before another
        leads."""
        return self.lease - self.renew_deadline


class Read(NamedTuple):
    """Read the Lease, and call `found`."""


class Write(NamedTuple):
    """Write the Lease in our name, and call `written`. An empty `version` creates it. `acquired` is the acquireTime to
    keep, None for now."""

    version: str
    transitions: int
    acquired: str | None


class Wait(NamedTuple):
    """Do nothing for so long."""

    seconds: float


Step = Read | Write | Wait


class Election:
    """One candidate. `identity` must be no other's, ever; `random` gives numbers from 0 to 1."""

    def __init__(self, identity: str, times: Times, random: Callable[[], float]) -> None:
        self.identity = identity
        self.times = times
        self._random = random
        self._seen: LeaseSpec | None = None
        """The record as it was last seen; None before the first time."""
        self._changed = -math.inf
        """When it was first seen so."""
        self._version: str | None = None
        """What the next write must name; empty if there is no Lease, None if that must be looked up first."""
        self._until = -math.inf
        self._next = -math.inf
        """When there is something to do again."""
        self._conflicted = False

    def leads(self, now: float) -> bool:
        """Whether this candidate is the leader. True for at most one of all, at any time."""
        return now < self._until

    @property
    def holder(self) -> str:
        """Who held the Lease when it was last seen; empty for nobody."""
        return (self._seen and self._seen.holder_identity) or ""

    def decide(self, now: float) -> Step:
        """What to do now. The outcome is to be told before this is called again."""
        if now < self._next:
            end = self._until if self.leads(now) else math.inf
            return Wait(min(self._next, end) - now)
        if self._version is None:
            return Read()
        seen = self._seen or LeaseSpec()
        if self.holder == self.identity:
            return Write(self._version, seen.lease_transitions or 0, seen.acquire_time)
        return Write(self._version, (seen.lease_transitions or 0) + bool(self._version), None)

    def found(self, lease: Lease | None, now: float) -> None:
        """The outcome of Read; None if there is no Lease."""
        if lease is None:
            # Who deletes it does not end the lead of a holder who has not noticed yet.
            self._version = ""
        else:
            self._version = lease.metadata.resource_version
            self._see(lease.spec, now)
        if lease is None or self.holder != self.identity:
            self._until = -math.inf
        if (free := self._free_at()) > now:
            self._version = None
            self._next = min(now + self._pause(), free)

    def written(self, lease: Lease, started: float, now: float) -> None:
        """Write was done, by a request that was begun at `started`."""
        self._see(lease.spec, now)
        self._version = lease.metadata.resource_version
        self._until = started + self.times.renew_deadline
        self._next = started + self._pause()
        self._conflicted = False

    def refused(self, now: float) -> None:
        """Write was not done: the Lease is another by now (409). Looked at again at once, but only once in a row."""
        self._version = None
        self._next = now + self._pause() if self._conflicted else now
        self._conflicted = not self._conflicted

    def failed(self, now: float) -> None:
        """Read or Write had no answer, or one that says nothing of the Lease. A write may have been done; then the next
        one is refused, and that is soon enough to look."""
        if not self.leads(now):
            self._version = None
        self._next = now + self._pause() / 2
        self._conflicted = False

    def resign(self) -> None:
        """Gives the lead up, for good. Whether the Lease must be told is for `to_release` to say."""
        self._until = -math.inf
        self._next = math.inf

    def to_release(self, lease: Lease) -> Write | None:
        """What to write without a holder, so that another can lead at once; None if the Lease is not ours."""
        if lease.spec.holder_identity != self.identity:
            return None
        return Write(lease.metadata.resource_version, lease.spec.lease_transitions or 0, lease.spec.acquire_time)

    def _see(self, spec: LeaseSpec, now: float) -> None:
        if spec != self._seen:
            self._seen, self._changed = spec, now

    def _free_at(self) -> float:
        """When this candidate may take the Lease. One that is gone counts as its last holder's for the same time."""
        if self._seen is None or self.holder in ("", self.identity):
            return -math.inf
        return self._changed + (self._seen.lease_duration_seconds or self.times.lease)

    def _pause(self) -> float:
        return self.times.retry * (1 + JITTER * (2 * self._random() - 1))
