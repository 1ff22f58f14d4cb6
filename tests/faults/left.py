"""What a worker still holds: connections by its own gauges, file descriptors, and objects by their number."""

import contextlib
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.kit import Worker, eventually

CENSUS = Path(__file__).parent / "census"
TRANSIENT = ("Downstream", "Upstream", "Exchange")


@contextlib.contextmanager
def counted_objects(folder: Path) -> Iterator[None]:
    """Workers started meanwhile can count their own objects (see census/sitecustomize.py)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(CENSUS), prepend=os.pathsep)
        patch.setenv("INGRESSD_CENSUS", str(folder / "census"))
        yield


class Left:
    """Compares a worker with itself as it was when this was made by `baseline`: idle, without a connection."""

    def __init__(self, worker: Worker, descriptors: int, tasks: int) -> None:
        self._worker = worker
        self._descriptors = descriptors
        self._tasks = tasks

    @classmethod
    async def baseline(cls, worker: Worker) -> "Left":
        """Takes the measure of an idle worker."""
        counts = await census(worker)
        return cls(worker, worker.descriptors(), counts["tasks"])

    async def nothing(self, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Waits until no connection's file descriptor is left, and then no object or task of one either. `meanwhile` is
        called again and again."""

        def closed() -> bool:
            meanwhile()
            return self._worker.descriptors() <= self._descriptors

        await eventually(closed, "all descriptors closed", explain=self._open)
        counts: dict[str, int] = {}
        for _ in range(50):
            # The descriptor is closed an instant before its object goes.
            counts = await census(self._worker)
            if counts["tasks"] <= self._tasks and not any(counts.get(kind) for kind in TRANSIENT):
                return
        raise AssertionError(f"left behind: {counts}; tasks at first: {self._tasks}")

    async def no_connection(self) -> None:
        """`nothing`, and a report that says so."""
        await self.nothing()
        seen = len(self._worker.reports)
        await self._worker.reported(lambda: len(self._worker.reports) > seen, "another report")
        assert connections(self._worker) == 0

    def _open(self) -> str:
        folder = f"/proc/{self._worker.pid}/fd"
        return f"{self._descriptors} at first, now {[os.readlink(f'{folder}/{fd}') for fd in os.listdir(folder)]}"


def connections(worker: Worker) -> float:
    """How many connections there are on both sides, by the last report."""
    down = sum(worker.gauge("downstream_connections_open", state) for state in ("idle", "active", "tunnel"))
    return down + sum(worker.gauge("upstream_connections_open", state) for state in ("idle", "active"))


async def census(worker: Worker) -> dict[str, int]:
    """How many objects of each class of the data plane the worker has, and `tasks`."""
    path = os.environ["INGRESSD_CENSUS"]
    os.kill(worker.pid, signal.SIGUSR2)
    await eventually(lambda: os.path.exists(path), "the worker has counted its objects")
    return _take(path)


def _take(path: str) -> dict[str, int]:
    with open(path) as file:
        counts: dict[str, int] = json.load(file)
    os.unlink(path)
    return counts
