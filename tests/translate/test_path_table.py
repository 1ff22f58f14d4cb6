"""The tables of https://kubernetes.io/docs/concepts/services-networking/ingress/ ("Examples" of path types, "Hostname
wildcards"), row by row, through translate and the routing table."""

from collections.abc import Mapping, Sequence

import pytest

from ingressd.model import Update
from ingressd.resources import Store, parse
from ingressd.routing import Table, normal_host, normal_path
from ingressd.translate import Options, translate

HOST = "shop.example"


def table(rules: Sequence[tuple[str, str, str]], default: bool = False) -> Table:
    """Rules are host, path type and path; each has the Service `<type><path>` with slashes as dashes."""
    spec: dict[str, object] = {
        "ingressClassName": "ingressd",
        "rules": [
            {"host": host, "http": {"paths": [{"path": path, "pathType": kind, "backend": backend(kind, path)}]}}
            for host, kind, path in rules
        ],
    }
    if default:
        spec["defaultBackend"] = {"service": {"name": "default", "port": {"number": 80}}}
    manifest: Mapping[str, object] = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": "table", "namespace": "docs"},
        "spec": spec,
    }
    services = {name(kind, path) for _, kind, path in rules} | {"default"}
    store = Store()
    for raw in (manifest, *map(service, sorted(services))):
        parsed = parse(raw)
        assert not parsed.problems
        store.upsert(parsed.resources[0])
    return Table().updated(Update.of(translate(store, Options()).snapshot, 1))


def name(kind: str, path: str) -> str:
    return f"{kind.lower()}{path.replace('/', '-')}-x"


def backend(kind: str, path: str) -> dict[str, object]:
    return {"service": {"name": name(kind, path), "port": {"number": 80}}}


def service(of: str) -> Mapping[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": of, "namespace": "docs"},
        "spec": {"ports": [{"port": 80}]},
    }


def served_by(found: Table, host: str, path: str) -> str | None:
    """The Service a request goes to; None for 404."""
    decision = found.lookup(normal_host(host.encode()), normal_path(path.encode()))
    if decision is None:
        return None
    assert decision.route.cluster is not None
    return decision.route.cluster.service


