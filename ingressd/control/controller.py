"""The state of the control plane, and the one loop that changes it.

source and DNS -> reconcile -> a snapshot, published to every worker; from the workers come reports and exits. Tasks and
protocols only post events; the admin server reads the same state between two events and changes nothing.
"""

import asyncio
import gc
import logging
import platform
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ingressd import __version__
from ingressd.admin.view import ClusterHealth, WorkerStatus
from ingressd.aio import spawn
from ingressd.control.build import compiled_summary, hot_modules
from ingressd.control.certificates import certificate_figures
from ingressd.control.dns import Resolver
from ingressd.control.health.endpoints import Endpoints
from ingressd.control.holdoff import LONGEST, HoldOff
from ingressd.control.options import Options
from ingressd.control.problem_log import ProblemLog
from ingressd.control.reconcile import Reconciler
from ingressd.control.tickets import PERIOD, Tickets
from ingressd.control.workers import (
    SILENCE,
    CaughtUp,
    Due,
    Exited,
    Listeners,
    Said,
    Worker,
    WorkerEvent,
    Workers,
)
from ingressd.control.writing import Writers, orphans
from ingressd.link import Drain, Findings, Report, Serving, frame
from ingressd.model import ObjectRef, Problem, Snapshot, Update
from ingressd.source.base import Changes, Source
from ingressd.telemetry.aggregate import Totals
from ingressd.telemetry.exposition import BuildInfo, ControllerFigures, Page
from ingressd.translate.keyring import SECRET_NOT_FOUND

WORKER_COMMAND: Sequence[str] = (sys.executable, "-m", "ingressd.proxy")
LONGEST_UNTIL_DATE = 86400.0
"""Seconds after which dates are looked at again in any case, since clocks are set."""
STOP_GRACE = 5.0
"""Seconds that workers may take to stop beyond Timeouts.drain; they need 3 at most."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SourceChanged:
    changes: Changes


@dataclass(frozen=True, slots=True)
class AddressesChanged:
    """DNS gives other addresses, or fails otherwise, for a name that a cluster has."""


@dataclass(frozen=True, slots=True)
class HealthChanged:
    """Endpoints have become healthy or unhealthy by their checks."""


@dataclass(frozen=True, slots=True)
class HeldOff:
    """What has changed may have waited long enough."""


@dataclass(frozen=True, slots=True)
class TimeChanged:
    """The time of a certificate may have begun or ended."""


@dataclass(frozen=True, slots=True)
class TicketsDue:
    """The key of session tickets is old."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Somebody asks for the end."""

    signal: signal.Signals


@dataclass(frozen=True, slots=True)
class GraceOver:
    """Load balancers have had the time to notice that this is the end."""


@dataclass(frozen=True, slots=True)
class HandedOver:
    """Another process has our listening sockets, and serves."""


@dataclass(frozen=True, slots=True)
class DrainOver:
    """The workers have had the time to end."""


Event = (
    SourceChanged
    | AddressesChanged
    | HealthChanged
    | HeldOff
    | TimeChanged
    | TicketsDue
    | Stop
    | GraceOver
    | HandedOver
    | DrainOver
    | WorkerEvent
)


