"""Results of checks -> whether an endpoint is healthy, and when to ask again. No clock, no IO."""

from ingressd.model import HealthCheck

JITTER = 0.1
"""Of the interval, so that checks that began together do not stay together."""


class Standing:
    """Of one endpoint by one check. It is healthy at first: EndpointSlices say that it is ready, and a new controller
    must not take all endpoints out before it knows better. (HAProxy does so too; Envoy waits for the first check, since
    it does not know of readiness.)"""

    __slots__ = ("_check", "_in_a_row", "asked", "healthy")

    def __init__(self, check: HealthCheck, healthy: bool = True) -> None:
        self._check = check
        self._in_a_row = 0
        """Results that speak against the present state."""
        self.healthy = healthy
        self.asked = False
        """Whether there was a result at all."""

    def note(self, passed: bool) -> bool:
        """Takes a result. True if the state is another one now."""
        self.asked = True
        if passed == self.healthy:
            self._in_a_row = 0
            return False
        self._in_a_row += 1
        needed = self._check.unhealthy_threshold if self.healthy else self._check.healthy_threshold
        if self._in_a_row < needed:
            return False
        self.healthy = passed
        self._in_a_row = 0
        return True


def first_pause(check: HealthCheck, chance: float) -> float:
    """Seconds before the first check: anything up to the interval. `chance` is from 0 to 1."""
    return check.interval * chance


def next_pause(check: HealthCheck, took: float, chance: float) -> float:
    """Seconds between the end of a check that took so long and the next one; from beginning to beginning it is the
    interval, give or take JITTER. At least a tenth of the interval, for an endpoint that is slow to answer."""
    return max(check.interval * (1 + JITTER * (2 * chance - 1)) - took, check.interval / 10)
