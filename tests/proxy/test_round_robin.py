"""Endpoints take turns, across all connections of a worker."""

from collections import Counter
from contextlib import AsyncExitStack

import msgspec
import pytest

from ingressd.model import Snapshot
from tests.kit import Client, Upstream, Worker, cluster, each, get, ok, serving, virtual_host
from tests.kit.worker import SETTINGS


async def three(stack: AsyncExitStack) -> list[Upstream]:
    """Three upstreams in the order of their endpoints, which answer with their place in it."""
    upstreams = [await stack.enter_async_context(Upstream(each(lambda message: ok()))) for _ in range(3)]
    upstreams.sort(key=lambda upstream: upstream.endpoint)
    for number, upstream in enumerate(upstreams):
        upstream.script = each(lambda message, number=number: ok(b"%d" % number))  # type: ignore[misc]
    return upstreams


async def order(client: Client, count: int) -> str:
    """Who answers so many requests one after another."""
    return "".join([(await client.ask(get())).body.decode() for _ in range(count)])


async def test_600_requests_on_one_connection_to_3_endpoints_give_each_200() -> None:
    async with AsyncExitStack() as stack:
        upstreams = await three(stack)
        async with Worker(serving(*upstreams)) as worker, Client(worker.port) as client:
            for _ in range(6):
                await client.send(get() * 100)
                for _ in range(100):
                    assert (await client.response()).status == 200
            assert [len(upstream.requests) for upstream in upstreams] == [200, 200, 200]
            assert [len(upstream.connections) for upstream in upstreams] == [1, 1, 1]


async def test_connections_share_one_round() -> None:
    async with AsyncExitStack() as stack:
        upstreams = await three(stack)
        async with Worker(serving(*upstreams)) as worker:
            answers = []
            for _ in range(30):
                async with Client(worker.port) as client:
                    answers.append((await client.ask(get())).body)
            assert Counter(answers) == {b"0": 10, b"1": 10, b"2": 10}


@pytest.mark.parametrize("number", [0, 1, 2, 4])
async def test_workers_start_at_different_endpoints(number: int) -> None:
    settings = msgspec.structs.replace(SETTINGS, worker=number, workers=8)
    async with AsyncExitStack() as stack:
        upstreams = await three(stack)
        async with Worker(serving(*upstreams), settings=settings) as worker, Client(worker.port) as client:
            start = number % 3
            assert await order(client, 4) == ("012012"[start:] + "012")[:4]


async def test_the_round_goes_on_where_it_was_when_endpoints_change() -> None:
    async with AsyncExitStack() as stack:
        zero, one, two = await three(stack)
        async with Worker(serving(zero, one, two)) as worker, Client(worker.port) as client:
            assert await order(client, 4) == "0120"
            await worker.publish(serving(zero, two))
            assert await order(client, 3) == "202"
            await worker.publish(serving(zero, one, two))
            assert await order(client, 4) == "0120"
            # The one whose turn it was last goes away.
            await worker.publish(serving(one, two))
            assert await order(client, 3) == "121"
            await worker.publish(serving())
            assert (await client.ask(get())).status == 503
            await worker.publish(serving(zero, one, two))
            assert await order(client, 3) == "201"


async def test_an_update_of_something_else_leaves_the_round_alone() -> None:
    async with AsyncExitStack() as stack:
        upstreams = await three(stack)
        state = serving(*upstreams)
        async with Worker(state) as worker, Client(worker.port) as client:
            assert await order(client, 2) == "01"
            other = cluster("other", upstreams[0])
            hosts = (*state.virtual_hosts, virtual_host("b.example", "/", other))
            await worker.publish(Snapshot(hosts, (other, *state.clusters)))
            assert await order(client, 2) == "20"


async def test_each_cluster_has_a_round_of_its_own() -> None:
    async with AsyncExitStack() as stack:
        upstreams = await three(stack)
        clusters = (cluster("a", *upstreams), cluster("b", *upstreams))
        hosts = tuple(virtual_host(f"{each.key.service}.example", "/", each) for each in clusters)
        async with Worker(Snapshot(hosts, clusters)) as worker, Client(worker.port) as client:
            answers = [(await client.ask(get(host=f"{name}.example"))).body for name in "aabab"]
            assert answers == [b"0", b"1", b"0", b"2", b"1"]
