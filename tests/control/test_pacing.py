"""Token buckets, and the memory of rights that are missing."""

import logging

import pytest

from ingressd.control.pacing import FORGOTTEN, LONGEST_PAUSE, SHORTEST_PAUSE, SHOWN, Refusals, TokenBucket


def test_a_bucket_gives_a_burst_and_then_its_rate() -> None:
    bucket = TokenBucket(rate=2.0, burst=3)
    waits = []
    for _ in range(6):
        waits.append(bucket.wait(100.0))
        bucket.take(100.0)
    assert waits == pytest.approx([0, 0, 0, 0.5, 1.0, 1.5])


def test_a_bucket_fills_up_again_but_not_beyond_its_burst() -> None:
    bucket = TokenBucket(rate=2.0, burst=3)
    for _ in range(3):
        bucket.take(0.0)
    assert not bucket.is_full(1.4)
    assert bucket.is_full(1.5)
    for _ in range(3):
        assert bucket.wait(1000.0) == 0
        bucket.take(1000.0)
    assert bucket.wait(1000.0) == pytest.approx(0.5)


def test_over_a_long_time_a_bucket_gives_no_more_than_its_rate() -> None:
    bucket, now, taken = TokenBucket(rate=10.0, burst=5), 0.0, 0
    while now < 60:
        now += bucket.wait(now)
        bucket.take(now)
        taken += 1
    assert taken == pytest.approx(605, abs=2)


def test_a_refusal_pauses_its_namespace_longer_each_time_and_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    refusals = Refusals("nothing is written")
    assert refusals.pause("shop", 0.0) == 0
    now, pauses = 0.0, []
    for _ in range(10):
        refusals.note("shop", "no right", now)
        pauses.append(refusals.pause("shop", now))
        now += pauses[-1]
        assert refusals.pause("shop", now) == 0
    assert pauses == [SHORTEST_PAUSE, 2, 4, 8, 16, 32, *[LONGEST_PAUSE] * 4]
    assert refusals.pause("blog", 0.0) == 0
    assert caplog.messages == ["nothing is written in namespace shop: no right"]
    refusals.granted("shop")
    for when in (now, now + SHORTEST_PAUSE):
        refusals.note("shop", "no right", when)
    assert refusals.pause("shop", now + SHORTEST_PAUSE) == 2
    assert len(caplog.messages) == 2


def test_a_right_that_is_there_a_moment_later_is_not_spoken_of(caplog: pytest.LogCaptureFixture) -> None:
    refusals = Refusals("nothing is written")
    for _ in range(8):
        refusals.note("shop", "no right", 0.0)
    assert refusals.pause("shop", 0.0) == SHORTEST_PAUSE, "those that were under way together are one"
    refusals.granted("shop")
    assert not caplog.messages


def test_refusals_everywhere_are_a_few_lines(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    refusals = Refusals("nothing is written")
    for when in (0.0, 10.0):
        for number in range(100):
            refusals.note(f"n{number}", "no right", when)
    assert len(caplog.messages) == SHOWN
    assert refusals.pause("n99", 11.0) > 0


def test_namespaces_that_are_gone_are_forgotten(caplog: pytest.LogCaptureFixture) -> None:
    """One that is being deleted refuses Events, and is never heard of again."""
    refusals = Refusals("nothing is written")
    now = 0.0
    for number in range(100):
        now += 2 * FORGOTTEN
        for when in (now, now + 10):
            refusals.note(f"run{number}", "it is being terminated", when)
    assert caplog.messages[-1] == "nothing is written in namespace run99: it is being terminated"
    assert len(refusals._known) == 1
