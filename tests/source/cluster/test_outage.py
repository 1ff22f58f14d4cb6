"""What the log says while there is no news, on a clock of the test's own."""

import logging

import pytest

from ingressd.source.cluster.outage import REPEAT, Outage


class Told:
    """An Outage with its clock and its lines."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        self._caplog = caplog
        self.now = 1000.0
        self.outage = Outage(logging.getLogger("outage"), lambda: self.now)

    def lines(self) -> list[str]:
        return [f"{record.levelname} {record.getMessage()}" for record in self._caplog.records]


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Told:
    return Told(caplog)


def test_one_line_for_all_who_ask_then_one_a_minute_with_the_age(told: Told) -> None:
    told.outage.lost("a", 990.0, "refused")
    told.outage.lost("b", 980.0, "refused too")
    told.now += 30
    told.outage.lost("a", 990.0, "refused")
    assert told.lines() == ["WARNING no news from the API server, what is known stays in force: refused"]
    told.now += 30
    told.outage.lost("a", 990.0, "still refused")
    told.outage.lost("b", 980.0, "still refused")
    assert told.lines()[1:] == [
        "WARNING no news from the API server for 80 s, what is served is that old: still refused"
    ]
    assert REPEAT == 60


def test_the_end_is_said_when_all_have_an_answer(told: Told) -> None:
    told.outage.lost("a", None, "refused")
    told.outage.lost("b", None, "refused")
    told.now += 7
    told.outage.found("a")
    told.outage.found("a")
    assert len(told.lines()) == 1
    told.outage.found("b")
    assert told.lines()[1:] == ["INFO news from the API server again, after 7 s"]
    told.outage.found("b")
    told.outage.lost("b", None, "refused again")
    assert len(told.lines()) == 3


def test_who_needs_no_answer_any_more_ends_it_without_a_word(told: Told) -> None:
    told.outage.lost("a", None, "refused")
    told.outage.forget("a")
    told.outage.found("a")
    assert len(told.lines()) == 1
    told.outage.lost("b", None, "refused")
    assert len(told.lines()) == 2
