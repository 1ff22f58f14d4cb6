import pytest

from ingressd.resources.nearest import Words

FIELDS = Words(["path", "pathType", "backend", "rules", "tls", "defaultBackend", "ingressClassName", "host", "http"])

NEAREST = {
    "pathtype": "pathType",
    "PATH": "path",
    "paht": "path",
    "pathType": "pathType",
    "pathTypes": "pathType",
    "rule": "rules",
    "hosts": "host",
    "ingressClass": "ingressClassName",
    "defaultbackend": "defaultBackend",
    "spec": "",
    "annotations": "",
    "": "",
    "\ud800": "",
}


@pytest.mark.parametrize("word", NEAREST)
def test_nearest(word: str) -> None:
    assert FIELDS.nearest(word) == NEAREST[word]


def test_membership() -> None:
    assert "path" in FIELDS
    assert "Path" not in FIELDS


def test_ties_are_settled_by_the_alphabet() -> None:
    assert Words(["abx", "aby"]).nearest("abz") == Words(["aby", "abx"]).nearest("abz") == "abx"


def test_no_words() -> None:
    assert Words([]).nearest("x") == ""
