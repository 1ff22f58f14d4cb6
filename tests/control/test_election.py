"""The election without IO: each rule, and many candidates in a simulated world that does everything that worlds do."""

from collections import Counter
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingressd.control.api import Metadata
from ingressd.control.election import Election, Lease, LeaseSpec, Read, Times, Wait, Write
from tests.control.election_world import TIMES, World

TAKEOVER = 20.0
"""Seconds within which a leader that has died is replaced, as is promised."""


def lease(holder: str | None, version: str = "1", renewed: str = "t0", duration: int | None = 15) -> Lease:
    return Lease(Metadata(resource_version=version), LeaseSpec(holder, duration, "t0", renewed, 0))


def candidate(name: str = "me") -> Election:
    return Election(name, TIMES, lambda: 0.5)


def leader() -> Election:
    """One that has led since 0."""
    made = candidate()
    made.found(None, 0.0)
    made.written(lease("me"), 0.0, 0.1)
    return made


# --- taking it


def test_it_looks_first() -> None:
    assert candidate().decide(0.0) == Read()


def test_without_a_lease_it_creates_one() -> None:
    made = candidate()
    made.found(None, 0.0)
    assert made.decide(0.0) == Write("", 0, None)
    made.written(lease("me"), 0.0, 0.1)
    assert made.leads(0.1)


@pytest.mark.parametrize("holder", ["", None])
def test_a_released_lease_is_taken_at_once(holder: str | None) -> None:
    made = candidate()
    made.found(lease(holder, "7"), 0.0)
    assert made.decide(0.0) == Write("7", 1, None)


def test_a_lease_that_is_held_is_taken_only_after_its_duration_without_a_change() -> None:
    made = candidate()
    made.found(lease("other", "1", "t0", duration=30), 100.0)
    made.found(lease("other", "2", "t1", duration=30), 105.0)
    made.found(lease("other", "2", "t1", duration=30), 134.9)
    assert isinstance(made.decide(134.9), Wait)
    made.found(lease("other", "2", "t1", duration=30), 135.0)
    assert made.decide(135.0) == Write("2", 1, None)


def test_a_change_of_something_else_in_the_lease_does_not_prolong_it() -> None:
    made = candidate()
    made.found(lease("other", "1"), 0.0)
    made.found(lease("other", "2"), 14.0)
    made.found(lease("other", "3"), 15.0)
    assert made.decide(15.0) == Write("3", 1, None)


def test_a_lease_without_duration_counts_with_our_own() -> None:
    made = candidate()
    made.found(lease("other", duration=None), 0.0)
    assert isinstance(made.decide(14.9), Read)
    made.found(lease("other", duration=None), 14.9)
    assert isinstance(made.decide(14.9), Wait)
    made.found(lease("other", duration=None), 15.0)
    assert isinstance(made.decide(15.0), Write)


def test_it_looks_again_exactly_when_the_lease_runs_out() -> None:
    made = candidate()
    made.found(lease("other"), 0.0)
    made.found(lease("other"), 14.0)
    assert made.decide(14.0) == Wait(1.0)
    assert made.decide(15.0) == Read()


def test_deleting_the_lease_does_not_shorten_the_time_of_its_holder() -> None:
    made = candidate()
    made.found(lease("other"), 0.0)
    made.found(None, 5.0)
    assert isinstance(made.decide(5.0), Wait)
    made.found(None, 15.0)
    assert made.decide(15.0) == Write("", 0, None)


def test_a_write_whose_answer_was_lost_is_found_and_confirmed() -> None:
    made = candidate()
    made.found(None, 0.0)
    made.failed(5.0)
    assert not made.leads(5.0), "nobody has said that the lease is ours"
    made.found(lease("me", "4"), 6.0)
    assert not made.leads(6.0), "a lease is as old as the write, and that was before"
    assert made.decide(6.0) == Write("4", 0, "t0")


# --- keeping it


def test_it_renews_the_version_it_wrote() -> None:
    made = leader()
    assert made.decide(1.0) == Wait(1.0)
    assert made.decide(2.0) == Write("1", 0, "t0")


def test_it_stops_a_deadline_after_the_start_of_its_last_write() -> None:
    made = leader()
    made.written(lease("me", "2"), 2.0, 6.0)
    assert made.leads(11.9)
    assert not made.leads(12.0)


def test_it_never_waits_past_its_deadline() -> None:
    made = leader()
    made.failed(9.9)
    step = made.decide(9.9)
    assert isinstance(step, Wait)
    assert 9.9 + step.seconds == pytest.approx(10.0)


def test_a_renewal_that_took_longer_than_the_deadline_gives_no_lead() -> None:
    made = leader()
    made.written(lease("me", "2"), 2.0, 14.0)
    assert not made.leads(14.0)
    assert made.decide(14.0) == Write("2", 0, "t0"), "the lease is ours nevertheless"


