"""Clusters and endpoints as a worker keeps them: what must outlive an update.

An endpoint is known by its address, whatever clusters it is in; its idle connections stay as long as any cluster names
it, and so does what its failures led to (`ejection`). A cluster keeps its place in the round while its endpoints come
and go. The round has the endpoints that may be picked; it is made anew when these change and never for a request.
Nothing here does IO: what has to be closed is returned.
"""

from bisect import bisect_right
from collections.abc import Iterable
from typing import TYPE_CHECKING

from ingressd.link import Ejected, Findings, Sample
from ingressd.model import Cluster, ClusterKey, Ejection, Endpoint, Update
from ingressd.proxy.ejection import EJECTED, OFFERED, OURS, SERVING, Ejector
from ingressd.proxy.slow_start import step, turns

if TYPE_CHECKING:
    from ingressd.proxy.upstream import Upstream


class EndpointState:
    """One address."""

    __slots__ = (
        "_ejector",
        "back_since",
        "clusters",
        "ejections",
        "endpoint",
        "failures",
        "idle",
        "references",
        "standing",
        "text",
        "until",
    )

    def __init__(self, endpoint: Endpoint, ejector: Ejector) -> None:
        self.endpoint = endpoint
        self.text = str(endpoint).encode()
        """As the access log names it."""
        self.idle: list[Upstream] = []
        """Connections that wait for a request, the last one used on top."""
        self.references = 0
        """How many clusters it is in; at 0 it is gone and its connections are not kept."""
        self.clusters: list[ClusterState] = []
        """These clusters."""
        self._ejector = ejector
        self.failures = 0
        """In a row, up to now."""
        self.standing = SERVING
        self.until = 0.0
        """When it may be tried again; seconds of the loop's clock."""
        self.ejections = 0
        """How often it was ejected without a long time of service in between."""
        self.back_since = 0.0
        """When it was last readmitted."""

    def failed(self) -> None:
        """A request to it came to nothing, or to 502, 503 or 504."""
        self.failures += 1
        self._ejector.failed(self)

    def unreachable(self, error: OSError) -> None:
        """It accepted no connection."""
        if error.errno not in OURS:
            self.failed()

    def answered(self, status: int) -> None:
        """It gave a response with this status: a whole one, if that is what speaks for it. Needs to be called only for
        one that has failed before, or that fails with this."""
        if 502 <= status <= 504:
            self.failed()
        else:
            self._ejector.answered(self)

    def __repr__(self) -> str:
        return f"<EndpointState {self.endpoint} idle={len(self.idle)} references={self.references}>"


