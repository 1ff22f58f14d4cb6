"""The lab of a test run. A conftest.py imports the fixtures."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.netlab.lab import Lab, why_not


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def session_lab() -> AsyncIterator[Lab]:
    """One for all tests: as long as it is there, nothing sent to its addresses leaves this machine."""
    if reason := why_not():
        pytest.skip(reason)
    async with Lab() as lab:
        yield lab


@pytest_asyncio.fixture
async def lab(session_lab: Lab) -> AsyncIterator[Lab]:
    """A lab without pods; those of this test are gone after it. Skips the test where there can be none."""
    yield session_lab
    for pod in list(session_lab.pods):
        await pod.remove()
