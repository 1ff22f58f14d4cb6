"""Connections as the kernel has them: a transport of our own, and the poller that tells when one can go on.

uvloop's transports read and write well, but each event passes through libuv, the lock of the interpreter and a context
before it gets here; that was a fifth of what a request cost. So a worker has an epoll object of its own, which the loop
watches like any other descriptor: the loop wakes once for all connections that are ready, and each costs one call.

Whoever speaks the protocol above is an asyncio protocol and sees an asyncio transport. Rules of this file:
- An event says only that it is worth trying. What holds is what the system call then says.
- A descriptor is closed when all events of a batch are handed out, or in a callback of the loop: none of them can then
  be for another connection that has got the same number. Closing is what ends its registration with the kernel.
- Nothing is raised to whoever writes; an error ends in `connection_lost`, later, as everywhere in asyncio.
- What the peer said before it went is heard, even if our own bytes find out first that it is gone.
"""

import asyncio
import errno
import logging
import os
import select
import socket
from collections.abc import Callable
from typing import cast

from ingressd import octets
from ingressd.proxy.closing import reset

IN = 1
OUT = 4
"""EPOLLIN and EPOLLOUT (epoll_ctl(2))."""

HIGH_WATER = 64 * 1024
LOW_WATER = 16 * 1024
"""Bytes that wait to be sent when the protocol is told to pause, and when to resume; the same as uvloop's."""

ACCEPTED = 64
"""Connections accepted at a time, before those that are open have their turn."""

ACCEPT_AGAIN = 0.5
"""Seconds before accepting is tried again when there are no descriptors or no memory for it; as nginx."""

REST = 64
"""Reads, at most, of what a peer had sent before bytes to it failed: more than the kernel keeps of one connection."""

_EXHAUSTED = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))

_log = logging.getLogger(__name__)


class Pollable:
    """What the poller calls. It has `descriptor` registered for `events`, none at 0."""

    __slots__ = ("descriptor", "events", "poller")

    def __init__(self, poller: "Poller", descriptor: int) -> None:
        self.poller = poller
        self.descriptor = descriptor
        self.events = 0

    def ready(self, events: int) -> None:
        """Something has happened."""
        raise NotImplementedError

    def broken(self) -> None:
        """Its own code has failed; it must not be called for the same event for ever."""
        raise NotImplementedError

    def watch(self, events: int) -> None:
        """From now on only these count."""
        if events != self.events:
            self.poller.change(self, events)


class Poller:
    """The epoll object of a worker."""

    __slots__ = ("_descriptor", "_ended", "_epoll", "_handing_out", "_pollables", "loop", "turns")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._epoll = select.epoll()
        self._descriptor = self._epoll.fileno()
        self._pollables: dict[int, Pollable] = {}
        self._handing_out = False
        self._ended: list[tuple[Stream, OSError | None]] = []
        """Streams that wait for the end of the batch to be closed."""
        self.turns = 0
        """Batches of events so far."""
        loop.add_reader(self._epoll.fileno(), self._hand_out)

    def close(self) -> None:
        """Watches nothing more."""
        self.loop.remove_reader(self._epoll.fileno())
        self._epoll.close()

    def change(self, pollable: Pollable, events: int) -> None:
        """Registers for `events` what is registered for others."""
        if not events:
            del self._pollables[pollable.descriptor]
            self._epoll.unregister(pollable.descriptor)
        elif pollable.events:
            self._epoll.modify(pollable.descriptor, events)
        else:
            self._epoll.register(pollable.descriptor, events)
            self._pollables[pollable.descriptor] = pollable
        pollable.events = events

    def end(self, stream: "Stream", error: OSError | None) -> None:
        """Has it finished in a moment; until then nothing is handed to it."""
        self._pollables.pop(stream.descriptor, None)
        stream.events = 0
        if self._handing_out:
            # A callback would cost the loop a turn for it.
            self._ended.append((stream, error))
        else:
            self.loop.call_soon(stream.finish, error)

    def _hand_out(self) -> None:
        pollables = self._pollables
        self.turns += 1
        self._handing_out = True
        try:
            ready = octets.poll(self._epoll, self._descriptor)
            for at in range(0, len(ready), 2):
                pollable = pollables.get(ready[at])
                # One that was there when the events were collected may be gone by the one before.
                if pollable is not None:
                    try:
                        pollable.ready(ready[at + 1])
                    except Exception:
                        _log.exception("a connection is given up for a defect of ours")
                        pollable.broken()
        finally:
            self._handing_out = False
        if self._ended:
            self._finish_ended()

    def _finish_ended(self) -> None:
        ended = self._ended
        self._ended = []
        for stream, error in ended:
            try:
                stream.finish(error)
            except Exception as defect:
                message = "a connection could not be ended as it should"
                self.loop.call_exception_handler({"message": message, "exception": defect})


