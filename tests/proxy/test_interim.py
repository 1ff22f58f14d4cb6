"""Responses 1xx, Expect: 100-continue, and final responses to half a request (RFC 9110 sections 10.1.1 and 15.2)."""

import asyncio

import pytest

from ingressd.model import Timeouts
from tests.kit import Client, Upstream, Worker, get, ok, pause, request, serving
from tests.kit.upstream import Connection

pytestmark = pytest.mark.asyncio(loop_scope="module")

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
EXPECTING = request("POST", "/", "Expect: 100-continue", "Content-Length: 5")
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"


async def test_a_client_that_waits_for_100_gets_the_upstreams(worker: Worker) -> None:
    async def script(connection: Connection) -> None:
        head = await connection.request_head()
        assert head.get(b"expect") == b"100-continue"
        assert connection.silent()
        await connection.send(CONTINUE)
        assert (await connection.message_body(head)).body == b"hello"
        await connection.send(ok(b"thanks"))
        await connection.send(ok(b"again") if await connection.request() else b"")

    async with Upstream(script) as upstream, Client(worker.port) as client:
        await worker.publish(serving(upstream))
        await client.send(EXPECTING)
        assert (await client.response()).raw == CONTINUE
        await client.send(b"hello")
        assert (await client.response()).body == b"thanks"
        assert (await client.ask(get())).body == b"again"
        assert len(upstream.connections) == 1


@pytest.mark.parametrize("status", ["417 Expectation Failed", "200 OK", "401 Unauthorized"])
async def test_a_final_response_in_place_of_100_reaches_the_client_and_ends_its_connection(
    status: str, worker: Worker
) -> None:
    async def script(connection: Connection) -> None:
        await connection.request_head()
        await connection.send(f"HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nno".encode())
        assert await connection.read_some() == b""

    async with Upstream(script) as upstream, Client(worker.port) as client:
        await worker.publish(serving(upstream))
        response = await client.ask(EXPECTING)
        assert response.line == f"HTTP/1.1 {status}".encode()
        # Whether the body still comes cannot be known, so no request can follow on this connection.
        assert (response.body, response.get(b"connection")) == (b"no", b"close")
        assert await client.ended()
        await upstream.all_closed()


async def test_a_refusal_of_our_own_comes_in_place_of_100_too() -> None:
    async with Worker() as worker, Client(worker.port) as client:
        response = await client.ask(EXPECTING)
        assert (response.status, response.get(b"connection")) == (404, b"close")
        assert await client.ended()


async def test_an_upstream_that_ignores_the_expectation_gets_the_body_once_the_client_is_tired_of_waiting(
    worker: Worker,
) -> None:
    async def script(connection: Connection) -> None:
        while (message := await connection.request()) is not None:
            await connection.send(ok(message.body))

    async with Upstream(script) as upstream, Client(worker.port) as client:
        await worker.publish(serving(upstream))
        await client.send(EXPECTING)
        async with Client(worker.port) as other:
            await other.ask(get())
        assert client.silent()
        await client.send(b"hello")
        response = await client.response()
        assert (response.body, response.get(b"connection")) == (b"hello", None)


async def test_several_1xx_pass_through_each_as_it_is(worker: Worker) -> None:
    async def script(connection: Connection) -> None:
        await connection.request()
        await connection.send(HINTS + b"HTTP/1.1 102 Processing\r\n\r\n")
        await connection.send(HINTS)
        await connection.send(ok(b"at last"))
        await connection.request()

    async with Upstream(script) as upstream, Client(worker.port) as client:
        await worker.publish(serving(upstream))
        await client.send(get())
        assert (await client.response()).raw == HINTS
        assert (await client.response()).raw == b"HTTP/1.1 102 Processing\r\n\r\n"
        assert (await client.response()).raw == HINTS
        assert (await client.response()).body == b"at last"


async def test_a_1xx_is_passed_on_before_the_final_response_is_there(worker: Worker) -> None:
    go = asyncio.Event()

    async def script(connection: Connection) -> None:
        await connection.request()
        await connection.send(HINTS[:30])
        await connection.send(HINTS[30:] + b"HTTP/1.1 200")
        await go.wait()
        await connection.send(b" OK\r\nContent-Length: 0\r\n\r\n")

    async with Upstream(script) as upstream, Client(worker.port) as client:
        await worker.publish(serving(upstream))
        await client.send(get())
        assert (await client.response()).raw == HINTS
        go.set()
        assert (await client.response()).status == 200


