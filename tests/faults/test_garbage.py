"""Garbage from either side. It ends what it came for, and nothing of it reaches anybody else."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.faults.stage import Stage, gone, stage_of
from tests.kit import Client, Closed, chunked, get, ok, request
from tests.kit.upstream import Connection

pytestmark = pytest.mark.asyncio(loop_scope="module")

SEED = 20261123


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    async with stage_of(tmp_path_factory.mktemp("garbage")) as stage:
        yield stage


@pytest_asyncio.fixture(loop_scope="module")
async def stage(shared: Stage) -> AsyncIterator[Stage]:
    yield shared
    await shared.end()


async def asked(stage: Stage, client: Client, data: bytes) -> Connection:
    await client.send(data)
    upstream = await stage.connection()
    await upstream.request_head()
    return upstream


@contextlib.asynccontextmanager
async def bystander(stage: Stage) -> AsyncIterator[None]:
    """An exchange on other connections that begins before the block and ends after it, each of its parts whole. It has
    the last line in the log."""
    async with stage.client() as client:
        upstream = await asked(stage, client, request("POST", "/bystander", "Transfer-Encoding: chunked"))
        await client.send(b"3\r\none\r\n")
        await upstream.read_until(b"one\r\n")
        await upstream.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\ntwo\r\n")
        response = await client.message_head()
        assert await client.chunk(response) == b"two"
        yield
        await client.send(chunked(b"three"))
        assert await upstream.read_exactly(15) == chunked(b"three")
        await upstream.send(chunked(b"four"))
        assert [await client.chunk(response), await client.chunk(response)] == [b"four", b""]


def noise(number: int, size: int) -> bytes:
    return random.Random(SEED + number).randbytes(size)


NO_RESPONSE = {
    "noise of 7 bytes": noise(0, 7),
    "noise of 1 KiB": noise(1, 1024),
    "noise of 100 KiB": noise(2, 100 * 1024),
    "zeros": bytes(1024),
    "HTTP/0.9": b"<html>hello</html>\r\n",
    "SMTP": b"220 mail.example ESMTP\r\n",
    "TLS alert": b"\x15\x03\x01\x00\x02\x02\x46",
    "HTTP/2 settings": b"\x00\x00\x00\x04\x00\x00\x00\x00\x00",
    "HTTP/2 in words": b"HTTP/2 200 OK\r\n\r\n",
    "a request": get("/"),
    "head of 40 KiB": b"HTTP/1.1 200 OK\r\n"
    + b"".join(b"X-%d: %b\r\n" % (n, b"a" * 4000) for n in range(10))
    + b"\r\n",
    "field of 9 KiB": b"HTTP/1.1 200 OK\r\nX: " + b"a" * 9000 + b"\r\n\r\n",
    "101 fields": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 101 + b"\r\n",
    "head without end": b"HTTP/1.1 200 OK\r\n" + b"X" * 40_000,
    "status line without end": b"HTTP/1.1 200 " + b"O" * 40_000,
    "both framings": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    "negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    "length of 30 digits": b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 30 + b"\r\n\r\n",
    "chunk size at once": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "1xx with a body": b"HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\n\r\nhello" + ok(),
    "1xx without end": b"HTTP/1.1 103 Early Hints\r\n\r\n" * 20_000,
    "101 for nothing": b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nhello",
    "status 42": b"HTTP/1.1 042 What\r\n\r\n",
}


@pytest.mark.parametrize("version", ["1.1", "1.0"])
@pytest.mark.parametrize("name", NO_RESPONSE)
async def test_what_is_no_response_is_502(stage: Stage, name: str, version: str) -> None:
    async with bystander(stage), stage.client() as client:
        upstream = await asked(stage, client, request("GET", "/", "Connection: keep-alive", version=version))
        with contextlib.suppress(ConnectionError):
            await upstream.send(NO_RESPONSE[name])
        while (response := await client.response()).status == 103:
            pass
        assert (response.status, b"upstream_framing" in response.body) == (502, True)
        await gone(upstream)
        # The client's connection goes on, by way of another to the upstream.
        upstream = await asked(stage, client, get("/again"))
        await upstream.send(ok(b"well"))
        assert (await client.response()).body == b"well"
    lines = await stage.logged(3)
    assert [(line["status"], line["reason"]) for line in lines] == [(502, "upstream_framing"), (200, ""), (200, "")]


BROKEN_BODIES = {
    "chunk size": (b"Transfer-Encoding: chunked", b"5\r\nhello\r\n", b"zz\r\n"),
    "chunk too long": (b"Transfer-Encoding: chunked", b"5\r\nhello", b"more\r\n"),
    "chunk size of 20 digits": (b"Transfer-Encoding: chunked", b"5\r\nhello\r\n", b"f" * 20),
    "chunk extension without end": (b"Transfer-Encoding: chunked", b"5\r\nhello\r\n", b"5;" + b"x" * 5000),
    "noise in place of a chunk": (b"Transfer-Encoding: chunked", b"5\r\nhello\r\n", b"\x00" + noise(3, 5000)),
    "trailers without end": (b"Transfer-Encoding: chunked", b"5\r\nhello\r\n", b"0\r\n" + b"X: y\r\n" * 9000),
}


@pytest.mark.parametrize("name", BROKEN_BODIES)
async def test_a_body_that_goes_wrong_is_cut(stage: Stage, name: str) -> None:
    field, good, bad = BROKEN_BODIES[name]
    async with bystander(stage), stage.client() as client:
        upstream = await asked(stage, client, get("/"))
        await upstream.send(b"HTTP/1.1 200 OK\r\n" + field + b"\r\n\r\n" + good)
        response = await client.message_head()
        assert await client.chunk(response) == b"hello"
        with contextlib.suppress(ConnectionError):
            await upstream.send(bad)
        with pytest.raises(Closed) as closed:
            await client.chunk(response)
        assert b"0\r\n" not in closed.value.got
        await gone(upstream)
    lines = await stage.logged(2)
    assert [(line["status"], line["reason"]) for line in lines] == [(200, "upstream_framing"), (200, "")]


FORGED = ok(b"forged", "X-Forged: yes")
"""A response that answers nothing, for somebody else to get."""

ANSWERS = {
    "length": ok(b"mine"),
    "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(b"mine"),
    "nothing": b"HTTP/1.1 204 No Content\r\n\r\n",
}


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("pipelined", [False, True], ids=["two clients", "pipelined"])
async def test_a_response_behind_a_response_is_nobodys(stage: Stage, answer: str, pipelined: bool) -> None:
    async with stage.client() as client, stage.client() as other:
        second = client if pipelined else other
        upstream = await asked(stage, client, get("/1") + get("/2") if pipelined else get("/1"))
        await upstream.send(ANSWERS[answer] + FORGED)
        assert (await client.response()).body in (b"mine", b"")
        await gone(upstream)
        if not pipelined:
            await second.send(get("/2"))
        upstream = await stage.connection()
        await upstream.request_head()
        await upstream.send(ok(b"two"))
        assert (await second.response()).body == b"two"
        assert client.silent()
        assert other.silent()
    await stage.logged(2)


@pytest.mark.parametrize(
    "what", [FORGED, b"\r\n", b"0\r\n\r\n", noise(4, 100)], ids=["response", "CRLF", "chunk", "noise"]
)
async def test_what_comes_on_an_idle_connection_is_nobodys(stage: Stage, what: bytes) -> None:
    async with stage.client() as client, stage.client() as other:
        upstream = await asked(stage, client, get("/1"))
        await upstream.send(ok(b"one"))
        assert (await client.response()).body == b"one"
        await upstream.send(what)
        await gone(upstream)
        upstream = await asked(stage, other, get("/2"))
        await upstream.send(ok(b"two"))
        assert (await other.response()).body == b"two"
        assert client.silent()
    await stage.logged(2)


async def test_a_response_before_the_request_is_nobodys(stage: Stage) -> None:
    """An upstream that speaks first. Where the request was on its way by then, nobody can tell that it is no answer."""

    async def speak_first() -> None:
        while True:
            connection = await stage.connection()
            with contextlib.suppress(ConnectionError):
                await connection.send(FORGED)
                await connection.request()
            connection.close()

    speaking = asyncio.create_task(speak_first())
    try:
        async with stage.client() as client:
            for _ in range(20):
                response = await client.ask(request("POST", "/", body=b"hello"))
                # Taken for the answer to what was sent by then, or refused; whole in any case, and only once.
                assert response.status in (200, 502)
                assert client.silent()
    finally:
        speaking.cancel()
    await stage.clear()


NO_REQUEST = {
    "noise of 7 bytes": b"\x00" + noise(5, 7),
    "noise of 100 KiB": b"\x80" + noise(6, 100 * 1024),
    "TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + noise(7, 500),
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/0.9": b"GET /\r\n",
    "a response": ok(),
    "line without end": b"GET /" + b"a" * 20_000,
    "field without end": b"GET / HTTP/1.1\r\nX: " + b"a" * 20_000,
    "head of 40 KiB": b"GET / HTTP/1.1\r\n" + b"".join(b"X-%d: %b\r\n" % (n, b"a" * 4000) for n in range(10)) + b"\r\n",
    "101 fields": b"GET / HTTP/1.1\r\nHost: a.example\r\n" + b"X: y\r\n" * 101 + b"\r\n",
    "both framings": request("POST", "/", "Transfer-Encoding: chunked", body=b"hello"),
    "empty lines": b"\r\n" * 1000,
}


@pytest.mark.parametrize("before", [b"", get("/first")], ids=["at once", "behind a request"])
@pytest.mark.parametrize("name", NO_REQUEST)
async def test_what_is_no_request_is_refused(stage: Stage, name: str, before: bytes) -> None:
    """And the connection ends; nothing of it is forwarded."""
    async with bystander(stage), stage.client() as client:
        if before:
            upstream = await asked(stage, client, before)
            await upstream.send(ok(b"first"))
            assert (await client.response()).body == b"first"
        with contextlib.suppress(ConnectionError):
            await client.send(NO_REQUEST[name])
        response = await client.response()
        assert response.status in (400, 414, 431, 505)
        assert response.get(b"connection") == b"close"
        assert await client.ended()
        assert stage.no_connection()
    await stage.logged(3 if before else 2)


@pytest.mark.parametrize("bad", [b"zz\r\n", b"5\r\nhello!!", b"f" * 20, b"\x00" + noise(8, 5000)])
async def test_a_request_body_that_goes_wrong_ends_both_connections(stage: Stage, bad: bytes) -> None:
    async with bystander(stage), stage.client() as client:
        upstream = await asked(stage, client, request("POST", "/", "Transfer-Encoding: chunked"))
        await client.send(b"5\r\nhello\r\n")
        assert await upstream.read_exactly(10) == b"5\r\nhello\r\n"
        await client.send(bad)
        response = await client.response()
        assert (response.status, response.get(b"connection")) == (400, b"close")
        with pytest.raises(Closed) as closed:
            await upstream.read_until(b"0\r\n\r\n")
        assert closed.value.got in (b"", b"5\r\nhello\r\n")
    lines = await stage.logged(2)
    assert [(line["status"], line["reason"]) for line in lines] == [(400, "bad_request"), (200, "")]
