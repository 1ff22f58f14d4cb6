"""A Service's EndpointSlices (or Endpoints) -> the endpoints behind one of its ports."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ingressd.model import Endpoint, ObjectRef, Problem, Severity
from ingressd.resources import Endpoints, EndpointSlice, Service, ServicePort, Store
from ingressd.resources.finding import listing, shown
from ingressd.translate.addresses import canonical


class Found(NamedTuple):
    """`endpoints` are sorted and distinct. If there are none, `why` says why, fit to follow the name of the Service."""

    endpoints: tuple[Endpoint, ...]
    why: str
    problems: tuple[Problem, ...]


class _Candidate(NamedTuple):
    """An endpoint as some object has it; `usable`: ready, `draining`: only to be used where nothing is usable."""

    endpoint: Endpoint
    usable: bool
    draining: bool


def find_endpoints(store: Store, service: Service, port: ServicePort) -> Found:
    """The endpoints of one Service port: the ready ones; where none is ready, those that serve while they terminate.

    The port's name leads from the Service to the slices; the number in the slice is that of the pods. Endpoints are
    read only where the Service has no slice at all.
    """
    slices = sorted(store.slices_of(service.namespace, service.name), key=lambda one: one.name)
    problems: list[Problem] = []
    if slices:
        candidates = [each for one in slices for each in _of_slice(one, port, problems)]
        names = {known.name for one in slices for known in one.ports}
    elif (endpoints := store.endpoints(service.namespace, service.name)) is not None:
        candidates = list(_of_endpoints(endpoints, port, problems))
        names = {known.name for subset in endpoints.subsets for known in subset.ports}
    else:
        return Found((), "has no EndpointSlice", ())
    chosen = {each.endpoint for each in candidates if each.usable}
    if not chosen:
        chosen = {each.endpoint for each in candidates if each.draining}
    why = "" if chosen else _why(candidates, names, port)
    return Found(tuple(sorted(chosen)), why, tuple(problems))


def _why(candidates: list[_Candidate], names: set[str], port: ServicePort) -> str:
    if candidates:
        return f"has no ready endpoint ({len(candidates)} not ready)"
    if names and port.name not in names:
        others = listing(sorted(shown(name) if name else "one without a name" for name in names))
        wanted = f"port {shown(port.name)}" if port.name else "the port without a name"
        return f"has no endpoint for {wanted}, only for {others}"
    return "has no endpoint"


def _of_slice(one: EndpointSlice, port: ServicePort, problems: list[Problem]) -> Iterator[_Candidate]:
    if one.address_type == "FQDN":
        message = "endpoints of type FQDN are left out: write IP addresses, or a Service of type ExternalName"
        problems.append(Problem(one.ref, "UnsupportedAddressType", message, "addressType"))
        return
    numbers = [
        known.port or port.numeric_target for known in one.ports if known.name == port.name and known.protocol == "TCP"
    ]
    bad: list[tuple[str, str]] = []
    for at, each in enumerate(one.endpoints):
        text = each.addresses[0] if each.addresses else ""
        if not (address := canonical(text)):
            bad.append((f"endpoints[{at}].addresses[0]", text))
            continue
        conditions = each.conditions
        for number in numbers:
            if number:
                draining = conditions.serving and conditions.terminating
                yield _Candidate(Endpoint(address, number), conditions.ready, draining)
    problems += _address_problems(one.ref, bad)


def _of_endpoints(endpoints: Endpoints, port: ServicePort, problems: list[Problem]) -> Iterator[_Candidate]:
    bad: list[tuple[str, str]] = []
    for at, subset in enumerate(endpoints.subsets):
        numbers = [known.port for known in subset.ports if known.name == port.name and known.protocol == "TCP"]
        for place, each in enumerate(subset.addresses):
            if not (address := canonical(each.ip)):
                bad.append((f"subsets[{at}].addresses[{place}].ip", each.ip))
                continue
            for number in numbers:
                if number:
                    yield _Candidate(Endpoint(address, number), usable=True, draining=False)
    problems += _address_problems(endpoints.ref, bad)


def _address_problems(ref: ObjectRef, bad: Iterable[tuple[str, str]]) -> Iterator[Problem]:
    """One for an object, however many of its addresses are wrong."""
    places = list(bad)
    if places:
        field, text = places[0]
        more = f" ({len(places) - 1} more like it)" if len(places) > 1 else ""
        message = f"{shown(text)} cannot be an endpoint and is left out{more}: write the IP address of a pod or host"
        yield Problem(ref, "InvalidAddress", message, field, Severity.ERROR)
