"""A TLS client that reads HTTP, a TLS upstream, and what a worker is told for TLS."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import msgspec

from ingressd.link import TicketKeys
from ingressd.model import (
    AccessLogFormat,
    Certificate,
    Endpoint,
    Hidden,
    Snapshot,
    TlsHost,
    TlsSettings,
    TrustBundle,
    WorkerSettings,
)
from tests.kit import DEADLINE, Worker, get

SETTINGS = WorkerSettings(worker=0, workers=1, access_log=AccessLogFormat.JSON)
LOCAL = ("127.0.0.0/8",)


def settings(tls: TlsSettings | None = None, **others: object) -> WorkerSettings:
    """SETTINGS with other ones for TLS, or else."""
    return msgspec.structs.replace(SETTINGS, **({"tls": tls} if tls is not None else {}), **others)


def secured(
    snapshot: Snapshot,
    *certificates: Certificate,
    hosts: tuple[TlsHost, ...] = (),
    bundles: tuple[TrustBundle, ...] = (),
) -> Snapshot:
    """`snapshot` with TLS; the first certificate is the default one."""
    return msgspec.structs.replace(
        snapshot,
        certificates=tuple(sorted(certificates, key=lambda each: each.name)),
        trust_bundles=tuple(sorted(bundles, key=lambda each: each.name)),
        tls_hosts=tuple(sorted(hosts, key=lambda each: each.host)),
        default_certificate=certificates[0].name,
    )


def ticket_keys(*seeds: int) -> TicketKeys:
    """Keys that differ where the seeds do."""
    return TicketKeys(tuple(Hidden(bytes((seed,)) * 80) for seed in seeds))


@dataclass
class Answer:
    """A response."""

    status: int
    fields: dict[str, str]
    body: bytes


@dataclass
class Secure:
    """A connection over TLS."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @property
    def transport(self) -> asyncio.Transport:
        assert isinstance(self.writer.transport, asyncio.Transport)
        return self.writer.transport

    @property
    def tls(self) -> ssl.SSLObject:
        found = self.writer.get_extra_info("ssl_object")
        assert isinstance(found, ssl.SSLObject)
        return found

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        async with asyncio.timeout(DEADLINE):
            await self.writer.drain()

    async def response(self) -> Answer:
        """Reads one with Content-Length."""
        async with asyncio.timeout(DEADLINE):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            line, *lines = head[:-4].split("\r\n")
            fields = {name.lower(): value.strip() for name, _, value in (each.partition(":") for each in lines)}
            body = await self.reader.readexactly(int(fields.get("content-length", "0")))
        return Answer(int(line.split(" ")[1]), fields, body)

    async def ask(self, data: bytes) -> Answer:
        await self.send(data)
        return await self.response()

    async def ended(self) -> bytes:
        """All that comes until the end."""
        async with asyncio.timeout(DEADLINE):
            return await self.reader.read()


@contextlib.asynccontextmanager
async def connected(
    port: int, context: ssl.SSLContext, name: str | None = "a.example", before: bytes = b""
) -> AsyncIterator[Secure]:
    """A TLS connection to `port` of loopback; `before` is sent in front of it."""
    async with asyncio.timeout(DEADLINE):
        sock = socket.socket()
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        try:
            await loop.sock_connect(sock, ("127.0.0.1", port))
            if before:
                await loop.sock_sendall(sock, before)
            reader, writer = await asyncio.open_connection(
                sock=sock, ssl=context, server_hostname=name or "", ssl_handshake_timeout=DEADLINE
            )
        except BaseException:
            sock.close()
            raise
    try:
        yield Secure(reader, writer)
    finally:
        writer.transport.abort()
        with contextlib.suppress(Exception):
            await writer.wait_closed()


async def fetch(port: int, context: ssl.SSLContext, name: str = "a.example", host: str = "", *fields: str) -> Answer:
    """One GET on a connection of its own."""
    async with connected(port, context, name) as client:
        return await client.ask(get("/", *fields, host=host or name))


def unverified(version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    """A client that takes any certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if version is not None:
        context.minimum_version = context.maximum_version = version
    return context


def shaken(
    port: int, context: ssl.SSLContext, session: ssl.SSLSession | None, name: str = "a.example"
) -> tuple[bool, ssl.SSLSession]:
    """Makes one request. Whether the session was resumed, and the one that the server gave. Waits, for threads."""
    with (
        socket.create_connection(("127.0.0.1", port), DEADLINE) as sock,
        context.wrap_socket(sock, server_hostname=name, session=session) as tls,
    ):
        tls.sendall(get("/", "Connection: close", host=name))
        while tls.recv(65536):
            pass
        assert tls.session is not None
        return bool(tls.session_reused), tls.session


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class TlsUpstream:
    """An HTTPS server that answers each request with `ok`; `names` are the server names it was asked for, `shown` the
    certificates of its clients (DER), one for each connection."""

    endpoint: Endpoint
    requests: list[bytes] = field(default_factory=list)
    names: list[str | None] = field(default_factory=list)
    shown: list[bytes | None] = field(default_factory=list)


@contextlib.asynccontextmanager
async def tls_upstream(context: ssl.SSLContext, response: bytes, close: bool = False) -> AsyncIterator[TlsUpstream]:
    """Runs one; with `close` it ends each connection by a TCP FIN without close_notify after its response."""
    upstream = TlsUpstream(Endpoint("127.0.0.1", 0))

    def named(connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        upstream.names.append(name)

    context.sni_callback = named

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream.shown.append(writer.get_extra_info("ssl_object").getpeercert(binary_form=True))
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            while True:
                upstream.requests.append(await reader.readuntil(b"\r\n\r\n"))
                writer.write(response)
                await writer.drain()
                if close:
                    break
        if close:
            writer.get_extra_info("socket").shutdown(socket.SHUT_WR)
        writer.transport.abort() if not close else None

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    upstream.endpoint = Endpoint("127.0.0.1", server.sockets[0].getsockname()[1])
    try:
        yield upstream
    finally:
        server.close()


__all__ = ["LOCAL", "SETTINGS", "Answer", "Secure", "TlsUpstream", "Worker", "connected", "fetch", "secured"]
