"""Scripts of loadtest/ as processes, and all the processes that come of them."""

import asyncio
import contextlib
import os
import signal
import sys
import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.kit import eventually

LOADTEST = Path(__file__).parents[2] / "loadtest"
MARK = "INGRESSD_TEST_MARK"
"""In the environment of all that a test starts, so that what is left over can be found."""


@dataclass
class Run:
    """A process and what it said."""

    process: asyncio.subprocess.Process
    mark: str
    said: str = ""

    async def until(self, text: str) -> bool:
        """Reads what it says up to the line with `text`. Whether there is one."""
        assert self.process.stdout is not None
        while line := (await self.process.stdout.readline()).decode():
            self.said += line
            if text in line:
                return True
        return False

    async def end(self) -> int:
        """Waits for its end. Gives its exit code, and asserts that it left no process behind."""
        out, _ = await self.process.communicate()
        self.said += out.decode()
        await eventually(lambda: not self.left(), "no process is left", explain=lambda: f"{self.left()} {self.said}")
        assert self.process.returncode is not None
        return self.process.returncode

    def left(self, command: str = "") -> list[int]:
        """The processes that carry its mark and have `command` in their command line."""
        found = (path.parent for path in Path("/proc").glob("[0-9]*/environ") if self._has_mark(path))
        return [int(folder.name) for folder in found if command in _read(folder / "cmdline").decode()]

    def _has_mark(self, environment: Path) -> bool:
        return self.mark.encode() in _read(environment)


def _read(file: Path) -> bytes:
    """What a file in /proc says; nothing once the process has gone."""
    try:
        return file.read_bytes()
    except OSError:
        return b""


@contextlib.asynccontextmanager
async def started(*command: str, environment: Mapping[str, str] | None = None) -> AsyncIterator[Run]:
    """A script of Python while it runs. Afterwards nothing is left of it, whatever it did."""
    mark = str(uuid.uuid4())
    run = Run(
        await asyncio.create_subprocess_exec(
            sys.executable,
            *command,
            env={**os.environ, **(environment or {}), MARK: mark},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        ),
        mark,
    )
    try:
        yield run
    finally:
        for pid in run.left():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await run.process.wait()
