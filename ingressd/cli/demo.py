"""`ingressd demo`: small upstream servers, the controller in front of them, and lines to paste that show what it does.

The controller is that of `ingressd run`, in this process; the servers have a thread of their own. So whatever ends the
process ends all of it.
"""

import asyncio
import contextlib
import socket
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ingressd.cli import flags, run
from ingressd.cli.flags import Flag, UsageError
from ingressd.cli.values import port, text
from ingressd.demo import certificates, tour, upstream
from ingressd.demo.ports import free_port
from ingressd.demo.upstream import DemoError, Server

SUMMARY = (
    "Starts small upstream servers and ingressd in front of them, and prints lines to paste that show what it does."
)

BIND_ADDRESS = "127.0.0.1"
DRAIN = "2s"
"""What requests under way get after Ctrl-C."""
POLL = 0.05
"""Seconds between two questions whether the controller is ready."""

HTTP_PORT = Flag("http-port", port, 8080, "port for HTTP; 0 finds a free one", metavar="PORT", default_text="8080")
HTTPS_PORT = Flag("https-port", port, 8443, "port for HTTPS; 0 finds a free one", metavar="PORT", default_text="8443")
HEALTHZ_PORT = Flag(
    "healthz-port",
    port,
    10254,
    "port for health, metrics and the admin API; 0 finds a free one",
    metavar="PORT",
    default_text="10254",
)
MANIFESTS = Flag(
    "manifests",
    text,
    "manifests/demo",
    "directory of the demo's manifests",
    metavar="DIRECTORY",
    default_text="manifests/demo",
)
SECTIONS: flags.Sections = {"demo": (HTTP_PORT, HTTPS_PORT, HEALTHZ_PORT, MANIFESTS)}


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    values = flags.read("demo", SUMMARY, SECTIONS, arguments, environment)
    manifests = Path(values[MANIFESTS])
    http_port, https_port, admin_port = (values[flag] or free_port() for flag in (HTTP_PORT, HTTPS_PORT, HEALTHZ_PORT))
    try:
        servers = upstream.named_servers(manifests)
        with contextlib.ExitStack() as stack:
            sockets = [(server, stack.enter_context(upstream.listen(server))) for server in servers]
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="ingressd-demo-"))
            made = certificates.write(Path(folder))
            ports = tour.Ports(http_port, https_port, admin_port)
            stops = list(tour.stops(ports, manifests, made))
            stack.enter_context(_running(sockets, admin_port, tour.text(stops, servers)))
            return run.main(
                [
                    *("--manifests", str(manifests)),
                    *("--manifests", str(made.manifests)),
                    *("--bind-address", BIND_ADDRESS),
                    *("--http-port", str(http_port)),
                    *("--https-port", str(https_port)),
                    *("--healthz-port", str(admin_port)),
                    # Ctrl-C is not to wait for the idle connections of a browser.
                    *("--drain-timeout", DRAIN),
                ],
                environment,
            )
    except DemoError as error:
        raise UsageError(str(error)) from error


@contextlib.contextmanager
def _running(sockets: Sequence[tuple[Server, socket.socket]], admin_port: int, announcement: str) -> Iterator[None]:
    """Runs the servers in a thread, which prints `announcement` once the controller is ready."""
    loop = asyncio.new_event_loop()

    async def work() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(upstream.serve(sockets))
            group.create_task(_announce(admin_port, announcement))

    def thread_main() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner, contextlib.suppress(asyncio.CancelledError):
            runner.run(work())

    thread = threading.Thread(target=thread_main, name="upstream servers", daemon=True)
    thread.start()
    try:
        yield
    finally:
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(lambda: [task.cancel() for task in asyncio.all_tasks(loop)])
        thread.join()


async def _announce(admin_port: int, announcement: str) -> None:
    ready = False
    while not ready:
        await asyncio.sleep(POLL)
        ready = await _ready(admin_port)
    print(announcement, flush=True)


async def _ready(admin_port: int) -> bool:
    """Whether /readyz answers with 200."""
    try:
        reader, writer = await asyncio.open_connection(BIND_ADDRESS, admin_port)
    except OSError:
        return False
    writer.write(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    line = await reader.readline()
    writer.close()
    return line.startswith(b"HTTP/1.1 200 ")
