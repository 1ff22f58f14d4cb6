"""Each `golden/<rule>.yaml` translates to what `golden/<rule>.out.yaml` says."""

from pathlib import Path

import pytest
import yaml

from ingressd.translate import translate
from tests.translate.manifests import read, store_of, summary

GOLDEN = Path(__file__).with_name("golden")
CASES = sorted(path.name.removesuffix(".yaml") for path in GOLDEN.glob("*.yaml") if not path.name.endswith(".out.yaml"))


def written(case: str) -> str:
    """What is expected of a case, as its file should have it."""
    manifests = read((GOLDEN / f"{case}.yaml").read_text())
    translation = translate(store_of(manifests.resources), manifests.options, manifests.now)
    lines = summary(translation, manifests.problems)
    return yaml.safe_dump(lines, sort_keys=False, width=10_000, allow_unicode=True)


@pytest.mark.parametrize("case", CASES)
def test_golden(case: str, update_golden: bool) -> None:
    expected = GOLDEN / f"{case}.out.yaml"
    if update_golden:
        expected.write_text(written(case))
    assert written(case) == expected.read_text()


def test_no_expectation_without_case() -> None:
    assert sorted(path.name.removesuffix(".out.yaml") for path in GOLDEN.glob("*.out.yaml")) == CASES


def test_there_are_cases() -> None:
    assert len(CASES) >= 40
