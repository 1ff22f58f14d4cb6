"""What the controller writes back to where its objects come from, as its loop sees it: nothing, for files."""

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

from ingressd.model import ObjectRef, Problem
from ingressd.resources import Ingress
from ingressd.telemetry.exposition import WritingFigures
from ingressd.translate.backends import NO_ENDPOINTS, SERVICE_NOT_FOUND

ORPHANS = {SERVICE_NOT_FOUND: "no-service", NO_ENDPOINTS: "no-endpoint"}
"""What ingress-nginx calls an Ingress with such a problem."""


class Writers(Protocol):
    """Writes status and events."""

    def take(self, ours: Mapping[ObjectRef, Ingress], problems: Sequence[Problem]) -> None:
        """The Ingresses that are ours, and all problems, as they are now. Where one of the two is the same object as
        the last time, nothing has changed in it. Only to be called when the source is complete."""

    def running(self) -> AbstractAsyncContextManager[None]:
        """Writes within the block."""

    async def finish(self, leaving: float | None = 0.0) -> None:
        """Ends the writing in order, within the block. `leaving` are the seconds that the process goes on listening,
        None if another process has taken over. Takes seconds more than that at most, and raises nothing."""

    def figures(self) -> WritingFigures | None:
        """For the metrics."""


class NoWriters:
    """For a source that is only read."""

    def take(self, ours: Mapping[ObjectRef, Ingress], problems: Sequence[Problem]) -> None:
        """See Writers."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """See Writers."""
        yield

    async def finish(self, leaving: float | None = 0.0) -> None:
        """See Writers."""

    def figures(self) -> WritingFigures | None:
        """See Writers."""
        return None


def orphans(problems: Iterable[Problem]) -> Iterator[tuple[str, str, str]]:
    """Ingresses with a backend that has no Service or no endpoint: namespace, name, which of the two."""
    for problem in problems:
        if problem.object.kind == Ingress.KIND and problem.reason in ORPHANS:
            yield problem.object.namespace, problem.object.name, ORPHANS[problem.reason]
