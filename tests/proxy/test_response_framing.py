"""A response that breaks the rules of framing is never passed on as if it were whole (RFC 9112)."""

import asyncio
import json

import pytest

from ingressd.model import Snapshot
from tests.kit import Client, Closed, Upstream, Worker, chunked, get, ok, request, serving
from tests.kit.upstream import Connection

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def response(*lines: bytes, body: bytes = b"") -> bytes:
    return b"HTTP/1.1 200 OK\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body


BROKEN_HEADS = {
    "garbage": b"SSH-2.0-OpenSSH\r\n\r\n",
    "http-0.9": b"<html>hello</html>\r\n\r\n",
    "version-2": b"HTTP/2.0 200 OK\r\n\r\n",
    "version-without-minor": b"HTTP/1 200 OK\r\n\r\n",
    "status-of-two-digits": b"HTTP/1.1 20 OK\r\n\r\n",
    "status-of-four-digits": b"HTTP/1.1 2000 OK\r\n\r\n",
    "status-below-100": b"HTTP/1.1 099 OK\r\n\r\n",
    "status-in-words": b"HTTP/1.1 OK\r\n\r\n",
    "two-spaces": b"HTTP/1.1  200 OK\r\n\r\n",
    "bare-line-feeds": b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    "control-character-in-reason": b"HTTP/1.1 200 O\x01K\r\n\r\n",
    "length-and-chunked": response(b"Content-Length: 5", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
    "two-lengths": response(b"Content-Length: 5", b"Content-Length: 6", body=b"hello!"),
    "signed-length": response(b"Content-Length: +5", body=b"hello"),
    "unknown-coding": response(b"Transfer-Encoding: gzip", body=b"hello"),
    "chunked-in-1.0": CHUNKED.replace(b"1.1", b"1.0") + b"0\r\n\r\n",
    "folded-field": response(b"A: 1", b" 2", b"Content-Length: 0"),
    "space-before-colon": response(b"Content-Length : 0"),
    "no-colon": response(b"nothing"),
    "nul-in-value": response(b"A: \0", b"Content-Length: 0"),
    "long-field": response(b"A: " + b"x" * 8200),
    "long-head": response(*[b"A: " + b"x" * 8000] * 5),
    "many-fields": response(*[b"A: 1"] * 101),
    "interim-garbage": b"HTTP/1.1 100 Continue\r\nbad\r\n\r\n",
}


@pytest.mark.parametrize("case", BROKEN_HEADS)
async def test_a_broken_head_is_502_and_the_upstream_connection_closed(case: str, worker: Worker) -> None:
    async def script(connection: Connection) -> None:
        await connection.request()
        await connection.send(BROKEN_HEADS[case] + ok(b"smuggled"))
        assert await connection.read_some() == b""

    async with Upstream(script) as upstream, Client(worker.port) as client:
        await worker.publish(serving(upstream))
        answer = await client.ask(get())
        assert answer.status == 502
        assert b"upstream_framing" in answer.body
        await upstream.all_closed()
        # Once a byte of a response is there, nothing is tried again.
        assert len(upstream.requests) == 1
        # It is not the client's fault: its connection goes on.
        assert (await client.ask(get())).status == 502
        assert client.silent()


BROKEN_CHUNKS = {
    "size-missing": b"\r\nhello\r\n0\r\n\r\n",
    "size-not-hexadecimal": b"xyz\r\nhello\r\n0\r\n\r\n",
    "size-with-space": b"5 \r\nhello\r\n0\r\n\r\n",
    "size-beyond-integers": b"10000000000000005\r\nhello\r\n0\r\n\r\n",
    "size-ended-by-line-feed": b"5\nhello\r\n0\r\n\r\n",
    "longer-than-its-size": b"4\r\nhello\r\n0\r\n\r\n",
    "trailer-malformed": chunked(b"hello", trailers=b"bad\r\n"),
    "trailer-content-length": chunked(b"hello", trailers=b"Content-Length: 3\r\n"),
    "trailer-folded": chunked(b"hello", trailers=b"A: 1\r\n 2\r\n"),
}


@pytest.mark.parametrize("case", BROKEN_CHUNKS)
async def test_a_broken_chunk_cuts_the_response_and_closes_the_upstream_connection(case: str, worker: Worker) -> None:
    async def script(connection: Connection) -> None:
        await connection.request_head()
        await connection.send(CHUNKED + b"5\r\nfirst\r\n")
        await connection.read_exactly(1)
        await connection.send(BROKEN_CHUNKS[case])
        assert await connection.read_some() == b""

    async with Upstream(script) as upstream, Client(worker.port) as client:
        await worker.publish(serving(upstream))
        await client.send(request("POST", f"/{case}", "Content-Length: 1"))
        await client.read_until(b"first\r\n")
        await client.send(b"x")
        with pytest.raises(Closed) as closed:
            await client.read_until(b"\r\n0\r\n")
        assert b"0\r\n\r\n" not in closed.value.got
        await upstream.all_closed()
        logged = json.loads(await worker.line(b"/%b " % case.encode()))
        assert (logged["status"], logged["reason"]) == (200, "upstream_framing")


@pytest.mark.parametrize("case", BROKEN_CHUNKS)
async def test_a_broken_chunk_right_behind_the_head_is_502(case: str, worker: Worker) -> None:
    async def script(connection: Connection) -> None:
        await connection.request()
        await connection.send(CHUNKED + BROKEN_CHUNKS[case])
        assert await connection.read_some() == b""

    async with Upstream(script) as upstream, Client(worker.port) as client:
        await worker.publish(serving(upstream))
        answer = await client.ask(get())
        assert answer.status == 502
        assert b"upstream_framing" in answer.body
        await upstream.all_closed()
        assert len(upstream.requests) == 1


CUT_SHORT = {
    "length": response(b"Content-Length: 100", body=b"not all"),
    "length-without-a-byte": response(b"Content-Length: 100"),
    "chunk": CHUNKED + b"64\r\nnot all",
    "between-chunks": CHUNKED + b"7\r\nnot all\r\n",
    "in-the-trailers": CHUNKED + b"7\r\nnot all\r\n0\r\nA: 1\r\n",
    "before-the-last-line-feed": CHUNKED + b"7\r\nnot all\r\n0\r\n\r",
}


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("case", CUT_SHORT)
async def test_a_response_cut_short_is_cut_short_for_the_client_too(case: str, how: str, worker: Worker) -> None:
    async def script(connection: Connection) -> None:
        await connection.request_head()
        await connection.send(CUT_SHORT[case])
        await connection.read_exactly(1)
        getattr(connection, how)()

    async with Upstream(script) as upstream, Client(worker.port) as client:
        await worker.publish(serving(upstream))
        await client.send(request("POST", f"/{case}-{how}", "Content-Length: 1"))
        if b"not all" in CUT_SHORT[case]:
            await client.read_until(b"not all")
        await client.send(b"x")
        with pytest.raises(Closed) as closed:
            await client.read_until(b"\r\n0\r\n\r\n")
        assert b"HTTP/1.1 502" not in closed.value.got
        logged = json.loads(await worker.line(f"/{case}-{how} ".encode()))
        assert (logged["status"], logged["reason"]) == (200, "upstream_closed")


async def test_a_response_ended_by_reset_in_place_of_close_is_cut_for_1_1_and_1_0(worker: Worker) -> None:
    async def script(connection: Connection) -> None:
        await connection.request_head()
        await connection.send(b"HTTP/1.1 200 OK\r\n\r\nnot all")
        await connection.read_exactly(1)
        connection.reset()

    async with Upstream(script) as upstream:
        await worker.publish(serving(upstream))
        for version in ("1.1", "1.0"):
            async with Client(worker.port) as client:
                await client.send(request("POST", "/", "Content-Length: 1", version=version))
                await client.read_until(b"not all")
                await client.send(b"x")
                # A client of HTTP/1.0 can tell only by a reset that the end is not the end.
                with pytest.raises(Closed) as closed:
                    await client.read_until(b"0\r\n\r\n")
                assert version == "1.1" or closed.value.__cause__ is not None


async def test_bytes_behind_a_response_are_not_passed_on_and_end_the_upstream_connection(worker: Worker) -> None:
    async def script(connection: Connection) -> None:
        await connection.request()
        await connection.send(ok(b"one") + ok(b"smuggled"))
        assert await connection.read_some() == b""

    async with Upstream(script) as upstream, Client(worker.port) as client:
        await worker.publish(serving(upstream))
        for _ in range(3):
            assert (await client.ask(get())).body == b"one"
        assert len(upstream.connections) == 3
        assert client.silent()


@pytest.mark.parametrize(
    ("method", "data"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none"),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\none"),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\none"),
    ],
)
async def test_a_body_where_there_must_be_none_is_not_passed_on(method: str, data: bytes, worker: Worker) -> None:
    async def script(connection: Connection) -> None:
        await connection.request()
        await connection.send(data)
        assert await connection.read_some() == b""

    async with Upstream(script) as upstream, Client(worker.port) as client:
        await worker.publish(serving(upstream))
        for _ in range(2):
            await client.send(request(method))
            assert (await client.response(head_only=True)).status in (200, 204, 304)
        assert len(upstream.connections) == 2
        assert client.silent()


