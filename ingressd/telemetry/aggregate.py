"""What all workers together have done: the sum of their reports.

Workers report increments, so a counter here goes on from where it stood when a worker is replaced. What is true only of
a running process (connections open, memory) is kept per worker and forgotten with it. Requests are kept only for
Ingresses and hosts that the current snapshot has: series of deleted ones would otherwise stay for ever.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence, Set
from typing import NamedTuple

from ingressd.link import BUCKETS, HISTOGRAMS, TIME_BUCKETS, Report, RequestSeries, Sample

CUMULATIVE_GAUGES = frozenset({"worker_cpu_seconds"})
"""Gauges of a worker that only grow while it lives; over all workers ever started their sum is a counter."""


class SeriesKey(NamedTuple):
    """The labels of a request series."""

    host: str
    path: str
    namespace: str
    ingress: str
    service: str
    method: str
    status: int


class SampleKey(NamedTuple):
    """A figure of our own: its name, and the value of its one label (or empty)."""

    name: str
    label: str


class RequestTotals:
    """What the requests of one series add up to. `sums` and `buckets` are in the order of HISTOGRAMS."""

    __slots__ = ("buckets", "requests", "sums")

    def __init__(self) -> None:
        self.requests = 0
        self.sums = [0.0] * len(HISTOGRAMS)
        self.buckets = [[0] * (len(bounds) + 1) for bounds in BUCKETS]

    def add(self, series: RequestSeries) -> None:
        self.requests += series.requests
        for index, value in enumerate(series.sums):
            self.sums[index] += value
        for mine, theirs in zip(self.buckets, series.buckets, strict=True):
            for index, count in enumerate(theirs):
                mine[index] += count


class Totals:
    """The figures of all workers since the controller started."""

    def __init__(self) -> None:
        self.requests: dict[SeriesKey, RequestTotals] = {}
        self.counters: dict[SampleKey, float] = defaultdict(float)
        self._gauges: dict[int, tuple[Sample, ...]] = {}
        self._ingresses: Set[tuple[str, str]] = frozenset()
        self._hosts: Set[str] = frozenset()

    def add(self, worker: int, report: Report) -> None:
        """Adds what `worker` reports."""
        for series in report.requests:
            if (series.namespace, series.ingress) in self._ingresses and series.host in self._hosts:
                self._requests_of(series).add(series)
        for sample in report.counters:
            self.counters[SampleKey(sample.name, sample.label)] += sample.value
        if report.gauges:
            self._gauges[worker] = report.gauges

    def _requests_of(self, series: RequestSeries) -> RequestTotals:
        key = SeriesKey(
            series.host,
            series.path,
            series.namespace,
            series.ingress,
            series.service,
            series.method,
            series.status,
        )
        if (totals := self.requests.get(key)) is None:
            totals = self.requests[key] = RequestTotals()
        return totals

    def forget(self, worker: int) -> None:
        """The worker has exited: what it had open is gone, what it has used up stays."""
        for sample in self._gauges.pop(worker, ()):
            if sample.name in CUMULATIVE_GAUGES:
                self.counters[SampleKey(sample.name, sample.label)] += sample.value

    def keep(self, ingresses: Iterable[tuple[str, str]], hosts: Iterable[str]) -> None:
        """Drops the requests of Ingresses (namespace, name) and of hosts not among these, and takes no more of them."""
        self._ingresses, self._hosts = frozenset(ingresses), frozenset(hosts)
        gone = [
            key
            for key in self.requests
            if (key.namespace, key.ingress) not in self._ingresses or key.host not in self._hosts
        ]
        for key in gone:
            del self.requests[key]

    def gauges(self) -> dict[SampleKey, float]:
        """Values as the workers last gave them, summed over the workers."""
        sums: dict[SampleKey, float] = defaultdict(float)
        for sample in self._running(cumulative=False):
            sums[SampleKey(sample.name, sample.label)] += sample.value
        return sums

    def cumulative(self) -> dict[SampleKey, float]:
        """All counters, those included that running workers give as gauges."""
        sums = defaultdict(float, self.counters)
        for sample in self._running(cumulative=True):
            sums[SampleKey(sample.name, sample.label)] += sample.value
        return sums

    def _running(self, *, cumulative: bool) -> Iterator[Sample]:
        for samples in self._gauges.values():
            yield from (sample for sample in samples if (sample.name in CUMULATIVE_GAUGES) == cumulative)


class Histogram:
    """Observations counted into buckets, as Prometheus has them. `bounds` are upper bounds without +Inf."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float] = TIME_BUCKETS) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value
