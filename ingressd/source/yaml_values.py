"""One document's text -> plain values (dict with str keys, list, str, int, float, bool, None), as kubectl reads it.

Works on libyaml's events rather than with PyYAML's constructor: that resolves scalars as Kubernetes does not (dates,
base-60 numbers), lets the last of two equal keys win, and takes three times as long. Differences from PyYAML's
SafeLoader: equal keys are an error; dates stay text; keys become text as in JSON; a tag of nobody is an error.
"""

import base64
import contextlib
import json
import re
from collections.abc import Callable
from typing import Any

import yaml
from yaml.events import (
    AliasEvent,
    MappingEndEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)
from yaml.reader import ReaderError

from ingressd.source.yaml_split import DocumentError

MAX_DEPTH = 100
"""Levels of nesting. Kubernetes objects have about ten."""
MAX_REPEATED_VALUES = 100_000
"""Values that the aliases of one document may stand for in all: nine nested lists of aliases would else be 10^9."""

Lines = dict[int, tuple[object, dict[str | int, int]]]
"""id() of a mapping or sequence -> itself (so that the id stays its own), and key or index -> line (from 1)."""

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
_WORDS: dict[str, bool | float | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "on", "On", "ON", "true", "True", "TRUE"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "off", "Off", "OFF", "false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}
_NUMERIC = frozenset("0123456789+-.")
_INTEGER = re.compile(r"[-+]?(?:0b[01_]+|0o?[0-7_]+|0x[0-9a-fA-F_]+|[1-9][0-9_]*|0)\Z")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9][0-9_]*(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z")
_TAG = "tag:yaml.org,2002:"
_SCALAR_TAGS = {
    _TAG + "null": type(None),
    _TAG + "bool": bool,
    _TAG + "int": int,
    _TAG + "float": float,
    _TAG + "timestamp": str,
}
_COLLECTION_TAGS = (None, "!", _TAG + "map", _TAG + "seq")
_NOT_A_KEY = {
    MappingStartEvent: "a mapping as key; if this is a template, `{{ ... }}` has to be filled in first",
    SequenceStartEvent: "a list as key: write a name",
    AliasEvent: "an alias as key: write a name",
}
_HINTS = {
    "found character that cannot start any token": "a tab, `@`, `%` or backquote may not stand there: indent with "
    "spaces, put quotes around the value",
    "found character '\\t' that cannot start any token": "a tab may not stand there: indent with spaces",
    "mapping values are not allowed in this context": "a `: ` may not stand there: mend the indentation or put quotes "
    "around the value",
    "mapping values are not allowed here": "a `: ` may not stand there: mend the indentation or put quotes around the "
    "value",
    "did not find expected <document start>": "there is text behind the end of the document",
    "found incompatible YAML document": "the %YAML directive asks for a version that is not 1.1 or 1.2",
    "found unexpected end of stream": "the quotes that are opened here are never closed",
    "could not find expected ':'": "a `:` is missing behind the key",
}


_Parser: Callable[[str], Any] = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
"""Only its events are used. Without libyaml they are the same, but slower by a factor of twenty."""


_BEGAN_EARLIER = ("found unexpected end of stream", "could not find expected ':'")
_NOT_JSON = object()


def parse(text: str, lines: Lines | None = None) -> Any:  # noqa: ANN401 - what a document holds is for resources to say
    """The value of the one document in `text`; None for an empty one. Fills `lines` if given.

    Raises DocumentError for what is not YAML or JSON, equal keys, and aliases or nesting beyond bounds.
    """
    value = _NOT_JSON
    if lines is None and text.startswith("{"):
        # What fails here is YAML in braces, or has an error that needs telling with its line.
        with contextlib.suppress(ValueError, RecursionError):
            value = json.loads(text, object_pairs_hook=_distinct, parse_constant=_refuse)
    if value is _NOT_JSON:
        try:
            value = _Reader(text, lines).document()
        except yaml.YAMLError as error:
            raise _explain(error, text) from None
    if half := _SURROGATE.search(text):
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            line = text.count("\n", 0, half.start()) + 1
            raise DocumentError(f"{half[0]} is half a character: write the character itself", line) from None
    return value


class _Reader:
    """Puts the events of one document together. Its recursion ends at MAX_DEPTH."""

    def __init__(self, text: str, lines: Lines | None) -> None:
        self._next: Callable[[], Any] = _Parser(text).get_event
        self._lines = lines
        self._anchors: dict[str, tuple[Any, int] | None] = {}
        """The value and how many values it consists of; None while it is being read."""
        self._values = 0
        self._repeated = 0
        self._depth = 0

    def document(self) -> Any:  # noqa: ANN401
        root = None
        while type(event := self._next()) is not StreamEndEvent:
            if isinstance(event, NodeEvent):
                root = self._node(event)
        return root

    def _node(self, event: Any) -> Any:  # noqa: ANN401
        kind = type(event)
        if kind is AliasEvent:
            return self._alias(event)
        before = self._values
        self._values += 1
        anchor = event.anchor
        if anchor is not None:
            self._anchors[anchor] = None
        value = _scalar(event) if kind is ScalarEvent else self._collection(event)
        if anchor is not None:
            self._anchors[anchor] = (value, self._values - before)
        return value

    def _collection(self, event: Any) -> Any:  # noqa: ANN401
        line = event.start_mark.line + 1
        if event.tag not in _COLLECTION_TAGS:
            raise DocumentError(f"the tag {event.tag} has no meaning in a manifest: remove it", line)
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise DocumentError(f"nested deeper than {MAX_DEPTH} levels", line)
        value: object = self._mapping() if type(event) is MappingStartEvent else self._sequence()
        self._depth -= 1
        return value

    def _mapping(self) -> dict[str, Any]:
        value: dict[str, Any] = {}
        lines: dict[str | int, int] = {}
        merged: list[dict[str, Any]] = []
        while type(event := self._next()) is not MappingEndEvent:
            line = event.start_mark.line + 1
            if type(event) is not ScalarEvent:
                raise DocumentError(_NOT_A_KEY[type(event)], line)
            if event.value == "<<" and event.implicit[0]:
                merged += self._merged(self._node(self._next()), line)
                continue
            key = _key(event)
            if key in value:
                raise DocumentError(f"the key `{key}` stands twice in one mapping (first on line {lines[key]})", line)
            lines[key] = line
            value[key] = self._node(self._next())
        for mapping in merged:
            for key, item in mapping.items():
                value.setdefault(key, item)
            if self._lines is not None:
                lines = self._lines[id(mapping)][1] | lines
        if self._lines is not None:
            self._lines[id(value)] = (value, lines)
        return value

    def _sequence(self) -> list[Any]:
        value: list[Any] = []
        lines: dict[str | int, int] = {}
        while type(event := self._next()) is not SequenceEndEvent:
            lines[len(value)] = event.start_mark.line + 1
            value.append(self._node(event))
        if self._lines is not None:
            self._lines[id(value)] = (value, lines)
        return value

    def _alias(self, event: Any) -> Any:  # noqa: ANN401
        line = event.start_mark.line + 1
        if event.anchor not in self._anchors:
            raise DocumentError(f"the alias *{event.anchor} has no anchor &{event.anchor} before it", line)
        known = self._anchors[event.anchor]
        if known is None:
            raise DocumentError(f"the alias *{event.anchor} stands inside of what it names", line)
        value, values = known
        self._values += values
        self._repeated += values
        if self._repeated > MAX_REPEATED_VALUES:
            raise DocumentError(f"the aliases repeat more than {MAX_REPEATED_VALUES} values: write fewer", line)
        return value

    def _merged(self, value: Any, line: int) -> list[dict[str, Any]]:  # noqa: ANN401
        """What a `<<` key names: a mapping, or several of which the first with a key wins."""
        mappings = value if type(value) is list else [value]
        if not all(type(mapping) is dict for mapping in mappings):
            raise DocumentError("`<<` needs a mapping, or a list of mappings", line)
        return mappings


def _scalar(event: Any) -> Any:  # noqa: ANN401
    text: str = event.value
    tag = event.tag
    if tag is None:
        return _plain(text) if event.implicit[0] else text
    line = event.start_mark.line + 1
    if tag in ("!", _TAG + "str"):
        return text
    if tag == _TAG + "binary":
        try:
            return base64.b64decode("".join(text.split()), validate=True).decode()
        except ValueError:
            raise DocumentError("the value with the tag !!binary is not text in base64", line) from None
    value = _plain(text)
    if tag == _TAG + "float" and type(value) is int:
        return float(value)
    if tag not in _SCALAR_TAGS:
        raise DocumentError(f"the tag {tag} has no meaning in a manifest: remove it", line)
    if type(value) is not _SCALAR_TAGS[tag]:
        raise DocumentError(f"the value is not what its tag {tag.replace(_TAG, '!!')} says", line)
    return value


def _plain(text: str) -> str | int | float | bool | None:
    """What a value without quotes and tag means: as kubectl's YAML library resolves it (YAML 1.1 without dates and
    base 60, and with Go's notation of integers)."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in _NUMERIC:
        return text
    if _INTEGER.match(text):
        try:
            digits = text.replace("_", "")
            octal = digits.lstrip("+-").startswith("0") and digits.lstrip("+-0").isdigit()
            return int(digits, 8 if octal else 0)
        except ValueError:
            return text
    return float(text.replace("_", "")) if _FLOAT.match(text) else text


def _key(event: Any) -> str:  # noqa: ANN401
    """Keys become text as in JSON, as kubectl does it: `8080: x` and `"8080": x` are the same."""
    value = _scalar(event)
    if type(value) is str:
        return value
    if value is None:
        raise DocumentError("a mapping has an empty key", event.start_mark.line + 1)
    return str(value).lower() if type(value) is bool else str(value)


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("equal keys")
    return value


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def _explain(error: yaml.YAMLError, text: str) -> DocumentError:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        problem = error.problem or "not YAML"
        message = _HINTS.get(problem, problem)
        if problem in _BEGAN_EARLIER and error.context_mark is not None:
            return DocumentError(message, error.context_mark.line + 1)
        line = error.problem_mark.line
        if error.context and error.context_mark is not None and error.context_mark.line != line:
            message = f"{error.context}: {message}"
        # At the end of the text libyaml names the line behind the last.
        return DocumentError(message, min(line, text.rstrip("\n").count("\n")) + 1)
    if isinstance(error, ReaderError):
        character = chr(error.character) if isinstance(error.character, int) else error.character
        return DocumentError(
            f"the character U+{ord(character):04X} may not stand in YAML: remove it",
            text.count("\n", 0, max(text.find(character), 0)) + 1,
        )
    return DocumentError(f"not YAML: {error}", 1)
