"""What the admin server shows, and where it gets it from."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from ingressd.model import ObjectRef, Problem, Snapshot


class WorkerStatus(NamedTuple):
    """One worker process: its number from 0, its process id (0 while none runs), and the generation it serves (None
    before the first)."""

    worker: int
    pid: int
    generation: int | None


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

    def metrics(self) -> Iterator[bytes]:
        """The metrics page in pieces."""
