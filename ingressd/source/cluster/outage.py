"""Says in the log that there is no news from the API server, and how old the state is that is served meanwhile."""

import logging
from collections.abc import Callable

REPEAT = 60.0
"""Seconds between two lines about one outage."""


class Outage:
    """Told by all who ask the API server. What is theirs and not said here is when to ask again."""

    def __init__(self, logger: logging.Logger, clock: Callable[[], float]) -> None:
        self._log = logger
        self._clock = clock
        self._lost: set[object] = set()
        """Who has no answer."""
        self._since = 0.0
        """When the last answer came to the one of them who has waited longest."""
        self._told = 0.0

    def lost(self, who: object, heard: float | None, reason: str) -> None:
        """`who` has no answer again. `heard` is when the last one came, None if there was none."""
        now = self._clock()
        since = now if heard is None else heard
        if not self._lost:
            self._since, self._told = since, now
            self._log.warning("no news from the API server, what is known stays in force: %s", reason)
        self._since = min(self._since, since)
        self._lost.add(who)
        if now - self._told >= REPEAT:
            self._told = now
            age = now - self._since
            self._log.warning("no news from the API server for %.0f s, what is served is that old: %s", age, reason)

    def found(self, who: object) -> None:
        """`who` has an answer."""
        if who in self._lost:
            self._lost.discard(who)
            if not self._lost:
                self._log.info("news from the API server again, after %.0f s", self._clock() - self._since)

    def forget(self, who: object) -> None:
        """`who` needs no answer any more."""
        self._lost.discard(who)
