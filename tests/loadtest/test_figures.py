"""Medians, ratios, percentiles, and whose turn it is."""

import pytest
from figures import Load, percentile, ratios, sample, spread, turns


def test_a_sample_is_per_request() -> None:
    load = Load(requests=2000, seconds=2.0, errors=3, p50=1.0, p99=2.0, p999=3.0)
    one = sample(load, user=0.02, system=0.03, memory=4096)
    assert (one.user, one.system, one.cpu) == pytest.approx((10.0, 15.0, 25.0))
    assert one.requests_per_second == 1000.0
    assert (one.p50, one.p99, one.p999, one.memory, one.errors) == (1.0, 2.0, 3.0, 4096, 3)


def test_a_spread_is_the_median_with_the_least_and_the_greatest() -> None:
    assert spread([5.0, 1.0, 9.0]) == (5.0, 1.0, 9.0)
    assert spread([4.0, 2.0]) == (3.0, 2.0, 4.0)


def test_ratios_are_those_of_each_round() -> None:
    """And not the ratio of the medians: in the second round the machine was slow for both."""
    assert ratios([10.0, 30.0, 12.0], [20.0, 60.0, 12.0]) == (0.5, 0.5, 1.0)


def test_ratios_need_as_many_rounds_of_both() -> None:
    with pytest.raises(ValueError, match="zip"):
        ratios([1.0, 2.0], [1.0])


@pytest.mark.parametrize(
    ("share", "expected"),
    [(0.5, 500.0), (0.99, 990.0), (0.999, 999.0), (1.0, 1000.0), (0.0, 1.0)],
)
def test_a_percentile_is_a_value_that_occurred(share: float, expected: float) -> None:
    assert percentile([float(number) for number in range(1, 1001)], share) == expected


def test_a_percentile_of_few_values_is_the_greatest() -> None:
    assert percentile([1.0, 7.0], 0.99) == 7.0
    assert percentile([], 0.5) == 0.0


def test_everybody_has_one_turn_in_each_round() -> None:
    names = ["a", "b", "c"]
    rounds = [turns(names, number) for number in range(6)]
    assert all(sorted(order) == names for order in rounds)
    assert rounds[:4] == [["a", "b", "c"], ["c", "b", "a"], ["b", "c", "a"], ["a", "c", "b"]]


@pytest.mark.parametrize("count", [2, 3, 5])
def test_each_is_first_as_often_as_the_others(count: int) -> None:
    names = [str(number) for number in range(count)]
    firsts = [turns(names, number)[0] for number in range(2 * count)]
    assert sorted(firsts) == sorted(names * 2)
