"""Message bodies, passed on as they come, with framing of our own (RFC 9112 sections 6 and 7)."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from tests.kit import Client, Upstream, Worker, always, chunked, each, get, ok, request, serving
from tests.kit.upstream import Connection

pytestmark = pytest.mark.asyncio(loop_scope="module")

BIG = bytes(range(256)) * 4096 * 3


def head(*fields: str, status: str = "200 OK", version: str = "1.1") -> bytes:
    return "\r\n".join((f"HTTP/{version} {status}", *fields, "", "")).encode()


# --- requests


async def test_a_request_body_of_known_length_keeps_it(worker: Worker) -> None:
    async with Upstream(each(lambda message: ok(message.body))) as upstream, Client(worker.port) as client:
        await worker.publish(serving(upstream))
        for body in (b"", b"x", BIG):
            assert (await client.ask(request("POST", "/", body=body))).body == body
            assert upstream.requests[-1].get(b"content-length") == b"%d" % len(body)
        assert len(upstream.connections) == 1


async def test_a_request_without_body_gets_no_framing(worker: Worker) -> None:
    async with Upstream(always(ok())) as upstream, Client(worker.port) as client:
        await worker.publish(serving(upstream))
        for method in ("GET", "POST", "DELETE", "OPTIONS", "PROPFIND", "BREW"):
            assert (await client.ask(request(method))).status == 200
            assert upstream.requests[-1].method == method.encode()
            assert not {b"content-length", b"transfer-encoding"} & set(upstream.requests[-1].names)


async def test_a_chunked_request_is_chunked_anew_without_extensions(worker: Worker) -> None:
    body = b'3;name=value\r\none\r\n00003;a="b"\r\ntwo\r\n0;last\r\n\r\n'
    async with Upstream(always(ok())) as upstream, Client(worker.port) as client:
        await worker.publish(serving(upstream))
        await client.ask(request("POST", "/", "Transfer-Encoding: Chunked") + body)
        [message] = upstream.requests
        assert message.get(b"transfer-encoding") == b"chunked"
        # Chunks that arrive together leave as one.
        assert message.raw.endswith(b"\r\n\r\n6\r\nonetwo\r\n0\r\n\r\n")


async def test_a_chunked_request_streams(worker: Worker) -> None:
    async def script(connection: Connection) -> None:
        message = await connection.request_head()
        while piece := await connection.chunk(message):
            got.put_nowait(piece)
        await connection.send(ok())

    got: asyncio.Queue[bytes] = asyncio.Queue()
    async with Upstream(script) as upstream, Client(worker.port) as client:
        await worker.publish(serving(upstream))
        await client.send(request("POST", "/", "Transfer-Encoding: chunked"))
        for piece in (b"one", b"two", b"x" * 50_000):
            await client.send(b"%x\r\n" % len(piece))
            await client.send(piece + b"\r\n")
            received = b""
            while len(received) < len(piece):
                received += await got.get()
            assert received == piece
        await client.send(b"0\r\n\r\n")
        assert (await client.response()).status == 200


async def test_request_trailers_arrive_without_those_that_must_not_be_there(worker: Worker) -> None:
    trailers = b"Digest: abc\r\nAuthorization: x\r\nConnection: close\r\nX-Forwarded-For: 1.2.3.4\r\nTE: x\r\n"
    async with Upstream(always(ok())) as upstream, Client(worker.port) as client:
        await worker.publish(serving(upstream))
        data = request("POST", "/", "Transfer-Encoding: chunked", "Trailer: Digest")
        await client.ask(data + chunked(b"abc", trailers=trailers + b"X_Under: 1\r\nSum: 6\r\n"))
        [message] = upstream.requests
        assert message.trailers == [b"Digest: abc", b"Sum: 6"]
        assert message.get(b"trailer") == b"Digest"


# --- responses


@pytest.mark.parametrize("body", [b"", b"x", BIG])
async def test_a_response_of_known_length_keeps_it(body: bytes, worker: Worker) -> None:
    async with Upstream(always(ok(body))) as upstream:
        await worker.publish(serving(upstream))
        async with Client(worker.port) as client:
            for _ in range(2):
                response = await client.ask(get())
                assert response.body == body
                assert response.get(b"content-length") == b"%d" % len(body)
        assert len(upstream.connections) == 1


async def test_a_chunked_response_is_chunked_anew_with_its_trailers(worker: Worker) -> None:
    trailers = b"Digest: abc\r\nSet-Cookie: a=1\r\nConnection: close\r\nSum: 6\r\n"
    body = b"3;extension\r\none\r\n" + chunked(b"two", trailers=trailers)
    async with (
        Upstream(always(head("Transfer-Encoding: chunked", "Trailer: Digest") + body)) as upstream,
        Client(worker.port) as client,
    ):
        await worker.publish(serving(upstream))
        for _ in range(2):
            response = await client.ask(get())
            assert response.raw.endswith(b"\r\n\r\n6\r\nonetwo\r\n0\r\nDigest: abc\r\nSum: 6\r\n\r\n")
            assert response.trailers == [b"Digest: abc", b"Sum: 6"]
        assert len(upstream.connections) == 1


async def test_an_empty_chunked_response(worker: Worker) -> None:
    async with (
        Upstream(always(head("Transfer-Encoding: chunked") + b"0\r\n\r\n")) as upstream,
        Client(worker.port) as client,
    ):
        await worker.publish(serving(upstream))
        for _ in range(2):
            assert (await client.ask(get())).raw.endswith(b"\r\n\r\n0\r\n\r\n")


async def test_a_chunked_response_streams(worker: Worker) -> None:
    go: asyncio.Queue[bytes] = asyncio.Queue()

    async def script(connection: Connection) -> None:
        await connection.request()
        await connection.send(head("Transfer-Encoding: chunked"))
        while piece := await go.get():
            await connection.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        await connection.send(b"0\r\n\r\n")

    async with Upstream(script) as upstream, Client(worker.port) as client:
        await worker.publish(serving(upstream))
        await client.send(get())
        go.put_nowait(b"zero")
        response = await client.message_head()
        assert await client.chunk(response) == b"zero"
        for piece in (b"one", b"two"):
            go.put_nowait(piece)
            assert await client.chunk(response) == piece
        go.put_nowait(b"")
        assert await client.chunk(response) == b""


async def test_a_head_is_passed_on_before_any_of_the_body_is_there(worker: Worker) -> None:
    go = asyncio.Event()

    async def script(connection: Connection) -> None:
        await connection.request()
        await connection.send(head("Transfer-Encoding: chunked"))
        await go.wait()
        await connection.send(chunked(b"data:1"))

    async with Upstream(script) as upstream, Client(worker.port) as client:
        await worker.publish(serving(upstream))
        await client.send(get("/events", "Accept: text/event-stream"))
        response = await client.message_head()
        assert response.status == 200
        go.set()
        assert await client.chunk(response) == b"data:1"


async def test_a_response_ended_by_close_is_chunked_for_1_1_and_the_connection_goes_on(worker: Worker) -> None:
    async def script(connection: Connection) -> None:
        await connection.request()
        await connection.send(head("Content-Type: text/plain") + b"until ")
        await connection.send(b"the end")

    async with Upstream(script) as upstream, Client(worker.port) as client:
        await worker.publish(serving(upstream))
        for _ in range(2):
            response = await client.ask(get())
            assert response.get(b"transfer-encoding") == b"chunked"
            assert (response.body, response.get(b"connection")) == (b"until the end", None)
        assert len(upstream.connections) == 2


async def test_a_response_ended_by_close_ends_by_close_for_1_0(worker: Worker) -> None:
    async def script(connection: Connection) -> None:
        await connection.request()
        await connection.send(head() + b"until the end")

    async with Upstream(script) as upstream, Client(worker.port) as client:
        await worker.publish(serving(upstream))
        response = await client.ask(request("GET", "/", "Connection: keep-alive", version="1.0"))
        assert response.body == b"until the end"
        assert response.get(b"connection") == b"close"
        assert b"transfer-encoding" not in response.names


async def test_a_chunked_response_ends_by_close_for_1_0(worker: Worker) -> None:
    async with (
        Upstream(always(head("Transfer-Encoding: chunked") + chunked(b"one", b"two", trailers=b"Sum: 6\r\n"))) as up,
        Client(worker.port) as client,
    ):
        await worker.publish(serving(up))
        response = await client.ask(request("GET", "/", "Connection: keep-alive", version="1.0"))
        assert (response.body, response.get(b"connection")) == (b"onetwo", b"close")
        assert b"transfer-encoding" not in response.names
        assert b"Sum" not in response.raw


@pytest.mark.parametrize(
    ("framing", "passed_on"),
    [
        ("Content-Length: 1000", [b"Content-Length: 1000"]),
        ("Transfer-Encoding: chunked", [b"Transfer-Encoding: chunked"]),
        ("Server: none", [b"Server: none"]),
    ],
)
async def test_a_response_to_HEAD_has_no_body_whatever_its_fields_say(
    framing: str, passed_on: list[bytes], worker: Worker
) -> None:
    async with Upstream(always(head(framing))) as upstream, Client(worker.port) as client:
        await worker.publish(serving(upstream))
        for _ in range(3):
            assert (await client.ask(request("HEAD"))).fields == passed_on
        assert len(upstream.connections) == 1


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
async def test_204_and_304_have_no_body(status: str, worker: Worker) -> None:
    async with Upstream(always(head('ETag: "x"', status=status))) as upstream, Client(worker.port) as client:
        await worker.publish(serving(upstream))
        for _ in range(3):
            response = await client.ask(get())
            assert (response.line, response.fields) == (f"HTTP/1.1 {status}".encode(), [b'ETag: "x"'])
        assert len(upstream.connections) == 1


async def test_304_keeps_the_length_that_200_would_have(worker: Worker) -> None:
    async with (
        Upstream(always(head("Content-Length: 77", status="304 Not Modified"))) as upstream,
        Client(worker.port) as client,
    ):
        await worker.publish(serving(upstream))
        for _ in range(2):
            assert (await client.ask(get())).fields == [b"Content-Length: 77"]


async def test_a_response_without_reason_phrase_is_passed_on(worker: Worker) -> None:
    async with Upstream(always(head("Content-Length: 0", status="299"))) as upstream, Client(worker.port) as client:
        await worker.publish(serving(upstream))
        assert (await client.ask(get())).line == b"HTTP/1.1 299 "


async def test_a_response_byte_by_byte(worker: Worker) -> None:
    data = head("Transfer-Encoding: chunked", "X-A: 1") + chunked(b"one", b"two", trailers=b"Sum: 6\r\n")

    async def script(connection: Connection) -> None:
        while await connection.request():
            for at in range(len(data)):
                await connection.send(data[at : at + 1])
                await asyncio.sleep(0)

    async with Upstream(script) as upstream, Client(worker.port) as client:
        await worker.publish(serving(upstream))
        for _ in range(2):
            response = await client.ask(get())
            assert (response.body, response.trailers) == (b"onetwo", [b"Sum: 6"])
        assert len(upstream.connections) == 1


# --- back-pressure


async def test_a_slow_client_holds_back_the_upstream_and_gets_everything() -> None:
    async with (
        Upstream(always(ok(BIG * 8))) as upstream,
        Worker(serving(upstream)) as worker,
        Client(worker.port, receive_buffer=4096) as slow,
    ):
        async with Client(worker.port) as other:
            await other.ask(request("HEAD"))
        before = worker.resident()
        await slow.send(get())
        await upstream.received(2)
        first = await slow.read_exactly(1000)
        async with Client(worker.port) as other:
            await other.ask(request("HEAD"))
        assert worker.resident() - before < 4 << 20
        whole = ok(BIG * 8)
        assert first + await slow.read_exactly(len(whole) - 1000) == whole


async def test_a_slow_upstream_holds_back_the_client_and_gets_everything() -> None:
    go = asyncio.Event()

    async def script(connection: Connection) -> None:
        message = await connection.request_head()
        await go.wait()
        await connection.message_body(message)
        await connection.send(ok(b"%d" % len(message.body)))

    async with (
        Upstream(script, receive_buffer=4096) as upstream,
        Worker(serving(upstream)) as worker,
        Client(worker.port) as client,
    ):
        before = worker.resident()
        length = 64 << 20
        await client.send(request("POST", "/", f"Content-Length: {length}"))
        took = await client.fill(b"x" * 65536)
        assert took < 32 << 20
        assert worker.resident() - before < 4 << 20
        go.set()
        rest = length - took
        while rest:
            piece = b"x" * min(rest, 1 << 20)
            await client.send(piece)
            rest -= len(piece)
        assert (await client.response()).body == b"%d" % length


async def test_an_upstream_connection_held_back_to_the_last_byte_can_be_used_again() -> None:
    # Where the last piece of a response is what fills the client's connection, the upstream connection goes back to the
    # pool at the very moment in which its reading was stopped. How much fits is the kernel's affair, so many sizes.
    sizes = range(1_000_000, 6_000_000, 200_000)

    async def script(connection: Connection) -> None:
        while message := await connection.request():
            # All at once, so that none is served by the connection of another.
            await upstream.received(len(sizes))
            await connection.send(ok(b"x" * int(message.target[1:])))

    async with Upstream(script) as upstream, Worker(serving(upstream)) as worker, AsyncExitStack() as stack:
        slow = [await stack.enter_async_context(Client(worker.port, receive_buffer=4096)) for _ in sizes]
        for client, size in zip(slow, sizes, strict=True):
            await client.send(get(f"/{size}"))
        await upstream.received(len(sizes))
        await worker.reported(lambda: worker.gauge("upstream_connections_open", "idle") > 2, "some have been answered")
        # As many requests at once as there may be idle connections.
        others = [await stack.enter_async_context(Client(worker.port)) for _ in sizes]
        for client in others:
            await client.send(get("/1"))
        for client in others:
            assert (await client.response()).body == b"x"
        for client, size in zip(slow, sizes, strict=True):
            assert len((await client.response()).body) == size
