import json

import pytest

from ingressd.source.yaml_lines import field_line

INGRESS = """---
# A comment
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: shop
  annotations:
    nginx.ingress.kubernetes.io/proxy-body-size: 8m
    ingressd.dev/x: "1"
spec:
  rules:
  - host: a.example
    http:
      paths:
      - path: /
        pathType: Prefix
      - {path: /b,
         pathType: Exact}
  -
    host: b.example
  - http: &http
      paths: []
  - http: *http
  tls: [{hosts: [a.example,
    b.example]}]
"""
LINES = {
    "": 3,
    "kind": 4,
    "metadata.name": 6,
    "metadata.annotations": 7,
    "metadata.annotations[nginx.ingress.kubernetes.io/proxy-body-size]": 8,
    "metadata.annotations[ingressd.dev/x]": 9,
    "metadata.annotations[ingressd.dev/missing]": 7,
    "metadata.namespace": 5,
    "spec.rules[0]": 12,
    "spec.rules[0].host": 12,
    "spec.rules[0].http.paths[0].pathType": 16,
    "spec.rules[0].http.paths[0].backend.service.name": 15,
    "spec.rules[0].http.paths[1].pathType": 18,
    "spec.rules[0].http.paths[2].path": 14,
    "spec.rules[1]": 20,
    "spec.rules[1].host": 20,
    "spec.rules[3].http.paths": 22,
    "spec.rules[9].host": 11,
    "spec.tls[0].hosts[1]": 25,
    "status.x": 3,
    "spec.rules[x]": 11,
    "spec.rules.http": 11,
}


@pytest.mark.parametrize("field", LINES)
def test_line_of_a_field(field: str) -> None:
    assert field_line(INGRESS, field) == LINES[field]


def test_fields_of_the_items_of_a_list() -> None:
    items = "".join(f"- kind: Ingress\n  metadata:\n    name: i{number}\n" for number in range(3))
    text = f"kind: List\nitems:\n{items}"
    assert [field_line(text, f"items[{number}].metadata.name") for number in range(3)] == [5, 8, 11]
    assert field_line(text, "items[2].spec.rules[0]") == 9


def test_fields_that_a_merge_brings_stand_where_they_are_written() -> None:
    text = "base: &base\n  path: /\n  pathType: Prefix\none:\n  <<: *base\n  path: /x\ntwo:\n  <<: {path: /y}\n"
    assert field_line(text, "one.pathType") == 3
    assert field_line(text, "one.path") == 6
    assert field_line(text, "two.path") == 8


def test_json() -> None:
    text = json.dumps({"kind": "Ingress", "spec": {"rules": [{"host": "a"}, {"host": "b"}]}}, indent="\t")
    assert field_line(text, "spec.rules[1].host") == 1 + text[: text.index('"b"')].count("\n")


@pytest.mark.parametrize("text", ["", "text", "- a", '{"a": "\\ud83d\\ude00"}', "broken: ["])
def test_the_first_line_where_nothing_is_known(text: str) -> None:
    assert field_line(text, "spec.rules") == 1
