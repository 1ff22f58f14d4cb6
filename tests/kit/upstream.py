"""Upstreams whose every byte a test decides, in the test's own event loop.

A script is called with each connection and says what happens on it:

    async def script(connection: Stream) -> None:
        request = await connection.request()
        await connection.send(b"HTTP/1.1 200 OK\\r\\nContent-Length: 5\\r\\n\\r\\nhel")
        connection.reset()

`always(bytes)` and `each(function)` make scripts that answer request after request. When a script returns, its
connection is closed. One that ends because the peer went away is fine; any other error fails the test when the
upstream's block is left.
"""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Iterator
from types import TracebackType
from typing import Self

from ingressd.model import Endpoint
from tests.kit.stream import Message, Stream, eventually

Request = Message
Script = Callable[["Connection"], Awaitable[None]]


def ok(body: bytes = b"ok", *fields: str) -> bytes:
    """A response 200 with Content-Length. `fields` are whole lines without CRLF."""
    lines = "".join(f"{line}\r\n" for line in fields)
    return f"HTTP/1.1 200 OK\r\n{lines}Content-Length: {len(body)}\r\n\r\n".encode("latin-1") + body


def chunked(*pieces: bytes, trailers: bytes = b"") -> bytes:
    """A chunked body of these pieces; `trailers` are whole field lines with CRLF."""
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n" + trailers + b"\r\n"


class Connection(Stream):
    """A connection that the proxy opened. `number` counts from 0 in the order of acceptance."""

    def __init__(self, sock: socket.socket, upstream: "Upstream", number: int) -> None:
        super().__init__(sock)
        self.number = number
        self._upstream = upstream

    async def request(self) -> Message | None:
        """As Stream.request; the request is noted in `Upstream.requests`."""
        message = await super().request()
        if message is not None:
            self._upstream.requests.append(message)
        return message

    async def request_head(self) -> Message:
        """The head of the next request, noted in `Upstream.requests`; its body is the script's to read."""
        message = await super().message_head()
        self._upstream.requests.append(message)
        return message


def each(answer: Callable[[Message], bytes]) -> Script:
    """A script that answers every request with what `answer` makes of it."""

    async def script(connection: Connection) -> None:
        while (message := await connection.request()) is not None:
            await connection.send(answer(message))

    return script


def always(response: bytes) -> Script:
    """A script that answers every request with the same bytes."""
    return each(lambda message: response)


class Upstream:
    """Listens on loopback while its block lasts. `connections` and `requests` are all there have been, in order."""

    def __init__(self, script: Script, address: str = "127.0.0.1", port: int = 0, receive_buffer: int = 0) -> None:
        """`receive_buffer` in bytes is for accepted connections; the kernel doubles it."""
        self.connections: list[Connection] = []
        self.requests: list[Message] = []
        self.script = script
        self._errors: list[BaseException] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._socket = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if receive_buffer:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._socket.bind((address, port))
        self._socket.listen(2048)
        self._socket.setblocking(False)
        self.endpoint = Endpoint(address, self._socket.getsockname()[1])

    @property
    def open(self) -> int:
        """How many connections have a script that still runs."""
        return len(self._tasks)

    async def all_closed(self) -> None:
        """Waits until no script runs any more."""
        await eventually(lambda: self.open == 0, f"all connections to {self.endpoint} are closed")

    async def received(self, count: int) -> None:
        """Waits until `count` requests have come in all."""
        await eventually(lambda: len(self.requests) >= count, f"{count} requests at {self.endpoint}")

    async def __aenter__(self) -> Self:
        asyncio.get_running_loop().add_reader(self._socket, self._accept)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()
        running = list(self._tasks)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        for connection in self.connections:
            # A script that was cancelled before it began has closed nothing.
            connection.close()
        if self._errors and error is None:
            raise self._errors[0]
        if self._errors and error is not None:
            # What the proxy is blamed for may have begun here.
            error.add_note(
                f"{len(self._errors)} scripts of {self.endpoint} had failed, the first with {self._errors[0]!r}"
            )

    def _accept(self) -> None:
        try:
            sock, _ = self._socket.accept()
        except BlockingIOError:
            return
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = Connection(sock, self, len(self.connections))
        self.connections.append(connection)
        task = asyncio.get_running_loop().create_task(self._run(connection))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, connection: Connection) -> None:
        try:
            await self.script(connection)
        except ConnectionError:
            pass
        except Exception as error:
            self._errors.append(error)
        finally:
            connection.close()


@contextlib.contextmanager
def deaf_port() -> Iterator[Endpoint]:
    """An endpoint on loopback on which connecting gets no answer: its queue of connections to accept is full."""
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(socket.socket())
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for _ in range(4):
            filling = stack.enter_context(socket.socket())
            filling.setblocking(False)
            filling.connect_ex(listening.getsockname())
        yield Endpoint("127.0.0.1", listening.getsockname()[1])


def refused_port() -> Endpoint:
    """An endpoint on loopback that refuses connections. Its port stays bound, so that nobody else gets it."""
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    endpoint = Endpoint("127.0.0.1", sock.getsockname()[1])
    sock.detach()
    return endpoint
