"""From results of checks to healthy or not: whatever the results."""

from hypothesis import given
from hypothesis import strategies as st

from ingressd.control.health.standing import JITTER, Standing, first_pause, next_pause
from ingressd.model import HealthCheck

thresholds = st.integers(1, 5)
results = st.lists(st.booleans(), max_size=60)


@given(thresholds, thresholds, results, st.booleans())
def test_the_state_is_what_the_last_long_enough_run_says(rise: int, fall: int, found: list[bool], first: bool) -> None:
    standing = Standing(HealthCheck(healthy_threshold=rise, unhealthy_threshold=fall), first)
    expected = first
    for count, passed in enumerate(found, 1):
        before = standing.healthy
        changed = standing.note(passed)
        assert changed == (standing.healthy != before)
        if changed:
            assert standing.healthy == passed
        # In other words: so many equal results in a row decide, and nothing else does.
        needed = rise if passed else fall
        if count >= needed and found[count - needed : count] == [passed] * needed:
            expected = passed
        assert standing.healthy == expected
        assert standing.asked


def test_it_is_healthy_before_it_was_asked() -> None:
    standing = Standing(HealthCheck())
    assert (standing.healthy, standing.asked) == (True, False)


chances = st.floats(0, 1)


@given(chances, chances, st.floats(0, 100))
def test_pauses(one: float, other: float, took: float) -> None:
    check = HealthCheck(interval=10.0)
    assert 0 <= first_pause(check, one) <= 10
    pause = next_pause(check, took, other)
    assert pause >= 1
    if took <= 8:
        assert 10 * (1 - JITTER) - 1e-6 <= pause + took <= 10 * (1 + JITTER) + 1e-6


def test_first_checks_are_spread_over_the_interval() -> None:
    check = HealthCheck(interval=10.0)
    assert [first_pause(check, chance / 4) for chance in range(5)] == [0, 2.5, 5, 7.5, 10]
