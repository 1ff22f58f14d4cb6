"""The HTTP server of a pod, run in its namespace: `python pod.py NAME PORT CONTROL`. Of the standard library alone.

    GET /            its name
    GET /drip/N      N pieces of a chunked body, 20 ms apart
    GET /big/N       N bytes
    POST /           its name and the SHA-1 of the body; the field X-Test-Id is counted
    GET /echo        upgrades, and then sends back what comes

On SIGTERM it does what a well-behaved pod does: takes no more connections, ends the exchanges under way, closes the
idle connections, and exits with 0. CONTROL is the path of a Unix socket that takes a line:

    mode MODE        from now on: ok, reset, mute, trickle, garbage, head
    posts            the X-Test-Ids of all POSTs, comma separated
"""

import asyncio
import contextlib
import hashlib
import signal
import socket
import struct
import sys

OK = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%s\r\n"


class Server:
    """Serves connections until `stop`; `run` returns when the last of them is closed."""

    def __init__(self, name: str) -> None:
        self._name = name.encode()
        self._mode = "ok"
        self._changed = asyncio.Event()
        """Set once the mode is another."""
        self._posts: list[bytes] = []
        self._stopping = asyncio.Event()
        self._idle: set[asyncio.StreamWriter] = set()
        self._connections: set[asyncio.Task[None]] = set()

    async def run(self, port: int, control: str) -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._stopping.set)
        async with await asyncio.start_unix_server(self._control, control):
            server = await asyncio.start_server(self._connection, None, port, backlog=1024)
            print("ready", flush=True)
            await self._stopping.wait()
            server.close()
            for writer in self._idle:
                writer.close()
            await asyncio.gather(*self._connections, return_exceptions=True)

    async def _control(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        words = (await reader.readline()).decode().split()
        if words[0] == "mode":
            self._mode = words[1]
            self._changed.set()
            self._changed = asyncio.Event()
        writer.write(b",".join(self._posts) if words[0] == "posts" else b"ok")
        await writer.drain()
        writer.close()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while not self._stopping.is_set():
                self._idle.add(writer)
                head = await reader.readuntil(b"\r\n\r\n")
                self._idle.discard(writer)
                if not await self._answer(head, reader, writer):
                    break
        self._idle.discard(writer)
        self._connections.discard(task)
        writer.close()

    async def _answer(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection may go on."""
        line, *rest = head.split(b"\r\n")
        method, path, _ = line.split(b" ")
        fields = {name.lower(): value.strip() for name, _, value in (each.partition(b":") for each in rest)}
        body = await reader.readexactly(int(fields.get(b"content-length", b"0")))
        if method == b"POST":
            self._posts.append(fields.get(b"x-test-id", b""))
        if self._mode != "ok":
            return await self._fail(writer)
        last = b"Connection: close\r\n" if self._stopping.is_set() else b""
        what, _, number = path[1:].partition(b"/")
        if what == b"echo":
            writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
            return False
        if what == b"drip":
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n" + last + b"\r\n")
            for _ in range(int(number)):
                writer.write(b"4\r\ndrip\r\n")
                await writer.drain()
                await asyncio.sleep(0.02)
            writer.write(b"0\r\n\r\n")
        elif what == b"big":
            writer.write(OK % (int(number), last))
            for at in range(0, int(number), 65536):
                writer.write(b"b" * min(65536, int(number) - at))
                await writer.drain()
        else:
            text = self._name
            if method == b"POST":
                text += b" " + hashlib.sha1(body).hexdigest().encode()
            writer.write(OK % (len(text), last) + text)
        await writer.drain()
        return not last

    async def _fail(self, writer: asyncio.StreamWriter) -> bool:
        mode = self._mode
        if mode == "reset":
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        elif mode == "mute":
            await self._changed.wait()
        elif mode == "trickle":
            for at in range(60):
                writer.write((OK % (1000, b"") + b"x" * 1000)[at : at + 1])
                await writer.drain()
                if self._mode != mode:
                    break
                await asyncio.sleep(1)
        elif mode == "garbage":
            writer.write(b"\x16\x03\x01 what is this\r\n\r\n")
        elif mode == "head":
            writer.write(OK % (1000, b""))
        return False


if __name__ == "__main__":
    asyncio.run(Server(sys.argv[1]).run(int(sys.argv[2]), sys.argv[3]))
