"""What leads from one snapshot to another is exactly what differs, in whatever way they were made."""

from collections.abc import Callable
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from ingressd.model import (
    Certificate,
    Cluster,
    ClusterKey,
    Endpoint,
    Hidden,
    ObjectRef,
    PathKind,
    PathMatch,
    Route,
    SecretName,
    Snapshot,
    TlsHost,
    TrustBundle,
    Update,
    VirtualHost,
)
from ingressd.model import diff as difference

T = TypeVar("T")

SOURCE = ObjectRef("Ingress", "shop", "web")
names = st.sampled_from(["a", "b", "c", "d"])


def cluster(name: str, port: int) -> Cluster:
    return Cluster(ClusterKey("shop", name, "80"), (Endpoint("10.0.0.1", port),))


def host(name: str, field: str) -> VirtualHost:
    return VirtualHost(name, (Route(PathMatch(PathKind.PREFIX, "/"), SOURCE, ClusterKey("shop", "a", "80"), field),))


def certificate(name: str, version: int) -> Certificate:
    return Certificate(SecretName("shop", name), b"chain", Hidden(b"key"), not_after=version)


def bundle(name: str, version: int) -> TrustBundle:
    return TrustBundle(SecretName("shop", name), b"%d" % version)


def tls_host(name: str, version: int) -> TlsHost:
    return TlsHost(name, SecretName("shop", str(version)))


def some(make: Callable[[str, int], T]) -> st.SearchStrategy[tuple[T, ...]]:
    """Of each of a few names one version or none, sorted."""
    return st.dictionaries(names, st.integers(1, 2)).map(
        lambda found: tuple(make(name, version) for name, version in sorted(found.items()))
    )


snapshots = st.builds(
    Snapshot,
    some(lambda name, version: host(name, str(version))),
    some(cluster),
    st.sampled_from([None, Route(PathMatch(PathKind.PREFIX, "/"), SOURCE, None)]),
    some(certificate),
    some(bundle),
    some(tls_host),
    st.sampled_from([None, SecretName("shop", "a")]),
)


class Applied:
    """State that follows updates. Each says only what differs."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.hosts: dict[Any, Any] = {one.host: one for one in snapshot.virtual_hosts}
        self.clusters: dict[Any, Any] = {one.key: one for one in snapshot.clusters}
        self.certificates: dict[Any, Any] = {one.name: one for one in snapshot.certificates}
        self.bundles: dict[Any, Any] = {one.name: one for one in snapshot.trust_bundles}
        self.tls_hosts: dict[Any, Any] = {one.host: one for one in snapshot.tls_hosts}
        self.defaults = (snapshot.default, snapshot.default_certificate)

    def apply(self, update: Update) -> None:
        for state, changed, removed in (
            (self.hosts, {one.host: one for one in update.virtual_hosts}, update.removed_hosts),
            (self.clusters, {one.key: one for one in update.clusters}, update.removed_clusters),
            (self.certificates, {one.name: one for one in update.certificates}, update.removed_certificates),
            (self.bundles, {one.name: one for one in update.trust_bundles}, update.removed_trust_bundles),
            (self.tls_hosts, {one.host: one for one in update.tls_hosts}, update.removed_tls_hosts),
        ):
            assert not changed.items() & state.items()
            assert changed.keys().isdisjoint(removed)
            for key in removed:
                del state[key]
            state.update(changed)
        self.defaults = (update.default, update.default_certificate)


@settings(max_examples=300, deadline=None)
@given(snapshots, snapshots, st.booleans())
def test_the_update_leads_from_one_to_the_other_and_has_nothing_else(old: Snapshot, new: Snapshot, share: bool) -> None:
    if share:  # as after a change of endpoints: what is equal is the same object
        hosts = {value: value for value in old.virtual_hosts}
        clusters = {value: value for value in old.clusters}
        new = replace(
            new,
            virtual_hosts=tuple(hosts.get(value, value) for value in new.virtual_hosts),
            clusters=tuple(clusters.get(value, value) for value in new.clusters),
        )
    update = difference(old, new, 7)
    if update is None:
        assert old == new
        return
    assert old != new
    assert (update.generation, update.full) == (7, False)
    state = Applied(old)
    state.apply(update)
    assert vars(state) == vars(Applied(new))


PARTS = {
    "virtual_hosts": (host("a", "x"),),
    "clusters": (cluster("a", 1),),
    "default": Route(PathMatch(PathKind.PREFIX, "/"), SOURCE, None),
    "certificates": (certificate("a", 1),),
    "trust_bundles": (bundle("a", 1),),
    "tls_hosts": (tls_host("a", 1),),
    "default_certificate": SecretName("shop", "a"),
}


@pytest.mark.parametrize("part", PARTS)
def test_each_part_alone_comes_and_goes(part: str) -> None:
    there = replace(Snapshot(), **{part: PARTS[part]})
    for old, new in ((Snapshot(), there), (there, Snapshot())):
        update = difference(old, new, 7)
        assert update is not None
        state = Applied(old)
        state.apply(update)
        assert vars(state) == vars(Applied(new))
    assert difference(there, replace(there), 7) is None
    whole = Applied(Snapshot())
    whole.apply(Update.of(there, 7))
    assert vars(whole) == vars(Applied(there))


def test_every_part_is_tried() -> None:
    assert tuple(PARTS) == Snapshot.__struct_fields__
