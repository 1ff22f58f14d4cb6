"""Workers that the tests of one module share, for those that look at one exchange each.

A module that uses them needs `pytestmark = pytest.mark.asyncio(loop_scope="module")`.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio

from ingressd.model import AccessLogFormat, WorkerSettings
from tests.kit import Upstream, Worker, always, ok, serving


@dataclass
class Proxy:
    """A worker that serves all of a.example from one upstream, which answers 200 with `ok`."""

    upstream: Upstream
    worker: Worker


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def module_proxy() -> AsyncIterator[Proxy]:
    async with Upstream(always(ok())) as upstream, Worker(serving(upstream)) as worker:
        yield Proxy(upstream, worker)


@pytest.fixture
def proxy(module_proxy: Proxy) -> Proxy:
    """The module's proxy, with no memory of requests before."""
    module_proxy.upstream.requests.clear()
    return module_proxy


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def module_worker() -> AsyncIterator[Worker]:
    async with Worker(settings=WorkerSettings(worker=0, workers=1, access_log=AccessLogFormat.JSON)) as worker:
        yield worker


@pytest.fixture
def worker(module_worker: Worker) -> Worker:
    """The module's worker: a test publishes what it needs and finds its line in the log (JSON) by its own target."""
    return module_worker
