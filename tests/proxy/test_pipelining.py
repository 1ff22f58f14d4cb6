"""Requests sent ahead are answered in order, one at a time (RFC 9112 section 9.3.2)."""

import asyncio
import contextlib
from contextlib import AsyncExitStack

import pytest

from ingressd.model import Snapshot
from tests.kit import Client, Upstream, Worker, chunked, each, get, ok, request, serving
from tests.kit.stream import Message
from tests.kit.upstream import Connection

pytestmark = pytest.mark.asyncio(loop_scope="module")


def echo(message: Message) -> bytes:
    return ok(message.target + b" " + message.body)


async def test_twenty_in_one_packet(worker: Worker) -> None:
    async with Upstream(each(echo)) as upstream, Client(worker.port) as client:
        await worker.publish(serving(upstream))
        await client.send(b"".join(get(f"/{number}") for number in range(20)))
        for number in range(20):
            assert (await client.response()).body == b"/%d " % number
        assert client.silent()
        assert len(upstream.connections) == 1


async def test_a_slow_first_response_holds_back_the_others_requests_too(worker: Worker) -> None:
    go = asyncio.Event()

    async def script(connection: Connection) -> None:
        while (message := await connection.request()) is not None:
            if message.target == b"/slow":
                await go.wait()
            await connection.send(echo(message))

    async with Upstream(script) as upstream, Client(worker.port) as client:
        await worker.publish(serving(upstream))
        await client.send(get("/slow") + get("/fast"))
        await upstream.received(1)
        async with Client(worker.port) as other:
            # The worker has seen all of the above when it answers this.
            assert (await other.ask(get("/other"))).body == b"/other "
        assert [message.target for message in upstream.requests] == [b"/slow", b"/other"]
        go.set()
        assert (await client.response()).body == b"/slow "
        assert (await client.response()).body == b"/fast "


async def test_bodies_between_pipelined_requests(worker: Worker) -> None:
    stream = (
        request("POST", "/length", body=b"x" * 3000)
        + get("/a")
        + request("POST", "/chunks", "Transfer-Encoding: chunked")
        + chunked(b"one", b"two", trailers=b"Sum: 3\r\n")
        + get("/b")
        + request("PUT", "/empty", body=b"")
        + get("/c")
    )
    async with Upstream(each(echo)) as upstream, Client(worker.port) as client:
        await worker.publish(serving(upstream))
        await client.send(stream)
        bodies = [(await client.response()).body for _ in range(6)]
        assert bodies == [b"/length " + b"x" * 3000, b"/a ", b"/chunks onetwo", b"/b ", b"/empty ", b"/c "]


async def test_cut_at_every_byte_the_stream_means_the_same() -> None:
    stream = (
        get("/first", "Accept: */*")
        + request("POST", "/second", body=b"hello")
        + request("POST", "/third", "Transfer-Encoding: chunked")
        + chunked(b"one", b"two", trailers=b"Sum: 3\r\n")
        + get("/fourth")
    )
    expected = [b"/first ", b"/second hello", b"/third onetwo", b"/fourth "]
    async with (
        Upstream(each(echo)) as upstream,
        Worker(serving(upstream)) as worker,
        Client(worker.port) as other,
        AsyncExitStack() as stack,
    ):
        clients = [await stack.enter_async_context(Client(worker.port)) for _ in range(1, len(stream))]
        for cut, client in enumerate(clients, 1):
            await client.send(stream[:cut])
        # The worker has read all that came before this request when it answers it.
        await other.ask(get("/other"))
        for cut, client in enumerate(clients, 1):
            await client.send(stream[cut:])
        for cut, client in enumerate(clients, 1):
            assert [(await client.response()).body for _ in expected] == expected, f"cut at {cut}"


async def test_byte_by_byte(worker: Worker) -> None:
    stream = get("/first") + request("POST", "/second", body=b"hello") + get("/third")
    async with Upstream(each(echo)) as upstream, Client(worker.port) as client:
        await worker.publish(serving(upstream))
        async with Client(worker.port) as other:
            for at in range(len(stream)):
                await client.send(stream[at : at + 1])
                if at % 8 == 0:
                    await other.ask(get("/other"))
        assert [(await client.response()).body for _ in range(3)] == [b"/first ", b"/second hello", b"/third "]


