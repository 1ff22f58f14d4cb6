"""What counts as growth in a soak test, and what is read from /proc and from the metrics page."""

import mmap
import os
import socket

import pytest
import soak_figures
from soak_figures import Growth, Sample, Window


def grown(figure: str, *values: float, seconds: float = 600.0) -> list[Growth]:
    """What has become of a figure that had these values, evenly over a run."""
    step = seconds / len(values)
    found, unseen = soak_figures.growths(
        [Sample(number * step, {figure: value}) for number, value in enumerate(values)], seconds
    )
    assert not unseen
    return found


def test_the_second_minute_is_compared_with_the_last() -> None:
    assert soak_figures.windows(600) == (Window(60, 120), Window(540, 600))
    assert soak_figures.windows(3600) == (Window(60, 120), Window(3540, 3600))


def test_a_short_run_compares_parts_as_far_apart_as_it_can() -> None:
    assert soak_figures.windows(60) == (Window(20, 30), Window(50, 60))


@pytest.mark.parametrize(
    ("figure", "before", "after", "too_much"),
    [
        ("memory worker 0", 100.0, 110.0, False),
        ("memory worker 0", 100.0, 110.1, True),
        ("memory worker 0", 10.0, 13.0, False),
        ("memory worker 0", 10.0, 13.1, True),
        ("memory worker 0", 100.0, 20.0, False),
        ("descriptors controller", 3.0, 4.0, False),
        ("descriptors controller", 3.0, 24.0, True),
        ("descriptors controller", 1000.0, 1100.0, False),
        ("tasks worker", 8.0, 14.0, True),
        ("connections upstream", 30.0, 51.0, True),
    ],
)
def test_growth_is_more_than_a_tenth_and_more_than_the_slack(
    figure: str, before: float, after: float, too_much: bool
) -> None:
    (growth,) = grown(figure, *[before] * 5, *[after] * 5)
    assert (growth.before, growth.after, growth.too_much) == (before, after, too_much)
    assert ("GREW" in str(growth)) == too_much


def test_a_peak_is_no_growth_and_what_came_before_the_second_minute_does_not_count() -> None:
    values = [10.0] * 60 + [50.0] * 530 + [500.0] * 9 + [50.0]
    (growth,) = grown("descriptors worker 0", *values)
    assert (growth.before, growth.after) == (50.0, 50.0)


def test_what_was_not_seen_at_both_times_is_named() -> None:
    early, late = Sample(70.0, {"memory a": 1.0, "memory b": 1.0}), Sample(550.0, {"memory a": 1.0})
    found, unseen = soak_figures.growths([early, late], 600)
    assert [growth.figure for growth in found] == ["memory a"]
    assert unseen == ["memory b"]


AT_REST = {
    "state downstream idle": 0.0,
    "state downstream active": 0.0,
    "state downstream tunnel": 0.0,
    "state upstream active": 0.0,
    "state upstream idle": 7.0,
    "descriptors controller": 20.0,
    "descriptors worker 0": 25.0,
    "descriptors worker 1": 24.0,
}
BEFORE = {"descriptors controller": 18.0, "descriptors worker 0": 20.0, "descriptors worker 1": 20.0}


@pytest.mark.parametrize(
    ("figure", "value", "says"),
    [
        ("descriptors worker 1", 27.0, []),
        ("descriptors worker 1", 28.0, ["descriptors of worker: 40 at first, now 46"]),
        ("state upstream idle", 1.0, ["descriptors of worker: 40 at first, now 48"]),
        ("descriptors controller", 24.0, ["descriptors of controller: 18 at first, now 24"]),
        ("state downstream tunnel", 1.0, ["1 connections, state downstream tunnel"]),
    ],
)
def test_what_is_open_without_clients_is_what_was_and_idle_connections(
    figure: str, value: float, says: list[str]
) -> None:
    assert soak_figures.left_open(BEFORE, {**AT_REST, figure: value}) == says


def test_states_of_connections_are_not_compared() -> None:
    assert not grown("state downstream idle", 1.0, 1.0, 100.0, 100.0)


def test_a_process_is_measured() -> None:
    before = soak_figures.of_process("me", os.getpid())
    # Not from the heap, which may have room for it.
    with mmap.mmap(-1, 20 << 20) as kept, socket.socket():
        kept.write(os.urandom(20 << 20))
        after = soak_figures.of_process("me", os.getpid())
    assert after["descriptors me"] == before["descriptors me"] + 1
    assert after["memory me"] > before["memory me"] + 10


def test_a_process_that_is_gone_is_an_error() -> None:
    with pytest.raises(OSError, match="No such file"):
        soak_figures.of_process("nobody", 1 << 22)


def test_the_metrics_page_gives_tasks_and_connections() -> None:
    page = """\
# TYPE ingressd_tasks gauge
ingressd_tasks{process="controller"} 12.0
ingressd_tasks{process="worker"} 6.0
ingressd_downstream_connections_open{state="idle"} 3.0
ingressd_downstream_connections_open{state="tunnel"} 4.0
ingressd_upstream_connections_open{state="idle"} 5.0
ingressd_requests_total 77.0
"""
    assert soak_figures.of_page(page) == {
        "tasks controller": 12.0,
        "tasks worker": 6.0,
        "state downstream idle": 3.0,
        "state downstream tunnel": 4.0,
        "connections downstream": 7.0,
        "state upstream idle": 5.0,
        "connections upstream": 5.0,
    }
