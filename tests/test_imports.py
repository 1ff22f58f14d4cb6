"""Every hot module can be the first to be imported: they need each other, and compiled ones in other ways."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import ingressd

ROOT = Path(ingressd.__file__).parent
HOT = sorted(
    ".".join(("ingressd", *path.relative_to(ROOT).with_suffix("").parts))
    for path in ROOT.rglob("*.pxd")
    if path.stem != "__init__"
)


@pytest.mark.parametrize("pure", ["", "1"], ids=["compiled", "interpreted"])
@pytest.mark.parametrize("module", HOT)
def test_first(module: str, pure: str) -> None:
    environment = {**os.environ, "INGRESSD_PURE": pure}
    done = subprocess.run([sys.executable, "-c", f"import {module}"], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
