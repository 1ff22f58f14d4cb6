"""Follows a ClusterSource as the controller does: takes what it gives, and asks for what that refers to."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import aclosing, asynccontextmanager
from typing import TypeVar

from ingressd.model import ObjectRef, Problem
from ingressd.resources import EndpointSlice, Ingress, Resource, Secret
from ingressd.source.base import Changes
from ingressd.source.cluster.access import Access, Kubeconfig
from ingressd.source.cluster.listwatch import Timing
from ingressd.source.cluster.named import WATCHED
from ingressd.source.cluster.source import EVERYWHERE, ClusterSource, Scope

T = TypeVar("T")
DEADLINE = 20.0
"""Seconds; a test that passes needs a small part of it."""
QUICK = Timing(shortest=0.01, longest=0.05, watch=(60.0, 60.0), silence=60.0, steady=0.05, poll=0.05, reads=1000.0)
"""Pauses short, everything else long."""


class Followed:
    """The objects that a source has given and not taken back."""

    def __init__(self, source: ClusterSource) -> None:
        self.source = source
        self.objects: dict[ObjectRef, Resource] = {}
        self.problems: tuple[Problem, ...] = ()
        self.history: list[Changes] = []
        self.removed: list[ObjectRef] = []
        self.needed: Collection[ObjectRef] | None = None
        """What is asked for; None: the Secrets that spec.tls names."""
        self.complete = False
        """Whether nothing was missing after the last changes."""
        self._news = asyncio.Event()

    async def follow(self) -> None:
        async with aclosing(self.source.watch()) as stream:
            async for changes in stream:
                self.history.append(changes)
                for resource in changes.upserts:
                    self.objects[resource.ref] = resource
                for ref in changes.removals:
                    self.objects.pop(ref, None)
                    self.removed.append(ref)
                self.problems = changes.problems
                self.source.need(self._named() if self.needed is None else self.needed)
                self.complete = not self.source.missing()
                self._news.set()

    def _named(self) -> set[ObjectRef]:
        return {
            ObjectRef("Secret", one.namespace, tls.secret_name)
            for one in self.objects.values()
            if isinstance(one, Ingress)
            for tls in one.spec.tls
        }

    async def until(self, condition: Callable[[], T]) -> T:
        """Asked whenever the source has given something, and now and then: figures change without."""
        async with asyncio.timeout(DEADLINE):
            while not (found := condition()):
                self._news.clear()
                try:
                    async with asyncio.timeout(0.02):
                        await self._news.wait()
                except TimeoutError:
                    pass
        return found

    async def ready(self) -> None:
        await self.until(lambda: self.complete)

    def has(self, kind: str, *names: str) -> bool:
        """Whether there are exactly these objects of a kind, as `namespace/name` or name."""
        found = {f"{ref.namespace}/{ref.name}" if ref.namespace else ref.name for ref in self.of(kind)}
        return found == set(names)

    def of(self, kind: str) -> set[ObjectRef]:
        return {ref for ref in self.objects if ref.kind == kind}

    def hosts(self) -> set[str]:
        return {rule.host for one in self.objects.values() if isinstance(one, Ingress) for rule in one.spec.rules}

    def addresses(self) -> list[str]:
        return sorted(
            address
            for one in self.objects.values()
            if isinstance(one, EndpointSlice)
            for endpoint in one.endpoints
            for address in endpoint.addresses
        )

    def secret(self, name: str, namespace: str = "shop") -> str | None:
        """The value of `key`."""
        found = self.objects.get(ObjectRef("Secret", namespace, name))
        assert found is None or isinstance(found, Secret)
        return found.value("key").decode() if found is not None else None

    def reasons(self) -> set[tuple[str, str]]:
        """Of all problems the object and the reason."""
        return {(str(problem.object), problem.reason) for problem in self.problems}


@asynccontextmanager
async def following(
    access: Access, scope: Scope = EVERYWHERE, timing: Timing = QUICK, watched: int = WATCHED
) -> AsyncIterator[Followed]:
    followed = Followed(ClusterSource(access, scope, timing, watched))
    task = asyncio.get_running_loop().create_task(followed.follow())
    try:
        yield followed
        assert not task.done(), task.exception()
    finally:
        task.cancel()
        await asyncio.wait([task])


def access(path: str) -> Access:
    return Kubeconfig(path, "")
