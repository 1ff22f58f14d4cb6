"""One client connection: reads requests, in order, one exchange at a time.

States. `_exchange` is set: what arrives is its body, its tunnel's, or the next request, which waits. It is not: bytes
are a head (`_head` while it is incomplete) or the connection is idle. `_closing`: a last response is on its way out and
what still arrives is thrown away.

`_deadline` says until when the client must have done what is awaited; `check` what happens if it has not.
"""

import asyncio
from typing import cast

from ingressd.http1.errors import FramingError
from ingressd.http1.head import RequestHead, request_head
from ingressd.proxy.client_auth import Secured
from ingressd.proxy.closing import reset
from ingressd.proxy.context import Context
from ingressd.proxy.exchange import Exchange
from ingressd.proxy.forwarded import client_fields
from ingressd.proxy.responses import (
    CLIENT_CLOSED,
    CLIENT_TIMEOUT,
    DETAIL,
    SLOW_BODY,
    SLOW_HEAD,
    TOO_MANY_CONNECTIONS,
    Answer,
    failure,
    render,
)
from ingressd.telemetry.record import Record, new_record

PIPELINE = 64 * 1024
"""Bytes of requests to come that may wait while one is under way; then reading stops."""

TURNS = 64
"""Requests that may be answered one after the other without letting other connections have their turn. Those that an
endpoint answers do not count: others have theirs meanwhile."""

LINGER = 5.0
"""Seconds a client may take between reads of what it sends in vain while it should read our last words; nginx: 5."""

LINGER_TOTAL = 30.0
"""Seconds after which its connection is closed at any rate; nginx: 30."""


