"""Bodies far larger than any buffer, both ways, in every framing, to a quick and to a slow receiver.

By loadtest/stream.py, which does the same with 10 GiB by default: through the controller and a worker as installed.
"""

import asyncio
import json
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "loadtest" / "stream.py"
FLAT = 32 << 20
"""Bytes by which a worker's resident memory may rise."""


@pytest.mark.alone
@pytest.mark.slow
@pytest.mark.parametrize(("gib", "slow"), [(1, "none"), (0.25, "8:20")], ids=["quick", "slow"])
async def test_memory_stays_flat(tmp_path: Path, gib: float, slow: str) -> None:
    figures = tmp_path / "figures.json"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, SCRIPT, "--gib", str(gib), "--slow", slow, "--json", figures),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
    assert process.returncode == 0, output.decode()
    transfers = json.loads(figures.read_text())
    kinds = {(transfer["direction"], transfer["framing"]) for transfer in transfers}
    assert kinds == {("up", "length"), ("up", "chunked"), *(("down", form) for form in ("length", "chunked", "close"))}
    for transfer in transfers:
        assert transfer["size"] == gib * (1 << 30)
        assert transfer["highest"] - transfer["idle"] <= FLAT
