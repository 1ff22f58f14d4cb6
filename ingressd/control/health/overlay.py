"""What translate wants + what checks have found -> what workers are told. Pure."""

from collections.abc import Mapping, Set

import msgspec

from ingressd.model import Cluster, ClusterKey, Endpoint, HealthCheck, Snapshot

Unhealthy = Mapping[HealthCheck, Set[Endpoint]]
"""The endpoints that have failed a check."""

_NOBODY: frozenset[Endpoint] = frozenset()


class Overlay:
    """Makes a cluster anew only where something of it is other than before, so that what is the same stays the same
    object and costs little to compare."""

    def __init__(self) -> None:
        self._made: dict[ClusterKey, tuple[Cluster, tuple[Endpoint, ...], Cluster]] = {}
        """What each cluster was made of, and what was made."""

    def apply(self, snapshot: Snapshot, unhealthy: Unhealthy) -> Snapshot:
        """The snapshot as workers get it: with the endpoints that are unhealthy, and without what is no business of
        theirs."""
        if not any(cluster.health is not None or cluster.terminating for cluster in snapshot.clusters):
            self._made = {}
            return snapshot
        made: dict[ClusterKey, tuple[Cluster, tuple[Endpoint, ...], Cluster]] = {}
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
        made: dict[ClusterKey, tuple[Cluster, tuple[Endpoint, ...], Cluster]],
    ) -> Cluster:
        failed = unhealthy.get(cluster.health, _NOBODY) if cluster.health is not None else _NOBODY
        found = tuple(endpoint for endpoint in cluster.endpoints if endpoint in failed) if failed else ()
        known = self._made.get(cluster.key)
        if known is None or known[1] != found or (known[0] is not cluster and known[0] != cluster):
            known = (cluster, found, msgspec.structs.replace(cluster, health=None, terminating=(), unhealthy=found))
        made[cluster.key] = known
        return known[2]
