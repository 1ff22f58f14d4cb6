"""What the reconcile loop needs of a source of objects, be it a directory or a cluster."""

from collections.abc import AsyncGenerator
from typing import Protocol

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


class Source(Protocol):
    """Where objects come from."""

    def load(self) -> Changes:
        """What can be had without waiting, called once before watch(). A source that has to wait gives nothing here
        and everything in the first Changes of watch(). Raises SourceError."""

    def watch(self) -> AsyncGenerator[Changes, None]:
        """What changes after load(), until closed. Only one at a time."""

    def locate(self, problem: Problem) -> Problem:
        """The problem with `file` and `line` of its object and field, as far as the source knows them."""
