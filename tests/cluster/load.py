"""Requests without a pause, and what became of them."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ingressd.aio import spawn
from tests.kit import Client, eventually, get

CLIENTS = 4


class Load:
    """Counts answers by name of the pod, and all else as failures."""

    def __init__(self, port: int, host: str) -> None:
        self.answers: Counter[str] = Counter()
        self.failures: list[str] = []
        self._port = port
        self._request = get(host=host)
        self._ending = False

    @property
    def total(self) -> int:
        return self.answers.total() + len(self.failures)

    async def more(self, number: int = 100) -> None:
        """Waits until so many more requests have been answered."""
        wanted = self.total + number
        await eventually(lambda: self.total >= wanted, f"{number} more answers")

    async def met(self, name: str) -> None:
        """Waits until a pod has answered."""
        await eventually(lambda: self.answers[name], f"{name} is asked; so far {self.answers}")

    def none_failed(self) -> None:
        assert not self.failures, f"{len(self.failures)} of {self.total}: {self.failures[:5]}"

    async def run(self) -> None:
        """One client, which keeps its connection open, until the end."""
        while not self._ending:
            try:
                async with Client(self._port) as client:
                    while not self._ending:
                        answer = await client.ask(self._request)
                        if answer.status == 200:
                            self.answers[answer.body.decode().strip()] += 1
                        else:
                            self.failures.append(answer.raw.decode(errors="replace"))
            except (OSError, AssertionError) as error:
                self.failures.append(f"{type(error).__name__}: {error}")

    def end(self) -> None:
        """Lets exchanges under way finish."""
        self._ending = True


@asynccontextmanager
async def loading(port: int, host: str) -> AsyncIterator[Load]:
    """Load within the block, which asserts that no request failed."""
    load = Load(port, host)
    tasks = [spawn(load.run(), "load") for _ in range(CLIENTS)]
    try:
        await load.more(CLIENTS)
        yield load
    finally:
        load.end()
        await asyncio.gather(*tasks)
    load.none_failed()