async def test_bytes_on_an_idle_upstream_connection_end_it(worker: Worker) -> None:
    async def script(connection: Connection) -> None:
        await connection.request()
        await connection.send(ok(b"one"))
        if connection.number == 0:
            await worker.reported(lambda: worker.gauge("upstream_connections_open", "idle") == 1, "it is in the pool")
            await connection.send(ok(b"smuggled"))
        await connection.read_some()

    async with Upstream(script) as upstream, Client(worker.port) as client:
        await worker.publish(serving(upstream))
        assert (await client.ask(get())).body == b"one"
        await upstream.all_closed()
        assert (await client.ask(get())).body == b"one"
        await worker.publish(Snapshot())


@pytest.mark.parametrize("field", ["Content-Length: 41", "Transfer-Encoding: chunked"])
async def test_a_204_that_announces_a_body_is_502_and_its_connection_serves_nobody_else(
    field: str, worker: Worker
) -> None:
    # RFC 9110 section 8.6. The body may come when the next client already waits for its response.
    async def script(connection: Connection) -> None:
        await connection.request()
        if connection.number == 0:
            await connection.send(f"HTTP/1.1 204 No Content\r\n{field}\r\n\r\n".encode())
            assert await connection.read_some() == b""
        else:
            await connection.send(ok(b"own"))

    async with Upstream(script) as upstream, Client(worker.port) as client:
        await worker.publish(serving(upstream))
        assert (await client.ask(get())).status == 502
        assert (await client.ask(get())).body == b"own"
        assert len(upstream.connections) == 2


@pytest.mark.parametrize("method", ["HEAD", "GET"])
async def test_a_body_that_must_not_be_there_and_comes_late_reaches_nobody(method: str, worker: Worker) -> None:
    late = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
    first = "200 OK" if method == "HEAD" else "304 Not Modified"
    sent = asyncio.Event()

    async def script(connection: Connection) -> None:
        await connection.request()
        if connection.number == 0:
            await connection.send(f"HTTP/1.1 {first}\r\nContent-Length: {len(late)}\r\n\r\n".encode())
            await connection.send(late)
            sent.set()
            await connection.read_some()
        else:
            await connection.send(ok(b"own"))

    async with Upstream(script) as upstream, Client(worker.port) as client:
        await worker.publish(serving(upstream))
        await client.send(request(method))
        await client.response(head_only=True)
        await sent.wait()
        assert (await client.ask(get())).body == b"own"
