"""Whatever a manifest holds, it gives objects or Problems, and what it gives can be stored, translated and sent."""

import json
from typing import Any

import msgspec
from hypothesis import given, settings

from ingressd.model import Update
from ingressd.resources import Store, parse
from ingressd.translate import Options, translate
from tests.resources.mutations import mutated
from tests.resources.samples import SAMPLES

LIST = {"apiVersion": "v1", "kind": "List", "items": SAMPLES}
OPTIONS = Options(watch_ingress_without_class=True, default_backend_service="shop/web")


def check(raw: dict[str, Any]) -> None:
    parsed = parse(raw)
    store = Store()
    for sample in SAMPLES:
        store.upsert(parse(sample).resources[0])
    for resource in parsed.resources:
        store.upsert(resource)
        assert store.get(resource.ref) == resource
    translation = translate(store, OPTIONS)
    msgspec.msgpack.encode(Update.of(translation.snapshot, 1))
    for problem in (*parsed.problems, *translation.problems):
        json.dumps(msgspec.to_builtins(problem), ensure_ascii=False).encode()
        assert problem.message
        assert str(problem).isprintable()


@settings(max_examples=700, deadline=None)
@given(mutated(SAMPLES))
def test_mutated_objects(raw: dict[str, Any]) -> None:
    check(raw)


@settings(max_examples=300, deadline=None)
@given(mutated([LIST]))
def test_mutated_lists(raw: dict[str, Any]) -> None:
    check(raw)


@settings(max_examples=300, deadline=None)
@given(mutated(SAMPLES))
def test_each_object_is_either_good_or_has_problems(raw: dict[str, Any]) -> None:
    parsed = parse(raw)
    good = {resource.ref for resource in parsed.resources}
    bad = {problem.object for problem in parsed.problems}
    assert not good & bad
    assert len(good) + len(bad) <= 1
