"""Which objects a manifest holds: kinds, versions, names, lists, and what a Secret never shows."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from ingressd.model import ObjectRef
from ingressd.resources import Ingress, Parsed, Secret, Service, parse
from tests.resources.samples import (
    CONFIG_MAP,
    ENDPOINT_SLICE,
    INGRESS,
    INGRESS_CLASS,
    SAMPLES,
    SECRET,
    SERVICE,
    Raw,
    edited,
    only,
    refused,
    without,
)


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample["kind"])
def test_valid_objects_keep_what_identifies_them(sample: Raw) -> None:
    resource = only(parse(sample))
    metadata = sample["metadata"]
    assert resource.ref == ObjectRef(sample["kind"], metadata.get("namespace", ""), metadata["name"])
    assert (resource.namespace, resource.name) == (resource.ref.namespace, resource.ref.name)


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample["kind"])
def test_every_kind_needs_a_valid_name(sample: Raw) -> None:
    for raw in (without(sample, "metadata.name"), edited(sample, "metadata.name", ""), without(sample, "metadata")):
        assert [problem.field for problem in parse(raw).problems] == ["metadata.name"]
    for name in ("Web", "web_1", "-web", "web.", "a" * 254, "web\n", "wéb"):
        problem = refused(edited(sample, "metadata.name", name))
        assert problem.field == "metadata.name"
        assert problem.reason == "InvalidValue"


@pytest.mark.parametrize(
    "sample", [sample for sample in SAMPLES if sample is not INGRESS_CLASS], ids=lambda s: s["kind"]
)
def test_namespace(sample: Raw) -> None:
    for raw in (without(sample, "metadata.namespace"), *(edited(sample, "metadata.namespace", v) for v in ("", None))):
        assert only(parse(raw)).namespace == "default"
    assert refused(edited(sample, "metadata.namespace", "Shop")).field == "metadata.namespace"
    assert refused(edited(sample, "metadata.namespace", "a.b")).field == "metadata.namespace"


def test_ingress_class_has_no_namespace() -> None:
    assert only(parse(edited(INGRESS_CLASS, "metadata.namespace", "shop"))).ref == ObjectRef(
        "IngressClass", "", "public"
    )


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample["kind"])
def test_api_versions(sample: Raw) -> None:
    own = sample["apiVersion"]
    for version in ("v2", "apps/v1", "networking.k8s.io/v9", None, 1, ""):
        problem = refused(edited(sample, "apiVersion", version))
        assert problem.object == only(parse(sample)).ref
        assert problem.field == "apiVersion"
        assert f"write {own}" in problem.message
    assert parse(edited(sample, "apiVersion", "example.com/v1")) == Parsed()


@pytest.mark.parametrize(
    ("sample", "version"),
    [
        (INGRESS, "extensions/v1beta1"),
        (INGRESS, "networking.k8s.io/v1beta1"),
        (INGRESS_CLASS, "networking.k8s.io/v1beta1"),
        (ENDPOINT_SLICE, "discovery.k8s.io/v1beta1"),
    ],
)
def test_removed_api_versions(sample: Raw, version: str) -> None:
    problem = refused(edited(sample, "apiVersion", version))
    assert problem.object == only(parse(sample)).ref
    assert (problem.reason, problem.field) == ("RemovedAPIVersion", "apiVersion")
    assert problem.message.startswith(f'"{version}" has been removed from Kubernetes: write {sample["apiVersion"]}')


def test_kinds() -> None:
    assert parse({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": 5}) == Parsed()
    assert parse({"apiVersion": "v1", "kind": "PodList", "items": [{}]}) == Parsed()
    assert parse({"apiVersion": "example.com/v1", "kind": "AllowList", "items": ["x"]}) == Parsed()
    problem = refused({**INGRESS, "kind": "ingress"})
    assert (problem.reason, problem.field, problem.object) == ("UnknownKind", "kind", only(parse(INGRESS)).ref)
    assert "write Ingress" in problem.message
    for wrong, version in (("list", "v1"), ("Servicelist", "v1"), ("ingressList", "networking.k8s.io/v1")):
        problem = refused({"apiVersion": version, "kind": wrong, "items": [INGRESS]})
        assert (problem.reason, problem.field, problem.object.name) == ("UnknownKind", "kind", "")
        assert wrong.lower() == problem.message.rpartition(" ")[2].lower() != problem.message.rpartition(" ")[2]
    assert parse({"apiVersion": "example.com/v1", "kind": "list", "items": [INGRESS]}) == Parsed()
    kinds: list[object] = [None, "", 5, [], {}]
    for kind in kinds:
        assert refused({**INGRESS, "kind": kind}).field == "kind"
    assert refused({}).object == ObjectRef("Object", "default", "")


def test_best_known_reference() -> None:
    for metadata, expected in {
        "names that should be in quotes": ({"name": 5, "namespace": 80}, ("80", "5")),
        "no names at all": ({"name": [], "namespace": True}, ("default", "")),
        "control characters": ({"name": "a\x1b[2J", "namespace": "b\ud800"}, ('"b\\ud800"', '"a\\u001b[2J"')),
        "long": ({"name": "x" * 1000}, ("default", "x" * 253)),
    }.values():
        problems = parse({**INGRESS, "metadata": metadata}).problems
        assert {problem.object for problem in problems} == {ObjectRef("Ingress", *expected)}
    assert refused({**INGRESS, "metadata": "x"}).object == ObjectRef("Ingress", "default", "")


def listed(*items: object, kind: str = "List") -> Raw:
    return {"apiVersion": "v1", "kind": kind, "metadata": {}, "items": list(items)}


def test_list() -> None:
    bad = edited(INGRESS, "spec.rules.0.host", "*")
    bad["metadata"]["name"] = "bad"
    parsed = parse(listed(SERVICE, bad, {"kind": "Pod", "apiVersion": "v1"}, ENDPOINT_SLICE, None, listed(CONFIG_MAP)))
    assert [resource.ref.kind for resource in parsed.resources] == ["Service", "EndpointSlice", "ConfigMap"]
    assert [problem.object for problem in parsed.problems] == [
        ObjectRef("Ingress", "shop", "bad"),
        ObjectRef("Object", "", ""),
    ]
    assert {ref.kind: place for ref, place in parsed.places.items()} == {
        "Service": "items[0]",
        "Ingress": "items[1]",
        "EndpointSlice": "items[3]",
        "Object": "items[4]",
        "ConfigMap": "items[5].items[0]",
    }
    assert not parse(SERVICE).places


def test_typed_list_says_the_kind_of_its_items() -> None:
    bare = without(without(INGRESS, "kind"), "apiVersion")
    raw = {"apiVersion": "networking.k8s.io/v1", "kind": "IngressList", "items": [bare]}
    assert isinstance(only(parse(raw)), Ingress)
    removed = {"apiVersion": "extensions/v1beta1", "kind": "IngressList", "items": [bare]}
    assert refused(removed).reason == "RemovedAPIVersion"


@pytest.mark.parametrize("items", [None, [], ()])
def test_list_may_be_empty(items: object) -> None:
    assert parse({"apiVersion": "v1", "kind": "List", "items": items}) == Parsed()


def test_list_of_something_else() -> None:
    assert refused({"apiVersion": "v1", "kind": "List", "items": {"a": 1}}).field == "items"
    assert refused(listed(listed(listed(SERVICE)))).field == "items"


def test_manifests_that_contain_themselves_end() -> None:
    endless: Raw = listed(SERVICE)
    endless["items"].append(endless)
    parsed = parse(endless)
    assert len(parsed.resources) == 2
    assert [problem.field for problem in parsed.problems] == ["items"]
    rules: list[Any] = [{"host": None}]
    rules.append(rules)
    assert refused(edited(INGRESS, "spec.rules", rules)).field == "spec.rules[1]"


def test_creation_timestamp_may_be_text_or_time() -> None:
    expected = datetime(2024, 5, 1, 12, tzinfo=UTC)
    for value in (
        "2024-05-01T12:00:00Z",
        "2024-05-01T14:00:00+02:00",
        expected,
        expected.astimezone(timezone(timedelta(hours=2))),
    ):
        resource = only(parse(edited(INGRESS, "metadata.creationTimestamp", value)))
        assert isinstance(resource, Ingress)
        assert resource.metadata.creation_timestamp == expected


def test_numeric_target_port() -> None:
    for value, expected in ((None, 80), (8080, 8080), ("8080", 8080), ("web", None), (0, 80), ("", 80)):
        resource = only(parse(edited(SERVICE, "spec.ports.0.targetPort", value)))
        assert isinstance(resource, Service)
        assert resource.spec.ports[0].numeric_target == expected


def test_secret_reads_both_forms() -> None:
    secret = only(parse({**SECRET, "data": {"tls.key": "aHVu\ndGVyMg==\r\n", "password": "eA=="}}))
    assert isinstance(secret, Secret)
    assert secret.keys() == {"tls.key", "password"}
    assert secret.value("tls.key") == b"hunter2"
    assert secret.value("password") == b"hunter2"
    with pytest.raises(KeyError):
        secret.value("other")


def test_secret_shows_nothing_of_what_it_holds() -> None:
    secret = only(parse({**SECRET, "metadata": {**SECRET["metadata"], "annotations": {"last": "hunter2"}}}))
    assert isinstance(secret, Secret)
    shown = f"{secret} {secret!r} {[secret]} {secret.__rich_repr__()} {parse(SECRET)}"
    assert "shop-tls" in shown
    assert "hunter2" not in shown
    assert "aHVudGVyMg" not in shown


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("data", {"k": "hunter2!"}),
        ("data", {"k": 1234567}),
        ("data", "hunter2"),
        ("data", ["hunter2"]),
        ("data", {"k": {"hunter2": 1}}),
        ("stringData", {"k": 1234567}),
        ("stringData", {"k": True}),
        ("stringData", "hunter2"),
        ("type", 1234567),
    ],
)
def test_problems_of_a_secret_show_nothing_of_what_it_holds(path: str, value: object) -> None:
    problem = refused(edited(SECRET, path, value))
    assert problem.field.startswith(path)
    for secret in ("hunter2", "1234567", "true"):
        assert secret not in str(problem)
