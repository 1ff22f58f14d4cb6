"""Traffic of all kinds, while routes, endpoints and certificates change each second: does anything fail, or grow?

    make soak
    make soak ARGS="--seconds 60"

Starts ingressd with two workers on loopback, with the world of soak_world.py and the clients of soak_traffic.py in
this process. Each second it looks at the memory and the descriptors of each process, at tasks and at connections. Exits
with 0 if no request failed, no process was replaced or complained, nothing grew (soak_figures.py says what that is),
and nothing was left open after the clients had gone; with 1 otherwise, and says what; with 2 if it could not be tried.
"""

import argparse
import asyncio
import contextlib
import os
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path

import aiohttp
import soak_figures
import soak_world
import uvloop
from soak_figures import Sample
from soak_server import LOOPBACK
from soak_traffic import Traffic
from soak_world import PACE, World, WorldError

from ingressd.aio import spawn
from ingressd.demo.ports import free_port

WORKERS = 2
START_WITHIN = 60.0
STOP_WITHIN = 30.0
AT_REST_WITHIN = 15.0
"""Seconds, after the last client has gone, for all connections of clients to be closed."""
SAMPLE = 1.0
PROGRESS = 10.0
"""Seconds between two samples, and two lines of progress."""
SHORTEST = 12
"""Seconds of a run: less is no window to speak of."""


class Ingressd:
    """A running ingressd, by its admin API."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        port: int,
        https_port: int,
        admin: str,
        session: aiohttp.ClientSession,
    ) -> None:
        self.process = process
        self.port = port
        self.https_port = https_port
        self.pids: dict[str, int] = {}
        self._admin = admin
        self._session = session

    async def ready(self) -> None:
        """Waits for it. Raises WorldError."""
        end = time.monotonic() + START_WITHIN
        while time.monotonic() < end and self.process.returncode is None:
            with contextlib.suppress(aiohttp.ClientError):
                async with self._session.get(f"{self._admin}/readyz") as response:
                    if response.status == 200:
                        self.pids = await self._pids()
                        return
            await asyncio.sleep(0.05)
        raise WorldError("ingressd does not get ready")

    async def _snapshot(self) -> dict[str, object]:
        async with self._session.get(f"{self._admin}/api/snapshot") as response:
            document: dict[str, object] = await response.json()
        return document

    async def _pids(self) -> dict[str, int]:
        workers = (await self._snapshot())["workers"]
        assert isinstance(workers, list)
        return {"controller": self.process.pid, **{f"worker {each['worker']}": each["pid"] for each in workers}}

    async def replaced(self) -> bool:
        """Whether a worker is another process than at first."""
        return await self._pids() != self.pids

    async def published(self, condition: Callable[[soak_world.Object], bool]) -> None:
        """Waits until every worker serves a snapshot for which `condition` holds. Raises WorldError."""
        end = time.monotonic() + soak_world.IN_FORCE
        while time.monotonic() < end:
            document = await self._snapshot()
            workers = document["workers"]
            assert isinstance(workers, list)
            if condition(document) and {each["generation"] for each in workers} == {document["generation"]}:
                return
            await asyncio.sleep(0.02)
        raise WorldError(f"a change was not in force in all workers after {soak_world.IN_FORCE:g} s")

    async def figures(self) -> dict[str, float]:
        """All there are; none of a process that has gone."""
        async with self._session.get(f"{self._admin}/metrics") as response:
            found = soak_figures.of_page(await response.text())
        for name, pid in self.pids.items():
            with contextlib.suppress(OSError):
                found |= soak_figures.of_process(name, pid)
        return found


@contextlib.asynccontextmanager
async def running(directory: Path) -> AsyncIterator[Ingressd]:
    """ingressd with the manifests in `directory`, in which its logs are too."""
    port, https_port, admin = (free_port() for _ in range(3))
    command = [sys.executable, "-m", "ingressd", "run", "--manifests", str(directory / "manifests")]
    command += ["--bind-address", LOOPBACK, "--http-port", str(port), "--https-port", str(https_port)]
    command += ["--healthz-port", str(admin), "--workers", str(WORKERS)]
    # Appending, so that the access log can be emptied while it is written to.
    with (directory / "access.log").open("ab") as out, (directory / "stderr").open("ab") as err:
        # In a session of its own, so that Ctrl-C reaches this script alone, which then ends all in order.
        process = await asyncio.create_subprocess_exec(*command, stdout=out, stderr=err, start_new_session=True)
        try:
            async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(30)) as session:
                ingressd = Ingressd(process, port, https_port, f"http://{LOOPBACK}:{admin}", session)
                await ingressd.ready()
                yield ingressd
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            try:
                await asyncio.wait_for(process.wait(), STOP_WITHIN)
            except TimeoutError:
                process.kill()
                await process.wait()


async def soak(seconds: float, plot: Path) -> list[str]:
    """The whole of it. Gives what is wrong, a line each. Raises WorldError."""
    samples: list[Sample] = []
    wrong: list[str] = []
    with tempfile.TemporaryDirectory(prefix="ingressd-soak-") as name:
        directory = Path(name)
        try:
            async with soak_world.around(directory / "manifests") as world, running(directory) as ingressd:
                traffic = Traffic(ingressd.port, ingressd.https_port, world)
                before = await ingressd.figures()
                wrong += await _run(seconds, ingressd, world, traffic, directory / "access.log", samples)
                wrong += await _after(ingressd, before)
            if ingressd.process.returncode:
                wrong.append(f"ingressd exited with code {ingressd.process.returncode}")
        finally:
            complaints = _complaints((directory / "stderr").read_text(errors="replace"))
    wrong += complaints
    print(f"\n{'median of':28} {'minute 2' if seconds >= 600 else 'before':>8} {'end':>8} {'allowed':>10}")
    growths, unseen = soak_figures.growths(samples, seconds)
    for growth in growths:
        print(growth)
    wrong += [f"{each.figure} grew from {each.before:.1f} to {each.after:.1f}" for each in growths if each.too_much]
    wrong += [f"{figure} could not be seen at both times" for figure in unseen]
    print()
    for kind, count in sorted(traffic.done.items()):
        print(f"{kind:28} {count:8} done, {traffic.failures[kind]} failed")
    print(f"{'changes in force':28} {world.changed:8}")
    print(soak_figures.plot(samples, seconds, plot))
    if failed := traffic.failures.total():
        wrong += [f"{failed} requests failed:", *traffic.reasons]
    return wrong


async def _run(
    seconds: float, ingressd: Ingressd, world: World, traffic: Traffic, log: Path, samples: list[Sample]
) -> list[str]:
    """Traffic and changes for so long. Gives what is wrong."""
    traffic.start()
    changing = [
        spawn(soak_world.every(PACE, change, world), change.__name__) for change in world.changes(ingressd.published)
    ]
    try:
        await _watch(seconds, ingressd, world, traffic, log, samples, changing)
    except BaseException:
        traffic.abandon()
        raise
    finally:
        for task in changing:
            task.cancel()
        ended = await asyncio.gather(*changing, return_exceptions=True)
    await traffic.stop()
    for error in ended:
        if isinstance(error, Exception):
            raise error
    if idle := [kind for kind in traffic.kinds() if not traffic.done[kind]]:
        raise WorldError(f"nothing was done by: {', '.join(idle)}")
    return ["a worker was replaced"] if await ingressd.replaced() else []


async def _watch(
    seconds: float,
    ingressd: Ingressd,
    world: World,
    traffic: Traffic,
    log: Path,
    samples: list[Sample],
    changing: Sequence[asyncio.Task[None]],
) -> None:
    """Takes samples and tells of progress for so long, or until one of `changing` has ended, which none should."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    told = 0.0
    while (at := loop.time() - begun) < seconds and not any(task.done() for task in changing):
        samples.append(Sample(at, await ingressd.figures()))
        if at >= told:
            told += PROGRESS
            memory = ", ".join(
                f"{value:.1f}" for name, value in samples[-1].figures.items() if name.startswith("memory")
            )
            done, failed = traffic.done.total(), traffic.failures.total()
            print(f"{at:5.0f} s  {done} done, {failed} failed, {world.changed} changes; MiB: {memory}", flush=True)
            # Thrown away, so that a long run does not fill the disk.
            os.truncate(log, 0)
        await asyncio.sleep(max(0.0, begun + len(samples) * SAMPLE - loop.time()))


