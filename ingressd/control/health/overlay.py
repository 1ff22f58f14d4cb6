"""What translate wants + what checks have found -> what workers are told. Pure."""

from collections.abc import Mapping, Set
from typing import NamedTuple

import msgspec

from ingressd.model import Cluster, ClusterKey, Endpoint, HealthCheck, Snapshot

Unhealthy = Mapping[HealthCheck, Set[Endpoint]]
"""The endpoints that have failed a check."""

_NOBODY: frozenset[Endpoint] = frozenset()


class _Made(NamedTuple):
    """A cluster as workers get it, and what it was made of."""

    wanted: Cluster
    unhealthy: tuple[Endpoint, ...]
    cluster: Cluster


class Overlay:
    """Makes a cluster anew only where something of it is other than before, so that what is the same stays the same
    object and costs little to compare."""

    def __init__(self) -> None:
        self._made: dict[ClusterKey, _Made] = {}

    def apply(self, snapshot: Snapshot, unhealthy: Unhealthy) -> Snapshot:
        """The snapshot as workers get it: with the endpoints that are unhealthy, and without what is no business of
        theirs."""
        if not any(cluster.health is not None or cluster.terminating for cluster in snapshot.clusters):
            self._made = {}
            return snapshot
        made: dict[ClusterKey, _Made] = {}
        clusters = tuple(
            self._cluster(cluster, unhealthy, made) if cluster.health is not None or cluster.terminating else cluster
            for cluster in snapshot.clusters
        )
        self._made = made
        return msgspec.structs.replace(snapshot, clusters=clusters)

    def _cluster(
        self,
        cluster: Cluster,
        unhealthy: Unhealthy,
        made: dict[ClusterKey, _Made],
    ) -> Cluster:
        failed = unhealthy.get(cluster.health, _NOBODY) if cluster.health is not None else _NOBODY
        found = tuple(endpoint for endpoint in cluster.endpoints if endpoint in failed) if failed else ()
        known = self._made.get(cluster.key)
        if known is None or known.unhealthy != found or (known.wanted is not cluster and known.wanted != cluster):
            told = msgspec.structs.replace(cluster, health=None, terminating=(), unhealthy=found)
            known = _Made(cluster, found, told)
        made[cluster.key] = known
        return known.cluster
