"""Request series as a worker reports them."""

from array import array
from collections.abc import Sequence

from ingressd.link import BUCKETS


def values(sums: Sequence[float], buckets: Sequence[Sequence[int]]) -> bytes:
    """RequestSeries.values of these sums and counts."""
    rows = max(map(len, BUCKETS)) + 1
    columns = [(total, *counts, *[0] * (rows - len(counts))) for total, counts in zip(sums, buckets, strict=True)]
    return array("d", [number for row in zip(*columns, strict=True) for number in row]).tobytes()
