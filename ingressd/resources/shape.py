"""Which fields a type has, as a tree: to find fields that it does not have, and to leave out those that are null."""

from collections.abc import Iterator, Mapping
from itertools import islice

import msgspec
from msgspec import inspect

from ingressd.resources.finding import Finding, listing, plain, shown
from ingressd.resources.nearest import Words

_MOST_UNKNOWN_FIELDS = 20

OBJECT_FIELDS = ("apiVersion", "kind", "metadata", "spec", "status")
METADATA_FIELDS = (
    "annotations",
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "labels",
    "managedFields",
    "name",
    "namespace",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
)
"""ObjectMeta of meta/v1."""

_FORMER = {
    "serviceName": "service: {name: ...}",
    "servicePort": "service: {port: {number: ...}}",
    "backend": "defaultBackend",
}
"""Fields of Ingress as it was in networking.k8s.io/v1beta1, and what they are called now."""


class Shape:
    """The fields of one mapping; a field that holds a mapping, or a list of them, of known fields has a shape too."""

    __slots__ = ("fields", "words")

    def __init__(self, fields: Mapping[str, "Shape | None"]) -> None:
        self.fields = fields
        self.words = Words(fields)

    @classmethod
    def of(cls, type_: type[msgspec.Struct]) -> "Shape":
        """The shape of what is decoded into `type_`."""
        shape = _shape(inspect.type_info(type_))
        assert shape is not None
        return shape

    def also(self, *names: str) -> "Shape":
        """This shape with fields that exist and that we do not read."""
        return Shape({**dict.fromkeys(names), **self.fields})

    def within(self, name: str, shape: "Shape") -> "Shape":
        """This shape with another one for the field `name`."""
        return Shape({**self.fields, name: shape})


def _shape(info: inspect.Type) -> Shape | None:
    match info:
        case inspect.StructType():
            return Shape({field.encode_name: _shape(field.type) for field in info.fields})
        case inspect.VarTupleType():
            return _shape(info.item_type)
        case inspect.UnionType():
            return next(filter(None, map(_shape, info.types)), None)
        case _:
            return None


def without_nulls(mapping: Mapping[str, object], shape: Shape) -> dict[str, object]:
    """A copy without the known fields that are null, which the API treats as left out.

    Goes no deeper than the shape does: a manifest may contain itself.
    """
    return {
        key: _each_without_nulls(value, shape.fields.get(key))
        for key, value in mapping.items()
        if value is not None or key not in shape.fields
    }


def _each_without_nulls(value: object, shape: Shape | None) -> object:
    if shape is None:
        return value
    if isinstance(value, list | tuple):
        return [without_nulls(item, shape) if isinstance(item, Mapping) else item for item in value]
    return without_nulls(value, shape) if isinstance(value, Mapping) else value


def unknown_fields(value: object, shape: Shape) -> Iterator[Finding]:
    """A finding for each field that the type does not have, at most 20."""
    return islice(_unknown_fields(value, shape, ""), _MOST_UNKNOWN_FIELDS)


def _unknown_fields(value: object, shape: Shape, within: str) -> Iterator[Finding]:
    if not isinstance(value, Mapping):
        return
    for key, item in value.items():
        name = plain(key)
        field = f"{within}.{name}" if within else name
        if key not in shape.fields:
            yield Finding(field, "UnknownField", f"there is no field {shown(key)} here{_meant(name, shape)}")
        elif (inner := shape.fields[key]) is not None:
            if isinstance(item, list | tuple):
                for at, one in enumerate(item):
                    yield from _unknown_fields(one, inner, f"{field}[{at}]")
            else:
                yield from _unknown_fields(item, inner, field)


def _meant(name: str, shape: Shape) -> str:
    if name in _FORMER and (_FORMER[name] in shape.fields or "service" in shape.fields):
        return f": networking.k8s.io/v1 has `{_FORMER[name]}` instead"
    if nearest := shape.words.nearest(name):
        return f": did you mean `{nearest}`?"
    return f": known are {listing(sorted(shape.fields), 16)}"
