"""The objects of one kind, kept as the API server has them: a list, then a watch from there on.

    list, page by page -> watch -+- its time is over, or it broke off -> watch again from where it was
          ^                      |
          +----- 410 Gone -------+   (what the watch needs is no longer there)
          +- it cannot go on ----+   (the API server stumbles over what comes next, time after time)

What is known stays until the API server says otherwise: a list counts only when its last page is there, and only then
is what it no longer has taken for gone. An object that cannot be read is a Problem, and its last good state stays. Only
refusals and failures in a row make pauses; the first attempt after something that has worked is made at once.

(kubernetes.io: "Kubernetes API Concepts", efficient detection of changes, retrieving large result sets in chunks.)
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from random import uniform
from time import monotonic
from typing import Generic, NamedTuple, Protocol, TypeVar

import msgspec

from ingressd.model import ObjectRef, Problem
from ingressd.resources.finding import Finding
from ingressd.resources.store import Name
from ingressd.source.cluster.api import BAD_ANSWER, NO_ANSWER, SILENT, Api, ApiError, Status
from ingressd.source.cluster.backoff import Backoff
from ingressd.source.cluster.kinds import Kind
from ingressd.source.cluster.outage import Outage
from ingressd.source.cluster.refusal import is_refusal, refusal
from ingressd.source.cluster.wire import decode_event, decode_object, decode_page

PAGE = 500
TURN = 50
"""Objects read before other work gets its turn: some milliseconds."""
GRACE = 30.0
"""Seconds that the API server may take longer to end a watch than it was asked to."""
STUMBLES = 3
"""Attempts to go on from a version that an API server may fail, without getting on; after that, there is a new list."""
CERTAIN = 4
"""Refusals in a row after which we go on without what they are about. That takes about a second, after which an API
server that has just started has read the roles."""
AWAY = (NO_ANSWER, 401, 429, 502, 503)
"""Statuses that say nothing about what was asked for: nobody is there, knows us, or has time."""
SILENCES = 2
"""Watches in a row that say nothing at all; after that, there is a new list. An API server whose storage was put back
to an earlier state is silent until it gets to our version again."""


class Timing(NamedTuple):
    """Seconds, but for `reads`."""

    shortest: float = 0.5
    longest: float = 30.0
    """Pauses after failures."""
    watch: tuple[float, float] = (300.0, 600.0)
    """How long a watch goes on, at random, so that those of many clients do not end together."""
    silence: float = 150.0
    """After which a watch is opened again: the API server sends a bookmark about once a minute."""
    steady: float = 1.0
    """How long a watch without news goes on before it counts as one that works."""
    again: float = 60.0
    """Before it is tried again whether an object may be watched; then twice as long, up to an hour."""
    poll: float = 30.0
    """Between two looks at a named object that is not watched."""
    reads: float = 20.0
    """Such looks in a second, on average; where there are more objects, each is looked at more seldom."""


class Readable(Protocol):
    """What an object is read into."""

    @property
    def name(self) -> str: ...
    @property
    def namespace(self) -> str: ...


T = TypeVar("T", bound=Readable)
Read = Callable[[msgspec.Raw], T | tuple[Finding, ...]]


class ListWatch(Generic[T]):
    """Calls `changed` with each object that is new or another, and with None for one that is gone; and `noted` when
    problems(), `listed` or `refused` are other than before."""

    def __init__(
        self,
        api: Api,
        kind: Kind,
        read: Read[T],
        changed: Callable[[Name, T | None], None],
        noted: Callable[[], None],
        outage: Outage,
        timing: Timing,
        namespace: str = "",
        selector: Mapping[str, str] | None = None,
        patient: bool = True,
    ) -> None:
        """`namespace` empty: all. `selector` is a parameter of the request: fieldSelector or labelSelector. Without
        `patient`, run() ends when the API server refuses."""
        self.kind = kind
        self.objects: dict[Name, T] = {}
        self.listed = False
        """Whether there was a whole list."""
        self.refused: Problem | None = None
        self.error = ""
        """What the last attempt met; empty if it worked."""
        self.restarts = 0
        """Watches that were opened again because they broke off or could not go on."""
        self.heard: float | None = None
        """When the API server last said something about the kind, in time.monotonic()."""
        self._api = api
        self._read = read
        self._changed = changed
        self._noted = noted
        self._outage = outage
        self._timing = timing
        self._namespace = namespace if kind.namespaced else ""
        self._path = kind.path(namespace)
        self._selector = selector or {}
        self._patient = patient
        self._problems: dict[Name, tuple[Problem, ...]] = {}
        self._version = ""
        """Of the state in `objects`; empty if a list is needed."""
        self._verb = "list"
        self._opened: float | None = None
        """When the watch of this attempt was opened."""
        self._refusals = 0
        self._silences = 0
        self._stumbles = 0
        self._backoff = Backoff(timing.shortest, timing.longest)

    @property
    def refused_for_good(self) -> bool:
        """Whether it was refused so often that it is not because the API server has just started."""
        return self.refused is not None and self._refusals >= CERTAIN

    def problems(self) -> Iterator[Problem]:
        """Of objects that cannot be read, and of rights that are missing."""
        for found in self._problems.values():
            yield from found
        if self.refused is not None:
            yield self.refused

    async def run(self) -> None:
        """Follows the API server for ever."""
        try:
            while True:
                pause = await self._attempt()
                if self.refused is not None and not self._patient:
                    return
                if pause:
                    await asyncio.sleep(pause)
        finally:
            self._outage.forget(self)

    async def _attempt(self) -> float:
        """Goes on from what is known, until that ends. Gives the seconds to wait before the next attempt."""
        self._opened = None
        try:
            if not self._version:
                self._verb = "list"
                await self._list()
            self._verb = "watch"
            await self._watch()
            if not self._was_steady():
                raise ApiError(BAD_ANSWER, "", "the watch ended as soon as it had begun")
        except ApiError as error:
            return self._failed(error)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return self._failed(ApiError(BAD_ANSWER, "", f"the answer is not what an API server says: {error}"))
        self._got_on()
        return 0.0

    def _got_on(self) -> None:
        """It works: failures from now on are of a new series."""
        self._backoff.reset()
        self._stumbles = 0

    def _was_steady(self) -> bool:
        """Whether the watch was open for long enough to count as one that works."""
        return self._opened is not None and monotonic() - self._opened >= self._timing.steady

    def _failed(self, error: ApiError) -> float:
        if self._verb == "watch":
            self.restarts += 1
        if self._was_steady():
            self._got_on()
        pause = max(self._backoff.pause(), error.retry_after)
        self.error = error.message
        if is_refusal(error):
            self._refusals += 1
            # An API server that has just started may refuse for a moment what it allows.
            if self._refusals > 1 or not self.listed or not self._patient:
                self._version = ""  # without the right to watch, a list now and then has to do
                self._note_refusal(refusal(self.kind, self._verb, self._namespace, error))
            if self._refusals == CERTAIN:
                self._noted()
            self._outage.found(self)
            return pause
        self._silences += self._opened is not None and error.reason == SILENT
        self._stumbles += error.status not in AWAY
        if error.status == 410 or self._stumbles > STUMBLES or self._silences >= SILENCES:
            self._version = ""
            self._silences = 0
        if error.status != 410 and self._backoff.failures > 1:
            self._outage.lost(self, self.heard, f"{self.kind.name}: {error.message}")
        return pause

    def _note_refusal(self, problem: Problem | None) -> None:
        if self.refused != problem:
            self.refused = problem
            self._noted()

    def _answered(self) -> None:
        """The API server allows what we asked for."""
        self.heard = monotonic()
        self.error = ""
        self._outage.found(self)
        if self._verb == "watch":
            self._refusals = 0
            self._note_refusal(None)

    # --- list

    async def _list(self) -> None:
        found: dict[Name, T] = {}
        problems: dict[Name, tuple[Problem, ...]] = {}
        query = {"limit": str(PAGE), **self._selector}
        while True:
            page = decode_page(await self._api.request("GET", self._path, query))
            for at, item in enumerate(page.items or ()):
                if at % TURN == TURN - 1:
                    await asyncio.sleep(0)
                value = self._read(item)
                if isinstance(value, tuple):
                    name, reported = self._unreadable(item, value)
                    problems[name] = reported
                else:
                    found[value.namespace, value.name] = value
            if not page.metadata.more:
                break
            query = {**query, "continue": page.metadata.more}
        self._answered()
        self._version = page.metadata.resource_version
        self._replace(found, problems)

    def _replace(self, found: dict[Name, T], problems: dict[Name, tuple[Problem, ...]]) -> None:
        """Makes a whole list what is known."""
        for name in [name for name in self.objects if name not in found and name not in problems]:
            self._put(name, None)
        for name, value in found.items():
            self._put(name, value)
        first, self.listed = not self.listed, True
        if first or problems != self._problems:
            self._problems = problems
            self._noted()

    def _put(self, name: Name, value: T | None) -> None:
        if value is None:
            former = self.objects.pop(name, None)
        else:
            former, self.objects[name] = self.objects.get(name), value
        if former != value:
            self._changed(name, value)

    # --- watch

    async def _watch(self) -> None:
        seconds = uniform(*self._timing.watch)
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": self._version,
            "timeoutSeconds": str(max(1, round(seconds))),
            **self._selector,
        }
        async with self._api.lines(self._path, query, silence=self._timing.silence, total=seconds + GRACE) as lines:
            self._answered()
            self._opened = monotonic()
            async for line in lines:
                self._take(line)

    def _take(self, line: bytes) -> None:
        """One event of a watch."""
        event = decode_event(line)
        if event.type == "ERROR":
            raise msgspec.json.decode(event.object, type=Status).error()
        self.heard = monotonic()
        self._silences = 0
        metadata = decode_object(event.object).metadata
        name = (metadata.namespace, metadata.name)
        if event.type == "DELETED":
            self._put(name, None)
            self._note_problems(name, ())
        elif event.type in ("ADDED", "MODIFIED"):
            value = self._read(event.object)
            if isinstance(value, tuple):
                self._note_problems(*self._unreadable(event.object, value))
            else:
                self._put(name, value)
                self._note_problems(name, ())
        if self._version != metadata.resource_version:
            self._version = metadata.resource_version
            self._got_on()  # however soon it breaks off

    def _unreadable(self, item: msgspec.Raw, findings: tuple[Finding, ...]) -> tuple[Name, tuple[Problem, ...]]:
        metadata = decode_object(item).metadata
        ref = ObjectRef(self.kind.name, metadata.namespace, metadata.name)
        problems = tuple(Problem(ref, finding.reason, finding.message, finding.field) for finding in findings)
        return (metadata.namespace, metadata.name), problems

    def _note_problems(self, name: Name, problems: tuple[Problem, ...]) -> None:
        if self._problems.get(name, ()) != problems:
            if problems:
                self._problems[name] = problems
            else:
                del self._problems[name]
            self._noted()
