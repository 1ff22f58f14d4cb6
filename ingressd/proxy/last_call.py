"""The end of a listening socket, without losing whom the kernel has connected.

The kernel completes connections by itself and queues them until they are accepted. Closing the last descriptor of a
listening socket resets those in its queue, and those whose handshake is not over yet: their clients believe that they
are connected. So before the end SYNs are dropped, which clients send again a second later, to whoever listens then or
to be refused; what has been answered already gets LAST_CALL seconds to be accepted, and more where the queue is not
empty by then.
"""

import contextlib
import ctypes
import socket
import struct
import sys

LAST_CALL = 0.25
"""Seconds for handshakes under way to come to their end: some round trips."""

_TCP_INFO_LENGTH = 28
_QUEUED = 24
"""Where struct tcp_info (linux/tcp.h) has tcpi_unacked: of a listening socket the connections nobody has accepted."""

_SO_ATTACH_FILTER, _SO_DETACH_FILTER = 26, 27
"""socket(7), asm-generic/socket.h."""

_NO_SYN = b"".join(
    struct.pack("HBBI", *instruction)
    for instruction in (
        (0x30, 0, 0, 13),  # load the byte with the flags of the TCP header
        (0x45, 0, 1, 0x02),  # SYN?
        (0x06, 0, 0, 0),  # drop it
        (0x06, 0, 0, 0xFFFFFFFF),  # or let it pass
    )
)
"""A classic BPF program (linux/filter.h)."""


def drop_syns(listening: socket.socket) -> None:
    """Nobody new gets a connection from now on; in every process that has this socket, until one takes SYNs again."""
    program = ctypes.create_string_buffer(_NO_SYN, len(_NO_SYN))
    fprog = struct.pack("HP", len(_NO_SYN) // 8, ctypes.addressof(program))
    # Linux has it. Where it is refused, those who come in the very last moment are reset.
    with contextlib.suppress(OSError):
        listening.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, fprog)


def take_syns(listening: socket.socket) -> None:
    """Undoes it, in a process that goes on with the socket: the workers of one that has died took it for theirs."""
    with contextlib.suppress(OSError):  # there is nothing to undo
        listening.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)


def queued(listening: socket.socket) -> int:
    """How many connections wait to be accepted."""
    info = listening.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_LENGTH)
    return int.from_bytes(info[_QUEUED:], sys.byteorder)
