"""What the reconcile loop needs of a source of objects, be it a directory or a cluster."""

from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from typing import NamedTuple, Protocol

import msgspec

from ingressd.model import ObjectRef, Problem
from ingressd.resources import Resource


class SourceError(Exception):
    """The source cannot be used at all: one line that tells the user what to mend before the next start."""


class Changes(msgspec.Struct, frozen=True):
    """What leads from the state before to the state now. No object is in both `upserts` and `removals`.

    `problems` are all that the source itself has now (not only new ones): objects and files that cannot be used.
    """

    upserts: tuple[Resource, ...] = ()
    removals: tuple[ObjectRef, ...] = ()
    problems: tuple[Problem, ...] = ()


class WatchFigures(NamedTuple):
    """Of one kind of objects: how often a watch of it broke off, and for how many seconds there has been no news (None
    before the first)."""

    restarts: int
    age: float | None


class Source(Protocol):
    """Where objects come from."""

    def load(self) -> Changes:
        """What can be had without waiting, called once before watch(). A source that has to wait gives nothing here.
        Raises SourceError."""

    def watch(self) -> AsyncGenerator[Changes, None]:
        """What changes after load(), until closed. Only one at a time. It also tells that missing() has become empty,
        if need be by Changes with nothing in them."""

    def locate(self, problem: Problem) -> Problem:
        """The problem with `file` and `line` of its object and field, as far as the source knows them."""

    def need(self, refs: Collection[ObjectRef]) -> None:
        """The Secrets and ConfigMaps that other objects refer to now. A source may give only those."""

    def missing(self) -> Sequence[str]:
        """What has not been read yet and must be before anything is served, a sentence each. Once this is empty, it may
        be not empty again for what need() has added."""

    def figures(self) -> Mapping[str, WatchFigures]:
        """By kind; empty for a source that does not watch kinds."""
