"""The whole desired state, and the difference between two of them."""

from collections.abc import Hashable, Iterable
from typing import Protocol, TypeVar

import msgspec

from ingressd.model.cluster import Cluster, ClusterKey
from ingressd.model.route import Route, VirtualHost


class Snapshot(msgspec.Struct, frozen=True):
    """Everything a worker needs in order to serve. The same objects always give an equal Snapshot: virtual hosts are
    sorted by host, clusters by key. `default` is the controller's default backend, None for the built-in 404."""

    virtual_hosts: tuple[VirtualHost, ...] = ()
    clusters: tuple[Cluster, ...] = ()
    default: Route | None = None


class Update(msgspec.Struct, frozen=True, tag=True):
    """What to change in a worker's state to reach `generation`. A `full` update replaces the state, any other is
    applied to the state of the generation before."""

    generation: int
    full: bool = False
    virtual_hosts: tuple[VirtualHost, ...] = ()
    removed_hosts: tuple[str, ...] = ()
    clusters: tuple[Cluster, ...] = ()
    removed_clusters: tuple[ClusterKey, ...] = ()
    default: Route | None = None

    @classmethod
    def of(cls, snapshot: Snapshot, generation: int) -> "Update":
        """The update that gives a new worker the whole state."""
        return cls(
            generation=generation,
            full=True,
            virtual_hosts=snapshot.virtual_hosts,
            clusters=snapshot.clusters,
            default=snapshot.default,
        )


class _Equatable(Protocol):
    def __eq__(self, other: object, /) -> bool: ...


K = TypeVar("K", bound=Hashable)
V = TypeVar("V", bound=_Equatable)


def _changes(old: dict[K, V], new: dict[K, V]) -> tuple[tuple[V, ...], tuple[K, ...]]:
    changed = tuple(value for key, value in new.items() if old.get(key) != value)
    return changed, tuple(key for key in old if key not in new)


def _hosts(values: Iterable[VirtualHost]) -> dict[str, VirtualHost]:
    return {value.host: value for value in values}


def _clusters(values: Iterable[Cluster]) -> dict[ClusterKey, Cluster]:
    return {value.key: value for value in values}


def diff(old: Snapshot, new: Snapshot, generation: int) -> Update | None:
    """What leads from `old` to `new`; None where they are equal."""
    hosts, removed_hosts = _changes(_hosts(old.virtual_hosts), _hosts(new.virtual_hosts))
    clusters, removed_clusters = _changes(_clusters(old.clusters), _clusters(new.clusters))
    if not (hosts or removed_hosts or clusters or removed_clusters or old.default != new.default):
        return None
    return Update(
        generation=generation,
        virtual_hosts=hosts,
        removed_hosts=removed_hosts,
        clusters=clusters,
        removed_clusters=removed_clusters,
        default=new.default,
    )
