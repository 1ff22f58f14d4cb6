"""Each side closes or resets at each point of an exchange.

The other side is told the right thing, a response that was cut is never taken for a whole one, and the worker keeps
nothing: no descriptor, no object, no task (`Stage.end`).
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
import pytest_asyncio

from ingressd.model import Endpoint, Policy
from tests.faults.left import connections
from tests.faults.stage import Stage, gone, stage_of
from tests.kit import Client, Closed, Message, Stream, get, ok, refused_port, request
from tests.kit.upstream import Connection

pytestmark = pytest.mark.asyncio(loop_scope="module")

FULL = "full.example"
"""A host whose endpoint never answers a connection attempt."""

REFUSED = "refused.example"
"""A host whose endpoint refuses connections."""

CONNECT_TIMEOUT = 0.5
"""Seconds; for that host only."""


@pytest.fixture(scope="module")
def full() -> Iterator[Endpoint]:
    """An endpoint whose queue of connections is full: the kernel drops further attempts."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        address = listening.getsockname()
        with socket.create_connection(address):
            yield Endpoint(*address)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory, full: Endpoint) -> AsyncIterator[Stage]:
    others = {FULL: full, REFUSED: refused_port()}
    policies = {FULL: Policy(connect_timeout=CONNECT_TIMEOUT)}
    async with stage_of(tmp_path_factory.mktemp("endings"), others, policies) as stage:
        yield stage


@pytest_asyncio.fixture(loop_scope="module")
async def stage(shared: Stage) -> AsyncIterator[Stage]:
    yield shared
    await shared.end()


End = Callable[[Stream], None]


def closes(stream: Stream) -> None:
    stream.close()


def resets(stream: Stream) -> None:
    stream.reset()


either = pytest.mark.parametrize("end", [closes, resets])
by_version = pytest.mark.parametrize("version", ["1.1", "1.0"])

LENGTH = request("POST", "/", "Content-Length: 10")
CHUNKED = request("POST", "/", "Transfer-Encoding: chunked")
BODIES = pytest.mark.parametrize(
    ("head", "part"), [(LENGTH, b"hello"), (CHUNKED, b"5\r\nhello\r\n")], ids=["length", "chunked"]
)

RESPONSES = pytest.mark.parametrize(
    ("fields", "part"),
    [(b"Content-Length: 10\r\n", b"hello"), (b"Transfer-Encoding: chunked\r\n", b"5\r\nhello\r\n"), (b"", b"hello")],
    ids=["length", "chunked", "until-close"],
)


async def cut(client: Client, head: Message) -> bytes:
    """What comes of the body, of which something must be missing: by its framing, or else, because a client of HTTP/1.0
    would take any other end for the body's, by a reset."""
    framed = head.get(b"content-length") is not None or head.get(b"transfer-encoding") is not None
    with pytest.raises(Closed, match=None if framed else "ConnectionResetError") as closed:
        await client.message_body(head, until_close=True)
    return head.body + closed.value.got


async def under_way(stage: Stage, client: Client, data: bytes) -> Connection:
    """Sends a request, or its beginning, and gives the upstream's connection with the head read off it."""
    await client.send(data)
    upstream = await stage.connection()
    await upstream.request_head()
    return upstream


# --- the client ends


@either
async def test_client_before_any_byte(stage: Stage, end: End) -> None:
    async with stage.client() as client:
        end(client)
    await stage.left.nothing()
    assert stage.no_connection()


@either
@pytest.mark.parametrize("part", [b"G", b"GET / HTTP/1.1\r\nHo", get("/")[:-1]], ids=["method", "field", "last byte"])
async def test_client_in_the_head(stage: Stage, end: End, part: bytes) -> None:
    async with stage.client() as client:
        await client.send(part)
        end(client)
    await stage.left.nothing()
    assert stage.no_connection()


