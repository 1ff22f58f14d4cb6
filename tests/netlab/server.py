"""The HTTP server of a pod, run in its namespace: `python server.py NAME PORT`. Of the standard library alone.

It answers each request with its name. On SIGTERM it does what a well-behaved pod does: takes no more connections, ends
the exchanges under way, closes the idle connections, and exits with 0.
"""

import asyncio
import contextlib
import signal
import sys


class Server:
    """Serves connections until `stop`; `run` returns when the last of them is closed."""

    def __init__(self, name: str) -> None:
        self._body = f"{name}\n".encode()
        self._stopping = asyncio.Event()
        self._idle: set[asyncio.StreamWriter] = set()

    async def run(self, port: int) -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._stopping.set)
        server = await asyncio.start_server(self._connection, None, port)
        print("ready", flush=True)
        await self._stopping.wait()
        server.close()
        for writer in self._idle:
            writer.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*others, return_exceptions=True)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while not self._stopping.is_set():
                self._idle.add(writer)
                head = await reader.readuntil(b"\r\n\r\n")
                self._idle.discard(writer)
                if b"\r\nexpect: 100-continue\r\n" in head.lower():
                    writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                await _skip_body(reader, head.lower())
                last = "Connection: close\r\n" if self._stopping.is_set() else ""
                fields = f"Content-Type: text/plain\r\nContent-Length: {len(self._body)}\r\n{last}"
                body = b"" if head.startswith(b"HEAD ") else self._body
                writer.write(f"HTTP/1.1 200 OK\r\n{fields}\r\n".encode() + body)
                await writer.drain()
        self._idle.discard(writer)
        writer.close()


async def _skip_body(reader: asyncio.StreamReader, head: bytes) -> None:
    fields = dict(line.partition(b":")[::2] for line in head.split(b"\r\n")[1:])
    if fields.get(b"transfer-encoding", b"").strip() == b"chunked":
        while size := int((await reader.readline()).partition(b";")[0], 16):
            await reader.readexactly(size + 2)
        while await reader.readline() != b"\r\n":
            pass
    else:
        await reader.readexactly(int(fields.get(b"content-length", b"0")))


if __name__ == "__main__":
    asyncio.run(Server(sys.argv[1]).run(int(sys.argv[2])))
