"""Says each problem in the log once: when it appears, and when it is gone."""

import logging
from collections.abc import Collection, Iterable, Mapping

import msgspec

from ingressd.model import ObjectRef, Problem, Severity

_LEVELS = {Severity.ERROR: logging.ERROR, Severity.WARNING: logging.WARNING}
_Place = tuple[ObjectRef, str, str]


class ProblemLog:
    """Compares what is wrong now with what was wrong before. The state is rebuilt often, and its owner wants to read of
    a problem once; that lines move in a file is no news."""

    def __init__(self, logger: logging.Logger) -> None:
        self._log = logger
        self._known: Mapping[Problem, Problem] = {}

    def update(self, problems: Iterable[Problem], unsure: Collection[str] = ()) -> bool:
        """Logs those that are new, and those that are gone unless another one has taken their place. What is new for
        one of the reasons in `unsure` may be none in a moment, and is left for the next time. Whether there is any."""
        current = {msgspec.structs.replace(problem, file="", line=0): problem for problem in problems}
        left = [one for one in current if one.reason in unsure and one not in self._known]
        for identity in left:
            del current[identity]
        for identity, problem in current.items():
            if identity not in self._known:
                self._log.log(_LEVELS[problem.severity], "%s", problem)
        still, open_questions = set(map(_place, current)), set(map(_place, left))
        for identity, problem in self._known.items():
            if _place(identity) in open_questions:
                current[identity] = problem
            elif _place(identity) not in still:
                self._log.info("resolved: %s", problem)
        self._known = current
        return bool(left)


def _place(problem: Problem) -> _Place:
    return (problem.object, problem.field, problem.reason)
