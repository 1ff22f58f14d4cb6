"""A peer that stops taking bytes stops the one that sends them, and the worker holds little of what lies between.

How much it holds is counted, not guessed: what the sender has sent, less what the kernel has of it on both connections.
"""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.faults.kernel import incoming, outgoing
from tests.faults.stage import Stage, gone, stage_of
from tests.kit import Client, Message, Stream, chunked, get, ok, request
from tests.kit.upstream import Connection

pytestmark = pytest.mark.asyncio(loop_scope="module")

HELD = 640 * 1024
"""Bytes the worker may hold for one direction: the high-water mark of a transport (64 KiB), and what was read before it
was reached (256 KiB), in both of its encodings while a chunk is made of it."""

PATTERN = bytes(range(256)) * 256
CHUNK = b"%x\r\n%b\r\n" % (len(PATTERN), PATTERN)

UPGRADE = request("GET", "/", "Connection: Upgrade", "Upgrade: echo")
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"
PUT = request("PUT", "/", "Content-Length: 1099511627776")
PUT_CHUNKED = request("PUT", "/", "Transfer-Encoding: chunked")
OLD = request("GET", "/", version="1.0")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    async with stage_of(tmp_path_factory.mktemp("pressure"), narrow=True) as stage:
        yield stage


@pytest_asyncio.fixture(loop_scope="module")
async def stage(shared: Stage) -> AsyncIterator[Stage]:
    yield shared
    await shared.end()


