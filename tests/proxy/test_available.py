"""Which endpoints a worker picks: by health, ejection and slow start. No sockets; the clock is the test's."""

import errno
from collections import Counter
from collections.abc import Iterable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ingressd.model import Cluster, ClusterKey, Ejection, Endpoint, Update
from ingressd.proxy.ejection import TRIAL
from ingressd.proxy.registry import ClusterState, EndpointState, Registry
from ingressd.proxy.slow_start import STEPS, step, turns

WEB = ClusterKey("default", "web", "80")
OTHER = ClusterKey("default", "other", "80")


def endpoint(number: int) -> Endpoint:
    return Endpoint(f"10.0.0.{number}", 80)


def endpoints(numbers: Iterable[int]) -> tuple[Endpoint, ...]:
    return tuple(sorted(map(endpoint, numbers)))


class Stage:
    """A registry, its clock, and one cluster of it."""

    def __init__(self, count: int, ejection: Ejection | None = None, slow_start: float = 0.0) -> None:
        self.registry = Registry(0, ejection or Ejection())
        self.slow_start = slow_start
        self.now = 1000.0
        self.generation = 0
        self.registry.tick(self.now)
        self.serve(range(count))

    def serve(self, numbers: Iterable[int], unhealthy: Iterable[int] = (), key: ClusterKey = WEB) -> None:
        self.generation += 1
        made = Cluster(key, endpoints(numbers), unhealthy=endpoints(unhealthy), slow_start=self.slow_start)
        self.registry.apply(Update(self.generation, clusters=(made,)))

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.registry.tick(self.now)

    @property
    def cluster(self) -> ClusterState:
        return self.registry.clusters[WEB]

    def state(self, number: int) -> EndpointState:
        return self.registry.endpoints[endpoint(number)]

    def fail(self, number: int, times: int = 5) -> None:
        for _ in range(times):
            self.state(number).failed()

    def picks(self, count: int, cluster: ClusterState | None = None) -> str:
        """The numbers of those picked."""
        found = [(cluster or self.cluster).pick() for _ in range(count)]
        return "".join(state.endpoint.address[-1] if state else "-" for state in found)

    def out(self) -> list[tuple[str, float]]:
        """Who is ejected, and for how many seconds more."""
        found = self.registry.findings(self.now).ejected
        return [(each.endpoint.address[-1], max(0.0, each.until - self.now)) for each in found]


def test_five_failures_in_a_row_eject_for_ten_seconds() -> None:
    stage = Stage(3)
    stage.fail(1, 4)
    assert stage.picks(6) == "012012"
    stage.fail(1, 1)
    assert stage.out() == [("1", 10.0)]
    assert stage.registry.news
    assert set(stage.picks(6)) == {"0", "2"}


def test_a_success_in_between_begins_the_count_anew() -> None:
    stage = Stage(3)
    stage.fail(1, 4)
    stage.state(1).answered(200)
    stage.fail(1, 4)
    assert stage.out() == []
    assert stage.state(1).failures == 4


@pytest.mark.parametrize(("status", "counts"), [(500, 0), (501, 0), (502, 1), (503, 1), (504, 1), (505, 0), (404, 0)])
def test_the_answers_that_count_are_those_of_gateways(status: int, counts: int) -> None:
    stage = Stage(2)
    stage.state(1).answered(status)
    assert stage.state(1).failures == counts


@pytest.mark.parametrize("error", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EADDRNOTAVAIL])
def test_what_this_machine_lacks_is_not_held_against_an_endpoint(error: int) -> None:
    stage = Stage(2)
    for _ in range(10):
        stage.state(1).unreachable(OSError(error, ""))
    assert stage.state(1).failures == 0
    for refused in (OSError(errno.ECONNREFUSED, ""), TimeoutError(), OSError(errno.EHOSTUNREACH, "")):
        stage.state(1).unreachable(refused)
    assert stage.state(1).failures == 3


def test_one_request_tries_an_endpoint_whose_time_is_over_and_readmits_it() -> None:
    stage = Stage(3)
    stage.fail(1)
    stage.pass_time(9.9)
    assert "1" not in stage.picks(9)
    stage.pass_time(0.1)
    assert stage.picks(9).count("1") == 1
    assert stage.out() == [("1", 0.0)]
    stage.state(1).answered(200)
    assert stage.out() == []
    assert stage.picks(9).count("1") == 3


def test_each_trial_that_fails_doubles_the_time_up_to_the_longest() -> None:
    stage = Stage(2)
    stage.fail(1)
    times = []
    for _ in range(8):
        ((_, left),) = stage.out()
        times.append(left)
        stage.pass_time(left)
        assert stage.picks(2).count("1") == 1
        stage.state(1).failed()
    assert times == [10, 20, 40, 80, 160, 300, 300, 300]


