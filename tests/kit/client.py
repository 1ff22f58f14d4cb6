"""The client's side: connections to a worker, and bytes of requests."""

import asyncio
import socket
from types import TracebackType

from tests.kit.model import HOST
from tests.kit.stream import DEADLINE, Message, Stream


def request(
    method: str = "GET",
    target: str = "/",
    *fields: str,
    host: str = HOST,
    body: bytes | None = None,
    version: str = "1.1",
) -> bytes:
    """A request with Host and, if there is a body, Content-Length. `fields` are whole lines without CRLF."""
    lines = [f"{method} {target} HTTP/{version}", f"Host: {host}", *fields]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + (body or b"")


def get(target: str = "/", *fields: str, host: str = HOST) -> bytes:
    """A GET request."""
    return request("GET", target, *fields, host=host)


class Client(Stream):
    """A connection to `port`, opened on entering its block. `receive_buffer` in bytes makes a client that soon
    pushes back; the kernel doubles it."""

    def __init__(self, port: int, address: str = "127.0.0.1", source: str = "", receive_buffer: int = 0) -> None:
        sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if source:
            sock.bind((source, 0))
        super().__init__(sock)
        self._to = (address, port)

    async def __aenter__(self) -> "Client":
        try:
            async with asyncio.timeout(DEADLINE):
                await asyncio.get_running_loop().sock_connect(self.socket, self._to)
        except BaseException:
            self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def ask(self, data: bytes) -> Message:
        """Sends one request and reads its response."""
        await self.send(data)
        return await self.response(head_only=data.startswith(b"HEAD "))
