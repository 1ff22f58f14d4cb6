"""Connections on both sides serve one request after another."""

from tests.kit import Client, Upstream, Worker, always, get, ok, serving


async def test_one_client_connection_carries_many_requests_over_one_upstream_connection() -> None:
    async with Upstream(always(ok(b"hello"))) as upstream, Worker(serving(upstream)) as worker:
        async with Client(worker.port) as client:
            for number in range(20):
                response = await client.ask(get(f"/{number}"))
                assert (response.status, response.body) == (200, b"hello")
                assert b"connection" not in response.names
        assert len(upstream.connections) == 1
        assert [request.target for request in upstream.requests] == [b"/%d" % number for number in range(20)]