@pytest.mark.parametrize(("served", "then"), [(299.0, 20.0), (301.0, 10.0)])
def test_long_service_makes_forget_earlier_ejections(served: float, then: float) -> None:
    stage = Stage(2)
    stage.fail(1)
    stage.pass_time(10)
    assert "1" in stage.picks(1)
    stage.state(1).answered(200)
    stage.pass_time(served)
    stage.fail(1)
    assert stage.out() == [("1", then)]


def test_a_trial_that_leads_to_nothing_is_followed_by_another() -> None:
    stage = Stage(2)
    stage.fail(1)
    stage.pass_time(10)
    assert stage.picks(3).count("1") == 1
    stage.pass_time(9.9)
    assert "1" not in stage.picks(3)
    stage.pass_time(0.1)
    assert stage.picks(3).count("1") == 1


def test_a_trial_has_time_for_a_response_that_goes_on_even_if_the_ejection_was_short() -> None:
    stage = Stage(2, Ejection(base=0.1, longest=0.1))
    stage.fail(1)
    stage.pass_time(0.1)
    assert stage.picks(4).count("1") == 1
    stage.pass_time(TRIAL - 0.1)
    assert "1" not in stage.picks(4)
    stage.pass_time(0.1)
    assert stage.picks(4).count("1") == 1


def test_a_trial_waits_a_little_for_a_request_that_may_be_sent_again() -> None:
    stage = Stage(2)
    stage.fail(1)
    stage.pass_time(10)
    cluster = stage.cluster
    assert cluster.pick(False) is stage.state(0)
    assert cluster.pick(True) is stage.state(1)
    stage.state(1).failed()
    stage.pass_time(20)
    assert cluster.pick(False) is stage.state(0)
    stage.pass_time(1)
    assert cluster.pick(False) is stage.state(1)


def test_what_requests_from_before_come_to_says_nothing_of_an_endpoint_that_is_out() -> None:
    stage = Stage(2)
    stage.fail(1, 20)
    assert stage.out() == [("1", 10.0)]
    stage.state(1).answered(200)
    assert stage.out() == [("1", 10.0)]
    stage.pass_time(10)
    stage.fail(1)
    stage.state(1).answered(200)
    assert stage.picks(3).count("1") == 1


@pytest.mark.parametrize(("count", "share", "out"), [(1, 0.5, 0), (2, 0.5, 1), (3, 0.5, 1), (5, 0.5, 2), (4, 0.25, 1)])
def test_no_more_than_a_share_is_ejected(count: int, share: float, out: int) -> None:
    stage = Stage(count, Ejection(share=share))
    for number in range(count):
        stage.fail(number)
    assert len(stage.out()) == out
    assert len(set(stage.picks(count * 2))) == count - out
    assert stage.registry.ejector.take() == (out, count - out)


def test_unhealthy_endpoints_take_up_the_share() -> None:
    stage = Stage(4)
    stage.serve(range(4), unhealthy=(0,))
    stage.fail(1)
    stage.fail(2)
    assert [number for number, _ in stage.out()] == ["1"]
    stage.serve(range(4), unhealthy=(0, 3))
    assert set(stage.picks(8)) == {"1", "2"}, "two of four are unhealthy: the ejected one is needed"
    stage.serve(range(4))
    assert set(stage.picks(8)) == {"0", "2", "3"}


def test_when_all_may_be_ejected_and_are_requests_go_to_all() -> None:
    stage = Stage(2, Ejection(share=1.0))
    stage.fail(0)
    stage.fail(1)
    assert set(stage.picks(4)) == {"0", "1"}
    assert stage.registry.findings(0).panicking == (WEB,)


def test_nobody_is_ejected_while_requests_go_to_all_for_want_of_healthy_ones() -> None:
    stage = Stage(3)
    stage.serve(range(3), unhealthy=range(3))
    stage.fail(1)
    assert stage.out() == []
    stage.serve(range(3))
    assert set(stage.picks(3)) == {"0", "1", "2"}


def test_an_endpoint_may_be_ejected_any_number_of_times() -> None:
    ejector = Stage(3, Ejection(base=10.0, longest=300.0)).registry.ejector
    assert [ejector.time_out(times) for times in (1, 2, 5, 6, 5000)] == [10.0, 20.0, 160.0, 300.0, 300.0]


def test_ejection_can_be_switched_off() -> None:
    stage = Stage(3, Ejection(enabled=False))
    stage.fail(1, 100)
    assert stage.picks(6) == "012012"
    assert not stage.registry.news