@either
@BODIES
async def test_client_after_the_head(stage: Stage, end: End, head: bytes, part: bytes) -> None:
    async with stage.client() as client:
        upstream = await under_way(stage, client, head)
        end(client)
        await gone(upstream)
    line = await stage.line()
    assert (line["status"], line["reason"]) == (499, "client_closed")


@either
@BODIES
async def test_client_in_the_request_body(stage: Stage, end: End, head: bytes, part: bytes) -> None:
    async with stage.client() as client:
        upstream = await under_way(stage, client, head + part)
        await upstream.read_until(b"hello")
        end(client)
        await gone(upstream)
    line = await stage.line()
    assert (line["status"], line["reason"]) == (499, "client_closed")


@either
async def test_client_after_the_request(stage: Stage, end: End) -> None:
    async with stage.client() as client:
        upstream = await under_way(stage, client, get("/"))
        end(client)
        await gone(upstream)
    line = await stage.line()
    assert (line["status"], line["reason"], line["upstream_status"]) == (499, "client_closed", "-")


@either
async def test_client_while_connecting(stage: Stage, end: End) -> None:
    async with stage.client() as client:
        await client.send(get("/", host=FULL))
        end(client)
        line = await stage.line()
    assert (line["status"], line["reason"]) == (499, "client_closed")


@either
async def test_client_after_part_of_the_response_head(stage: Stage, end: End) -> None:
    async with stage.client() as client:
        upstream = await under_way(stage, client, get("/"))
        await upstream.send(b"HTTP/1.1 200 OK\r\nContent-")
        end(client)
        await gone(upstream)
    line = await stage.line()
    assert (line["status"], line["reason"]) == (499, "client_closed")


@either
@RESPONSES
async def test_client_after_the_response_head(stage: Stage, end: End, fields: bytes, part: bytes) -> None:
    async with stage.client() as client:
        upstream = await under_way(stage, client, get("/"))
        await upstream.send(b"HTTP/1.1 200 OK\r\n" + fields + b"\r\n")
        await client.message_head()
        end(client)
        await gone(upstream)
    line = await stage.line()
    assert (line["status"], line["reason"], line["body_bytes_sent"]) == (200, "client_closed", 0)


@either
@RESPONSES
async def test_client_in_the_response_body(stage: Stage, end: End, fields: bytes, part: bytes) -> None:
    async with stage.client() as client:
        upstream = await under_way(stage, client, get("/"))
        await upstream.send(b"HTTP/1.1 200 OK\r\n" + fields + b"\r\n" + part)
        await client.read_until(b"hello")
        end(client)
        await gone(upstream)
    line = await stage.line()
    assert (line["status"], line["reason"]) == (200, "client_closed")
    assert line["upstream_response_length"] == "5"


@either
async def test_client_between_two_pipelined_requests(stage: Stage, end: End) -> None:
    async with stage.client() as client:
        upstream = await under_way(stage, client, get("/1") + get("/2"))
        await upstream.send(ok(b"one"))
        assert (await client.response()).body == b"one"
        await upstream.request_head()
        end(client)
        await gone(upstream)
    lines = await stage.logged(2)
    assert [(line["status"], line["reason"]) for line in lines] == [(200, ""), (499, "client_closed")]


@either
async def test_client_in_the_second_pipelined_head(stage: Stage, end: End) -> None:
    async with stage.client() as client:
        upstream = await under_way(stage, client, get("/1") + get("/2")[:-9])
        await upstream.send(ok(b"one"))
        assert (await client.response()).body == b"one"
        end(client)
        line = await stage.line()
        assert line["status"] == 200
        upstream.close()
    await stage.left.nothing()


@either
async def test_client_idle_after_a_response(stage: Stage, end: End) -> None:
    async with stage.client() as client:
        upstream = await under_way(stage, client, get("/"))
        await upstream.send(ok(b"one"))
        await client.response()
        end(client)
        upstream.close()
    await stage.left.nothing()
    assert (await stage.line())["status"] == 200


