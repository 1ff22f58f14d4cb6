"""What a soak test looks at each second, and what it makes of that: has anything grown?

Figures go up and down with the traffic, so what is compared are medians: of the second minute (in a run of less than
ten minutes, of a part as far into it) and of the end. A figure has grown if it is more than 10 % above, and more than
its slack: of three descriptors, 10 % would be none at all.

Descriptors and connections go up and down by half as much as there are clients. What traffic has left open shows better
before the first client has come and after the last has gone.
"""

import math
import os
import re
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

PAGE = os.sysconf("SC_PAGE_SIZE")
MIB = 1 << 20
TOLERANCE = 0.10
WINDOW = 60.0
"""Seconds of a window, and at which the first begins, in a run of ten minutes or more."""


class Kind(NamedTuple):
    """A kind of figure: how it is called in the plot, and by how much it may be greater whatever it was."""

    title: str
    slack: float


KINDS: Mapping[str, Kind] = {
    "memory": Kind("resident memory, MiB", 3.0),
    "descriptors": Kind("open descriptors", 20.0),
    "tasks": Kind("asyncio tasks", 5.0),
    "connections": Kind("connections", 20.0),
}
STATE = "state"
"""What the names of other figures begin with: of connections by state. They are not compared, because a machine that
gets busier turns idle connections into active ones."""
IN_USE = [
    f"{STATE} {state}" for state in ("downstream idle", "downstream active", "downstream tunnel", "upstream active")
]
IDLE = f"{STATE} upstream idle"
"""Connections that there are none of without clients, and those that are kept for the next."""
AT_REST_SLACK = 5.0
"""Descriptors: of connections to the admin API."""
SIDES = {
    "ingressd_downstream_connections_open": "downstream",
    "ingressd_upstream_connections_open": "upstream",
}
"""By the name of the metric."""


class Sample(NamedTuple):
    """What was seen `at` so many seconds. A figure is called by its kind and whose it is: `memory worker 0`."""

    at: float
    figures: Mapping[str, float]


class Window(NamedTuple):
    """A part of a run, in seconds."""

    start: float
    end: float


class Growth(NamedTuple):
    """The medians of a figure in both windows."""

    figure: str
    before: float
    after: float

    @property
    def allowed(self) -> float:
        """What it may be in the end."""
        return self.before + max(self.before * TOLERANCE, KINDS[self.figure.split()[0]].slack)

    @property
    def too_much(self) -> bool:
        return self.after > self.allowed

    def __str__(self) -> str:
        return f"{self.figure:28} {self.before:8.1f} {self.after:8.1f} {self.allowed:10.1f}" + (
            "  GREW" if self.too_much else ""
        )


def windows(seconds: float) -> tuple[Window, Window]:
    """Which parts of a run of so many seconds are compared."""
    length = min(WINDOW, seconds / 6)
    start = min(WINDOW, seconds / 3)
    return Window(start, start + length), Window(seconds - length, seconds)


def growths(samples: Sequence[Sample], seconds: float) -> tuple[list[Growth], list[str]]:
    """How the figures have changed, and those that one of the windows does not have: of what was not seen, nobody can
    say that it has not grown."""
    first, last = (
        [sample.figures for sample in samples if window.start <= sample.at < window.end] for window in windows(seconds)
    )
    names = sorted({name for sample in samples for name in sample.figures if name.split()[0] in KINDS})
    medians = {name: (_median(first, name), _median(last, name)) for name in names}
    found = [Growth(name, *pair) for name, pair in medians.items() if not any(map(math.isnan, pair))]
    return found, [name for name, pair in medians.items() if any(map(math.isnan, pair))]


def _median(window: Sequence[Mapping[str, float]], name: str) -> float:
    """NaN if there is none."""
    return statistics.median([figures[name] for figures in window if name in figures] or [math.nan])


def of_process(name: str, pid: int) -> dict[str, float]:
    """Memory (proc_pid_statm(5), field 2) and descriptors of a process. Raises OSError if it is gone."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return {
        f"memory {name}": pages * PAGE / MIB,
        f"descriptors {name}": float(len(os.listdir(f"/proc/{pid}/fd"))),
    }


def of_page(page: str) -> dict[str, float]:
    """Tasks, connections on each side, and these by their state, from the text of the metrics page."""
    found: dict[str, float] = {}
    for name, value in re.findall(r"^(ingressd_\S+) (\S+)$", page, re.MULTILINE):
        metric, label = name.partition("{")[0], name.partition('"')[2].partition('"')[0]
        if metric == "ingressd_tasks":
            found[f"tasks {label}"] = float(value)
        elif side := SIDES.get(metric):
            found[f"{STATE} {side} {label}"] = float(value)
            total = f"connections {side}"
            found[total] = found.get(total, 0.0) + float(value)
    return found


def left_open(before: Mapping[str, float], now: Mapping[str, float]) -> list[str]:
    """What there is without a client `now`, and should not: a line each. `before` was before the first one came."""
    found = [f"{now[name]:.0f} connections, {name}" for name in IN_USE if now[name]]
    for process in ("controller", "worker"):
        had, has = (
            sum(value for name, value in figures.items() if name.startswith(f"descriptors {process}"))
            for figures in (before, now)
        )
        if process == "worker":
            has -= now[IDLE]
        if has > had + AT_REST_SLACK:
            found.append(f"descriptors of {process}: {had:.0f} at first, now {has:.0f}")
    return found


def plot(samples: Sequence[Sample], seconds: float, file: Path) -> str:
    """Draws all figures over time into `file` (PNG). Gives a sentence on what became of it."""
    try:
        import matplotlib
    except ImportError:
        return "no plot: matplotlib is not installed (make soak installs it)"
    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(len(KINDS), 1, sharex=True, figsize=(10, 12), layout="constrained")
    for panel, (key, kind) in zip(panels, KINDS.items(), strict=True):
        for name in sorted({name for sample in samples for name in sample.figures if name.split()[0] == key}):
            points = [(sample.at, sample.figures[name]) for sample in samples if name in sample.figures]
            panel.plot(*zip(*points, strict=True), label=name.removeprefix(f"{key} "), linewidth=1)
        for window in windows(seconds):
            panel.axvspan(window.start, window.end, color="0.9")
        panel.set_ylabel(kind.title)
        panel.set_ylim(bottom=0)
        panel.grid(alpha=0.3)
        panel.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize="small")
    panels[-1].set_xlabel("seconds; the grey parts are compared")
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=100)
    pyplot.close(figure)
    return f"plot: {file}"
