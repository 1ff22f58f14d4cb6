"""A raw mapping -> one typed object, or a finding that says where the first value of a wrong type stands."""

import re
from collections.abc import Mapping
from datetime import date
from typing import NamedTuple, TypeVar

import msgspec

from ingressd.resources.finding import Finding, plain, shown, type_of
from ingressd.resources.metadata import KubernetesObject
from ingressd.resources.shape import Shape, without_nulls

T = TypeVar("T", bound=KubernetesObject)

_ERROR = re.compile(r"(?P<what>.*) - at (?P<key>`key` in )?`\$(?P<path>[^`]*)`", re.DOTALL)
_WANTED = re.compile(r"Expected `(?P<types>[^`]+)`, got")
_STEP = re.compile(r"\.(?P<name>[^.\[]+)|\[(?P<at>[0-9]+)\]|\[(?P<some>\.\.\.)\]")
_SCALARS = (str, bool, int, float, date)


class Place(NamedTuple):
    """A value inside an object and the path to it."""

    field: str
    value: object


def decode(raw: Mapping[str, object], type_: type[T], shape: Shape, secret: bool = False) -> T | Finding:
    """The object. With `secret`, no value is shown in the message."""
    try:
        try:
            return msgspec.convert(raw, type_)
        except msgspec.ValidationError:
            raw = without_nulls(raw, shape)
            return msgspec.convert(raw, type_)
    except msgspec.ValidationError as error:
        return _finding(raw, str(error), secret)
    except UnicodeEncodeError:
        return Finding("", "InvalidType", "there is half a character (a lone surrogate) in it: write valid Unicode")


def _finding(raw: Mapping[str, object], error: str, secret: bool) -> Finding:
    parts = _ERROR.fullmatch(error)
    if parts is None:
        return Finding("", "InvalidType", error)
    place = _place(raw, parts["path"])
    if parts["key"]:
        return Finding(place.field, "InvalidType", _key_message(place.value))
    wanted = _WANTED.match(parts["what"])
    types = set(wanted["types"].split(" | ")) if wanted else {"datetime"}
    return Finding(place.field, "InvalidType", _message(place, types, secret))


def _place(raw: object, path: str) -> Place:
    """Follows the path of msgspec, which does not say which key of a mapping it means: it is the first without text."""
    field, value = "", raw
    for step in _STEP.finditer(path):
        if step["name"] and isinstance(value, Mapping):
            field, value = f"{field}.{step['name']}", value.get(step["name"])
        elif step["at"] and isinstance(value, list | tuple):
            field, value = f"{field}[{step['at']}]", value[int(step["at"])]
        elif step["some"] and isinstance(value, Mapping):
            key, value = next(((key, item) for key, item in value.items() if not isinstance(item, str)), ("", None))
            field = f"{field}[{plain(key)}]"
    return Place(field.removeprefix("."), value)


def _key_message(mapping: object) -> str:
    keys = mapping if isinstance(mapping, Mapping) else ()
    key = next((key for key in keys if not isinstance(key, str)), None)
    return f"the key {shown(key)} is {type_of(key)}, not text: write it in quotes"


def _message(place: Place, wanted: set[str], secret: bool) -> str:
    value = place.value
    given = f"this is {type_of(value)}" if secret else f"{shown(value)} is {type_of(value)}"
    if not isinstance(value, _SCALARS):
        given = f"{type_of(value)} stands here"
    if "object" in wanted:
        return f"{given}, where a mapping belongs{_mapping_hint(place)}"
    if "array" in wanted:
        return f"{given}, where a list belongs" + (": begin each item with `- `" if isinstance(value, Mapping) else "")
    if "str" in wanted and "int" not in wanted:
        return f"{given}, where text belongs{_text_hint(value, secret)}"
    if "int" in wanted:
        number = isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}", value)
        hint = f": write {value}, without quotes" if number else _number_hint(place)
        return f"{given}, where {'a number or text' if 'str' in wanted else 'a whole number'} belongs{hint}"
    if "bool" in wanted:
        return f"{given}, where true or false belongs"
    return f"{given}, where a time with a time zone belongs, as 2024-05-01T12:00:00Z"


def _text_hint(value: object, secret: bool) -> str:
    if value is None:
        return ': write "" for an empty text'
    if not isinstance(value, _SCALARS):
        return ""
    return ": write it in quotes" if secret else f': write it in quotes, "{shown(value)}"'


def _number_hint(place: Place) -> str:
    if place.field.endswith("port.number") and isinstance(place.value, str):
        return ": the name of a port is written as `name`"
    return ""


def _mapping_hint(place: Place) -> str:
    value = place.value
    if place.field.endswith(".service.port") and isinstance(value, int | str):
        number = isinstance(value, int) or value.isdigit()
        return f": write {{number: {value}}}" if number else f": write {{name: {plain(value)}}}"
    if place.field.endswith((".backend.service", "spec.defaultBackend.service")) and isinstance(value, str):
        return f": write {{name: {plain(value)}, port: {{number: ...}}}}"
    return ""
