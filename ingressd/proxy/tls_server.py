"""The server's side of a TLS connection: from the ClientHello to a Downstream."""

import asyncio
from typing import TYPE_CHECKING, cast

from ingressd.proxy.client_auth import Secured
from ingressd.proxy.downstream import Downstream
from ingressd.proxy.tls import TlsTransport
from ingressd.proxy.tls_table import ServerContext

if TYPE_CHECKING:
    from ingressd.proxy.gate import Gate

AHEAD = 64 * 1024
"""Bytes that may wait for their turn with a ClientHello; then reading stops. Early data, which may follow one though
nobody takes it, is at most 16 KiB with most clients."""


class TlsServer(TlsTransport):
    """Made by `Preface` once it is known whom the client wants, and with which certificate."""

    __slots__ = ("_address", "_entry", "_gate", "_hello", "_port", "_secured", "_ticket_name")

    def __init__(
        self,
        gate: "Gate",
        transport: asyncio.Transport,
        entry: ServerContext,
        hello: bytes,
        ticket_name: bytes,
        address: str,
        port: int,
    ) -> None:
        TlsTransport.__init__(self, gate.context.loop)
        self._gate = gate
        self._entry = entry
        self._hello = hello
        self._ticket_name = ticket_name
        self._address = address
        self._port = port
        self.connection_made(transport)
        self.begin(entry.context, True)
        assert self.connection is not None
        self._secured = Secured(gate.table, entry, self.connection)

    def data_received(self, data: bytes) -> None:
        if self._hello:
            # It is not its turn yet.
            self._hello += data
            if len(self._hello) > AHEAD and self.tcp is not None:
                self.tcp.pause_reading()
        else:
            TlsTransport.data_received(self, data)

    def first_step(self) -> None:
        """The step that costs something: a signature, and what goes with it."""
        hello = self._hello
        self._hello = b""
        if len(hello) > AHEAD and self.tcp is not None and not self._closing:
            self.tcp.resume_reading()
        keys = self._entry.keys
        lent = keys is not None and len(self._ticket_name) > 0 and keys.lend(self._ticket_name)
        try:
            self.handshake(hello)
        finally:
            if lent and keys is not None:
                keys.restore()

    def handshake(self, data: bytes) -> None:
        library = self._entry.library
        if self._entry.client_auth is None or library is None:
            TlsTransport.handshake(self, data)
            return
        # Several connections take their steps in turn.
        library.begin_verdict()
        TlsTransport.handshake(self, data)
        self._take_verdict()

    def _take_verdict(self) -> None:
        library = self._entry.library
        if self._entry.client_auth is not None and library is not None and not self._secured.verdict:
            self._secured.verdict = library.verdict()

    def answers_late(self) -> bool:
        return self._engine is not None and self._engine.version() == "TLSv1.3"

    def handshake_done(self) -> None:
        self._take_verdict()
        gate = self._gate
        if self.tcp is not None:
            gate.leave(self.tcp)
        if self._engine is not None:
            gate.count("tls_handshakes", "resumed" if self._engine.session_reused else "full")
        downstream = Downstream(gate.context, b"https", self._port, self._address, self._secured)
        self.app = cast(asyncio.Protocol, downstream)
        downstream.connection_made(cast(asyncio.BaseTransport, self))

    def handshake_failed(self, error: Exception) -> None:
        if self._closing and self.tcp is None:
            return
        if self.tcp is not None:
            if self._gate.leave(self.tcp):
                self._gate.count(
                    "tls_handshake_failures", "closed" if isinstance(error, ConnectionError) else "refused"
                )
            self.tcp.close()
        self._closing = True

    def truncated(self) -> None:
        # Who has not said that it ends is not told, as with nginx: mostly nobody is there any more.
        self._notified = True
        downstream = cast(Downstream, self.app)
        if downstream.state == "tunnel":
            # Only TLS could have said that the client was done.
            self.lose(ConnectionAbortedError("no close_notify"))
            self.abort()
        elif not downstream.eof_received():
            self.close()
