"""A client's connection that repeats nothing and forgives nothing: what is cut or wrong is an error.

HTTP client libraries send a request again when a connection that was reused fails; a soak test has to see that.
"""

import asyncio
import os
import socket
import ssl
import struct
from types import TracebackType

from soak_http import chunk, read_body, read_head
from soak_server import GREETING, LOOPBACK

from ingressd.demo import websocket

TIMEOUT = 30.0
"""Seconds for anything that is waited for."""
_TEXT, _BINARY, _CLOSE = 0x81, 0x82, 0x88
"""First bytes of WebSocket frames; of the second, the bit that says masked."""
_MASKED = 0x80


class Failed(Exception):
    """An exchange did not go as it must. The text says how."""


def head(method: str, host: str, path: str, *fields: str) -> bytes:
    """The head of a request. `fields` are whole lines."""
    return "\r\n".join((f"{method} {path} HTTP/1.1", f"Host: {host}", *fields, "", "")).encode()


class Connection:
    """A connection to `port`, opened on entering its block and closed on leaving it. A `receive_buffer` (bytes) lets
    the client push back soon. With `tls` it is encrypted, and the server has to show a certificate for `name`."""

    def __init__(self, port: int, receive_buffer: int = 0, tls: ssl.SSLContext | None = None, name: str = "") -> None:
        self._port = port
        self._receive_buffer = receive_buffer
        self._tls = tls
        self._name = name
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter

    async def __aenter__(self) -> "Connection":
        sock = socket.socket()
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._receive_buffer:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_buffer)
            async with asyncio.timeout(TIMEOUT):
                await asyncio.get_running_loop().sock_connect(sock, (LOOPBACK, self._port))
            limit = self._receive_buffer or 1 << 16
            async with asyncio.timeout(TIMEOUT):
                self._reader, self._writer = await asyncio.open_connection(
                    sock=sock, limit=limit, ssl=self._tls, server_hostname=self._name if self._tls else None
                )
        except BaseException:
            sock.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.transport.abort()

    async def send(self, data: bytes) -> None:
        async with asyncio.timeout(TIMEOUT):
            self._writer.write(data)
            await self._writer.drain()

    async def send_slowly(self, data: bytes, pieces: int, pause: float) -> None:
        """In so many pieces, with as many seconds before each."""
        step = len(data) // pieces + 1
        for at in range(0, len(data), step):
            await asyncio.sleep(pause)
            await self.send(data[at : at + step])

    def reset(self) -> None:
        """Ends the connection by a reset."""
        sock = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    async def ask(self, method: str, host: str, path: str, body: bytes = b"", *, chunked: bool = False) -> bytes:
        """One exchange; gives the body of the response. Raises Failed unless the status is 200."""
        if chunked:
            chunks = [chunk(body[at : at + 50_000]) for at in range(0, len(body), 50_000)]
            await self.send(head(method, host, path, "Transfer-Encoding: chunked") + b"".join([*chunks, chunk(b"")]))
        else:
            await self.send(head(method, host, path, f"Content-Length: {len(body)}") + body)
        return await self.response()

    async def response(self, pause: float = 0.0) -> bytes:
        """The body of a response; `pause` is slept before each read of it. Raises Failed unless the status is 200."""
        async with asyncio.timeout(TIMEOUT):
            line, fields = await read_head(self._reader)
            body = await read_body(self._reader, fields, pause)
        if line.split()[1] != "200":
            raise Failed(f"{line}: {body[:200]!r}")
        return body

    async def upgrade(self, host: str) -> None:
        """Makes it a WebSocket. Raises Failed if that is refused."""
        key = "dGhlIHNhbXBsZSBub25jZQ=="
        fields = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key}")
        await self.send(head("GET", host, "/websocket", *fields))
        async with asyncio.timeout(TIMEOUT):
            line, received = await read_head(self._reader)
        if line.split()[1] != "101" or received.get("sec-websocket-accept") != websocket.accept_value(key):
            raise Failed(f"no WebSocket: {line}")
        await self._hear(websocket.frame(_TEXT, f"{GREETING}\n".encode()))

    async def echo(self, payload: bytes) -> None:
        """Sends a message and waits for it. Raises Failed if another comes."""
        sent = websocket.frame(_BINARY, payload)
        body = len(sent) - len(payload)
        # Masked by zeros, which changes nothing: the proxy does not look, and the server follows the protocol.
        await self.send(sent[:1] + bytes((sent[1] | _MASKED,)) + sent[2:body] + bytes(4) + payload)
        await self._hear(sent)

    async def close_websocket(self) -> None:
        """Says goodbye and waits for the answer, and for the end of the connection."""
        await self.send(bytes((_CLOSE, _MASKED)) + bytes(4))
        await self._hear(websocket.frame(_CLOSE, b""))
        async with asyncio.timeout(TIMEOUT):
            if await self._reader.read(1):
                raise Failed("something came behind the close frame")

    async def _hear(self, expected: bytes) -> None:
        async with asyncio.timeout(TIMEOUT):
            heard = await self._reader.readexactly(len(expected))
        if heard != expected:
            raise Failed(f"{heard[:100]!r} came in place of {expected[:100]!r}")


def resumed(port: int, tls: ssl.SSLContext, name: str, times: int) -> None:
    """A session that is begun, and resumed `times` times, with a request on each connection. Waits, for threads. Raises
    Failed if one is not resumed."""
    session = None
    for number in range(times + 1):
        with (
            socket.create_connection((LOOPBACK, port), TIMEOUT) as plain,
            tls.wrap_socket(plain, server_hostname=name, session=session) as connection,
        ):
            if connection.session_reused != (number > 0):
                raise Failed(f"the session was {'not ' if number else ''}resumed")
            connection.sendall(head("GET", name, "/hello", "Connection: close"))
            received = b""
            while data := connection.recv(65536):
                received += data
            if not received.startswith(b"HTTP/1.1 200 ") or b"/hello" not in received:
                raise Failed(f"not the answer to /hello: {received!r}")
            session = connection.session


def random_bytes(most: int) -> bytes:
    """Up to `most` of them."""
    return os.urandom(int.from_bytes(os.urandom(4), "big") % (most + 1))
