"""What is told when: each rule, and random histories against what is promised of all of them."""

from dataclasses import dataclass, field
from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingressd.control import event_ledger as module
from ingressd.control.event_ledger import (
    FORGET,
    NOTE_BYTES,
    OBJECT_BURST,
    OBJECT_RATE,
    PATIENCE,
    REFRESH,
    REPEAT,
    STALE,
    Due,
    EventLedger,
    EventType,
    Remark,
    Written,
    sync,
    warning,
)
from ingressd.model import ObjectRef, Problem, Severity


def ref(name: str = "web") -> ObjectRef:
    return ObjectRef("Ingress", "shop", name)


REF_OTHER = ref("other")


def problem(reason: str = "NoEndpoints", message: str = "has no endpoint", name: str = "web") -> Problem:
    return Problem(ref(name), reason, message, "spec.rules[0]")


@dataclass
class Story:
    """A ledger, a clock, and what was told: (when, reason or note, times)."""

    ledger: EventLedger = field(default_factory=EventLedger)
    now: float = 1000.0
    told: list[tuple[float, Due]] = field(default_factory=list)

    def go_on(self, seconds: float) -> None:
        """Lets time pass, telling what is due."""
        end = self.now + seconds
        while True:
            due = self.ledger.next(self.now)
            if isinstance(due, Due):
                self.told.append((self.now, due))
                times = due.times + (due.before.times if due.before else 0)
                self.ledger.written(due, Written(str(due.remark), times), self.now)
            elif self.now + due > end:
                self.now = end
                return
            else:
                self.now += due

    def problems(self, *problems: Problem) -> None:
        self.ledger.problems(problems, self.now)

    @property
    def times(self) -> list[tuple[float, int]]:
        """When something was told, since the start, and how many times it had happened by then."""
        return [(when - 1000, due.times + (due.before.times if due.before else 0)) for when, due in self.told]


def test_a_problem_is_told_soon_and_once() -> None:
    story = Story()
    story.problems(problem())
    story.go_on(REFRESH - 1)
    story.problems(problem())
    ((when, due),) = story.told
    assert when == 1000 + PATIENCE
    assert due == Due(Remark(ref(), EventType.WARNING, "NoEndpoints", "spec.rules[0]: has no endpoint"), 1)


def test_what_stays_is_told_again_before_it_is_forgotten() -> None:
    story = Story()
    story.problems(problem())
    story.go_on(PATIENCE + 2 * REFRESH)
    assert story.times == [(PATIENCE, 1), (PATIENCE + REFRESH, 2), (PATIENCE + 2 * REFRESH, 3)]
    assert story.told[1][1].before is not None


def test_what_is_mended_is_not_told_again() -> None:
    story = Story()
    story.problems(problem())
    story.go_on(10)
    story.problems()
    story.go_on(3 * REFRESH)
    assert len(story.told) == 1


def test_what_comes_and_goes_is_counted_and_told_once_a_while() -> None:
    story = Story()
    for _ in range(10):
        story.problems(problem())
        story.go_on(1)
        story.problems()
        story.go_on(1)
    assert story.times == [(PATIENCE, 1)]
    story.problems(problem())
    story.go_on(REPEAT)
    assert story.times == [(PATIENCE, 1), (PATIENCE + REPEAT, 11)]


def test_what_is_true_for_a_moment_is_not_told() -> None:
    story = Story()
    for _ in range(3):
        story.problems(problem())
        story.go_on(PATIENCE / 2)
        story.problems()
        story.go_on(PATIENCE)
    assert not story.told
    assert not story.ledger.dropped
    story.problems(problem())
    story.go_on(PATIENCE)
    assert story.told[0][1].times == 1


def test_what_is_over_before_it_can_be_told_is_dropped() -> None:
    story = Story()
    story.problems(problem())
    story.now += PATIENCE
    story.problems()
    story.go_on(REFRESH)
    assert not story.told
    assert story.ledger.dropped == 1


def test_after_a_long_time_it_is_a_new_thing() -> None:
    story = Story()
    story.problems(problem())
    story.go_on(10)
    story.problems()
    story.go_on(FORGET + 1)
    story.problems()
    story.problems(problem())
    story.go_on(1)
    assert story.told[-1][1].before is None


def test_another_message_is_another_remark() -> None:
    story = Story()
    story.problems(problem(message="1 not ready"))
    story.go_on(1)
    story.problems(problem(message="2 not ready"))
    story.go_on(1)
    assert [due.remark.note for _, due in story.told] == ["spec.rules[0]: 1 not ready", "spec.rules[0]: 2 not ready"]


