"""Slow start through a real worker: the shares of the first of many steps."""

import msgspec

from ingressd.model import Snapshot
from tests.kit import Client, Upstream, Worker, always, get, ok, serving
from tests.proxy.test_ejection import gateway_error

LONG = 36_000.0
"""Seconds, so that the first step lasts an hour."""


def slowly(*upstreams: Upstream, unhealthy: Upstream | None = None) -> Snapshot:
    state = serving(*upstreams)
    (web,) = state.clusters
    ill = (unhealthy.endpoint,) if unhealthy is not None else ()
    return msgspec.structs.replace(state, clusters=(msgspec.structs.replace(web, slow_start=LONG, unhealthy=ill),))


async def ask(worker: Worker, count: int) -> None:
    async with Client(worker.port) as client:
        for _ in range(count):
            assert (await client.ask(get())).status == 200


async def test_an_endpoint_that_is_new_gets_a_tenth_of_its_share() -> None:
    async with (
        Upstream(always(ok())) as one,
        Upstream(always(ok())) as two,
        Upstream(always(ok())) as new,
        Worker(slowly(one, two)) as worker,
    ):
        await ask(worker, 20)
        assert (len(one.requests), len(two.requests)) == (10, 10), "nobody is new in a new worker"
        await worker.publish(slowly(one, two, new))
        await ask(worker, 210)
        assert (len(one.requests), len(two.requests), len(new.requests)) == (110, 110, 10)


async def test_so_does_one_that_is_healthy_again() -> None:
    async with (
        Upstream(always(ok())) as one,
        Upstream(always(ok())) as two,
        Worker(slowly(one, two, unhealthy=two)) as worker,
    ):
        await ask(worker, 10)
        await worker.publish(slowly(one, two))
        await ask(worker, 110)
        assert (len(one.requests), len(two.requests)) == (110, 10)


async def test_a_slow_start_does_not_delay_the_judgement_of_an_endpoint() -> None:
    async with (
        Upstream(always(ok())) as one,
        Upstream(always(gateway_error(503))) as new,
        Worker(slowly(one)) as worker,
    ):
        await worker.publish(slowly(one, new))
        async with Client(worker.port) as client:
            found = [(await client.ask(get())).status for _ in range(11 * 6)]
        assert found.count(503) == 5
