"""What the controller knows of endpoints: by its own checks, and by what workers have found. It says so in the log, in
figures and to the admin API."""

import logging
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping

from ingressd.admin.view import ClusterHealth, EndpointHealth, WorkerEjection
from ingressd.control.health.checks import Change, Checks
from ingressd.control.health.overlay import Overlay
from ingressd.control.health.probe import Prober
from ingressd.link import Ejected, Findings
from ingressd.model import Cluster, ClusterKey, Endpoint, Snapshot
from ingressd.telemetry.exposition import HealthFigures

SAID_AT_ONCE = 10
"""Lines in the log about endpoints that change together; more are only counted."""

_log = logging.getLogger(__name__)


class Endpoints:
    """For the one loop of the controller."""

    def __init__(self, on_change: Callable[[], None]) -> None:
        """`on_change` is called soon after endpoints have become healthy or unhealthy: then there is something to
        publish."""
        self._prober = Prober()
        self._checks = Checks(self._prober.ask, on_change)
        self._overlay = Overlay()
        self._wanted = Snapshot()
        self._checked: dict[ClusterKey, Cluster] = {}
        self._findings: dict[int, Findings] = {}
        self._panicking: frozenset[ClusterKey] = frozenset()
        self._transitions = {"healthy": 0, "unhealthy": 0}

    def applied(self, wanted: Snapshot) -> Snapshot:
        """What to publish of a snapshot. Its checks are made from now on."""
        if wanted.clusters is not self._wanted.clusters:
            self._checked = {cluster.key: cluster for cluster in wanted.clusters if cluster.health is not None}
            self._checks.follow(self._checked)
        self._wanted = wanted
        return self._overlay.apply(wanted, self._checks.unhealthy)

    def say_changes(self) -> None:
        """Logs what the checks have found since the call before."""
        changes = self._checks.take_changes()
        for change in changes:
            self._transitions["healthy" if change.healthy else "unhealthy"] += 1
        names = self._clusters_of(changes)
        _say([_changed(change, names) for change in changes], "endpoints have become healthy or unhealthy")

    def _clusters_of(self, changes: list[Change]) -> Mapping[tuple[Endpoint, object], list[str]]:
        wanted = {(change.endpoint, change.check) for change in changes}
        names: defaultdict[tuple[Endpoint, object], list[str]] = defaultdict(list)
        if wanted:
            for cluster in self._checked.values():
                for endpoint in cluster.endpoints:
                    if cluster.health is not None and (endpoint, cluster.health) in wanted:
                        names[endpoint, cluster.health].append(str(cluster.key))
        return names

    def take(self, worker: int, findings: Findings) -> None:
        """Notes what a worker has found, and logs what is new of it."""
        former = {ejected.endpoint: ejected for ejected in self._findings.get(worker, Findings()).ejected}
        self._findings[worker] = findings
        lines = []
        for ejected in findings.ejected:
            before = former.pop(ejected.endpoint, None)
            if before is None or before.ejections != ejected.ejections:
                lines.append(f"worker {worker} ejects endpoint {ejected.endpoint}: {_ejected(ejected)}")
        if former:
            there = {endpoint for cluster in self._wanted.clusters for endpoint in cluster.endpoints}
            back = [endpoint for endpoint in former if endpoint in there]
            lines += [f"worker {worker} sends requests to endpoint {endpoint} again" for endpoint in back]
        _say(lines, f"endpoints are ejected by worker {worker} or back")
        self._note_panic()

    def forget(self, worker: int) -> None:
        """It has exited, and what it knew is gone."""
        if self._findings.pop(worker, None) is None:
            return
        if self._findings:
            self._note_panic()
        else:
            # Nobody knows, until another worker is there.
            self._panicking = frozenset()

    def _note_panic(self) -> None:
        panicking = frozenset(key for findings in self._findings.values() for key in findings.panicking)
        begun, ended = sorted(panicking - self._panicking), sorted(self._panicking - panicking)
        self._panicking = panicking
        lines = [f"no endpoint of {key} is healthy: requests go to all of them" for key in begun]
        lines += [f"{key} has a healthy endpoint again, or none at all" for key in ended]
        _say(lines, "clusters are without a healthy endpoint, or no longer")

    def figures(self) -> HealthFigures:
        """For the metrics page."""
        checks = self._checks
        return HealthFigures(
            passed=checks.passed,
            failed=checks.failed,
            checked=len(checks),
            unhealthy=sum(map(len, checks.unhealthy.values())),
            waiting=checks.waiting,
            transitions=self._transitions,
            panicking=len(self._panicking),
        )

    def view(self) -> Iterator[ClusterHealth]:
        """All clusters, for the admin API."""
        ejections: defaultdict[Endpoint, list[WorkerEjection]] = defaultdict(list)
        for worker, findings in sorted(self._findings.items()):
            for ejected in findings.ejected:
                ejections[ejected.endpoint].append(WorkerEjection(worker, ejected.ejections, ejected.until or None))
        for cluster in self._wanted.clusters:
            terminating = set(cluster.terminating)
            yield ClusterHealth(
                cluster.key,
                cluster.health,
                cluster.slow_start,
                cluster.key in self._panicking,
                [
                    self._endpoint(cluster, endpoint, endpoint in terminating, ejections)
                    for endpoint in sorted({*cluster.endpoints, *terminating})
                ],
            )

    def _endpoint(
        self,
        cluster: Cluster,
        endpoint: Endpoint,
        terminating: bool,
        ejections: Mapping[Endpoint, list[WorkerEjection]],
    ) -> EndpointHealth:
        found = self._checks.state(endpoint, cluster.health) if cluster.health is not None else None
        health, why = "unchecked", ""
        if found is not None:
            standing, why = found
            health = ("healthy" if standing.asked else "unknown") if standing.healthy else "unhealthy"
        serving = endpoint in cluster.endpoints
        return EndpointHealth(endpoint, serving, terminating, health, why, ejections.get(endpoint, []))

    async def close(self) -> None:
        """Ends all checks."""
        await self._checks.close()
        await self._prober.close()


def _changed(change: Change, names: Mapping[tuple[Endpoint, object], list[str]]) -> str:
    of = ", ".join(names.get((change.endpoint, change.check), []))
    named = f"endpoint {change.endpoint} of {of}" if of else f"endpoint {change.endpoint}"
    if change.healthy:
        return f"{named} is healthy again: it has passed {change.check.healthy_threshold} checks in a row"
    failed = f"it has failed {change.check.unhealthy_threshold} checks in a row"
    return f"{named} is unhealthy: {failed}, the last: {change.why}"


def _ejected(ejected: Ejected) -> str:
    return f"{ejected.failures} failures in a row, ejection {ejected.ejections}"


def _say(lines: list[str], rest: str) -> None:
    for line in lines[:SAID_AT_ONCE]:
        _log.warning("%s", line)
    if len(lines) > SAID_AT_ONCE:
        _log.warning("%d more %s", len(lines) - SAID_AT_ONCE, rest)
