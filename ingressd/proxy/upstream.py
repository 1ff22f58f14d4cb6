"""One connection to an endpoint: reads responses, one exchange at a time.

States. Without an exchange it is idle in the pool, and whatever arrives then ends it. With one it reads a head (`_body`
is None), then a body; in a tunnel it only passes bytes on. `deadline` says until when something must happen; what
happens then depends on the state (`check`).

All that is decided about a response is decided by the exchange; this file knows how it is framed.
"""

import asyncio
import fcntl
import socket
import ssl
import sys
import termios
from typing import TYPE_CHECKING, cast

from ingressd.http1.body import CHUNKED, LENGTH, NONE, UNTIL_CLOSE, Body, new_body
from ingressd.http1.errors import FramingError
from ingressd.http1.head import ResponseHead, response_head
from ingressd.proxy.closing import reset
from ingressd.proxy.context import Context
from ingressd.proxy.registry import EndpointState
from ingressd.proxy.responses import (
    UPSTREAM_CLOSED,
    UPSTREAM_FRAMING,
    UPSTREAM_SEND_TIMEOUT,
    UPSTREAM_TIMEOUT,
)

if TYPE_CHECKING:
    from ingressd.proxy.exchange import Exchange

VERDICT_PAUSE = 0.001
"""Seconds until it is looked again whether a request that crossed with the end of its connection was taken; doubles."""
VERDICT_LAST = 0.5
"""The longest of these pauses; a second in all."""
TCP_CLOSE = 7
"""In the first byte of struct tcp_info (linux/tcp.h; include/net/tcp_states.h)."""

CLOSING_TIME = 5.0
"""Seconds a closed connection has to get rid of what is still to be sent."""