class Stream(Pollable):
    """The transport of one connected socket, which it owns. Begins with `start`."""

    __slots__ = (
        "_closing",
        "_eof",
        "_high",
        "_lost",
        "_low",
        "_offset",
        "_paused",
        "_peer",
        "_protocol",
        "_reading",
        "_rest",
        "_socket",
        "_unsent",
        "_waiting",
        "_write_eof",
    )

    def __init__(
        self, poller: Poller, connected: socket.socket | int, peer: object, protocol: asyncio.Protocol
    ) -> None:
        """`connected` is non-blocking, and may be only the descriptor: most are never asked for more, and a socket is
        costly to make. `peer` is its address as `socket.accept` gives it, or None."""
        Pollable.__init__(self, poller, connected if isinstance(connected, int) else connected.fileno())
        self._socket = None if isinstance(connected, int) else connected
        self._peer = peer
        self._protocol = protocol
        self._waiting: list[bytes] = []
        """What the kernel has not taken yet."""
        self._offset = 0
        """Bytes of the first of these that it has."""
        self._unsent = 0
        """Bytes of all of these that it has not."""
        self._high = HIGH_WATER
        self._low = LOW_WATER
        self._reading = True
        self._paused = False
        """The protocol was told to write no more."""
        self._eof = False
        """The peer has said that there is no more to read."""
        self._write_eof = False
        self._closing = False
        self._lost = False
        """`connection_lost` is on its way, or has been."""
        self._rest = False
        """Before that, what the peer said is read."""

    def start(self) -> None:
        """Tells the protocol, and reads. What the protocol raises is raised here, too."""
        try:
            self._protocol.connection_made(cast(asyncio.Transport, self))
            self._watch()
        except BaseException:
            self.broken()
            raise

    # --- what the protocol calls (asyncio.Transport)

    def write(self, data: bytes) -> None:
        """Sends, at once as far as the kernel takes it."""
        if self._lost:
            return
        sent = 0
        if not self._waiting:
            try:
                sent = octets.send(self.descriptor, data, 0)
            except OSError as error:
                self._fail(error)
                return
            if sent == len(data):
                return
        if not data:
            return
        if not self._waiting:
            self._offset = sent
        self._waiting.append(data)
        self._unsent += len(data) - sent
        self._watch()
        if self._unsent > self._high and not self._paused:
            self._paused = True
            self._protocol.pause_writing()

    def write_eof(self) -> None:
        """Sends the end of the stream behind all that was written."""
        if not self._write_eof and not self._closing:
            self._write_eof = True
            if not self._waiting:
                self._shut_down()

    def can_write_eof(self) -> bool:
        """TCP can."""
        return True

    def pause_reading(self) -> None:
        """Reads nothing until told to."""
        self._reading = False
        self._watch()

    def resume_reading(self) -> None:
        """Reads again."""
        self._reading = True
        self._watch()

    def close(self) -> None:
        """Reads no more, and closes once everything is sent."""
        self._reading = False
        if self._closing:
            return
        self._closing = True
        if self._waiting:
            self._watch()
        else:
            self._end(None)

    def abort(self) -> None:
        """Closes without sending what is left."""
        self._reading = False
        self._end(None)

    def is_closing(self) -> bool:
        """Whether it is closed, or about to be."""
        return self._closing

    def get_write_buffer_size(self) -> int:
        """Bytes that the kernel has not taken yet."""
        return self._unsent

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Other bounds than HIGH_WATER and LOW_WATER."""
        self._high = HIGH_WATER if high is None else high
        self._low = self._high // 4 if low is None else low

    def get_extra_info(self, name: str, default: object = None) -> object:
        """`peername` or `socket`."""
        if name == "peername":
            return self._peer
        if name == "socket":
            return self._made() if self.descriptor >= 0 else self._socket or default
        return default

    def set_protocol(self, protocol: asyncio.Protocol) -> None:
        """Who is told from now on."""
        self._protocol = protocol

    def _made(self) -> socket.socket:
        if self._socket is None:
            self._socket = socket.socket(fileno=self.descriptor)
        return self._socket

    # --- what the poller calls

    def ready(self, events: int) -> None:
        """Reads and sends what there is. An error or the peer's reset shows when either is tried."""
        if self._waiting and events & ~IN:
            self._send()
        if self._reading and not self._eof and not self._closing and events & ~OUT:
            self._receive()

    def broken(self) -> None:
        """Gives the connection up, and lets nobody on either side take that for an orderly end."""
        self._reading = False
        self._end(ConnectionAbortedError("a defect of ours"))
        reset(cast(asyncio.Transport, self))

    def _receive(self) -> None:
        try:
            data = octets.receive(self.descriptor)
        except OSError as error:
            self._end(error)
            return
        if data is None:
            return
        if data:
            self._protocol.data_received(data)
            return
        self._eof = True
        if self._protocol.eof_received():
            self._watch()
        else:
            self.close()

    def _send(self) -> None:
        waiting = self._waiting
        done = 0
        try:
            for data in waiting:
                sent = octets.send(self.descriptor, data, self._offset)
                self._unsent -= sent
                if self._offset + sent < len(data):
                    self._offset += sent
                    break
                self._offset = 0
                done += 1
        except OSError as error:
            self._fail(error)
            return
        del waiting[:done]
        if self._paused and self._unsent <= self._low:
            self._paused = False
            self._protocol.resume_writing()
        if not waiting and not self._lost:
            if self._closing:
                self._end(None)
            elif self._write_eof:
                self._shut_down()
        self._watch()

    def _shut_down(self) -> None:
        try:
            self._made().shutdown(socket.SHUT_WR)
        except OSError as error:
            self._fail(error)

    def _watch(self) -> None:
        """Registers for what is of interest now."""
        if self._lost:
            return
        events = OUT if self._waiting else 0
        if self._reading and not self._eof and not self._closing:
            events |= IN
        self.watch(events)

    def _fail(self, error: OSError) -> None:
        """Nothing can be sent any more. An endpoint that answers in the middle of a request and closes is the rule, not
        the exception: its answer came before its reset, and is still to be read."""
        if self._reading and not self._eof and not self._closing:
            self._rest = True
        self._end(error)

    def _read_rest(self, ended: bool) -> None:
        """`ended`: the peer's end came in order, before its reset. Sending then meets EPIPE, and else ECONNRESET."""
        for _ in range(REST):
            if not self._reading:
                return
            try:
                data = octets.receive(self.descriptor)
            except OSError:
                return
            if not data:
                if ended:
                    self._protocol.eof_received()
                return
            self._protocol.data_received(data)

    def _end(self, error: OSError | None) -> None:
        """No more of it: the protocol is told in a moment, and then the socket closed."""
        self._closing = True
        if self._lost:
            return
        self._lost = True
        self._waiting = []
        self._unsent = 0
        self.poller.end(self, error)

    def finish(self, error: OSError | None) -> None:
        """Tells the protocol, and closes."""
        try:
            try:
                if self._rest:
                    self._read_rest(error is not None and error.errno == errno.EPIPE)
            finally:
                self._protocol.connection_lost(error)
        finally:
            descriptor = self.descriptor
            self.descriptor = -1
            if self._socket is not None:
                self._socket.close()
            else:
                os.close(descriptor)
            # They hold each other; nobody else does.
            self._protocol = cast(asyncio.Protocol, None)


