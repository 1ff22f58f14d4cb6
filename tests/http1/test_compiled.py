"""The hot modules give the same results compiled and interpreted."""

import os
import subprocess
import sys
from pathlib import Path

from tests.http1.transcript import HOT

ROOT = Path(__file__).parents[2]
DAMAGED = 6000


def _transcript(pure: bool) -> tuple[list[str], list[str]]:
    """The names of the modules that were compiled, and what was read."""
    environment = dict(os.environ, INGRESSD_PURE="1" if pure else "")
    command = [sys.executable, "-m", "tests.http1.transcript", str(DAMAGED)]
    answer = subprocess.run(command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    first, *lines = answer.stdout.splitlines()
    return first.split(), lines


def test_compiled_and_interpreted_modules_agree() -> None:
    """Without a C compiler there is nothing to compare; who means that says so with INGRESSD_PURE=1."""
    compiled, found = _transcript(pure=False)
    interpreted, expected = _transcript(pure=True)
    assert interpreted == []
    assert compiled == list(HOT) or os.environ.get("INGRESSD_PURE")
    assert len(found) > DAMAGED
    assert found == expected
