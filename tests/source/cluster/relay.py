"""A TCP relay on loopback that passes everything on, until a test has it do something else."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress


class Relay:
    """Between clients and a port, on 127.0.0.1 unless `host` is another."""

    def __init__(self, to: int, host: str) -> None:
        self._to = host, to
        self._writers: set[asyncio.StreamWriter] = set()
        self._passing = asyncio.Event()
        self._passing.set()
        self.port = 0

    def cut(self) -> None:
        """Resets all connections; new ones are served."""
        for writer in self._writers:
            writer.transport.abort()

    def hold(self) -> None:
        """From now on nothing passes, and nothing is closed."""
        self._passing.clear()

    def pass_on(self) -> None:
        """Ends `hold`."""
        self._passing.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self._writers.add(writer)
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._to)
        except OSError:
            writer.transport.abort()
            self._writers.discard(writer)
            return
        self._writers.add(far_writer)
        there, back = self._pass(reader, far_writer), self._pass(far_reader, writer)
        with suppress(ConnectionError):
            await asyncio.gather(there, back)
        for end in (writer, far_writer):
            end.transport.abort()
            self._writers.discard(end)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            await self._passing.wait()
            writer.write(data)
            await writer.drain()
        raise ConnectionResetError  # the other direction ends with it


@asynccontextmanager
async def relay(to: int, host: str = "127.0.0.1") -> AsyncIterator[Relay]:
    made = Relay(to, host)
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        made.pass_on()
        made.cut()
        await asyncio.sleep(0)