async def payload(stream: Stream, count: int, in_chunks: bool) -> None:
    """Reads at least `count` bytes of a body made of PATTERN, and compares them."""
    have = 0
    while have < count:
        piece = await stream.chunk(Message(b"", [], b"")) if in_chunks else await stream.read_some()
        assert piece, f"the end after {have} bytes"
        at = have % len(PATTERN)
        assert piece == (PATTERN * (len(piece) // len(PATTERN) + 2))[at : at + len(piece)]
        have += len(piece)


async def stalls(stage: Stage, sender: Stream, receiver: Stream, unit: bytes, taken: int = 0) -> int:
    """Sends `unit` over and over until nobody takes any more, with `receiver` not reading. Returns how many bytes were
    sent. `taken` is how many bytes more than that are between the two."""
    before = stage.worker.resident()
    sent = await sender.fill(unit)
    held = taken + sent - outgoing(sender.socket) - incoming(receiver.socket)
    assert held <= HELD, f"{held} of {sent} bytes"
    assert stage.worker.resident() - before < 4 << 20
    return sent


async def head_of(stage: Stage) -> Connection:
    upstream = await stage.connection()
    await upstream.request_head()
    return upstream


@pytest.mark.alone
@pytest.mark.parametrize(
    ("asked", "answer", "unit", "in_chunks"),
    [
        (get(), b"HTTP/1.1 200 OK\r\nContent-Length: 1099511627776\r\n\r\n", PATTERN, False),
        (get(), b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", CHUNK, True),
        (get(), b"HTTP/1.1 200 OK\r\n\r\n", PATTERN, True),
        (OLD, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", CHUNK, False),
        (OLD, b"HTTP/1.1 200 OK\r\n\r\n", PATTERN, False),
        (UPGRADE, SWITCHED, PATTERN, False),
    ],
    ids=["length", "chunked", "until-close", "chunked to 1.0", "until-close to 1.0", "tunnel"],
)
async def test_client_stops(stage: Stage, asked: bytes, answer: bytes, unit: bytes, in_chunks: bool) -> None:
    async with stage.client(narrow=True) as client:
        await client.send(asked)
        upstream = await head_of(stage)
        await upstream.send(answer)
        await client.message_head()
        sent = await stalls(stage, upstream, client, unit)
        # It reads again: everything comes, and the upstream is heard again.
        whole = sent // len(unit) * len(PATTERN)
        await payload(client, whole, in_chunks)
        await upstream.send(unit[sent % len(unit) :] + unit)
    await stage.logged()


@pytest.mark.alone
@pytest.mark.parametrize(
    ("asked", "answer", "unit", "in_chunks"),
    [
        (PUT, b"", PATTERN, False),
        (PUT_CHUNKED, b"", CHUNK, True),
        (UPGRADE, SWITCHED, PATTERN, False),
        (PUT, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", PATTERN, False),
    ],
    ids=["length", "chunked", "tunnel", "response begun"],
)
async def test_upstream_stops(stage: Stage, asked: bytes, answer: bytes, unit: bytes, in_chunks: bool) -> None:
    async with stage.client() as client:
        await client.send(asked)
        upstream = await head_of(stage)
        if answer:
            await upstream.send(answer)
            await client.message_head()
        sent = await stalls(stage, client, upstream, unit)
        await payload(upstream, sent // len(unit) * len(PATTERN), in_chunks)
        await client.send(unit[sent % len(unit) :] + unit)
        upstream.reset()
    await stage.logged()


@pytest.mark.alone
@pytest.mark.parametrize("asked", [PUT, PUT_CHUNKED], ids=["length", "chunked"])
async def test_upstream_takes_nothing_of_a_body_that_came_with_the_head(stage: Stage, asked: bytes) -> None:
    """The first bytes written to a new connection are already more than it takes."""
    unit = PATTERN if asked is PUT else CHUNK
    async with stage.client() as client:
        await client.send(asked + unit * 4)
        upstream = await stage.connection()
        await stalls(stage, client, upstream, unit, len(unit) * 4)
        await upstream.request_head()
        await payload(upstream, len(PATTERN) * 4, asked is PUT_CHUNKED)
        upstream.close()
    await stage.logged()


@pytest.mark.alone
async def test_client_sends_requests_without_end_while_one_is_under_way(stage: Stage) -> None:
    async with stage.client() as client:
        await client.send(get("/first"))
        upstream = await head_of(stage)
        await stalls(stage, client, upstream, get("/next") * 100)
        await upstream.send(ok())
        assert (await client.response()).status == 200
        await upstream.request_head()
    await stage.clear()


@pytest.mark.alone
async def test_client_takes_no_response_to_requests_without_end(stage: Stage) -> None:
    """Responses of our own need no upstream to push back."""
    async with stage.client(narrow=True) as client:
        sent = await client.fill(get("/", host="nobody.example") * 100)
        assert outgoing(client.socket) > 0
        lines = len(stage.worker.log)
        assert 100 < lines < sent // len(get("/", host="nobody.example"))
        client.reset()
    await stage.clear()


@pytest.mark.alone
@pytest.mark.parametrize("both", [False, True], ids=["one stops", "both stop"])
async def test_tunnel_stops_both_ways(stage: Stage, both: bool) -> None:
    """Neither direction waits for the other."""
    async with stage.client(narrow=True) as client:
        await client.send(UPGRADE)
        upstream = await head_of(stage)
        await upstream.send(SWITCHED)
        await client.message_head()
        down = await stalls(stage, upstream, client, PATTERN)
        if both:
            up = await stalls(stage, client, upstream, PATTERN)
            await payload(upstream, up, False)
        else:
            for _ in range(20):
                await client.send(b"ping")
                assert await upstream.read_exactly(4) == b"ping"
        await payload(client, down, False)
        client.reset()
    await stage.logged()


# --- the end of a stream that waits in the worker


async def tunnel(stage: Stage, client: Client) -> Connection:
    await client.send(UPGRADE)
    upstream = await head_of(stage)
    await upstream.send(SWITCHED)
    await client.message_head()
    return upstream


@pytest.mark.alone
async def test_upstream_ends_its_half_while_the_client_stops(stage: Stage) -> None:
    """All that was sent before the end arrives before it, and the other half goes on."""
    async with stage.client(narrow=True) as client:
        upstream = await tunnel(stage, client)
        sent = await stalls(stage, upstream, client, PATTERN)
        upstream.half_close()
        await payload(client, sent, False)
        assert await client.read_some() == b""
        for _ in range(3):
            await client.send(b"still here")
            assert await upstream.read_exactly(10) == b"still here"
        client.half_close()
        assert await upstream.read_some() == b""
    assert (await stage.line())["status"] == 101


@pytest.mark.alone
async def test_client_ends_its_half_while_the_upstream_stops(stage: Stage) -> None:
    async with stage.client() as client:
        upstream = await tunnel(stage, client)
        sent = await stalls(stage, client, upstream, PATTERN)
        client.half_close()
        await payload(upstream, sent, False)
        assert await upstream.read_some() == b""
        for _ in range(3):
            await upstream.send(b"still here")
            assert await client.read_exactly(10) == b"still here"
        upstream.half_close()
        assert await client.read_some() == b""
    assert (await stage.line())["status"] == 101


@pytest.mark.alone
@pytest.mark.parametrize("first", ["client", "upstream"])
async def test_a_side_stops_after_the_other_has_ended_its_half(stage: Stage, first: str) -> None:
    """An end that was seen is not seen again when reading goes on behind back-pressure."""
    async with stage.client(narrow=True) as client:
        upstream = await tunnel(stage, client)
        ender, other = (client, upstream) if first == "client" else (upstream, client)
        await ender.send(b"bye")
        ender.half_close()
        assert await other.read_until(b"bye") == b"bye"
        assert await other.read_some() == b""
        for _ in range(2):
            sent = await stalls(stage, other, ender, PATTERN)
            await payload(ender, sent, False)
        await other.send(b"end")
        assert await ender.read_until(b"end")
        other.half_close()
        assert await ender.read_some() == b""
    assert (await stage.line())["status"] == 101


@pytest.mark.alone
@pytest.mark.parametrize("slow", ["client", "upstream"])
async def test_both_halves_ended_while_one_side_stops(stage: Stage, slow: str) -> None:
    """What was sent before both ends still arrives, however long the slow side takes."""
    async with stage.client(narrow=True) as client:
        upstream = await tunnel(stage, client)
        sender, receiver = (upstream, client) if slow == "client" else (client, upstream)
        sent = await stalls(stage, sender, receiver, PATTERN)
        receiver.half_close()
        assert await sender.read_some() == b""
        sender.half_close()
        await payload(receiver, sent, False)
        assert await receiver.read_some() == b""
    assert (await stage.line())["status"] == 101


@pytest.mark.alone
@pytest.mark.parametrize("slow", ["client", "upstream"])
@pytest.mark.parametrize("who", ["client", "upstream"])
@pytest.mark.parametrize("how", ["close", "reset"])
async def test_a_side_goes_while_one_stops(stage: Stage, slow: str, who: str, how: str) -> None:
    """The worker reads nothing from a side it holds back, and notices at the latest when it does again."""
    async with stage.client(narrow=True) as client:
        upstream = await tunnel(stage, client)
        sender, receiver = (upstream, client) if slow == "client" else (client, upstream)
        sent = await stalls(stage, sender, receiver, PATTERN)
        goes, other = (client, upstream) if who == "client" else (upstream, client)
        if how == "reset":
            goes.reset()
        else:
            goes.close()
        if other is receiver and how == "close":
            await payload(receiver, sent, False)
        await gone(other)
        other.close()
    await stage.logged()


@pytest.mark.alone
async def test_a_response_that_ends_while_the_client_stops(stage: Stage) -> None:
    """The upstream's connection is as good as new, though held back at the end, and the client gets all of it."""
    body = PATTERN * 40
    async with stage.client(narrow=True) as client:
        await client.send(get("/1"))
        upstream = await head_of(stage)
        await upstream.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        sent = await stalls(stage, upstream, client, CHUNK)
        whole = chunked(*[PATTERN] * (sent // len(CHUNK) + 2))
        first, _ = await asyncio.gather(client.response(), upstream.send(whole[sent:]))
        assert first.body == PATTERN * (sent // len(CHUNK) + 2)
        await client.send(get("/2"))
        await upstream.request_head()
        second, _ = await asyncio.gather(client.response(), upstream.send(ok(body)))
        assert second.body == body
    await stage.logged(2)
