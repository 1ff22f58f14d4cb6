import json
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingressd.source import yaml_split
from ingressd.source.yaml_split import DocumentError, Piece, decode, is_blank, split

SPLIT = {
    "one document": ("a: 1\n", [(1, "a: 1\n")]),
    "marker first": ("---\na: 1\n", [(1, "---\na: 1\n")]),
    "two": ("a: 1\n---\nb: 2\n", [(1, "a: 1\n"), (2, "---\nb: 2\n")]),
    "no end of line at the end": ("a: 1\n---\nb: 2", [(1, "a: 1\n"), (2, "---\nb: 2")]),
    "empty documents": ("---\n---\n---\na: 1\n---\n", [(3, "---\na: 1\n")]),
    "comments only": ("# head\n---\n# nothing\n\n---\na: 1\n", [(5, "---\na: 1\n")]),
    "comment before the marker": ("# head\n---\na: 1\n", [(2, "---\na: 1\n")]),
    "comment on the marker": ("--- # head\na: 1\n--- # tail\n", [(1, "--- # head\na: 1\n")]),
    "content on the marker": ("--- {a: 1}\n--- {b: 2}\n", [(1, "--- {a: 1}\n"), (2, "--- {b: 2}\n")]),
    "end marker": ("a: 1\n...\n---\nb: 2\n...\n", [(1, "a: 1\n"), (3, "---\nb: 2\n")]),
    "text behind an end marker": ("a: 1\n... \nb: 2\n", [(1, "a: 1\n"), (3, "b: 2\n")]),
    "directive": ("%YAML 1.2\n---\na: 1\n", [(1, "%YAML 1.2\n---\na: 1\n")]),
    "directive after an end marker": (
        "a: 1\n...\n%YAML 1.1\n# x\n---\nb: 2\n",
        [(1, "a: 1\n"), (3, "%YAML 1.1\n# x\n---\nb: 2\n")]),
    "directive where none may stand": (
        "a: 1\n---\n%YAML 1.1\n---\nb: 2\n",
        [(1, "a: 1\n"), (2, "---\n%YAML 1.1\n"), (4, "---\nb: 2\n")]),
    "indented marker in a block scalar": ("a: |\n  ---\n  x\n", [(1, "a: |\n  ---\n  x\n")]),
    "longer than a marker": ("a: 1\n----\n---x\n", [(1, "a: 1\n----\n---x\n")]),
    "JSON": ('{"a": 1}\n', [(1, '{"a": 1}')]),
    "JSON values in a row": ('{"a": 1}\n\n{"b":\n2}{"c": 3}', [(1, '{"a": 1}'), (3, '{"b":\n2}'), (4, '{"c": 3}')]),
    "JSON with markers": ('{"a": 1}\n---\n{"b": 2}\n', [(1, '{"a": 1}'), (2, '---\n{"b": 2}\n')]),
    "broken JSON": ('\n{"a": 1}\n{"b": }\n', [(2, '{"a": 1}'), (3, '{"b": }\n')]),
    "YAML in braces": ("{a: 1}\n---\n{b: 2}\n", [(1, "{a: 1}\n"), (2, "---\n{b: 2}\n")]),
    "nothing": ("", []),
    "blank lines": ("\n \n\t\n", []),
}  # fmt: skip


@pytest.mark.parametrize("case", SPLIT)
def test_documents_of_a_file(case: str) -> None:
    text, expected = SPLIT[case]
    assert split(text) == [Piece(line, piece) for line, piece in expected]


@given(st.lists(st.sampled_from(["---", "...", "--- x", "# c", "%YAML 1.1", "a: 1", "  b", "", "{", "}", '{"a":1}'])))
def test_each_piece_is_found_on_the_line_it_names(lines: list[str]) -> None:
    text = "\n".join(lines)
    pieces = split(text)
    for piece in pieces:
        first = piece.text.split("\n")[0]
        assert first in text.split("\n")[piece.line - 1]
    assert [piece.line for piece in pieces] == sorted(piece.line for piece in pieces)
    assert _content(lines) == _content(line for piece in pieces for line in piece.text.split("\n"))


def _content(lines: Iterable[str]) -> str:
    stripped = [line.strip() for line in lines]
    return "".join(line for line in stripped if line not in ("---", "...") and not line.startswith("#"))


def test_an_edit_leaves_the_text_of_other_documents_as_it_was() -> None:
    documents = [f"---\nname: d{number}\n" for number in range(50)]
    before = split("".join(documents))
    documents[20] = "---\nname: d20\nmore: 1\n"
    after = split("".join(documents))
    assert [index for index in range(50) if before[index].text != after[index].text] == [20]
    assert after[21].line == before[21].line + 1


@pytest.mark.parametrize("text", ["---\n", "--- # c\n# d", "", "\t\n"])
def test_blank(text: str) -> None:
    assert is_blank(text)


@pytest.mark.parametrize("text", ["---\na", "x", "---x", "--- x", "%YAML 1.2"])
def test_not_blank(text: str) -> None:
    assert not is_blank(text)


def test_blank_takes_linear_time() -> None:
    assert not is_blank("\n# comment    \n   " * 200_000 + "x")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_encodings_and_windows_line_ends(encoding: str) -> None:
    assert decode("a: é\r\nb: 2\r\n---\r\nc: 1".encode(encoding)) == "a: é\nb: 2\n---\nc: 1"


def test_bytes_that_are_not_text_are_told_with_their_line() -> None:
    with pytest.raises(DocumentError, match="not UTF-8 text: byte 0xe9; save it as UTF-8") as caught:
        decode("a: 1\nb: é\n".encode("latin-1"))
    assert caught.value.line == 2


def test_a_file_beyond_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yaml_split, "MAX_FILE_BYTES", yaml_split.MIB)
    assert decode(b"#" * yaml_split.MIB)
    with pytest.raises(DocumentError, match="larger than 1 MiB; split it"):
        decode(b"#" * (yaml_split.MIB + 1))


def test_json_values_in_a_row_take_linear_time() -> None:
    values = [{"kind": "Ingress", "n": number} for number in range(20_000)]
    pieces = split("\n".join(json.dumps(value) for value in values))
    assert [json.loads(piece.text) for piece in pieces] == values
    assert pieces[-1].line == 20_000
