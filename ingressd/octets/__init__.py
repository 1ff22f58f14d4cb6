"""Bytes put together, received and sent, without what Python does for objects of every kind.

This is the meaning; compiled modules use the same functions as `__init__.pxd` has them, inline and in C. A package, so
that it is not taken for a module that is compiled itself.
"""

import contextlib
import os
import select
import socket

RECEIVE = 127 * 1024
"""Bytes: little enough for the caches of a CPU, and for malloc to hand out without asking the kernel (mallopt(3))."""

EVENTS = 256
"""How many `poll` gives at a time."""


def join(parts: list[bytes]) -> bytes:
    """The parts, one behind the other."""
    return b"".join(parts)


def decimal(value: int) -> bytes:
    """A number from 0 as digits."""
    return b"%d" % value


def receive(descriptor: int) -> bytes | None:
    """What a non-blocking socket has received, RECEIVE bytes at most: nothing (`b""`) at the end of the stream, None if
    there is nothing yet. Raises OSError."""
    try:
        return os.read(descriptor, RECEIVE)
    except BlockingIOError:
        return None


def send(descriptor: int, data: bytes, start: int) -> int:
    """How many bytes of `data` from `start` a non-blocking socket takes. Raises OSError, but not for none at all."""
    try:
        return os.write(descriptor, memoryview(data)[start:])
    except BlockingIOError:
        return 0


def accept(listening: socket.socket) -> tuple[int, object] | None:
    """The descriptor, non-blocking, of a connection that waits at a non-blocking socket, and its peer's address as
    `socket.accept` gives it (None where it is of neither IPv4 nor IPv6); None if there is none. Raises OSError."""
    try:
        connected, peer = listening.accept()
    except BlockingIOError:
        return None
    connected.setblocking(False)
    return connected.detach(), peer or None


def poll(epoll: select.epoll, descriptor: int) -> list[int]:
    """What is ready now: a descriptor and its events (epoll_ctl(2)), the next descriptor and its events, and so on.
    `descriptor` is that of `epoll`. Raises OSError."""
    return [number for ready in epoll.poll(0, EVENTS) for number in ready]


def write_lines(descriptor: int, lines: bytes, start: int, longest: int) -> int:
    """Writes `lines` from `start` on, where a line begins, in parts of whole lines: of `longest` bytes at most, or of
    one line that is longer. Gives how far it came: to the end, unless a signal comes in between or a non-blocking
    descriptor takes no more. Raises OSError. Other threads run meanwhile."""
    view = memoryview(lines)
    with contextlib.suppress(BlockingIOError):
        while start < len(lines):
            end = len(lines)
            if end - start > longest:
                end = lines.rfind(b"\n", start, start + longest) + 1 or lines.find(b"\n", start) + 1 or end
            start += os.write(descriptor, view[start:end])
    return start
