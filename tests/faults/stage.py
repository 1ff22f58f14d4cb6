"""One worker for many cases, and an upstream whose connections the cases play themselves.

    async def test_...(stage: Stage) -> None:
        async with stage.client() as client:
            await client.send(get("/"))
            upstream = await stage.connection()
            await upstream.request()
            upstream.reset()

So that a case reads from top to bottom though it has two ends. What a case leaves open on its own side is closed behind
it, and then the worker must hold nothing any more.
"""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from ingressd.model import AccessLogFormat, Endpoint, Policy, Snapshot, Timeouts
from tests.faults.kernel import outgoing
from tests.faults.left import Left, counted_objects
from tests.kit import DEADLINE, HOST, Client, Closed, Stream, Upstream, Worker, cluster, eventually, get, virtual_host
from tests.kit.upstream import Connection, Script
from tests.kit.worker import SETTINGS

NARROW_BUFFER = 4096
"""Bytes; the kernel doubles it."""

NARROW_SEGMENT = 1460
"""Bytes; as in Ethernet."""

LAST = "last.example"
"""A host nobody serves, whose line in the log says that all before it are there."""

Line = dict[str, Any]
"""An access log line as JSON."""


class Stage:
    """Made by `stage_of`; `end` is called behind each case."""

    def __init__(self, worker: Worker, upstream: Upstream, left: Left, arrived: "asyncio.Queue[Connection]") -> None:
        self.worker = worker
        self.upstream = upstream
        self.left = left
        self._arrived = arrived
        self._clients: list[Client] = []
        self._lines = 0

    def client(self, narrow: bool = False) -> Client:
        """A connection to the worker, opened on entering its block. `narrow`: see `Narrow`."""
        client = Client(self.worker.port, receive_buffer=NARROW_BUFFER if narrow else 0)
        if narrow:
            client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, NARROW_SEGMENT)
        self._clients.append(client)
        return client

    async def connection(self) -> Connection:
        """The next connection that the worker has opened to the upstream."""
        async with asyncio.timeout(DEADLINE):
            return await self._arrived.get()

    def no_connection(self) -> bool:
        """Whether the worker has opened no connection that `connection` did not give out."""
        return self._arrived.empty()

    async def worker_has_read(self, stream: Stream) -> None:
        """Waits until the worker has read everything sent on `stream`."""
        await eventually(lambda: outgoing(stream.socket) == 0, "the worker has read it")

    async def logged(self, count: int = 1) -> list[Line]:
        """The access log lines of this case, `count` of them and no more."""
        lines = [json.loads(line) for line in (await self.worker.logged(self._lines + count))[self._lines :]]
        assert len(lines) == count, lines
        self._lines += count
        return lines

    async def line(self) -> Line:
        """The one access log line of this case."""
        return (await self.logged())[0]

    async def clear(self) -> None:
        """Closes what is open on our side and waits until the worker holds nothing; whatever it logged is well."""
        await self.left.nothing(self._close)
        async with self.client() as client:
            await client.ask(get("/", "Connection: close", host=LAST))
        await eventually(lambda: any(LAST.encode() in line for line in self.worker.log[self._lines :]), "the last line")
        self._lines = len(self.worker.log)

    async def end(self) -> None:
        """Closes what is open on our side; asserts that the worker then holds nothing and has logged no more."""
        await self.left.nothing(self._close)
        self.upstream.requests.clear()
        extra = self.worker.log[self._lines :]
        if extra:
            # Cases to come must not stumble over it.
            await self.clear()
        assert extra == []

    def _close(self) -> None:
        for stream in [*self._clients, *self.upstream.connections]:
            stream.close()
        self._clients.clear()
        self.upstream.connections.clear()
        while not self._arrived.empty():
            self._arrived.get_nowait()


async def gone(stream: Stream) -> None:
    """Waits until the worker has ended its side of this connection, in whichever way."""
    try:
        while await stream.read_some():
            pass
    except Closed:
        pass


class Narrow(Upstream):
    """An upstream to which little fits on its way. Over loopback a kernel takes megabytes before a sender notices that
    nobody reads, because segments are large; over a network, a hundredth of it."""

    def __init__(self, script: Script) -> None:
        super().__init__(script, receive_buffer=NARROW_BUFFER)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, NARROW_SEGMENT)


@contextlib.asynccontextmanager
async def stage_of(
    folder: Path,
    others: Mapping[str, Endpoint] | None = None,
    policies: Mapping[str, Policy] | None = None,
    timeouts: Timeouts | None = None,
    narrow: bool = False,
) -> AsyncIterator[Stage]:
    """A worker with the upstream that a Stage plays; `others` are hosts that go elsewhere, with their `policies`.
    `narrow`: see `Narrow`."""
    arrived: asyncio.Queue[Connection] = asyncio.Queue()

    async def script(connection: Connection) -> None:
        arrived.put_nowait(connection)
        await asyncio.Event().wait()

    settings = msgspec.structs.replace(SETTINGS, access_log=AccessLogFormat.JSON)
    with counted_objects(folder):
        async with (Narrow if narrow else Upstream)(script) as upstream:
            endpoints = {HOST: upstream.endpoint, **(others or {})}
            clusters = {host: cluster(host.split(".")[0], endpoint) for host, endpoint in endpoints.items()}
            snapshot = Snapshot(
                tuple(virtual_host(host, "/", clusters[host], (policies or {}).get(host)) for host in sorted(clusters)),
                tuple(clusters.values()),
            )
            async with Worker(snapshot, settings, timeouts) as worker:
                yield Stage(worker, upstream, await Left.baseline(worker), arrived)
