"""What is wrong inside one object, before it is known which object that is, and how values are shown in messages."""

import json
from collections.abc import Mapping
from datetime import date
from typing import NamedTuple

_SHOWN_CHARACTERS = 80
_SHOWN_DIGITS = 10**30


class Finding(NamedTuple):
    """Becomes a Problem once the object is known; `field`, `reason` and `message` are those of the Problem."""

    field: str
    reason: str
    message: str


def missing(field: str, message: str) -> Finding:
    """A field that must be there is not."""
    return Finding(field, "MissingField", message)


def invalid(field: str, value: object, message: str) -> Finding:
    """A value of the right type that cannot be; the message says what can."""
    return Finding(field, "InvalidValue", f"{shown(value)}: {message}")


def shown(value: object) -> str:
    """A value as a manifest has it, short and harmless to a terminal; of mappings and lists only what they are."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            text = value if len(value) <= _SHOWN_CHARACTERS else f"{value[:_SHOWN_CHARACTERS]}..."
            return json.dumps(text, ensure_ascii=not text.isprintable())
        case int() if abs(value) >= _SHOWN_DIGITS:
            return "a number of more than 30 digits"
        case int() | float():
            return str(value)
        case date():
            return value.isoformat()
        case _:
            return type_of(value)


def plain(value: object) -> str:
    """A key or a value as it is where that does no harm to a terminal or an encoder, else as in `shown`."""
    return value if isinstance(value, str) and value.isprintable() else shown(value)


def type_of(value: object) -> str:
    """What kind of value it is, in words."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case str():
            return "text"
        case int() | float():
            return "a number"
        case date():
            return "a date"
        case Mapping():
            return "a mapping"
        case list() | tuple():
            return "a list"
        case _:
            return "a value of another kind"


def listing(words: list[str], most: int = 8) -> str:
    """`a, b and c`; of many only the first."""
    if len(words) > most:
        return f"{', '.join(words[:most])} and {len(words) - most} more"
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1]))) if words else "none"
