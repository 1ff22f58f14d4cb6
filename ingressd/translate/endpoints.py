"""A Service's EndpointSlices (or Endpoints) -> the endpoints behind one of its ports."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ingressd.model import Endpoint, ObjectRef, Problem
from ingressd.resources import Endpoints, EndpointSlice, EndpointsPort, Service, ServicePort, SlicePort, Store
from ingressd.resources.finding import listing, shown
from ingressd.translate.addresses import canonical


class Found(NamedTuple):
    """`endpoints` are sorted and distinct. If there are none, `why` says why, fit to follow the name of the Service.
    `terminating` are those that still serve while they terminate; they are among `endpoints` where nothing is ready."""

    endpoints: tuple[Endpoint, ...]
    why: str
    problems: tuple[Problem, ...]
    terminating: tuple[Endpoint, ...] = ()


class _Gathered:
    """What slices (or Endpoints) have for one port. `draining`: only to be used where nothing is ready."""

    __slots__ = ("draining", "others", "port", "port_names", "problems", "ready")

    def __init__(self, port: ServicePort) -> None:
        self.port = port
        self.ready: set[Endpoint] = set()
        self.draining: set[Endpoint] = set()
        self.others = 0
        self.port_names: set[str] = set()
        self.problems: list[Problem] = []

    def numbers(self, ports: Sequence[SlicePort | EndpointsPort]) -> list[int]:
        """The pods' ports: those with the name of the Service port. One without number stands for all of them."""
        self.port_names.update(known.name for known in ports)
        matching = (known for known in ports if known.name == self.port.name and known.protocol == "TCP")
        return [number for known in matching if (number := known.port or self.port.numeric_target)]

    def take_slice(self, one: EndpointSlice) -> None:
        if one.address_type == "FQDN":
            message = "endpoints of type FQDN are left out: write IP addresses, or a Service of type ExternalName"
            self.problems.append(Problem(one.ref, "UnsupportedAddressType", message, "addressType"))
            return
        numbers = self.numbers(one.ports)
        bad: list[tuple[str, str]] = []
        for at, each in enumerate(one.endpoints):
            text = each.addresses[0] if each.addresses else ""
            address = canonical(text)
            conditions = each.conditions
            if not address:
                bad.append((f"endpoints[{at}].addresses[0]", text))
            elif conditions.ready:
                self.ready.update([Endpoint(address, number) for number in numbers])
            elif conditions.serving and conditions.terminating:
                self.draining.update([Endpoint(address, number) for number in numbers])
            else:
                self.others += len(numbers)
        self.problems += _address_problems(one.ref, bad)

    def take_endpoints(self, endpoints: Endpoints) -> None:
        bad: list[tuple[str, str]] = []
        for at, subset in enumerate(endpoints.subsets):
            numbers = self.numbers(subset.ports)
            for place, each in enumerate(subset.addresses):
                if address := canonical(each.ip):
                    self.ready.update([Endpoint(address, number) for number in numbers])
                else:
                    bad.append((f"subsets[{at}].addresses[{place}].ip", each.ip))
        self.problems += _address_problems(endpoints.ref, bad)

    def why_none(self) -> str:
        """Why there is no endpoint, fit to follow the name of the Service."""
        if self.others:
            return f"has no ready endpoint ({self.others} not ready)"
        if self.port_names and self.port.name not in self.port_names:
            others = listing(sorted(shown(name) if name else "one without a name" for name in self.port_names))
            wanted = f"port {shown(self.port.name)}" if self.port.name else "the port without a name"
            return f"has no endpoint for {wanted}, only for {others}"
        return "has no endpoint"


def find_endpoints(store: Store, service: Service, port: ServicePort) -> Found:
    """The endpoints of one Service port: the ready ones; where none is ready, those that serve while they terminate.

    The port's name leads from the Service to the slices; the number in the slice is that of the pods. Endpoints are
    read only where the Service has no slice at all.
    """
    gathered = _Gathered(port)
    if slices := store.slices_of(service.namespace, service.name):
        for one in slices:
            gathered.take_slice(one)
    elif (endpoints := store.endpoints(service.namespace, service.name)) is not None:
        gathered.take_endpoints(endpoints)
    else:
        return Found((), "has no EndpointSlice", ())
    chosen = gathered.ready or gathered.draining
    why = "" if chosen else gathered.why_none()
    terminating = tuple(sorted(gathered.draining - gathered.ready))
    return Found(tuple(sorted(chosen)), why, tuple(gathered.problems), terminating)


def _address_problems(ref: ObjectRef, bad: Sequence[tuple[str, str]]) -> Iterator[Problem]:
    """One for an object, however many of its addresses are wrong; `bad` are their fields and texts."""
    if bad:
        field, text = bad[0]
        more = f" ({len(bad) - 1} more like it)" if len(bad) > 1 else ""
        message = f"{shown(text)} cannot be an endpoint and is left out{more}: write the IP address of a pod or host"
        yield Problem(ref, "InvalidAddress", message, field)
