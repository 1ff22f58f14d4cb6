from datetime import UTC, datetime

import pytest

from ingressd.resources.finding import listing, plain, shown

SHOWN = {
    '"text"': "text",
    '"a \\"b\\""': 'a "b"',
    '"größe"': "größe",
    '"\\u001b[2J"': "\x1b[2J",
    '"\\u202eabc"': "\u202eabc",
    '"\\ud800"': "\ud800",
    '"' + "x" * 80 + '..."': "x" * 81,
    "null": None,
    "true": True,
    "false": False,
    "80": 80,
    "1.5": 1.5,
    "nan": float("nan"),
    "a number of more than 30 digits": 10**10_000,
    "2024-05-01T12:00:00+00:00": datetime(2024, 5, 1, 12, tzinfo=UTC),
    "a mapping": {"a": 1},
    "a list": [1],
    "a value of another kind": b"x",
}


@pytest.mark.parametrize("text", SHOWN)
def test_shown(text: str) -> None:
    assert shown(SHOWN[text]) == text
    assert text.isprintable()


def test_plain() -> None:
    assert plain("a b") == "a b"
    assert plain("a\n") == '"a\\n"'
    assert plain(5) == "5"


def test_listing() -> None:
    assert listing([]) == "none"
    assert listing(["a"]) == "a"
    assert listing(["a", "b"]) == "a and b"
    assert listing(["a", "b", "c"]) == "a, b and c"
    assert listing(["a", "b", "c"], most=2) == "a, b and 1 more"