class Controller:
    """Owns objects, snapshot and workers. It is also the View that the admin server shows."""

    def __init__(
        self,
        options: Options,
        source: Source,
        listeners: Sequence[Listeners],
        writers: Writers,
        *,
        on_ready: Callable[[], None] = lambda: None,
        hang_up: Callable[[], bool] = lambda: False,
    ) -> None:
        """`listeners` are the sockets of each worker. `on_ready` is called once, when all workers serve; `hang_up` when
        no more connections are to be taken: it closes our descriptors of the listening sockets, and gives whether
        another process has them, even one that is not ready yet."""
        self._events: asyncio.Queue[tuple[float, Event]] = asyncio.Queue()
        """With the time when each was posted, in loop.time()."""
        self._clock = asyncio.get_running_loop().time
        self._resolver = Resolver(lambda: self.post(AddressesChanged()), options.nameservers)
        self._endpoints = Endpoints(lambda: self.post(HealthChanged()))
        self._reconciler = Reconciler(options.translation, source.locate)
        self._problem_log = ProblemLog(_log)
        self._workers = Workers(WORKER_COMMAND, options.settings, listeners, self.post)
        self._tickets = Tickets()
        self._totals = Totals()
        self._figures = ControllerFigures(
            config_hash=lambda: self._reconciler.published.checksum,
            certificates=lambda: certificate_figures(self.snapshot),
        )
        build = BuildInfo(__version__, platform.python_version(), compiled_summary(hot_modules()))
        self._page = Page(options.identity, build, self._totals, self._figures)
        self._source = source
        self._writers = writers
        self._on_ready = on_ready
        self._hang_up = hang_up
        self._grace = options.grace
        self._drain = options.settings.timeouts.drain
        self._hold_off = HoldOff()
        self._hold_off_timer: asyncio.TimerHandle | None = None
        """Runs while something that has changed is held off."""
        self._tickets_timer: asyncio.TimerHandle | None = None
        """Runs until the key of session tickets is old."""
        self._date_timer: asyncio.TimerHandle | None = None
        """Runs until the time of a certificate begins or ends, or for a day at most."""
        self._end_timers: list[asyncio.TimerHandle] = []
        """Run until the next step of the end is due."""
        self._retranslate = False
        """Whether objects are among what changed, or only addresses."""
        self._spreading: dict[int, float] = {}
        """Generations that not every worker serves yet, and when the oldest change in each was seen."""
        self._needed: Sequence[ObjectRef] = ()
        """What the source was last asked for by name."""
        self._logged: Sequence[Problem] = ()
        """The problems that were last given to the log."""
        self._log_waits = False
        """Whether the log has left some of these for later, since they may be none in a moment."""
        self._started = False
        """Whether the workers were started, which is when the source is complete for the first time."""
        self._was_ready = False
        self._stopping = False
        self._closed = False
        """Whether no more connections are taken."""
        self._ended = False

    def post(self, event: Event) -> None:
        """Hands an event to the loop."""
        self._events.put_nowait((self._clock(), event))

    def _post_later(self, seconds: float, event: Event) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(seconds, self.post, event)

    async def run(self, first: Changes) -> None:
        """Starts the workers as soon as the source has given all there is, which may be `first`, and serves until told
        to stop, and until what was under way then has ended. Before the start connections wait in the listening
        sockets: no part of the objects is served for the whole.

        Everything that changes the state happens in this loop, one thing at a time:

        - objects have changed: they go into the store
        - DNS has other addresses for a cluster, or fails to give them
        - endpoints have become healthy or unhealthy, which is published at once, whatever else is held off
        - a worker says that it serves a generation, what it has counted, or what it has found about endpoints
        - a worker that was behind has caught up: it gets the whole state
        - a worker has exited: another one is due, at once or after a pause
        - a worker is due: it is started with the whole state
        - the time of a certificate begins or ends
        - the key of session tickets is old: all workers get a new one
        - a signal asks to stop: we are not ready any more; or another process has taken over the sockets
        - the time for load balancers to notice is over: listening stops, the workers finish what they have
        - the last worker has exited, or the time for it is over: that is the end
        - what has changed was held off and is due

        Changes that wait together are translated and published together (`holdoff` says when).
        """
        watching = spawn(self._workers.watch(self._note_hang), "look at the workers")
        try:
            self._reconciler.take(first)
            self._note_change(self._clock(), of_objects=True)
            await self._bring_up_to_date()
            await self._follow_events()
        finally:
            watching.cancel()
            for timer in filter(None, (*self._end_timers, self._hold_off_timer, self._tickets_timer, self._date_timer)):
                timer.cancel()
            await self._resolver.close()
        await self._endpoints.close()

    async def _follow_events(self) -> None:
        writing: asyncio.Task[None] | None = None
        while not self._ended:
            seen, event = await self._events.get()
            match event:
                case SourceChanged(changes):
                    if self._reconciler.take(changes):
                        self._note_change(seen, of_objects=True)
                    elif not self._started or self._log_waits:  # perhaps nothing more is missing
                        self._note_change(seen, of_objects=False)
                case AddressesChanged():
                    self._note_change(seen, of_objects=False)
                case HealthChanged():
                    self._endpoints.say_changes()
                    self._publish(seen, retranslate=False)
                case Said(number, Serving(generation)):
                    self._workers[number].serving = generation
                    self._note_progress(seen)
                case Said(number, Report() as report):
                    self._totals.add(number, report)
                case Said(number, Findings() as findings):
                    self._endpoints.take(number, findings)
                case CaughtUp(number):
                    self._workers[number].send_whole(self._whole())
                case Exited():
                    self._note_exit(event)
                case Due(number):
                    if not self._closed:
                        await self._start_again(number)
                case HeldOff():
                    pass
                case TimeChanged():
                    self._note_change(seen, of_objects=True)
                case TicketsDue():
                    self._tickets.renew()
                    self._workers.tell(frame(self._tickets.message))
                    self._renew_tickets_later()
                case Stop(cause):
                    _log.info("stopping: %s", cause.name)
                    leaving = self._grace if self._started else 0.0
                    writing = writing or spawn(self._writers.finish(leaving), "the end of the writing")
                    self._announce_end()
                case HandedOver():
                    _log.info("stopping: another process has taken over the listening sockets")
                    writing = writing or spawn(self._writers.finish(None), "the end of the writing")
                    self._close()
                case GraceOver():
                    self._close()
                case DrainOver():
                    self._give_up()
            if self._is_due():
                await self._bring_up_to_date()
        if writing is not None:
            await writing

    def _announce_end(self) -> None:
        """Is not ready any more, so that load balancers stop sending, and asks clients to go elsewhere."""
        self._stopping = True
        if self._grace and self._started:
            _log.info("listening for %g s more (--shutdown-grace-period)", self._grace)
            self._workers.drain(Drain(listening=True))
            self._end_timers.append(self._post_later(self._grace, GraceOver()))
        else:
            self._close()

    def _close(self) -> None:
        """Takes no more connections, and lets the workers finish those they have."""
        if self._closed:
            return
        self._stopping = self._closed = True
        # First ours: then the workers' descriptors are the last ones, and they care for what waits in the queues.
        handed_over = self._hang_up()
        self._workers.drain(Drain(listening=False, handed_over=handed_over))
        self._ended = not self._workers.running
        self._end_timers.append(self._post_later(self._drain + STOP_GRACE, DrainOver()))

    def _give_up(self) -> None:
        late = ", ".join(str(worker.number) for worker in self._workers.running)
        _log.warning("killing workers that did not end within %g s: %s", self._drain + STOP_GRACE, late)
        self._workers.kill()

    def kill(self) -> None:
        """Ends the workers at once."""
        self._workers.kill()

    def _note_change(self, seen: float, *, of_objects: bool) -> None:
        self._hold_off.changed(seen)
        self._retranslate |= of_objects

    def _is_due(self) -> bool:
        """Whether to publish now. Takes care that this is asked again in time."""
        now, oldest = self._clock(), self._hold_off.oldest
        if oldest is None:
            return False
        if self._hold_off.due > now:
            if self._hold_off_timer is None:
                loop = asyncio.get_running_loop()
                self._hold_off_timer = loop.call_at(self._hold_off.due, self._held_off)
            return False
        return self._events.empty() or now >= oldest + LONGEST

    def _held_off(self) -> None:
        self._hold_off_timer = None
        self.post(HeldOff())

    async def _bring_up_to_date(self) -> None:
        seen = self._hold_off.oldest
        retranslate, self._retranslate = self._retranslate, False
        self._publish(seen, retranslate=retranslate)
        self._hold_off.published(self._clock())
        if not self._started and self._source.missing():
            return
        self._writers.take(self._reconciler.ours, self._reconciler.problems)
        if self._started:
            return
        self._started = True
        # The objects stay; going over them again and again would double the time that each change takes.
        gc.collect()
        gc.freeze()
        for worker in list(self._workers):
            await self._start_worker(worker.number)
        self._renew_tickets_later()

    async def _start_worker(self, number: int) -> None:
        await self._workers.start(number, frame(self._tickets.message), self._whole())

    def _renew_tickets_later(self) -> None:
        self._tickets_timer = self._post_later(PERIOD, TicketsDue())

    def _look_at_clock_later(self) -> None:
        """Takes care that the time of certificates is looked at when it begins or ends."""
        if self._date_timer is not None:
            self._date_timer.cancel()
            self._date_timer = None
        if (due := self._reconciler.due) is not None:
            pause = min(max(due - time.time(), 0.0), LONGEST_UNTIL_DATE)
            self._date_timer = self._post_later(pause, TimeChanged())

    def _translate(self) -> None:
        """Brings what is wanted up to date with the objects."""
        self._reconciler.rebuild()
        self._look_at_clock_later()
        self._resolver.set_names(self._reconciler.dns_names())
        if self._reconciler.references is not self._needed:
            self._needed = self._reconciler.references
            self._source.need(self._needed)

    def _publish(self, seen: float | None, *, retranslate: bool) -> None:
        """Brings what is published up to date with addresses and health, and with objects where `retranslate` says so.
        `seen` is when the oldest change was."""
        update: Update | None = None
        try:
            if retranslate:
                self._translate()
            if self._started or not self._source.missing():
                update = self._reconciler.publish(
                    self._resolver.addresses, self._resolver.problems(), self._endpoints.applied
                )
            else:
                self._reconciler.note_problems(self._resolver.problems())
        except Exception:
            # A defect of ours that some object brings out must not take down what is served: that stays as it was.
            _log.exception("the objects cannot be translated; what was published before stays")
            self._figures.failures += 1
            self._figures.last_ok = False
            return
        # Addresses that could be published say nothing of objects that could not be translated.
        self._figures.last_ok |= retranslate
        if self._reconciler.problems is not self._logged or self._log_waits:
            self._logged = self._reconciler.problems
            # A Secret is read only once an Ingress names it.
            unsure = (SECRET_NOT_FOUND,) if self._source.missing() else ()
            self._log_waits = self._problem_log.update(self._logged, unsure)
        if update is None:
            return
        self._figures.published += 1
        self._figures.last_published = time.time()
        published = self._reconciler.published
        if update.virtual_hosts or update.removed_hosts:
            hosts = (host.host for host in published.snapshot.virtual_hosts)
            self._totals.keep(published.ingresses(), hosts)
        if seen is not None and update.generation > 1:  # the first waits for the workers to start, not for a change
            self._spreading[update.generation] = seen
        self._workers.publish(frame(update))
        seldom = update.virtual_hosts or update.removed_hosts or update.certificates or update.removed_certificates
        _log.log(logging.INFO if seldom else logging.DEBUG, _summary(update))

    def _whole(self) -> bytes:
        """The state for a worker that has none, or an old one."""
        return frame(self._reconciler.published.whole())

    def _note_progress(self, now: float) -> None:
        """A worker serves another generation."""
        lowest = min(worker.serving or 0 for worker in self._workers)
        for generation in [generation for generation in self._spreading if generation <= lowest]:
            self._figures.propagation.observe(now - self._spreading.pop(generation))
        if not self._was_ready and not self.missing():
            self._was_ready = True
            self._on_ready()
            state = self._reconciler.published.snapshot
            _log.info(
                "ready: workers: %d, virtual hosts: %d, clusters: %d, Ingresses of another class or of none: %d",
                len(list(self._workers)),
                len(state.virtual_hosts),
                len(state.clusters),
                len(self._reconciler.passed_over),
            )

    async def _start_again(self, number: int) -> None:
        self._figures.worker_restarts += 1
        await self._start_worker(number)
        if self._stopping:
            self._workers[number].drain(Drain(listening=True))

    def _note_hang(self, worker: Worker) -> None:
        self._figures.worker_hangs += 1
        _log.error("worker %d (pid %d) hangs: nothing was heard of it for %d s", worker.number, worker.pid, SILENCE)

    def _note_exit(self, event: Exited) -> None:
        worker = self._workers[event.worker]
        self._totals.forget(worker.number)
        self._endpoints.forget(worker.number)
        worker.serving = None
        if self._closed:
            if event.how != "exited with code 0":
                _log.warning("worker %d (pid %d) %s", worker.number, worker.pid, event.how)
            self._ended = not self._workers.running
            return
        pause = self._workers.replace_later(event)
        when = f"in {pause:g} s" if pause else "now"
        _log.error("worker %d (pid %d) %s; starting another %s", worker.number, worker.pid, event.how, when)

    # View

    @property
    def generation(self) -> int:
        return self._reconciler.published.generation

    @property
    def snapshot(self) -> Snapshot:
        return self._reconciler.published.snapshot

    @property
    def problems(self) -> Sequence[Problem]:
        return self._reconciler.problems

    @property
    def passed_over(self) -> Sequence[ObjectRef]:
        return self._reconciler.passed_over

    def endpoints(self) -> Iterator[ClusterHealth]:
        return self._endpoints.view()

    def workers(self) -> Sequence[WorkerStatus]:
        return [
            WorkerStatus(worker.number, worker.pid if worker.running else 0, worker.serving) for worker in self._workers
        ]

    def missing(self) -> Sequence[str]:
        if self._stopping:
            return ["the controller is stopping"]
        if not self._started:
            return self._source.missing() or ["the workers are about to be started"]
        if not self.generation:
            return ["the objects could not be translated yet: see the log"]
        return [
            f"worker {status.worker} (pid {status.pid}) does not serve yet"
            if status.pid
            else f"worker {status.worker} does not run"
            for status in self.workers()
            if status.generation is None
        ]

    def metrics(self) -> Iterator[bytes]:
        figures = self._figures
        figures.workers = sum(worker.running for worker in self._workers)
        figures.workers_ready = sum(worker.serving == self.generation for worker in self._workers)
        figures.tasks = len(asyncio.all_tasks())
        figures.generation = self.generation
        figures.problems = Counter((problem.reason, problem.severity.value) for problem in self.problems)
        figures.objects = self._reconciler.objects()
        figures.watches = self._source.figures()
        figures.writing = self._writers.figures()
        figures.health = self._endpoints.figures()
        figures.orphans = set(orphans(self.problems))
        return self._page.pieces()


def _summary(update: Update) -> str:
    """What an update changes, for the log."""
    counts = [f"virtual hosts {len(update.virtual_hosts)} changed, {len(update.removed_hosts)} removed"]
    counts.append(f"clusters {len(update.clusters)} changed, {len(update.removed_clusters)} removed")
    if update.certificates or update.removed_certificates:
        counts.append(f"certificates {len(update.certificates)} changed, {len(update.removed_certificates)} removed")
    return f"published generation {update.generation}: {'; '.join(counts)}"
