"""How fast the controller may write, and where it may not. No IO; all `now` are seconds of a clock that never goes
back."""

import logging
from typing import NamedTuple

SHORTEST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds after which it is tried again whether a right is there, doubling. A role that was just written takes the API
server a moment; later, roles change seldom and by hand."""
FORGOTTEN = 600.0
"""Seconds after which a namespace is forgotten where nothing is tried any more: perhaps it is gone."""
SHOWN = 5
"""Namespaces of which it is said that a right is missing; after that it is clear that it is missing everywhere."""
ROUNDING = 1e-6
"""Seconds that are none: adding them to a time may leave it the same."""

_log = logging.getLogger(__name__)


class TokenBucket:
    """Lets `burst` things happen at once, and `rate` a second in the long run."""

    __slots__ = ("_burst", "_full_at", "_rate")

    def __init__(self, rate: float, burst: int) -> None:
        self._rate = rate
        self._burst = burst
        self._full_at = float("-inf")
        """When it is full again if nothing more is taken."""

    def wait(self, now: float) -> float:
        """Seconds until something may happen; 0 now."""
        seconds = self._full_at - now - (self._burst - 1) / self._rate
        return seconds if seconds > ROUNDING else 0.0

    def take(self, now: float) -> None:
        """Something happens."""
        self._full_at = max(self._full_at, now) + 1 / self._rate

    def is_full(self, now: float) -> bool:
        """Whether it is as good as new."""
        return now >= self._full_at


class _Refusal(NamedTuple):
    pause: float
    until: float


class Refusals:
    """Namespaces in which a right is missing, so that nothing is tried there for a while, and the log says it once."""

    def __init__(self, what: str) -> None:
        """`what` cannot be done: `status of Ingresses is not written`."""
        self._what = what
        self._known: dict[str, _Refusal] = {}
        self._told: set[str] = set()

    def note(self, namespace: str, message: str, now: float) -> None:
        """The API server has refused; `message` is its sentence. It is said when it is refused again after the first
        pause."""
        for gone in [one for one, known in self._known.items() if now >= known.until + FORGOTTEN]:
            self.granted(gone)
        former = self._known.get(namespace)
        pause = min(LONGEST_PAUSE, 2 * former.pause) if former else SHORTEST_PAUSE
        if former and now >= former.until and namespace not in self._told and len(self._told) < SHOWN:
            self._told.add(namespace)
            _log.warning("%s in namespace %s: %s", self._what, namespace, message)
        if former is None or now >= former.until:  # those that were under way together are one
            self._known[namespace] = _Refusal(pause, now + pause)

    def pause(self, namespace: str, now: float) -> float:
        """Seconds in which nothing is to be tried there; 0 if nothing is known against it."""
        known = self._known.get(namespace)
        return max(0.0, known.until - now) if known else 0.0

    def granted(self, namespace: str) -> None:
        """It worked there, or that is of no interest any more."""
        self._known.pop(namespace, None)
        self._told.discard(namespace)
