"""A small nameserver on loopback, for UDP and TCP, that answers as a test tells it."""

import asyncio
import struct
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

Reply = Callable[[dns.message.Message, bool], bytes | None]
"""The query and whether it came by TCP -> the bytes of the response; None for silence."""


class DnsServer:
    """Without being told anything, every name is NXDOMAIN."""

    def __init__(self) -> None:
        self.address = ""
        """As Resolver wants it."""
        self.queries: Counter[str] = Counter()
        """How often what was asked, as `name TYPE`."""
        self.tcp_queries = 0
        self.open = 0
        """Queries that were left without an answer."""
        self._replies: dict[str, Reply] = {}
        self._default: Reply = _rcode(dns.rcode.NXDOMAIN)

    def records(self, name: str, *records: str, ttl: int = 300, others: tuple[str, ...] = ()) -> None:
        """`A 192.0.2.1`, `CNAME other.example` ...; other types of the name have no data. `others` are further records
        of the answer with their names: `other.example A 192.0.2.1`."""

        def reply(query: dns.message.Message, tcp: bool) -> bytes:
            response = dns.message.make_response(query)
            response.flags |= dns.flags.RA
            wanted = dns.rdatatype.to_text(query.question[0].rdtype)
            lines = [f"{name} {record}" for record in records] + list(others)
            for line in lines:
                owner, kind, value = line.split(" ", 2)
                if kind in (wanted, "CNAME"):
                    response.answer.append(dns.rrset.from_text(f"{owner}.", ttl, "IN", kind, value))
            return response.to_wire()

        self._replies[name] = reply

    def truncated(self, name: str, *records: str) -> None:
        """As records(), but by UDP only the beginning."""
        self.records(name, *records)
        whole = self._replies[name]

        def reply(query: dns.message.Message, tcp: bool) -> bytes | None:
            if tcp:
                return whole(query, tcp)
            response = dns.message.make_response(query)
            response.flags |= dns.flags.TC
            return response.to_wire()

        self._replies[name] = reply

    def rcode(self, name: str, rcode: dns.rcode.Rcode) -> None:
        self._replies[name] = _rcode(rcode)

    def silent(self, name: str) -> None:
        self._replies[name] = lambda query, tcp: None

    def raw(self, name: str, reply: Reply) -> None:
        self._replies[name] = reply

    def all(self, reply: Reply) -> None:
        """For every name that was not told about."""
        self._default = reply

    def reply(self, data: bytes, tcp: bool) -> bytes | None:
        query = dns.message.from_wire(data)
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True)
        self.queries[f"{name} {dns.rdatatype.to_text(question.rdtype)}"] += 1
        self.tcp_queries += tcp
        response = self._replies.get(name, self._default)(query, tcp)
        self.open += response is None
        return response


def silence(query: dns.message.Message, tcp: bool) -> None:
    """A Reply."""


def _rcode(rcode: dns.rcode.Rcode) -> Reply:
    def reply(query: dns.message.Message, tcp: bool) -> bytes:
        response = dns.message.make_response(query)
        response.set_rcode(rcode)
        return response.to_wire()

    return reply


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: DnsServer) -> None:
        self._server = server
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        response = self._server.reply(data, False)
        if response is not None and self._transport is not None:
            self._transport.sendto(response, addr)


@asynccontextmanager
async def dns_server(host: str = "127.0.0.1") -> AsyncIterator[DnsServer]:
    server = DnsServer()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            (length,) = struct.unpack("!H", await reader.readexactly(2))
            response = server.reply(await reader.readexactly(length), True)
            if response is not None:
                writer.write(struct.pack("!H", len(response)) + response)
                await writer.drain()
        finally:
            writer.close()

    loop = asyncio.get_running_loop()
    listener = await asyncio.start_server(serve, host, 0)
    port = listener.sockets[0].getsockname()[1]
    transport, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(server), (host, port))
    server.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        yield server
    finally:
        transport.close()
        listener.close()
        await listener.wait_closed()
