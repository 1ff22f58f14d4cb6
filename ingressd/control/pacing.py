"""How fast the controller may write, and where it may not. No IO; all `now` are seconds of a clock that never goes
back."""

import logging
from collections.abc import Hashable

PAUSE = 60.0
"""Seconds after which it is tried again whether a right is there. Roles change seldom, and by hand."""
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


class Refusals:
    """Namespaces in which a right is missing, so that nothing is tried there for a while, and the log says it once."""

    def __init__(self, what: str) -> None:
        """`what` cannot be done: `status of Ingresses is not written`."""
        self._what = what
        self._until: dict[Hashable, float] = {}

    def note(self, namespace: str, message: str, now: float) -> None:
        """The API server has refused; `message` is its sentence."""
        if namespace not in self._until and len(self._until) < SHOWN:
            _log.warning("%s in namespace %s: %s", self._what, namespace, message)
        self._until[namespace] = now + PAUSE

    def paused(self, namespace: str, now: float) -> bool:
        """Whether nothing is to be tried there."""
        return now < self._until.get(namespace, now)

    def granted(self, namespace: str) -> None:
        """It worked there."""
        self._until.pop(namespace, None)
