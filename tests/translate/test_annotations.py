"""Annotation keys: the data, and the cost of looking at hostile ones. What is said of each is in the golden cases."""

import re
import time
from pathlib import Path

import pytest

from ingressd.translate.annotation_keys import ALIASES, KEYS, MEANT, MEANT_BEGINNINGS, PROTECTIVE, REMARKS
from ingressd.translate.annotations import MISPLACED, UNKNOWN, UNSUPPORTED, annotation_faults
from ingressd.translate.tls_annotations import KEYS as TLS_KEYS

REFERENCE = Path(__file__).parents[2].parent / "shared" / "reference" / "ingress-nginx.md"
PREFIX = "nginx.ingress.kubernetes.io/"


def test_tables_name_known_keys() -> None:
    assert len(KEYS) == 137
    assert set(ALIASES.values()) <= KEYS
    assert set(MEANT.values()) <= KEYS
    assert set(MEANT_BEGINNINGS.values()) <= KEYS
    assert PROTECTIVE <= KEYS
    assert not (KEYS | ALIASES.keys()) & (MEANT.keys() | REMARKS.keys())


if REFERENCE.is_file():

    def test_keys_are_those_of_the_reference() -> None:
        listed = re.findall(r"^[0-9]+\. `([a-z0-9-]+)`", REFERENCE.read_text(), re.MULTILINE)
        assert set(listed) == KEYS


@pytest.mark.parametrize("key", sorted((KEYS | ALIASES.keys()) - TLS_KEYS))
def test_every_key_without_effect_is_reported_with_its_full_name(key: str) -> None:
    [(field, reason, message)] = annotation_faults({PREFIX + key: "x"})
    assert field == f"metadata.annotations[{PREFIX}{key}]"
    assert reason == UNSUPPORTED
    assert key in message or "snippet" in key


def test_keys_that_have_an_effect_are_known() -> None:
    assert TLS_KEYS <= KEYS
    assert not list(annotation_faults({PREFIX + key: "x" for key in TLS_KEYS}))


def test_reasons() -> None:
    keys = (PREFIX + "nonsense", "ingressd.dev/use-regex", "kubernetes.io/use-regex", "example.com/use-regex")
    found = {field: reason for field, reason, _ in annotation_faults(dict.fromkeys(keys, ""))}
    assert list(found.values()) == [UNKNOWN, UNKNOWN, MISPLACED]


def test_ten_thousand_unknown_keys_cost_as_little_as_a_hundred() -> None:
    """As many as fit in the 256 KiB that the API server allows."""
    annotations = {f"{PREFIX}proxy-body-size-{number}": "" for number in range(10_000)}
    started = time.process_time()
    assert len(list(annotation_faults(annotations))) == 100
    assert time.process_time() - started < 0.5  # some hundredths
