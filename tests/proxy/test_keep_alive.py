"""Connections on both sides serve one request after another (RFC 9112 section 9)."""

import pytest

from ingressd.model import Snapshot
from tests.kit import Client, Upstream, Worker, always, cluster, get, ok, request, serving, virtual_host

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_one_client_connection_carries_many_requests_over_one_upstream_connection(worker: Worker) -> None:
    async with Upstream(always(ok(b"hello"))) as upstream:
        await worker.publish(serving(upstream))
        async with Client(worker.port) as client:
            for number in range(20):
                response = await client.ask(get(f"/{number}"))
                assert (response.status, response.body) == (200, b"hello")
                assert b"connection" not in response.names
        assert len(upstream.connections) == 1
        assert [message.target for message in upstream.requests] == [b"/%d" % number for number in range(20)]
        assert all(b"connection" not in message.names for message in upstream.requests)


async def test_connections_of_many_clients_share_an_upstream_connection(worker: Worker) -> None:
    async with Upstream(always(ok())) as upstream:
        await worker.publish(serving(upstream))
        for _ in range(5):
            async with Client(worker.port) as client:
                assert (await client.ask(get())).status == 200
        assert len(upstream.connections) == 1


async def test_connection_close_of_the_client_ends_its_connection_and_no_other(worker: Worker) -> None:
    async with Upstream(always(ok())) as upstream:
        await worker.publish(serving(upstream))
        for _ in range(2):
            async with Client(worker.port) as client:
                response = await client.ask(get("/", "Connection: close"))
                assert response.get(b"connection") == b"close"
                assert await client.ended()
        assert len(upstream.connections) == 1


async def test_connection_close_of_the_upstream_ends_its_connection_and_not_the_clients(worker: Worker) -> None:
    async with Upstream(always(ok(b"bye", "Connection: close"))) as upstream, Client(worker.port) as client:
        await worker.publish(serving(upstream))
        for _ in range(3):
            response = await client.ask(get())
            assert response.body == b"bye"
            assert b"connection" not in response.names
        assert len(upstream.connections) == 3


async def test_an_upstream_of_http_1_0_gets_a_new_connection_each_time_unless_it_keeps_it() -> None:
    async with (
        Upstream(always(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok")) as plain,
        Upstream(always(b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok")) as keeping,
    ):
        clusters = (cluster("keeping", keeping), cluster("plain", plain))
        hosts = tuple(virtual_host(f"{each.key.service}.example", "/", each) for each in clusters)
        async with Worker(Snapshot(hosts, clusters)) as worker, Client(worker.port) as client:
            for host in ("plain.example", "keeping.example") * 3:
                response = await client.ask(get(host=host))
                assert response.line == b"HTTP/1.1 200 OK"
                assert b"connection" not in response.names
        assert (len(plain.connections), len(keeping.connections)) == (3, 1)


async def test_http_1_0_without_keep_alive_ends_with_the_response(worker: Worker) -> None:
    async with Upstream(always(ok())) as upstream, Client(worker.port) as client:
        await worker.publish(serving(upstream))
        response = await client.ask(request(version="1.0"))
        assert response.line == b"HTTP/1.1 200 OK"
        assert (response.body, response.get(b"connection")) == (b"ok", b"close")
        assert await client.ended()
        assert upstream.requests[0].line == b"GET / HTTP/1.1"


async def test_http_1_0_with_keep_alive_goes_on(worker: Worker) -> None:
    async with Upstream(always(ok())) as upstream, Client(worker.port) as client:
        await worker.publish(serving(upstream))
        for _ in range(3):
            response = await client.ask(request("GET", "/", "Connection: keep-alive", version="1.0"))
            assert (response.body, response.get(b"connection")) == (b"ok", b"keep-alive")
        response = await client.ask(request("GET", "/none", "Connection: Keep-Alive", host="b.example", version="1.0"))
        assert (response.status, response.get(b"connection")) == (404, b"keep-alive")
        assert (await client.ask(request(version="1.0"))).get(b"connection") == b"close"
        assert await client.ended()


async def test_http_1_0_without_host_goes_to_the_virtual_host_of_no_host(worker: Worker) -> None:
    async with Upstream(always(ok())) as upstream, Client(worker.port) as client:
        await worker.publish(serving(upstream, host=""))
        assert (await client.ask(b"GET / HTTP/1.0\r\n\r\n")).body == b"ok"
        # What is sent upstream is HTTP/1.1, which demands a Host field, even an empty one (RFC 9112 section 3.2).
        assert upstream.requests[0].get(b"host") == b""


@pytest.mark.parametrize("blank", [b"\r\n", b"\r\n\r\n"])
async def test_empty_lines_between_requests_are_overlooked(blank: bytes, worker: Worker) -> None:
    async with Upstream(always(ok())) as upstream, Client(worker.port) as client:
        await worker.publish(serving(upstream))
        for _ in range(2):
            assert (await client.ask(blank + get())).status == 200


async def test_a_client_that_closes_between_requests_leaves_nothing_behind() -> None:
    async with Upstream(always(ok())) as upstream, Worker(serving(upstream)) as worker:
        for _ in range(10):
            async with Client(worker.port) as client:
                await client.ask(get())
                client.half_close()
                assert await client.ended()
        async with Client(worker.port) as client:
            await client.ask(get())
            client.reset()
        await worker.reported(lambda: worker.gauge("downstream_connections_open", "idle") == 0, "none is open")
        assert [line.split(b'" ')[1][:4] for line in await worker.logged(11)] == [b"200 "] * 11
