"""What is wrong with an object, said so that its owner can mend it."""

from enum import StrEnum

import msgspec


class ObjectRef(msgspec.Struct, frozen=True, order=True):
    """Names one Kubernetes object. `namespace` is empty for cluster-scoped kinds."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


class Severity(StrEnum):
    """ERROR: something the object asks for does not happen. WARNING: it happens, perhaps not as meant."""

    ERROR = "error"
    WARNING = "warning"


class Problem(msgspec.Struct, frozen=True, order=True):
    """One finding about one object.

    `reason` is a CamelCase word fit for an Event and a metric label. `field` is the path inside the object
    (`spec.rules[0].http.paths[1].pathType`), empty where the whole object is meant. `message` names the offending
    value. `file` and `line` (from 1) are known only for manifests read from files; empty and 0 elsewhere.
    """

    object: ObjectRef
    reason: str
    message: str
    field: str = ""
    severity: Severity = Severity.ERROR
    file: str = ""
    line: int = 0

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}: " if self.line else f"{self.file}: " if self.file else ""
        field = f" {self.field}:" if self.field else ""
        return f"{place}{self.object}:{field} {self.message} [{self.reason}]"
