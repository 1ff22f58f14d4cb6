"""ingressd beside its peers: CPU per request, requests per second, latency and memory of the same work.

    make bench
    make bench-peers
    make bench-peers ARGS="--only 'get-*' --peers nginx,haproxy --rounds 9"

Each proxy has one worker, the same upstream, hosts, certificate, added fields and an access log in a file; what they
answer and forward is compared before anything is measured. Then each cell of the matrix is measured in rounds, in each
of which every proxy has one turn, in changing order. Figures go to loadtest/results/, with plots; those of a whole run
also into docs/performance.md.
"""

import argparse
import contextlib
import fnmatch
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

import alike
import certificate
import figures
import matrix
import peers
import report
import rig
from matrix import ALONE, CELLS, Cell, Driver
from peers import LARGE, PEERS
from report import OWN, Document
from rig import Process, RigError, Upstreams

from ingressd import __version__
from ingressd.control.build import compiled_summary, hot_modules

QUICK_CELL = "get-64"
QUICK_LIMIT = 1.5
"""Ratio to nginx in that cell above which --quick fails."""
WARM_UP = 1.0
"""Seconds of load before the first round."""
SPARE_FILES = 2000
"""What a process may have open beside the idle connections."""
LASTING = ("--keep-alive", "3600s")
"""Idle connections outlast all rounds, as the configurations of the peers have it."""
FEW = 100
"""Connections to the upstream that a proxy may make in a turn, however few requests there are; else one for two."""
PAGE = rig.HERE.parent / "docs" / "performance.md"
RESULTS = rig.HERE / "results"


@dataclass(frozen=True)
class Options:
    """The command line. `seconds` is the length of one run."""

    cells: list[Cell]
    peers: list[str]
    rounds: int
    seconds: float
    quick: bool

    @property
    def whole(self) -> bool:
        """Whether this is what docs/performance.md shows."""
        return not self.quick and self.cells == list(CELLS) and self.peers == [name for name in PEERS if name != LARGE]

    def subjects(self, cell: Cell) -> list[str]:
        """Who is measured in a cell."""
        if cell.workers > 1:
            return [OWN, ALONE]
        large = cell.bodies and "nginx" in self.peers and not self.quick
        return [OWN, *self.peers, *([LARGE] if large else [])]

    def rounds_of(self, cell: Cell) -> int:
        """With --quick, only the cell that decides has more than one."""
        return self.rounds if not self.quick or cell.name == QUICK_CELL else 1

    def steps(self) -> int:
        """Runs of a generator."""
        return sum(len(self.subjects(cell)) * (self.rounds_of(cell) + 1) for cell in self.cells)


