"""Pauses of a series of failures."""

import pytest

from ingressd.source.cluster.backoff import Backoff


@pytest.mark.parametrize(("chance", "part"), [(0.0, 0.5), (1.0, 1.0)])
def test_none_then_doubling_up_to_the_longest(chance: float, part: float) -> None:
    backoff = Backoff(0.5, 30.0, lambda: chance)
    pauses = [backoff.pause() for _ in range(10)]
    assert pauses == [whole * part for whole in (0, 0.5, 1, 2, 4, 8, 16, 30, 30, 30)]


def test_a_success_begins_anew() -> None:
    backoff = Backoff(0.5, 30.0, lambda: 1.0)
    for _ in range(5):
        backoff.pause()
    backoff.reset()
    assert [backoff.pause() for _ in range(3)] == [0.0, 0.5, 1.0]


def test_a_thousand_failures_are_no_overflow() -> None:
    backoff = Backoff(0.5, 30.0, lambda: 1.0)
    assert [backoff.pause() for _ in range(5000)][-1] == 30.0
