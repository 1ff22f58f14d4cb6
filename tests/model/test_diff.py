"""What leads from one snapshot to another is exactly what differs, in whatever way they were made."""

from hypothesis import given
from hypothesis import strategies as st

from ingressd.model import Cluster, ClusterKey, Endpoint, ObjectRef, PathKind, PathMatch, Route, Snapshot, VirtualHost
from ingressd.model import diff as difference

SOURCE = ObjectRef("Ingress", "shop", "web")
names = st.sampled_from(["a", "b", "c", "d"])


def cluster(name: str, port: int) -> Cluster:
    return Cluster(ClusterKey("shop", name, "80"), (Endpoint("10.0.0.1", port),))


def host(name: str, field: str) -> VirtualHost:
    return VirtualHost(name, (Route(PathMatch(PathKind.PREFIX, "/"), SOURCE, ClusterKey("shop", "a", "80"), field),))


snapshots = st.builds(
    lambda hosts, clusters: Snapshot(
        tuple(host(name, field) for name, field in sorted(hosts.items())),
        tuple(cluster(name, port) for name, port in sorted(clusters.items())),
    ),
    st.dictionaries(names, st.sampled_from(["x", "y"])),
    st.dictionaries(names, st.integers(1, 2)),
)


@given(snapshots, snapshots, st.booleans())
def test_the_update_leads_from_one_to_the_other_and_has_nothing_else(old: Snapshot, new: Snapshot, share: bool) -> None:
    if share:  # as after a change of endpoints: what is equal is the same object
        hosts = {value: value for value in old.virtual_hosts}
        clusters = {value: value for value in old.clusters}
        new = Snapshot(
            tuple(hosts.get(value, value) for value in new.virtual_hosts),
            tuple(clusters.get(value, value) for value in new.clusters),
        )
    update = difference(old, new, 7)
    if update is None:
        assert old == new
        return
    assert (update.generation, update.full) == (7, False)
    hosts_by_name = {value.host: value for value in old.virtual_hosts}
    for value in update.virtual_hosts:
        assert hosts_by_name.get(value.host) != value
        hosts_by_name[value.host] = value
    for name in update.removed_hosts:
        del hosts_by_name[name]
    assert sorted(hosts_by_name) == [value.host for value in new.virtual_hosts]
    assert set(hosts_by_name.values()) == set(new.virtual_hosts)
    clusters_by_key = {value.key: value for value in old.clusters}
    for found in update.clusters:
        assert clusters_by_key.get(found.key) != found
        clusters_by_key[found.key] = found
    for key in update.removed_clusters:
        del clusters_by_key[key]
    assert set(clusters_by_key.values()) == set(new.clusters)


def test_another_default_alone_is_a_difference() -> None:
    route = Route(PathMatch(PathKind.PREFIX, "/"), SOURCE, None)
    update = difference(Snapshot(), Snapshot(default=route), 1)
    assert update is not None
    assert update.default == route
