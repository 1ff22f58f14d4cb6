"""Which Ingresses get which status.loadBalancer, and which of them are to be compared. Without IO.

Addresses are written where they differ, and never taken away while the controller runs: that none is known for the
moment is no reason to make others forget it (external-dns deletes DNS names).
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from ingressd.control.api import Metadata
from ingressd.control.load_balancer import Address, LoadBalancerStatus
from ingressd.resources.store import Name


class SeenIngress(msgspec.Struct, frozen=True):
    """An Ingress, as far as it is compared."""

    metadata: Metadata = Metadata()
    status: LoadBalancerStatus = LoadBalancerStatus()

    @property
    def name(self) -> Name:
        return (self.metadata.namespace, self.metadata.name)


class StatusPlan:
    """What is to be written, without IO."""

    def __init__(self) -> None:
        self.wanted: tuple[Address, ...] = ()
        self._ours: frozenset[Name] = frozenset()
        self._due: dict[Name, None] = {}

    def want(self, addresses: tuple[Address, ...]) -> None:
        """These are the addresses now. None are no news."""
        if addresses and addresses != self.wanted:
            self.wanted = addresses
            self.all_due()

    def take(self, ours: Collection[Name], changed: Iterable[Name]) -> None:
        """`ours` are all Ingresses that are ours; `changed` those that are new or have changed."""
        self._ours = frozenset(ours)
        self.again(changed)
        if len(self._due) > len(self._ours):  # who does not lead takes none of them
            self._due = {name: None for name in self._due if name in self._ours}

    def all_due(self) -> None:
        """Whatever was written may be something else by now."""
        self._due = dict.fromkeys(self._ours)

    def again(self, names: Iterable[Name]) -> None:
        """These are to be compared."""
        self._due.update(dict.fromkeys(names))

    @property
    def is_due(self) -> bool:
        return bool(self._due and self.wanted)

    def take_due(self) -> list[Name]:
        """Those to compare, which are then not due any more."""
        if not self.wanted:
            return []
        due, self._due = self._due, {}
        return [name for name in due if name in self._ours]

    def patch(self, seen: SeenIngress) -> Mapping[str, Any] | None:
        """What to send for an Ingress; None if it is as it should be."""
        if seen.name not in self._ours or seen.status.addresses == self.wanted:
            return None
        return _patch(seen, self.wanted)

    def clearing(self, seen: SeenIngress) -> Mapping[str, Any] | None:
        """What takes our addresses out of an Ingress; None if it has others."""
        if seen.name not in self._ours or not self.wanted or seen.status.addresses != self.wanted:
            return None
        return _patch(seen, ())


def _patch(seen: SeenIngress, addresses: Sequence[Address]) -> Mapping[str, Any]:
    return {
        "metadata": {"resourceVersion": seen.metadata.resource_version},
        "status": {"loadBalancer": {"ingress": msgspec.to_builtins(addresses) or None}},
    }