class Listener(Pollable):
    """Accepts the connections of a listening socket, which it owns."""

    __slots__ = ("_closed", "_connection", "_exhausted", "_socket")

    def __init__(
        self,
        poller: Poller,
        listening: socket.socket,
        connection: Callable[[], asyncio.Protocol],
        exhausted: Callable[[], None],
    ) -> None:
        """`connection` makes the protocol of each; `exhausted` is called when there are no resources for one."""
        Pollable.__init__(self, poller, listening.fileno())
        self._socket = listening
        self._connection = connection
        self._exhausted = exhausted
        self._closed = False
        # Inherited by the connections (tcp(7)): a response must not wait for the acknowledgement of the one before.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._accept_again()

    def close(self) -> None:
        """Accepts nothing more."""
        if not self._closed:
            self._closed = True
            self.watch(0)
            self.poller.loop.call_soon(self._socket.close)

    def ready(self, events: int) -> None:
        """Accepts what waits."""
        for _ in range(ACCEPTED):
            if self._closed:
                return
            try:
                accepted = octets.accept(self._socket)
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    _log.error("no connection can be accepted for %g s: %s", ACCEPT_AGAIN, error.strerror)
                    self.watch(0)
                    self.poller.loop.call_later(ACCEPT_AGAIN, self._accept_again)
                    self._exhausted()
                    return
                # The peer has gone meanwhile, or the network below has (accept(2)).
                continue
            if accepted is None:
                return
            descriptor, peer = accepted
            Stream(self.poller, descriptor, peer, self._connection()).start()

    def broken(self) -> None:
        """The next one may go well."""

    def _accept_again(self) -> None:
        if not self._closed:
            try:
                self.watch(IN)
            except OSError as error:
                # The kernel needs memory for this, too (epoll_ctl(2)).
                _log.error("no connection can be accepted for %g s: %s", ACCEPT_AGAIN, error.strerror)
                self.poller.loop.call_later(ACCEPT_AGAIN, self._accept_again)
