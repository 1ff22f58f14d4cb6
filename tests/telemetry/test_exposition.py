"""The metrics page parses, and its names, labels and buckets are those of ingress-nginx."""

import time

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from ingressd.link import BUCKETS, HISTOGRAMS, Report, RequestSeries, Sample
from ingressd.telemetry.aggregate import SeriesKey, Totals
from ingressd.telemetry.exposition import (
    BuildInfo,
    CertificateFigures,
    ControllerFigures,
    Identity,
    Page,
    WritingFigures,
)
from tests.kit.series import values

CONSTANT = {
    "controller_class": "ingressd.dev/ingress-controller",
    "controller_namespace": "ingress",
    "controller_pod": "ingressd-0",
}
REQUEST_LABELS = {"status", "method", "path", "namespace", "ingress", "service", "canary", "host", *CONSTANT}
TIME = ["0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10", "+Inf"]
LENGTH = ["10", "20", "30", "40", "50", "60", "70", "80", "90", "100", "+Inf"]
SIZE = ["10", "100", "1000", "10000", "100000", "1e+06", "1e+07", "+Inf"]
NGINX_HISTOGRAMS = {
    "request_duration_seconds": TIME,
    "response_duration_seconds": TIME,
    "header_duration_seconds": TIME,
    "connect_duration_seconds": TIME,
    "request_size": LENGTH,
    "response_size": LENGTH,
    "bytes_sent": SIZE,
}
"""As in ingress-nginx: internal/ingress/metric/collectors/socket.go, and the defaults of its --*-buckets flags."""


def observed(key: SeriesKey, *, upstream: bool = True) -> RequestSeries:
    """Three requests; each histogram has one observation in its first bucket and two above all bounds."""
    counts = tuple((1, *(0 for _ in bounds[1:]), 2) for bounds in BUCKETS)
    nothing = tuple(tuple(0 for _ in range(len(bounds) + 1)) for bounds in BUCKETS)
    mixed = tuple(
        counts[at] if upstream or name in ("request_duration_seconds", "request_size", "response_size") else nothing[at]
        for at, name in enumerate(HISTOGRAMS)
    )
    return RequestSeries(*key, requests=3, values=values([1.5] * len(HISTOGRAMS), mixed))


KEY = SeriesKey("shop.example", "/a", "shop", "web", "front", "GET", 200)


def page(*reports: Report, figures: ControllerFigures | None = None) -> str:
    totals = Totals()
    totals.keep([("shop", "web")], ["shop.example", ""])
    for worker, report in enumerate(reports):
        totals.add(worker, report)
    identity = Identity("ingress", "ingressd.dev/ingress-controller", "ingressd-0")
    build = BuildInfo("1.2.3", "3.11.7", "compiled")
    return b"".join(Page(identity, build, totals, figures or ControllerFigures()).pieces()).decode()


def families(text: str) -> dict[str, Metric]:
    """By name; the parser gives counters without their suffix, so those of nginx's connections get it back."""
    declared = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(declared) == len(set(declared)), "a family is written twice"
    return {name: family for name, family in zip(declared, text_string_to_metric_families(text), strict=True)}


def test_request_metrics_are_those_of_ingress_nginx() -> None:
    text = page(Report(requests=(observed(KEY),)))
    found = families(text)
    assert "# TYPE nginx_ingress_controller_requests counter\n" in text
    assert 'nginx_ingress_controller_requests{canary="",controller_class="ingressd.dev/ingress-controller",' in text
    for name, bounds in NGINX_HISTOGRAMS.items():
        family = found[f"nginx_ingress_controller_{name}"]
        assert family.type == "histogram"
        buckets = [sample for sample in family.samples if sample.name.endswith("_bucket")]
        assert [sample.labels["le"] for sample in buckets] == bounds
        assert [sample.value for sample in buckets] == [1] * (len(bounds) - 1) + [3]
        assert all(sample.labels.keys() == {*REQUEST_LABELS, "le"} for sample in buckets)
        rest = {sample.name: sample for sample in family.samples if not sample.name.endswith("_bucket")}
        assert rest[f"{family.name}_sum"].value == 1.5
        assert rest[f"{family.name}_count"].value == 3
        assert rest[f"{family.name}_count"].labels == {
            "status": "200",
            "method": "GET",
            "path": "/a",
            "namespace": "shop",
            "ingress": "web",
            "service": "front",
            "canary": "",
            "host": "shop.example",
            **CONSTANT,
        }


