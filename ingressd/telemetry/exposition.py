"""The metrics page: totals of the workers and figures of the controller -> Prometheus text format, version 0.0.4.

Two parts. Names of ingress-nginx (`nginx_ingress_controller_...`) are written here, letter for letter as its Go client
writes them: its counters have no `_total` and its bucket bounds read `1` and `1e+06`, which prometheus-client does not
do; and a thousand series are 90,000 lines, written here in a tenth of the time. Our own names (`ingressd_...`) are
collected by prometheus-client. The page comes in pieces, so that the controller's loop can do other things in between.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import accumulate, islice
from typing import NamedTuple

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from ingressd.link import BUCKETS, HISTOGRAMS
from ingressd.telemetry.aggregate import Histogram, RequestTotals, SampleKey, SeriesKey, Totals
from ingressd.telemetry.catalogue import COUNTERS, GAUGES, UNKNOWN, Figure

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PREFIX = "nginx_ingress_controller_"
OWN_PREFIX = "ingressd_"
PIECE = 200
"""Series written in one go: about a millisecond."""

REQUEST_HELP = {
    "request_duration_seconds": "From the first byte of a request to the last byte of its response.",
    "response_duration_seconds": "Until the last byte of the response came from the upstream.",
    "header_duration_seconds": "Until the head of the response came from the upstream.",
    "connect_duration_seconds": "Until the connection to the upstream stood.",
    "request_size": "Bytes of requests: request line, header fields and body.",
    "response_size": "Bytes of responses.",
    "bytes_sent": "Deprecated: bytes of responses, in other buckets.",
}


@dataclass(frozen=True, slots=True)
class Identity:
    """Which controller speaks: its namespace, the `spec.controller` of its class, its pod."""

    namespace: str
    controller_class: str
    pod: str


@dataclass(frozen=True, slots=True)
class BuildInfo:
    """`compiled` is one word for all hot modules: compiled, interpreted or mixed."""

    version: str
    python: str
    compiled: str


@dataclass(frozen=True, slots=True)
class WritingFigures:
    """What was written to the cluster. `election` is the name of the Lease."""

    election: str
    leads: bool
    statuses: int
    status_failures: int
    events: int
    event_failures: int
    events_dropped: int


@dataclass(frozen=True, slots=True)
class HealthFigures:
    """What health checks have come to."""

    passed: int = 0
    failed: int = 0
    """Checks."""
    checked: int = 0
    unhealthy: int = 0
    """Endpoints now, once for each check."""
    waiting: int = 0
    """Checks that are due and wait for others to end."""
    transitions: Mapping[str, int] = field(default_factory=dict)
    """How often endpoints have become healthy and unhealthy."""
    panicking: int = 0
    """Clusters of which no endpoint is available."""


class CertificateFigures(NamedTuple):
    """A certificate and a host that has it. `not_after` in seconds since 1970."""

    host: str
    namespace: str
    secret: str
    serial_number: str
    issuer_organization: str
    issuer_common_name: str
    public_key_algorithm: str
    not_after: int


@dataclass(slots=True)
class ControllerFigures:
    """What the controller counts of itself. Its loop writes them, the page reads them."""

    workers: int = 0
    """Worker processes that run."""
    workers_ready: int = 0
    """Those that serve the newest generation."""
    worker_restarts: int = 0
    tasks: int = 0
    """asyncio tasks of the controller; workers report theirs."""
    worker_hangs: int = 0
    """Workers killed because nothing was heard of them."""
    generation: int = 0
    problems: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """How many, by (reason, severity)."""
    objects: Mapping[str, int] = field(default_factory=dict)
    """How many objects the controller holds, by kind."""
    watches: Mapping[str, tuple[int, float | None]] = field(default_factory=dict)
    """Of a cluster, by kind: how often a watch broke off, and seconds without news; None before the first."""
    writing: WritingFigures | None = None
    """None where nothing is ever written to a cluster."""
    certificates: Callable[[], Iterable[CertificateFigures]] = tuple
    """Those in use; asked for by each page, for several may be read at a time."""
    orphans: Collection[tuple[str, str, str]] = ()
    """Ingresses with a backend that cannot serve: namespace, name, and `no-service` or `no-endpoint`."""
    health: HealthFigures = HealthFigures()
    propagation: Histogram = field(default_factory=Histogram)
    """Seconds from a change seen to every worker serving it."""
    published: int = 0
    failures: int = 0
    """Rebuilds that failed and left the last snapshot in force."""
    last_published: float = 0.0
    """Seconds since 1970; 0 before the first."""
    last_ok: bool = False
    """Whether the last rebuild did not fail."""
    config_hash: Callable[[], int] = int
    """A checksum of the snapshot in force; asked for only when the page is read."""


class Page:
    """Writes the metrics page."""

    def __init__(self, identity: Identity, build: BuildInfo, totals: Totals, figures: ControllerFigures) -> None:
        self._constant = _labels(
            controller_class=identity.controller_class,
            controller_namespace=identity.namespace,
            controller_pod=identity.pod,
        )
        self._identity = identity
        self._totals = totals
        self._figures = figures
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_OwnFigures(build, totals, figures))
        ProcessCollector(registry=self._registry)

    def pieces(self) -> Iterator[bytes]:
        """The page in pieces, each made when asked for; every series is consistent in itself."""
        yield self._controller().encode()
        yield from _pieces(self._objects())
        yield from _pieces(self._certificates())
        series = [(self._request_labels(key), totals) for key, totals in self._totals.requests.items()]
        if series:
            yield _heading(f"{PREFIX}requests", "counter", "Requests of clients.").encode()
            yield from _pieces(f"{PREFIX}requests{{{labels}}} {totals.requests}\n" for labels, totals in series)
        for index, name in enumerate(HISTOGRAMS):
            # ingress-nginx has no series for what it never observed either.
            observed = [(labels, totals) for labels, totals in series if any(totals.buckets[index])]
            if observed:
                yield _heading(PREFIX + name, "histogram", REQUEST_HELP[name]).encode()
                yield from _pieces(_histogram(name, index, labels, totals) for labels, totals in observed)
        yield generate_latest(self._registry)

    def _request_labels(self, key: SeriesKey) -> str:
        own = _labels(
            host=key.host,
            ingress=key.ingress,
            method=key.method,
            namespace=key.namespace,
            path=key.path,
            service=key.service,
            status=str(key.status),
        )
        return f'canary="",{self._constant},{own}'

    def _controller(self) -> str:
        """The figures of ingress-nginx's controller and of its nginx whose meaning carries over."""
        figures, gauges, counters = self._figures, self._totals.gauges(), self._totals.cumulative()
        open_now = sum(value for key, value in gauges.items() if key.name == "downstream_connections_open")
        return "".join(
            (
                self._one("config_hash", "gauge", "Checksum of the snapshot in force.", figures.config_hash()),
                self._one(
                    "config_last_reload_successful", "gauge", "Whether the last rebuild worked.", figures.last_ok
                ),
                self._one(
                    "config_last_reload_successful_timestamp_seconds",
                    "gauge",
                    "When a snapshot was last published, in seconds since 1970.",
                    figures.last_published,
                ),
                self._one("success", "counter", "Snapshots published.", figures.published),
                self._one("errors", "counter", "Rebuilds that failed.", figures.failures),
                self._one("nginx_process_connections", "gauge", "Client connections open.", open_now, state="active"),
                self._one(
                    "nginx_process_connections_total",
                    "counter",
                    COUNTERS["downstream_connections"].help,
                    counters.get(SampleKey("downstream_connections", ""), 0),
                    state="accepted",
                ),
                self._one(
                    "nginx_process_requests_total",
                    "counter",
                    COUNTERS["requests"].help,
                    counters.get(SampleKey("requests", ""), 0),
                ),
                self._one("nginx_process_num_procs", "gauge", "Worker processes that run.", figures.workers),
                self._one(
                    "nginx_process_cpu_seconds_total",
                    "counter",
                    COUNTERS["worker_cpu_seconds"].help,
                    counters.get(SampleKey("worker_cpu_seconds", ""), 0),
                ),
                self._one(
                    "nginx_process_resident_memory_bytes",
                    "gauge",
                    GAUGES["worker_memory_bytes"].help,
                    gauges.get(SampleKey("worker_memory_bytes", ""), 0),
                ),
            )
        )

    def _one(self, name: str, kind: str, text: str, value: float, /, **labels: str) -> str:
        """A metric of one line."""
        return _heading(PREFIX + name, kind, text) + self._line(name, value, **labels)

    def _line(self, name: str, value: float, /, **labels: str) -> str:
        all_labels = ",".join(filter(None, (self._constant, _labels(**labels))))
        return f"{PREFIX}{name}{{{all_labels}}} {float(value)!r}\n"

    def _certificates(self) -> Iterator[str]:
        """What ingress-nginx says of certificates, with the labels that it gives them and no others."""
        infos = [_heading(f"{PREFIX}ssl_certificate_info", "gauge", "A certificate in use; always 1.")]
        text = "When a certificate ends, in seconds since 1970."
        yield _heading(f"{PREFIX}ssl_expire_time_seconds", "gauge", text)
        for one in self._figures.certificates():
            shared = {
                "class": self._identity.controller_class,
                "host": one.host,
                "identifier": f"-{one.serial_number}",
                "secret_name": one.secret,
            }
            labels = _labels(namespace=self._identity.namespace, **shared)
            yield f"{PREFIX}ssl_expire_time_seconds{{{labels}}} {float(one.not_after)!r}\n"
            labels = _labels(
                issuer_common_name=one.issuer_common_name,
                issuer_organization=one.issuer_organization,
                namespace=one.namespace,
                public_key_algorithm=one.public_key_algorithm,
                serial_number=one.serial_number,
                **shared,
            )
            infos.append(f"{PREFIX}ssl_certificate_info{{{labels}}} 1.0\n")
        yield from infos

    def _objects(self) -> Iterator[str]:
        """What ingress-nginx says of its lead and of Ingresses."""
        writing = self._figures.writing
        yield _heading(f"{PREFIX}leader_election_status", "gauge", "Whether this replica is the leader.")
        if writing is not None:
            yield self._line("leader_election_status", writing.leads, name=writing.election)
        text = "Ingresses with a backend that has no Service, or no endpoint; always 1."
        yield _heading(f"{PREFIX}orphan_ingress", "gauge", text)
        for namespace, ingress, kind in sorted(self._figures.orphans):
            yield self._line("orphan_ingress", 1, namespace=namespace, ingress=ingress, type=kind)


