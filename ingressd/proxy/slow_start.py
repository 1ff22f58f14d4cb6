"""Slow start: an endpoint that is new or back gets its share of requests step by step.

The round that a cluster goes through is worked out anew at each step and not at each request: it goes over the
endpoints STEPS times, and an endpoint at step 3 has its turn in 3 of them. So picking costs what it always does.
"""

from collections.abc import Mapping, Sequence
from typing import TypeVar

T = TypeVar("T")

STEPS = 10
"""The first share is a tenth, as Envoy's min_weight_percent."""


def step(elapsed: float, window: float) -> int:
    """How many of STEPS turns an endpoint gets `elapsed` seconds after its return; the ramp is linear, as in HAProxy
    and NGINX Plus."""
    return min(STEPS, max(1, int(elapsed / window * STEPS) + 1))


def turns(endpoints: Sequence[T], steps: Mapping[T, int]) -> list[list[T]]:
    """The rounds, in each of which an endpoint has at most one turn, those of one endpoint evenly spread; empty ones
    are left out. Endpoints that are not in `steps` have a turn in each."""
    rounds = [
        [
            endpoint
            for endpoint in endpoints
            if (turn + 1) * steps.get(endpoint, STEPS) // STEPS > turn * steps.get(endpoint, STEPS) // STEPS
        ]
        for turn in range(STEPS)
    ]
    return [each for each in rounds if each]
