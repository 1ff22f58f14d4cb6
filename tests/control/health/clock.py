"""A clock for checks that only tests move."""

import asyncio
import heapq
from collections.abc import Callable
from itertools import count
from typing import Any


class Handle:
    """As asyncio.TimerHandle, as far as checks need it."""

    def __init__(self) -> None:
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Clock:
    """`later` in the place of loop.call_later."""

    def __init__(self) -> None:
        self.now = 0.0
        self._order = count()
        self._timers: list[tuple[float, int, Handle, Callable[..., object], tuple[Any, ...]]] = []

    def later(self, delay: float, call: Callable[..., object], *arguments: Any) -> Any:
        handle = Handle()
        heapq.heappush(self._timers, (self.now + delay, next(self._order), handle, call, arguments))
        return handle

    @property
    def pending(self) -> int:
        """How many timers run."""
        return sum(not handle.cancelled for _, _, handle, _, _ in self._timers)

    async def advance(self, seconds: float) -> None:
        """Lets time pass; whatever is due happens at its time, with all that follows from it at once."""
        end = self.now + seconds
        while self._timers and self._timers[0][0] <= end:
            self.now, _, handle, call, arguments = heapq.heappop(self._timers)
            if not handle.cancelled:
                call(*arguments)
                await settled()
        self.now = end


async def settled() -> None:
    """Lets tasks run that wait for nothing outside."""
    for _ in range(5):
        await asyncio.sleep(0)
