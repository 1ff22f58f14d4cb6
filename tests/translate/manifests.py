"""Manifest text -> a Store and its translation, and a translation as short text."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgspec
import yaml

from ingressd.model import Cluster, ClusterKey, Problem, Route, VirtualHost
from ingressd.resources import Resource, Store, parse
from ingressd.translate import Options, Translation, translate

Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Case(NamedTuple):
    """The objects of some manifests, the problems of those that are none, and the options they ask for."""

    resources: tuple[Resource, ...]
    problems: tuple[Problem, ...]
    options: Options


def read(text: str) -> Case:
    """A document `options: {...}` says with which flags to translate."""
    resources: list[Resource] = []
    problems: list[Problem] = []
    options = Options()
    for document in yaml.load_all(text, Loader):
        if isinstance(document, Mapping) and set(document) == {"options"}:
            options = msgspec.convert(document["options"], Options)
        elif document is not None:
            parsed = parse(document)
            resources += parsed.resources
            problems += parsed.problems
    return Case(tuple(resources), tuple(problems), options)


def store_of(resources: Iterable[Resource]) -> Store:
    store = Store()
    for resource in resources:
        store.upsert(resource)
    return store


def translated(text: str) -> Translation:
    """The translation of manifests that are all valid."""
    case = read(text)
    assert not case.problems
    return translate(store_of(case.resources), case.options)


def summary(translation: Translation, more_problems: Iterable[Problem] = ()) -> dict[str, Any]:
    """All of a translation, in lines that people can check."""
    snapshot = translation.snapshot
    clusters = {cluster.key: cluster for cluster in snapshot.clusters}
    hosts = {host.host or "(all)": list(_host_lines(host, clusters)) for host in snapshot.virtual_hosts}
    lines: dict[str, Any] = {"hosts": hosts}
    if snapshot.default:
        lines["default"] = _target(snapshot.default, clusters)
    problems = [*more_problems, *translation.problems]
    lines["problems"] = [f"{problem.severity}: {problem}" for problem in problems]
    if translation.passed_over:
        lines["passed over"] = list(map(str, translation.passed_over))
    assert {route.cluster for route in _routes(translation)} - {None} == set(clusters)
    return lines


def _routes(translation: Translation) -> Iterable[Route]:
    for host in translation.snapshot.virtual_hosts:
        yield from host.routes
        if host.default:
            yield host.default
    if translation.snapshot.default:
        yield translation.snapshot.default


def _host_lines(host: VirtualHost, clusters: Mapping[ClusterKey, Cluster]) -> Iterable[str]:
    for route in host.routes:
        yield f"{route.path.kind.name.lower()} {route.path.value} -> {_target(route, clusters)}"
    if host.default:
        yield f"default -> {_target(host.default, clusters)}"


def _target(route: Route, clusters: Mapping[ClusterKey, Cluster]) -> str:
    place = " ".join(filter(None, (str(route.source), route.field)))
    if route.cluster is None:
        return f"nothing, from {place}"
    cluster = clusters[route.cluster]
    name = "/".join(route.cluster[:2]) + f":{route.cluster.port}"
    endpoints = (
        f"dns {cluster.dns_name}:{cluster.dns_port}" if cluster.dns_name else " ".join(map(str, cluster.endpoints))
    )
    return f"{name} [{endpoints}], from {place}"
