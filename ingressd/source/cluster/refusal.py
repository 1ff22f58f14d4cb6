"""What the API server does not let us do -> a Problem that says which right is missing."""

from ingressd.model import ObjectRef, Problem, Severity
from ingressd.source.cluster.api import ApiError
from ingressd.source.cluster.kinds import INGRESS_CLASS, Kind

FORBIDDEN = "Forbidden"
NOT_SERVED = "NotServed"


def is_refusal(error: ApiError) -> bool:
    """Whether it will be the same as long as nobody changes rights or the API server."""
    return error.status in (403, 404)


def refusal(kind: Kind, verb: str, namespace: str, error: ApiError, name: str = "") -> Problem:
    """`namespace` is empty for all of them; `name` for all objects."""
    ref = ObjectRef(kind.name, namespace, name or "*")
    if error.status == 404:
        message = f"the API server has no {kind.resource} in version {kind.version}: {error.message}"
        return Problem(ref, NOT_SERVED, message)
    where = f" in namespace {namespace}" if namespace else " in all namespaces" if kind.namespaced else ""
    what = f"{kind.resource} {name}" if name else kind.resource
    message = f'the verb "{verb}" on {what}{where} is missing in the role of this controller: {error.message}'
    if kind is INGRESS_CLASS:
        message += "; until then Ingresses are ours if they name the class of --ingress-class"
        return Problem(ref, FORBIDDEN, message, severity=Severity.WARNING)
    return Problem(ref, FORBIDDEN, message)