class Downstream:
    """An asyncio protocol, made by the listener for each connection."""

    __slots__ = (
        "_advancing",
        "_buffer",
        "_closing",
        "_context",
        "_deadline",
        "_exchange",
        "_head",
        "_held",
        "_linger_until",
        "_offset",
        "_started",
        "_trusted",
        "_turns",
        "_unsent",
        "_write_deadline",
        "_write_paused",
        "_yielded",
        "client_fields",
        "peer",
        "port",
        "scheme",
        "secured",
        "transport",
    )

    def __init__(
        self, context: Context, scheme: bytes, port: int, address: str = "", secured: Secured | None = None
    ) -> None:
        """`address` is the client's where the peer is a load balancer that told it (PROXY protocol)."""
        self._context = context
        self.scheme = scheme
        self.port = port
        """Of the listener."""
        self.transport: asyncio.Transport | None = None
        self.peer = address.encode()
        self.secured = secured
        """What TLS says of the client; None without TLS."""
        self.client_fields = b""
        self._trusted = False
        self._exchange: Exchange | None = None
        self._head: RequestHead | None = None
        self._buffer = b""
        self._offset = 0
        """What of the buffer belongs to requests before."""
        self._started = 0.0
        """When the first byte of the present request came."""
        self._advancing = False
        self._held = False
        self._closing = False
        self._deadline = 0.0
        self._linger_until = 0.0
        self._write_paused = False
        self._write_deadline = 0.0
        self._unsent = 0
        self._turns = 0
        """Requests answered since others had their turn."""
        self._yielded = False
        """They have it now: nothing is read or answered here until `_go_on`."""

    @property
    def state(self) -> str:
        """`idle`, `active` or `tunnel`, for the metrics."""
        if self._exchange is None:
            return "active" if self._head is not None else "idle"
        return "tunnel" if self._exchange.tunnel is not None else "active"

    # --- what the loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        context = self._context
        self.transport = cast(asyncio.Transport, transport)
        context.counters.connections += 1
        address = self.peer.decode()
        if not address:
            peer = transport.get_extra_info("peername")
            address = peer[0] if peer else ""
            address = address.removeprefix("::ffff:")
            self.peer = address.encode()
        if context.clients >= context.settings.limits.connections:
            self._refuse_connection()
            return
        context.downstreams.add(self)
        self._trusted = context.trusts(address)
        if not self._trusted:
            self.client_fields = client_fields(self.peer, self.scheme, self.port)
        self._deadline = context.now + context.client_header

    def connection_lost(self, error: Exception | None) -> None:
        self._context.look()
        self._context.downstreams.discard(self)
        self._closing = True
        self._deadline = 0.0
        if self._exchange is not None:
            self._exchange.client_gone(CLIENT_CLOSED)

    def eof_received(self) -> bool:
        self._context.look()
        exchange = self._exchange
        if exchange is None or self._closing:
            return False
        if exchange.tunnel is not None:
            exchange.client_half_closed()
            return True
        # As nginx: a client that closes its side while a response is due has gone.
        exchange.client_gone(CLIENT_CLOSED)
        return False

    def pause_writing(self) -> None:
        self._write_paused = True
        self._unsent = -1
        if self._exchange is not None:
            self._exchange.client_full()

    def resume_writing(self) -> None:
        context = self._context
        context.look()
        self._write_paused = False
        if self._deadline:
            # What was awaited of the client it may do only now.
            idle = self._exchange is None and self._head is None and not self._closing
            self._deadline = context.now + (context.keep_alive if idle else context.client_body)
        if self._exchange is not None:
            self._exchange.client_drained()
        elif self._buffer and not self._closing and not self._yielded:
            self._advance()

    def data_received(self, data: bytes) -> None:
        self._context.look()
        exchange = self._exchange
        if exchange is None:
            if self._closing:
                if self._linger_until:
                    self._deadline = min(self._context.now + LINGER, self._linger_until)
                return
            self._keep(data)
            if not self._write_paused and not self._yielded:
                self._advance()
        elif exchange.tunnel is not None:
            exchange.tunnel.up(data)
        elif exchange.request_done:
            self._keep(data)
        else:
            self._receive_body(exchange, data)

    def check(self, now: float) -> None:
        """Called about ten times a second: whether the time for what is awaited is over."""
        if self._write_paused and self.transport is not None:
            unsent = self.transport.get_write_buffer_size()
            if unsent != self._unsent:
                self._unsent = unsent
                self._write_deadline = now + self._context.client_body
            elif now >= self._write_deadline:
                self._give_up()
            return
        if self._deadline == 0 or now < self._deadline:
            return
        self._deadline = 0.0
        exchange = self._exchange
        if exchange is not None:
            # Not while it may not send, and not once it has its answer: then it owes nobody the rest of the body.
            if self._held or exchange.responded_to:
                self._deadline = now + self._context.client_body
            else:
                exchange.refuse(SLOW_BODY, DETAIL[SLOW_BODY])
        elif self._unsent_moves():
            self._deadline = now + self._context.client_body
        elif self._unsent:
            self._context.count_error(CLIENT_TIMEOUT)
            self.cut()
        elif self._closing:
            self.abort()
        elif self._head is not None:
            self._refuse(FramingError(DETAIL[SLOW_HEAD], 408, SLOW_HEAD))
        elif not self._buffer:
            self._close()

    def _unsent_moves(self) -> bool:
        """Whether the client has taken some of what is still to be sent since the last look."""
        before = self._unsent
        self._unsent = self.transport.get_write_buffer_size() if self.transport is not None else 0
        return self._unsent != 0 and self._unsent != before

    # --- requests

    def _keep(self, data: bytes) -> None:
        """Keeps bytes of requests to come; too many of them stop the reading."""
        self._buffer = self._buffer[self._offset :] + data if self._buffer else data
        self._offset = 0
        if len(self._buffer) > PIPELINE and (self._exchange is not None or self._write_paused):
            self.hold()

    def _go_on(self) -> None:
        """Takes up requests that were left in the buffer to let other connections have their turn."""
        self._yielded = False
        self._turns = 0
        if self._buffer and self._exchange is None and not self._closing and not self._write_paused:
            self._context.look()
            self._advance()

    def _advance(self) -> None:
        """Starts exchanges from what has arrived, until one is under way or more must come; none while the client has
        still to take the responses before."""
        context = self._context
        self._advancing = True
        while self._buffer and self._exchange is None and not self._closing and not self._write_paused:
            if self._turns == TURNS:
                # What came meanwhile would otherwise grow, and have turns of its own.
                self._yielded = True
                self.hold()
                context.loop.call_soon(self._go_on)
                break
            buffer = self._buffer
            start = self._offset
            head = self._head
            if head is None:
                self._started = context.moment
                head = request_head(self._trusted)
            try:
                end = head.feed(buffer, start)
                if end < 0:
                    if start:
                        # An unfinished head begins the buffer, so that the rest can be put behind it.
                        self._buffer = buffer[start:]
                        self._offset = 0
                        head = request_head(self._trusted)
                        head.feed(self._buffer, 0)
                    if self._head is None:
                        self._head = head
                        self._deadline = context.now + context.client_header
                    break
                self._head = None
                self._deadline = 0.0
                self._turns += 1
                record = new_record(self.peer, self._started)
                record.head = head
                record.request_length = end - start
                # By __init__ it would be a call of Python's.
                exchange = Exchange.__new__(Exchange)
                exchange.begin(context, self, head, record)
                if not exchange.request_done and end < len(buffer):
                    end = exchange.receive(buffer, end)
            except FramingError as error:
                self._head = head
                self._refuse(error)
                break
            if end < len(buffer):
                self._offset = end
            else:
                self._buffer = b""
                self._offset = 0
            self._exchange = exchange
            exchange.start()
            if self._exchange is exchange and not exchange.request_done:
                self._await_body(exchange)
        self._advancing = False
        if self._held and not self._yielded and (self._exchange is None or self._exchange.request_done):
            self.resume()

    def _await_body(self, exchange: Exchange) -> None:
        self._deadline = self._context.now + self._context.client_body
        if not exchange.wants_data():
            self.hold()

    def _receive_body(self, exchange: Exchange, data: bytes) -> None:
        try:
            end = exchange.receive(data, 0)
        except FramingError as error:
            exchange.refuse(error.reason, error.detail)
            return
        if self._exchange is not exchange:
            return
        if exchange.request_done:
            self._deadline = 0.0
            if end < len(data):
                self._buffer = data[end:]
        else:
            self._await_body(exchange)

    def exchange_over(self, persist: bool, request_done: bool) -> None:
        """The exchange has ended. `persist`: the connection may go on."""
        context = self._context
        self._exchange = None
        if not self._advancing:
            self._turns = 0
        if not persist:
            self._close(linger=not request_done or bool(self._buffer))
            return
        if self._held:
            self.resume()
        self._deadline = context.now + context.keep_alive
        if self._buffer and not self._advancing and not self._write_paused:
            self._advance()

    def _refuse(self, error: FramingError) -> None:
        """Answers what is no request, and closes: where the next one begins cannot be known."""
        context = self._context
        record = Record(self.peer, self._started)
        record.head = self._head
        record.request_length = len(self._buffer) - self._offset
        record.reason = error.reason
        record.status = error.status
        record.request_id = context.request_id()
        accept = self._head.accept if self._head is not None else b""
        head_only = self._head is not None and self._head.method == b"HEAD"
        answer = Answer(error.status, error.reason, error.detail)
        data, length = render(answer, record.request_id, accept, self._last_fields(), head_only)
        record.bytes_sent = len(data)
        record.body_bytes_sent = length
        self.write(data)
        context.finished(record)
        self._head = None
        self._buffer = b""
        self._offset = 0
        self._close(linger=True)

    def _last_fields(self) -> bytes:
        """Of a response behind which the connection is closed."""
        return b"Connection: close\r\n" + (self._context.hsts if self.secured is not None else b"")

    def dismiss(self, data: bytes) -> None:
        """Sends this, a whole response, and closes, whatever else the client has to say."""
        self.write(data)
        self._close(linger=True)

    def _refuse_connection(self) -> None:
        context = self._context
        context.counters.connections_refused += 1
        record = Record(self.peer, context.look())
        answer = failure(TOO_MANY_CONNECTIONS)
        record.reason = answer.reason
        record.status = answer.status
        record.request_id = context.request_id()
        data, length = render(answer, record.request_id, b"", self._last_fields() + b"Retry-After: 1\r\n")
        record.bytes_sent = len(data)
        record.body_bytes_sent = length
        self.write(data)
        context.finished(record)
        limits = context.settings.limits
        if context.clients < limits.connections + limits.refusals:
            context.downstreams.add(self)
            self._close(linger=True)
        else:
            self._close()

    # --- what the exchange asks for

    def write(self, data: bytes) -> None:
        """Sends bytes to the client."""
        if not self._closing and self.transport is not None:
            self.transport.write(data)

    def hold(self) -> None:
        """Stops reading."""
        if not self._held and not self._closing and self.transport is not None:
            self._held = True
            self.transport.pause_reading()

    def resume(self) -> None:
        """Reads again, unless enough is waiting."""
        if len(self._buffer) - self._offset > PIPELINE:
            return
        if self._held and not self._closing and self.transport is not None:
            self._held = False
            self.transport.resume_reading()
            if self._deadline:
                self._deadline = self._context.now + self._context.client_body

    def tunnelled(self) -> None:
        """The exchange has become a tunnel; what the client sent ahead belongs to it."""
        self._deadline = 0.0
        data = self._buffer[self._offset :]
        self._buffer = b""
        self._offset = 0
        if self._held:
            self.resume()
        if data and self._exchange is not None and self._exchange.tunnel is not None:
            self._exchange.tunnel.up(data)

    def half_close(self) -> None:
        """Sends the end of the stream; the other direction goes on."""
        if not self._closing and self.transport is not None and self.transport.can_write_eof():
            self.transport.write_eof()

    def abort(self) -> None:
        """Closes at once."""
        self._closing = True
        self._deadline = 0.0
        if self.transport is not None:
            self.transport.abort()

    def cut(self) -> None:
        """Closes at once, so that the client sees that something is missing."""
        self._closing = True
        self._deadline = 0.0
        if self.transport is not None:
            reset(self.transport)

    # --- the end

    def _give_up(self) -> None:
        """The client takes no more bytes."""
        if self._exchange is not None:
            self._exchange.client_gone(CLIENT_TIMEOUT)
        else:
            self._context.count_error(CLIENT_TIMEOUT)
        self.cut()

    def _close(self, linger: bool = False) -> None:
        """Closes once everything is sent. With `linger` only after the client has closed, or some seconds: closing with
        unread bytes makes the kernel reset the connection, and the client may lose our last words."""
        if self._closing or self.transport is None:
            return
        self._closing = True
        now = self._context.now
        if linger and self.transport.can_write_eof():
            self._linger_until = now + LINGER_TOTAL
            self._deadline = now + LINGER
            if self._held:
                self._held = False
                self.transport.resume_reading()
            self.transport.write_eof()
        else:
            self._deadline = now + self._context.client_body
            self.transport.close()
