"""The figures of a measurement: what one run gave, and medians and ratios of several. Pure functions."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple


class Load(NamedTuple):
    """What a load generator says of one run. Latencies in microseconds."""

    requests: int
    seconds: float
    errors: int
    p50: float
    p99: float
    p999: float


@dataclass(frozen=True, slots=True)
class Sample:
    """One run on one proxy. CPU time of all its processes and latencies in microseconds, memory in bytes."""

    user: float
    system: float
    cpu: float
    """User and system, per request."""
    requests_per_second: float
    p50: float
    p99: float
    p999: float
    memory: int
    errors: int


FIGURES = tuple(field.name for field in fields(Sample))


class Spread(NamedTuple):
    """Of one figure over all rounds."""

    median: float
    least: float
    greatest: float


def sample(load: Load, user: float, system: float, memory: int) -> Sample:
    """`user` and `system` are seconds of CPU time in the whole run. There must be requests."""
    scale = 1e6 / load.requests
    return Sample(
        user * scale,
        system * scale,
        (user + system) * scale,
        load.requests / load.seconds,
        load.p50,
        load.p99,
        load.p999,
        memory,
        load.errors,
    )


def spread(values: Sequence[float]) -> Spread:
    return Spread(statistics.median(values), min(values), max(values))


def ratios(own: Sequence[float], other: Sequence[float]) -> Spread:
    """Of the figures of each round: neighbours in time, so that what the machine did meanwhile touched both."""
    return spread([mine / theirs for mine, theirs in zip(own, other, strict=True)])


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of all values does not exceed; 0 if there are none."""
    if not ordered:
        return 0.0
    return ordered[max(0, math.ceil(len(ordered) * share) - 1)]


def turns(names: Sequence[str], number: int) -> list[str]:
    """The order in round `number`, from 0: A B B A, and over many rounds each first and last as often.

    Who comes after whom changes with the rounds, too.
    """
    shift = number // 2 % len(names)
    order = [*names[shift:], *names[:shift]]
    return order if number % 2 == 0 else order[::-1]
