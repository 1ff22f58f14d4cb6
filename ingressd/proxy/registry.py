"""Clusters and endpoints as a worker keeps them: what must outlive an update.

An endpoint is known by its address, whatever clusters it is in; its idle connections stay as long as any cluster names
it. A cluster keeps its place in the round while its endpoints come and go. Nothing here does IO: what has to be closed
is returned.
"""

from bisect import bisect_right
from collections.abc import Iterable
from typing import TYPE_CHECKING

from ingressd.model import Cluster, ClusterKey, Endpoint, Update

if TYPE_CHECKING:
    from ingressd.proxy.upstream import Upstream


class EndpointState:
    """One address."""

    __slots__ = ("endpoint", "idle", "references", "text")

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.text = str(endpoint).encode()
        """As the access log names it."""
        self.idle: list[Upstream] = []
        """Connections that wait for a request, the last one used on top."""
        self.references = 0
        """How many clusters it is in; at 0 it is gone and its connections are not kept."""

    def __repr__(self) -> str:
        return f"<EndpointState {self.endpoint} idle={len(self.idle)} references={self.references}>"


class ClusterState:
    """The endpoints of one cluster and whose turn it is."""

    __slots__ = ("_again", "_next", "_offset", "_picked", "endpoints")

    def __init__(self, offset: int) -> None:
        self.endpoints: list[EndpointState] = []
        """Sorted by address."""
        self._offset = offset
        self._next = 0
        self._again = 0
        self._picked: EndpointState | None = None

    def replace(self, endpoints: list[EndpointState]) -> None:
        """Takes new endpoints (sorted). The round goes on behind the one picked last, even if that one is gone."""
        self.endpoints = endpoints
        if self._picked is not None:
            self._next = bisect_right(endpoints, self._picked.endpoint, key=lambda state: state.endpoint)
        elif endpoints:
            self._next = self._offset % len(endpoints)

    def pick(self) -> EndpointState | None:
        """The next endpoint in turn; None if there is none."""
        turn = self._next
        if turn >= len(self.endpoints):
            if not self.endpoints:
                return None
            turn = 0
        self._next = turn + 1
        self._picked = self.endpoints[turn]
        return self._picked

    def pick_again(self, last: EndpointState, unreachable: list[EndpointState]) -> EndpointState | None:
        """The endpoint for a further try: not one of `unreachable`, and another than `last` if there is one.

        A round of its own. If further tries used up turns, the requests of two endpoints would all begin with the same
        one, even one that is dead.
        """
        count = len(self.endpoints)
        only = None
        for _ in range(count):
            turn = self._again
            if turn >= count:
                turn = 0
            self._again = turn + 1
            state = self.endpoints[turn]
            if state not in unreachable:
                if state is not last:
                    return state
                only = state
        return only


class Registry:
    """All clusters and endpoints of a worker. `worker` makes the rounds of workers start at different endpoints."""

    __slots__ = ("_worker", "clusters", "endpoints")

    def __init__(self, worker: int) -> None:
        self.clusters: dict[ClusterKey, ClusterState] = {}
        self.endpoints: dict[Endpoint, EndpointState] = {}
        self._worker = worker

    def apply(self, update: Update) -> "list[Upstream]":
        """Follows an update. Returns the idle connections to endpoints that are in no cluster any more."""
        removed: Iterable[ClusterKey] = update.removed_clusters
        if update.full:
            named = {cluster.key for cluster in update.clusters}
            removed = [key for key in self.clusters if key not in named]
        gone: list[EndpointState] = []
        for cluster in update.clusters:
            self._replace(cluster, gone)
        for key in removed:
            state = self.clusters.pop(key, None)
            if state is not None:
                self._release(state.endpoints, gone)
        surplus: list[Upstream] = []
        for endpoint in gone:
            # One cluster may have let go of what another took up in the same update.
            if endpoint.references == 0 and self.endpoints.pop(endpoint.endpoint, None) is not None:
                surplus += endpoint.idle
        return surplus

    def _replace(self, cluster: Cluster, gone: list[EndpointState]) -> None:
        state = self.clusters.get(cluster.key)
        if state is None:
            state = self.clusters[cluster.key] = ClusterState(self._worker)
        before = state.endpoints
        after = []
        for endpoint in sorted(cluster.endpoints):
            known = self.endpoints.get(endpoint)
            if known is None:
                known = self.endpoints[endpoint] = EndpointState(endpoint)
            known.references += 1
            after.append(known)
        state.replace(after)
        self._release(before, gone)

    def _release(self, endpoints: list[EndpointState], gone: list[EndpointState]) -> None:
        for endpoint in endpoints:
            endpoint.references -= 1
            if endpoint.references == 0:
                gone.append(endpoint)
