"""What workers are told: who is unhealthy, and nothing that is not theirs."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from ingressd.control.health.overlay import Overlay
from ingressd.model import CheckType, Cluster, ClusterKey, Endpoint, HealthCheck, Snapshot, diff

HTTP, TCP = HealthCheck(), HealthCheck(CheckType.TCP)
ALL = tuple(Endpoint(f"10.0.0.{number}", 80) for number in range(4))


def cluster(
    name: str, check: HealthCheck | None, *endpoints: Endpoint, terminating: tuple[Endpoint, ...] = ()
) -> Cluster:
    key = ClusterKey("shop", name, "80")
    return Cluster(key, endpoints, health=check, terminating=terminating, slow_start=5.0)


def test_each_cluster_has_what_its_own_check_found() -> None:
    wanted = Snapshot(
        clusters=(cluster("a", HTTP, *ALL[:2]), cluster("b", TCP, *ALL[:2]), cluster("c", None, *ALL[:2]))
    )
    applied = Overlay().apply(wanted, {HTTP: {ALL[0], ALL[3]}})
    assert [each.unhealthy for each in applied.clusters] == [(ALL[0],), (), ()]
    assert {each.health for each in applied.clusters} == {None}
    assert [each.slow_start for each in applied.clusters] == [5.0] * 3


def test_without_checks_nothing_is_made() -> None:
    wanted = Snapshot(clusters=(cluster("a", None, *ALL),))
    assert Overlay().apply(wanted, {}) is wanted


def test_workers_do_not_hear_of_those_that_terminate() -> None:
    overlay = Overlay()
    before = overlay.apply(Snapshot(clusters=(cluster("a", None, *ALL[:1], terminating=ALL[1:2]),)), {})
    after = overlay.apply(Snapshot(clusters=(cluster("a", None, *ALL[:1], terminating=ALL[1:3]),)), {})
    assert diff(before, after, 2) is None


def test_an_update_has_only_the_cluster_that_changed_and_says_little() -> None:
    overlay = Overlay()
    wanted = Snapshot(clusters=tuple(cluster(f"s{number:03}", HTTP, *ALL) for number in range(100)))
    before = overlay.apply(wanted, {})
    other = wanted.clusters[7]
    changed = (*wanted.clusters[:7], msgspec.structs.replace(other, health=TCP), *wanted.clusters[8:])
    after = overlay.apply(msgspec.structs.replace(wanted, clusters=changed), {TCP: {ALL[1]}})
    assert [one is two for one, two in zip(before.clusters, after.clusters, strict=True)].count(False) == 1
    update = diff(before, after, 2)
    assert update is not None
    assert [(each.key, each.unhealthy) for each in update.clusters] == [(other.key, (ALL[1],))]
    assert b"health" not in msgspec.msgpack.encode(update).replace(b"unhealthy", b"")


def test_a_check_that_changes_alone_is_no_update() -> None:
    overlay = Overlay()
    before = overlay.apply(Snapshot(clusters=(cluster("a", HTTP, *ALL),)), {})
    after = overlay.apply(Snapshot(clusters=(cluster("a", TCP, *ALL),)), {})
    assert diff(before, after, 2) is None


checks = st.sampled_from([None, HTTP, TCP])
members = st.lists(st.sampled_from(ALL), unique=True).map(lambda found: tuple(sorted(found)))
snapshots = st.lists(st.tuples(checks, members), max_size=4).map(
    lambda found: Snapshot(clusters=tuple(cluster(f"s{at}", check, *some) for at, (check, some) in enumerate(found)))
)
failed = st.fixed_dictionaries({}, optional={HTTP: st.sets(st.sampled_from(ALL)), TCP: st.sets(st.sampled_from(ALL))})


@given(st.lists(st.tuples(snapshots, failed), max_size=6))
def test_what_was_made_before_makes_no_difference(
    steps: list[tuple[Snapshot, dict[HealthCheck, set[Endpoint]]]],
) -> None:
    overlay = Overlay()
    for wanted, unhealthy in steps:
        assert overlay.apply(wanted, unhealthy) == Overlay().apply(wanted, unhealthy)