def test_what_several_problems_say_is_one_remark() -> None:
    story = Story()
    twice = [problem(), msgspec.structs.replace(problem(), severity=Severity.WARNING)]
    story.problems(*twice)
    story.go_on(1)
    story.problems(twice[1])
    story.problems(twice[0])
    story.go_on(2 * REPEAT)
    assert story.times == [(PATIENCE, 1)]
    story.problems()
    story.problems(twice[0])
    story.go_on(1)
    assert [times for _, times in story.times] == [1, 2]


def test_problems_that_have_no_events_are_passed_over() -> None:
    story = Story(EventLedger(lambda each: each.object.name != "odd"))
    story.problems(problem(name="odd"), problem())
    story.problems()
    story.problems(problem(name="odd"))
    story.go_on(1)
    assert not story.told


def test_one_object_does_not_take_more_than_its_share() -> None:
    story = Story()
    for number in range(100):
        story.problems(problem(message=f"{number} not ready"))
        story.go_on(1)
    assert len(story.told) == OBJECT_BURST + 1
    story.problems(problem(message="100 not ready"), problem(name="other"))
    story.go_on(1)
    assert story.told[-1][1].remark.object == ref("other")
    story.go_on(1 / OBJECT_RATE)
    assert story.told[-1][1].remark.note == "spec.rules[0]: 100 not ready", "what is true now is told in the end"


def test_the_whole_keeps_to_its_rate() -> None:
    story = Story()
    story.problems(*(problem(name=f"web{number}") for number in range(1000)))
    story.go_on(PATIENCE + 1)
    assert len(story.told) == pytest.approx(module.BURST + module.RATE, abs=2)
    story.go_on(REFRESH - 10)
    assert len(story.told) == 1000


def test_syncs_wait_for_problems() -> None:
    story = Story()
    story.problems(*(problem(name=f"web{number}") for number in range(module.BURST)))
    story.now += PATIENCE
    story.ledger.served([ref(f"web{number}") for number in range(module.BURST)], story.now, first=True)
    story.go_on(0.01)
    assert {due.remark.reason for _, due in story.told} == {"NoEndpoints"}
    story.go_on(30)
    assert len(story.told) == 2 * module.BURST


def test_serving_for_the_first_time_and_a_change() -> None:
    story = Story()
    story.ledger.served([ref()], story.now, first=True)
    story.go_on(1)
    assert story.told[0][1] == Due(sync(ref()), 1, only_new=True)
    assert (sync(ref()).type, sync(ref()).reason, sync(ref()).note) == ("Normal", "Sync", "Scheduled for sync")
    for _ in range(5):
        story.ledger.served([ref()], story.now, first=False)
        story.go_on(1)
    assert len(story.told) == 1
    story.go_on(REPEAT)
    assert story.times == [(0, 1), (REPEAT, 6)]
    assert not story.told[1][1].only_new
    story.go_on(3 * REFRESH)
    assert len(story.told) == 2, "that it is served is no news when nothing changes"


def test_a_change_before_the_first_sync_was_told_is_the_same_sync() -> None:
    story = Story()
    story.ledger.served([ref()], story.now, first=True)
    story.ledger.served([ref()], story.now, first=False)
    story.go_on(1)
    assert [due for _, due in story.told] == [Due(sync(ref()), 1)]


def test_what_is_not_served_any_more_is_not_told() -> None:
    story = Story()
    story.ledger.served([ref()], story.now, first=True)
    story.ledger.removed([ref(), ref("never")])
    story.go_on(1)
    assert not story.told


def test_who_begins_to_lead_tells_problems_but_no_old_syncs() -> None:
    story = Story()
    story.problems(problem())
    story.ledger.served([ref("old")], story.now, first=True)
    story.now += STALE
    story.ledger.served([ref("new")], story.now, first=True)
    story.now += 1
    story.ledger.lead(story.now)
    story.go_on(1)
    assert [due.remark.object.name for _, due in story.told] == ["web", "new"]


def test_a_failure_is_told_later_with_all_that_happened_since() -> None:
    story = Story()
    story.problems(problem())
    story.now += PATIENCE
    due = story.ledger.next(story.now)
    assert isinstance(due, Due)
    story.problems()
    story.problems(problem())
    story.now += PATIENCE
    due = story.ledger.next(story.now)
    assert isinstance(due, Due)
    story.ledger.failed(due, story.now + 30)
    story.go_on(29)
    assert not story.told
    story.go_on(1)
    assert story.times == [(2 * PATIENCE + 30, 1)]


