"""When changes are published, on a clock of the test's own. All times are milliseconds."""

import math

from hypothesis import given
from hypothesis import strategies as st

from ingressd.control.holdoff import LONGEST, QUIET, HoldOff


def published_at(*changes: float, takes: float = 0) -> list[float]:
    """When changes at these times are published, if each publishing takes so long."""
    hold_off = HoldOff(20, 200)
    found: list[float] = []
    waiting = sorted(changes)
    now = 0.0
    while waiting or hold_off.due < math.inf:
        if waiting and waiting[0] <= max(now, hold_off.due):
            seen = waiting.pop(0)
            now = max(now, seen)
            hold_off.changed(seen)
            continue
        now = max(now, hold_off.due)
        found.append(now)
        now += takes
        hold_off.published(now)
    return found


def test_the_defaults_are_those_of_the_docs() -> None:
    assert (QUIET, LONGEST) == (0.02, 0.2)


def test_the_first_change_is_published_at_once() -> None:
    assert published_at(1000) == [1000]


def test_changes_far_apart_are_each_published_at_once() -> None:
    assert published_at(1000, 1020, 1500) == [1000, 1020, 1500]


def test_what_follows_is_published_together_after_quiet() -> None:
    assert published_at(1000, 1005, 1010, 1025) == [1000, 1045]


def test_a_storm_is_published_every_so_often() -> None:
    assert published_at(*range(1000, 1500, 10)) == [1000, 1210, 1420, 1510]


def test_the_time_that_publishing_takes_is_no_quiet() -> None:
    assert published_at(1000, 1080, takes=70) == [1000, 1100]


def test_nothing_is_published_without_a_change() -> None:
    hold_off = HoldOff()
    assert hold_off.due == math.inf
    hold_off.changed(1.0)
    hold_off.published(1.0)
    assert hold_off.due == math.inf
    assert hold_off.oldest is None


@given(st.lists(st.integers(0, 2000), min_size=1, max_size=60), st.integers(0, 300))
def test_no_change_waits_longer_than_the_longest(changes: list[int], takes: int) -> None:
    found = published_at(*changes, takes=takes)
    for seen in changes:
        first = next(at for at in found if at >= seen)
        busy_until = max((at + takes for at in found if at <= seen), default=0)
        assert first <= max(seen, busy_until) + 200
    assert len(found) <= len(changes)
