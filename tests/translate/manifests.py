"""Manifest text -> a Store and its translation, and a translation as short text."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgspec
import yaml

from ingressd.model import Cluster, ClusterKey, HealthCheck, Policy, Problem, Route, TlsHost, VirtualHost
from ingressd.resources import Resource, Store, parse
from ingressd.translate import Options, Translation, translate
from tests.translate.secrets import filled

Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Case(NamedTuple):
    """The objects of some manifests, the problems of those that are none, and the options they ask for."""

    resources: tuple[Resource, ...]
    problems: tuple[Problem, ...]
    options: Options
    now: int | None = None


def read(text: str) -> Case:
    """A document `options: {...}` says with which flags to translate, and `now: 2030-01-01T00:00:00Z` when. Of Secrets
    with `made: {key: ...}` the values are made here (tests.translate.secrets)."""
    resources: list[Resource] = []
    problems: list[Problem] = []
    options = Options()
    now: int | None = None
    for document in yaml.load_all(text, Loader):
        if isinstance(document, Mapping) and set(document) == {"options"}:
            options = msgspec.convert(document["options"], Options)
        elif isinstance(document, Mapping) and set(document) == {"now"}:
            now = int(document["now"].timestamp())
        elif document is not None:
            parsed = parse(filled(document))
            resources += parsed.resources
            problems += parsed.problems
    return Case(tuple(resources), tuple(problems), options, now)


def store_of(resources: Iterable[Resource]) -> Store:
    store = Store()
    for resource in resources:
        store.upsert(resource)
    return store


def translated(text: str) -> Translation:
    """The translation of manifests that are all valid."""
    case = read(text)
    assert not case.problems
    return translate(store_of(case.resources), case.options, case.now)


def summary(translation: Translation, more_problems: Iterable[Problem] = ()) -> dict[str, Any]:
    """All of a translation, in lines that people can check."""
    snapshot = translation.snapshot
    clusters = {cluster.key: cluster for cluster in snapshot.clusters}
    hosts = {host.host or "(all)": list(_host_lines(host, clusters)) for host in snapshot.virtual_hosts}
    lines: dict[str, Any] = {"hosts": hosts}
    if snapshot.default:
        lines["default"] = _target(snapshot.default, clusters)
    if snapshot.tls_hosts or snapshot.default_certificate:
        lines["tls"] = dict(_tls_line(host) for host in snapshot.tls_hosts)
    if snapshot.certificates:
        lines["certificates"] = [f"{one.name} for {' '.join(one.names)}" for one in snapshot.certificates]
    if snapshot.default_certificate:
        lines["default certificate"] = str(snapshot.default_certificate)
    if snapshot.trust_bundles:
        lines["trust bundles"] = [str(one.name) for one in snapshot.trust_bundles]
    problems = [*more_problems, *translation.problems]
    lines["problems"] = [f"{problem.severity}: {problem}" for problem in problems]
    if translation.passed_over:
        lines["passed over"] = list(map(str, translation.passed_over))
    assert {route.cluster for route in _routes(translation)} - {None} == set(clusters)
    return lines


def _tls_line(host: TlsHost) -> tuple[str, str]:
    parts = [str(host.certificate or "the default")]
    if (auth := host.client_auth) is not None:
        parts.append(f"clients: {_differences(auth)}")
    if host.passthrough is not None:
        parts.append(f"passed through to {host.passthrough}")
    return host.host or "(all)", ", ".join(parts)


def _differences(value: msgspec.Struct) -> str:
    """The fields that are set, one after the other."""
    defaults = {field.name: field.default for field in msgspec.structs.fields(value)}
    fields = msgspec.structs.asdict(value).items()
    return " ".join(f"{name}={_plain(field)}" for name, field in fields if field != defaults[name]) or "by default"


def _plain(value: object) -> str:
    if isinstance(value, tuple) and not hasattr(value, "_fields"):
        return "|".join(map(str, value))
    return str(value)


def _policy(policy: Policy) -> str:
    parts = []
    if policy.https_redirect is not None:
        parts.append(f", to https ({_differences(policy.https_redirect)})")
    if policy.upstream_tls is not None:
        parts.append(f", over TLS ({_differences(policy.upstream_tls)})")
    return "".join(parts)


def _routes(translation: Translation) -> Iterable[Route]:
    for host in translation.snapshot.virtual_hosts:
        yield from host.routes
        if host.default:
            yield host.default
    if translation.snapshot.default:
        yield translation.snapshot.default


def _host_lines(host: VirtualHost, clusters: Mapping[ClusterKey, Cluster]) -> Iterable[str]:
    for route in host.routes:
        yield f"{route.path.kind.name.lower()} {route.path.value} -> {_target(route, clusters)}{_policy(route.policy)}"
    if host.default:
        yield f"default -> {_target(host.default, clusters)}{_policy(host.default.policy)}"


def _target(route: Route, clusters: Mapping[ClusterKey, Cluster]) -> str:
    place = " ".join(filter(None, (str(route.source), route.field)))
    if route.cluster is None:
        return f"nothing, from {place}"
    cluster = clusters[route.cluster]
    name = "/".join(route.cluster[:2]) + f":{route.cluster.port}"
    endpoints = (
        f"dns {cluster.dns_name}:{cluster.dns_port}" if cluster.dns_name else " ".join(map(str, cluster.endpoints))
    )
    return f"{name} [{endpoints}]{_care(cluster)}, from {place}"


def _care(cluster: Cluster) -> str:
    """Health check and slow start; of the check what is not as in HealthCheck()."""
    words = []
    if (check := cluster.health) is not None:
        given, usual = msgspec.structs.asdict(check), msgspec.structs.asdict(HealthCheck())
        words.append(f"check {check.type}")
        words += [f"{name} {value}" for name, value in given.items() if name != "type" and value != usual[name]]
    if cluster.slow_start:
        words.append(f"slow start {cluster.slow_start:g} s")
    return f" ({', '.join(words)})" if words else ""
