"""A thousand bodies at once through one worker, up and down, in every framing: each whole, and the memory bounded."""

import asyncio
import contextlib
import resource
import zlib
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.faults.left import Left, counted_objects
from tests.kit import Client, Message, Stream, Upstream, Worker, eventually, pause, request, serving
from tests.kit.upstream import Connection

STREAMS = 1000
BLOCK = bytes(range(256)) * 256
BLOCKS = 8
"""Of 64 KiB, in each body."""

STOPPED = 640 * 1024
"""Bytes the worker may need for a body whose receiver has stopped: twice what is read at once (256 KiB), because a part
of one read still waits when the next is added to it, and the objects of two connections and an exchange."""

FLOWING = 256 * 1024
"""Bytes it may need for each of them while their receivers read."""

KEPT = 128 << 20
"""Bytes by which its resident memory may have risen when all is over: what the allocator keeps of it for the next."""

KINDS = (("GET", "length"), ("PUT", "length"), ("GET", "chunked"), ("PUT", "chunked"), ("GET", "close"))
ROOM = 3 * STREAMS + 200
"""File descriptors for both ends in this process, or for the worker."""


@dataclass(frozen=True)
class Body:
    """The body of stream `number`: blocks that begin with their place in it, so that none can stand for another."""

    number: int

    @property
    def kind(self) -> tuple[str, str]:
        """Method and framing."""
        return KINDS[self.number % len(KINDS)]

    def block(self, index: int) -> bytes:
        return b"%8d %8d " % (self.number, index) + BLOCK[18:]

    @property
    def checksum(self) -> int:
        value = 0
        for index in range(BLOCKS):
            value = zlib.crc32(self.block(index), value)
        return value

    @property
    def fields(self) -> list[str]:
        """Those that frame it."""
        size = BLOCKS * len(BLOCK)
        return {"length": [f"Content-Length: {size}"], "chunked": ["Transfer-Encoding: chunked"], "close": []}[
            self.kind[1]
        ]

    async def send(self, stream: Stream, start: int, end: int) -> None:
        """Blocks `start` to `end`, and what ends the body behind the last."""
        for index in range(start, end):
            block = self.block(index)
            await stream.send(b"%x\r\n%b\r\n" % (len(block), block) if self.kind[1] == "chunked" else block, 60)
        if end == BLOCKS and self.kind[1] == "chunked":
            await stream.send(b"0\r\n\r\n", 60)

    async def receive(self, stream: Stream, head: Message) -> None:
        """Reads it as the other end framed it, and asserts that it is this one."""
        checksum = size = 0
        in_chunks = head.get(b"transfer-encoding") is not None
        while size < BLOCKS * len(BLOCK):
            piece = await stream.chunk(Message(b"", [], b"")) if in_chunks else await stream.read_some()
            assert piece, f"body {self.number} ends after {size} bytes"
            checksum = zlib.crc32(piece, checksum)
            size += len(piece)
        assert (size, checksum) == (BLOCKS * len(BLOCK), self.checksum)
        if in_chunks:
            assert await stream.chunk(Message(b"", [], b"")) == b""


class Together:
    """Lets nobody pass before all have come."""

    def __init__(self, count: int) -> None:
        self._missing = count
        self._all = asyncio.Event()
        self.open = asyncio.Event()
        """Set by the test: all go on."""

    async def come(self) -> None:
        self._missing -= 1
        if not self._missing:
            self._all.set()
        await self.open.wait()

    async def all(self) -> None:
        """Waits until all have come."""
        async with asyncio.timeout(60):
            await self._all.wait()


