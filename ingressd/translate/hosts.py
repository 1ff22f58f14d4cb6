"""Gathers what all Ingresses say of each host, and settles what two of them claim.

Ingresses come oldest first; whoever claims a path or a default first has it, and who comes later gets a Problem.
"""

from collections import defaultdict
from typing import NamedTuple

from ingressd.model import PathKind, PathMatch, Problem, Route, Severity, VirtualHost
from ingressd.resources import Ingress, IngressBackend
from ingressd.resources.finding import listing, shown
from ingressd.translate.backends import Backends
from ingressd.translate.paths import path_match, path_remarks
from ingressd.translate.policies import Policies

CONFLICT = "PathConflict"
DEFAULT_CONFLICT = "DefaultBackendConflict"
SHADOWED = "PathShadowed"
NO_DEFAULT = "DefaultBackendMissing"

DEFAULT_PATH = PathMatch(PathKind.PREFIX, "/")
"""What the route of a default backend says its path is."""


class Claim(NamedTuple):
    """Something of a host that an Ingress wants for itself."""

    ingress: Ingress
    backend: IngressBackend
    field: str

    def agrees(self, other: "Claim") -> bool:
        """Whether both lead to the same place, so that it does not matter who wins."""
        return self.backend == other.backend and self.ingress.namespace == other.ingress.namespace


class Host:
    """What is known of one host so far."""

    __slots__ = ("claims", "default", "losers")

    def __init__(self) -> None:
        self.claims: dict[tuple[PathKind, str], Claim] = {}
        self.losers: defaultdict[tuple[PathKind, str], list[Claim]] = defaultdict(list)
        self.default: Claim | None = None


class Hosts:
    """All hosts."""

    def __init__(self, problems: list[Problem]) -> None:
        self._problems = problems
        self._hosts: defaultdict[str, Host] = defaultdict(Host)

    @property
    def names(self) -> list[str]:
        """All of them, sorted."""
        return sorted(self._hosts)

    def add(self, ingress: Ingress) -> None:
        """Takes the rules and the default backend of an Ingress, which is newer than those added before."""
        spec = ingress.spec
        for at, rule in enumerate(spec.rules):
            host = self._hosts[rule.host]
            if rule.http is None:
                if spec.default_backend is None:
                    message = (
                        f"a rule without `http` sends {_named(rule.host)} to spec.defaultBackend: add one of the two"
                    )
                    self._problems.append(Problem(ingress.ref, NO_DEFAULT, message, f"spec.rules[{at}]"))
                continue
            for place, path in enumerate(rule.http.paths):
                field = f"spec.rules[{at}].http.paths[{place}]"
                for reason, message in path_remarks(path):
                    self._problems.append(Problem(ingress.ref, reason, message, f"{field}.path", Severity.WARNING))
                key = path_match(path)
                claim = Claim(ingress, path.backend, field)
                if host.claims.setdefault(key, claim) is not claim:
                    host.losers[key].append(claim)
        if spec.default_backend is not None:
            claim = Claim(ingress, spec.default_backend, "spec.defaultBackend")
            for name in dict.fromkeys(rule.host for rule in spec.rules) or ("",):
                self._claim_default(name, claim)

    def _claim_default(self, name: str, claim: Claim) -> None:
        host = self._hosts[name]
        if host.default is None:
            host.default = claim
        elif not claim.agrees(host.default):
            message = f"the default backend of {_named(name)} belongs to {_owner(host.default, claim)}"
            self._problems.append(Problem(claim.ingress.ref, DEFAULT_CONFLICT, message, claim.field))

    def virtual_hosts(self, backends: Backends, policies: Policies) -> tuple[VirtualHost, ...]:
        """All of them, sorted, with the Problems of what was claimed in vain."""
        return tuple(self._virtual_host(name, self._hosts[name], backends, policies) for name in sorted(self._hosts))

    def _virtual_host(self, name: str, host: Host, backends: Backends, policies: Policies) -> VirtualHost:
        if host.losers:
            self._report_conflicts(name, host)
        if len(host.claims) > 1:
            self._report_shadowed(host)

        def route(path: PathMatch, claim: Claim, field: str) -> Route:
            cluster = backends.resolve(claim.ingress.ref, claim.backend, field)
            policy = policies.of(claim.ingress, name, path.value, cluster)
            return Route(path, claim.ingress.ref, cluster, field, policy)

        routes = [route(PathMatch(*key), claim, f"{claim.field}.backend") for key, claim in host.claims.items()]
        routes.sort(key=lambda route: route.path.precedence, reverse=True)
        default = host.default
        return VirtualHost(name, tuple(routes), route(DEFAULT_PATH, default, default.field) if default else None)

    def _report_conflicts(self, name: str, host: Host) -> None:
        for key, losers in host.losers.items():
            winner = host.claims[key]
            what = f"{key[0].path_type.lower()} path {shown(key[1])} of {_named(name)}"
            for loser in losers:
                if loser.ingress is winner.ingress:
                    message = f"{what} is in {winner.field} already: this one gets no request"
                else:
                    message = f"{what} belongs to {_owner(winner, loser)}: this one gets no request"
                severity = Severity.WARNING if loser.agrees(winner) else Severity.ERROR
                self._problems.append(Problem(loser.ingress.ref, CONFLICT, message, f"{loser.field}.path", severity))
            others = sorted({str(loser.ingress.ref) for loser in losers if loser.ingress is not winner.ingress})
            if others:
                message = f"{what} is claimed by {listing(others)} too: this one goes first and has it"
                place = f"{winner.field}.path"
                self._problems.append(Problem(winner.ingress.ref, CONFLICT, message, place, Severity.WARNING))

    def _report_shadowed(self, host: Host) -> None:
        """Prefix paths that differ only in slashes at the end match the same requests; the longest gets them."""
        alike: defaultdict[str, list[str]] = defaultdict(list)
        for kind, value in host.claims:
            if kind is PathKind.PREFIX:
                alike[value.rstrip("/")].append(value)
        for values in alike.values():
            *shorter, longest = sorted(values, key=len)
            for value in shorter:
                loser, winner = host.claims[PathKind.PREFIX, value], host.claims[PathKind.PREFIX, longest]
                message = (
                    f"{shown(value)} gets no request: {shown(longest)} matches the same paths, is longer and wins "
                    f"({winner.ingress.ref}, {winner.field})"
                )
                place = f"{loser.field}.path"
                self._problems.append(Problem(loser.ingress.ref, SHADOWED, message, place, Severity.WARNING))


def _owner(winner: Claim, loser: Claim) -> str:
    older = winner.ingress.metadata.age[0] < loser.ingress.metadata.age[0]
    return f"{winner.ingress.ref}, which {'is older' if older else 'is as old and goes first by name'}"


def _named(host: str) -> str:
    return f"host {shown(host)}" if host else "all hosts"