def test_a_pause_costs_nothing() -> None:
    story = Story()
    story.problems(*(problem(name=f"web{number}") for number in range(200)), problem(name="other"))
    story.now += PATIENCE
    paused = lambda ref: 0.0 if ref == REF_OTHER else 10.0  # noqa: E731
    due = story.ledger.next(story.now, paused)
    assert isinstance(due, Due)
    assert due.remark.object == REF_OTHER
    story.ledger.written(due, Written("x", 1), story.now)
    assert story.ledger.next(story.now, paused) == pytest.approx(10)
    story.now += 10
    story.go_on(0.01)
    assert len(story.told) == module.BURST


def test_a_failed_first_sync_stays_one() -> None:
    story = Story()
    story.ledger.served([ref()], story.now, first=True)
    due = story.ledger.next(story.now)
    assert isinstance(due, Due)
    story.ledger.failed(due, story.now + 1)
    story.go_on(1)
    assert [each for _, each in story.told] == [due]


def test_a_failure_of_what_is_over_by_then_is_dropped() -> None:
    story = Story()
    story.problems(problem())
    story.now += PATIENCE
    due = story.ledger.next(story.now)
    assert isinstance(due, Due)
    story.problems()
    story.ledger.failed(due, story.now + 1)
    story.go_on(REFRESH)
    assert not story.told
    assert story.ledger.dropped == 1


def test_what_is_refused_is_not_tried_again_while_it_lasts() -> None:
    story = Story()
    story.problems(problem())
    story.now += PATIENCE
    due = story.ledger.next(story.now)
    assert isinstance(due, Due)
    story.ledger.refused(due)
    story.go_on(3 * REFRESH)
    assert not story.told
    assert story.ledger.dropped == 1


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT", 100)
    monkeypatch.setattr(module, "RATE", 1e6)
    story = Story()
    for number in range(1000):
        story.problems(problem(name=f"web{number}"))
        story.go_on(1)
    story.problems()
    assert len(story.ledger._entries) <= 101
    assert len(story.ledger._buckets) <= 700, "those that are in use"


def test_memory_is_bounded_for_who_does_not_lead_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody asks it what is due."""
    monkeypatch.setattr(module, "SLACK", 100)
    story = Story()
    for number in range(1000):
        story.now += 1
        story.ledger.served([ref(f"run{number}")], story.now, first=True)
        story.problems(problem(name=f"run{number}"))
        if number < 990:
            story.problems()
            story.ledger.removed([ref(f"run{number}")])
    assert all(len(agenda) <= 150 for agenda in story.ledger._agenda)
    story.go_on(PATIENCE)
    told = [due.remark for _, due in story.told]
    assert told == [*(sync(ref(f"run{number}")) for number in range(990, 1000)), warning(problem(name="run999"))]


@pytest.mark.parametrize(
    ("message", "note"),
    [("x" * 900, "x" * 900), ("x" * 2000, "x" * 1000), ("é" * 1000, "é" * 400), ("bad \ud800", "bad ?")],
)
def test_a_note_fits_into_an_event(message: str, note: str) -> None:
    made = warning(Problem(ref(), "Reason", message)).note
    assert made.startswith(note)
    assert len(made.encode()) <= NOTE_BYTES


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_any_history(seed: int) -> None:
    """Nothing is told too often; what lasts is told in the end, and nothing is told that is not true."""
    random, story = Random(seed), Story()
    all_problems = [problem(f"Reason{a}", f"m{b}", f"web{c}") for a in "AB" for b in "123" for c in "xyz"]
    current: list[Problem] = []
    for _ in range(random.randrange(40)):
        current = random.sample(all_problems, random.randrange(len(all_problems)))
        story.problems(*current)
        before = len(story.told)
        story.go_on(random.choice((0.01, 1, 30, 300, 2000)))
        told_now = {due.remark for _, due in story.told[before:]}
        assert told_now <= set(map(warning, current))
    story.go_on(REFRESH)
    last: dict[Remark, float] = {}
    of_object: dict[ObjectRef, list[float]] = {}
    for when, due in story.told:
        if due.remark in last and due.before:
            assert when - last[due.remark] > REPEAT - 1e-6
        last[due.remark] = when
        of_object.setdefault(due.remark.object, []).append(when)
    for times in of_object.values():
        for at, when in enumerate(times):
            assert sum(when <= other < when + 60 for other in times[at:]) <= OBJECT_BURST + 1
    assert {warning(each) for each in current} <= set(last)
