"""ConfigMap, v1."""

from typing import ClassVar

import msgspec

from ingressd.resources.metadata import KubernetesObject, Metadata


class ConfigMap(KubernetesObject, frozen=True, kw_only=True):
    """ConfigMap, v1."""

    KIND: ClassVar[str] = "ConfigMap"
    metadata: Metadata = Metadata()
    data: dict[str, str] = msgspec.field(default_factory=dict)
