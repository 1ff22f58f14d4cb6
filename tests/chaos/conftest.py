"""Nothing in this folder is collected unless INGRESSD_CHAOS_TESTS is set, as `make test-chaos` does: it needs root, and
minutes of both cores."""

import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

if os.environ.get("INGRESSD_CHAOS_TESTS"):
    from tests.chaos.table import Table
    from tests.chaos.world import World
    from tests.netlab.fixtures import lab as lab
    from tests.netlab.fixtures import session_lab as session_lab
    from tests.netlab.lab import Lab, why_not

    def pytest_sessionstart() -> None:
        if reason := why_not() or ("" if shutil.which("nft") else "there is no `nft` in PATH: install nftables"):
            pytest.exit(f"the tests in tests/chaos cannot run here: {reason}", returncode=1)

    @pytest.fixture(scope="session")
    def table() -> Table:
        """Of all tests of a run."""
        return _TABLE

    @pytest.fixture
    async def world(lab: Lab, tmp_path: Path) -> AsyncIterator[World]:
        """Without pods, and with ingressd not started yet."""
        async with World(lab, tmp_path) as world:
            yield world

    _TABLE = Table()

    def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
        if not _TABLE.rows:
            return
        terminalreporter.write_line("")
        terminalreporter.write_line(_TABLE.text())
        partial = {"failed", "error", "deselected"} & terminalreporter.stats.keys()
        if (page := os.environ.get("INGRESSD_CHAOS_PAGE")) and not partial:
            _TABLE.write(Path(page))
            terminalreporter.write_line(f"written to {page}")
else:
    collect_ignore_glob = ["test_*.py"]
