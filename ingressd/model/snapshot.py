"""The whole desired state, and the difference between two of them."""

from collections.abc import Callable, Hashable
from operator import attrgetter
from typing import Protocol, TypeVar

import msgspec

from ingressd.model.cluster import Cluster, ClusterKey
from ingressd.model.route import Route, VirtualHost
from ingressd.model.tls import Certificate, SecretName, TlsHost, TrustBundle


class Snapshot(msgspec.Struct, frozen=True):
    """Everything a worker needs in order to serve. The same objects always give an equal Snapshot: virtual hosts are
    sorted by host, clusters by key, certificates and trust bundles by name, TLS hosts by host. `default` is the
    controller's default backend, None for the built-in 404. `default_certificate` is for connections whose server name
    has none, and None only where there are no TLS listeners; it and those of TLS hosts are always among
    `certificates`."""

    virtual_hosts: tuple[VirtualHost, ...] = ()
    clusters: tuple[Cluster, ...] = ()
    default: Route | None = None
    certificates: tuple[Certificate, ...] = ()
    trust_bundles: tuple[TrustBundle, ...] = ()
    tls_hosts: tuple[TlsHost, ...] = ()
    default_certificate: SecretName | None = None


class Update(msgspec.Struct, frozen=True, tag=True):
    """What to change in a worker's state to reach `generation`. A `full` update replaces the state, any other is
    applied to the state of the generation before. `default` and `default_certificate` always say what holds from now
    on."""

    generation: int
    full: bool = False
    virtual_hosts: tuple[VirtualHost, ...] = ()
    removed_hosts: tuple[str, ...] = ()
    clusters: tuple[Cluster, ...] = ()
    removed_clusters: tuple[ClusterKey, ...] = ()
    default: Route | None = None
    certificates: tuple[Certificate, ...] = ()
    removed_certificates: tuple[SecretName, ...] = ()
    trust_bundles: tuple[TrustBundle, ...] = ()
    removed_trust_bundles: tuple[SecretName, ...] = ()
    tls_hosts: tuple[TlsHost, ...] = ()
    removed_tls_hosts: tuple[str, ...] = ()
    default_certificate: SecretName | None = None

    @classmethod
    def of(cls, snapshot: Snapshot, generation: int) -> "Update":
        """The update that gives a new worker the whole state."""
        return cls(
            generation=generation,
            full=True,
            virtual_hosts=snapshot.virtual_hosts,
            clusters=snapshot.clusters,
            default=snapshot.default,
            certificates=snapshot.certificates,
            trust_bundles=snapshot.trust_bundles,
            tls_hosts=snapshot.tls_hosts,
            default_certificate=snapshot.default_certificate,
        )


class _Equatable(Protocol):
    def __eq__(self, other: object, /) -> bool: ...


K = TypeVar("K", bound=Hashable)
V = TypeVar("V", bound=_Equatable)


def _changes(old: tuple[V, ...], new: tuple[V, ...], key: Callable[[V], K]) -> tuple[tuple[V, ...], tuple[K, ...]]:
    """The values that are new or other than before, and the keys of those that are gone. Mostly there are the same keys
    in both, and mostly even the same values."""
    if len(old) == len(new):
        pairs = [(before, now) for before, now in zip(old, new, strict=True) if before is not now]
        if all(key(before) == key(now) for before, now in pairs):
            return tuple(now for before, now in pairs if before != now), ()
    before_by_key = {key(value): value for value in old}
    keys = set(map(key, new))
    changed = tuple(value for value in new if before_by_key.get(key(value)) != value)
    return changed, tuple(each for each in before_by_key if each not in keys)


_host: Callable[[VirtualHost | TlsHost], str] = attrgetter("host")
_key: Callable[[Cluster], ClusterKey] = attrgetter("key")
_name: Callable[[Certificate | TrustBundle], SecretName] = attrgetter("name")


def diff(old: Snapshot, new: Snapshot, generation: int) -> Update | None:
    """What leads from `old` to `new`; None where they are equal."""
    hosts, removed_hosts = _changes(old.virtual_hosts, new.virtual_hosts, _host)
    clusters, removed_clusters = _changes(old.clusters, new.clusters, _key)
    certificates, removed_certificates = _changes(old.certificates, new.certificates, _name)
    trust_bundles, removed_trust_bundles = _changes(old.trust_bundles, new.trust_bundles, _name)
    tls_hosts, removed_tls_hosts = _changes(old.tls_hosts, new.tls_hosts, _host)
    update = Update(
        generation=generation,
        virtual_hosts=hosts,
        removed_hosts=removed_hosts,
        clusters=clusters,
        removed_clusters=removed_clusters,
        default=new.default,
        certificates=certificates,
        removed_certificates=removed_certificates,
        trust_bundles=trust_bundles,
        removed_trust_bundles=removed_trust_bundles,
        tls_hosts=tls_hosts,
        removed_tls_hosts=removed_tls_hosts,
        default_certificate=new.default_certificate,
    )
    nothing = Update(generation, default=old.default, default_certificate=old.default_certificate)
    return None if update == nothing else update
