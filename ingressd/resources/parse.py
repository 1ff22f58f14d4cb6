"""Manifests and JSON of an API server -> typed objects and Problems. The only way in: what is in a Store has passed
here."""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import NamedTuple

import msgspec

from ingressd.model import ObjectRef, Problem
from ingressd.resources.config_map import ConfigMap
from ingressd.resources.decode import decode
from ingressd.resources.endpoint_slice import EndpointSlice
from ingressd.resources.endpoints import Endpoints
from ingressd.resources.finding import Finding, missing, shown, type_of
from ingressd.resources.ingress import Ingress
from ingressd.resources.ingress_class import IngressClass
from ingressd.resources.metadata import DEFAULT_NAMESPACE
from ingressd.resources.secret import Secret
from ingressd.resources.service import Service
from ingressd.resources.shape import METADATA_FIELDS, OBJECT_FIELDS, Shape, unknown_fields

Resource = Ingress | IngressClass | Service | EndpointSlice | Endpoints | Secret | ConfigMap
"""Every kind that is read."""

_LIST_DEPTH = 2
_NAME_CHARACTERS = 253


class Parsed(msgspec.Struct, frozen=True):
    """What one manifest holds. An object is either among `resources` or has Problems, which carry its reference: the
    caller knows whose last good state to keep. `places` says where in the manifest an object of either sort stands
    if it is not the whole: `items[2]` for the third of a List."""

    resources: tuple[Resource, ...] = ()
    problems: tuple[Problem, ...] = ()
    places: dict[ObjectRef, str] = {}


class Kind(NamedTuple):
    """How one kind is read. `strict`: fields it does not have are findings; the type says all there are."""

    type: type[Resource]
    api_version: str
    removed: tuple[str, ...] = ()
    strict: bool = False


KINDS = {
    kind.type.KIND: kind
    for kind in (
        Kind(Ingress, "networking.k8s.io/v1", ("extensions/v1beta1", "networking.k8s.io/v1beta1"), strict=True),
        Kind(IngressClass, "networking.k8s.io/v1", ("networking.k8s.io/v1beta1",)),
        Kind(Service, "v1"),
        Kind(EndpointSlice, "discovery.k8s.io/v1", ("discovery.k8s.io/v1alpha1", "discovery.k8s.io/v1beta1")),
        Kind(Endpoints, "v1"),
        Kind(Secret, "v1"),
        Kind(ConfigMap, "v1"),
    )
}

LISTS = {"List": "", **{f"{name}List": name for name in KINDS}}
"""Kinds that hold other objects, and the kind of those if they are all of one."""

_SPELLING = {name.lower(): name for name in (*KINDS, *LISTS)}

_MIGRATION = {
    "Ingress": (
        "; there, each path needs a pathType, a backend is `service: {name: ..., port: {number: ...}}`, "
        "and spec.backend is spec.defaultBackend"
    ),
    "EndpointSlice": "; there, an endpoint's topology is nodeName and zone",
}
"""What else changes with the API version."""


@lru_cache(maxsize=len(KINDS))
def _shape(kind: Kind) -> Shape:
    shape = Shape.of(kind.type)
    metadata = shape.fields["metadata"]
    assert metadata is not None
    return shape.also(*OBJECT_FIELDS).within("metadata", metadata.also(*METADATA_FIELDS))


def parse(raw: Mapping[str, object]) -> Parsed:
    """The objects of one manifest: one, or the items of a `kind: List` (IngressList ...). Other kinds give nothing.

    Never raises, whatever the values are; each object that cannot be used gives Problems and leaves the others alone.
    """
    resources: list[Resource] = []
    problems: list[Problem] = []
    places: dict[ObjectRef, str] = {}
    for place, item in _items(raw, "", _LIST_DEPTH):
        ref, result = _parse_one(item)
        if place and result is not None:
            places.setdefault(ref, place)
        if isinstance(result, list):
            problems += (Problem(ref, finding.reason, finding.message, finding.field) for finding in result)
        elif result is not None:
            resources.append(result)
    return Parsed(tuple(resources), tuple(problems), places)


