"""A problem is said once when it appears and once when it is gone."""

import logging

import pytest

from ingressd.control.problem_log import ProblemLog
from ingressd.model import ObjectRef, Problem, Severity

LOGGER = logging.getLogger("test.problems")
REF = ObjectRef("Ingress", "shop", "web")
BAD_PATH = Problem(REF, "InvalidPath", '"x": a path begins with /', "spec.rules[0]", file="a.yaml", line=7)
UNKNOWN = Problem(REF, "UnknownAnnotation", "no such key", "metadata.annotations", Severity.WARNING)


def lines(caplog: pytest.LogCaptureFixture, log: ProblemLog, *problems: Problem) -> list[tuple[str, str]]:
    caplog.clear()
    with caplog.at_level(logging.INFO):
        log.update(problems)
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
