"""What a connection says before it is one of HTTP: a PROXY protocol header, a ClientHello; and what is made of it then.

A protocol of its own that faces the TCP transport until it is known what the connection is. Then another takes its
place: `Downstream` (plain HTTP behind a PROXY header), `TlsServer`, or `Passthrough`.
"""

import asyncio
from typing import cast

from ingressd.proxy import client_hello
from ingressd.proxy.client_hello import ClientHello, HelloError, read_client_hello
from ingressd.proxy.downstream import Downstream
from ingressd.proxy.gate import Gate
from ingressd.proxy.passthrough import Passthrough
from ingressd.proxy.proxy_protocol import Connection, ProxyHeaderError, read_proxy_header
from ingressd.proxy.responses import PLAIN_HTTP, failure, render
from ingressd.proxy.tls_server import TlsServer
from ingressd.proxy.tls_table import PROTOCOLS

HTTPS_PORT = 443
"""A load balancer that says its client came to this port has taken the TLS off itself, as ingress-nginx sees it."""

_PROTOCOLS = frozenset(name.encode() for name in PROTOCOLS)


class Preface:
    """An asyncio protocol, made by the listener for each connection that does not begin with plain HTTP."""

    __slots__ = ("_address", "_buffer", "_expects_header", "_gate", "_port", "_secure", "_transport")

    def __init__(self, gate: Gate, port: int, secure: bool) -> None:
        self._gate = gate
        self._port = port
        self._secure = secure
        self._transport: asyncio.Transport | None = None
        self._address = ""
        self._expects_header = False
        self._buffer = b""
        """What came behind the PROXY header, or with it as long as that is not whole."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        context = self._gate.context
        peer = transport.get_extra_info("peername")
        address: str = peer[0] if peer else ""
        self._address = address.removeprefix("::ffff:")
        self._expects_header = context.settings.proxy_protocol and context.trusts(self._address)
        self._gate.enter(self._transport)
        if not self._expects_header and not self._secure:
            self._become_plain(b"http")

    def connection_lost(self, error: Exception | None) -> None:
        if self._transport is not None and self._gate.leave(self._transport):
            self._gate.count("tls_handshake_failures", "closed")
        self._transport = None

    def eof_received(self) -> bool:
        return False

    def pause_writing(self) -> None:
        """What is written here is less than any limit."""

    def resume_writing(self) -> None:
        """As above."""

    def data_received(self, data: bytes) -> None:
        self._gate.context.look()
        self._buffer += data
        scheme = b"http"
        if self._expects_header:
            try:
                header = read_proxy_header(self._buffer)
            except ProxyHeaderError:
                self._refuse("proxy_header", b"")
                return
            if header is None:
                return
            scheme = self._believe(header)
        if not self._secure:
            self._become_plain(scheme)
            return
        try:
            hello = read_client_hello(self._buffer)
        except HelloError as error:
            if self._buffer[:1].isalpha():
                self._answer_plain()
            else:
                self._refuse("malformed", client_hello.alert(error.alert))
            return
        if hello is not None:
            self._decide(hello)

    def _believe(self, header: Connection) -> bytes:
        """Takes the client's addresses from the load balancer. Gives the scheme that a plain connection has."""
        self._expects_header = False
        self._buffer = self._buffer[header.length :]
        if header.source:
            self._address = header.source
            if self._secure or header.destination_port == HTTPS_PORT:
                self._port = header.destination_port
                return b"https"
        return b"http"

    def _become_plain(self, scheme: bytes) -> None:
        transport = self._leave()
        if transport is not None:
            downstream = Downstream(self._gate.context, scheme, self._port, self._address, None)
            self._hand_over(transport, cast(asyncio.Protocol, downstream))
            if self._buffer:
                downstream.data_received(self._buffer)

    def _hand_over(self, transport: asyncio.Transport, protocol: asyncio.Protocol) -> None:
        transport.set_protocol(protocol)
        protocol.connection_made(transport)

    def _decide(self, hello: ClientHello) -> None:
        gate = self._gate
        table = gate.table
        host = table.host(hello.server_name)
        if host is not None and host.passthrough is not None and table.settings.passthrough:
            transport = self._leave()
            if transport is not None:
                gate.count("tls_passthrough_connections")
                passthrough = Passthrough(gate, host.passthrough, self._buffer)
                self._hand_over(transport, passthrough)
            return
        if host is None and table.settings.reject_unknown:
            self._refuse("unknown_name", client_hello.alert(client_hello.UNRECOGNIZED_NAME))
            return
        if hello.protocols and _PROTOCOLS.isdisjoint(hello.protocols):
            # RFC 7301 section 3.2.
            self._refuse("no_protocol", client_hello.alert(client_hello.NO_APPLICATION_PROTOCOL))
            return
        entry = table.context(host)
        if entry is None:
            self._refuse("no_certificate", client_hello.alert(client_hello.INTERNAL_ERROR))
            return
        if self._transport is None:
            return
        server = TlsServer(gate, self._transport, entry, self._buffer, hello.ticket_name, self._address, self._port)
        self._transport.set_protocol(cast(asyncio.BaseProtocol, server))
        gate.submit(server)

    def _leave(self) -> asyncio.Transport | None:
        transport = self._transport
        if transport is not None:
            self._gate.leave(transport)
        return transport

    def _refuse(self, reason: str, last: bytes) -> None:
        transport = self._leave()
        if transport is not None:
            self._gate.count("tls_handshake_failures", reason)
            if last:
                transport.write(last)
            transport.close()

    def _answer_plain(self) -> None:
        """Plain HTTP where TLS is spoken: said so in HTTP, as nginx does."""
        context = self._gate.context
        data, _ = render(failure(PLAIN_HTTP), context.request_id(), b"", b"Connection: close\r\n")
        transport = self._leave()
        if transport is not None:
            self._gate.count("tls_handshake_failures", PLAIN_HTTP)
            # It lets a client that is still sending read the answer.
            downstream = Downstream(context, b"http", self._port, self._address, None)
            self._hand_over(transport, cast(asyncio.Protocol, downstream))
            downstream.dismiss(data)
