"""What an update changes takes effect with the next request; what is under way goes on as it began."""

import asyncio

from ingressd.model import Snapshot, VirtualHost
from tests.kit import HOST, Client, Upstream, Worker, always, chunked, cluster, get, ok, route, serving, virtual_host
from tests.kit.upstream import Connection


async def test_routes_come_and_go_on_an_open_connection() -> None:
    async with Upstream(always(ok(b"a"))) as a, Upstream(always(ok(b"b"))) as b:
        one, two = cluster("a", a), cluster("b", b)
        async with Worker(Snapshot()) as worker, Client(worker.port) as client:
            assert (await client.ask(get("/"))).status == 404
            await worker.publish(Snapshot((virtual_host(HOST, "/", one),), (one,)))
            assert (await client.ask(get("/b"))).body == b"a"
            await worker.publish(Snapshot((VirtualHost(HOST, (route("/b", two), route("/", one))),), (one, two)))
            assert (await client.ask(get("/b"))).body == b"b"
            assert (await client.ask(get("/"))).body == b"a"
            await worker.publish(Snapshot((VirtualHost(HOST, (route("/b", two),)),), (two,)))
            assert (await client.ask(get("/"))).status == 404
            assert (await client.ask(get("/b"))).body == b"b"
            await worker.publish(Snapshot())
            assert (await client.ask(get("/b"))).status == 404


async def test_hosts_exact_wild_and_none_come_and_go() -> None:
    async with Upstream(always(ok())) as upstream:
        web = cluster("web", upstream)
        names = ("a.example", "*.example", "")
        states = [
            Snapshot(tuple(virtual_host(name, "/", web) for name in sorted(names[at:])), (web,)) for at in range(4)
        ]
        async with Worker(Snapshot()) as worker, Client(worker.port) as client:
            for at in (3, 0, 1, 2, 3, 2, 0, 3):
                await worker.publish(states[at])
                hosts = ("a.example", "b.example", "b.other")
                found = [(await client.ask(get(host=host))).status for host in hosts]
                assert found == [200 if at < 3 else 404, 200 if at < 3 else 404, 200 if at < 3 else 404]
                if at in (1, 2):
                    assert (await client.ask(get(host="x.y.example"))).status == 200


async def test_a_response_under_way_is_finished_though_its_route_and_endpoint_are_gone() -> None:
    go = asyncio.Event()

    async def script(connection: Connection) -> None:
        await connection.request()
        await connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(b"one")[:-5])
        await go.wait()
        await connection.send(chunked(b"two"))
        assert await connection.read_some() == b""

    async with Upstream(script) as upstream, Worker(serving(upstream)) as worker, Client(worker.port) as client:
        await client.send(get())
        response = await client.message_head()
        assert await client.chunk(response) == b"one"
        await worker.publish(Snapshot())
        go.set()
        assert await client.chunk(response) == b"two"
        assert await client.chunk(response) == b""
        # The connection that served it is not kept: its endpoint is gone.
        await upstream.all_closed()
        assert (await client.ask(get())).status == 404


async def test_an_upload_under_way_is_finished_though_its_route_is_gone() -> None:
    async def script(connection: Connection) -> None:
        message = await connection.request_head()
        await worker.publish(Snapshot())
        await connection.message_body(message)
        await connection.send(ok(message.body))

    async with Upstream(script) as upstream, Worker(serving(upstream)) as worker, Client(worker.port) as client:
        await client.send(b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 10\r\n\r\nhello")
        await upstream.received(1)
        async with Client(worker.port) as other:
            while (await other.ask(get("/probe", host="nowhere.example"))).status != 404 or worker.serving < 2:
                pass
        await client.send(b"world")
        assert (await client.response()).body == b"helloworld"


async def test_endpoints_that_are_replaced_get_the_next_request() -> None:
    async with (
        Upstream(always(ok(b"old"))) as old,
        Upstream(always(ok(b"new"))) as new,
        Worker(serving(old)) as worker,
        Client(worker.port) as client,
    ):
        assert (await client.ask(get())).body == b"old"
        await worker.publish(serving(new))
        assert (await client.ask(get())).body == b"new"
        await old.all_closed()


async def test_the_default_backend_can_be_changed_and_taken_away() -> None:
    async with Upstream(always(ok(b"a"))) as a, Upstream(always(ok(b"b"))) as b:
        one, two = cluster("a", a), cluster("b", b)
        async with Worker(Snapshot()) as worker, Client(worker.port) as client:
            for default, expected in ((one, b"a"), (two, b"b"), (None, b"")):
                route_to = route("/", default) if default else None
                await worker.publish(Snapshot((), (one, two), default=route_to))
                response = await client.ask(get())
                assert response.body == expected or (not expected and response.status == 404)


async def test_two_hundred_updates_lose_no_request_and_no_connection() -> None:
    async with Upstream(always(ok(b"a"))) as a, Upstream(always(ok(b"b"))) as b:
        states = [serving(a, b), serving(b), serving(a)]
        async with Worker(states[0]) as worker, Client(worker.port) as client:
            asked = 0
            for number in range(200):
                await client.send(get())
                await worker.publish(states[number % 3])
                assert (await client.response()).body in (b"a", b"b")
                asked += 1
            assert len(a.requests) + len(b.requests) == asked
            await worker.publish(Snapshot())
            await a.all_closed()
            await b.all_closed()


async def test_a_full_update_replaces_the_state() -> None:
    async with Upstream(always(ok())) as upstream, Worker(serving(upstream)) as worker, Client(worker.port) as client:
        assert (await client.ask(get())).status == 200
        # As the controller sends it to a worker that had fallen behind.
        await worker.replace(serving(upstream, host="b.example"))
        assert (await client.ask(get())).status == 404
        assert (await client.ask(get(host="b.example"))).status == 200
        assert len(upstream.connections) == 1
