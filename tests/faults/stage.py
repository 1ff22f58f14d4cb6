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
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from ingressd.model import AccessLogFormat, Endpoint, Policy, Snapshot, Timeouts
from tests.faults.kernel import queued
from tests.faults.left import Left, counted_objects
from tests.kit import DEADLINE, HOST, Client, Stream, Upstream, Worker, cluster, eventually, virtual_host
from tests.kit.upstream import Connection
from tests.kit.worker import SETTINGS

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

    def client(self, receive_buffer: int = 0) -> Client:
        """A connection to the worker, opened on entering its block."""
        client = Client(self.worker.port, receive_buffer=receive_buffer)
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
        await eventually(lambda: queued(stream.socket).all == 0, "the worker has read it")

    async def logged(self, count: int = 1) -> list[Line]:
        """The access log lines of this case, `count` of them and no more."""
        lines = [json.loads(line) for line in (await self.worker.logged(self._lines + count))[self._lines :]]
        assert len(lines) == count, lines
        self._lines += count
        return lines

    async def line(self) -> Line:
        """The one access log line of this case."""
        return (await self.logged())[0]

    async def end(self) -> None:
        """Closes what is open on our side; asserts that the worker then holds nothing and has logged no more."""
        await self.left.nothing(self._close)
        self.upstream.requests.clear()
        extra = self.worker.log[self._lines :]
        self._lines += len(extra)
        assert extra == []

    def _close(self) -> None:
        for stream in [*self._clients, *self.upstream.connections]:
            stream.close()
        self._clients.clear()
        self.upstream.connections.clear()
        while not self._arrived.empty():
            self._arrived.get_nowait()


@contextlib.asynccontextmanager
async def stage_of(
    folder: Path,
    others: Mapping[str, Endpoint] | None = None,
    policies: Mapping[str, Policy] | None = None,
    timeouts: Timeouts | None = None,
) -> AsyncIterator[Stage]:
    """A worker with the upstream that a Stage plays; `others` are hosts that go elsewhere, with their `policies`."""
    arrived: asyncio.Queue[Connection] = asyncio.Queue()

    async def script(connection: Connection) -> None:
        arrived.put_nowait(connection)
        await asyncio.Event().wait()

    settings = msgspec.structs.replace(SETTINGS, access_log=AccessLogFormat.JSON)
    with counted_objects(folder):
        async with Upstream(script) as upstream:
            endpoints = {HOST: upstream.endpoint, **(others or {})}
            clusters = {host: cluster(host.split(".")[0], endpoint) for host, endpoint in endpoints.items()}
            snapshot = Snapshot(
                tuple(virtual_host(host, "/", clusters[host], (policies or {}).get(host)) for host in sorted(clusters)),
                tuple(clusters.values()),
            )
            async with Worker(snapshot, settings, timeouts) as worker:
                yield Stage(worker, upstream, await Left.baseline(worker), arrived)
