"""Thousands of exchanges that go by a plan (`planned`), with faults on both sides, are checked against it."""

from pathlib import Path

import pytest

from tests.faults.left import Left, counted_objects
from tests.faults.planned import FAULTS, IDEMPOTENT, Upstreams, carry_out, plan
from tests.kit import Upstream, Worker, serving

EXCHANGES = 4000


@pytest.mark.alone
@pytest.mark.slow
async def test_thousands_of_exchanges_go_by_their_plan(tmp_path: Path) -> None:
    """And what is not idempotent is carried out once at most."""
    plans = [plan(number) for number in range(EXCHANGES)]
    upstreams = Upstreams(plans)
    with counted_objects(tmp_path):
        upstream = Upstream(upstreams.script)
        async with Worker(serving(upstream)) as worker:
            left = await Left.baseline(worker)
            async with upstream:
                outcome = await carry_out(worker, plans)
            await left.no_connection()
    for exchange in plans:
        assert exchange.answers <= (3 if exchange.method in IDEMPOTENT else 1), exchange
    assert outcome["answered"] > EXCHANGES / 2, outcome
    assert min(outcome["cut"], outcome["502"], outcome["client left"]) > 50, outcome
    assert set(upstreams.seen) == {"well", *FAULTS} - {"answer before the body"}, upstreams.seen
