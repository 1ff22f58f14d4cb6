"""Follows a DirectorySource while a test edits files."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

from ingressd.model import Problem
from ingressd.resources import ConfigMap
from ingressd.source.base import Changes
from ingressd.source.directory import DirectorySource
from ingressd.source.directory_watch import DirectoryWatch

DEADLINE = 30.0
"""Seconds; a test that passes needs a small part of it."""


class Watched:
    """Follows a source: the value of `key` in each ConfigMap, the problems now, all that ever happened."""

    def __init__(self, source: DirectorySource) -> None:
        self.source = source
        self.values: dict[str, str] = {}
        self.problems: tuple[Problem, ...] = ()
        self.history: list[Changes] = []
        self.removed: list[str] = []
        self.seen = asyncio.Event()

    def apply(self, changes: Changes) -> None:
        self.history.append(changes)
        for resource in changes.upserts:
            assert isinstance(resource, ConfigMap)
            self.values[resource.name] = resource.data.get("key", "")
        for gone in changes.removals:
            del self.values[gone.name]
            self.removed.append(gone.name)
        self.problems = changes.problems
        self.seen.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE):
            while not condition():
                self.seen.clear()
                await self.seen.wait()

    async def until_values(self, **values: str) -> None:
        await self.until(lambda: self.values == values)


@asynccontextmanager
async def watching(*paths: str | Path) -> AsyncIterator[Watched]:
    source = DirectorySource([str(path) for path in paths])
    watched = Watched(source)
    watched.apply(source.load())
    looked = asyncio.Event()
    wait = source._reason_to_look

    async def follow() -> None:
        async with aclosing(source.watch()) as stream:
            async for changes in stream:
                watched.apply(changes)

    async def reason_to_look(watch: DirectoryWatch) -> set[str]:
        looked.set()
        return await wait(watch)

    source._reason_to_look = reason_to_look  # type: ignore[method-assign]
    task = asyncio.create_task(follow())
    try:
        async with asyncio.timeout(DEADLINE):
            await looked.wait()
        yield watched
    finally:
        task.cancel()
        await asyncio.wait([task])
    assert task.cancelled()


def write_and_rename(path: Path, text: str) -> None:
    new = path.with_name("4913")
    new.write_text(text)
    new.rename(path)
