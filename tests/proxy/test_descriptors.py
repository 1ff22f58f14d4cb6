"""A worker promises no more connections than it has file descriptors for."""

import contextlib

import pytest

from ingressd.model import Limits
from ingressd.proxy.descriptors import OWN, fitting
from tests.kit import Client, Upstream, Worker, always, get, ok, serving

FEW = 256


@pytest.mark.parametrize("descriptors", [1, 50, 64, 256, 1024, 20_000, 50_000, 1_000_000])
def test_what_is_promised_can_be_kept(descriptors: int) -> None:
    limits = fitting(Limits(), descriptors)
    needed = 2 * limits.connections + limits.upstream_idle + limits.refusals
    assert limits.connections >= 1
    assert needed <= max(descriptors - OWN, 8)
    assert (limits == Limits()) == (descriptors >= 2 * 16384 + 320 + 256 + OWN)


async def test_a_worker_with_few_descriptors_refuses_the_excess_and_recovers() -> None:
    command = ["prlimit", f"--nofile={FEW}:{FEW}"]
    async with (
        Upstream(always(ok())) as upstream,
        Worker(serving(upstream), before=command, may_complain=True) as worker,
    ):
        limit = fitting(Limits(), FEW).connections
        await worker.reported(lambda: worker.gauge("downstream_connections_limit") == limit, "the limit is reported")
        for turn in (1, 2):
            async with contextlib.AsyncExitStack() as stack:
                clients = [await stack.enter_async_context(Client(worker.port)) for _ in range(limit + FEW)]
                answers = []
                for client in clients:
                    with contextlib.suppress(ConnectionError):
                        answers.append((await client.ask(get("/"))).status)
                assert answers.count(200) == limit
                assert answers.count(503) > 0
            refused = turn * FEW
            await worker.reported(
                lambda refused=refused: (  # type: ignore[misc]
                    worker.counter("downstream_connections_refused") == refused
                    and worker.gauge("downstream_connections_open", "idle") == 0
                ),
                "all have gone, and those refused are counted",
            )
        assert worker.counter("upstream_connect_failures") == 0
        assert "ulimit -n" in worker.stderr()
