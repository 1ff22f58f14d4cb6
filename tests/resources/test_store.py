from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingressd.model import ObjectRef
from ingressd.resources import EndpointSlice, Resource, Store, parse
from tests.resources.samples import ENDPOINT_SLICE, INGRESS, SAMPLES, SERVICE, Raw, edited


def one(raw: Raw) -> Resource:
    [resource] = parse(raw).resources
    return resource


def filled(raws: Iterable[Raw] = SAMPLES) -> Store:
    store = Store()
    for raw in raws:
        assert store.upsert(one(raw))
    return store


def slice_of(name: str, service: str | None, address: str = "10.0.0.1") -> EndpointSlice:
    labels = {"kubernetes.io/service-name": service} if service else {}
    metadata = {"name": name, "namespace": "shop", "labels": labels}
    resource = one({**ENDPOINT_SLICE, "metadata": metadata, "endpoints": [{"addresses": [address]}]})
    assert isinstance(resource, EndpointSlice)
    return resource


def test_look_up() -> None:
    store = filled()
    assert len(store) == len(SAMPLES) == len(list(store))
    assert [ingress.name for ingress in store.ingresses] == ["web"]
    assert list(store.ingress_classes) == ["public"]
    for found in (store.service("shop", "web"), store.endpoints("shop", "web")):
        assert found is not None
        assert found.name == "web"
    assert store.secret("shop", "shop-tls") is not None
    assert store.config_map("shop", "settings") is not None
    assert [one.name for one in store.slices_of("shop", "web")] == ["web-1"]


def test_nothing_is_found_in_another_namespace() -> None:
    store = filled()
    for find in (store.service, store.endpoints, store.secret, store.config_map):
        assert not any(find("blog", name) for name in ("web", "shop-tls", "settings"))
    assert not store.slices_of("blog", "web")


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample["kind"])
def test_the_same_object_again_is_no_change(sample: Raw) -> None:
    store = filled()
    assert not store.upsert(one(sample))
    assert store.remove(one(sample).ref)
    assert store.get(one(sample).ref) is None
    assert not store.remove(one(sample).ref)
    assert store.upsert(one(sample))
    assert store.get(one(sample).ref) == one(sample)


def test_what_is_not_read_is_no_change() -> None:
    store = filled()
    for sample in SAMPLES:
        assert not store.upsert(one(edited(sample, "metadata.resourceVersion", "7")))
    # Leader election writes such annotations every two seconds.
    for sample in (raw for raw in SAMPLES if raw["kind"] in ("ConfigMap", "Endpoints", "Service")):
        assert not store.upsert(one(edited(sample, "metadata.annotations", {"leader": "me"})))
    assert not store.upsert(one(edited(INGRESS, "status", {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}})))
    assert not store.upsert(one(edited(INGRESS, "metadata.labels", {"new": "label"})))


def test_what_is_read_is_a_change() -> None:
    store = filled()
    assert store.upsert(one(edited(INGRESS, "metadata.annotations", {})))
    assert store.upsert(one(edited(SERVICE, "spec.ports.0.port", 81)))
    assert store.upsert(one(edited(ENDPOINT_SLICE, "endpoints.0.conditions.ready", False)))
    assert len(store) == len(SAMPLES)


def test_unknown_kinds_are_not_there() -> None:
    store = filled()
    assert store.get(ObjectRef("Pod", "shop", "web")) is None
    assert not store.remove(ObjectRef("Pod", "shop", "web"))


def test_slice_moves_with_its_label() -> None:
    store = Store()
    store.upsert(slice_of("a", "web"))
    store.upsert(slice_of("b", "web"))
    assert store.upsert(slice_of("a", "cart"))
    assert [one.name for one in store.slices_of("shop", "web")] == ["b"]
    assert [one.name for one in store.slices_of("shop", "cart")] == ["a"]
    assert store.upsert(slice_of("a", None))
    assert not store.slices_of("shop", "cart")
    assert store.upsert(slice_of("a", "web"))
    assert sorted(one.name for one in store.slices_of("shop", "web")) == ["a", "b"]


names = st.sampled_from(["a", "b", "c"])
edits = st.tuples(
    names, st.sampled_from([None, "web", "cart"]), st.sampled_from(["10.0.0.1", "10.0.0.2"]), st.booleans()
)


@settings(max_examples=200, deadline=None)
@given(st.lists(edits, max_size=20))
def test_slices_are_found_by_service_after_any_edits(edits: list[tuple[str, str | None, str, bool]]) -> None:
    store = Store()
    expected: dict[str, EndpointSlice] = {}
    for name, service, address, come in edits:
        resource = slice_of(name, service, address)
        if come:
            assert store.upsert(resource) == (expected.get(name) != resource)
            expected[name] = resource
        else:
            assert store.remove(resource.ref) == (name in expected)
            expected.pop(name, None)
    for service in ("web", "cart"):
        found = {one.name: one for one in store.slices_of("shop", service)}
        assert found == {name: one for name, one in expected.items() if one.service == service}
    assert not store.slices_of("shop", "")