@pytest.mark.parametrize("found", [lease("other", "2"), lease(None, "2"), None], ids=["other", "nobody", "deleted"])
def test_a_lease_that_is_not_in_its_name_ends_the_lead(found: Lease | None) -> None:
    made = leader()
    made.refused(2.0)
    made.found(found, 2.0)
    assert not made.leads(2.0)


def test_a_conflict_is_looked_into_at_once_but_not_twice() -> None:
    made = leader()
    made.refused(2.0)
    assert made.decide(2.0) == Read()
    made.found(lease("me", "5"), 2.1)
    assert made.leads(2.1)
    assert made.decide(2.1) == Write("5", 0, "t0")
    made.refused(2.2)
    assert made.decide(2.2) == Wait(2.0)


def test_after_resigning_it_does_nothing() -> None:
    made = leader()
    made.resign()
    assert not made.leads(0.2)
    assert isinstance(made.decide(1e9), Wait)
    assert made.to_release(lease("me", "9")) == Write("9", 0, "t0")
    assert made.to_release(lease("other", "9")) is None


def test_writes_of_a_leader_are_over_before_another_may_lead() -> None:
    for seconds in range(1, 60):
        times = Times(seconds)
        assert times.renew_deadline + times.write <= times.lease


def test_a_leader_has_time_for_two_requests_that_fail() -> None:
    for seconds in range(1, 60):
        times = Times(seconds)
        made = Election("me", times, lambda: 1.0)
        made.found(None, 0.0)
        made.written(lease("me"), 0.0, 0.0)
        now = 0.0
        for _ in range(2):
            step = made.decide(now)
            assert isinstance(step, Wait)
            now += step.seconds
            assert isinstance(made.decide(now), Write)
            now += times.ask
            made.failed(now)
        assert made.leads(now)


# --- the world


def disturb(world: World, random: Random) -> None:
    """Something goes wrong, or right again."""
    alive = [node for node in world.nodes if node.alive]
    what = random.choice(("crash", "start", "cut", "mend", "resign"))
    if what == "start" or not alive:
        if len(alive) < 5:
            world.start(f"node{len(world.nodes)}")
        return
    node = random.choice(alive)
    match what:
        case "crash":
            node.alive = False
        case "cut":
            node.cut_off = True
        case "mend":
            node.cut_off = False
        case "resign":
            node.election.resign()
            node.alive = False
            if (held := world.server.lease) and (step := node.election.to_release(held)):
                world.server.write("", step, "released", 1)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 2**32),
    latency=st.sampled_from((0.01, 0.5, 2.0, 8.0)),
    loss=st.sampled_from((0.0, 0.1, 0.5)),
)
def test_there_are_never_two_leaders(seed: int, latency: float, loss: float) -> None:
    """Whatever is lost, late, cut off, killed or started, with clocks that differ by days and drift by a tenth."""
    random = Random(seed)
    world = World(random, latency, drift=0.1, lost=lambda name: random.random() < loss)
    for number in range(3):
        world.start(f"node{number}")
    for _ in range(40):
        world.run(world.now + random.uniform(0, 15))
        disturb(world, random)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), others=st.integers(1, 4))
def test_a_killed_leader_is_replaced_in_time(seed: int, others: int) -> None:
    random = Random(seed)
    world = World(random, latency=0.2, drift=0.001)
    for number in range(1 + others):
        world.start(f"node{number}")
    world.run(10 + random.uniform(0, 10))
    first = world.leader
    assert first is not None
    first.alive = False
    world.run(world.now + TAKEOVER)
    assert world.leader is not None


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_a_leader_that_is_cut_off_stops_before_another_starts(seed: int) -> None:
    random = Random(seed)
    world = World(random, latency=0.2, drift=0.001)
    for number in range(3):
        world.start(f"node{number}")
    world.run(10)
    first = world.leader
    assert first is not None
    first.cut_off = True
    world.run(world.now + TIMES.renew_deadline * 1.01)
    assert not first.leads(world.now)
    world.run(world.now + TAKEOVER - TIMES.renew_deadline)
    assert world.leader not in (None, first)
    second = world.leader
    first.cut_off = False
    world.run(world.now + 60)
    assert world.leader is second, "who comes back takes nothing away"


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_a_leader_that_works_stays(seed: int) -> None:
    """Though every seventh message of each is lost, and a round takes up to a second."""
    random, messages = Random(seed), Counter[str]()

    def lost(name: str) -> bool:
        messages[name] += 1
        return messages[name] % 7 == 0

    world = World(random, latency=0.5, drift=0.001, lost=lost)
    for number in range(3):
        world.start(f"node{number}")
    world.run(30)
    first = world.leader
    for _ in range(100):
        world.run(world.now + 3)
        assert world.leader is first
