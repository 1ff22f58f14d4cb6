"""The same objects give the same result, in whatever order they came and whatever was there before."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingressd.resources import Resource
from ingressd.translate import Options, translate
from tests.translate.manifests import read, store_of

GOLDEN = Path(__file__).with_name("golden")


def everything() -> list[Resource]:
    """The objects of all golden cases together; of several with one reference the first."""
    found: dict[object, Resource] = {}
    for path in sorted(GOLDEN.glob("*.yaml")):
        if not path.name.endswith(".out.yaml"):
            for resource in read(path.read_text()).resources:
                found.setdefault(resource.ref, resource)
    return list(found.values())


EVERYTHING = everything()
OPTIONS = Options(watch_ingress_without_class=True, default_backend_service="infra/not-found")
EXPECTED = translate(store_of(EVERYTHING), OPTIONS)


@settings(max_examples=50, deadline=None)
@given(st.permutations(EVERYTHING))
def test_order_of_arrival_makes_no_difference(resources: list[Resource]) -> None:
    assert translate(store_of(resources), OPTIONS) == EXPECTED


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(EVERYTHING), st.booleans()), max_size=40))
def test_what_was_there_before_makes_no_difference(edits: list[tuple[Resource, bool]]) -> None:
    store = store_of(EVERYTHING)
    for resource, come in edits:
        if come:
            store.upsert(resource)
        else:
            store.remove(resource.ref)
    for resource in EVERYTHING:
        store.upsert(resource)
    assert translate(store, OPTIONS) == EXPECTED


def test_sorted_and_distinct() -> None:
    snapshot = EXPECTED.snapshot
    hosts = [host.host for host in snapshot.virtual_hosts]
    keys = [cluster.key for cluster in snapshot.clusters]
    assert hosts == sorted(set(hosts))
    assert keys == sorted(set(keys))
    assert list(EXPECTED.problems) == sorted(set(EXPECTED.problems))
    for host in snapshot.virtual_hosts:
        precedence = [route.path.precedence for route in host.routes]
        assert precedence == sorted(precedence, reverse=True)
    for cluster in snapshot.clusters:
        assert list(cluster.endpoints) == sorted(set(cluster.endpoints))


@pytest.mark.parametrize("field", ["virtual_hosts", "clusters", "default"])
def test_there_is_something_to_compare(field: str) -> None:
    assert getattr(EXPECTED.snapshot, field)