async def _after(ingressd: Ingressd, before: Mapping[str, float]) -> list[str]:
    """What is open without a client that was not `before` the first one came, once it has had time to close."""
    end = time.monotonic() + AT_REST_WITHIN
    while True:
        left = soak_figures.left_open(before, await ingressd.figures())
        if not left or time.monotonic() > end:
            return [f"left without a client: {what}" for what in left]
        await asyncio.sleep(0.2)


def _complaints(log: str) -> list[str]:
    """Lines of the log that say something is wrong, and what follows them."""
    lines = log.splitlines()
    signs = (" ERROR ", " WARNING ", "Traceback")
    first = [number for number, line in enumerate(lines) if any(sign in line for sign in signs)]
    return [f"ingressd says: {line}" for line in lines[first[0] :][:30]] if first else []


def _seconds(text: str) -> int:
    if not text.isdigit() or int(text) < SHORTEST:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of seconds from {SHORTEST} on")
    return int(text)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="soak.py", description=(__doc__ or "").partition("\n")[0], allow_abbrev=False)
    parser.add_argument("--seconds", type=_seconds, default=600, metavar="N", help="how long (default 600)")
    parser.add_argument(
        "--plot", type=Path, default=Path("build/soak.png"), metavar="FILE", help="PNG (default build/soak.png)"
    )
    options = parser.parse_args(arguments)

    async def interruptible() -> list[str]:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        return await soak(options.seconds, options.plot)

    try:
        wrong = uvloop.run(interruptible())
    except WorldError as error:
        print(f"soak: {error}", file=sys.stderr)
        return 2
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 130
    for line in wrong:
        print(f"soak: {line}", file=sys.stderr)
    print("soak: " + ("something is wrong" if wrong else "nothing failed, nothing grew"))
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