class ClusterState:
    """The endpoints of one cluster and whose turn it is."""

    __slots__ = (
        "_again",
        "_available",
        "_ejector",
        "_next",
        "_offset",
        "_picked",
        "_returned",
        "_round",
        "_share",
        "_steps",
        "_trials",
        "_unhealthy",
        "_window",
        "endpoints",
        "gone",
        "key",
        "panicking",
    )

    def __init__(self, key: ClusterKey, offset: int, ejector: Ejector) -> None:
        self.key = key
        self.endpoints: list[EndpointState] = []
        """Sorted by address."""
        self.gone = False
        """No longer known to the registry: another may have its key."""
        self.panicking = False
        """None of the endpoints is available, so all of them are picked."""
        self._offset = offset
        self._ejector = ejector
        self._share = ejector.settings.share
        self._unhealthy: frozenset[Endpoint] = frozenset()
        self._window = 0.0
        """Seconds of slow start."""
        self._available: list[EndpointState] = []
        """Those that may be picked; sorted."""
        self._round: list[EndpointState] = []
        """The same in the order of their turns, of which those in slow start have fewer."""
        self._returned: dict[EndpointState, float] = {}
        """Those in slow start, and since when."""
        self._steps: dict[EndpointState, int] = {}
        self._trials: list[EndpointState] = []
        """Ejected ones whose time is over: each gets the next request."""
        self._next = 0
        self._again = 0
        self._picked: EndpointState | None = None

    def pick(self, repeatable: bool = True) -> EndpointState | None:
        """The next endpoint in turn; None if there is none. `repeatable`: nothing is lost if the endpoint fails, since
        the request may be sent again. A trial waits a little for such a one."""
        if self._trials and (repeatable or self._ejector.overdue(self._trials[0])):
            return self._try()
        turn = self._next
        if turn >= len(self._round):
            if not self._round:
                return None
            turn = 0
        self._next = turn + 1
        self._picked = self._round[turn]
        return self._picked

    def _try(self) -> EndpointState:
        """The endpoint that is due for its trial. It is nobody's turn."""
        endpoint = self._trials[0]
        self._ejector.begin_trial(endpoint)
        for cluster in endpoint.clusters:
            cluster.end_offer(endpoint)
        return endpoint

    def end_offer(self, endpoint: EndpointState) -> None:
        """Another cluster tries it."""
        if endpoint in self._trials:
            self._trials.remove(endpoint)

    def pick_again(self, last: EndpointState, unreachable: list[EndpointState]) -> EndpointState | None:
        """The endpoint for a further try: not one of `unreachable`, and another than `last` if there is one. One that
        is not available is better than none.

        A round of its own. If further tries used up turns, the requests of two endpoints would all begin with the same
        one, even one that is dead.
        """
        found = self._pick_again(self._available, last, unreachable)
        if (found is None or found is last) and len(self._available) < len(self.endpoints):
            return self._pick_again(self.endpoints, last, unreachable)
        return found

    def _pick_again(
        self, endpoints: list[EndpointState], last: EndpointState, unreachable: list[EndpointState]
    ) -> EndpointState | None:
        count = len(endpoints)
        only = None
        for _ in range(count):
            turn = self._again
            if turn >= count:
                turn = 0
            self._again = turn + 1
            state = endpoints[turn]
            if state not in unreachable:
                if state is not last:
                    return state
                only = state
        return only

    # --- who is available

    def replace(self, endpoints: list[EndpointState], unhealthy: Iterable[Endpoint], window: float) -> None:
        """Takes new endpoints (sorted), those of them that have failed their checks, and the seconds of slow start."""
        self.endpoints = endpoints
        self._unhealthy = frozenset(unhealthy)
        self._window = window
        self.refresh()

    def refresh(self) -> None:
        """Works out who is available. The round goes on behind the one picked last, even if that one is gone."""
        endpoints, before = self.endpoints, self._available
        unhealthy = self._unhealthy
        healthy = [state for state in endpoints if state.endpoint not in unhealthy] if unhealthy else endpoints
        out = self._spared(healthy)
        available = [state for state in healthy if state not in out] if out else healthy
        self._trials = [state for state in healthy if state.standing == OFFERED]
        self.panicking = bool(endpoints) and not available
        self._available = available or endpoints
        if self._window > 0 and before and not self.panicking:
            known = set(before)
            now = self._ejector.now
            self._returned.update((state, now) for state in self._available if state not in known)
        self._advance()
        self._make_round()

    def _room(self) -> int:
        """How many endpoints may be left out in all."""
        # 100 * 0.29 is less than 29.
        return int(len(self.endpoints) * self._share + 1e-6)

    def can_spare(self, endpoint: EndpointState) -> bool:
        """Whether enough endpoints are left without this one."""
        left = len(self._available) - (endpoint in self._available)
        return not self.panicking and len(self.endpoints) - left <= self._room()

    def _spared(self, healthy: list[EndpointState]) -> set[EndpointState]:
        """The ejected ones that are left out: as many as may be, those first that were ejected first. All of them may,
        where they were ejected on this cluster's account; another cluster may have more to spare."""
        if not self._ejector.out:
            return set()
        room = self._room() - (len(self.endpoints) - len(healthy))
        mine = set(healthy)
        return set([state for state in self._ejector.out if state in mine][: max(0, room)])

    # --- slow start

    @property
    def starting_slowly(self) -> bool:
        """Whether `advance` has to be called now and then."""
        return bool(self._returned)

    def advance(self) -> None:
        """Gives those in slow start the share that they have reached."""
        if self._advance():
            self._make_round()

    def _advance(self) -> bool:
        """Whether a step has changed."""
        if not self._returned and not self._steps:
            return False
        window, now = self._window, self._ejector.now
        available = set(self._available)
        steps = {}
        for state, since in list(self._returned.items()):
            if now - since >= window or state not in available:
                del self._returned[state]
            else:
                steps[state] = step(now - since, window)
        changed = steps != self._steps
        self._steps = steps
        return changed

    def _make_round(self) -> None:
        rounds = turns(self._available, self._steps) if self._steps else [self._available]
        self._round = [state for each in rounds for state in each] if len(rounds) > 1 else rounds[0]
        if self._picked is not None:
            self._next = bisect_right(rounds[0], self._picked.endpoint, key=lambda state: state.endpoint)
        elif self._round:
            self._next = self._offset % len(rounds[0])


