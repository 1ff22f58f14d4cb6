"""What a measurement says, as text, and as tables for docs/performance.md."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import figures
from figures import Sample, Spread
from matrix import CELLS, Cell
from peers import PEERS

OWN = "ingressd"
BEGIN = "<!-- make bench-peers: begin -->"
END = "<!-- make bench-peers: end -->"
"""Between them is what `table` wrote last; the rest of the page is written by hand."""
MIB = 1 << 20
HOSTS_BUDGET = 1.05
"""CPU per request of ingressd with 10,000 hosts, relative to that with one."""
IDLE_BUDGET = 4096
"""Bytes of ingressd's memory for an idle connection."""

Samples = dict[str, list[Sample]]
"""By proxy, in the order of the rounds."""
Document = dict[str, Any]
"""The JSON file."""
Measured = list[tuple[Cell, Mapping[str, Any]]]
"""Cells, and what the JSON file has of each."""


class MarkerError(Exception):
    """The page has no place for the tables."""


def samples(measured: Mapping[str, Any]) -> Samples:
    """Those of one cell of the JSON file."""
    return {name: [Sample(**each) for each in rounds] for name, rounds in measured["samples"].items()}


def values(rounds: Iterable[Sample], figure: str) -> list[float]:
    return [getattr(sample, figure) for sample in rounds]


def lines(measured: Mapping[str, Any]) -> Iterator[str]:
    """One cell, for a terminal: medians, the ratio with its least and greatest value."""
    of = samples(measured)
    yield (
        f"{'':10}{'us/request':>11}{'user':>8}{'system':>8}{'requests/s':>12}{'p50 ms':>9}{'p99':>8}{'p99.9':>8}"
        f"{'MiB':>8}{'errors':>8}  ingressd / it"
    )
    for name, rounds in of.items():
        middle = {figure: _median(rounds, figure) for figure in figures.FIGURES}
        line = (
            f"{name:10}{middle['cpu']:11.1f}{middle['user']:8.1f}{middle['system']:8.1f}"
            f"{middle['requests_per_second']:12.0f}{middle['p50'] / 1e3:9.2f}{middle['p99'] / 1e3:8.2f}"
            f"{middle['p999'] / 1e3:8.2f}{middle['memory'] / MIB:8.1f}{sum(values(rounds, 'errors')):8.0f}"
        )
        if name != OWN:
            line += f"  {_ratio(figures.ratios(values(of[OWN], 'cpu'), values(rounds, 'cpu')))}"
        yield line
    for name, size in measured.get("idle_bytes", {}).items():
        yield f"{name:10}{size:11.0f} bytes for an idle connection"


