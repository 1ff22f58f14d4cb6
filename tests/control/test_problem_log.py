"""A problem is said once when it appears and once when it is gone."""

import logging
from collections.abc import Collection

import pytest

from ingressd.control.problem_log import ProblemLog
from ingressd.model import ObjectRef, Problem, Severity

LOGGER = logging.getLogger("test.problems")
REF = ObjectRef("Ingress", "shop", "web")
BAD_PATH = Problem(REF, "InvalidPath", '"x": a path begins with /', "spec.rules[0]", file="a.yaml", line=7)
UNKNOWN = Problem(REF, "UnknownAnnotation", "no such key", "metadata.annotations", Severity.WARNING)


def lines(
    caplog: pytest.LogCaptureFixture, log: ProblemLog, *problems: Problem, unsure: Collection[str] = ()
) -> list[tuple[str, str]]:
    caplog.clear()
    with caplog.at_level(logging.INFO):
        log.update(problems, unsure)
    return [(record.levelname, record.getMessage()) for record in caplog.records]


def test_once_each_and_resolved_once(caplog: pytest.LogCaptureFixture) -> None:
    log = ProblemLog(LOGGER)
    assert lines(caplog, log, BAD_PATH, UNKNOWN) == [("ERROR", str(BAD_PATH)), ("WARNING", str(UNKNOWN))]
    assert lines(caplog, log, UNKNOWN, BAD_PATH) == []
    assert lines(caplog, log, UNKNOWN) == [("INFO", f"resolved: {BAD_PATH}")]
    assert lines(caplog, log, UNKNOWN) == []
    assert lines(caplog, log, BAD_PATH, UNKNOWN) == [("ERROR", str(BAD_PATH))]


def test_another_value_in_the_same_field_is_news_but_resolves_nothing(caplog: pytest.LogCaptureFixture) -> None:
    log = ProblemLog(LOGGER)
    log.update([BAD_PATH])
    other = Problem(REF, "InvalidPath", '"y": a path begins with /', "spec.rules[0]")
    assert lines(caplog, log, other) == [("ERROR", str(other))]


def test_lines_that_move_are_no_news(caplog: pytest.LogCaptureFixture) -> None:
    log = ProblemLog(LOGGER)
    log.update([BAD_PATH])
    moved = Problem(REF, "InvalidPath", '"x": a path begins with /', "spec.rules[0]", file="b.yaml", line=9)
    assert lines(caplog, log, moved) == []


def test_what_may_be_none_in_a_moment_is_said_when_it_is_sure(caplog: pytest.LogCaptureFixture) -> None:
    log = ProblemLog(LOGGER)
    unsure = (BAD_PATH.reason,)
    assert lines(caplog, log, BAD_PATH, UNKNOWN, unsure=unsure) == [("WARNING", str(UNKNOWN))]
    assert log.update([BAD_PATH, UNKNOWN], unsure)
    assert lines(caplog, log, BAD_PATH, UNKNOWN) == [("ERROR", str(BAD_PATH))]
    assert not log.update([BAD_PATH, UNKNOWN], unsure), "it has been said"


def test_what_turns_out_to_be_none_was_never_said(caplog: pytest.LogCaptureFixture) -> None:
    log = ProblemLog(LOGGER)
    log.update([BAD_PATH], (BAD_PATH.reason,))
    assert lines(caplog, log) == []


def test_what_was_said_of_a_place_is_resolved_only_when_nothing_is_asked_of_it_any_more(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = ProblemLog(LOGGER)
    other = Problem(REF, "InvalidPath", '"y": a path begins with /', "spec.rules[0]")
    log.update([BAD_PATH])
    assert lines(caplog, log, other, unsure=(BAD_PATH.reason,)) == []
    assert lines(caplog, log) == [("INFO", f"resolved: {BAD_PATH}")]