async def test_more_than_is_read_ahead_waits_in_the_client() -> None:
    go = asyncio.Event()

    async def script(connection: Connection) -> None:
        while (message := await connection.request()) is not None:
            await go.wait()
            await connection.send(echo(message))

    one = get("/", "Padding: " + "x" * 2000)
    async with Upstream(script) as upstream, Worker(serving(upstream)) as worker, Client(worker.port) as client:
        before = worker.resident()
        took = await client.fill(one)
        assert took > 64 * 1024
        assert worker.resident() - before < 4 << 20
        go.set()
        for _ in range(took // len(one)):
            assert (await client.response()).status == 200


async def test_nothing_behind_connection_close_is_carried_out(worker: Worker) -> None:
    async with Upstream(each(echo)) as upstream, Client(worker.port) as client:
        await worker.publish(serving(upstream))
        await client.send(get("/last", "Connection: close") + get("/more"))
        assert (await client.response()).body == b"/last "
        assert await client.ended()
        assert [message.target for message in upstream.requests] == [b"/last"]


async def test_what_is_no_request_is_refused_after_the_answers_before_it(worker: Worker) -> None:
    async with Upstream(each(echo)) as upstream, Client(worker.port) as client:
        await worker.publish(serving(upstream))
        await client.send(get("/good") + b"garbage\r\n\r\n" + get("/more"))
        assert (await client.response()).body == b"/good "
        assert (await client.response()).status == 400
        assert await client.ended()
        assert [message.target for message in upstream.requests] == [b"/good"]


async def test_nothing_behind_a_response_that_was_cut_is_carried_out() -> None:
    async def script(connection: Connection) -> None:
        await connection.request()
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nnot all")

    async with Upstream(script) as upstream, Worker(serving(upstream)) as worker, Client(worker.port) as client:
        await client.send(get("/cut") + get("/more"))
        await client.read_until(b"not all")
        await client.ended()
        await worker.stop()
        assert [message.target for message in upstream.requests] == [b"/cut"]
        assert len(worker.log) == 1


async def test_while_a_client_takes_no_response_its_next_request_waits(worker: Worker) -> None:
    body = b"x" * (8 << 20)

    async with (
        Upstream(each(lambda message: ok(body if message.target == b"/big" else b"small"))) as upstream,
        Client(worker.port, receive_buffer=4096) as client,
    ):
        await worker.publish(serving(upstream))
        await client.send(get("/big") + get("/small"))
        await upstream.received(1)
        async with Client(worker.port) as other:
            await other.ask(get("/other"))
        assert [message.target for message in upstream.requests] == [b"/big", b"/other"]
        assert len((await client.response()).body) == len(body)
        assert (await client.response()).body == b"small"


async def test_what_waits_stays_bounded_while_requests_are_answered() -> None:
    # One after the other is served, and each must not let another read in.
    one = get("/" + "x" * 1000)

    async def script(connection: Connection) -> None:
        while await connection.request() is not None:
            await connection.send(ok(b"y"))

    async with Upstream(script) as upstream, Worker(serving(upstream)) as worker, Client(worker.port) as client:
        await client.ask(get())
        before = worker.resident()

        async def flood() -> None:
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                while True:
                    await client.send(one * 200)

        flooding = asyncio.get_running_loop().create_task(flood())
        for _ in range(3000):
            await client.response()
        grown = worker.resident() - before
        flooding.cancel()
        await flooding
        assert grown < 8 << 20


async def test_a_thousand_in_one_packet_let_others_have_their_turn(worker: Worker) -> None:
    async with Client(worker.port) as client, Client(worker.port) as other:
        await worker.publish(Snapshot())
        await client.send(get("/nowhere") * 1000)
        assert (await other.ask(get("/nowhere"))).status == 404
        for _ in range(1000):
            assert (await client.response()).status == 404
        assert client.silent()


async def test_a_request_cut_anywhere_behind_another_is_put_together(worker: Worker) -> None:
    async with Upstream(each(echo)) as upstream, Client(worker.port) as client:
        await worker.publish(serving(upstream))
        stream = get("/first") + request("POST", "/second", body=b"body")
        for cut in range(len(get("/first")), len(stream)):
            await client.send(stream[:cut])
            assert (await client.response()).body == b"/first "
            await client.send(stream[cut:] + get("/third"))
            assert (await client.response()).body == b"/second body"
            assert (await client.response()).body == b"/third "
