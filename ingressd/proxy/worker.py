"""A worker process: serves the listening sockets it was given with the state it is told.

It is told everything over one socket, the link: settings once, updates after (ingressd.link), and when to end. The
link's end is the controller's end, which is this worker's, too.

How it ends. It accepts nothing more. Each response says that it is the last of its connection. A connection that is
idle stays for one more request, unless the keep-alive timeout is over first: closing it would cross with a request that
is on its way, which is then lost. What is left after Timeouts.drain is cut.
"""

import asyncio
import contextlib
import gc
import logging
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import cast

import msgspec
import uvloop

from ingressd.aio import spawn
from ingressd.link import Drain, Report, Sample, Serving, TicketKeys, frame, frames_to_worker
from ingressd.model import Update, WorkerSettings
from ingressd.proxy.context import Context
from ingressd.proxy.descriptors import fitting, raise_limit
from ingressd.proxy.downstream import Downstream
from ingressd.proxy.gate import Gate
from ingressd.proxy.last_call import LAST_CALL, drop_syns, queued
from ingressd.proxy.preface import Preface
from ingressd.proxy.responses import ACCEPT_FAILED
from ingressd.proxy.stream import Listener
from ingressd.telemetry.logwriter import LogWriter

TICK = 0.1
"""Seconds between two looks at all deadlines; also how long an access log line may wait."""

REPORT = 1.0
"""Seconds between two reports to the controller."""

ROUTES = 100
"""Whose requests are reported at a time. With more in use the rest follows tick by tick: no request should have to wait
for a report of thousands."""

ROUND = 100
"""Ticks after which all have been reported, however many there are."""

UNREAD = 1 << 20
"""Bytes that may wait for a controller that stands still; what is counted beyond them waits here and is added up."""

FAILED_DRAIN = 2.0
"""Seconds for connections to end in a worker that is to be replaced: its share of new ones waits meanwhile."""

FEW = 4096
"""Connections: a limit of file descriptors that allows only less is worth a warning."""

LINK_CLOSE = 1.0
"""Seconds for the last report to be taken."""

LOG_CLOSE = 1.0
"""Seconds for the last access log lines to be written."""

_log = logging.getLogger(__name__)