def test_a_histogram_without_observations_has_no_series() -> None:
    found = families(page(Report(requests=(observed(KEY, upstream=False),))))
    assert "nginx_ingress_controller_request_duration_seconds" in found
    assert "nginx_ingress_controller_connect_duration_seconds" not in found


def test_label_values_are_escaped() -> None:
    odd = KEY._replace(path='/"quoted"\\back\nline', host="")
    (sample,) = families(page(Report(requests=(observed(odd),))))["nginx_ingress_controller_requests"].samples
    assert sample.labels["path"] == '/"quoted"\\back\nline'


def test_figures_of_the_controller_keep_their_nginx_names() -> None:
    figures = ControllerFigures(
        workers=2, published=5, failures=1, last_published=1700000000.0, last_ok=True, config_hash=lambda: 4242
    )
    report = Report(
        counters=(Sample("downstream_connections", "", 9), Sample("requests", "", 30)),
        gauges=(
            Sample("downstream_connections_open", "idle", 3),
            Sample("downstream_connections_open", "active", 2),
            Sample("worker_memory_bytes", "", 1000),
            Sample("worker_cpu_seconds", "", 1.5),
        ),
    )
    text = page(report, figures=figures)
    values = {
        (sample.name, sample.labels.get("state")): sample.value
        for family in families(text).values()
        for sample in family.samples
        if sample.name.startswith("nginx_ingress_controller_") and sample.labels.items() >= CONSTANT.items()
    }
    prefix = "nginx_ingress_controller_"
    assert values == {
        (f"{prefix}config_hash", None): 4242,
        (f"{prefix}config_last_reload_successful", None): 1,
        (f"{prefix}config_last_reload_successful_timestamp_seconds", None): 1700000000,
        # The parser gives every counter the suffix; on the page they have none, as in ingress-nginx.
        (f"{prefix}success_total", None): 5,
        (f"{prefix}errors_total", None): 1,
        (f"{prefix}nginx_process_connections", "active"): 5,
        (f"{prefix}nginx_process_connections_total", "accepted"): 9,
        (f"{prefix}nginx_process_requests_total", None): 30,
        (f"{prefix}nginx_process_num_procs", None): 2,
        (f"{prefix}nginx_process_cpu_seconds_total", None): 1.5,
        (f"{prefix}nginx_process_resident_memory_bytes", None): 1000,
    }
    assert "\nnginx_ingress_controller_success{" in text
    assert "\nnginx_ingress_controller_errors{" in text


@pytest.mark.parametrize(
    ("line"),
    [
        'ingressd_build_info{compiled="compiled",python="3.11.7",version="1.2.3"} 1.0',
        "ingressd_workers 2.0",
        "ingressd_workers_ready 1.0",
        "ingressd_worker_restarts_total 3.0",
        "ingressd_snapshot_generation 7.0",
        'ingressd_problems{reason="UnknownAnnotation",severity="warning"} 4.0',
        'ingressd_objects{kind="Ingress"} 6.0',
        'ingressd_propagation_seconds_bucket{le="0.05"} 1.0',
        "ingressd_propagation_seconds_count 1.0",
        'ingressd_errors_total{reason="no_endpoint"} 2.0',
        "ingressd_worker_cpu_seconds_total 1.5",
        'ingressd_upstream_connections_open{state="idle"} 8.0',
        'ingressd_tasks{process="controller"} 12.0',
        'ingressd_tasks{process="worker"} 6.0',
        # Reported by nobody, but known: a counter starts at 0, or its rate misses the first event.
        "ingressd_access_log_dropped_lines_total 0.0",
        # Names that the catalogue does not have are not lost.
        "ingressd_new_counter_total 1.0",
        'ingressd_new_gauge{label="x"} 5.0',
    ],
)
def test_figures_of_our_own(line: str) -> None:
    figures = ControllerFigures(
        workers=2,
        workers_ready=1,
        worker_restarts=3,
        tasks=12,
        generation=7,
        problems={("UnknownAnnotation", "warning"): 4},
        objects={"Ingress": 6},
    )
    figures.propagation.observe(0.04)
    report = Report(
        counters=(Sample("errors", "no_endpoint", 2), Sample("new_counter", "", 1)),
        gauges=(
            Sample("worker_cpu_seconds", "", 1.5),
            Sample("upstream_connections_open", "idle", 8),
            Sample("tasks", "worker", 6),
            Sample("new_gauge", "x", 5),
        ),
    )
    text = page(report, figures=figures)
    families(text)
    assert line in text.splitlines()


