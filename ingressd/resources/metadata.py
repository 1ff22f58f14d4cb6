"""metadata of an object: what identifies it, and for some kinds what we read beside that.

Labels and annotations are kept only where something reads them: other parts of a cluster write to them without end
(leader election does every two seconds), and each change would count as one.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, ClassVar

import msgspec

from ingressd.model import ObjectRef
from ingressd.resources.finding import Finding, invalid, missing
from ingressd.resources.syntax import key_fault, label_fault, subdomain_fault

DEFAULT_NAMESPACE = "default"
OWN_PREFIX = "ingressd.dev/"
"""How the keys of our own annotations begin."""
_NEWEST = datetime.max.replace(tzinfo=UTC)


class Part(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """Base of all types here: values decoded from a manifest. They cannot form cycles, so the garbage collector need
    not look at the hundred thousands of them that a large cluster has."""


class ClusterMetadata(Part, frozen=True):
    """Of a cluster-scoped kind."""

    namespace: ClassVar[str] = ""
    name: str = ""


class AnnotatedClusterMetadata(ClusterMetadata, frozen=True):
    """Of IngressClass."""

    annotations: dict[str, str] = {}


class Metadata(Part, frozen=True):
    """Of a namespaced kind. A missing or empty namespace is `default`, as with kubectl."""

    name: str = ""
    namespace: str = DEFAULT_NAMESPACE

    def __post_init__(self) -> None:
        if not self.namespace:
            msgspec.structs.force_setattr(self, "namespace", DEFAULT_NAMESPACE)


class LabelledMetadata(Metadata, frozen=True):
    """Of EndpointSlice."""

    labels: dict[str, str] = {}


class ServiceMetadata(Metadata, frozen=True):
    """Of Service. Of its annotations only our own are kept."""

    annotations: dict[str, str] = {}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.annotations:
            own = {key: value for key, value in self.annotations.items() if key.startswith(OWN_PREFIX)}
            msgspec.structs.force_setattr(self, "annotations", own)


class AnnotatedMetadata(Metadata, frozen=True):
    """Of Ingress."""

    annotations: dict[str, str] = {}
    creation_timestamp: Annotated[datetime, msgspec.Meta(tz=True)] | None = None

    @property
    def age(self) -> tuple[datetime, str, str]:
        """Sorts oldest first. An object that was never in a cluster has no timestamp and counts as newest."""
        return (self.creation_timestamp or _NEWEST, self.namespace, self.name)


AnyMetadata = (
    ClusterMetadata | AnnotatedClusterMetadata | Metadata | LabelledMetadata | ServiceMetadata | AnnotatedMetadata
)


class KubernetesObject(Part, frozen=True, kw_only=True):
    """What all kinds share. A subclass names its KIND and its metadata, and adds what we use of the rest."""

    KIND: ClassVar[str]
    metadata: AnyMetadata

    @property
    def name(self) -> str:
        return self.metadata.name

    @property
    def namespace(self) -> str:
        """Empty for cluster-scoped kinds."""
        return self.metadata.namespace

    @property
    def ref(self) -> ObjectRef:
        return ObjectRef(self.KIND, self.metadata.namespace, self.metadata.name)

    def findings(self) -> Iterator[Finding]:
        """What the API server would refuse in this object alone. Subclasses add to it."""
        if not self.name:
            yield missing("metadata.name", "the object has no name")
        elif fault := self._name_fault(self.name):
            yield invalid("metadata.name", self.name, fault)
        if self.namespace and (fault := label_fault(self.namespace)):
            yield invalid("metadata.namespace", self.namespace, fault)
        if isinstance(self.metadata, AnnotatedMetadata | AnnotatedClusterMetadata | ServiceMetadata):
            for key in self.metadata.annotations:
                if fault := key_fault(key):
                    yield invalid("metadata.annotations", key, fault)

    @staticmethod
    def _name_fault(name: str) -> str:
        return subdomain_fault(name)
