"""How long to wait before something that failed is tried again."""

from collections.abc import Callable
from random import random


class Backoff:
    """Pauses of a series of failures: none, then `shortest` seconds, doubling up to `longest`. Of each a random part is
    waited, at least half of it, so that those who failed together do not come back together."""

    def __init__(self, shortest: float, longest: float, chance: Callable[[], float] = random) -> None:
        """`chance` gives numbers from 0 to 1."""
        self._shortest = shortest
        self._longest = longest
        self._chance = chance
        self.failures = 0

    def pause(self) -> float:
        """Notes a failure; gives the seconds to wait."""
        self.failures += 1
        if self.failures == 1:
            return 0.0
        whole = min(self._longest, self._shortest * 2.0 ** min(self.failures - 2, 32))
        return whole * (1 + self._chance()) / 2

    def reset(self) -> None:
        """It works: the next failure is the first of a new series."""
        self.failures = 0
