"""What the admin server shows, and where it gets it from."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from ingressd.model import ClusterKey, Endpoint, HealthCheck, ObjectRef, Problem, Snapshot


class WorkerStatus(NamedTuple):
    """One worker process: its number from 0, its process id (0 while none runs), and the generation it serves (None
    before the first)."""

    worker: int
    pid: int
    generation: int | None


class WorkerEjection(NamedTuple):
    """A worker has ejected an endpoint. `until` is in seconds since 1970; None where a request decides whether it is
    back. `ejections` counts them, this one included."""

    worker: int
    ejections: int
    until: float | None


class EndpointHealth(NamedTuple):
    """One endpoint of a cluster. `serving`: it may be picked, if nothing else speaks against it; else it terminates and
    only finishes what it has. `health` is by check: healthy, unhealthy, unknown (none has ended yet) or unchecked;
    `last_failure` is what the last check met, empty if it passed."""

    endpoint: Endpoint
    serving: bool
    terminating: bool
    health: str
    last_failure: str
    ejected: Sequence[WorkerEjection]


class ClusterHealth(NamedTuple):
    """A cluster with all that is known of its endpoints. `panicking`: none is available, so requests go to all."""

    key: ClusterKey
    check: HealthCheck | None
    slow_start: float
    panicking: bool
    endpoints: Sequence[EndpointHealth]


class View(Protocol):
    """The controller as the admin server sees it. Everything is as of now and must be cheap to ask for."""

    @property
    def generation(self) -> int:
        """The generation published last; 0 before the first."""

    @property
    def snapshot(self) -> Snapshot:
        """What that generation consists of."""

    @property
    def problems(self) -> Sequence[Problem]:
        """All problems of the objects as they are now, sorted."""

    @property
    def passed_over(self) -> Sequence[ObjectRef]:
        """Ingresses of other controllers, sorted."""

    def workers(self) -> Sequence[WorkerStatus]:
        """The workers in the order of their numbers."""

    def missing(self) -> Sequence[str]:
        """What stands against being ready, a sentence each; empty when ready."""

    def endpoints(self) -> Iterator[ClusterHealth]:
        """All clusters, sorted, with the state of their endpoints."""

    def metrics(self) -> Iterator[bytes]:
        """The metrics page in pieces."""