# --- the upstream ends


@either
@BODIES
async def test_upstream_after_the_head(stage: Stage, end: End, head: bytes, part: bytes) -> None:
    async with stage.client() as client:
        upstream = await under_way(stage, client, head)
        end(upstream)
        response = await client.response()
        assert (response.status, response.get(b"connection")) == (502, b"close")
        assert b"upstream_closed" in response.body
        assert await client.ended()
    line = await stage.line()
    assert (line["status"], line["reason"], line["upstream_status"]) == (502, "upstream_closed", "502")


@either
@BODIES
async def test_upstream_in_the_request_body(stage: Stage, end: End, head: bytes, part: bytes) -> None:
    async with stage.client() as client:
        upstream = await under_way(stage, client, head + part)
        await upstream.read_until(b"hello")
        end(upstream)
        assert (await client.response()).status == 502
        assert await client.ended()
    line = await stage.line()
    assert (line["status"], line["reason"], line["upstream_status"]) == (502, "upstream_closed", "502")


@either
async def test_upstream_after_the_request(stage: Stage, end: End) -> None:
    async with stage.client() as client:
        upstream = await under_way(stage, client, request("POST", "/", body=b"hello"))
        await upstream.read_exactly(5)
        end(upstream)
        response = await client.response()
        assert (response.status, response.get(b"connection")) == (502, None)
        # All of the request was read: the connection goes on.
        upstream = await under_way(stage, client, get("/2"))
        await upstream.send(ok(b"two"))
        assert (await client.response()).body == b"two"
    lines = await stage.logged(2)
    assert [(line["status"], line["reason"]) for line in lines] == [(502, "upstream_closed"), (200, "")]


@either
async def test_upstream_after_an_idempotent_request(stage: Stage, end: End) -> None:
    """Tried anew up to three times in all, and no more."""
    async with stage.client() as client:
        await client.send(get("/"))
        for _ in range(3):
            upstream = await stage.connection()
            await upstream.request_head()
            end(upstream)
        assert (await client.response()).status == 502
        assert stage.no_connection()
    line = await stage.line()
    assert (line["status"], line["reason"], line["upstream_status"]) == (502, "upstream_closed", "502, 502, 502")


@either
@pytest.mark.parametrize(
    ("fields", "sent"), [("Content-Length: 10", b"hello"), ("Transfer-Encoding: chunked", b"5\r\nhello\r\n")]
)
async def test_upstream_in_the_body_of_an_idempotent_request(stage: Stage, end: End, fields: str, sent: bytes) -> None:
    """The part that went to the one that died goes again to the next."""
    async with stage.client() as client:
        upstream = await under_way(stage, client, request("PUT", "/", fields) + sent)
        assert await upstream.read_exactly(len(sent)) == sent
        end(upstream)
        upstream = await stage.connection()
        await upstream.request_head()
        assert await upstream.read_exactly(len(sent)) == sent
        rest = b"world" if sent == b"hello" else b"5\r\nworld\r\n0\r\n\r\n"
        await client.send(rest)
        assert await upstream.read_exactly(len(rest)) == rest
        await upstream.send(ok(b"done"))
        assert (await client.response()).body == b"done"
    line = await stage.line()
    assert (line["status"], line["upstream_status"]) == (200, "502, 200")


async def test_upstream_refuses_the_connection(stage: Stage) -> None:
    async with stage.client() as client:
        response = await client.ask(request("POST", "/", host=REFUSED, body=b"hello"))
        assert (response.status, b"connect_failed" in response.body) == (502, True)
    line = await stage.line()
    assert (line["status"], line["reason"]) == (502, "connect_failed")


async def test_upstream_never_accepts(stage: Stage) -> None:
    async with stage.client() as client:
        response = await client.ask(request("POST", "/", host=FULL, body=b"hello"))
        assert (response.status, b"connect_timeout" in response.body) == (504, True)
    line = await stage.line()
    assert (line["status"], line["reason"]) == (504, "connect_timeout")


