"""The fixtures of these tests, and what they show when one fails. conftest.py imports them."""

import os
from collections.abc import AsyncIterator, Generator

import pytest
import pytest_asyncio

from tests.cluster.api import Api
from tests.cluster.apiserver import Cluster
from tests.cluster.assets import Assets, AssetsError, find
from tests.cluster.existing import choose


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def cluster() -> AsyncIterator[Cluster]:
    """One for all tests. It stays between them; what is in it is kept apart by namespaces."""
    async with choose(os.environ) as running:
        yield running


@pytest.fixture
def assets() -> Assets:
    """For tests that start a cluster of their own; skips them where there is nothing to start."""
    try:
        return find()
    except AssetsError as error:
        pytest.skip(str(error))


@pytest_asyncio.fixture
async def admin(cluster: Cluster) -> AsyncIterator[Api]:
    """An administrator, at home in a namespace of this test's own that is gone after it with all in it."""
    async with cluster.api() as api:
        made = await api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"generateName": "test-"}})
        api.namespace = made["metadata"]["name"]
        yield api
        await api.delete_namespace(api.namespace)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that failed shows what the API server and etcd logged."""
    report = yield
    running = getattr(item, "funcargs", {}).get("cluster")
    if report.failed and isinstance(running, Cluster):
        report.sections.append(("logs of the cluster", running.logs()))
    return report
