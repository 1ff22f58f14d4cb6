import json
import math
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ingressd.source import yaml_values
from ingressd.source.yaml_split import DocumentError
from ingressd.source.yaml_values import MAX_DEPTH, Lines, parse

SCALARS: dict[str, Any] = {
    "text": "text",
    "'8080'": "8080",
    "8080": 8080,
    "1_000": 1000,
    "0o17": 15,
    "017": 15,
    "-0x1F": -31,
    "0b101": 5,
    "+5": 5,
    "0": 0,
    "00": 0,
    "1.5": 1.5,
    ".5": 0.5,
    "1e3": 1000.0,
    "08": 8.0,
    "-": None,  # an empty item of a list
    "1.2.3.4": "1.2.3.4",
    "12:30:45": "12:30:45",
    "2024-01-01": "2024-01-01",
    "2024-01-01T00:00:00Z": "2024-01-01T00:00:00Z",
    "-x": "-x",
    "0x": "0x",
    "yes": True,
    "Off": False,
    "~": None,
    "null": None,
    "": None,
    "'~'": "~",
    "! 12": "12",
    "!!str 12": "12",
    "!!int '12'": 12,
    "!!float 12": 12.0,
    "!!binary aGVsbG8=": "hello",
    "!!timestamp 2024-01-01": "2024-01-01",
    ".inf": math.inf,
    "|\n  a\n  b\n": "a\nb\n",
    ">-\n  a\n  b\n": "a b",
    '"\\u00e9\\t"': "é\t",
}


@pytest.fixture(params=["libyaml", "Python"])
def parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    loader = yaml.CSafeLoader if request.param == "libyaml" else yaml.SafeLoader
    monkeypatch.setattr(yaml_values, "_Parser", loader)
    return str(request.param)


@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize("text", SCALARS)
def test_scalars_mean_what_they_mean_to_kubectl(text: str) -> None:
    value = parse("- " if text == "-" else f"- {text}")[0]
    assert value == SCALARS[text]
    assert type(value) is type(SCALARS[text])


@pytest.mark.usefixtures("parser")
def test_keys_become_text() -> None:
    assert parse("8080: a\ntrue: b\n1.5: c\n'x y': d\n") == {"8080": "a", "true": "b", "1.5": "c", "x y": "d"}


@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "---\n...\n", "%YAML 1.1\n---\n"])
def test_an_empty_document_is_none(text: str) -> None:
    assert parse(text) is None


@pytest.mark.usefixtures("parser")
def test_anchors_aliases_and_merges() -> None:
    text = """
base: &base {image: a, port: 80}
other: &other {port: 81, extra: 1}
one:
  <<: *base
  port: 90
two:
  <<: [*base, *other]
same: *base
quoted:
  "<<": text
again: &base 5
last: *base
"""
    assert parse(text) == {
        "base": {"image": "a", "port": 80},
        "other": {"port": 81, "extra": 1},
        "one": {"image": "a", "port": 90},
        "two": {"image": "a", "port": 80, "extra": 1},
        "same": {"image": "a", "port": 80},
        "quoted": {"<<": "text"},
        "again": 5,
        "last": 5,
    }


