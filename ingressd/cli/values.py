"""Texts of flags -> typed values. Each function raises ValueError with a sentence that says what to write instead."""

import ipaddress
import re
from collections.abc import Callable
from enum import StrEnum
from typing import TypeVar

from ingressd.resources.boolean import parse_boolean
from ingressd.resources.duration import parse_duration
from ingressd.resources.syntax import host_fault, subdomain_fault

E = TypeVar("E", bound=StrEnum)

_LABEL = r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?"
_KEY = rf"(?:{_LABEL}(?:\.{_LABEL})*/)?[A-Za-z0-9](?:[-A-Za-z0-9_.]{{0,61}}[A-Za-z0-9])?"
_VALUE = r"(?:[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?"
_COMPARED = rf"\s*(?:=|==|!=)\s*{_VALUE}"
_LISTED = rf"\s+(?:in|notin)\s*\(\s*{_VALUE}(?:\s*,\s*{_VALUE})*\s*\)"
_REQUIREMENT = rf"\s*(?:!\s*{_KEY}|{_KEY}(?:{_COMPARED}|{_LISTED})?)\s*"
_SELECTOR = re.compile(f"{_REQUIREMENT}(?:,{_REQUIREMENT})*")


def text(value: str) -> str:
    """Any text but the empty one."""
    if not value:
        raise ValueError("the value is empty")
    return value


def boolean(value: str) -> bool:
    """The spellings that Go's flags take."""
    parsed = parse_boolean(value)
    if parsed is None:
        raise ValueError(f"{value!r} is not a boolean: write true or false")
    return parsed


def port(value: str) -> int:
    """A TCP port; 0 lets the system choose one."""
    if value.isascii() and value.isdigit() and len(value) <= 5 and int(value) <= 65535:
        return int(value)
    raise ValueError(f"{value!r} is not a port: write a number from 0 to 65535")


def whole_number(least: int) -> Callable[[str], int]:
    """A parser of whole numbers that are at least `least`."""

    def parse(value: str) -> int:
        if value.isascii() and value.isdigit() and len(value) <= 9 and int(value) >= least:
            return int(value)
        raise ValueError(f"{value!r} is not a whole number from {least} to 999999999")

    return parse


def duration(value: str) -> float:
    """Seconds, more than 0: `60`, `60s`, `500ms`, `5m`, `1h`."""
    seconds = parse_duration(value)
    if seconds is None:
        raise ValueError(f"{value!r} is not a duration above 0: write for instance 60, 60s, 500ms, 5m or 1h")
    return seconds


def none_or_duration(value: str) -> float:
    """The same, or 0."""
    return 0.0 if value in ("0", "0s") else duration(value)


def whole_seconds(least: int) -> Callable[[str], int]:
    """A parser of durations of whole seconds, from `least` to an hour."""

    def parse(value: str) -> int:
        seconds = duration(value)
        if not least <= seconds <= 3600 or seconds != int(seconds):
            raise ValueError(f"{value!r} is not possible here: write whole seconds, from {least}s to 1h")
        return int(seconds)

    return parse


def workers(value: str) -> int | None:
    """A number of worker processes; None for `auto`."""
    if value == "auto":
        return None
    if value.isascii() and value.isdigit() and 1 <= len(value) <= 3 and int(value) > 0:
        return int(value)
    raise ValueError(f"{value!r} is not a number of workers: write auto or a number from 1 to 999")


def addresses(value: str) -> tuple[str, ...]:
    """IP addresses, comma separated, v6 with or without brackets; in canonical spelling."""
    return tuple(_address(part.strip()) for part in value.split(","))


def _address(value: str) -> str:
    bare = value[1:-1] if value.startswith("[") and value.endswith("]") else value
    try:
        return str(ipaddress.ip_address(bare))
    except ValueError:
        raise ValueError(f"{value!r} is not an IP address: write for instance 127.0.0.1 or ::1") from None


def networks(value: str) -> tuple[str, ...]:
    """Networks in CIDR notation or single addresses, comma separated; all as CIDR."""
    return tuple(_network(part.strip()) for part in value.split(","))


def _network(value: str) -> str:
    try:
        return str(ipaddress.ip_network(value))
    except ValueError:
        pass
    try:
        meant = ipaddress.ip_network(value, strict=False)
    except ValueError:
        raise ValueError(
            f"{value!r} is neither a network nor an address: write for instance 10.0.0.0/8 or 192.0.2.1"
        ) from None
    raise ValueError(f"{value!r} has bits set to the right of its prefix: write {meant}")


def choice(of: type[E]) -> Callable[[str], E]:
    """A parser of the members of an enumeration by value."""

    def parse(value: str) -> E:
        try:
            return of(value)
        except ValueError:
            known = [member.value for member in of]
            raise ValueError(f"{value!r} is not known: write {', '.join(known[:-1])} or {known[-1]}") from None

    return parse


def namespaced_name(value: str) -> str:
    """`namespace/name` of an object, both as Kubernetes allows them (RFC 1123 labels)."""
    if re.fullmatch(rf"{_LABEL}/{_LABEL}", value):
        return value
    raise ValueError(f"{value!r} does not name a Service: write namespace/name")


def object_name(value: str) -> str:
    """The name of an object (RFC 1123 subdomain)."""
    if fault := subdomain_fault(value):
        raise ValueError(f"{value!r} cannot be a name: {fault}")
    return value


def status_addresses(value: str) -> tuple[str, ...]:
    """IP addresses and host names, comma separated, as the status of an Ingress may have them."""
    return tuple(_status_address(part.strip()) for part in value.split(","))


def _status_address(value: str) -> str:
    try:
        address = ipaddress.ip_address(_address(value))
    except ValueError:
        # The API server takes dotted numbers for a name, but nobody who writes them means one.
        if subdomain_fault(value) or host_fault(value):
            raise ValueError(
                f"{value!r} is neither an IP address nor a host name in lower case: write for instance 203.0.113.9 or "
                "lb.example.com"
            ) from None
        return value
    # The API server refuses both.
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        raise ValueError(f"{value!r} is an IPv4 address within an IPv6 one: write {address.ipv4_mapped}")
    if isinstance(address, ipaddress.IPv6Address) and address.scope_id:
        raise ValueError(f"{value!r} holds on one machine only: write an address without %")
    return str(address)


def namespace(value: str) -> str:
    """The name of a namespace (RFC 1123 label)."""
    if re.fullmatch(_LABEL, value):
        return value
    raise ValueError(f"{value!r} cannot be a namespace: write lower-case letters, digits and `-`")


def label_selector(value: str) -> str:
    """A label selector as kubectl takes it (k8s.io/apimachinery/pkg/labels)."""
    if _SELECTOR.fullmatch(value):
        return value
    raise ValueError(f"{value!r} is not a label selector: write for instance stage=live,team in (a,b),!old")
