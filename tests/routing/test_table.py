"""Which route a request takes: each sentence of the Ingress API as a table, and a slow reference for all together."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingressd.model import ClusterKey, ObjectRef, PathKind, PathMatch, Route, Snapshot, Update, VirtualHost, diff
from ingressd.routing import Table

ROOT = Path(__file__).parents[2]
SOURCE = ObjectRef("Ingress", "shop", "web")


def route(path: str, name: str = "", kind: PathKind = PathKind.PREFIX) -> Route:
    """A route whose cluster is named for it."""
    return Route(PathMatch(kind, path), SOURCE, ClusterKey("shop", name or path, "80"))


def exact(path: str, name: str = "") -> Route:
    """A route for one path."""
    return route(path, name, PathKind.EXACT)


def table(*hosts: VirtualHost, default: Route | None = None) -> Table:
    """The table of these hosts."""
    return Table().updated(Update(1, full=True, virtual_hosts=hosts, default=default))


def taken(table: Table, host: str, path: str) -> str | None:
    """The name of the cluster, None for nobody."""
    decision = table.lookup(host.encode(), path.encode())
    if decision is None:
        return None
    assert decision.route.cluster is not None
    return decision.route.cluster.service


PREFIX_ROWS = [
    # The table of the Kubernetes documentation, "Examples" under "Path types": (paths, request, who gets it)
    (["/"], "/", "/"),
    (["/"], "/anything/at/all", "/"),
    (["/foo"], "/foo", "/foo"),
    (["/foo"], "/foo/", "/foo"),
    (["/foo/"], "/foo", "/foo/"),
    (["/foo/"], "/foo/", "/foo/"),
    (["/foo"], "/FOO", None),
    (["/aaa/bb"], "/aaa/bbb", None),
    (["/aaa/bbb"], "/aaa/bbb", "/aaa/bbb"),
    (["/aaa/bbb/"], "/aaa/bbb", "/aaa/bbb/"),
    (["/aaa/bbb"], "/aaa/bbb/", "/aaa/bbb"),
    (["/aaa/bbb"], "/aaa/bbb/ccc", "/aaa/bbb"),
    (["/aaa/bbb"], "/aaa/bbbxyz", None),
    (["/", "/aaa"], "/aaa/ccc", "/aaa"),
    (["/", "/aaa", "/aaa/bbb"], "/aaa/bbb", "/aaa/bbb"),
    (["/", "/aaa", "/aaa/bbb"], "/ccc", "/"),
    (["/aaa"], "/ccc", None),
    # Further ones
    (["/aaa", "/aaa/bbb/ccc"], "/aaa/bbb", "/aaa"),
    (["/aaa", "/aaa/bbb/ccc"], "/aaa/bbb/cc", "/aaa"),
    (["/aaa", "/aaa/bbb/ccc"], "/aaa/bbb/ccc/ddd", "/aaa/bbb/ccc"),
    (["/foo", "/foo/"], "/foo/bar", "/foo/"),
    (["/foo/", "/foo"], "/foo", "/foo/"),
    (["/foo//"], "/foo/bar", "/foo//"),
    (["/a"], "/", None),
    (["/a"], "/b/a", None),
    (["/é"], "/é/x", "/é"),
    (["/a b"], "/a b", "/a b"),
]


@pytest.mark.parametrize(("paths", "request_path", "expected"), PREFIX_ROWS)
def test_prefixes_are_compared_element_by_element(paths: list[str], request_path: str, expected: str | None) -> None:
    for routes in (paths, paths[::-1]):
        host = VirtualHost("a.example", tuple(route(path) for path in routes))
        assert taken(table(host), "a.example", request_path) == expected


EXACT_ROWS = [
    ("/foo", "/foo", True),
    ("/foo", "/bar", False),
    ("/foo", "/foo/", False),
    ("/foo/", "/foo", False),
    ("/foo/", "/foo/", True),
    ("/", "/", True),
    ("/", "/foo", False),
    ("/foo", "/FOO", False),
    ("/foo", "/foo/bar", False),
]


@pytest.mark.parametrize(("path", "request_path", "matches"), EXACT_ROWS)
def test_exact_paths_are_compared_as_a_whole(path: str, request_path: str, matches: bool) -> None:
    host = VirtualHost("a.example", (exact(path),))
    assert (taken(table(host), "a.example", request_path) is not None) is matches


def test_exact_beats_prefix_whatever_the_order() -> None:
    routes = (route("/foo", "prefix"), exact("/foo", "exact"), route("/foo/bar", "longer prefix"))
    for order in (routes, routes[::-1]):
        made = table(VirtualHost("a.example", order))
        assert taken(made, "a.example", "/foo") == "exact"
        assert taken(made, "a.example", "/foo/") == "prefix"
        assert taken(made, "a.example", "/foo/bar") == "longer prefix"


def test_of_two_routes_with_the_same_path_the_first_wins() -> None:
    for make in (route, exact):
        assert taken(table(VirtualHost("a", (make("/x", "first"), make("/x", "second")))), "a", "/x") == "first"


HOST_ROWS = [
    # The table "Hostname wildcards" of the Kubernetes documentation
    ("*.foo.com", "bar.foo.com", True),
    ("*.foo.com", "baz.bar.foo.com", False),
    ("*.foo.com", "foo.com", False),
    # Further ones
    ("*.foo.com", ".foo.com", False),
    ("*.foo.com", "foo.com.evil.com", False),
    ("*.foo.com", "xfoo.com", False),
    ("*.foo.com", "*.foo.com", True),
    ("*.com", "foo.com", True),
    ("*.com", "com", False),
    ("foo.com", "foo.com", True),
    ("foo.com", "bar.foo.com", False),
    ("foo.com", "", False),
    ("", "foo.com", True),
    ("", "", True),
    ("", "[::1]", True),
    ("*.1", "[::ffff:192.0.2.1]", False),
]


@pytest.mark.parametrize(("host", "request_host", "matches"), HOST_ROWS)
def test_hosts(host: str, request_host: str, matches: bool) -> None:
    made = table(VirtualHost(host, (route("/"),)))
    assert (taken(made, request_host, "/x") == "/") is matches


def test_exact_host_beats_wildcard_beats_no_host() -> None:
    hosts = [
        VirtualHost("", (route("/", "any"),)),
        VirtualHost("*.foo.com", (route("/", "wildcard"),)),
        VirtualHost("bar.foo.com", (route("/", "exact"),)),
    ]
    for order in (hosts, hosts[::-1]):
        made = table(*order)
        assert taken(made, "bar.foo.com", "/") == "exact"
        assert taken(made, "baz.foo.com", "/") == "wildcard"
        assert taken(made, "a.baz.foo.com", "/") == "any"
        assert taken(made, "foo.com", "/") == "any"
        assert len(made) == 3


def test_a_host_without_a_route_for_the_path_never_falls_to_a_wider_host() -> None:
    hosts = (
        VirtualHost("bar.foo.com", (route("/a", "exact"),)),
        VirtualHost("*.foo.com", (route("/b", "wildcard"),)),
        VirtualHost("", (route("/", "any"),)),
    )
    assert taken(table(*hosts), "bar.foo.com", "/b") is None
    assert taken(table(*hosts), "baz.foo.com", "/a") is None
    with_default = table(*hosts, default=route("/", "controller"))
    assert taken(with_default, "bar.foo.com", "/b") == "controller"
    assert taken(with_default, "baz.foo.com", "/a") == "controller"


def test_defaults_of_the_host_come_before_that_of_the_controller() -> None:
    hosts = (
        VirtualHost("a", (route("/x", "x"),), default=route("/", "host")),
        VirtualHost("b", (route("/x", "x"), route("/", "root")), default=route("/", "host")),
        VirtualHost("c", (exact("/x", "x"),)),
    )
    made = table(*hosts, default=route("/", "controller"))
    assert [taken(made, host, "/x/y") for host in "abcd"] == ["x", "x", "controller", "controller"]
    assert [taken(made, host, "/y") for host in "abcd"] == ["host", "root", "controller", "controller"]
    assert [taken(made, host, "/x") for host in "abcd"] == ["x", "x", "x", "controller"]


def test_an_empty_table_sends_requests_to_nobody() -> None:
    assert taken(Table(), "a", "/") is None
    assert len(Table()) == 0


def test_the_asterisk_of_options_goes_where_the_root_goes() -> None:
    assert taken(table(VirtualHost("a", (route("/"), route("/x/y")))), "a", "*") == "/"
    assert taken(table(VirtualHost("a", (route("/x"),))), "a", "*") is None


def test_a_decision_says_where_it_was_found() -> None:
    found = table(VirtualHost("*.foo.com", (route("/a"),))).lookup(b"x.foo.com", b"/a/b")
    assert found is not None
    assert found.host == "*.foo.com"
    assert found.route == route("/a")
    assert repr(found) == "<Decision *.foo.com/a -> shop-/a-80>"


# The same, once more, for everything at once: slow and plain.


def reference(snapshot: Snapshot, host: str, path: str) -> Route | None:
    """The route by the sentences of the API, read literally."""
    label, dot, parent = host.partition(".")
    wildcard = f"*.{parent}" if label and dot else None
    for name in (host, wildcard, ""):
        for virtual_host in snapshot.virtual_hosts:
            if virtual_host.host == name:
                matching = [route for route in virtual_host.routes if matches(route.path, path)]
                best = max(matching, key=lambda route: route.path.precedence, default=virtual_host.default)
                return best if best is not None else snapshot.default
    return snapshot.default


def matches(match: PathMatch, path: str) -> bool:
    """Whether a path is one that a rule asks for."""
    if match.kind is PathKind.EXACT:
        return path == match.value
    wanted = [element for element in match.value.split("/") if element]
    return [element for element in path.split("/") if element][: len(wanted)] == wanted


elements = st.sampled_from(("a", "b", "ab", "c d", "é"))
paths = st.tuples(st.lists(elements, max_size=4), st.booleans()).map(
    lambda drawn: "/" + "/".join(drawn[0]) + ("/" if drawn[0] and drawn[1] else "")
)
kinds = st.sampled_from(PathKind)
host_names = st.sampled_from(("", "a", "a.b", "b.b", "*.b", "a.a.b", "*.a.b", "c.a.b", "[::1]", "*.c"))
routes = st.builds(lambda kind, path, name: route(path, name, kind), kinds, paths, st.sampled_from(("x", "y")))
defaults = st.one_of(st.none(), st.just(route("/", "default")))


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    """Virtual hosts as translate makes them: each once, each path once per kind."""
    hosts = []
    for name in sorted(draw(st.sets(host_names, max_size=6))):
        drawn = draw(st.lists(routes, max_size=6, unique_by=lambda route: route.path))
        hosts.append(VirtualHost(name, tuple(drawn), draw(defaults)))
    return Snapshot(tuple(hosts), default=draw(st.one_of(st.none(), st.just(route("/", "controller")))))


QUESTIONS = [
    (host, path)
    for host in ("", "a", "b", "a.b", "b.b", "c.b", "a.a.b", "c.a.b", "d.a.b", "x.y.a.b", ".b", "b.", "[::1]", "x.c")
    for path in (
        "/",
        "/a",
        "/a/",
        "/ab",
        "/a/b",
        "/a/b/",
        "/a/ab",
        "/a/b/c d",
        "/a/b/c d/é/a",
        "/b/a",
        "/é",
        "/x",
        "/a/a/a/a/a",
    )
]


def answers(table: Table, questions: Iterable[tuple[str, str]] = QUESTIONS) -> list[Route | None]:
    """The routes that requests take."""
    found = [table.lookup(host.encode(), path.encode()) for host, path in questions]
    return [decision.route if decision is not None else None for decision in found]


@settings(deadline=None, max_examples=300)
@given(snapshots())
def test_against_the_reference(snapshot: Snapshot) -> None:
    made = Table().updated(Update.of(snapshot, 1))
    assert answers(made) == [reference(snapshot, host, path) for host, path in QUESTIONS]


@settings(deadline=None, max_examples=300)
@given(snapshots(), st.lists(st.tuples(host_names, paths), max_size=30))
def test_against_the_reference_with_any_question(snapshot: Snapshot, questions: list[tuple[str, str]]) -> None:
    made = Table().updated(Update.of(snapshot, 1))
    assert answers(made, questions) == [reference(snapshot, host, path) for host, path in questions]


@settings(deadline=None, max_examples=200)
@given(st.lists(snapshots(), min_size=1, max_size=5))
def test_deltas_lead_to_the_same_table_as_a_fresh_start(steps: list[Snapshot]) -> None:
    live = Table().updated(Update.of(steps[0], 1))
    before = steps[0]
    for generation, snapshot in enumerate(steps[1:], 2):
        update = diff(before, snapshot, generation)
        if update is None:
            assert before == snapshot
            continue
        live = live.updated(update)
        fresh = Table().updated(Update.of(snapshot, generation))
        assert answers(live) == answers(fresh)
        assert len(live) == len(fresh)
        before = snapshot


def test_an_update_leaves_the_table_before_and_the_hosts_it_does_not_name_alone() -> None:
    old = table(VirtualHost("a", (route("/", "a1"),)), VirtualHost("*.b", (route("/", "b1"),)), VirtualHost("c"))
    kept = old.lookup(b"x.b", b"/")
    assert kept is not None
    kept.attachment = "counters"
    changed = VirtualHost("a", (route("/", "a2"),))
    new = old.updated(Update(2, virtual_hosts=(changed, VirtualHost("", (route("/", "any"),))), removed_hosts=("c",)))
    assert new.lookup(b"x.b", b"/") is kept
    assert (taken(old, "a", "/"), taken(new, "a", "/")) == ("a1", "a2")
    assert (taken(old, "d", "/"), taken(new, "d", "/")) == (None, "any")
    assert (len(old), len(new)) == (3, 3)


def test_each_kind_of_host_can_be_removed() -> None:
    full = table(*(VirtualHost(name, (route("/"),)) for name in ("a", "*.b", "")))
    assert taken(full.updated(Update(2, removed_hosts=("a",))), "a", "/") == "/"
    assert len(full.updated(Update(2, removed_hosts=("a",)))) == 2
    assert len(full.updated(Update(2, removed_hosts=("*.b",)))) == 2
    assert taken(full.updated(Update(2, removed_hosts=("",))), "c", "/") is None
    assert len(full.updated(Update(2, removed_hosts=("a", "*.b", "", "never there")))) == 0


def test_a_full_update_forgets_what_was() -> None:
    old = table(VirtualHost("a", (route("/"),)), VirtualHost("*.b"), VirtualHost(""), default=route("/"))
    new = old.updated(Update(2, full=True, virtual_hosts=(VirtualHost("c", (route("/"),)),)))
    assert len(new) == 1
    assert taken(new, "a", "/") is None


def test_a_path_of_thousands_of_elements_is_not_looked_at_beyond_the_deepest_rule() -> None:
    """Counted in a process with the interpreted module, which alone lets it be seen."""
    environment = dict(os.environ, INGRESSD_PURE="1")
    command = [sys.executable, "-m", "tests.routing.depth"]
    answer = subprocess.run(command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, check=True)
    looks = json.loads(answer.stdout)
    assert looks["of 3 elements"] <= 40
    assert looks["of 4000 elements"] == looks["of 8000 elements"] == looks["of 3 elements"]
