"""Whether another replica of this controller goes on when this one stops.

Listing pods would need a right that nothing else here does. The EndpointSlices of the Service in front of the
controller name its pods too, those that have an address, and they are watched anyway. Where they do not show our own
pod, it counts as "another goes on".
"""

from collections.abc import Iterable

import msgspec

from ingressd.control.api import Objects, Page
from ingressd.resources.endpoint_slice import SERVICE_NAME


class TargetRef(msgspec.Struct, frozen=True):
    """ObjectReference of the pod behind an endpoint."""

    kind: str = ""
    name: str = ""


class Conditions(msgspec.Struct, frozen=True):
    """EndpointConditions."""

    terminating: bool | None = None


class ReplicaEndpoint(msgspec.Struct, frozen=True, rename="camel"):
    """Endpoint, as far as it says which pod it is."""

    target_ref: TargetRef | None = None
    conditions: Conditions = Conditions()


class ReplicaSlice(msgspec.Struct, frozen=True):
    """EndpointSlice, discovery.k8s.io/v1."""

    endpoints: tuple[ReplicaEndpoint, ...] | None = None


def is_last(slices: Iterable[ReplicaSlice], pod: str) -> bool:
    """Whether no pod but `pod` is there, terminating ones aside. Ready or not: one that starts up goes on too. If `pod`
    itself is not there, these are not the slices of our Service, and nothing is known."""
    endpoints = [endpoint for each in slices for endpoint in each.endpoints or ()]
    pods = [(endpoint.target_ref.name if endpoint.target_ref else "", endpoint) for endpoint in endpoints]
    others = any(name != pod and not endpoint.conditions.terminating for name, endpoint in pods)
    return not others and any(name == pod for name, _ in pods)


async def read_is_last(objects: Objects, namespace: str, service: str, pod: str) -> bool:
    """Asks the API server. Raises ApiError."""
    path = f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
    pages = objects.pages(path, Page[ReplicaSlice], labelSelector=f"{SERVICE_NAME}={service}")
    return is_last([each async for page in pages for each in page], pod)
