"""The request metrics of one worker: counted per exchange, taken away as increments once a second.

The series are those of ingress-nginx. Exchanges that reached no Ingress are not among them.
"""

from array import array
from itertools import chain, repeat, zip_longest
from math import inf

from ingressd.link import BUCKETS, RequestSeries
from ingressd.routing.table import Decision
from ingressd.telemetry.record import Attempt, Record

_METHODS = frozenset(
    (b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"CONNECT", b"OPTIONS", b"TRACE", b"PATCH", b"PROPFIND", b"REPORT")
)
"""Methods that are labels of their own; a client must not make series by inventing methods."""

_WIDTH = len(BUCKETS)
_BOUNDS = array(
    "d", chain(repeat(0.0, _WIDTH), chain.from_iterable(zip_longest(*BUCKETS, fillvalue=inf)), repeat(inf, _WIDTH))
)
"""The upper bounds of buckets, each where RequestSeries.values has what was counted in it."""


class Series:
    """The increments of one set of labels."""

    __slots__ = ("requests", "values")

    def __init__(self) -> None:
        self.requests = 0
        self.values = array("d", bytes(8 * len(_BOUNDS)))
        """As in RequestSeries: what a request adds to lies close together."""

    def observe(self, which: int, value: float) -> None:
        """Counts `value` in histogram number `which` of link.HISTOGRAMS."""
        self.values[which] += value
        at = which + _WIDTH
        while value > _BOUNDS[at]:
            at += _WIDTH
        self.values[at] += 1


class RouteSeries:
    """All series of one route; kept on its Decision."""

    __slots__ = ("counted", "decision", "last", "last_method", "last_status", "series")

    def __init__(self, decision: Decision) -> None:
        self.decision = decision
        self.counted = decision.route.source.kind == "Ingress"
        """Not so the controller's default backend: its Service may be named like some Ingress."""
        self.series: dict[tuple[bytes, int], Series] = {}
        self.last: Series | None = None
        self.last_method = b""
        self.last_status = 0
        """The series counted last, which mostly is the next one, too."""


class RequestMetrics:
    """Counts exchanges. `take` gives what was counted since it was last called."""

    __slots__ = ("_touched",)

    def __init__(self) -> None:
        self._touched: list[RouteSeries] = []

    def add(self, record: Record, duration: float) -> None:
        """Counts one finished exchange; `duration` in seconds from its first byte to its last."""
        decision = record.decision
        head = record.head
        if decision is None or head is None:
            return
        route_series = decision.attachment
        if not isinstance(route_series, RouteSeries):
            route_series = RouteSeries(decision)
            decision.attachment = route_series
        if not route_series.counted:
            return
        series = route_series.last
        if series is None or route_series.last_method is not head.method or route_series.last_status != record.status:
            series = self._find(route_series, head.method, record.status)
        series.requests += 1
        series.observe(0, duration)
        if record.attempts:
            attempt: Attempt = record.attempts[-1]
            if attempt.response_time >= 0:
                series.observe(1, attempt.response_time)
            if attempt.header_time >= 0:
                series.observe(2, attempt.header_time)
            if attempt.connect_time >= 0:
                series.observe(3, attempt.connect_time)
        series.observe(4, record.request_length)
        series.observe(5, record.bytes_sent)
        series.observe(6, record.bytes_sent)

    def _find(self, route_series: RouteSeries, method: bytes, status: int) -> Series:
        if not route_series.series:
            self._touched.append(route_series)
        key = (method if method in _METHODS else b"OTHER", status)
        series = route_series.series.get(key)
        if series is None:
            series = Series()
            route_series.series[key] = series
        route_series.last = series
        route_series.last_method = method
        route_series.last_status = status
        return series

    @property
    def waiting(self) -> int:
        """How many routes have something to tell."""
        return len(self._touched)

    def take(self, routes: int) -> tuple[RequestSeries, ...]:
        """What was counted on so many routes at most, since it was taken before; those that wait for longest first."""
        taken = []
        leaving, self._touched = self._touched[:routes], self._touched[routes:]
        for route_series in leaving:
            route = route_series.decision.route
            for (method, status), series in route_series.series.items():
                taken.append(
                    RequestSeries(
                        host=route_series.decision.host,
                        path=route.path.value,
                        namespace=route.source.namespace,
                        ingress=route.source.name,
                        service=route.cluster.service if route.cluster else "",
                        method=method.decode(),
                        status=status,
                        requests=series.requests,
                        values=bytes(series.values),
                    )
                )
            route_series.series = {}
            route_series.last = None
        return tuple(taken)
