"""The worker processes: how they are started, told what to serve, replaced when they exit, and stopped.

A worker is told to stop by a message, and it stops too when this process is gone, however that came about: it then
finishes what it has, with nobody waiting at its port. Each runs in a session of its own, so that Ctrl-C in a terminal
reaches only the controller, which then ends them in order.

A worker says something each second. One that has been silent for SILENCE hangs, and is killed, so that another takes
its place. What is counted is our own looks at it, not time: where the whole machine stood still, nobody hangs.

What is waiting to be read by a worker is bounded. A worker that does not keep up gets no more updates; once it has read
what it has, it gets the whole state instead of those it missed.

Nothing here decides: what happens to a worker is posted as an event to the controller's loop, which calls back.
"""

import asyncio
import logging
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

import msgspec

from ingressd.aio import spawn
from ingressd.link import Drain, FromWorker, frame, frames_from_worker
from ingressd.model import WorkerSettings

MAX_UNREAD = 1 << 20
"""Bytes that may wait for a worker to read them before it counts as behind; 1 MiB is some 5,000 virtual hosts."""
LONGEST_PAUSE = 30.0
"""Seconds between two starts of a worker that keeps failing, at most."""
STEADY = 10.0
"""Seconds a worker must live for its exit not to count as a failure to start."""
LOOK = 1.0
"""Seconds between two looks at whether workers say anything."""
SILENCE = 10
"""So many looks in a row without a word, and a worker hangs."""
BIRTH = 60
"""The same before its first word: it has to read the whole state first."""
UNLINKED = 2.0
"""Seconds that a process may live on after its link has closed before it is killed."""

_log = logging.getLogger(__name__)


class Listeners(NamedTuple):
    """The listening sockets of one worker."""

    http: Sequence[socket.socket]
    https: Sequence[socket.socket] = ()


@dataclass(frozen=True, slots=True)
class Said:
    """A worker sent this."""

    worker: int
    message: FromWorker


@dataclass(frozen=True, slots=True)
class CaughtUp:
    """A worker that was behind has read all it was sent."""

    worker: int


@dataclass(frozen=True, slots=True)
class Exited:
    """A worker process ended, or could not be started (`how` says it). `lived` is in seconds."""

    worker: int
    how: str
    lived: float


@dataclass(frozen=True, slots=True)
class Due:
    """It is time to start this worker again."""

    worker: int


WorkerEvent = Said | CaughtUp | Exited | Due
Post = Callable[[WorkerEvent], None]


def restart_pause(failures: int) -> float:
    """Seconds to wait before starting a worker again that has failed so many times in a row: none after the first
    time, then 1, 2, 4 and so on up to LONGEST_PAUSE."""
    return 0.0 if failures <= 1 else min(LONGEST_PAUSE, 2.0 ** min(failures - 2, 16))


def describe_exit(code: int) -> str:
    """How a process ended, from its return code as asyncio gives it: negative for a signal."""
    if code >= 0:
        return f"exited with code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


