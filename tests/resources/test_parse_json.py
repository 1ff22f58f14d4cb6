"""Objects as JSON of an API server: the same as from a manifest, but for what only an API server writes."""

import json
from copy import deepcopy
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings

from ingressd.resources import EndpointSlice, Secret, parse, parse_json
from ingressd.resources.finding import Finding
from tests.resources.mutations import mutated
from tests.resources.samples import ENDPOINT_SLICE, INGRESS, SAMPLES, SECRET


def as_json(raw: dict[str, Any]) -> bytes:
    return msgspec.json.encode(raw)


def findings(kind: str, data: bytes) -> tuple[Finding, ...]:
    found = parse_json(kind, data)
    assert isinstance(found, tuple)
    return found


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample["kind"])
def test_gives_what_a_manifest_gives(sample: dict[str, Any]) -> None:
    expected = parse(json.loads(as_json(sample))).resources
    assert (parse_json(sample["kind"], as_json(sample)),) == expected
    item = {key: value for key, value in sample.items() if key not in ("kind", "apiVersion")}
    assert (parse_json(sample["kind"], msgspec.Raw(as_json(item))),) == expected


def test_null_is_an_empty_list_as_go_writes_it() -> None:
    found = parse_json("EndpointSlice", as_json({**ENDPOINT_SLICE, "endpoints": None, "ports": None}))
    assert isinstance(found, EndpointSlice)
    assert (found.endpoints, found.ports) == ((), ())


def test_a_field_of_a_newer_api_server_is_no_finding() -> None:
    newer = deepcopy(INGRESS)
    newer["spec"]["rules"][0]["tomorrow"] = {"x": 1}
    assert parse(newer).problems
    assert (parse_json("Ingress", as_json(newer)),) == parse(INGRESS).resources


def test_a_wrong_value_is_named() -> None:
    wrong = deepcopy(INGRESS)
    wrong["spec"]["rules"][0]["http"]["paths"][1]["backend"]["service"]["port"] = {"number": "x"}
    (found,) = findings("Ingress", as_json(wrong))
    assert found.field == "spec.rules[0].http.paths[1].backend.service.port.number"
    assert '"x"' in found.message


def test_what_an_api_server_no_longer_takes_is_found() -> None:
    old = deepcopy(INGRESS)
    old["spec"]["rules"][0]["http"]["paths"][0]["path"] = "cart"
    (found,) = findings("Ingress", as_json(old))
    assert (found.field, found.reason) == ("spec.rules[0].http.paths[0].path", "InvalidValue")


def test_no_message_shows_a_value_of_a_secret() -> None:
    (found,) = findings("Secret", as_json({**SECRET, "data": {"key": 12345}}))
    assert found.field == "data[key]"
    assert "12345" not in found.message
    assert isinstance(parse_json("Secret", as_json(SECRET)), Secret)


@pytest.mark.parametrize(
    "data", [b"", b"{", b'{"metadata":{"name":"a\xff"}}', b'{"spec":3,"x":"\xff"}', b"[]", b"3", b"null"]
)
def test_what_is_no_object_is_a_finding(data: bytes) -> None:
    (found,) = findings("Ingress", data)
    assert found.reason == "NotAnObject"


@settings(max_examples=400, deadline=None)
@given(mutated(SAMPLES))
def test_mutated_objects(raw: dict[str, Any]) -> None:
    """Never raises; and what it takes, a manifest may say too, if unknown fields are let pass."""
    try:
        data = json.dumps(raw, default=str, ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError):
        return
    for kind in {sample["kind"] for sample in SAMPLES}:
        found = parse_json(kind, data)
        if isinstance(found, tuple):
            assert found
            continue
        parsed = parse({**json.loads(data), "kind": kind, "apiVersion": _version(kind)})
        others = [problem for problem in parsed.problems if problem.reason != "UnknownField"]
        assert parsed.resources == (found,) or (parsed.problems and not others), parsed


def _version(kind: str) -> str:
    (found,) = {sample["apiVersion"] for sample in SAMPLES if sample["kind"] == kind}
    return str(found)