def _histogram(name: str, index: int, labels: str, totals: RequestTotals) -> str:
    """The lines of one series: cumulative buckets, sum and count."""
    counts = list(accumulate(totals.buckets[index]))
    start = f"{PREFIX}{name}_bucket{{{labels}"
    lines = [f"{start}{bound}{count}\n" for bound, count in zip(_BOUNDS[index], counts, strict=True)]
    lines.append(f"{PREFIX}{name}_sum{{{labels}}} {totals.sums[index]!r}\n")
    lines.append(f"{PREFIX}{name}_count{{{labels}}} {counts[-1]}\n")
    return "".join(lines)


def _heading(name: str, kind: str, text: str) -> str:
    return f"# HELP {name} {text}\n# TYPE {name} {kind}\n"


def _labels(**labels: str) -> str:
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _pieces(texts: Iterable[str]) -> Iterator[bytes]:
    rest = iter(texts)
    while piece := "".join(islice(rest, PIECE)):
        yield piece.encode()


def _bounds(bounds: tuple[float, ...]) -> tuple[str, ...]:
    """The rest of a bucket's line up to its count, for each bound. `%g` is how Go writes these numbers."""
    return (*(f',le="{bound:g}"}} ' for bound in bounds), ',le="+Inf"} ')


_BOUNDS = tuple(map(_bounds, BUCKETS))