@either
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_upstream_ends_new_connections_at_once(stage: Stage, end: End, method: str) -> None:
    """Before, while or after the worker has taken note of the connection: whichever comes first, the client is told."""
    async with stage.client() as client:
        await client.send(request(method, "/", body=b"hello"))
        answer = asyncio.create_task(client.response())
        attempts = 0
        while not answer.done():
            connection = asyncio.create_task(stage.connection())
            await asyncio.wait((answer, connection), return_when=asyncio.FIRST_COMPLETED)
            if connection.done():
                attempts += 1
                end(connection.result())
            else:
                connection.cancel()
        assert 1 <= attempts <= 3
        assert (await answer).status == 502
    line = await stage.line()
    assert (line["status"], line["reason"] in ("upstream_closed", "connect_failed")) == (502, True)


@either
@pytest.mark.parametrize("part", [b"H", b"HTTP/1.1 200 OK\r\nContent-", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r"])
async def test_upstream_after_part_of_the_response_head(stage: Stage, end: End, part: bytes) -> None:
    """Never repeated: a byte of a response has come."""
    async with stage.client() as client:
        upstream = await under_way(stage, client, get("/"))
        await upstream.send(part)
        await stage.worker_has_read(upstream)
        end(upstream)
        response = await client.response()
        assert (response.status, b"upstream_closed" in response.body) == (502, True)
        assert stage.no_connection()
    line = await stage.line()
    assert (line["status"], line["reason"], line["upstream_status"]) == (502, "upstream_closed", "502")


@either
async def test_upstream_after_an_interim_response(stage: Stage, end: End) -> None:
    """Never repeated either."""
    async with stage.client() as client:
        upstream = await under_way(stage, client, get("/"))
        await upstream.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
        assert (await client.response()).status == 103
        end(upstream)
        assert (await client.response()).status == 502
        assert stage.no_connection()
    assert (await stage.line())["reason"] == "upstream_closed"


@either
async def test_upstream_after_an_interim_response_http_1_0_cannot_see(stage: Stage, end: End) -> None:
    async with stage.client() as client:
        upstream = await under_way(stage, client, request("GET", "/", version="1.0"))
        await upstream.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
        await stage.worker_has_read(upstream)
        end(upstream)
        assert (await client.response()).status == 502
        assert stage.no_connection()
    assert (await stage.line())["reason"] == "upstream_closed"


def whole(end: End, fields: bytes) -> bool:
    """Whether this end of the connection is also the body's."""
    return end is closes and not fields


@either
@RESPONSES
@by_version
async def test_upstream_after_the_response_head(
    stage: Stage, end: End, fields: bytes, part: bytes, version: str
) -> None:
    async with stage.client() as client:
        upstream = await under_way(stage, client, request("GET", "/", version=version))
        await upstream.send(b"HTTP/1.1 200 OK\r\n" + fields + b"\r\n")
        head = await client.message_head()
        assert head.status == 200
        end(upstream)
        if whole(end, fields):
            assert (await client.message_body(head, until_close=True)).body == b""
        else:
            assert await cut(client, head) == b""
    line = await stage.line()
    assert (line["status"], line["reason"]) == (200, "" if whole(end, fields) else "upstream_closed")


@either
@RESPONSES
@by_version
async def test_upstream_in_the_response_body(stage: Stage, end: End, fields: bytes, part: bytes, version: str) -> None:
    async with stage.client() as client:
        upstream = await under_way(stage, client, request("GET", "/", version=version))
        await upstream.send(b"HTTP/1.1 200 OK\r\n" + fields + b"\r\n" + part)
        head = await client.message_head()
        await stage.worker_has_read(upstream)
        end(upstream)
        if whole(end, fields):
            assert (await client.message_body(head, until_close=True)).body == b"hello"
        else:
            assert await cut(client, head) in (b"hello", b"")
    line = await stage.line()
    assert (line["status"], line["reason"]) == (200, "" if whole(end, fields) else "upstream_closed")


@either
async def test_upstream_between_two_pipelined_requests(stage: Stage, end: End) -> None:
    """The second goes to a new connection, whatever its method: nothing of it can have arrived."""
    async with stage.client() as client:
        upstream = await under_way(stage, client, get("/1"))
        await upstream.send(ok(b"one"))
        assert (await client.response()).body == b"one"
        end(upstream)
        await client.send(request("POST", "/2", body=b"hello") + get("/3"))
        upstream = await stage.connection()
        assert (await upstream.request() or Message(b"", [], b"")).body == b"hello"
        await upstream.send(ok(b"two"))
        await upstream.request()
        await upstream.send(ok(b"three"))
        assert [(await client.response()).body for _ in range(2)] == [b"two", b"three"]
    assert [line["status"] for line in await stage.logged(3)] == [200, 200, 200]


@either
async def test_upstream_after_the_second_pipelined_request(stage: Stage, end: End) -> None:
    """A reused connection dies under a request: that is repeated on a new one."""
    async with stage.client() as client:
        upstream = await under_way(stage, client, get("/1") + get("/2"))
        await upstream.send(ok(b"one"))
        await upstream.request_head()
        end(upstream)
        upstream = await stage.connection()
        await upstream.request_head()
        await upstream.send(ok(b"two"))
        assert [(await client.response()).body for _ in range(2)] == [b"one", b"two"]
    assert [line["upstream_status"] for line in await stage.logged(2)] == ["200", "502, 200"]


@either
async def test_upstream_in_a_response_behind_another_not_read_yet(stage: Stage, end: End) -> None:
    """Cutting the one must not take the other with it, which is whole and on its way."""
    body = bytes(500_000)
    async with stage.client() as client:
        upstream = await under_way(stage, client, get("/1") + get("/2"))
        await upstream.send(ok(body))
        await upstream.request_head()
        await upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
        await stage.worker_has_read(upstream)
        end(upstream)
        lines = await stage.logged(2)
        assert [line["reason"] for line in lines] == ["", "upstream_closed"]
        assert (await client.response()).body == body
        assert await cut(client, await client.message_head()) == b"hello"


# --- both end


@pytest.mark.parametrize("client_end", [closes, resets])
@pytest.mark.parametrize("upstream_end", [closes, resets])
@pytest.mark.parametrize(
    ("data", "answer"),
    [
        (get("/"), b""),
        (LENGTH + b"hello", b""),
        (CHUNKED + b"5\r\nhello\r\n", b""),
        (get("/"), b"HTTP/1.1 200 OK\r\nCont"),
        (get("/"), b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"),
        (get("/"), b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"),
        (get("/"), b"HTTP/1.1 200 OK\r\n\r\nhello"),
        (get("/1") + get("/2"), ok(b"one")),
        (
            request("GET", "/", "Connection: Upgrade", "Upgrade: echo"),
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nhello",
        ),
    ],
    ids=[
        "request",
        "length",
        "chunked",
        "response head",
        "response length",
        "response chunked",
        "until close",
        "pipelined",
        "tunnel",
    ],
)
async def test_both_at_once(stage: Stage, client_end: End, upstream_end: End, data: bytes, answer: bytes) -> None:
    """Nobody is left to tell; nothing of it may stay, and each exchange has its line."""
    async with stage.client() as client:
        upstream = await under_way(stage, client, data)
        if answer:
            await upstream.send(answer)
            await stage.worker_has_read(upstream)
        client_end(client)
        upstream_end(upstream)
    await stage.logged(2 if b"/2" in data else 1)


async def test_no_connection_is_left_of_all_this(stage: Stage) -> None:
    await stage.left.no_connection()
    assert connections(stage.worker) == 0
