"""loadtest/soak.py, made short: it passes, and each thing that it is there to find makes it fail, in words."""

import contextlib
import os
import signal
from pathlib import Path

import pytest

from tests.loadtest.started import LOADTEST, Run, started

LEAK = Path(__file__).parent / "leak"
SHORT = "12"
KINDS = {"downloader", "idler", "leaver", "newcomer", "slow reader", "slow sender", "stayer", "uploader", "websocket"}
KINDS |= {"secure newcomer", "secure returner", "secure stayer"}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def soak(plot: Path, **environment: str) -> contextlib.AbstractAsyncContextManager[Run]:
    command = (str(LOADTEST / "soak.py"), "--seconds", SHORT, "--plot", str(plot))
    return started(*command, environment=environment)


async def test_traffic_of_all_kinds_goes_through_changes_of_all_kinds_and_nothing_grows(tmp_path: Path) -> None:
    async with soak(tmp_path / "plot.png") as run:
        assert await run.end() == 0, run.said
    done = {line.rsplit(maxsplit=4)[0].strip() for line in run.said.splitlines() if " done, 0 failed" in line}
    assert done >= KINDS
    assert int(run.said.partition("changes in force")[2].split()[0]) >= 3
    plotted = (tmp_path / "plot.png").exists()
    assert plotted or "matplotlib is not installed" in run.said


@pytest.mark.parametrize("what", ["memory", "descriptors"])
async def test_what_grows_is_named(what: str, tmp_path: Path) -> None:
    path = os.pathsep.join(filter(None, (str(LEAK), os.environ.get("PYTHONPATH"))))
    async with soak(tmp_path / "plot.png", PYTHONPATH=path, INGRESSD_LEAK=what) as run:
        assert await run.end() == 1, run.said
    wrong = [line for line in run.said.splitlines() if line.startswith("soak: ") and "grew from" in line]
    assert {line.partition(" grew ")[0] for line in wrong} == {f"soak: {what} worker 0", f"soak: {what} worker 1"}
    assert ("left without a client: descriptors of worker" in run.said) == (what == "descriptors")


async def test_a_worker_that_dies_and_the_requests_it_takes_along_are_told(tmp_path: Path) -> None:
    async with soak(tmp_path / "plot.png") as run:
        assert await run.until(" done, ")
        os.kill(run.left("ingressd.proxy")[0], signal.SIGKILL)
        assert await run.end() == 1, run.said
    assert "soak: a worker was replaced" in run.said
    assert "requests failed" in run.said
    assert "was killed by SIGKILL" in run.said


async def test_it_stops_all_when_it_is_stopped(tmp_path: Path) -> None:
    async with soak(tmp_path / "plot.png") as run:
        assert await run.until(" done, ")
        run.process.send_signal(signal.SIGTERM)
        assert await run.end() == 130, run.said