def test_an_endpoint_is_ejected_from_every_cluster_that_can_spare_it() -> None:
    stage = Stage(3)
    stage.serve((1,), key=OTHER)
    other = stage.registry.clusters[OTHER]
    stage.fail(1)
    assert "1" not in stage.picks(6)
    assert stage.picks(3, other) == "111"
    stage.serve((1, 7, 8, 9), key=OTHER)
    assert "1" not in stage.picks(6, other)
    stage.pass_time(10)
    assert stage.picks(4, other).count("1") == 1, "one trial, whichever cluster has it"
    assert "1" not in stage.picks(6)
    stage.state(1).answered(204)
    assert "1" in stage.picks(3)
    assert "1" in stage.picks(4, other)


def test_an_endpoint_that_goes_and_comes_again_has_no_past() -> None:
    stage = Stage(3)
    stage.fail(1)
    gone = stage.state(1)
    stage.registry.news = False
    stage.serve((0, 2))
    assert stage.out() == []
    assert stage.registry.news, "whoever was told of it hears that it is gone"
    gone.failed()
    assert stage.out() == []
    counters, _ = stage.registry.samples()
    assert {each.name: each.value for each in counters} == {"ejections": 1, "ejections_refused": 0}
    stage.serve(range(3))
    assert set(stage.picks(3)) == {"0", "1", "2"}
    stage.registry.apply(Update(99, full=True))
    assert stage.registry.endpoints == {}


def test_a_further_try_prefers_those_available_and_takes_others_rather_than_none() -> None:
    stage = Stage(3)
    stage.serve(range(3), unhealthy=(2,))
    zero, one, two = (stage.state(number) for number in range(3))
    assert {stage.cluster.pick_again(zero, []) for _ in range(6)} == {one}
    assert {stage.cluster.pick_again(zero, [zero, one]) for _ in range(6)} == {two}
    assert stage.cluster.pick_again(zero, [zero, one, two]) is None
    stage.serve(range(2), unhealthy=(1,))
    assert {stage.cluster.pick_again(zero, []) for _ in range(4)} == {one}, "rather than the one that failed"


# --- health


def test_unhealthy_endpoints_are_passed_over() -> None:
    stage = Stage(4)
    stage.serve(range(4), unhealthy=(1, 2))
    assert set(stage.picks(8)) == {"0", "3"}
    assert not stage.registry.panicking
    stage.serve(range(4), unhealthy=(2,))
    assert set(stage.picks(6)) == {"0", "1", "3"}


def test_when_none_is_healthy_requests_go_to_all() -> None:
    stage = Stage(3)
    stage.registry.news = False
    stage.serve(range(3), unhealthy=range(3))
    assert set(stage.picks(3)) == {"0", "1", "2"}
    assert stage.registry.news
    assert stage.registry.findings(0).panicking == (WEB,)
    stage.serve(range(3), unhealthy=(0, 1))
    assert set(stage.picks(3)) == {"2"}
    assert stage.registry.findings(0).panicking == ()
    stage.serve(())
    assert stage.picks(1) == "-"
    assert stage.registry.findings(0).panicking == ()


def test_a_cluster_that_goes_panics_no_more() -> None:
    stage = Stage(1)
    stage.serve((0,), unhealthy=(0,))
    assert stage.registry.panicking == {WEB}
    stage.registry.apply(Update(9, removed_clusters=(WEB,)))
    assert not stage.registry.panicking


# --- slow start


def shares(stage: Stage, count: int = 300) -> Counter[str]:
    return Counter(stage.picks(count))


def test_a_new_endpoint_gets_its_share_step_by_step() -> None:
    stage = Stage(2, slow_start=30.0)
    assert shares(stage) == {"0": 150, "1": 150}, "of a new cluster nobody is new"
    stage.serve(range(3))
    found = []
    for _ in range(11):
        found.append(shares(stage, 2100)["2"] / 2100)
        stage.pass_time(3.0)
    expected = [tenths / (20 + tenths) for tenths in (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 10)]
    assert found == pytest.approx(expected, abs=0.01)
    assert not stage.registry.starting


def test_without_slow_start_a_new_endpoint_is_as_good_as_the_others() -> None:
    stage = Stage(2)
    stage.serve(range(3))
    assert shares(stage) == {"0": 100, "1": 100, "2": 100}
    assert not stage.registry.starting


def test_an_endpoint_that_is_healthy_again_starts_slowly() -> None:
    stage = Stage(3, slow_start=10.0)
    stage.serve(range(3), unhealthy=(1,))
    stage.serve(range(3))
    assert shares(stage, 210)["1"] == 10
    stage.pass_time(10.0)
    assert shares(stage)["1"] == 100


