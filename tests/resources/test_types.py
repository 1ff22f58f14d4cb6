"""Values of a wrong type and fields that do not exist: where they are, and what belongs there."""

from datetime import date, datetime

import pytest

from ingressd.resources import parse
from tests.resources.samples import (
    CONFIG_MAP,
    ENDPOINT_SLICE,
    FIELD,
    INGRESS,
    PATH,
    SERVICE,
    Row,
    edited,
    only,
    refused,
    without,
)

# Field in dots, a value of a wrong type, the field that is named, and the whole message.
TYPES: dict[str, Row] = {
    "number in quotes": (
        INGRESS,
        f"{PATH}.backend.service.port.number",
        "80",
        f"{FIELD}.backend.service.port.number",
        '"80" is text, where a whole number belongs: write 80, without quotes',
    ),
    "name as number": (
        INGRESS,
        f"{PATH}.backend.service.port.number",
        "http",
        f"{FIELD}.backend.service.port.number",
        '"http" is text, where a whole number belongs: the name of a port is written as `name`',
    ),
    "number with fraction": (
        INGRESS,
        f"{PATH}.backend.service.port.number",
        80.5,
        f"{FIELD}.backend.service.port.number",
        "80.5 is a number, where a whole number belongs",
    ),
    "boolean as number": (
        INGRESS,
        f"{PATH}.backend.service.port.number",
        True,
        f"{FIELD}.backend.service.port.number",
        "true is a boolean, where a whole number belongs",
    ),
    "port name as port": (
        INGRESS,
        f"{PATH}.backend.service.port",
        "http",
        f"{FIELD}.backend.service.port",
        '"http" is text, where a mapping belongs: write {name: http}',
    ),
    "port number as port": (
        INGRESS,
        f"{PATH}.backend.service.port",
        80,
        f"{FIELD}.backend.service.port",
        "80 is a number, where a mapping belongs: write {number: 80}",
    ),
    "service name as service": (
        INGRESS,
        f"{PATH}.backend.service",
        "web",
        f"{FIELD}.backend.service",
        '"web" is text, where a mapping belongs: write {name: web, port: {number: ...}}',
    ),
    "rules as mapping": (
        INGRESS,
        "spec.rules",
        {"host": "x"},
        "spec.rules",
        "a mapping stands here, where a list belongs: begin each item with `- `",
    ),
    "paths as text": (
        INGRESS,
        "spec.rules.0.http.paths",
        "/",
        "spec.rules[0].http.paths",
        '"/" is text, where a list belongs',
    ),
    "rule as null": (INGRESS, "spec.rules", [None], "spec.rules[0]", "null stands here, where a mapping belongs"),
    "spec as list": (INGRESS, "spec", [], "spec", "a list stands here, where a mapping belongs"),
    "host as number": (
        INGRESS,
        "spec.rules.0.host",
        80,
        "spec.rules[0].host",
        '80 is a number, where text belongs: write it in quotes, "80"',
    ),
    "host as list": (
        INGRESS,
        "spec.rules.0.host",
        ["a"],
        "spec.rules[0].host",
        "a list stands here, where text belongs",
    ),
    "host as binary": (
        INGRESS,
        "spec.rules.0.host",
        b"a",
        "spec.rules[0].host",
        "a value of another kind stands here, where text belongs",
    ),
    "annotation true": (
        INGRESS,
        "metadata.annotations",
        {"a": "", "b": True},
        "metadata.annotations[b]",
        'true is a boolean, where text belongs: write it in quotes, "true"',
    ),
    "annotation 80": (
        INGRESS,
        "metadata.annotations",
        {"b": 80},
        "metadata.annotations[b]",
        '80 is a number, where text belongs: write it in quotes, "80"',
    ),
    "annotation date": (
        INGRESS,
        "metadata.annotations",
        {"b": date(2024, 5, 1)},
        "metadata.annotations[b]",
        '2024-05-01 is a date, where text belongs: write it in quotes, "2024-05-01"',
    ),
    "annotation null": (
        INGRESS,
        "metadata.annotations",
        {"b": None},
        "metadata.annotations[b]",
        'null stands here, where text belongs: write "" for an empty text',
    ),
    "annotation mapping": (
        INGRESS,
        "metadata.annotations",
        {"b": {}},
        "metadata.annotations[b]",
        "a mapping stands here, where text belongs",
    ),
    "annotation key 80": (
        INGRESS,
        "metadata.annotations",
        {80: ""},
        "metadata.annotations",
        "the key 80 is a number, not text: write it in quotes",
    ),
    "timestamp without zone": (
        INGRESS,
        "metadata.creationTimestamp",
        datetime(2024, 5, 1),
        "metadata.creationTimestamp",
        "2024-05-01T00:00:00 is a date, where a time with a time zone belongs, as 2024-05-01T12:00:00Z",
    ),
    "timestamp as word": (
        INGRESS,
        "metadata.creationTimestamp",
        "now",
        "metadata.creationTimestamp",
        '"now" is text, where a time with a time zone belongs, as 2024-05-01T12:00:00Z',
    ),
    "timestamp as number": (
        INGRESS,
        "metadata.creationTimestamp",
        5,
        "metadata.creationTimestamp",
        "5 is a number, where a time with a time zone belongs, as 2024-05-01T12:00:00Z",
    ),
    "target port as list": (
        SERVICE,
        "spec.ports.0.targetPort",
        [1],
        "spec.ports[0].targetPort",
        "a list stands here, where a number or text belongs",
    ),
    "ready as text": (
        ENDPOINT_SLICE,
        "endpoints.0.conditions.ready",
        "true",
        "endpoints[0].conditions.ready",
        '"true" is text, where true or false belongs',
    ),
    "label as number": (
        ENDPOINT_SLICE,
        "metadata.labels",
        {"a": 1},
        "metadata.labels[a]",
        '1 is a number, where text belongs: write it in quotes, "1"',
    ),
    "config value as number": (
        CONFIG_MAP,
        "data",
        {"max": 10},
        "data[max]",
        '10 is a number, where text belongs: write it in quotes, "10"',
    ),
}


