"""TLS between a TCP connection and a protocol: encryption by OpenSSL in memory (ssl.SSLObject), the rest here.

To the TCP transport this is a protocol, to the protocol above a transport. Made on either side; what the two sides do
when a handshake ends is in their subclasses (`tls_server`, `tls_client`).

Why not the loop's own TLS: a server here has seen the ClientHello before it knows what to do with it and hands it on,
and an idle connection must not hold buffers of the loop's size. The cost per request is the same; docs/performance.md.

Rules of this file:
- What the peer sends is given to OpenSSL a record's size at a time, and only while the protocol above reads; so neither
  OpenSSL nor its buffers in memory (which never shrink) hold more than a record, whoever is slow.
- What is written is encrypted at once, and waits in the TCP transport, whose limits are the limits.
- The peer's end is orderly only with its close_notify (RFC 8446 section 6.1). Without one, `truncated` decides.
"""

import asyncio
import contextlib
import ssl
from typing import cast

MAX_RECORD = 16 * 1024
"""Bytes of plaintext in a record (RFC 8446 section 5.1)."""

PIECE = 16 * 1024
"""Bytes of records that OpenSSL is given at a time."""


class TlsTransport:
    """See above. `start` begins it."""

    __slots__ = (
        "_closing",
        "_ended",
        "_engine",
        "_eof",
        "_held",
        "_incoming",
        "_late",
        "_lost",
        "_more",
        "_notified",
        "_outgoing",
        "_overhead",
        "_raw",
        "app",
        "connection",
        "established",
        "loop",
        "tcp",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.tcp: asyncio.Transport | None = None
        self.app: asyncio.Protocol | None = None
        """The protocol above, once the handshake is over."""
        self.connection: ssl.SSLObject | None = None
        self._engine: ssl.SSLObject | None = None
        """What `connection` hands each call on to, where this Python has it: without what lies in between."""
        self._incoming: ssl.MemoryBIO | None = None
        self._outgoing: ssl.MemoryBIO | None = None
        self.established = False
        """The handshake is over."""
        self._raw = b""
        """What came and OpenSSL has not been given yet."""
        self._more = False
        """There is something to read though nothing comes: in `_raw`, or with OpenSSL."""
        self._held = False
        self._ended = False
        """The peer has sent its close_notify."""
        self._notified = False
        """We have."""
        self._eof = False
        """The TCP connection has ended behind what is still to be read."""
        self._closing = False
        self._lost = False
        """The protocol above knows that the connection is gone."""
        self._late = 0
        """Bytes that OpenSSL would send and that go with what is written next."""
        self._overhead = 0
        """Bytes that encryption added to what waits in the TCP transport."""

    def begin(
        self,
        context: ssl.SSLContext,
        server_side: bool,
        server_name: str | None = None,
        session: ssl.SSLSession | None = None,
    ) -> None:
        """Makes the state of a connection."""
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self.connection = context.wrap_bio(self._incoming, self._outgoing, server_side, server_name, session)
        self._engine = cast(ssl.SSLObject, getattr(self.connection, "_sslobj", self.connection))

    # --- the handshake

    def handshake(self, data: bytes) -> None:
        """One step of it, with what has come since the step before."""
        at = 0
        while self._engine is not None and self._incoming is not None and not self._closing:
            self._incoming.write(data if len(data) <= PIECE else data[at : at + PIECE])
            at += PIECE
            try:
                self._engine.do_handshake()
            except ssl.SSLWantReadError:
                self._flush()
                if at >= len(data):
                    return
            except (ssl.SSLError, OSError) as error:
                # The alert that says why.
                self._flush()
                self.handshake_failed(error)
                return
            else:
                if self.answers_late() and self._outgoing is not None:
                    self._late = self._outgoing.pending
                else:
                    self._flush()
                self.established = True
                self._raw = data[at:]
                self._more = True
                self.handshake_done()
                # A client may have sent its first request along.
                self._go_on()
                return

    def answers_late(self) -> bool:
        """Whether what is left to send of a handshake can go with what is written first. So it is with TLS 1.3 on a
        server: nobody waits for its tickets, and a segment of their own costs as much as the response."""
        return False

    def handshake_done(self) -> None:
        """To be overridden: sets `app` and calls its connection_made."""
        raise AssertionError("a side has this")

    def handshake_failed(self, error: Exception) -> None:
        """To be overridden: closes."""
        raise AssertionError("a side has this")

    def truncated(self) -> None:
        """To be overridden: the TCP connection ended without close_notify."""
        raise AssertionError("a side has this")

    # --- what the TCP transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.tcp = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if not self.established:
            self.handshake(data)
        elif self._more or self._held:
            self._raw += data
            self._more = True
        elif not self._ended and not self._closing:
            self._decrypt(data)

    def eof_received(self) -> bool:
        if not self.established:
            self.handshake_failed(ConnectionResetError("closed in the middle of the handshake"))
        elif self._more:
            # What came before it has to be read first.
            self._eof = True
        elif not self._ended and not self._closing and not self._lost:
            self.truncated()
        # The TCP connection is closed by `close` alone.
        return True

    def connection_lost(self, error: Exception | None) -> None:
        self._closing = True
        if not self.established:
            self.handshake_failed(error or ConnectionResetError("closed in the middle of the handshake"))
        else:
            self.lose(error)
        # Each holds the other: what is left goes at once.
        self._raw = b""
        self.connection = None
        self._engine = None
        self._incoming = None
        self._outgoing = None
        self.app = None
        self.tcp = None

    def lose(self, error: Exception | None) -> None:
        """Tells the protocol above, once, that the connection is gone."""
        if not self._lost and self.app is not None:
            self._lost = True
            self.app.connection_lost(error)

    def pause_writing(self) -> None:
        if self.app is not None and not self._lost:
            self.app.pause_writing()

    def resume_writing(self) -> None:
        if self.app is not None and not self._lost:
            self.app.resume_writing()

    # --- reading

    def _decrypt(self, data: bytes) -> None:
        """Hands up what `data`, and what OpenSSL has, holds."""
        app = self.app
        incoming = self._incoming
        engine = self._engine
        size = len(data)
        at = 0
        if app is None or incoming is None or engine is None:
            return
        while True:
            if at < size:
                if size <= PIECE:
                    incoming.write(data)
                    at = size
                else:
                    incoming.write(data[at : at + PIECE])
                    at += PIECE
            # Asking OpenSSL for what is not there costs an exception.
            while incoming.pending:
                try:
                    plain = engine.read(MAX_RECORD)
                except ssl.SSLWantReadError:
                    break
                except ssl.SSLZeroReturnError:
                    plain = b""
                except (ssl.SSLError, OSError) as error:
                    self._broken(error)
                    return
                if not plain:
                    self._peer_ended()
                    return
                app.data_received(plain)
                if self._held or self._closing:
                    self._raw = data[at:]
                    self._more = at < size or incoming.pending > 0
                    return
            if at >= size:
                break
        if self._outgoing is not None and self._outgoing.pending > self._late:
            # An answer of OpenSSL's own, as to a change of keys.
            self._flush()

    def _go_on(self) -> None:
        """Reads on after a pause."""
        if self._more and not self._held and not self._closing and not self._ended:
            data = self._raw
            self._raw = b""
            self._more = False
            self._decrypt(data)
            if self._eof and not self._more and not self._closing and not self._ended and not self._lost:
                self.truncated()

    def _peer_ended(self) -> None:
        self._ended = True
        self._raw = b""
        self._more = False
        if self.app is not None and not self._lost and not self.app.eof_received():
            self.close()

    def _broken(self, error: Exception) -> None:
        """The peer breaks the rules of TLS, or somebody in between does."""
        self._flush()
        self._closing = True
        self.lose(error)
        # Nobody watches over it any more: what a peer does not take must not keep it open.
        if self.tcp is not None and self.tcp.get_write_buffer_size():
            self.tcp.abort()
        elif self.tcp is not None:
            self.tcp.close()

    # --- what the protocol above calls

    def write(self, data: bytes) -> None:
        """Encrypts and sends."""
        if self._closing or self._notified or self.tcp is None or self._engine is None or self._outgoing is None:
            return
        size = len(data)
        self._late = 0
        if self._overhead and not self.tcp.get_write_buffer_size():
            self._overhead = 0
        if size <= MAX_RECORD:
            if size:
                self._engine.write(data)
                record = self._outgoing.read()
                self._overhead += len(record) - size
                self.tcp.write(record)
            return
        view = memoryview(data)
        records = []
        for at in range(0, size, MAX_RECORD):
            self._engine.write(view[at : at + MAX_RECORD])
            records.append(self._outgoing.read())
        joined = b"".join(records)
        self._overhead += len(joined) - size
        self.tcp.write(joined)

    def _flush(self) -> None:
        if self._outgoing is not None and self._outgoing.pending and self.tcp is not None:
            record = self._outgoing.read()
            self._late = 0
            self._overhead += len(record)
            self.tcp.write(record)

    def get_write_buffer_size(self) -> int:
        """Bytes that were written and have not left this process, without what encryption added: never more than that
        of the bytes themselves, so that nobody takes for unsent what was sent in part."""
        if self.tcp is None:
            return 0
        return max(0, self.tcp.get_write_buffer_size() - self._overhead)

    def can_write_eof(self) -> bool:
        """Always: close_notify ends one direction (RFC 8446 section 6.1)."""
        return True

    def write_eof(self) -> None:
        """Sends close_notify; reading goes on."""
        if self._closing or self._notified or not self.established or self.connection is None or self._incoming is None:
            return
        self._notified = True
        # It would look for the peer's, which `_decrypt` will see, and throw away what the peer has sent before that.
        unread = self._incoming.read()
        with contextlib.suppress(ssl.SSLError, OSError):
            self.connection.unwrap()
        self._incoming.write(unread)
        self._flush()

    def pause_reading(self) -> None:
        """No data is handed up from now on."""
        self._held = True
        if self.tcp is not None and not self._closing:
            self.tcp.pause_reading()

    def resume_reading(self) -> None:
        """It is again, soon, but not before this returns."""
        self._held = False
        if self.tcp is not None and not self._closing:
            self.tcp.resume_reading()
            if self._more:
                self.loop.call_soon(self._go_on)

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        """Sends close_notify and closes once everything is sent."""
        if self._closing:
            return
        self.write_eof()
        self._closing = True
        if self.tcp is not None:
            self.tcp.close()

    def abort(self) -> None:
        """Closes at once."""
        self._closing = True
        if self.tcp is not None:
            self.tcp.abort()

    def get_extra_info(self, name: str, default: object = None) -> object:
        """Of the TCP connection; `ssl_object`: the TLS connection."""
        if name == "ssl_object":
            return self.connection
        return self.tcp.get_extra_info(name, default) if self.tcp is not None else default
