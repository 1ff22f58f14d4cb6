"""Makes one of several controllers the leader, by way of a Lease: carries out what control.election decides."""

import asyncio
import logging
import random
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

from ingressd.control.api import CONFLICT, NOT_FOUND, Objects, micro_time
from ingressd.control.election import Election, Lease, Read, Times, Wait, Write
from ingressd.source.cluster.api import ApiError

_log = logging.getLogger(__name__)


def clock() -> float:
    """Seconds that go on while the machine sleeps; a leader that slept must not believe that it leads."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def identity_of(pod: str) -> str:
    """A name for this process that no other has, and that tells people which pod it is in."""
    return f"{pod}_{uuid4()}"


def nothing() -> None:
    """For a candidate on whose lead nothing depends."""


class Leader:
    """A candidate, and perhaps the leader. Leads only while `run` runs. Needs the rights to get, create and patch the
    Lease."""

    def __init__(
        self,
        objects: Objects,
        namespace: str,
        name: str,
        identity: str,
        times: Times,
        on_loss: Callable[[], None] = nothing,
    ) -> None:
        """`on_loss` is called when it leads no more, as soon as that is noticed: what was begun before is to end."""
        self.name = name
        self._on_loss = on_loss
        self._objects = objects
        self._namespace = namespace
        self._leases = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._election = Election(identity, times, random.random)
        self._led = asyncio.Event()
        self._holder = ""
        self._trouble: tuple[type[Read | Write], str] | None = None
        """What could not be done, and why, as it was last said in the log."""

    @property
    def leads(self) -> bool:
        """Whether this is the leader at this moment. Must be asked again before each write."""
        return self._election.leads(clock())

    async def led(self) -> None:
        """Waits until this is the leader."""
        while not self.leads:
            self._led.clear()
            await self._led.wait()

    async def run(self) -> None:
        """Takes part in the election until cancelled."""
        was_leader = False
        while True:
            await self._take(self._election.decide(clock()))
            leads = self.leads
            if leads:
                self._led.set()
            if leads != was_leader:
                was_leader = leads
                if not leads:
                    self._on_loss()
                self._note_change(leads)
            elif not leads:
                self._note_holder()

    async def release(self) -> None:
        """Gives the lead up, after `run` has ended, and lets another take it at once. What fails is only logged: the
        Lease then runs out by itself."""
        self._election.resign()
        if self._election.holder != self._election.identity:
            return
        try:
            lease = await self._objects.get(f"{self._leases}/{self.name}", Lease)
            if step := self._election.to_release(lease):
                await self._write(step, holder=None)
                _log.info("released Lease %s/%s", self._namespace, self.name)
        except ApiError as error:
            _log.warning("Lease %s/%s is not released, it runs out by itself: %s", self._namespace, self.name, error)

    async def _take(self, step: Read | Write | Wait) -> None:
        """Does what is decided, and tells what came of it."""
        if isinstance(step, Wait):
            await asyncio.sleep(step.seconds)
            return
        started = clock()
        try:
            if isinstance(step, Read):
                self._election.found(await self._read(), clock())
            else:
                lease = await self._write(step, self._election.identity)
                self._election.written(lease, started, clock())
        except ApiError as error:
            if error.status == CONFLICT:
                self._election.refused(clock())
                return
            self._election.failed(clock())
            if self._trouble != (trouble := (type(step), str(error))):
                self._trouble = trouble
                _log.warning("Lease %s/%s: %s; trying again", self._namespace, self.name, error)
            return
        if self._trouble and self._trouble[0] is type(step):
            self._trouble = None
            _log.info("Lease %s/%s: it works again", self._namespace, self.name)

    async def _read(self) -> Lease | None:
        try:
            return await self._objects.get(f"{self._leases}/{self.name}", Lease)
        except ApiError as error:
            if error.status == NOT_FOUND:
                return None
            raise

    async def _write(self, step: Write, holder: str | None) -> Lease:
        now = micro_time()
        spec = {
            "holderIdentity": holder,
            "leaseDurationSeconds": self._election.times.lease,
            "acquireTime": step.acquired or now,
            "renewTime": now,
            "leaseTransitions": step.transitions,
        }
        if step.version:
            patch = {"metadata": {"resourceVersion": step.version}, "spec": spec}
            return await self._objects.patch(f"{self._leases}/{self.name}", patch, Lease)
        lease: dict[str, Any] = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease"}
        return await self._objects.create(self._leases, {**lease, "metadata": {"name": self.name}, "spec": spec}, Lease)

    def _note_change(self, leads: bool) -> None:
        if leads:
            _log.info("leading: Lease %s/%s is ours", self._namespace, self.name)
        else:
            _log.warning("not leading any more: Lease %s/%s", self._namespace, self.name)

    def _note_holder(self) -> None:
        holder = self._election.holder
        if holder and holder not in (self._holder, self._election.identity):
            _log.info("not leading: Lease %s/%s is held by %s", self._namespace, self.name, holder)
        self._holder = holder