async def test_http_1_0_clients_get_no_1xx(worker: Worker) -> None:
    async def script(connection: Connection) -> None:
        await connection.request()
        await connection.send(CONTINUE + HINTS + ok(b"final"))

    async with Upstream(script) as upstream, Client(worker.port) as client:
        await worker.publish(serving(upstream))
        assert (await client.ask(request(version="1.0"))).body == b"final"
        assert await client.ended()


async def test_fields_for_one_connection_are_removed_from_a_1xx_too(worker: Worker) -> None:
    async def script(connection: Connection) -> None:
        await connection.request()
        await connection.send(b"HTTP/1.1 103 Early Hints\r\nConnection: X-Own\r\nX-Own: 1\r\nLink: <b>\r\n\r\n" + ok())

    async with Upstream(script) as upstream, Client(worker.port) as client:
        await worker.publish(serving(upstream))
        await client.send(get())
        assert (await client.response()).fields == [b"Link: <b>"]
        assert (await client.response()).status == 200


@pytest.mark.parametrize("framing", ["Content-Length: 4", "Transfer-Encoding: chunked"])
async def test_a_1xx_with_a_body_is_an_upstream_that_breaks_the_rules(framing: str, worker: Worker) -> None:
    async def script(connection: Connection) -> None:
        await connection.request()
        await connection.send(f"HTTP/1.1 103 Early Hints\r\n{framing}\r\n\r\nbody".encode() + ok())
        assert await connection.read_some() == b""

    async with Upstream(script) as upstream, Client(worker.port) as client:
        await worker.publish(serving(upstream))
        response = await client.ask(get())
        assert response.status == 502
        assert b"upstream_framing" in response.body
        await upstream.all_closed()


async def test_a_final_response_during_an_upload_is_passed_on_at_once_and_both_connections_end(worker: Worker) -> None:
    async def script(connection: Connection) -> None:
        await connection.request_head()
        await connection.send(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig")
        while await connection.read_some():
            pass

    async with Upstream(script) as upstream, Client(worker.port) as client:
        await worker.publish(serving(upstream))
        await client.send(request("POST", "/", "Content-Length: 100000000"))
        await client.send(b"x" * 100_000)
        response = await client.response()
        assert (response.status, response.body, response.get(b"connection")) == (413, b"big", b"close")
        assert await client.ended()
        await upstream.all_closed()
        # What a client sends on in vain is not held against it: no reset takes its response away.
        await client.send(b"x" * 100_000)


async def test_a_final_response_during_an_upload_arrives_though_the_upstream_closes_behind_it(worker: Worker) -> None:
    async def script(connection: Connection) -> None:
        await connection.request_head()
        await connection.send(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig")
        connection.close()

    async with Upstream(script) as upstream, Client(worker.port) as client:
        await worker.publish(serving(upstream))
        await client.send(request("POST", "/", "Content-Length: 100000000"))
        response = await client.response()
        assert (response.status, response.body) == (413, b"big")
        assert await client.ended()


async def test_a_long_response_during_an_upload_streams_while_the_upload_goes_on(worker: Worker) -> None:
    async def script(connection: Connection) -> None:
        head = await connection.request_head()
        await connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while piece := await connection.chunk(head):
            await connection.send(b"%x\r\n%b\r\n" % (len(piece), piece.upper()))
        await connection.send(b"0\r\n\r\n")
        await connection.read_some()

    async with Upstream(script) as upstream, Client(worker.port) as client:
        await worker.publish(serving(upstream))
        await client.send(request("POST", "/", "Transfer-Encoding: chunked"))
        response = await client.message_head()
        for word in (b"one", b"two", b"three"):
            await client.send(b"%x\r\n%b\r\n" % (len(word), word))
            assert await client.chunk(response) == word.upper()
        await client.send(b"0\r\n\r\n")
        assert await client.chunk(response) == b""


async def test_a_final_response_in_place_of_100_may_take_longer_than_a_body(worker: Worker) -> None:
    # The client need not send the body any more (RFC 9110 section 10.1.1), so no time runs for it.
    async def script(connection: Connection) -> None:
        await connection.request_head()
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n")
        for _ in range(8):
            await pause(0.1)
            await connection.send(b"x")
        await connection.read_some()

    async with (
        Upstream(script) as upstream,
        Worker(serving(upstream), timeouts=Timeouts(client_body=0.3)) as short,
        Client(short.port) as client,
    ):
        assert (await client.ask(EXPECTING)).body == b"x" * 8
        assert await client.ended()
        assert b'" 200 8 ' in await short.line(b"POST")
