"""Manifests as people have them. Present only beside the repository; without them there is nothing to test here."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from ingressd.model import Problem
from ingressd.resources import Ingress, parse
from ingressd.translate import Options, Translation, translate
from ingressd.translate.classes import CLASS_ANNOTATION
from tests.translate.manifests import Loader, store_of

CORPUS = Path(__file__).parents[2].parent / "shared" / "corpora" / "ingresses"
MANIFESTS = sorted(CORPUS.glob("*.yaml"))


def documents(path: Path) -> list[Mapping[str, Any]]:
    return [document for document in yaml.load_all(path.read_text(), Loader) if document is not None]


def served(ingress: Ingress) -> Translation:
    """Translated with the class that it asks for as ours."""
    asked = ingress.spec.ingress_class_name or ingress.metadata.annotations.get(CLASS_ANNOTATION, "nginx")
    return translate(store_of([ingress]), Options(ingress_class=asked, watch_ingress_without_class=True))


if MANIFESTS:

    @pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
    def test_gives_routes_or_says_why_not(path: Path) -> None:
        for document in documents(path):
            parsed = parse(document)
            problems: list[Problem] = list(parsed.problems)
            for resource in parsed.resources:
                assert isinstance(resource, Ingress)
                translation = served(resource)
                problems += translation.problems
                routed = any(host.routes or host.default for host in translation.snapshot.virtual_hosts)
                assert routed or "CanaryNotServed" in {problem.reason for problem in translation.problems}
                assert not translation.passed_over
            assert bool(parsed.resources) != bool(parsed.problems)
            for problem in problems:
                assert problem.object.kind == "Ingress"
                assert problem.object.name == document["metadata"].get("name", "")
                assert problem.field
                assert problem.message

    def test_is_whole() -> None:
        assert sum(len(documents(path)) for path in MANIFESTS) == 84
