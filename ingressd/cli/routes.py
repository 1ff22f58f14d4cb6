"""`ingressd routes`: the routing table that manifests give, what is wrong with them, and what is left to others.

It shows what there is, so problems do not make it fail: the exit code is 0. It asks nobody on a network; a Service of
type ExternalName shows its name.
"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from ingressd.cli import flags, objects, tls
from ingressd.cli.flags import UsageError
from ingressd.cli.output import OUTPUT, OutputFormat
from ingressd.control.reconcile import Reconciler
from ingressd.model import Cluster, ClusterKey, HttpsRedirect, Policy, Route, Snapshot, UpstreamTls
from ingressd.resources.finding import listing
from ingressd.source.base import SourceError
from ingressd.source.directory import DirectorySource

SUMMARY = "Prints the routing table that Kubernetes manifests give, then their problems."
SECTIONS: flags.Sections = {
    "objects": objects.FLAGS,
    "policy of all routes": objects.POLICY_FLAGS,
    "TLS": tls.TRANSLATED,
    "output": (OUTPUT,),
}
HEADINGS = ("HOST", "PATH", "TYPE", "SERVICE", "PORT", "ENDPOINTS", "POLICY", "SOURCE")
SHOWN_ENDPOINTS = 3


class Row(NamedTuple):
    """A route and where it stands. `default`: it serves what no other route of its host does; the default of no host
    is the controller's own."""

    host: str
    route: Route
    default: bool
    cluster: Cluster | None


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    values = flags.read("routes", SUMMARY, SECTIONS, arguments, environment)
    manifests = values[objects.MANIFESTS]
    if not manifests:
        raise UsageError("routes needs --manifests PATH")
    source = DirectorySource(manifests)
    state = Reconciler(tls.translation(values), source.locate)
    try:
        state.take(source.load())
    except SourceError as error:
        raise UsageError(str(error)) from error
    state.rebuild()
    state.publish(lambda name: (), {})
    rows = list(_rows(state.published.snapshot))
    if values[OUTPUT] is OutputFormat.JSON:
        _print_json(rows, state)
    else:
        _print_text(rows, state)
    return 0


def _rows(snapshot: Snapshot) -> Iterator[Row]:
    """In the order in which the proxy looks, within each host; the controller's default last."""
    clusters = {cluster.key: cluster for cluster in snapshot.clusters}

    def cluster(key: ClusterKey | None) -> Cluster | None:
        return clusters.get(key) if key is not None else None

    for host in snapshot.virtual_hosts:
        for route in host.routes:
            yield Row(host.host, route, False, cluster(route.cluster))
        if host.default is not None:
            yield Row(host.host, host.default, True, cluster(host.default.cluster))
    if snapshot.default is not None:
        yield Row("", snapshot.default, True, cluster(snapshot.default.cluster))


def _print_json(rows: Sequence[Row], state: Reconciler) -> None:
    document = {
        "routes": [_json_row(row) for row in rows],
        "problems": msgspec.to_builtins(state.problems),
        "passed_over": msgspec.to_builtins(state.passed_over),
    }
    json.dump(document, sys.stdout, indent=2)
    print()


def _json_row(row: Row) -> dict[str, Any]:
    key = row.route.cluster
    return {
        "host": row.host,
        "path": row.route.path.value,
        "path_type": row.route.path.kind.path_type,
        "default": row.default,
        "namespace": key.namespace if key else None,
        "service": key.service if key else None,
        "port": key.port if key else None,
        "endpoints": [str(endpoint) for endpoint in row.cluster.endpoints] if row.cluster else [],
        "dns_name": row.cluster.dns_name or None if row.cluster else None,
        "policy": msgspec.to_builtins(row.route.policy),
        "source": msgspec.to_builtins(row.route.source),
        "field": row.route.field,
    }


def _print_text(rows: Sequence[Row], state: Reconciler) -> None:
    if rows:
        _print_table([HEADINGS, *map(_text_row, rows)])
    else:
        print("No routes.")
    print()
    print(f"Problems: {len(state.problems) or 'none'}")
    for problem in state.problems:
        print(_printable(f"  {problem.severity.value}: {problem}"))
    if names := [f"{one.namespace}/{one.name}" for one in state.passed_over]:
        print()
        print(_printable(f"Passed over, of another class or of none (--watch-ingress-without-class): {listing(names)}"))


def _print_table(lines: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _text_row(row: Row) -> tuple[str, ...]:
    route, key = row.route, row.route.cluster
    cells = (
        row.host or "*",
        "*" if row.default else route.path.value,
        "default" if row.default else route.path.kind.path_type,
        f"{key.namespace}/{key.service}" if key else "-",
        key.port if key else "-",
        _endpoints(row.cluster),
        _policy(route.policy),
        str(route.source),
    )
    return tuple(map(_printable, cells))


def _endpoints(cluster: Cluster | None) -> str:
    """`none` means 503."""
    if cluster is None:
        return "none"
    if cluster.dns_name:
        return f"{cluster.dns_name}:{cluster.dns_port} (DNS)"
    shown = [str(endpoint) for endpoint in cluster.endpoints[:SHOWN_ENDPOINTS]]
    more = len(cluster.endpoints) - len(shown)
    return ",".join(shown) + (f" and {more} more" if more else "") or "none"


def _policy(policy: Policy) -> str:
    """What differs from the defaults."""
    different = msgspec.structs.asdict(policy).items() - msgspec.structs.asdict(Policy()).items()
    return ",".join(_setting(name, value) for name, value in sorted(different)) or "-"


def _setting(name: str, value: object) -> str:
    if isinstance(value, HttpsRedirect):
        return f"https-redirect={value.code}"
    if isinstance(value, UpstreamTls):
        return f"upstream-tls={'verified' if value.verify else 'not-verified'}"
    unit = "s" if name.endswith("timeout") else ""
    return f"{name.replace('_', '-')}={value:g}{unit}"


def _printable(text: str) -> str:
    """Manifests may come from anybody, and a terminal obeys what it is shown."""
    return "".join(character if character.isprintable() else "?" for character in text)