class Registry:
    """All clusters and endpoints of a worker. `worker` makes the rounds of workers start at different endpoints."""

    __slots__ = ("_worker", "clusters", "ejector", "endpoints", "news", "panicking", "starting")

    def __init__(self, worker: int, ejection: Ejection) -> None:
        self.clusters: dict[ClusterKey, ClusterState] = {}
        self.endpoints: dict[Endpoint, EndpointState] = {}
        self.ejector = Ejector(ejection, self._refresh)
        self.panicking: set[ClusterKey] = set()
        """Clusters of which no endpoint is available."""
        self.starting: set[ClusterState] = set()
        """Those that have endpoints in slow start."""
        self.news = False
        """Whether ejections or `panicking` are other than when this was last set to False."""
        self._worker = worker

    def tick(self, now: float) -> None:
        """What time alone changes; called about ten times a second. `now` in seconds of the loop's clock."""
        self.ejector.tick(now)
        if self.starting:
            for cluster in list(self.starting):
                cluster.advance()
                if not cluster.starting_slowly:
                    self.starting.discard(cluster)

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
                state.gone = True
                self._release(state, state.endpoints, gone)
                state.replace([], (), 0.0)
                self._note(state)
        surplus: list[Upstream] = []
        for endpoint in gone:
            # One cluster may have let go of what another took up in the same update.
            if endpoint.references == 0 and self.endpoints.pop(endpoint.endpoint, None) is not None:
                surplus += endpoint.idle
                if endpoint.standing != SERVING:
                    self.ejector.forget(endpoint)
                    self.news = True
        return surplus

    def _replace(self, cluster: Cluster, gone: list[EndpointState]) -> None:
        state = self.clusters.get(cluster.key)
        if state is None:
            state = self.clusters[cluster.key] = ClusterState(cluster.key, self._worker, self.ejector)
        before = state.endpoints
        after = []
        for endpoint in sorted(cluster.endpoints):
            known = self.endpoints.get(endpoint)
            if known is None:
                known = self.endpoints[endpoint] = EndpointState(endpoint, self.ejector)
            known.references += 1
            known.clusters.append(state)
            after.append(known)
        self._release(state, before, gone)
        state.replace(after, cluster.unhealthy, cluster.slow_start)
        self._note(state)

    def _release(self, cluster: ClusterState, endpoints: list[EndpointState], gone: list[EndpointState]) -> None:
        for endpoint in endpoints:
            endpoint.references -= 1
            endpoint.clusters.remove(cluster)
            if endpoint.references == 0:
                gone.append(endpoint)

    def _refresh(self, endpoint: EndpointState) -> None:
        """It was ejected, is to be tried, or is back."""
        self.news = True
        for cluster in endpoint.clusters:
            cluster.refresh()
            self._note(cluster)

    def _note(self, cluster: ClusterState) -> None:
        if cluster.panicking != (cluster.key in self.panicking):
            self.news = True
            self.panicking ^= {cluster.key}
        if cluster.starting_slowly:
            self.starting.add(cluster)

    def findings(self, wall: float) -> Findings:
        """Who is out, and where nobody is left. `wall` is now in seconds since 1970."""
        ahead = wall - self.ejector.now
        ejected = (
            Ejected(
                state.endpoint,
                state.failures,
                state.ejections,
                state.until + ahead if state.standing == EJECTED else 0.0,
            )
            for state in self.ejector.out
        )
        return Findings(tuple(ejected), tuple(sorted(self.panicking)))

    def samples(self) -> tuple[list[Sample], list[Sample]]:
        """Increments of counters, and gauges."""
        ejections, refusals = self.ejector.take()
        return (
            [Sample("ejections", "", ejections), Sample("ejections_refused", "", refusals)],
            [Sample("endpoints_ejected", "", len(self.ejector.out))],
        )