ROWS = {
    "prefix / matches all paths": ([("Prefix", "/")], "/any/path", name("Prefix", "/")),
    "exact /foo matches /foo": ([("Exact", "/foo")], "/foo", name("Exact", "/foo")),
    "exact /foo does not match /bar": ([("Exact", "/foo")], "/bar", None),
    "exact /foo does not match /foo/": ([("Exact", "/foo")], "/foo/", None),
    "exact /foo/ does not match /foo": ([("Exact", "/foo/")], "/foo", None),
    "prefix /foo matches /foo": ([("Prefix", "/foo")], "/foo", name("Prefix", "/foo")),
    "prefix /foo matches /foo/": ([("Prefix", "/foo")], "/foo/", name("Prefix", "/foo")),
    "prefix /foo/ matches /foo": ([("Prefix", "/foo/")], "/foo", name("Prefix", "/foo/")),
    "prefix /foo/ matches /foo/": ([("Prefix", "/foo/")], "/foo/", name("Prefix", "/foo/")),
    "prefix /aaa/bb does not match /aaa/bbb": ([("Prefix", "/aaa/bb")], "/aaa/bbb", None),
    "prefix /aaa/bbb matches /aaa/bbb": ([("Prefix", "/aaa/bbb")], "/aaa/bbb", name("Prefix", "/aaa/bbb")),
    "prefix /aaa/bbb/ ignores its trailing slash": ([("Prefix", "/aaa/bbb/")], "/aaa/bbb", name("Prefix", "/aaa/bbb/")),
    "prefix /aaa/bbb matches a trailing slash": ([("Prefix", "/aaa/bbb")], "/aaa/bbb/", name("Prefix", "/aaa/bbb")),
    "prefix /aaa/bbb matches a subpath": ([("Prefix", "/aaa/bbb")], "/aaa/bbb/ccc", name("Prefix", "/aaa/bbb")),
    "prefix /aaa/bbb is no string prefix": ([("Prefix", "/aaa/bbb")], "/aaa/bbbxyz", None),
    "of / and /aaa the second matches /aaa/ccc": (
        [("Prefix", "/"), ("Prefix", "/aaa")],
        "/aaa/ccc",
        name("Prefix", "/aaa"),
    ),
    "of /, /aaa and /aaa/bbb the third matches /aaa/bbb": (
        [("Prefix", "/"), ("Prefix", "/aaa"), ("Prefix", "/aaa/bbb")],
        "/aaa/bbb",
        name("Prefix", "/aaa/bbb"),
    ),
    "of /, /aaa and /aaa/bbb the first matches /ccc": (
        [("Prefix", "/"), ("Prefix", "/aaa"), ("Prefix", "/aaa/bbb")],
        "/ccc",
        name("Prefix", "/"),
    ),
    "prefix /aaa leaves /ccc to the default backend": ([("Prefix", "/aaa")], "/ccc", None),
    "of prefix and exact /foo the exact one is preferred": (
        [("Prefix", "/foo"), ("Exact", "/foo")],
        "/foo",
        name("Exact", "/foo"),
    ),
    # Beyond the table: its sentences.
    "a path is compared with its case": ([("Prefix", "/foo"), ("Exact", "/bar")], "/FOO", None),
    "/foo/bar does not match /foo/barbaz": ([("Prefix", "/foo/bar")], "/foo/barbaz", None),
    "of /foo and /foo/ the longer wins": ([("Prefix", "/foo"), ("Prefix", "/foo/")], "/foo", name("Prefix", "/foo/")),
    "exact wins in any order": ([("Exact", "/foo"), ("Prefix", "/foo")], "/foo", name("Exact", "/foo")),
    "exact /foo leaves /foo/bar to prefix": (
        [("Prefix", "/foo"), ("Exact", "/foo")],
        "/foo/bar",
        name("Prefix", "/foo"),
    ),
}


@pytest.mark.parametrize("row", ROWS)
def test_paths(row: str) -> None:
    paths, request, expected = ROWS[row]
    rules = [(HOST, kind, path) for kind, path in paths]
    assert served_by(table(rules), HOST, request) == expected
    # What matches nothing goes to the default backend of the Ingress, and what matches does not.
    assert served_by(table(rules, default=True), HOST, request) == (expected or "default")
    # The order of the rules makes no difference.
    assert served_by(table(rules[::-1]), HOST, request) == expected


WILDCARDS = {
    "*.foo.com matches bar.foo.com": ("bar.foo.com", True),
    "*.foo.com does not match baz.bar.foo.com": ("baz.bar.foo.com", False),
    "*.foo.com does not match foo.com": ("foo.com", False),
    "*.foo.com does not match .foo.com": (".foo.com", False),
    "*.foo.com matches without regard to case": ("BAR.Foo.com", True),
    "*.foo.com matches whatever the port": ("bar.foo.com:8080", True),
    "*.foo.com does not match barfoo.com": ("barfoo.com", False),
}


@pytest.mark.parametrize("row", WILDCARDS)
def test_wildcard_hosts(row: str) -> None:
    host, matches = WILDCARDS[row]
    assert served_by(table([("*.foo.com", "Prefix", "/")]), host, "/") == (name("Prefix", "/") if matches else None)


def test_precise_host_beats_wildcard_beats_none() -> None:
    found = table([("*.foo.com", "Prefix", "/w"), ("bar.foo.com", "Prefix", "/p"), ("", "Prefix", "/n")])
    assert served_by(found, "bar.foo.com", "/p") == name("Prefix", "/p")
    assert served_by(found, "other.foo.com", "/w") == name("Prefix", "/w")
    assert served_by(found, "foo.com", "/n") == name("Prefix", "/n")
    # A host that matches is not left for a wider one, whatever the path.
    assert served_by(found, "bar.foo.com", "/w") is None
    assert served_by(found, "other.foo.com", "/n") is None
