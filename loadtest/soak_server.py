"""An upstream server of a soak test, which stops as a well-behaved pod does.

HTTP/1.1 as far as a proxy in front needs it. It answers

- `GET /bytes/N` with N bytes, and `/slow/N` with N bytes in pieces, a tenth of a second between them
- `POST` with the number of bytes that came
- an upgrade to WebSocket with a greeting, and then an echo
- all else with the path.
"""

import asyncio
import contextlib

from soak_http import CONTENT, chunk, read_body, read_head

from ingressd.demo import websocket

LOOPBACK = "127.0.0.1"
STOPPING = 60.0
"""Seconds that a server which stops gives its exchanges."""
GREETING = "hello"
PIECE, SLOW_PIECE = 1 << 16, 1000
SLOW = 0.1
"""Bytes of the pieces of a body, and seconds between the slow ones."""


class Server:
    """`port` is where it listens once it is started."""

    def __init__(self) -> None:
        self.port = 0
        self._listening: asyncio.Server | None = None
        self._stopping = False
        self._open: set[asyncio.StreamWriter] = set()
        self._idle: set[asyncio.StreamWriter] = set()
        self._all_closed = asyncio.Event()

    async def start(self) -> None:
        self._listening = await asyncio.start_server(self._serve, LOOPBACK, 0)
        self.port = self._listening.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Listens no more, closes idle connections, waits for what is under way."""
        assert self._listening is not None
        self._listening.close()
        self._stopping = True
        for writer in self._idle:
            writer.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOPPING):
                while self._open:
                    self._all_closed.clear()
                    await self._all_closed.wait()
        for writer in self._open:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            await self._exchanges(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client may leave at any time
        finally:
            writer.close()
            self._idle.discard(writer)
            self._open.discard(writer)
            if not self._open:
                self._all_closed.set()

    async def _exchanges(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while not self._stopping:
            self._idle.add(writer)
            line, fields = await read_head(reader)
            self._idle.discard(writer)
            if "upgrade" in fields:
                return await websocket.talk(reader, writer, fields["sec-websocket-key"], GREETING)
            post = line.startswith("POST ")
            body = await read_body(reader, fields) if post else None
            await _answer(writer, line.split()[1], body)


async def _answer(writer: asyncio.StreamWriter, path: str, received: bytes | None) -> None:
    """The response to GET, or to a POST of `received`."""
    kind, _, number = path.strip("/").partition("/")
    if received is not None:
        await _send(writer, str(len(received)).encode(), PIECE, 0.0)
    elif kind == "bytes":
        await _send(writer, CONTENT[: int(number)], PIECE, 0.0)
    elif kind == "slow":
        await _send(writer, CONTENT[: int(number)], SLOW_PIECE, SLOW)
    else:
        await _send(writer, path.encode(), PIECE, 0.0)


async def _send(writer: asyncio.StreamWriter, body: bytes, step: int, pause: float) -> None:
    """A response; one of an odd length comes in chunks."""
    chunked = len(body) % 2 == 1
    framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(body)}"
    writer.write(f"HTTP/1.1 200 OK\r\n{framing}\r\n\r\n".encode())
    for at in range(0, len(body), step):
        piece = body[at : at + step]
        writer.write(chunk(piece) if chunked else piece)
        await writer.drain()
        await asyncio.sleep(pause)
    if chunked:
        writer.write(chunk(b""))
    await writer.drain()
