"""What the API server wraps objects in: lists and the events of watches. Objects stay raw until they are read alone, so
that one of them that cannot be read does not take the others with it."""

from typing import ClassVar

import msgspec


class Metadata(msgspec.Struct, frozen=True, rename="camel"):
    """What tells which object, in which version."""

    name: str = ""
    namespace: str = ""
    resource_version: str = ""


class Object(msgspec.Struct, frozen=True):
    """Any object, for its metadata alone."""

    metadata: Metadata = Metadata()


class NamespaceMetadata(msgspec.Struct, frozen=True):
    """Of a Namespace, all that matters: its labels are for the API server to compare."""

    name: str = ""


class Namespace(msgspec.Struct, frozen=True):
    """Namespace, v1."""

    namespace: ClassVar[str] = ""
    metadata: NamespaceMetadata = NamespaceMetadata()

    @property
    def name(self) -> str:
        return self.metadata.name


class ListMetadata(msgspec.Struct, frozen=True, rename="camel"):
    """ListMeta of meta/v1. `more` asks for the next page; empty on the last."""

    resource_version: str = ""
    more: str = msgspec.field(name="continue", default="")


class Page(msgspec.Struct, frozen=True):
    """A list, or a part of one."""

    metadata: ListMetadata = ListMetadata()
    items: list[msgspec.Raw] | None = None


class WatchEvent(msgspec.Struct, frozen=True):
    """WatchEvent of meta/v1. `type` is ADDED, MODIFIED, DELETED, BOOKMARK or ERROR."""

    type: str
    object: msgspec.Raw


decode_namespace = msgspec.json.Decoder(Namespace).decode
decode_object = msgspec.json.Decoder(Object).decode
decode_page = msgspec.json.Decoder(Page).decode
decode_event = msgspec.json.Decoder(WatchEvent).decode