@pytest.mark.parametrize("row", TYPES)
def test_refused_types(row: str) -> None:
    sample, path, value, field, message = TYPES[row]
    problem = refused(edited(sample, path, value))
    assert problem.object == only(parse(sample)).ref
    assert (problem.field, problem.message, problem.reason) == (field, message, "InvalidType")


UNKNOWN = {
    "case": ("spec.rules.0.http.paths.0.pathtype", f"{FIELD}.pathtype", "did you mean `pathType`?"),
    "typo": ("spec.ruels", "spec.ruels", "did you mean `rules`?"),
    "swapped letters": (f"{PATH}.paht", f"{FIELD}.paht", "did you mean `path`?"),
    "old service": (f"{PATH}.backend.serviceName", f"{FIELD}.backend.serviceName", "`service: {name: ...}` instead"),
    "old port": (
        f"{PATH}.backend.servicePort",
        f"{FIELD}.backend.servicePort",
        "`service: {port: {number: ...}}` instead",
    ),
    "old default": ("spec.backend", "spec.backend", "`defaultBackend` instead"),
    "misplaced": ("spec.annotations", "spec.annotations", "known are defaultBackend, ingressClassName, rules and tls"),
    "in metadata": ("metadata.annotation", "metadata.annotation", "did you mean `annotations`?"),
    "at the top": ("specs", "specs", "did you mean `spec`?"),
    "in tls": ("spec.tls.0.secret", "spec.tls[0].secret", "did you mean `secretName`?"),
}


@pytest.mark.parametrize("row", UNKNOWN)
def test_unknown_fields_of_an_ingress(row: str) -> None:
    path, field, words = UNKNOWN[row]
    problem = refused(edited(INGRESS, path, "x"))
    assert (problem.reason, problem.field) == ("UnknownField", field)
    assert words in problem.message


def test_unknown_fields_are_reported_with_what_is_missing_for_them() -> None:
    raw = edited(without(INGRESS, f"{PATH}.pathType"), f"{PATH}.pathtype", "Exact")
    assert [problem.field for problem in parse(raw).problems] == [f"{FIELD}.pathtype", f"{FIELD}.pathType"]


def test_all_findings_of_an_object_are_reported() -> None:
    raw = edited(edited(INGRESS, "spec.rules.0.host", "A"), f"{PATH}.pathType", "x")
    assert [problem.field for problem in parse(raw).problems] == ["spec.rules[0].host", f"{FIELD}.pathType"]


def test_thousands_of_unknown_fields_give_no_thousands_of_problems() -> None:
    raw = edited(INGRESS, "spec.rules.0", {f"x{number}": 1 for number in range(10_000)})
    assert len(parse(raw).problems) == 20