@pytest.fixture(autouse=True)
def many_files() -> Iterator[None]:
    """Both ends of all connections are in this process; a worker gets the same limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < ROOM:
        resource.setrlimit(resource.RLIMIT_NOFILE, (ROOM, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


Play = Callable[[Connection, Body, Message], Coroutine[Any, Any, None]]


class Rig:
    """A worker, and the upstream of all streams, whose part is `play`."""

    def __init__(self) -> None:
        self.upstream = Upstream(self._script)
        self.play: Play
        self.worker: Worker

    async def _script(self, connection: Connection) -> None:
        head = await connection.request_head()
        await self.play(connection, Body(int(head.target[1:])), head)


@pytest_asyncio.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    rig = Rig()
    with counted_objects(tmp_path):
        async with Worker(serving(rig.upstream)) as rig.worker:
            left = await Left.baseline(rig.worker)
            async with rig.upstream:
                yield rig
            await left.no_connection()


async def exchange(rig: Rig, number: int, half_way: Together) -> None:
    """The client's side."""
    body = Body(number)
    method, _ = body.kind
    async with Client(rig.worker.port) as client:
        if method == "GET":
            await client.send(request("GET", f"/{number}"))
            await body.receive(client, await client.message_head())
            return
        await client.send(request("PUT", f"/{number}", *body.fields))
        await body.send(client, 0, BLOCKS // 2)
        await half_way.come()
        await body.send(client, BLOCKS // 2, BLOCKS)
        assert (await client.response()).status == 200


@contextlib.asynccontextmanager
async def highest_memory(worker: Worker, highest: list[int]) -> AsyncIterator[None]:
    """Adds the highest resident memory of the worker while the block lasts."""
    seen = [0]

    async def look() -> None:
        while True:
            seen[0] = max(seen[0], worker.resident())
            await pause(0.02)

    looking = asyncio.create_task(look())
    try:
        yield
    finally:
        looking.cancel()
        highest.append(seen[0])


@pytest.mark.alone
@pytest.mark.slow
async def test_a_thousand_bodies_at_once(rig: Rig) -> None:
    async def play(connection: Connection, body: Body, head: Message) -> None:
        if body.kind[0] == "GET":
            await connection.send("\r\n".join(("HTTP/1.1 200 OK", *body.fields, "", "")).encode())
            await body.send(connection, 0, BLOCKS // 2)
            await half_way.come()
            await body.send(connection, BLOCKS // 2, BLOCKS)
        else:
            await body.receive(connection, head)
            await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    rig.play = play
    idle = rig.worker.resident()
    highest: list[int] = []
    for _ in range(2):
        half_way = Together(STREAMS)
        async with asyncio.TaskGroup() as group, highest_memory(rig.worker, highest):
            streams = [group.create_task(exchange(rig, number, half_way)) for number in range(STREAMS)]
            await half_way.all()
            assert rig.worker.descriptors() > 2 * STREAMS
            half_way.open.set()
            await asyncio.wait(streams)
        await eventually(lambda: rig.worker.resident() - idle <= KEPT, "memory is given back")
    print(f"idle {idle >> 20} MiB, highest {max(highest) >> 20} MiB, after {rig.worker.resident() >> 20} MiB")
    assert max(highest) - idle <= STREAMS * FLOWING


@pytest.mark.alone
@pytest.mark.slow
async def test_a_thousand_receivers_that_stop(rig: Rig) -> None:
    """Each sender is held back, and then everything arrives."""
    endless = BLOCK * 16

    async def play(connection: Connection, body: Body, head: Message) -> None:
        if body.number % 2:
            await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (1 << 40))
            await stall(connection)
        else:
            await stalled.come()

    async def ask(number: int) -> None:
        async with Client(rig.worker.port, receive_buffer=4096) as client:
            if number % 2:
                await client.send(request("GET", f"/{number}"))
                await stalled.open.wait()
            else:
                await client.send(request("PUT", f"/{number}", f"Content-Length: {1 << 40}"))
                await stall(client)

    async def stall(sender: Stream) -> None:
        await sender.fill(endless, quiet=1.0)
        await stalled.come()

    rig.play = play
    stalled = Together(STREAMS + STREAMS // 2)
    idle = rig.worker.resident()
    async with asyncio.TaskGroup() as group:
        for number in range(STREAMS):
            group.create_task(ask(number))
        await stalled.all()
        rise = rig.worker.resident() - idle
        print(f"idle {idle >> 20} MiB, risen by {rise >> 20} MiB, {rise // STREAMS >> 10} KiB for each")
        assert rise <= STREAMS * STOPPED
        stalled.open.set()
    await rig.upstream.all_closed()
    await eventually(lambda: rig.worker.resident() - idle <= KEPT, "memory is given back")
