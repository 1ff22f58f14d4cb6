"""Who is asked and when: with a clock and answers of the test's own."""

import asyncio
from collections import Counter

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingressd.control.health import checks as module
from ingressd.control.health.checks import Change, Checks
from ingressd.control.health.probe import NotAsked
from ingressd.model import CheckType, Cluster, ClusterKey, Endpoint, HealthCheck
from tests.control.health.clock import Clock, settled

CHECK = HealthCheck(interval=10.0, healthy_threshold=2, unhealthy_threshold=3)
OTHER = HealthCheck(CheckType.TCP, interval=10.0)
ONE, TWO, THREE = (Endpoint(f"10.0.0.{number}", 80) for number in (1, 2, 3))


class Stage:
    """Checks with `wrong`, what is wrong with whom. `asked` are those that were asked, in order."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.wrong: dict[Endpoint, str] = {}
        self.asked: list[tuple[Endpoint, HealthCheck]] = []
        self.lacking = ""
        self.told = 0
        self.hold: asyncio.Event | None = None
        self.running = 0
        self.most_running = 0
        self.checks = Checks(self._ask, self._on_change, later=self.clock.later, chance=lambda: 0.5)

    async def _ask(self, endpoint: Endpoint, check: HealthCheck) -> str:
        self.asked.append((endpoint, check))
        self.running += 1
        self.most_running = max(self.running, self.most_running)
        try:
            if self.hold is not None:
                await self.hold.wait()
            if self.lacking:
                raise NotAsked(self.lacking)
            return self.wrong.get(endpoint, "")
        finally:
            self.running -= 1

    def _on_change(self) -> None:
        self.told += 1

    def follow(self, **endpoints: tuple[HealthCheck, tuple[Endpoint, ...]]) -> None:
        clusters = (
            Cluster(ClusterKey("shop", name, "80"), members, health=check)
            for name, (check, members) in endpoints.items()
        )
        self.checks.follow({cluster.key: cluster for cluster in clusters})

    def count(self) -> Counter[Endpoint]:
        return Counter(endpoint for endpoint, _ in self.asked)


async def test_each_endpoint_is_asked_once_each_interval() -> None:
    stage = Stage()
    stage.follow(a=(CHECK, (ONE, TWO)), b=(CHECK, (TWO, THREE)))
    await stage.clock.advance(4.9)
    assert stage.asked == []
    await stage.clock.advance(100.1)
    assert stage.count() == {ONE: 11, TWO: 11, THREE: 11}
    assert (stage.checks.passed, stage.checks.failed, len(stage.checks)) == (33, 0, 3)
    await stage.checks.close()


async def test_two_different_checks_of_an_endpoint_are_two() -> None:
    stage = Stage()
    stage.follow(a=(CHECK, (ONE,)), b=(OTHER, (ONE,)))
    await stage.clock.advance(6)
    assert sorted(stage.asked, key=str) == sorted([(ONE, CHECK), (ONE, OTHER)], key=str)
    await stage.checks.close()


async def test_changes_are_told_together_and_soon() -> None:
    stage = Stage()
    stage.wrong = {ONE: "refused", TWO: "answered 500"}
    stage.follow(a=(CHECK, (ONE, TWO, THREE)))
    await stage.clock.advance(5 + 10 + 10 - 0.1)
    assert stage.checks.unhealthy == {}
    await stage.clock.advance(0.1)
    assert stage.checks.unhealthy == {CHECK: {ONE, TWO}}
    await stage.clock.advance(module.GATHER)
    assert stage.told == 1
    assert stage.checks.take_changes() == [
        Change(ONE, CHECK, False, "refused"),
        Change(TWO, CHECK, False, "answered 500"),
    ]
    assert stage.checks.take_changes() == []
    stage.wrong = {}
    await stage.clock.advance(20)
    assert stage.checks.unhealthy == {}
    assert [change.healthy for change in stage.checks.take_changes()] == [True, True]
    assert stage.told == 2
    assert (stage.checks.failed, stage.checks.passed) == (6, 4 + 5)
    await stage.checks.close()


async def test_an_endpoint_that_is_gone_is_asked_no_more_and_has_no_past() -> None:
    stage = Stage()
    stage.wrong = {ONE: "refused"}
    stage.follow(a=(CHECK, (ONE, TWO)))
    await stage.clock.advance(30)
    assert stage.checks.unhealthy == {CHECK: {ONE}}
    stage.follow(a=(CHECK, (TWO,)))
    assert stage.checks.unhealthy == {}
    before = stage.count()[ONE]
    await stage.clock.advance(30)
    assert stage.count()[ONE] == before
    stage.follow(a=(CHECK, (ONE, TWO)))
    state = stage.checks.state(ONE, CHECK)
    assert state is not None
    assert (state[0].healthy, state[0].asked) == (True, False)
    stage.follow()
    assert (len(stage.checks), stage.clock.pending) == (0, 0)


async def test_what_goes_on_is_not_disturbed_by_changes_of_others() -> None:
    stage = Stage()
    stage.follow(a=(CHECK, (ONE,)), b=(CHECK, (ONE, TWO)))
    for at in range(20):
        await stage.clock.advance(1)
        stage.follow(a=(CHECK, (ONE, Endpoint("10.0.1.1", 1 + at))), b=(CHECK, (TWO,)) if at % 2 else (CHECK, (ONE,)))
    await stage.clock.advance(5)
    assert stage.count()[ONE] == 3
    await stage.checks.close()


async def test_an_endpoint_whose_check_is_changed_keeps_its_state() -> None:
    stage = Stage()
    stage.wrong = {ONE: "refused"}
    stage.follow(a=(CHECK, (ONE, TWO)))
    await stage.clock.advance(30)
    stage.follow(a=(OTHER, (ONE, TWO)))
    assert stage.checks.unhealthy == {OTHER: {ONE}}
    stage.wrong = {}
    await stage.clock.advance(30)
    assert stage.checks.unhealthy == {}
    await stage.checks.close()


async def test_it_keeps_its_state_though_another_cluster_goes_on_with_the_former_check() -> None:
    stage = Stage()
    stage.wrong = {ONE: "refused"}
    stage.follow(a=(CHECK, (ONE, TWO)), b=(CHECK, (ONE, TWO)))
    await stage.clock.advance(30)
    stage.follow(a=(OTHER, (ONE, TWO)), b=(CHECK, (ONE, TWO)))
    assert stage.checks.unhealthy == {CHECK: {ONE}, OTHER: {ONE}}
    await stage.checks.close()


async def test_what_one_cluster_knows_of_an_endpoint_is_not_taken_for_another_whose_check_changes_with_its() -> None:
    stage = Stage()
    stage.wrong = {ONE: "refused"}
    stage.follow(a=(CHECK, (ONE,)))
    await stage.clock.advance(30)
    stage.wrong = {}
    stage.follow(a=(CHECK, (ONE,)), b=(OTHER, (ONE,)))
    await stage.clock.advance(6)
    slower, slower_other = (msgspec.structs.replace(check, interval=60.0) for check in (CHECK, OTHER))
    stage.follow(a=(slower, (ONE,)), b=(slower_other, (ONE,)))
    assert stage.checks.unhealthy == {slower: {ONE}}
    await stage.checks.close()


async def test_only_so_many_run_at_a_time_and_the_others_wait_for_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CONCURRENT", 3)
    stage = Stage()
    stage.hold = asyncio.Event()
    many = tuple(Endpoint("10.0.0.1", port) for port in range(1, 9))
    stage.follow(a=(CHECK, many))
    await stage.clock.advance(6)
    assert (stage.running, stage.checks.waiting) == (3, 5)
    # One that goes while it waits is not asked.
    stage.follow(a=(CHECK, many[:7]))
    stage.hold.set()
    for _ in range(4):
        await settled()
    assert [endpoint for endpoint, _ in stage.asked] == list(many[:7])
    assert (stage.running, stage.checks.waiting, stage.most_running) == (0, 0, 3)
    await stage.checks.close()


async def test_one_that_goes_while_it_is_asked_leaves_nothing_behind() -> None:
    stage = Stage()
    stage.hold = asyncio.Event()
    stage.follow(a=(CHECK, (ONE, TWO)))
    await stage.clock.advance(6)
    assert stage.running == 2
    stage.follow(a=(CHECK, (TWO,)))
    await settled()
    assert stage.running == 1
    await stage.checks.close()
    assert (stage.running, stage.clock.pending, stage.checks.passed) == (0, 0, 0)


members = st.lists(st.sampled_from([ONE, TWO, THREE]), unique=True).map(tuple)
states = st.dictionaries(st.sampled_from("abc"), st.tuples(st.sampled_from([CHECK, OTHER]), members))


@given(st.lists(states, max_size=8))
def test_who_is_asked_is_who_was_named_last(steps: list[dict[str, tuple[HealthCheck, tuple[Endpoint, ...]]]]) -> None:
    async def follow() -> None:
        stage = Stage()
        stage.wrong = {ONE: "ill"}
        for step in steps:
            stage.follow(**step)
            wanted = {(endpoint, check) for check, found in step.values() for endpoint in found}
            assert len(stage.checks) == stage.clock.pending == len(wanted)
            assert all(stage.checks.state(endpoint, check) is not None for endpoint, check in wanted)
            ill = {(endpoint, check) for check, found in stage.checks.unhealthy.items() for endpoint in found}
            assert ill <= wanted
            stage.asked.clear()
            # Long enough for each to be asked, and for the one that is ill to be found out.
            await stage.clock.advance(50)
            assert set(stage.asked) == wanted
            ill = {(endpoint, check) for check, found in stage.checks.unhealthy.items() for endpoint in found}
            assert ill == {(endpoint, check) for endpoint, check in wanted if endpoint == ONE}
        await stage.checks.close()

    asyncio.run(follow())


async def test_a_check_that_could_not_be_made_changes_nothing_but_is_seen() -> None:
    stage = Stage()
    stage.wrong = {ONE: "refused"}
    stage.follow(a=(CHECK, (ONE, TWO)))
    await stage.clock.advance(30)
    stage.lacking = "too many open files"
    failed = stage.checks.failed
    await stage.clock.advance(100)
    assert stage.checks.unhealthy == {CHECK: {ONE}}
    assert stage.checks.failed == failed + 20
    state = stage.checks.state(TWO, CHECK)
    assert state is not None
    assert (state[0].healthy, state[1]) == (True, "too many open files")
    stage.lacking, stage.wrong = "", {}
    await stage.clock.advance(30)
    assert stage.checks.unhealthy == {}
    await stage.checks.close()


async def test_who_is_gone_does_not_wait() -> None:
    stage = Stage()
    stage.hold = asyncio.Event()
    many = tuple(Endpoint("10.0.1.1", port) for port in range(1, module.CONCURRENT + 11))
    stage.follow(a=(CHECK, many))
    await stage.clock.advance(6)
    assert stage.checks.waiting == 10
    stage.follow(a=(CHECK, many[:-4]))
    assert stage.checks.waiting == 6
    stage.hold.set()
    await stage.checks.close()