class Upstream:
    """An asyncio protocol. Made by `opening`; given to exchanges by `Exchange` and the pool."""

    __slots__ = (
        "_body",
        "_buffer",
        "_context",
        "_doubtful",
        "_eof",
        "_head",
        "_held",
        "_socket",
        "_unsent",
        "born",
        "closed",
        "deadline",
        "endpoint",
        "exchange",
        "full",
        "idle_since",
        "requests",
        "tls",
        "transport",
        "written",
    )

    def __init__(
        self,
        context: Context,
        endpoint: EndpointState,
        connected: socket.socket,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._context = context
        self.endpoint = endpoint
        self.tls = tls
        """What it is encrypted with."""
        self._socket = connected
        self.transport: asyncio.Transport | None = None
        self.exchange: Exchange | None = None
        self.born = context.now
        self.idle_since = 0.0
        self.deadline = 0.0
        """Seconds of the loop's clock; 0 for none."""
        self.requests = 0
        self.written = 0
        """Bytes written for the present exchange."""
        self.closed = False
        self._buffer = b""
        self._head: ResponseHead | None = None
        self._body: Body | None = None
        self._eof = False
        self._doubtful = False
        """To be looked at before it is used again."""
        self._held = False
        self.full = False
        """The endpoint does not keep up with what is written."""
        self._unsent = 0

    # --- what the exchange and the pool ask for

    def begin(self, exchange: "Exchange") -> None:
        """Takes up an exchange."""
        self.exchange = exchange
        self.requests += 1
        self.written = 0
        self.deadline = 0.0

    def write(self, data: bytes) -> None:
        """Sends bytes of the present exchange."""
        if not self.closed and self.transport is not None:
            self.written += len(data)
            self.transport.write(data)

    def half_close(self) -> None:
        """Sends the end of the stream; the other direction goes on."""
        if not self.closed and self.transport is not None and self.transport.can_write_eof():
            self.transport.write_eof()

    def hold(self) -> None:
        """Stops reading: the client does not keep up."""
        if not self.closed and self.transport is not None:
            self._held = True
            self.transport.pause_reading()

    def resume(self) -> None:
        """Reads again. The time it could not is not held against the endpoint."""
        if not self.closed and self.transport is not None:
            self._held = False
            self.transport.resume_reading()
            if self.exchange is not None and self.deadline:
                self.deadline = self._context.now + self.exchange.read_time()

    def release(self) -> None:
        """The exchange is over and the connection fit for another: to the pool."""
        self.exchange = None
        self._head = None
        self._body = None
        context = self._context
        if self.closed or self._eof or self.full:
            self.close()
            return
        if self._held:
            # The last bytes of the response were more than the client took at once.
            self.resume()
        for surplus in context.pool.give(self, context.now):
            surplus.close()
        if self._doubtful:
            self.idle_since = 0.0

    def close(self) -> None:
        """Closes once everything written is sent."""
        self.exchange = None
        if not self.closed and self.transport is not None:
            self.closed = True
            self.deadline = self._context.now + CLOSING_TIME
            self.transport.close()

    def abort(self) -> None:
        """Closes at once."""
        self.exchange = None
        if self.transport is not None:
            self.closed = True
            self.transport.abort()

    def cut(self) -> None:
        """Closes at once, so that the endpoint sees that something is missing."""
        self.exchange = None
        if self.transport is not None:
            self.closed = True
            reset(self.transport)

    def stale(self) -> bool:
        """Whether the peer has closed, or sent what nobody asked for, as the kernel knows it now."""
        if self.closed or self._eof:
            return True
        try:
            self._socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True

    @property
    def responding(self) -> bool:
        """Whether bytes of a response to the present exchange have come."""
        return self._head is not None

    @property
    def nothing_sent(self) -> bool:
        """Whether nothing of the present exchange has left this process yet."""
        return self.transport is not None and self.transport.get_write_buffer_size() >= self.written

    # --- what the loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._context.upstreams.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        self.closed = True
        context = self._context
        context.look()
        context.upstreams.discard(self)
        exchange = self.exchange
        if exchange is None:
            context.pool.remove(self)
            return
        self._ended(exchange, error is None, False)

    def eof_received(self) -> bool:
        self._context.look()
        exchange = self.exchange
        self._eof = True
        if exchange is None:
            self._context.pool.remove(self)
            return False
        if exchange.tunnel is not None:
            exchange.upstream_half_closed()
            return True
        reused = self.requests > 1 and self.tls is None
        if reused and not (exchange.idempotent or self.responding) and self._unread():
            # Nothing more is written, and the socket stays for the verdict.
            self.closed = True
            self._await_verdict(exchange, VERDICT_PAUSE)
            return True
        self._ended(exchange, True, self.nothing_sent)
        return False

    def _unread(self) -> bool:
        """Whether the peer's kernel has taken nothing of the present exchange yet, as far as ours knows (tcp(7),
        SIOCOUTQ)."""
        try:
            unacknowledged = fcntl.ioctl(self._socket.fileno(), termios.TIOCOUTQ, bytes(4))
        except OSError:
            return False
        waiting = self.transport.get_write_buffer_size() if self.transport is not None else 0
        return int.from_bytes(unacknowledged, sys.byteorder) + waiting >= self.written

    def _await_verdict(self, exchange: "Exchange", pause: float) -> None:
        """The peer has ended its idle connection while a request was on its way to it, which must not be sent twice.

        Who has closed its socket answers the request with a reset, and then nobody can have read it: what is read is
        acknowledged before. Who has only ended its direction acknowledges it. One of the two comes within a round
        trip."""
        if self.exchange is not exchange:
            return
        if not self._unread() or pause > VERDICT_LAST:
            self._ended(exchange, True, False)
        elif self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == TCP_CLOSE:
            self._ended(exchange, True, True)
        else:
            self._context.loop.call_later(pause, self._await_verdict, exchange, pause * 2)

    def pause_writing(self) -> None:
        self.full = True
        self._unsent = -1
        exchange = self.exchange
        if exchange is not None:
            if self._must_take(exchange):
                self.deadline = self._context.now + exchange.send_time()
            exchange.upstream_full()

    def resume_writing(self) -> None:
        self.full = False
        if self.exchange is not None:
            self.deadline = 0.0
            self.exchange.upstream_drained()

    def data_received(self, data: bytes) -> None:
        self._context.look()
        exchange = self.exchange
        if exchange is None:
            # Bytes that answer no request: never to be taken for a response to the next one.
            self._context.pool.remove(self)
            self.close()
            return
        if exchange.tunnel is not None:
            exchange.tunnel.down(data)
            return
        if self.deadline and (not self.full or exchange.responded_to):
            self.deadline = self._context.now + exchange.read_time()
        try:
            if self._body is None:
                self._read_head(exchange, data)
            else:
                self._read_body(exchange, data, 0, self._body)
        except FramingError as error:
            exchange.upstream_failed(self, UPSTREAM_FRAMING, error.detail, False)

    def check(self, now: float) -> None:
        """Called about ten times a second: whether the time for what is awaited is over."""
        exchange = self.exchange
        must_take = exchange is not None and self._must_take(exchange)
        if self.full and self.transport is not None and exchange is not None:
            # Any progress counts, as between two writes of nginx.
            unsent = self.transport.get_write_buffer_size()
            if unsent != self._unsent:
                self._unsent = unsent
                self.deadline = now + (exchange.send_time() if must_take else exchange.read_time())
        if self.deadline == 0 or now < self.deadline:
            return
        if self._held and exchange is not None and not must_take:
            # The time that runs is the client's.
            self.deadline = now + exchange.read_time()
            return
        self.deadline = 0.0
        if exchange is None:
            if self.closed:
                self.abort()
            else:
                self._context.pool.remove(self)
                self.close()
        elif must_take:
            exchange.upstream_failed(self, UPSTREAM_SEND_TIMEOUT, "", False)
        else:
            exchange.upstream_failed(self, UPSTREAM_TIMEOUT, "", False)

    def _must_take(self, exchange: "Exchange") -> bool:
        """Whether what is awaited is that the endpoint takes more. While it answers it need not take the rest of the
        request."""
        return self.full and (not exchange.responded_to or exchange.tunnel is not None)

    # --- responses

    def _read_head(self, exchange: "Exchange", data: bytes) -> None:
        buffer = self._buffer + data if self._buffer else data
        while True:
            head = self._head
            if head is None:
                head = response_head()
            end = head.feed(buffer, 0)
            if end < 0:
                self._head = head
                self._buffer = buffer
                return
            self._head = None
            if head.status >= 200 or head.status == 101:
                break
            if head.chunked or head.content_length > 0:
                raise FramingError("interim response with a body")
            exchange.interim(head)
            buffer = buffer[end:]
            if not buffer:
                self._buffer = b""
                return
        self._buffer = b""
        self._head = head
        if head.status == 101:
            self._body = new_body(NONE, 0)
            if not exchange.switch(head, buffer[end:]):
                raise FramingError("101 Switching Protocols that nobody asked for")
            return
        status = head.status
        if status == 204 and (head.chunked or head.content_length > 0):
            # RFC 9110 section 8.6. Its body would be taken for the next response.
            raise FramingError("204 No Content with a body")
        # A body that must not be there may come all the same, and late.
        self._doubtful = (exchange.head_only or status == 304) and (head.chunked or head.content_length > 0)
        if exchange.head_only or status == 204 or status == 304:
            body = new_body(NONE, 0)
        elif head.chunked:
            body = new_body(CHUNKED, 0)
        elif head.content_length >= 0:
            body = new_body(LENGTH, head.content_length)
        else:
            body = new_body(UNTIL_CLOSE, 0)
        self._body = body
        exchange.responded(head, body)
        self._read_body(exchange, buffer, end, body)

    def _read_body(self, exchange: "Exchange", data: bytes, start: int, body: Body) -> None:
        payload: list[bytes] = []
        end = body.feed(data, start, payload)
        if body.done:
            head = self._head
            # Anything behind the response is no answer to a request of ours.
            reusable = head is not None and head.persists() and end == len(data)
            exchange.response_done(payload, body.trailers, reusable)
        else:
            exchange.response_data(payload)

    def _ended(self, exchange: "Exchange", clean: bool, nothing_sent: bool) -> None:
        """The peer closed while an exchange was under way."""
        body = self._body
        if clean and body is not None and body.framing == UNTIL_CLOSE:
            exchange.response_done([], b"", False)
        else:
            exchange.upstream_failed(self, UPSTREAM_CLOSED, "", nothing_sent)