class _OwnFigures(Collector):
    """Our own names, for a registry of prometheus-client."""

    def __init__(self, build: BuildInfo, totals: Totals, figures: ControllerFigures) -> None:
        self._build = build
        self._totals = totals
        self._figures = figures

    def collect(self) -> Iterator[Metric]:
        yield from self._controller()
        yield from _families(CounterMetricFamily, COUNTERS, self._totals.cumulative())
        tasks = {SampleKey("tasks", "controller"): float(self._figures.tasks)}
        yield from _families(GaugeMetricFamily, GAUGES, {**self._totals.gauges(), **tasks})

    def _controller(self) -> Iterator[Metric]:
        figures = self._figures
        build = _gauge("build_info", "What runs here; always 1.", ("version", "python", "compiled"))
        build.add_metric((self._build.version, self._build.python, self._build.compiled), 1)
        yield build
        yield _gauge("workers", "Worker processes that run.", value=figures.workers)
        yield _gauge("workers_ready", "Workers that serve the newest generation.", value=figures.workers_ready)
        yield CounterMetricFamily(
            f"{OWN_PREFIX}worker_restarts", "Workers started in place of one that exited.", figures.worker_restarts
        )
        yield CounterMetricFamily(
            f"{OWN_PREFIX}worker_hangs", "Workers killed because nothing was heard of them.", figures.worker_hangs
        )
        yield _gauge("snapshot_generation", "The generation published last.", value=figures.generation)
        problems = _gauge("problems", "Problems of objects, by reason and severity.", ("reason", "severity"))
        for labels, count in sorted(figures.problems.items()):
            problems.add_metric(labels, count)
        yield problems
        objects = _gauge("objects", "Objects held, by kind.", ("kind",))
        for kind, count in sorted(figures.objects.items()):
            objects.add_metric((kind,), count)
        yield objects
        restarts = CounterMetricFamily(
            f"{OWN_PREFIX}watch_restarts", "Watches that broke off, by kind.", None, ("kind",)
        )
        ages = _gauge("sync_age_seconds", "Since the API server last said anything of the kind.", ("kind",))
        for kind, (count, age) in sorted(figures.watches.items()):
            restarts.add_metric((kind,), count)
            if age is not None:
                ages.add_metric((kind,), age)
        yield restarts
        yield ages
        yield from _written(figures.writing)
        yield from _health(figures.health)
        counts = accumulate(figures.propagation.counts)
        bounds = (*(f"{bound:g}" for bound in figures.propagation.bounds), "+Inf")
        yield HistogramMetricFamily(
            f"{OWN_PREFIX}propagation_seconds",
            "From a change seen to every worker serving it.",
            list(zip(bounds, counts, strict=True)),
            figures.propagation.sum,
        )