class Worker:
    """The life of a worker after its settings have arrived."""

    def __init__(self, settings: WorkerSettings, link: asyncio.StreamWriter, log_writer: LogWriter) -> None:
        self.context = Context(settings, asyncio.get_running_loop(), log_writer)
        self.gate = Gate(self.context, self.context.tls)
        self._link = link
        self._listeners: list[Listener] = []
        self._sockets: list[socket.socket] = []
        self._ending = False
        """Whether nothing more is accepted."""
        self._seconds = 0
        self._more = False
        """There are requests that the last report had no room for."""
        self._drained = asyncio.Event()

    def listen(self, sockets: Sequence[socket.socket], tls_sockets: Sequence[socket.socket]) -> None:
        """Starts to accept connections, if it has not yet."""
        if self._listeners:
            return
        self._sockets = [*sockets, *tls_sockets]
        context = self.context
        exhausted = partial(context.count_error, ACCEPT_FAILED)
        for secure, listening in [(False, sock) for sock in sockets] + [(True, sock) for sock in tls_sockets]:
            listening.setblocking(False)
            port: int = listening.getsockname()[1]
            if secure or context.settings.proxy_protocol:
                connection = cast(Callable[[], asyncio.Protocol], partial(Preface, self.gate, port, secure))
            else:
                connection = cast(Callable[[], asyncio.Protocol], partial(Downstream, context, b"http", port))
            self._listeners.append(Listener(context.poller, listening, connection, exhausted))

    def tick(self) -> None:
        """What happens TICK by TICK: deadlines, access log, and now and then a report."""
        context = self.context
        now = context.now = context.look()
        registry = context.registry
        registry.tick(now)
        if registry.news and self._is_heard():
            registry.news = False
            self._link.write(frame(registry.findings(time.time())))
        for downstream in list(context.downstreams):
            downstream.check(now)
        for upstream in list(context.upstreams):
            upstream.check(now)
        self.gate.check(now)
        for passthrough in list(context.passthroughs):
            passthrough.check(now)
        seconds = int(time.time())
        if seconds != self._seconds:
            self._seconds = seconds
            context.access_log.tick(seconds)
        context.log_writer.flush()
        if self._more and self._is_heard():
            self._report_more()
        if self._ending and not context.downstreams and not context.passthroughs and not len(self.gate):
            self._drained.set()

    def _is_heard(self) -> bool:
        """Whether the controller is there, and takes what it is told; towards the end it is told in any case."""
        link = self._link
        return not link.is_closing() and (self._ending or link.transport.get_write_buffer_size() <= UNREAD)

    def report(self) -> None:
        """Tells the controller what was counted, if it is there."""
        if not self._is_heard():
            return
        context = self.context
        states = {"idle": 0, "active": 0, "tunnel": 0}
        for downstream in context.downstreams:
            states[downstream.state] += 1
        idle = len(context.pool)
        usage = resource.getrusage(resource.RUSAGE_SELF)
        gauges = [Sample("downstream_connections_open", state, count) for state, count in states.items()]
        gauges += [
            Sample("upstream_connections_open", "idle", idle),
            Sample("upstream_connections_open", "active", len(context.upstreams) - idle),
            Sample("downstream_connections_limit", "", context.settings.limits.connections),
            Sample("worker_memory_bytes", "", resident_bytes()),
            Sample("tasks", "worker", len(asyncio.all_tasks())),
            Sample("worker_cpu_seconds", "", usage.ru_utime + usage.ru_stime),
        ]
        gauges += [
            Sample("tls_handshakes_open", "", len(self.gate)),
            Sample("tls_passthrough_connections_open", "", len(context.passthroughs)),
        ]
        counters = context.counters.take() + self.gate.take()
        of_endpoints, states_of_endpoints = context.registry.samples()
        counters += of_endpoints
        gauges += states_of_endpoints
        written, dropped = context.log_writer.take()
        counters += [Sample("access_log_lines", "", written), Sample("access_log_dropped_lines", "", dropped)]
        requests = context.metrics.take(context.metrics.waiting if self._ending else self._share())
        self._link.write(frame(Report(requests, tuple(counters), tuple(gauges))))
        self._more = context.metrics.waiting > 0

    def _share(self) -> int:
        return max(ROUTES, self.context.metrics.waiting // ROUND)

    def _report_more(self) -> None:
        """Goes on with the requests that were too many for one report."""
        requests = self.context.metrics.take(self._share())
        self._more = self.context.metrics.waiting > 0
        self._link.write(frame(Report(requests)))

    async def drain(self, within: float, abandon: bool) -> None:
        """Accepts nothing more, and lets connections end `within` some seconds. `abandon`: nobody else has the
        listening sockets, so what waits in their queues is accepted first."""
        context = self.context
        context.draining = True
        clock = context.loop.time
        end = clock() + within
        if abandon:
            for listening in self._sockets:
                drop_syns(listening)
            await asyncio.sleep(LAST_CALL)
            while clock() < end:
                # More may have come than could be accepted in that time.
                if not any(map(queued, self._sockets)):
                    break
                await asyncio.sleep(TICK)
        for listener in self._listeners:
            listener.close()
        for listening in self._sockets:
            listening.close()
        self._ending = True
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._drained.wait(), end - clock())
        for downstream in list(context.downstreams):
            downstream.abort()
        for upstream in list(context.upstreams):
            upstream.abort()
        for passthrough in list(context.passthroughs):
            passthrough.abort()
        self.gate.drain()


def resident_bytes() -> int:
    """Resident memory of this process (proc_pid_statm(5), field 2)."""
    try:
        with open("/proc/self/statm", "rb") as statm:
            return int(statm.read().split()[1]) * resource.getpagesize()
    except OSError:
        return 0