class Progress:
    """A line on a terminal that says how far it is."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._done = 0
        self._started = time.monotonic()

    def step(self, text: str) -> None:
        """Begins one."""
        share = self._done / self._steps
        if share:
            text += f", {(time.monotonic() - self._started) * (1 - share) / share / 60:.1f} min left"
        self._show(f"[{'#' * round(30 * share):30}] {self._done}/{self._steps} {text}")
        self._done += 1

    def clear(self) -> None:
        self._show("")

    def _show(self, text: str) -> None:
        if sys.stderr.isatty():
            print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def main() -> int:
    options, again = _arguments()
    rig.end_on_signals()
    try:
        if again is not None:
            return _write(json.loads(again.read_text()), PAGE)
        _need(options)
        document = _measured(options)
        _write(document, PAGE if options.whole else None)
        return _verdict(document, options)
    except (RigError, report.MarkerError, OSError, subprocess.TimeoutExpired) as error:
        print(f"compare: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("compare: stopped", file=sys.stderr)
        return 130


def _need(options: Options) -> None:
    """Raises RigError if something is missing for these measurements."""
    programs = {PEERS[name].program: PEERS[name].source for name in ("nginx", *options.peers)} | {"wrk": peers.DEBIAN}
    if any(cell.h2load for cell in options.cells):
        programs["h2load"] = peers.DEBIAN
    rig.need(programs)
    if options.whole and find_spec("matplotlib") is None:
        raise RigError(f"matplotlib not found: {peers.PYPI}")
    # A proxy may keep a descriptor to an endpoint free for each client that it accepts.
    rig.need_files(2 * max(cell.idle for cell in options.cells) + SPARE_FILES)


def _measured(options: Options) -> Document:
    """Measures all, and writes what there is to the JSON file after each cell."""
    progress = Progress(options.steps())
    document: Document = {
        "date": time.strftime("%Y-%m-%d"),
        "machine": _machine(options),
        "options": {"rounds": options.rounds, "seconds": options.seconds, "quick": options.quick},
        "load_average": [os.getloadavg()[0]] * 2,
        "cells": {},
    }
    print(f"{document['machine']}\nload average {document['load_average'][0]:.1f}", flush=True)
    RESULTS.mkdir(exist_ok=True)
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ingressd-bench-")))
        upstreams = stack.enter_context(rig.upstreams(directory / "upstreams"))
        files = certificate.make(directory)
        _check(options, upstreams, directory / "check", files)
        for cell in options.cells:
            document["cells"][cell.name] = measured = _cell(
                cell, options, upstreams, directory / cell.name, files, progress
            )
            progress.clear()
            print(f"\n{cell.name}: {cell.title}", *report.lines(measured), sep="\n", flush=True)
            document["load_average"][1] = os.getloadavg()[0]
            _file(options).write_text(json.dumps(document, indent=1) + "\n")
    print(f"\nFigures: {_file(options)}")
    return document


def _check(options: Options, upstreams: Upstreams, directory: Path, files: certificate.Files) -> None:
    """Raises RigError if the proxies do not do the same."""
    names = [name for name in PEERS if any(name in options.subjects(cell) for cell in options.cells)]
    with _started([OWN, *names], directory, upstreams, files, 10) as processes:
        if wrong := alike.check(processes, upstreams, certificate.trusting(files)):
            raise RigError("the proxies do not do the same work:\n" + "\n".join(wrong))
    said = f"alike over HTTP and HTTPS in {len(alike.ASKED)} answers, fields, WebSocket and log, and in TLS handshakes"
    print(f"{said}: {', '.join([OWN, *names])}", flush=True)


def _cell(
    cell: Cell,
    options: Options,
    upstreams: Upstreams,
    directory: Path,
    files: certificate.Files,
    progress: Progress,
) -> Document:
    """Measures one cell with proxies started for it."""
    names = options.subjects(cell)
    measured: Document = {"title": cell.title, "samples": {name: [] for name in names}}
    with contextlib.ExitStack() as stack:
        processes = stack.enter_context(_started(names, directory, upstreams, files, cell.hosts, cell.workers))
        if cell.idle:
            measured["idle_bytes"] = {process.name: _idle(stack, process, cell.idle) for process in processes}
        by_name = {process.name: process for process in processes}
        load = cell.load
        if cell.paced:
            load, measured["rate"] = _half(load, by_name.get("nginx", by_name[OWN]), options.seconds, directory)
        for process in processes:
            progress.step(f"{cell.name}, {process.name}: warm-up")
            load(process, WARM_UP, directory)
        for number in range(options.rounds_of(cell)):
            for name in figures.turns(names, number):
                progress.step(f"{cell.name}, {name}: round {number + 1}")
                sample = _sample(load, by_name[name], options.seconds, directory, upstreams)
                measured["samples"][name].append(asdict(sample))
    return measured


def _half(load: Driver, process: Process, seconds: float, directory: Path) -> tuple[Driver, float]:
    """A load at half of the rate that a proxy can do, and that rate."""
    load(process, WARM_UP, directory)
    most = load(process, seconds, directory)
    rate = most.requests / most.seconds / 2
    return matrix.paced(rate), rate


def _sample(load: Driver, process: Process, seconds: float, directory: Path, upstreams: Upstreams) -> figures.Sample:
    accepted = rig.accepted(upstreams.responses)
    ids, before = process.ids(), process.cpu()
    done = load(process, seconds, directory)
    after = process.cpu()
    made = rig.accepted(upstreams.responses) - accepted
    memory = process.memory()
    process.empty_log()
    if process.ids() != ids:
        raise RigError(f"{process.name} has other processes than before: one ended under load")
    if not done.requests:
        raise RigError(f"{process.name} answered no request, {done.errors} failed")
    if made > max(FEW, done.requests / 2):
        raise RigError(f"{process.name} made {made} connections to the upstream for {done.requests} requests")
    return figures.sample(done, after.user - before.user, after.system - before.system, memory)


@contextlib.contextmanager
def _started(
    names: Sequence[str],
    directory: Path,
    upstreams: Upstreams,
    files: certificate.Files,
    hosts: int,
    workers: int = 1,
) -> Iterator[list[Process]]:
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(
                rig.ingressd(
                    directory / name,
                    upstreams,
                    hosts,
                    *LASTING,
                    name=name,
                    workers=workers if name == OWN else 1,
                    files=files,
                )
                if name in (OWN, ALONE)
                else peers.start(name, directory / name, upstreams, hosts, files)
            )
            for name in names
        ]


def _idle(stack: contextlib.ExitStack, process: Process, count: int) -> float:
    """Opens connections that have each had one response, for as long as the stack lasts. Gives bytes for each."""
    with _clients(process, count // 10):
        # What is allocated once and kept is no cost of a connection.
        pass
    before = process.memory()
    stack.enter_context(_clients(process, count))
    return (process.memory() - before) / count


@contextlib.contextmanager
def _clients(process: Process, count: int) -> Iterator[None]:
    command = [sys.executable, str(rig.HERE / "idle_clients.py"), str(process.port), rig.host(0), str(count)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True) as clients:
        # Leaving this block closes its standard input, which ends it.
        assert clients.stdout is not None
        if clients.stdout.readline() != b"open\n":
            raise RigError(f"not all of {count} connections to {process.name} could be opened")
        yield


def _machine(options: Options) -> str:
    versions = ", ".join(f"{name} {peers.version(name)}" for name in options.peers)
    return (
        f"ingressd {__version__} on Python {platform.python_version()}, hot modules {compiled_summary(hot_modules())}; "
        f"{versions}; Linux {platform.release()}, {os.cpu_count()} CPUs"
    )


def _file(options: Options) -> Path:
    return RESULTS / ("peers.json" if options.whole else "quick.json" if options.quick else "partial.json")


def _write(document: Document, page: Path | None) -> int:
    """Draws the plots, where matplotlib is there, and writes the tables into the page."""
    if find_spec("matplotlib") is not None:
        import plots

        print("Plots:", *plots.draw(document, RESULTS))
    if page is not None:
        page.write_text(report.page(page.read_text(), document))
        print(f"Tables: {page}")
    return 0


def _verdict(document: Document, options: Options) -> int:
    """1 if there was an error, or if --quick found ingressd too dear."""
    failed = 0
    for name, measured in document["cells"].items():
        for subject, rounds in report.samples(measured).items():
            if errors := sum(sample.errors for sample in rounds):
                print(f"compare: {name}: {errors} errors of {subject}", file=sys.stderr)
                failed = 1
    if options.quick and "nginx" in options.peers and QUICK_CELL in document["cells"]:
        of = report.samples(document["cells"][QUICK_CELL])
        ratio = figures.ratios(report.values(of[OWN], "cpu"), report.values(of["nginx"], "cpu")).median
        if ratio > QUICK_LIMIT:
            print(f"compare: {QUICK_CELL}: {ratio:.2f} x nginx, more than {QUICK_LIMIT}", file=sys.stderr)
            failed = 1
    return failed


def _at_least(least: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if not text.isdigit() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least}")
        return int(text)

    return number


def _peer_names(text: str) -> list[str]:
    known = [name for name in PEERS if name != LARGE]
    names = text.split(",")
    if wrong := [name for name in names if name not in known]:
        raise argparse.ArgumentTypeError(f"{', '.join(wrong)}: there are {', '.join(known)}")
    return [name for name in known if name in names]


def _cells(pattern: str) -> list[Cell]:
    chosen = [cell for cell in CELLS if any(fnmatch.fnmatchcase(cell.name, each) for each in pattern.split(","))]
    if not chosen:
        raise argparse.ArgumentTypeError(f"{pattern!r} matches none of {', '.join(cell.name for cell in CELLS)}")
    return chosen


def _arguments() -> tuple[Options, Path | None]:
    """And the file of --again."""
    parser = argparse.ArgumentParser(
        prog="compare.py", description="Measures ingressd beside other proxies.", allow_abbrev=False
    )
    add = parser.add_argument
    names = ", ".join(cell.name for cell in CELLS)
    add("--only", type=_cells, metavar="PATTERN", help=f"cells, by commas, with * and ? (default all): {names}")
    add("--peers", type=_peer_names, metavar="NAMES", help="by commas (default nginx,haproxy,envoy,caddy)")
    add("--rounds", type=_at_least(1), metavar="N", help="turns of each proxy in each cell (default 5, with --quick 9)")
    add("--seconds", type=_at_least(1), metavar="N", help="length of one turn (default 2, with --quick 1)")
    quick = f"two minutes, beside nginx: fails on errors, and if {QUICK_CELL} takes more than {QUICK_LIMIT} x nginx"
    add("--quick", action="store_true", help=quick)
    again = "measure nothing: plots, and the tables of docs/performance.md, from the JSON file of a run"
    add("--again", type=Path, metavar="FILE", help=again)
    given = parser.parse_args()
    options = Options(
        cells=given.only or [cell for cell in CELLS if cell.quick or not given.quick],
        peers=given.peers or (["nginx"] if given.quick else [name for name in PEERS if name != LARGE]),
        rounds=given.rounds or (9 if given.quick else 5),
        seconds=given.seconds or (1 if given.quick else 2),
        quick=given.quick,
    )
    return options, given.again


if __name__ == "__main__":
    sys.exit(main())