def _written(writing: WritingFigures | None) -> Iterator[Metric]:
    """What was written to a cluster."""
    for name, text, value in (
        ("status_writes", "Ingress statuses written.", writing and writing.statuses),
        ("status_failures", "Writes of Ingress statuses that failed.", writing and writing.status_failures),
        ("events_written", "Events written, and series of them.", writing and writing.events),
        ("event_failures", "Writes of Events that failed.", writing and writing.event_failures),
        ("events_dropped", "Events that were due and never written.", writing and writing.events_dropped),
    ):
        yield CounterMetricFamily(OWN_PREFIX + name, text, value or 0)


def _health(health: HealthFigures) -> Iterator[Metric]:
    """What checks and workers have found about endpoints."""
    checks = CounterMetricFamily(f"{OWN_PREFIX}health_checks", "Health checks made, by result.", None, ("result",))
    checks.add_metric(("passed",), health.passed)
    checks.add_metric(("failed",), health.failed)
    yield checks
    yield _gauge("health_checks_waiting", "Health checks that are due and wait for others.", value=health.waiting)
    transitions = CounterMetricFamily(
        f"{OWN_PREFIX}health_transitions", "Endpoints that have changed state, by the new one.", None, ("state",)
    )
    for state, count in sorted(health.transitions.items()):
        transitions.add_metric((state,), count)
    yield transitions
    endpoints = _gauge("endpoints_checked", "Endpoints with a health check, by state.", ("state",))
    endpoints.add_metric(("healthy",), health.checked - health.unhealthy)
    endpoints.add_metric(("unhealthy",), health.unhealthy)
    yield endpoints
    text = "Clusters without an available endpoint, whose requests go to all of them."
    yield _gauge("clusters_panicking", text, value=health.panicking)


def _gauge(
    name: str, text: str, labels: tuple[str, ...] | None = None, value: float | None = None
) -> GaugeMetricFamily:
    return GaugeMetricFamily(OWN_PREFIX + name, text, value, labels)


def _families(
    kind: type[CounterMetricFamily] | type[GaugeMetricFamily],
    catalogue: Mapping[str, Figure],
    samples: Mapping[SampleKey, float],
) -> Iterator[Metric]:
    """A metric for each name in `catalogue` or `samples`; one without label starts at 0."""
    by_name: dict[str, dict[str, float]] = {
        name: {} if figure.label else {"": 0.0} for name, figure in catalogue.items()
    }
    for key, value in samples.items():
        by_name.setdefault(key.name, {})[key.label] = value
    for name, values in sorted(by_name.items()):
        figure = catalogue.get(name, UNKNOWN)
        plain = not figure.label or (figure is UNKNOWN and set(values) == {""})
        family = kind(OWN_PREFIX + name, figure.help, labels=() if plain else (figure.label,))
        for label, value in sorted(values.items()):
            family.add_metric(() if plain else (label,), value)
        yield family
