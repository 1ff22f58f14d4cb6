"""Bytes of a manifest file -> its documents as text, each with the line it begins on.

Splitting does not parse: a line that begins with `---` or `...` ends the document before it, whatever that holds
(YAML 1.2.2, section 9.1.2: no scalar may contain such a line). So a syntax error stays in its document, and an edit
leaves the texts of the other documents as they were, which is what makes caching by text work.
"""

import codecs
import json
import re
from collections.abc import Iterator
from typing import NamedTuple

MIB = 1024 * 1024
MAX_FILE_BYTES = 64 * MIB
"""A cluster's objects written to one file by `kubectl get -o yaml`: 10,000 take about 20 MiB."""

_MARKER = re.compile(r"^(?:---|\.\.\.)(?=[ \t\n]|\Z)", re.MULTILINE)
_BLANK = re.compile(r"(?:---(?=[ \t\n]|\Z))?[ \t]*+(?:#[^\n]*+)?(?:\n[ \t]*+(?:#[^\n]*+)?)*+\Z")
_SPACE = re.compile(r"[ \t\n]*")
_NOTHING_BUT_DIRECTIVES = re.compile(r"(?:[ \t]*(?:#[^\n]*)?\n|%[^\n]*\n)*\Z")
_ENCODINGS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


class DocumentError(Exception):
    """Text that gives no objects. `line` counts from 1 in the text that was parsed."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.message = message
        self.line = line


class Piece(NamedTuple):
    """One document: its text with `\\n` line ends, and the line of the file (from 1) on which that begins."""

    line: int
    text: str


def decode(data: bytes) -> str:
    """The text of a file: UTF-8, or what its byte order mark says; line ends become `\\n`.

    Raises DocumentError where it is too large or not text.
    """
    if len(data) > MAX_FILE_BYTES:
        raise DocumentError(f"the file is larger than {MAX_FILE_BYTES // MIB} MiB; split it", 1)
    encoding = next((name for mark, name in _ENCODINGS if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DocumentError(
            f"not {error.encoding.upper()} text: byte {error.object[error.start]:#04x}; save it as UTF-8", line
        ) from None
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def split(text: str) -> list[Piece]:
    """The documents of a file in their order, without those of only blank lines and comments."""
    pieces = _split_json(text) if text.lstrip().startswith("{") else _split_yaml(text)
    return [piece for piece in pieces if not is_blank(piece.text)]


def is_blank(text: str) -> bool:
    """Whether there is nothing in a text but blank lines, comments and a document marker."""
    return _BLANK.match(text) is not None


def _split_yaml(text: str) -> Iterator[Piece]:
    start, line = 0, 1
    ended = True  # by `...` or the start of the file: only there directives may stand (section 9.2)
    for marker in _MARKER.finditer(text):
        here = marker.start()
        opens = text[here] == "-"
        before = text[start:here]
        if ended and opens and "%" in before and _NOTHING_BUT_DIRECTIVES.match(before):
            ended = False  # `%YAML 1.2` and the like: they belong to the document that begins here
            continue
        yield Piece(line, before)
        line += before.count("\n")
        start = here
        ended = not opens
        if ended:
            end = text.find("\n", here) + 1 or len(text)
            line += text.count("\n", here, end)
            start = end
    yield Piece(line, text[start:])


def _split_json(text: str) -> Iterator[Piece]:
    """JSON values one after the other, as `jq` writes them. From the first that is broken, the rest is one document
    (or several, if it is YAML after all)."""
    decoder = json.JSONDecoder()
    start, line = 0, 1
    while start < len(text):
        value = _SPACE.match(text, start)
        rest = value.end() if value else start
        line += text.count("\n", start, rest)
        start = rest
        try:
            _, end = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            yield from (Piece(line - 1 + piece.line, piece.text) for piece in _split_yaml(text[start:]))
            return
        yield Piece(line, text[start:end])
        line += text.count("\n", start, end)
        start = end
