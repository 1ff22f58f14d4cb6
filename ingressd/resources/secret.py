"""Secret, v1. What it holds appears in no message and no representation."""

from base64 import b64decode
from collections.abc import Iterator
from typing import ClassVar

import msgspec

from ingressd.resources.finding import Finding, plain
from ingressd.resources.metadata import KubernetesObject, Metadata


class Secret(KubernetesObject, frozen=True, kw_only=True):
    """Secret, v1. `data` is base64 (RFC 4648 section 4, line ends allowed), `string_data` plain; `value` reads both."""

    KIND: ClassVar[str] = "Secret"
    metadata: Metadata = Metadata()
    type: str = "Opaque"
    data: dict[str, str] = msgspec.field(default_factory=dict)
    string_data: dict[str, str] = msgspec.field(default_factory=dict)

    def keys(self) -> frozenset[str]:
        """The names of all values."""
        return frozenset(self.data) | frozenset(self.string_data)

    def value(self, key: str) -> bytes:
        """One value; as in the API, stringData goes before data. Raises KeyError."""
        if key in self.string_data:
            return self.string_data[key].encode()
        return _decoded(self.data[key])

    def findings(self) -> Iterator[Finding]:
        yield from super().findings()
        for key, text in self.data.items():
            try:
                _decoded(text)
            except ValueError:
                message = "the value (not shown) is not base64: encode it, or move it to `stringData`"
                yield Finding(f"data[{plain(key)}]", "InvalidValue", message)

    def __repr__(self) -> str:
        return f"<Secret {self.namespace}/{self.name}>"

    def __rich_repr__(self) -> list[tuple[str, str]]:
        return [("name", f"{self.namespace}/{self.name}")]


def _decoded(text: str) -> bytes:
    return b64decode(text.replace("\r", "").replace("\n", ""), validate=True)
