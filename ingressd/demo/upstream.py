"""Small upstream servers, one for each address that the EndpointSlices of the demo name.

They stand in for pods: each answers with its name, its address and the head of the request as it arrived, and talks
WebSocket to those who ask for it. HTTP/1.1 as far as a proxy in front needs it, and no further.
"""

import asyncio
import contextlib
import errno
import socket
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import yaml

from ingressd.demo import websocket

Fields = Mapping[str, str]
"""Field names in lower case -> values."""


class DemoError(Exception):
    """The demo cannot start. The text is for the user, one line."""


class Server(NamedTuple):
    """One of them: `name` is that of the pod it stands in for."""

    name: str
    address: str
    port: int

    def __str__(self) -> str:
        return f"server {self.name} ({self.address}:{self.port})"


def named_servers(manifests: Path) -> list[Server]:
    """The servers that the EndpointSlices in `manifests` (a directory) count on, each once. Raises DemoError."""
    if not manifests.is_dir():
        raise DemoError(f"--manifests: there is no directory {manifests}: run this in a checkout, or say where it is")
    found: dict[tuple[str, int], Server] = {}
    for file in sorted(manifests.glob("*.yaml")):
        for document in yaml.safe_load_all(file.read_text()):
            if document and document.get("kind") == "EndpointSlice":
                for server in _servers_of(document):
                    found.setdefault((server.address, server.port), server)
    if not found:
        raise DemoError(f"--manifests: no EndpointSlice in {manifests} names an address, so there is nothing to start")
    return list(found.values())


def _servers_of(endpoint_slice: Mapping[str, list[Mapping[str, object]]]) -> Iterator[Server]:
    for endpoint in endpoint_slice["endpoints"]:
        match endpoint:
            case {"addresses": [str(address), *_], "targetRef": {"name": str(name)}}:
                for port in endpoint_slice["ports"]:
                    yield Server(name, address, int(str(port["port"])))


def listen(server: Server) -> socket.socket:
    """A listening socket at the server's address. Raises DemoError."""
    try:
        return socket.create_server((server.address, server.port))
    except OSError as error:
        why = "another process listens there: stop it" if error.errno == errno.EADDRINUSE else error.strerror
        raise DemoError(f"cannot listen on {server.address}:{server.port} for server {server.name}: {why}") from error


async def serve(servers: Sequence[tuple[Server, socket.socket]]) -> None:
    """Runs the servers on their sockets until cancelled."""
    async with contextlib.AsyncExitStack() as stack:
        for server, listening in servers:
            await stack.enter_async_context(await asyncio.start_server(_Connection(server).run, sock=listening))
        await asyncio.Event().wait()


class _Connection:
    """What a server does with a connection. Exchanges come one after the other until the client closes."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def run(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while await self._exchange(reader, writer):
                pass
        writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request and its response. Whether another may follow."""
        head = await reader.readuntil(b"\r\n\r\n")
        line, fields = _parse(head)
        if fields.get("upgrade", "").lower() == "websocket":
            await websocket.talk(reader, writer, fields.get("sec-websocket-key", ""), f"hello from {self._server}")
            return False
        length = await _skip_body(reader, fields)
        text = f"{self._server}\n".encode() + head.replace(b"\r\n", b"\n").rstrip(b"\n") + b"\n"
        if length:
            text += f"body of {length} bytes\n".encode()
        answer = f"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {len(text)}\r\n\r\n"
        writer.write(answer.encode() + (b"" if line.startswith("HEAD ") else text))
        await writer.drain()
        return True


def _parse(head: bytes) -> tuple[str, Fields]:
    line, *lines = head.decode("latin-1").split("\r\n")
    pairs = (text.partition(":") for text in lines if text)
    return line, {name.lower(): value.strip() for name, _, value in pairs}


async def _skip_body(reader: asyncio.StreamReader, fields: Fields) -> int:
    """Reads a request body. Gives its length in bytes."""
    if fields.get("transfer-encoding", "").lower() != "chunked":
        left = length = int(fields.get("content-length", "0"))
        while left:
            left -= len(await reader.readexactly(min(left, 65536)))
        return length
    total = 0
    while size := int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16):
        await reader.readexactly(size + 2)
        total += size
    while await reader.readuntil(b"\r\n") != b"\r\n":
        pass
    return total