def page(text: str, document: Document) -> str:
    """The page with new tables. Raises MarkerError."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise MarkerError(f"the page has no lines {BEGIN!r} and {END!r}, between which the tables go")
    return f"{before}{BEGIN}\n{table(document)}{END}{after}"


def table(document: Document) -> str:
    """All tables."""
    measured = [(cell, document["cells"][cell.name]) for cell in CELLS if cell.name in document["cells"]]
    options, load = document["options"], document["load_average"]
    shown = [name for name in PEERS if any(name in of["samples"] for _, of in measured)]
    text = [
        f"{document['date']}. {document['machine']}. Load average {load[0]:.1f} before and {load[1]:.1f} after.",
        f"Medians of {options['rounds']} rounds of {options['seconds']:g} s; in brackets the least and the greatest.",
        "",
        "CPU time of ingressd for each request, and its ratio to that of the peers: less than 1 means ingressd takes "
        "less.",
        "",
        *_rows(["", "ingressd, us", *shown, "budget"], _ratio_rows(measured, shown)),
        "",
        *_notes(document["cells"]),
        "All figures. CPU time in microseconds per request, latency in milliseconds, memory of all processes in MiB.",
        "",
        *_rows(
            ["", "", "CPU", "user", "system", "requests/s", "p50", "p99", "p99.9", "memory", "errors"],
            _figure_rows(measured),
        ),
        "",
    ]
    return "\n".join(text)


def _ratio_rows(measured: Measured, shown: list[str]) -> Iterator[list[str]]:
    for cell, each in measured:
        of = samples(each)
        own = figures.spread(values(of[OWN], "cpu"))
        first = f"{own.median:,.1f} ({own.least:,.1f}-{own.greatest:,.1f})"
        budgets: Mapping[str, float] = {} if cell.paced else cell.budgets
        yield [cell.title, first, *_ratios(of, shown, "cpu"), _budget(of, "cpu", budgets)]
        if cell.paced:
            own = figures.spread(values(of[OWN], "p99"))
            first = f"{own.median:,.0f} ({own.least:,.0f}-{own.greatest:,.0f})"
            yield ["the same, p99 of latency", first, *_ratios(of, shown, "p99"), _budget(of, "p99", cell.budgets)]


def _ratios(of: Samples, shown: list[str], figure: str) -> list[str]:
    own = values(of[OWN], figure)
    return [_ratio(figures.ratios(own, values(of[name], figure))) if name in of else "" for name in shown]


def _budget(of: Samples, figure: str, budgets: Mapping[str, float]) -> str:
    """What was to be reached, and whether it was."""
    said = []
    for name, limit in budgets.items():
        if name in of:
            ratio = figures.ratios(values(of[OWN], figure), values(of[name], figure)).median
            said.append(f"{name} {limit:.2f}: {_met(ratio, limit)}")
    return "; ".join(said)


def _met(ratio: float, limit: float) -> str:
    return "met" if ratio <= limit else f"missed by {ratio - limit:.2f}"


def _figure_rows(measured: Measured) -> Iterator[list[str]]:
    for cell, each in measured:
        title = cell.title
        for name, rounds in samples(each).items():
            middle = {figure: _median(rounds, figure) for figure in figures.FIGURES}
            times = [f"{middle[figure] / 1e3:,.2f}" for figure in ("p50", "p99", "p999")]
            costs = [f"{middle[figure]:,.1f}" for figure in ("cpu", "user", "system")]
            errors = f"{sum(values(rounds, 'errors')):.0f}"
            rate = f"{middle['requests_per_second']:,.{0 if middle['requests_per_second'] >= 100 else 1}f}"
            yield [title, name, *costs, rate, *times, f"{middle['memory'] / MIB:,.1f}", errors]
            title = ""


def _notes(cells: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """What follows from several cells, or is no figure of a request."""
    if "hosts-1" in cells and "hosts-10000" in cells:
        few, many = samples(cells["hosts-1"]), samples(cells["hosts-10000"])
        growth = {name: _median(many[name], "cpu") / _median(few[name], "cpu") for name in few}
        said = ", ".join(f"{name} {ratio:.2f}" for name, ratio in growth.items())
        verdict = f"Budget {HOSTS_BUDGET:.2f}: {_met(growth[OWN], HOSTS_BUDGET)}"
        yield f"CPU per request with 10,000 hosts, relative to that with one: {said}. {verdict}."
        yield ""
    for measured in cells.values():
        if sizes := measured.get("idle_bytes"):
            said = ", ".join(f"{name} {size:,.0f}" for name, size in sizes.items())
            verdict = "met" if sizes[OWN] <= IDLE_BUDGET else f"missed by {sizes[OWN] - IDLE_BUDGET:,.0f}"
            yield f"Bytes of memory for each idle connection: {said}. Budget {IDLE_BUDGET:,}: {verdict}."
            yield ""


def _median(rounds: Iterable[Sample], figure: str) -> float:
    return figures.spread(values(rounds, figure)).median


def _ratio(spread: Spread) -> str:
    return f"{spread.median:.2f} ({spread.least:.2f}-{spread.greatest:.2f})"


def _rows(head: list[str], rows: Iterable[list[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"
