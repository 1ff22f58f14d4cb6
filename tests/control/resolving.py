"""A Resolver whose pauses end when the test says so."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from ingressd.control.dns import Resolver

DEADLINE = 30.0
"""Seconds; a test that passes needs a small part of it."""


class Watch:
    """A resolver, what it has reported, and its pauses."""

    def __init__(self) -> None:
        self.changes = 0
        self.pauses: list[float] = []
        self._moved = asyncio.Event()
        self._sleepers: list[asyncio.Future[None]] = []

    def on_change(self) -> None:
        self.changes += 1
        self._moved.set()

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self._moved.set()
        sleeper = asyncio.get_running_loop().create_future()
        self._sleepers.append(sleeper)
        await sleeper

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE):
            while not condition():
                self._moved.clear()
                await self._moved.wait()

    async def until_paused(self, times: int) -> None:
        """Until so many look-ups have ended, of all names together."""
        await self.until(lambda: len(self.pauses) >= times)

    async def next_round(self) -> None:
        """Ends the pauses that are on and waits for as many new ones."""
        sleepers = [sleeper for sleeper in self._sleepers if not sleeper.done()]
        self._sleepers.clear()
        for sleeper in sleepers:
            sleeper.set_result(None)
        await self.until_paused(len(self.pauses) + len(sleepers))


@asynccontextmanager
async def resolving(*names: str, **options: object) -> AsyncIterator[tuple[Resolver, Watch]]:
    watch = Watch()
    resolver = Resolver(watch.on_change, sleep=watch.sleep, **{"lifetime": 0.2, **options})  # type: ignore[arg-type]
    resolver.set_names(names)
    try:
        await watch.until_paused(len(names))
        yield resolver, watch
    finally:
        await resolver.close()
