"""The request target in each of its forms (RFC 9112 section 3.2), and how paths are matched and forwarded."""

import pytest

from ingressd.model import PathKind, Snapshot, VirtualHost
from tests.kit import HOST, Client, Upstream, Worker, always, cluster, each, get, ok, request, route, serving

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize(
    ("target", "forwarded"),
    [
        ("http://a.example/path?q=1", b"/path?q=1"),
        ("http://a.example", b"/"),
        ("http://a.example?q=1", b"/?q=1"),
        ("HTTP://A.Example:80/x", b"/x"),
        ("https://a.example/x", b"/x"),
    ],
)
async def test_an_absolute_target_decides_the_host_and_is_forwarded_without_it(
    target: str, forwarded: bytes, worker: Worker
) -> None:
    async with Upstream(always(ok())) as upstream, Client(worker.port) as client:
        await worker.publish(serving(upstream))
        response = await client.ask(request("GET", target, host="other.example"))
        assert response.status == 200
        [message] = upstream.requests
        assert message.target == forwarded
        authority = target.partition("://")[2].partition("/")[0].partition("?")[0].encode()
        assert message.get(b"host") == authority
        assert message.get(b"x-forwarded-host") == authority


async def test_an_absolute_target_without_host_field_is_refused_in_1_1_and_taken_in_1_0(worker: Worker) -> None:
    async with Upstream(always(ok())) as upstream:
        await worker.publish(serving(upstream))
        async with Client(worker.port) as client:
            assert (await client.ask(b"GET http://a.example/ HTTP/1.1\r\n\r\n")).status == 400
        async with Client(worker.port) as client:
            assert (await client.ask(b"GET http://a.example/ HTTP/1.0\r\n\r\n")).status == 200
        [message] = upstream.requests
        assert message.get(b"host") == b"a.example"


async def test_OPTIONS_asterisk_goes_to_the_root_of_the_host_as_it_is(worker: Worker) -> None:
    async with Upstream(always(ok())) as upstream, Client(worker.port) as client:
        await worker.publish(serving(upstream))
        assert (await client.ask(request("OPTIONS", "*"))).status == 200
        assert (await client.ask(request("OPTIONS", "http://a.example"))).status == 200
        assert [message.line for message in upstream.requests] == [b"OPTIONS * HTTP/1.1"] * 2


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD"])
async def test_an_asterisk_is_for_OPTIONS_alone(method: str, worker: Worker) -> None:
    async with Upstream(always(ok())) as upstream, Client(worker.port) as client:
        await worker.publish(serving(upstream))
        assert (await client.ask(request(method, "*"))).status == 400
        assert upstream.requests == []


async def test_any_other_method_is_forwarded_as_it_is(worker: Worker) -> None:
    async with Upstream(always(ok())) as upstream, Client(worker.port) as client:
        await worker.publish(serving(upstream))
        for method in ("PATCH", "DELETE", "PROPFIND", "M-SEARCH", "get", "X!#$%&'*+-.^_`|~"):
            assert (await client.ask(request(method))).status == 200
            assert upstream.requests[-1].method == method.encode()


@pytest.mark.parametrize("target", ["/a/../b", "/a//b?x=/../", "/%61", "/x;y=1", "/a%2Fb", '/|{}"<>', "/a?b?c", "/a/."])
async def test_the_target_is_forwarded_as_received(target: str, worker: Worker) -> None:
    async with Upstream(always(ok())) as upstream, Client(worker.port) as client:
        await worker.publish(serving(upstream))
        assert (await client.ask(get(target))).status == 200
        assert upstream.requests[0].target == target.encode()


@pytest.mark.parametrize(
    ("target", "cluster_name"),
    [
        ("/foo", b"exact"),
        ("/foo?q", b"exact"),
        ("/%66oo", b"exact"),
        ("//foo", b"exact"),
        ("/x/../foo", b"exact"),
        ("/foo/", b"prefix"),
        ("/foo/bar", b"prefix"),
        ("/foo%2Fbar", b"prefix"),
        ("/foobar", b"root"),
        ("/bar/..", b"root"),
        ("/FOO", b"root"),
    ],
)
async def test_matching_is_on_the_normal_path(target: str, cluster_name: bytes) -> None:
    async with (
        Upstream(each(lambda message: ok(b"exact"))) as exact,
        Upstream(each(lambda message: ok(b"prefix"))) as prefix,
        Upstream(each(lambda message: ok(b"root"))) as root,
    ):
        clusters = (cluster("exact", exact), cluster("prefix", prefix), cluster("root", root))
        routes = (route("/foo", clusters[0], PathKind.EXACT), route("/foo", clusters[1]), route("/", clusters[2]))
        async with (
            Worker(Snapshot((VirtualHost(HOST, routes),), clusters)) as worker,
            Client(worker.port) as client,
        ):
            assert (await client.ask(get(target))).body == cluster_name


@pytest.mark.parametrize("host", ["A.EXAMPLE", "a.example:8080", "a.example.", "a.example:"])
async def test_the_host_is_matched_without_case_port_and_trailing_dot_and_forwarded_as_received(
    host: str, worker: Worker
) -> None:
    async with Upstream(always(ok())) as upstream, Client(worker.port) as client:
        await worker.publish(serving(upstream))
        assert (await client.ask(get(host=host))).status == 200
        assert upstream.requests[0].get(b"host") == host.encode()


async def test_ipv6_on_every_side() -> None:
    async with (
        Upstream(always(ok()), address="::1") as upstream,
        Worker(serving(upstream, host=""), address="::1") as worker,
        Client(worker.port, address="::1") as client,
    ):
        assert (await client.ask(get(host=f"[::1]:{worker.port}"))).status == 200
        assert upstream.requests[0].get(b"x-real-ip") == b"::1"
        [line] = await worker.logged(1)
        assert line.startswith(b"::1 - - [")
        assert f" [::1]:{upstream.endpoint.port} ".encode() in line
