"""Notices that something happens in directories (inotify, by way of watchfiles)."""

import asyncio
import contextlib
import logging
from collections.abc import Mapping

from watchfiles import awatch

from ingressd.aio import spawn
from ingressd.source.scan import Identity

STEP_MS = 10
"""How often watchfiles looks for events, and how long it has to stay quiet before it tells them: an edit is told 10 to
20 ms after it, in one piece with others of the same burst. 10 costs 0.5% of a CPU, 5 costs 0.9%."""
BURST_MS = 50
"""After which it tells what it has although there is no quiet."""

logging.getLogger("watchfiles.main").setLevel(logging.WARNING)  # it tells of each event at level INFO


class DirectoryWatch:
    """`error` is set if a directory is gone or the system refuses (out of inotify watches): then nothing is told."""

    def __init__(self, directories: Mapping[str, Identity]) -> None:
        self.directories = directories
        self.error: Exception | None = None
        self._touched: set[str] = set()
        self._woken = asyncio.Event()
        self._stop = asyncio.Event()
        self._task = spawn(self._listen(), "listen for edits of manifests")

    async def started(self) -> None:
        """When this returns, what happens in the directories will be told, or `error` is set."""
        await asyncio.sleep(0)  # the task's first step opens them

    async def touched(self, seconds: float) -> set[str]:
        """The paths where something happened since the last call; empty if nothing does for this long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        touched, self._touched = self._touched, set()
        self._woken.clear()
        return touched

    async def close(self) -> None:
        self._stop.set()
        await self._task

    async def _listen(self) -> None:
        try:
            events = awatch(
                *self.directories,
                watch_filter=None,
                step=STEP_MS,
                debounce=BURST_MS,
                recursive=False,
                ignore_permission_denied=True,
                stop_event=self._stop,
            )
            async for batch in events:
                self._touched.update(path for _, path in batch)
                self._woken.set()
        except (OSError, RuntimeError) as error:  # watchfiles has a RuntimeError of its own for the unexpected
            self.error = error
            self._woken.set()
