"""Pictures of a measurement, as PNG files."""

from pathlib import Path

import figures
import report
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matrix import CELLS
from report import OWN, Document, Samples

WIDTH = 11.0
"""Inches."""
SLOW = 300.0
"""Microseconds of CPU per request above which a cell does not go into the picture with the small ones."""
PERCENTILES = ("p50", "p99", "p999")


def draw(document: Document, directory: Path) -> list[Path]:
    """Draws all pictures of what was measured."""
    measured = {
        cell.title: report.samples(document["cells"][cell.name]) for cell in CELLS if cell.name in document["cells"]
    }
    cheap = {title: of for title, of in measured.items() if _median(of[OWN], "cpu") < SLOW}
    pictures = {"ratios.png": _ratios(measured), "latency.png": _latency(measured)}
    if cheap:
        pictures["cpu.png"] = _cpu(cheap)
    for name, figure in pictures.items():
        figure.savefig(directory / name, dpi=110)
    return [directory / name for name in pictures]


def _median(rounds: list[figures.Sample], figure: str) -> float:
    return figures.spread(report.values(rounds, figure)).median


def _names(measured: dict[str, Samples]) -> list[str]:
    return list(dict.fromkeys(name for of in measured.values() for name in of))


def _start(rows: int, title: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH, 1.5 + 0.75 * rows), layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title)
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.3)
    return figure, axes


def _ratios(measured: dict[str, Samples]) -> Figure:
    """For each cell and peer the ratio of CPU per request, with its spread."""
    figure, axes = _start(len(measured), "CPU per request: ingressd / peer (left of 1: ingressd takes less)")
    peers = [name for name in _names(measured) if name != OWN]
    for place, name in enumerate(peers):
        rows = [(row, of) for row, of in enumerate(measured.values()) if name in of]
        found = [figures.ratios(report.values(of[OWN], "cpu"), report.values(of[name], "cpu")) for _, of in rows]
        axes.errorbar(
            [each.median for each in found],
            [row + (place - len(peers) / 2) * 0.13 for row, _ in rows],
            xerr=[
                [each.median - each.least for each in found],
                [each.greatest - each.median for each in found],
            ],
            fmt="o",
            capsize=2,
            # As in the other pictures, in which ingressd is the first.
            color=f"C{place + 1}",
            label=name,
        )
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.axvline(1.0, color="black", linewidth=1)
    _finish(axes, measured, "ratio")
    return figure


def _cpu(measured: dict[str, Samples]) -> Figure:
    """For each cell and proxy the CPU time, divided into that of the program and that of the kernel."""
    figure, axes = _start(len(measured), "CPU per request; the darker part is the program's own, the rest the kernel's")
    names = _names(measured)
    height = 0.8 / len(names)
    for place, name in enumerate(names):
        rows = [(row, of[name]) for row, of in enumerate(measured.values()) if name in of]
        at = [row + (place - (len(names) - 1) / 2) * height for row, _ in rows]
        user = [_median(rounds, "user") for _, rounds in rows]
        axes.barh(at, user, height * 0.9, color=f"C{place}", label=name)
        system = [_median(rounds, "system") for _, rounds in rows]
        axes.barh(at, system, height * 0.9, left=user, color=f"C{place}", alpha=0.45)
    _finish(axes, measured, "microseconds")
    return figure


def _latency(measured: dict[str, Samples]) -> Figure:
    """For each cell and proxy three percentiles."""
    figure, axes = _start(len(measured), "Latency: 50th, 99th and 99.9th percentile")
    names = _names(measured)
    for place, name in enumerate(names):
        rows = [(row, of[name]) for row, of in enumerate(measured.values()) if name in of]
        for row, rounds in rows:
            times = [_median(rounds, figure_name) / 1e3 for figure_name in PERCENTILES]
            at = row + (place - (len(names) - 1) / 2) * 0.13
            label = name if row == rows[0][0] else None
            axes.plot(times, [at] * len(times), "|-", markersize=8, color=f"C{place}", label=label)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    _finish(axes, measured, "milliseconds")
    return figure


def _finish(axes: Axes, measured: dict[str, Samples], unit: str) -> None:
    axes.set_yticks(range(len(measured)), list(measured))
    axes.set_xlabel(unit)
    axes.legend(loc="best")