ERRORS = {
    "equal keys": (
        "a: 1\nb:\n  c: 1\n  d: 2\n  c: 3\n",
        5,
        "the key `c` stands twice in one mapping (first on line 3)",
    ),
    "equal keys after they became text": ("80: 1\n'80': 2\n", 2, "the key `80` stands twice in one mapping (first on"),
    "equal keys in JSON": ('{"a": 1,\n "b": 2,\n "a": 3}', 3, "the key `a` stands twice"),
    "unclosed quotes": ("a: 1\nb: 'x\nc: 1\n", 2, "the quotes that are opened here are never closed"),
    "unclosed bracket": ("a: [1,\n  2\nb: 3\n", 3, "while parsing a flow sequence: "),
    "missing colon": ("a: 1\nb\n  c: 1\n", 2, "a `:` is missing behind the key|a `: ` may not stand there"),
    "tab": ("a:\n\tb: 1\n", 2, "tab"),
    "misplaced colon": ("a: b: c\n", 1, "a `: ` may not stand there"),
    "wrong indentation": ("a:\n  b: 1\n c: 2\n", 3, "while parsing a block mapping"),
    "directive of the future": ("%YAML 2.0\n---\na: 1\n", 1, "version"),
    "text behind the end": ("{a: 1}\n{b: 2}\n", 2, "document start|text behind the end"),
    "control character": ("a: 1\nb: é\x07\n", 2, "the character U+0007 may not stand in YAML: remove it"),
    "template": ("a: 1\nb: {{ .Values.b }}\n", 2, "`{{ ... }}` has to be filled in first"),
    "list as key": ("? [a]\n: 1\n", 1, "a list as key"),
    "alias as key": ("a: &x y\n*x : 1\n", 2, "an alias as key"),
    "empty key": ("~: 1\n", 1, "a mapping has an empty key"),
    "unknown alias": ("a: 1\nb: *c\n", 2, "the alias *c has no anchor &c before it"),
    "alias in itself": ("a: &x\n- b\n- *x\n", 3, "the alias *x stands inside of what it names"),
    "unknown tag": ("a: !vault x\n", 1, "the tag !vault has no meaning in a manifest"),
    "unknown tag on a mapping": ("a: !Ref {x: 1}\n", 1, "the tag !Ref has no meaning in a manifest"),
    "tag that does not fit": ("a: !!int x\n", 1, "the value is not what its tag !!int says"),
    "binary that is none": ("a: !!binary '%'\n", 1, "not text in base64"),
    "merge of a scalar": ("a:\n  <<: 1\n", 2, "`<<` needs a mapping"),
    "nesting": ("[" * (MAX_DEPTH + 1), 1, f"nested deeper than {MAX_DEPTH} levels"),
    "nesting in JSON": ('{"a":' * 100_000, 1, f"nested deeper than {MAX_DEPTH} levels"),
    "half a surrogate pair": ('{"a": 1,\n"b": "\\ud83d"}', 2, "half a character|invalid Unicode character escape"),
    "NaN in JSON": ('{"a": NaN, "a": 1}', 1, "the key `a` stands twice"),
}


@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize("case", ERRORS)
def test_errors_are_told_with_their_line(case: str) -> None:
    text, line, message = ERRORS[case]
    with pytest.raises(DocumentError) as caught:
        parse(text)
    assert (caught.value.line, "\n" in caught.value.message) == (line, False)
    assert any(part in caught.value.message for part in message.split("|"))


@pytest.mark.usefixtures("parser")
def test_a_billion_laughs_is_refused() -> None:
    text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    text += "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10))
    with pytest.raises(DocumentError, match="the aliases repeat more than 100000 values") as caught:
        parse(text)
    assert caught.value.line == 5  # 10 x 11, 10 x 111, ... : the limit falls in the list of 10^5


def test_merged_mappings_count_as_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yaml_values, "MAX_REPEATED_VALUES", 10)
    with pytest.raises(DocumentError, match="repeat"):
        parse("a: &a {b: 1, c: 2}\n" + "".join(f"x{n}:\n  <<: *a\n" for n in range(4)))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=10,
)


@settings(max_examples=50)
@given(st.dictionaries(st.text(), JSON, max_size=5))
def test_json_gives_what_json_gives(value: dict[str, Any]) -> None:
    assert parse(json.dumps(value)) == value


TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]))
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
)


@given(PLAIN)
def test_what_pyyaml_writes_is_read_back(value: object) -> None:
    assert parse(yaml.safe_dump(value, allow_unicode=True, default_style='"')) == value


@given(st.text("ab:-{}[]&*!|>'\"#%\n \t01?,<~", max_size=40))
def test_any_text_gives_a_value_or_an_error_with_a_line_of_it(text: str) -> None:
    lines: Lines = {}
    try:
        parse(text, lines)
    except DocumentError as error:
        assert 1 <= error.line <= text.count("\n") + 1  # noqa: PT017 - most texts give no error
    assert all(1 <= line <= text.count("\n") + 1 for _, of in lines.values() for line in of.values())
