"""That tests marked `alone` have no other beside them, and that all others do (conftest)."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

CONFTEST = Path(__file__).with_name("conftest.py")

# In two files, each of which a process of its own runs.
TESTS = """
import time
from pathlib import Path
import pytest

ME, OTHER = Path(__file__).parent / "me", Path(__file__).parent / "other"

def test_meets_one_of_the_other_file():
    deadline = time.monotonic() + 30
    ME.touch()
    while not OTHER.exists():
        assert time.monotonic() < deadline

@pytest.mark.alone
@pytest.mark.parametrize("number", range(5))
def test_is_alone(number):
    here = ME.with_name(ME.name + " is alone")
    here.touch()
    for _ in range(500):
        assert list(ME.parent.glob("* is alone")) == [here]
    here.unlink()
"""


def test_those_marked_alone_have_no_other_beside_them(tmp_path: Path) -> None:
    shutil.copy(CONFTEST, tmp_path)
    (tmp_path / "__init__.py").touch()
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n    alone: has the machine for itself\n")
    for me, other in (("a", "b"), ("b", "a")):
        (tmp_path / f"test_{me}.py").write_text(TESTS.replace('"me"', f'"{me}"').replace('"other"', f'"{other}"'))
    # This may be one of several processes itself.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    command = [sys.executable, "-m", "pytest", "-q", "-n", "2", "--dist", "loadfile", "-p", "no:cacheprovider", "-c"]
    ran = subprocess.run(
        [*command, "pytest.ini"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=100
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "12 passed" in ran.stdout