class Worker(asyncio.Protocol):
    """One worker process and our end of its link. Made again for each start."""

    def __init__(self, number: int, post: Post) -> None:
        self.number = number
        self.pid = 0
        self.serving: int | None = None
        """The generation it serves, as it said; None before the first."""
        self.silent = 0
        """Looks at it since it last said something."""
        self.heard = False
        self.gone = asyncio.Event()
        """Set once the process has exited and all it said has been posted."""
        self._post = post
        self._frames = frames_from_worker()
        self._behind = False
        self._writable = True
        self._unlinked = asyncio.Event()
        self._process: asyncio.subprocess.Process | None = None
        self._link: asyncio.Transport | None = None

    async def start(self, command: Sequence[str], listeners: "Listeners", first: bytes) -> None:
        """Starts the process with its listening sockets and sends `first`. Failing to is posted as Exited."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            ours, theirs = socket.socketpair()
        except OSError as error:
            self._note_failure(error)
            return
        with theirs:
            http, https = ([sock.fileno() for sock in sockets] for sockets in listeners)
            options = [text for fd in http for text in ("--listen-fd", str(fd))]
            options += [text for fd in https for text in ("--tls-listen-fd", str(fd))]
            try:
                self._process = await asyncio.create_subprocess_exec(
                    *command,
                    "--link-fd",
                    str(theirs.fileno()),
                    *options,
                    stdin=asyncio.subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(), *http, *https),
                    start_new_session=True,
                )
            except OSError as error:
                ours.close()
                self._note_failure(error)
                return
        self.pid = self._process.pid
        await loop.create_unix_connection(lambda: self, sock=ours)
        self._write(first)
        spawn(self._watch(self._process, started), f"watch of worker {self.number}")

    def _note_failure(self, error: OSError) -> None:
        self.gone.set()
        self._post(Exited(self.number, f"cannot be started: {error}", 0.0))

    def send(self, update: bytes) -> None:
        """Sends a framed Update that changes what the one before led to; a worker that is behind does not get it."""
        self._behind = self._behind or not self._writable
        if not self._behind:
            self._write(update)

    def tell(self, message: bytes) -> None:
        """Sends a framed message that is no Update and must not be missed."""
        self._write(message)

    def send_whole(self, update: bytes) -> None:
        """Sends a framed Update that holds the whole state."""
        self._behind = False
        self._write(update)

    def drain(self, message: Drain) -> None:
        """Tells it to end, or that it soon will be; what it says until it exits is still heard."""
        self._write(frame(message))

    @property
    def hangs(self) -> bool:
        """Whether it has been silent for too long."""
        return self.silent >= (SILENCE if self.heard else BIRTH)

    @property
    def running(self) -> bool:
        return self._process is not None and not self.gone.is_set()

    def kill(self) -> None:
        """Ends the process at once, if it runs."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    def _write(self, data: bytes) -> None:
        if self._link is not None and not self._link.is_closing():
            self._link.write(data)

    async def _watch(self, process: asyncio.subprocess.Process, started: float) -> None:
        code = await process.wait()
        lived = asyncio.get_running_loop().time() - started
        # Its last words may still lie in the socket.
        try:
            async with asyncio.timeout(UNLINKED):
                await self._unlinked.wait()
        except TimeoutError:
            cast(asyncio.Transport, self._link).abort()
        self.gone.set()
        self._post(Exited(self.number, describe_exit(code), lived))

    # asyncio.Protocol: the link

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._link = cast(asyncio.Transport, transport)
        self._link.set_write_buffer_limits(high=MAX_UNREAD)

    def data_received(self, data: bytes) -> None:
        self.silent = 0
        self.heard = True
        try:
            for message in self._frames.feed(data):
                self._post(Said(self.number, message))
        except msgspec.DecodeError as error:
            _log.error("worker %d says what nobody understands, so it is killed: %s", self.number, error)
            cast(asyncio.Transport, self._link).abort()
            self.kill()

    def pause_writing(self) -> None:
        self._writable = False

    def resume_writing(self) -> None:
        self._writable = True
        if self._behind:
            self._post(CaughtUp(self.number))

    def connection_lost(self, exc: Exception | None) -> None:
        self._unlinked.set()
        # A worker without its link can be told nothing; it is expected to exit by itself.
        asyncio.get_running_loop().call_later(UNLINKED, self.kill)


class Workers:
    """All workers, each with its listening sockets for as long as the controller lives."""

    def __init__(
        self,
        command: Sequence[str],
        settings: WorkerSettings,
        listeners: Sequence[Listeners],
        post: Post,
    ) -> None:
        """`settings` are those of worker 0; `listeners` has the sockets of each of `settings.workers`."""
        self._command = command
        self._settings = settings
        self._listeners = listeners
        self._post = post
        self._failures = [0] * settings.workers
        self._workers = [Worker(number, post) for number in range(settings.workers)]

    def __iter__(self) -> Iterator[Worker]:
        return iter(self._workers)

    def __getitem__(self, number: int) -> Worker:
        return self._workers[number]

    async def start(self, number: int, tickets: bytes, update: bytes) -> None:
        """Starts worker `number`, again or for the first time, with `update` as its whole state. Both are framed."""
        worker = self._workers[number] = Worker(number, self._post)
        settings = msgspec.structs.replace(self._settings, worker=number)
        await worker.start(self._command, self._listeners[number], frame(settings) + tickets + update)

    def tell(self, message: bytes) -> None:
        """Sends a framed message that is no Update to all that run."""
        for worker in self._workers:
            worker.tell(message)

    def publish(self, update: bytes) -> None:
        """Sends a framed Update to all that run."""
        for worker in self._workers:
            worker.send(update)

    def replace_later(self, exited: Exited) -> float:
        """Posts Due when the worker may be started again. Gives the seconds until then."""
        number = exited.worker
        self._failures[number] = 1 if exited.lived >= STEADY else self._failures[number] + 1
        pause = restart_pause(self._failures[number])
        asyncio.get_running_loop().call_later(pause, self._post, Due(number))
        return pause

    def drain(self, message: Drain) -> None:
        """Tells all that run."""
        for worker in self._workers:
            worker.drain(message)

    @property
    def running(self) -> list[Worker]:
        """Those whose process has not ended."""
        return [worker for worker in self._workers if worker.running]

    async def watch(self, on_hang: Callable[[Worker], None]) -> None:
        """Kills workers that hang, for ever; each is told to `on_hang` before."""
        while True:
            await asyncio.sleep(LOOK)
            for worker in self.running:
                worker.silent += 1
                if worker.hangs:
                    worker.silent = 0
                    on_hang(worker)
                    worker.kill()

    def kill(self) -> None:
        """Ends all at once."""
        for worker in self._workers:
            worker.kill()
