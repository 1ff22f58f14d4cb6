"""A worker process as the controller starts it, with us in the controller's place."""

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

import msgspec

from ingressd.link import Drain, Findings, Report, RequestSeries, Serving, TicketKeys, frame, frames_from_worker
from ingressd.model import Snapshot, Timeouts, Update, WorkerSettings, diff
from tests.kit.stream import DEADLINE, eventually

SETTINGS = WorkerSettings(worker=0, workers=1)
DRAIN = 2.0
"""Seconds that connections under way are given at the end."""
EXIT = 30.0
"""Seconds a worker has to exit when told to; it gives what is under way some itself."""


class Worker:
    """Starts `python -m ingressd.proxy` on entering its block and waits until it serves `snapshot`. On leaving it the
    worker is told to end if it still runs, and must have exited with 0 and written nothing to standard error.

    Whether the compiled modules run is the environment's decision: INGRESSD_PURE reaches the worker.
    """

    def __init__(
        self,
        snapshot: Snapshot | None = None,
        settings: WorkerSettings = SETTINGS,
        timeouts: Timeouts | None = None,
        address: str = "127.0.0.1",
        before: Sequence[str] = (),
        may_complain: bool = False,
    ) -> None:
        """`before` is a command that runs the worker, as `nice` does. `timeouts` is a shorthand for those in
        `settings`. Connections that a test leaves open get DRAIN seconds."""
        chosen = timeouts if timeouts is not None else settings.timeouts
        if chosen.drain == Timeouts().drain:
            chosen = msgspec.structs.replace(chosen, drain=DRAIN)
        self.settings = msgspec.structs.replace(settings, timeouts=chosen)
        self.snapshot = Snapshot()
        self.generation = 0
        self.serving = -1
        """The generation the worker last said it serves."""
        self.reports: list[Report] = []
        self.findings = Findings()
        """The last ones."""
        self.log: list[bytes] = []
        """Access log lines as they came, without line feed."""
        self.port = 0
        self.tls_port = 0
        self.pid = 0
        self._first = snapshot if snapshot is not None else Snapshot()
        self._address = address
        self._before = before
        self._may_complain = may_complain
        self._frames = frames_from_worker()
        self._log_rest = b""
        self._stopped = False

    # --- start and end

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._link, theirs = socket.socketpair()
        self._link.setblocking(False)
        self._log_end, log_in = os.pipe()
        os.set_blocking(self._log_end, False)
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115
        family = socket.AF_INET6 if ":" in self._address else socket.AF_INET
        with theirs, socket.socket(family) as listening, socket.socket(family) as tls_listening:
            for sock in (listening, tls_listening):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.bind((self._address, 0))
                sock.listen(4096)
            self.port = listening.getsockname()[1]
            self.tls_port = tls_listening.getsockname()[1]
            link, listen, tls_listen = theirs.fileno(), listening.fileno(), tls_listening.fileno()
            self.process = subprocess.Popen(  # noqa: ASYNC220
                [
                    *self._before,
                    *(sys.executable, "-W", "default", "-m", "ingressd.proxy"),
                    *("--link-fd", str(link), "--listen-fd", str(listen), "--tls-listen-fd", str(tls_listen)),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log_in,
                stderr=self._stderr,
                pass_fds=(link, listen, tls_listen),
                start_new_session=True,
            )
        os.close(log_in)
        self.pid = self.process.pid
        self._loop.add_reader(self._link.fileno(), self._hear)
        self.read_log()
        try:
            await self.tell(self.settings)
            await self.publish(self._first)
        except BaseException:
            self._kill()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                await self.stop()
            elif complaints := self.stderr():
                error.add_note(f"the worker said:\n{complaints[-4000:]}")
        finally:
            self._kill()

    async def stop(self) -> None:
        """Tells the worker to end, if it runs, and asserts a clean end (`exited`)."""
        if self._stopped:
            return
        if self.process.poll() is None and self._link.fileno() >= 0:
            self.unlink()
        await self.exited()

    def unlink(self) -> None:
        """Closes our half of the link, which tells the worker to stop; what it says is still heard."""
        self._link.shutdown(socket.SHUT_WR)

    async def abandon(self) -> None:
        """Closes our end of the link with a report unread, as a controller that is killed does."""
        self._loop.remove_reader(self._link.fileno())

        def waiting() -> bool:
            try:
                return bool(self._link.recv(1, socket.MSG_PEEK))
            except BlockingIOError:
                return False

        await eventually(waiting, "a report is there")
        self._link.close()

    async def exited(self, code: int = 0) -> None:
        """Waits until the process has ended and asserts that it did with this exit code, and with no complaint if that
        is 0; `reports` and `log` are then complete."""
        await eventually(lambda: self.process.poll() is not None, "the worker has exited", EXIT, self.stderr)
        self._stopped = True
        if self._link.fileno() >= 0:
            self._hear()
        self._read_log()
        complaints = self.stderr()
        if self.process.returncode != code or (complaints and code == 0 and not self._may_complain):
            raise AssertionError(f"the worker exited with {self.process.returncode} and said:\n{complaints}")

    def stderr(self) -> str:
        """What the worker has written to standard error so far."""
        return os.pread(self._stderr.fileno(), 1 << 20, 0).decode()

    def _kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.stop_reading_log()
        if self._link.fileno() >= 0:
            self._loop.remove_reader(self._link.fileno())
            self._link.close()
        if self._log_end >= 0:
            os.close(self._log_end)
        self._stderr.close()

    # --- the link

    async def tell(self, message: WorkerSettings | TicketKeys | Update | Drain) -> None:
        """Sends a message."""
        await self.tell_bytes(frame(message))

    async def tell_bytes(self, data: bytes) -> None:
        """Sends any bytes over the link."""
        async with asyncio.timeout(DEADLINE):
            await self._loop.sock_sendall(self._link, data)

    async def publish(self, snapshot: Snapshot) -> None:
        """Sends what leads from the present snapshot to this one, whole if it is the first, and waits until the worker
        serves it."""
        if self.generation == 0:
            update: Update | None = Update.of(snapshot, 1)
        else:
            update = diff(self.snapshot, snapshot, self.generation + 1)
        self.snapshot = snapshot
        if update is not None:
            self.generation = update.generation
            await self.tell(update)
            await self._until(lambda: self.serving == self.generation, f"generation {self.generation} is served")

    async def replace(self, snapshot: Snapshot) -> None:
        """As `publish`, but with the whole state."""
        self.snapshot = snapshot
        self.generation += 1
        await self.tell(Update.of(snapshot, self.generation))
        await self._until(lambda: self.serving == self.generation, f"generation {self.generation} is served")

    async def reported(self, condition: Callable[[], bool], what: str) -> None:
        """Waits until a condition on `reports` (by `counter`, `gauge`, `requests`) holds; there is one a second."""
        await self._until(lambda: bool(self.reports) and condition(), what)

    async def _until(self, condition: Callable[[], bool], what: str) -> None:
        await eventually(lambda: condition() or self.process.poll() is not None, what, explain=self.stderr)
        if not condition():
            raise AssertionError(f"the worker exited with {self.process.returncode} before {what}:\n{self.stderr()}")

    def counter(self, name: str, label: str = "") -> float:
        """The sum of a counter over all reports so far."""
        samples = [sample for report in self.reports for sample in report.counters]
        return sum(sample.value for sample in samples if (sample.name, sample.label) == (name, label))

    def gauge(self, name: str, label: str = "") -> float:
        """A gauge in the last report."""
        [value] = [s.value for s in self.reports[-1].gauges if (s.name, s.label) == (name, label)]
        return value

    def requests(self) -> list[RequestSeries]:
        """The request series of all reports so far."""
        return [series for report in self.reports for series in report.requests]

    def _hear(self) -> None:
        while True:
            try:
                data = self._link.recv(1 << 16)
            except BlockingIOError:
                return
            except ConnectionError:
                data = b""
            if not data:
                self._loop.remove_reader(self._link.fileno())
                return
            for message in self._frames.feed(data):
                if isinstance(message, Serving):
                    self.serving = message.generation
                elif isinstance(message, Findings):
                    self.findings = message
                else:
                    self.reports.append(message)

    # --- the access log

    async def logged(self, count: int) -> list[bytes]:
        """Waits until `count` lines in all have come, and returns all; they leave the worker once a tick."""
        await self._until(lambda: len(self.log) >= count, f"{count} lines in the access log")
        return self.log

    async def line(self, mark: bytes) -> bytes:
        """Waits for a line with `mark` in it and returns the first."""

        def marked() -> bytes:
            return next((line for line in self.log if mark in line), b"")

        await self._until(lambda: bool(marked()), f"a line with {mark!r} in the access log")
        return marked()

    def stop_reading_log(self) -> None:
        """Lets the pipe fill."""
        if self._log_end >= 0:
            self._loop.remove_reader(self._log_end)

    def read_log(self) -> None:
        """Reads it again."""
        self._loop.add_reader(self._log_end, self._read_log)

    def close_log(self) -> None:
        """Goes away: who writes now gets an error."""
        self.stop_reading_log()
        os.close(self._log_end)
        self._log_end = -1

    def _read_log(self) -> None:
        if self._log_end < 0:
            return
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self._log_end, 1 << 16):
                *lines, self._log_rest = (self._log_rest + data).split(b"\n")
                self.log += lines
            self.stop_reading_log()

    # --- the process

    def refuses_connections(self) -> bool:
        """Whether nobody listens on its port any more, or will in a moment: then SYNs are not answered."""
        with socket.socket(socket.AF_INET6 if ":" in self._address else socket.AF_INET) as sock:
            sock.settimeout(0.1)
            return sock.connect_ex((self._address, self.port)) != 0

    def resident(self) -> int:
        """Resident memory, in bytes."""
        with open(f"/proc/{self.pid}/statm") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def descriptors(self) -> int:
        """How many file descriptors it has open."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def cpu_seconds(self) -> float:
        """CPU time used so far, user and system (proc_pid_stat(5), fields 14 and 15)."""
        with open(f"/proc/{self.pid}/stat") as stat:
            fields = stat.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
