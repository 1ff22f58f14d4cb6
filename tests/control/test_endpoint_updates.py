"""The short ways: for endpoints only clusters are looked at again, and of a former translation what has not changed is
taken over. Either way the result is that of translating everything."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingressd.control import reconcile
from ingressd.control.reconcile import Reconciler
from ingressd.model import ObjectRef, Problem
from ingressd.resources import Resource, parse
from ingressd.source.base import Changes
from ingressd.translate import Options, Translator

OPTIONS = Options(watch_ingress_without_class=True, default_backend_service="shop/cart")
SERVICES = ("cart", "web", "dns", "alone")


def service(name: str) -> dict[str, Any]:
    external = {"type": "ExternalName", "externalName": "far.example"} if name == "dns" else {}
    ports = [{"name": "http", "port": 80, "targetPort": 8080}, {"name": "admin", "port": 90}]
    checked = {"ingressd.dev/health-check-path": "/healthz", "ingressd.dev/slow-start": "30s"}
    metadata = {"name": name, "namespace": "shop", "annotations": checked if name == "web" else {}}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": ports, **external}}


def ingress(name: str, *backends: tuple[str, dict[str, Any]], of_class: str | None = None) -> dict[str, Any]:
    paths = [
        {"path": f"/{at}", "pathType": "Prefix", "backend": {"service": {"name": service, "port": port}}}
        for at, (service, port) in enumerate(backends)
    ]
    metadata = {"name": name, "namespace": "shop"}
    spec = {"rules": [{"host": f"{name}.example", "http": {"paths": paths}}], "ingressClassName": of_class}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": metadata, "spec": spec}


def slice_of(service: str, address: str) -> dict[str, Any]:
    labels = {"kubernetes.io/service-name": service}
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "a", "namespace": "shop", "labels": labels},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080}],
        "endpoints": [{"addresses": [address]}],
    }


OBJECTS = [
    *map(service, SERVICES),
    ingress("one", ("cart", {"number": 80}), ("web", {"name": "http"}), ("dns", {"number": 80})),
    ingress("two", ("cart", {"number": 90}), ("cart", {"name": "http"}), ("none", {"number": 80})),
    ingress("three", ("cart", {"number": 80}), ("web", {"name": "http"}), ("web", {"number": 70})),
    ingress("public", ("cart", {"number": 80}), of_class="public"),
]

addresses = st.sampled_from(["10.0.0.1", "10.0.0.2", "10.0.0.3", "fd00::1", "not an address"])
conditions = st.fixed_dictionaries(
    {}, optional={"ready": st.booleans(), "serving": st.booleans(), "terminating": st.booleans()}
)
endpoints = st.lists(st.fixed_dictionaries({"addresses": addresses.map(lambda one: [one]), "conditions": conditions}))


@st.composite
def slices(draw: st.DrawFn) -> dict[str, Any]:
    """A slice of any of the Services, of none, or of one that does not exist."""
    metadata: dict[str, Any] = {"name": draw(st.sampled_from(["a", "b", "c"])), "namespace": "shop"}
    if owner := draw(st.sampled_from([*SERVICES, "none", ""])):
        metadata["labels"] = {"kubernetes.io/service-name": owner}
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": metadata,
        "addressType": draw(st.sampled_from(["IPv4", "FQDN"])),
        "ports": draw(st.lists(st.sampled_from([{"name": "http", "port": 8080}, {"name": "admin", "port": 90}, {}]))),
        "endpoints": draw(endpoints),
    }


old_endpoints = st.builds(
    lambda name, ip: {
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": {"name": name, "namespace": "shop"},
        "subsets": [{"addresses": [{"ip": ip}], "ports": [{"name": "http", "port": 8080}]}],
    },
    st.sampled_from(SERVICES),
    addresses,
)
removals = st.builds(
    ObjectRef, st.sampled_from(["EndpointSlice", "Endpoints"]), st.just("shop"), st.sampled_from(["a", "b", "cart"])
)
Edit = dict[str, Any] | ObjectRef
edits: st.SearchStrategy[Edit] = slices() | old_endpoints | removals


ports = st.sampled_from([{"number": 80}, {"number": 90}, {"number": 70}, {"name": "http"}])
ingresses = st.builds(
    lambda name, backends, of_class: ingress(name, *backends, of_class=of_class),
    st.sampled_from(["one", "two", "four"]),
    st.lists(st.tuples(st.sampled_from([*SERVICES, "none"]), ports), min_size=1, max_size=3),
    st.sampled_from([None, "public"]),
)
classes = st.builds(
    lambda controller: {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "IngressClass",
        "metadata": {"name": "public"},
        "spec": {"controller": controller},
    },
    st.sampled_from([OPTIONS.controller_class, "example.com/another"]),
)


@st.composite
def services(draw: st.DrawFn) -> dict[str, Any]:
    """Another port, another type, or the same again."""
    made = service(draw(st.sampled_from([*SERVICES, "none"])))
    if draw(st.booleans()):
        made["metadata"]["annotations"] = {"ingressd.dev/health-check-type": "tcp"}
    made["spec"]["ports"][0]["port"] = draw(st.sampled_from([80, 70]))
    if draw(st.booleans()):
        made["spec"] |= {"type": "ExternalName", "externalName": "10.9.9.9"}
    return made


other_removals = st.builds(
    ObjectRef, st.sampled_from(["Ingress", "Service"]), st.just("shop"), st.sampled_from(["one", "cart", "web"])
) | st.just(ObjectRef("IngressClass", "", "public"))
any_edits: st.SearchStrategy[Edit] = edits | ingresses | services() | classes | other_removals


def read(raw: dict[str, Any]) -> Resource:
    (found,) = parse(raw).resources
    return found


def as_changes(edit: Edit) -> Changes:
    return Changes(removals=(edit,)) if isinstance(edit, ObjectRef) else Changes((read(edit),))


def place(problem: Problem) -> Problem:
    return problem


def address(_: str) -> tuple[str, ...]:
    return ("192.0.2.7",)


def reconciler(*steps: Changes) -> Reconciler:
    made = Reconciler(OPTIONS, place)
    for changes in steps:
        made.take(changes)
    made.rebuild()
    made.publish(address, {})
    return made


@settings(max_examples=300, deadline=None)
@given(st.lists(st.lists(edits, min_size=1, max_size=4), max_size=5))
def test_the_result_is_that_of_translating_everything(rounds: list[list[Edit]]) -> None:
    first = Changes(tuple(map(read, OBJECTS)))
    made = reconciler(first)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reconcile, "Translator", None)  # it must not be needed again
        for edited in rounds:
            for edit in edited:
                made.take(as_changes(edit))
            made.rebuild()
            made.publish(address, {})
    anew = reconciler(first, *(as_changes(edit) for edited in rounds for edit in edited))
    assert made.published.snapshot == anew.published.snapshot
    assert made.problems == anew.problems


@settings(max_examples=300, deadline=None)
@given(st.lists(st.lists(any_edits, min_size=1, max_size=4), max_size=6))
def test_what_is_taken_over_from_a_former_translation_is_what_a_new_one_would_find(rounds: list[list[Edit]]) -> None:
    first = Changes(tuple(map(read, OBJECTS)))
    made = reconciler(first)
    for edited in rounds:
        for edit in edited:
            made.take(as_changes(edit))
        made.rebuild()
        made.publish(address, {})
    anew = reconciler(first, *(as_changes(edit) for edited in rounds for edit in edited))
    assert made.published.snapshot == anew.published.snapshot
    assert made.problems == anew.problems
    assert made.references == anew.references


def test_other_objects_are_translated_anew_with_the_endpoints_that_came_with_them() -> None:
    first = Changes(tuple(map(read, OBJECTS)))
    made = reconciler(first)
    more = Changes(
        tuple(map(read, [slice_of("late", "10.0.0.9"), service("late"), ingress("late", ("late", {"number": 80}))]))
    )
    made.take(more)
    made.rebuild()
    made.publish(address, {})
    assert made.published.snapshot == reconciler(first, more).published.snapshot
    assert "10.0.0.9" in str(made.published.snapshot)


def test_after_a_defect_all_is_translated_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(Translator):
        def update_endpoints(self, services: object) -> None:
            raise ZeroDivisionError

    monkeypatch.setattr(reconcile, "Translator", Broken)
    first = Changes(tuple(map(read, OBJECTS)))
    made = reconciler(first)
    change = Changes((read(slice_of("cart", "10.0.0.1")),))
    made.take(change)
    with pytest.raises(ZeroDivisionError):
        made.rebuild()
    made.rebuild()
    made.publish(address, {})
    assert made.published.snapshot == reconciler(first, change).published.snapshot