def parse_json(kind: str, data: bytes | msgspec.Raw) -> Resource | tuple[Finding, ...]:
    """One object of a kind that is read, as an API server writes it. It may lack kind and apiVersion, as the items of
    a list do, and fields we do not know are no findings, because it may be newer than we are.

    Never raises. What an API server refuses is a finding all the same: it keeps objects from before it refused them.
    """
    try:
        read: Resource | Finding = _json_decoder(kind).decode(data)
    except msgspec.ValidationError:
        read = _parse_odd_json(KINDS[kind], data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        read = Finding("", "NotAnObject", f"this is not JSON: {error}")
    return (read,) if isinstance(read, Finding) else tuple(read.findings()) or read


def _parse_odd_json(kind: Kind, data: bytes | msgspec.Raw) -> Resource | Finding:
    """JSON that has null for an empty list, as Go writes it, or that is truly wrong: then a finding says where."""
    try:
        raw = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:  # what was wrong came first
        return Finding("", "NotAnObject", f"this is not JSON: {error}")
    if not isinstance(raw, dict):
        return Finding("", "NotAnObject", f"{type_of(raw)} stands where a Kubernetes object belongs")
    return decode(raw, kind.type, _shape(kind), secret=kind.type is Secret)


@lru_cache(maxsize=len(KINDS))
def _json_decoder(kind: str) -> "msgspec.json.Decoder[Resource]":
    return msgspec.json.Decoder(KINDS[kind].type)


def _items(raw: object, place: str, depth: int) -> Iterator[tuple[str, object]]:
    """The objects in a manifest with their places; lists may hold lists."""
    if not isinstance(raw, Mapping):
        yield place, raw
        return
    kind = LISTS.get(_word(raw.get("kind")))
    items = raw.get("items") or ()
    if kind is None or not isinstance(items, list | tuple) or not depth:
        yield place, raw
        return
    # An API server leaves kind and apiVersion out of the items of a typed list.
    implied = {"apiVersion": raw.get("apiVersion"), "kind": kind} if kind else {}
    for at, item in enumerate(items):
        inside = f"{place}.items[{at}]" if place else f"items[{at}]"
        yield from _items({**implied, **item} if isinstance(item, Mapping) else item, inside, depth - 1)


def _parse_one(raw: object) -> tuple[ObjectRef, Resource | list[Finding] | None]:
    """None for kinds we do not read."""
    if not isinstance(raw, Mapping):
        found = Finding("", "NotAnObject", f"{type_of(raw)} stands where a Kubernetes object belongs")
        return ObjectRef("Object", "", ""), [found]
    kind = _kind(raw)
    ref = _ref(raw)
    if isinstance(kind, Finding):
        return ref, [kind]
    if kind is None:
        return ref, None
    findings = list(unknown_fields(raw, _shape(kind))) if kind.strict else []
    decoded = decode(raw, kind.type, _shape(kind), secret=kind.type is Secret)
    if isinstance(decoded, Finding):
        return ref, [*findings, decoded]
    findings += decoded.findings()
    return ref, findings or decoded


def _kind(raw: Mapping[str, object]) -> Kind | Finding | None:
    name, version = raw.get("kind"), raw.get("apiVersion")
    if not isinstance(name, str) or not name:
        return missing("kind", "write the kind of the object, as Ingress")
    kind = KINDS.get(name)
    if kind is None:
        return _other_kind(name, version)
    if version == kind.api_version:
        return kind
    if not isinstance(version, str) or not version:
        return missing("apiVersion", f"write {kind.api_version}")
    if version in kind.removed:
        message = (
            f"{shown(version)} has been removed from Kubernetes: write {kind.api_version}{_MIGRATION.get(name, '')}"
        )
        return Finding("apiVersion", "RemovedAPIVersion", message)
    group = version.rpartition("/")[0]
    if group.endswith(".k8s.io") or "." not in group:
        return Finding("apiVersion", "UnknownAPIVersion", f"{shown(version)} has no {name}: write {kind.api_version}")
    return None  # another project's kind of the same name, as serving.knative.dev/v1 Service


def _other_kind(name: str, version: object) -> Finding | None:
    if name in LISTS:
        return Finding(
            "items", "InvalidType", f"a list belongs here, with objects or {_LIST_DEPTH - 1} more level of lists"
        )
    meant = _SPELLING.get(name.lower(), "")
    known = KINDS.get(meant.removesuffix("List"))
    if meant and version in ((known.api_version, *known.removed) if known else ("v1",)):
        return Finding("kind", "UnknownKind", f"there is no kind {shown(name)}: write {meant}")
    return None


def _ref(raw: Mapping[str, object]) -> ObjectRef:
    """The reference as far as it can be made out."""
    kind = _word(raw.get("kind"))
    kind = _SPELLING.get(kind.lower(), kind) or "Object"
    metadata = raw.get("metadata")
    if not isinstance(metadata, Mapping):
        metadata = {}
    namespace = "" if kind == IngressClass.KIND else _word(metadata.get("namespace")) or DEFAULT_NAMESPACE
    return ObjectRef(kind, namespace, _word(metadata.get("name")))


def _word(value: object) -> str:
    """A name from a value that should have been text; safe to print and to encode."""
    if isinstance(value, str):
        text = value[:_NAME_CHARACTERS]
        return text if text.isprintable() else shown(text)
    return shown(value) if isinstance(value, int) and not isinstance(value, bool) else ""
