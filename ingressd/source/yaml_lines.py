"""On which line of a document a field stands. Only problems need it, so it is found when one is shown, not kept."""

import re
from functools import lru_cache
from typing import Any

from ingressd.source.yaml_split import DocumentError
from ingressd.source.yaml_values import Lines, parse

_STEP = re.compile(r"\[(?P<index>[^\]]*)\]|(?P<key>[^.\[\]]+)")


def field_line(text: str, field: str) -> int:
    """The line (from 1) of a document's text on which `field` is written: `spec.rules[0].host`,
    `metadata.annotations[ingressd.dev/x]`. Where the field is missing, the line of the nearest part that is there;
    for an empty field the line of the first key."""
    root, lines = _parsed(text)
    line = next(iter(lines[id(root)][1].values()), 1) if id(root) in lines else 1
    value = root
    for step in _STEP.finditer(field):
        name = step["key"] or step["index"]
        key: str | int = int(name) if isinstance(value, list) and name.isdecimal() else name
        if id(value) not in lines or key not in lines[id(value)][1]:
            break
        line = lines[id(value)][1][key]
        value = value[key]
    return line


@lru_cache(maxsize=4)
def _parsed(text: str) -> tuple[Any, Lines]:
    lines: Lines = {}
    try:
        return parse(text, lines), lines
    except DocumentError:  # JSON that is not YAML
        return None, {}