async def _every(seconds: float, work: Callable[[], None]) -> None:
    while True:
        await asyncio.sleep(seconds)
        try:
            work()
        except Exception:
            # One connection's bug must not stop the clock of all the others.
            _log.exception("periodic work failed")


async def _read(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read(1 << 20)
    except ConnectionError:
        # The controller died with words of ours unread.
        return b""


async def serve(
    link: socket.socket, sockets: Sequence[socket.socket], tls_sockets: Sequence[socket.socket] = ()
) -> int:
    """Runs a worker until it is told to end, or the link ends. Gives the process's exit code: 1 for a worker that could
    not follow what it was told, and is better replaced than left to serve what no longer holds."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    handed_over = False
    # A terminal's Ctrl-C reaches a whole group of processes, and so does the SIGTERM of some who start us (systemd).
    # The controller decides what it means.
    for which in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(which, lambda: None)
    reader, writer = await asyncio.open_unix_connection(sock=link)
    frames = frames_to_worker()
    log_writer = LogWriter(sys.stdout.fileno())
    worker: Worker | None = None

    async def follow() -> None:
        nonlocal handed_over, worker
        while data := await _read(reader):
            for message in frames.feed(data):
                if isinstance(message, WorkerSettings):
                    _configure_log(message)
                    handed_over = message.shared
                    worker = Worker(_possible(message), writer, log_writer)
                    worker.tick()
                    spawn(_every(TICK, worker.tick), "tick")
                    spawn(_every(REPORT, worker.report), "report")
                elif isinstance(message, TicketKeys) and worker is not None:
                    worker.context.tls.renew(key.value for key in message.keys)
                elif isinstance(message, Drain):
                    if worker is not None:
                        worker.context.draining = True
                    if not message.listening:
                        handed_over = message.handed_over
                        stop.set()
                elif isinstance(message, Update) and worker is not None:
                    worker.context.apply(message)
                    if message.full:
                        worker.listen(sockets, tls_sockets)
                        # What is there now stays: the collector need not look at it again.
                        gc.collect()
                        gc.freeze()
                    writer.write(frame(Serving(message.generation)))

    following = spawn(follow(), "follow the controller")
    following.add_done_callback(lambda _: stop.set())
    await stop.wait()
    failed = following.done() and not following.cancelled() and following.exception() is not None
    if worker is not None:
        within = FAILED_DRAIN if failed else worker.context.settings.timeouts.drain
        await worker.drain(within, abandon=not (failed or handed_over))
        # The controller listens to our last words even where it has said its own.
        worker.report()
    following.cancel()
    writer.close()
    with contextlib.suppress(OSError, TimeoutError):
        await asyncio.wait_for(writer.wait_closed(), LINK_CLOSE)
    log_writer.close(LOG_CLOSE)
    return int(failed)


def _possible(settings: WorkerSettings) -> WorkerSettings:
    """The settings, with limits that the descriptors we may have suffice for."""
    descriptors = raise_limit()
    limits = fitting(settings.limits, descriptors)
    if limits.connections < min(settings.limits.connections, FEW):
        _log.warning(
            "at most %d connections instead of the %d of --max-worker-connections: the limit of file descriptors "
            "(ulimit -n) is %d",
            limits.connections,
            settings.limits.connections,
            descriptors,
        )
    return msgspec.structs.replace(settings, limits=limits)


def _configure_log(settings: WorkerSettings) -> None:
    logging.basicConfig(
        level=settings.log_level.upper(),
        format=f"%(asctime)s %(levelname)s worker {settings.worker}: %(message)s",
        stream=sys.stderr,
        force=True,
    )


def main(link: int, listening: Sequence[int], tls_listening: Sequence[int] = ()) -> None:
    """Runs a worker on inherited file descriptors: the link, and listening sockets for HTTP and for HTTPS."""
    sockets = [socket.socket(fileno=descriptor) for descriptor in listening]
    tls_sockets = [socket.socket(fileno=descriptor) for descriptor in tls_listening]
    sys.exit(uvloop.run(serve(socket.socket(fileno=link), sockets, tls_sockets)))