def test_a_thousand_series_never_hold_the_loop_for_long() -> None:
    totals = Totals()
    hosts = [f"h{number}.example" for number in range(1000)]
    totals.keep([("shop", "web")], hosts)
    totals.add(0, Report(requests=tuple(observed(KEY._replace(host=host)) for host in hosts)))
    made = Page(Identity("", "", ""), BuildInfo("", "", ""), totals, ControllerFigures())
    longest = size = 0.0
    start = time.thread_time()
    for piece in made.pieces():
        longest = max(longest, time.thread_time() - start)
        size += len(piece)
        start = time.thread_time()
    assert size > 10_000_000
    assert longest < 0.1  # of CPU; some 5 ms, where prometheus-client takes more than a second for all


def test_lead_and_orphans_are_told_as_ingress_nginx_does() -> None:
    """Names and labels of its internal/ingress/metric/collectors/controller.go."""
    writing = WritingFigures("ingressd-leader", True, 5, 1, 7, 2, 3)
    orphans = [("shop", "web", "no-service"), ("shop", "b", "no-endpoint")]
    found = families(page(figures=ControllerFigures(writing=writing, orphans=orphans)))
    (lead,) = found["nginx_ingress_controller_leader_election_status"].samples
    assert (lead.labels, lead.value) == ({**CONSTANT, "name": "ingressd-leader"}, 1)
    samples = found["nginx_ingress_controller_orphan_ingress"].samples
    assert [(sample.labels, sample.value) for sample in samples] == [
        ({**CONSTANT, "namespace": "shop", "ingress": "b", "type": "no-endpoint"}, 1),
        ({**CONSTANT, "namespace": "shop", "ingress": "web", "type": "no-service"}, 1),
    ]
    own = {
        name: found[f"ingressd_{name}_total"].samples[0].value
        for name in ("status_writes", "status_failures", "events_written", "event_failures", "events_dropped")
    }
    assert list(own.values()) == [5, 1, 7, 2, 3]


def test_certificates_are_told_as_ingress_nginx_does() -> None:
    """Labels of its internal/ingress/metric/collectors/controller.go: no pod, and in one the controller's namespace."""
    one = CertificateFigures("shop.example", "shop", "web-tls", "17", "Trust Inc", "Trust CA", "ECDSA", 1900000000)
    found = families(page(figures=ControllerFigures(certificates=lambda: [one])))
    both = {
        "class": "ingressd.dev/ingress-controller",
        "host": "shop.example",
        "identifier": "-17",
        "secret_name": "web-tls",
    }
    (expiry,) = found["nginx_ingress_controller_ssl_expire_time_seconds"].samples
    assert (expiry.labels, expiry.value) == ({**both, "namespace": "ingress"}, 1900000000)
    (info,) = found["nginx_ingress_controller_ssl_certificate_info"].samples
    assert (info.labels, info.value) == (
        {
            **both,
            "namespace": "shop",
            "issuer_common_name": "Trust CA",
            "issuer_organization": "Trust Inc",
            "public_key_algorithm": "ECDSA",
            "serial_number": "17",
        },
        1,
    )


def test_who_writes_to_no_cluster_has_no_lead() -> None:
    found = families(page())
    assert not found["nginx_ingress_controller_leader_election_status"].samples
    assert not found["nginx_ingress_controller_orphan_ingress"].samples
    assert found["ingressd_status_writes_total"].samples[0].value == 0
