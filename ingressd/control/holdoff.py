"""When to publish what has changed: at once after quiet, together while changes go on.

A single change waits for nothing. Of a storm, as when a Deployment is rolled out or a namespace is created, the first
change is published at once; the others are when QUIET seconds have passed without another one, or LONGEST seconds after
the oldest of them.
"""

import math

QUIET = 0.02
LONGEST = 0.2


class HoldOff:
    """All times are seconds of one clock that never goes back."""

    def __init__(self, quiet: float = QUIET, longest: float = LONGEST) -> None:
        self._quiet = quiet
        self._longest = longest
        self._oldest: float | None = None
        """When the oldest change was seen that is not published."""
        self._busy = -math.inf
        """When there was last a change, or something was published."""
        self._due = math.inf

    @property
    def oldest(self) -> float | None:
        """When the oldest change was seen that is not published; None if there is none."""
        return self._oldest

    @property
    def due(self) -> float:
        """When to publish; never (infinity) without a change."""
        return self._due

    def changed(self, seen: float) -> None:
        """Notes a change."""
        quiet = seen - self._busy >= self._quiet
        if self._oldest is None:
            self._oldest = seen
            self._due = seen if quiet else seen + self._quiet
        elif self._due > self._oldest:
            self._due = min(seen + self._quiet, self._oldest + self._longest)
        self._busy = max(self._busy, seen)

    def published(self, now: float) -> None:
        """Notes that all changes are published."""
        self._oldest = None
        self._due = math.inf
        self._busy = max(self._busy, now)