def test_a_readmitted_endpoint_starts_slowly() -> None:
    stage = Stage(3, slow_start=10.0)
    stage.fail(1)
    stage.pass_time(10.0)
    assert "1" in stage.picks(1)
    stage.state(1).answered(200)
    assert shares(stage, 210)["1"] == 10


def test_when_all_are_new_they_share_alike() -> None:
    stage = Stage(2, slow_start=10.0)
    stage.serve((4, 5, 6))
    assert shares(stage) == {"4": 100, "5": 100, "6": 100}


def test_the_end_of_panic_is_no_start() -> None:
    stage = Stage(2, slow_start=10.0)
    stage.serve(range(2), unhealthy=(1,))
    stage.pass_time(60)
    stage.serve(range(2), unhealthy=(0, 1))
    assert shares(stage) == {"0": 150, "1": 150}
    stage.serve(range(2))
    assert shares(stage) == {"0": 150, "1": 150}


@pytest.mark.parametrize(
    ("elapsed", "wanted"), [(0.0, 1), (2.9, 1), (3.0, 2), (15.0, 6), (27.0, 10), (29.9, 10), (30.0, 10), (99.0, 10)]
)
def test_steps(elapsed: float, wanted: int) -> None:
    assert step(elapsed, 30.0) == wanted


def test_turns_of_one_endpoint_are_spread() -> None:
    rounds = turns("ab", {"b": 5})
    assert len(rounds) == STEPS
    assert ["b" in each for each in rounds] == [False, True] * 5
    assert turns("ab", {"a": 1, "b": 1}) == [["a", "b"]]


# --- whatever happens


class Anything(RuleBasedStateMachine):
    """Any order of events on one cluster of up to eight endpoints."""

    @initialize(
        share=st.sampled_from([0.0, 0.3, 0.5, 1.0]), slow_start=st.sampled_from([0.0, 5.0]), count=st.integers(0, 8)
    )
    def begin(self, share: float, slow_start: float, count: int) -> None:
        self.share = share
        self.stage = Stage(count, Ejection(share=share, failures=2, base=2.0, longest=16.0), slow_start)
        self.unhealthy: set[int] = set()

    @property
    def present(self) -> list[int]:
        return [int(state.endpoint.address[-1]) for state in self.stage.cluster.endpoints]

    @rule(numbers=st.sets(st.integers(0, 7)), unhealthy=st.sets(st.integers(0, 7)))
    def update(self, numbers: set[int], unhealthy: set[int]) -> None:
        self.unhealthy = numbers & unhealthy
        self.stage.serve(numbers, self.unhealthy)

    @rule(at=st.integers(0, 7), times=st.integers(1, 3))
    def fail(self, at: int, times: int) -> None:
        if self.present:
            self.stage.fail(self.present[at % len(self.present)], times)

    @rule(at=st.integers(0, 7), status=st.sampled_from([200, 503]))
    def answer(self, at: int, status: int) -> None:
        if self.present:
            self.stage.state(self.present[at % len(self.present)]).answered(status)

    @rule(seconds=st.sampled_from([0.1, 1.0, 2.0, 20.0]))
    def pass_time(self, seconds: float) -> None:
        self.stage.pass_time(seconds)

    @rule(count=st.integers(1, 5))
    def pick(self, count: int) -> None:
        self.stage.picks(count)

    @invariant()
    def picks_are_right(self) -> None:
        stage = self.stage
        present = set(self.present)
        first = self._picked(12 * len(present))
        # Whoever was due for a trial has had it: from here on everybody waits for a turn.
        picked = self._picked(11 * len(present))
        assert picked <= first <= present
        assert bool(picked) == bool(present)
        healthy = present - self.unhealthy
        ejected = {int(number) for number, _ in stage.out()}
        panicking = WEB in stage.registry.panicking
        assert panicking == stage.cluster.panicking
        if panicking:
            assert picked == present
            assert not healthy or self.share == 1.0
        else:
            assert healthy - ejected <= picked
            assert first <= healthy
            assert len(healthy - picked) <= max(0.0, len(present) * self.share - len(self.unhealthy))

    def _picked(self, count: int) -> set[int]:
        return {int(number) for number in self.stage.picks(count) if number != "-"}

    @invariant()
    def nothing_is_left_behind(self) -> None:
        registry = self.stage.registry
        assert set(registry.endpoints) == {state.endpoint for state in self.stage.cluster.endpoints}
        for state in registry.ejector.out:
            assert registry.endpoints[state.endpoint] is state
        for state in registry.endpoints.values():
            assert state.clusters == [self.stage.cluster]
            assert state.references == 1


Anything.TestCase.settings = settings(max_examples=150, stateful_step_count=25, deadline=None)
TestAnything = Anything.TestCase
