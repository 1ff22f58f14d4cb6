"""Totals of the workers: counters only ever grow, gauges end with their worker, deleted Ingresses leave no series."""

from ingressd.link import BUCKETS, HISTOGRAMS, Report, RequestSeries, Sample
from ingressd.telemetry.aggregate import Histogram, SampleKey, SeriesKey, Totals
from tests.kit.series import values

KEY = SeriesKey("shop.example", "/", "shop", "web", "front", "GET", 200)


def series(key: SeriesKey = KEY, requests: int = 1) -> RequestSeries:
    buckets = [(requests, *(0 for _ in bounds)) for bounds in BUCKETS]
    return RequestSeries(*key, requests=requests, values=values([float(requests)] * len(HISTOGRAMS), buckets))


def totals() -> Totals:
    made = Totals()
    made.keep([("shop", "web")], ["shop.example"])
    return made


def test_reports_of_all_workers_add_up() -> None:
    made = totals()
    made.add(0, Report(requests=(series(requests=2),), counters=(Sample("errors", "no_endpoint", 1),)))
    made.add(1, Report(requests=(series(requests=3),), counters=(Sample("errors", "no_endpoint", 4),)))
    assert made.requests[KEY].requests == 5
    assert made.requests[KEY].sums == [5.0] * len(HISTOGRAMS)
    assert [counts[0] for counts in made.requests[KEY].buckets] == [5] * len(HISTOGRAMS)
    assert made.cumulative()[SampleKey("errors", "no_endpoint")] == 5


def test_a_gauge_is_the_sum_of_what_running_workers_say_now() -> None:
    made = totals()
    made.add(0, Report(gauges=(Sample("downstream_connections_open", "idle", 7),)))
    made.add(0, Report(gauges=(Sample("downstream_connections_open", "idle", 2),)))
    made.add(1, Report(gauges=(Sample("downstream_connections_open", "idle", 3),)))
    assert made.gauges() == {SampleKey("downstream_connections_open", "idle"): 5}
    made.add(0, Report())  # only requests, of which there is more
    assert made.gauges() == {SampleKey("downstream_connections_open", "idle"): 5}
    made.forget(1)
    assert made.gauges() == {SampleKey("downstream_connections_open", "idle"): 2}


def test_counters_go_on_when_a_worker_is_replaced() -> None:
    made = totals()
    cpu = SampleKey("worker_cpu_seconds", "")
    made.add(0, Report(counters=(Sample("requests", "", 10),), gauges=(Sample("worker_cpu_seconds", "", 4.0),)))
    made.forget(0)
    assert made.cumulative() == {SampleKey("requests", ""): 10, cpu: 4.0}
    made.add(0, Report(counters=(Sample("requests", "", 1),), gauges=(Sample("worker_cpu_seconds", "", 0.5),)))
    assert made.cumulative() == {SampleKey("requests", ""): 11, cpu: 4.5}
    assert made.gauges() == {}


def test_series_of_a_deleted_ingress_or_host_are_dropped_and_stay_away() -> None:
    made = Totals()
    other_host = KEY._replace(host="old.example")
    other_ingress = KEY._replace(ingress="old")
    made.keep([("shop", "web"), ("shop", "old")], ["shop.example", "old.example"])
    report = Report(requests=(series(), series(other_host), series(other_ingress)))
    made.add(0, report)
    assert set(made.requests) == {KEY, other_host, other_ingress}
    made.keep([("shop", "web")], ["shop.example"])
    assert set(made.requests) == {KEY}
    made.add(0, report)
    assert set(made.requests) == {KEY}
    assert made.requests[KEY].requests == 2


def test_a_bucket_holds_what_is_at_most_its_bound() -> None:
    histogram = Histogram((0.1, 1.0))
    for value in (0.05, 0.1, 0.5, 2.0):
        histogram.observe(value)
    assert histogram.counts == [2, 1, 1]
    assert histogram.sum == 2.65
