"""Annotations `ingressd.dev/health-check-*` and `ingressd.dev/slow-start` -> the check and slow start of a cluster.

They may stand on a Service and on an Ingress. Those of the Service count for all its ports, and what Ingresses say is
then not asked for: who writes the Service knows its pods. Else the oldest Ingress that names the Service port and says
anything has its way, and who says something else gets a Problem. A check that has one value wrong is not made at all:
one that asks for something else than was meant could take all endpoints for unhealthy. For the same reason a check by
HTTP is one by HTTPS where requests go to the endpoints over TLS, unless an annotation says its type.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

import msgspec

from ingressd.model import CheckType, ClusterKey, HealthCheck, ObjectRef, Problem, Severity
from ingressd.resources import Ingress, IngressBackend, Store
from ingressd.resources.duration import parse_duration
from ingressd.resources.finding import shown
from ingressd.resources.metadata import OWN_PREFIX
from ingressd.resources.syntax import LAST_PORT, subdomain_fault
from ingressd.translate.annotation_keys import INVALID, OWN_KEYS, field_of
from ingressd.translate.annotations import annotation_faults

CONFLICT = "HealthCheckConflict"

OFF = "off"
_MOST_IN_A_ROW = 100
_CHECK = "health-check-"
SLOW_START = "slow-start"

_PATH = re.compile(r"/[!-\"$-~]{0,1023}")
"""Visible ASCII without `#`: a request-target as it can be sent (RFC 9112 section 3.2.1)."""
_STATUS = re.compile(r"([1-5][0-9]{2})(?:-([1-5][0-9]{2}))?")
_HOST = re.compile(r"(?P<name>[^:]+)(?::(?P<port>[0-9]{1,5}))?")

T = TypeVar("T")


class _Fault(ValueError):
    """A value that cannot be; the text says what to write."""


def _type(text: str) -> CheckType | None:
    """None for no check at all."""
    if text == OFF:
        return None
    try:
        return CheckType(text)
    except ValueError:
        raise _Fault("write http, https, tcp or off") from None


def _path(text: str) -> str:
    if not _PATH.fullmatch(text):
        raise _Fault("write a path that begins with `/`, percent-encoded where need be, such as /healthz")
    return text


def _host(text: str) -> str:
    found = _HOST.fullmatch(text)
    if not found or subdomain_fault(found["name"].lower()) or int(found["port"] or 0) > LAST_PORT:
        raise _Fault("write a host name, such as app.example.com")
    return text


def _between(least: float, most: float, such_as: str) -> Callable[[str], float]:
    def parse(text: str) -> float:
        seconds = parse_duration(text)
        if seconds is None or not least <= seconds <= most:
            raise _Fault(f"write a duration from {_short(least)} to {_short(most)}, such as {such_as}")
        return seconds

    return parse


def _short(seconds: float) -> str:
    if seconds < 1:
        return f"{seconds * 1000:g}ms"
    return f"{seconds / 3600:g}h" if seconds >= 3600 else f"{seconds:g}s"


def _whole(most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) <= 9 and 1 <= int(text) <= most):
            raise _Fault(f"write a whole number from 1 to {most}")
        return int(text)

    return parse


def _statuses(text: str) -> tuple[tuple[int, int], ...]:
    ranges = []
    for part in text.split(","):
        found = _STATUS.fullmatch(part.strip())
        first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
        if first > last:
            raise _Fault("write statuses from 100 to 599 and ranges of them, such as 200 or 200-299,404")
        ranges.append((first, last))
    return tuple(sorted(set(ranges)))


_FIELDS: Mapping[str, Callable[[str], Any]] = {
    "type": _type,
    "path": _path,
    "host": _host,
    "port": _whole(LAST_PORT),
    "interval": _between(0.1, 3600.0, "10s"),
    "timeout": _between(0.01, 60.0, "2s"),
    "healthy-threshold": _whole(_MOST_IN_A_ROW),
    "unhealthy-threshold": _whole(_MOST_IN_A_ROW),
    "expected-status": _statuses,
}
"""What may follow `health-check-`."""

_slow_start = _between(1.0, 3600.0, "30s")
_OF_HTTP = ("path", "host", "expected_status")
_DEFAULTS = HealthCheck()


class Wish(NamedTuple):
    """What an object says. A check of None: none is to be made."""

    says_check: bool
    check: HealthCheck | None
    says_type: bool
    says_slow_start: bool
    slow_start: float

    def check_of(self, secure: bool) -> HealthCheck | None:
        """The check of a cluster; `secure` if requests go to its endpoints over TLS."""
        return self.check if self.says_type else _suited(self.check, secure)


class Read(NamedTuple):
    """A wish, and what is wrong with it: keys of annotations without prefix, and messages."""

    wish: Wish
    faults: tuple[tuple[str, str], ...]


def _suited(check: HealthCheck | None, secure: bool) -> HealthCheck | None:
    if check is not None and secure and check.type is CheckType.HTTP:
        return msgspec.structs.replace(check, type=CheckType.HTTPS)
    return check


def check_of(texts: Mapping[str, str], default: HealthCheck | None) -> tuple[HealthCheck | None, dict[str, str]]:
    """The check that settings (`path`, `interval` ...) make of `default`, and what is wrong, by setting. None if there
    is to be none, or if anything is wrong."""
    values: dict[str, Any] = {}
    faults: dict[str, str] = {}
    for name, text in texts.items():
        try:
            values[name.replace("-", "_")] = _FIELDS[name](text)
        except _Fault as fault:
            faults[name] = f"{shown(text)}: {fault}"
    if faults or ("type" in values and values["type"] is None):
        return None, faults
    check = msgspec.structs.replace(default or _DEFAULTS, **values)
    if check.type is CheckType.TCP:
        # What has no meaning must not make two checks of one.
        check = msgspec.structs.replace(check, **{name: getattr(_DEFAULTS, name) for name in _OF_HTTP})
    return check, {}


def read_settings(text: str) -> HealthCheck | None:
    """The check that a flag describes: `type=http,path=/healthz,interval=5s`; a comma in a value is written `;`. None
    for `off`. Raises ValueError with what to write."""
    if text == OFF:
        return None
    texts: dict[str, str] = {}
    for part in text.split(","):
        name, equals, value = part.partition("=")
        if not equals or name not in _FIELDS:
            known = ", ".join(_FIELDS)
            raise ValueError(f"{part!r} is no setting of a health check: write NAME=VALUE, with NAME one of {known}")
        texts[name] = value.replace(";", ",")
    check, faults = check_of(texts, None)
    if faults:
        name, message = next(iter(faults.items()))
        raise ValueError(f"{name} is {message}")
    return check


def read(annotations: Mapping[str, str], default: HealthCheck | None) -> Read | None:
    """What annotations say; None if they say nothing of what is read here."""
    texts: dict[str, str] = {}
    slow_start: str | None = None
    for key, text in annotations.items():
        if key.startswith(OWN_PREFIX):
            name = key.removeprefix(OWN_PREFIX)
            if name == SLOW_START:
                slow_start = text
            elif name in OWN_KEYS and name.startswith(_CHECK):
                texts[name.removeprefix(_CHECK)] = text
    if not texts and slow_start is None:
        return None
    check, found = check_of(texts, default)
    faults = [(_CHECK + name, f"{message}; no health check is made until then") for name, message in found.items()]
    seconds = 0.0
    if slow_start is not None and slow_start != OFF:
        try:
            seconds = _slow_start(slow_start)
        except _Fault as fault:
            faults.append((SLOW_START, f"{shown(slow_start)}: {fault}, or off"))
    return Read(Wish(bool(texts), check, "type" in texts, slow_start is not None, seconds), tuple(faults))


class _Claim(NamedTuple):
    """An Ingress that has its way with a cluster."""

    source: ObjectRef
    wish: Wish


class Checks:
    """The checks of one translation. Ingresses come oldest first."""

    def __init__(self, store: Store, default: HealthCheck | None) -> None:
        self.problems: list[Problem] = []
        """Complete once `of` was asked for every cluster."""
        self._store = store
        self._default = default
        self._claims: dict[ClusterKey, list[_Claim]] = {}
        self._services: dict[tuple[str, str], Wish | None] = {}

    def add(self, ingress: Ingress) -> None:
        """Takes what an Ingress says, for all Service ports that it names."""
        found = read(ingress.metadata.annotations, self._default)
        if found is None:
            return
        self.problems += _problems(ingress.ref, found)
        claim = _Claim(ingress.ref, found.wish)
        for backend in _backends(ingress):
            if backend.service is not None:
                key = ClusterKey(ingress.namespace, backend.service.name, str(backend.service.port))
                claims = self._claims.setdefault(key, [])
                if not claims or claims[-1] is not claim:
                    claims.append(claim)

    def of(self, key: ClusterKey, secure: bool) -> tuple[HealthCheck | None, float]:
        """The check of a cluster, None for none, and its slow start in seconds; `secure` if requests go to its
        endpoints over TLS."""
        check, slow_start = _suited(self._default, secure), 0.0
        if service := self._of_service(key.namespace, key.service):
            check = service.check_of(secure) if service.says_check else check
            slow_start = service.slow_start
        claims = self._claims.get(key)
        if claims:
            return self._settle(key, secure, service, claims, check, slow_start)
        return check, slow_start

    def _of_service(self, namespace: str, name: str) -> Wish | None:
        service = self._store.service(namespace, name)
        if service is None or not service.metadata.annotations:
            return None
        if (namespace, name) not in self._services:
            for field, reason, message in annotation_faults(service.metadata.annotations):
                self.problems.append(Problem(service.ref, reason, message, field, Severity.WARNING))
            found = read(service.metadata.annotations, self._default)
            self._services[namespace, name] = found.wish if found is not None else None
            if found is not None:
                self.problems += _problems(service.ref, found)
        return self._services[namespace, name]

    def _settle(
        self,
        key: ClusterKey,
        secure: bool,
        service: Wish | None,
        claims: list[_Claim],
        check: HealthCheck | None,
        slow_start: float,
    ) -> tuple[HealthCheck | None, float]:
        """What Ingresses say too; the first that says it is the oldest."""
        owner = ObjectRef("Service", key.namespace, key.service)
        checked_by = owner if service is not None and service.says_check else None
        started_by = owner if service is not None and service.says_slow_start else None
        for claim in claims:
            wish = claim.wish
            if wish.says_check:
                if checked_by is None:
                    checked_by, check = claim.source, wish.check_of(secure)
                elif wish.check_of(secure) != check:
                    self._conflict(claim.source, checked_by, key, "health check", f"{_CHECK}*")
            if wish.says_slow_start:
                if started_by is None:
                    started_by, slow_start = claim.source, wish.slow_start
                elif wish.slow_start != slow_start:
                    self._conflict(claim.source, started_by, key, "slow start", SLOW_START)
        return check, slow_start

    def _conflict(self, loser: ObjectRef, winner: ObjectRef, key: ClusterKey, what: str, annotation: str) -> None:
        why = "goes first" if winner.kind == "Service" else "is older or goes first by name"
        message = (
            f"the {what} of port {key.port} of Service {key.service} is that of {winner}, which {why}: write the same "
            "there, or take it out here"
        )
        field = field_of(OWN_PREFIX + annotation)
        self.problems.append(Problem(loser, CONFLICT, message, field, Severity.WARNING))


def _problems(ref: ObjectRef, found: Read) -> Iterator[Problem]:
    for name, message in found.faults:
        key = OWN_PREFIX + name
        yield Problem(ref, INVALID, f"{key} is {message}", field_of(key))


def _backends(ingress: Ingress) -> Iterator[IngressBackend]:
    for rule in ingress.spec.rules:
        if rule.http is not None:
            for path in rule.http.paths:
                yield path.backend
    if ingress.spec.default_backend is not None:
        yield ingress.spec.default_backend
