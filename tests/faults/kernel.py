"""What the kernel holds of a TCP connection over loopback, from /proc/net/tcp (proc(5))."""

import socket
from dataclasses import dataclass


@dataclass(frozen=True)
class Queued:
    """Bytes on their way from one end to the other: not acknowledged by the far kernel, and not read there yet."""

    sending: int
    unread: int

    @property
    def all(self) -> int:
        """Bytes the kernel holds."""
        return self.sending + self.unread


def queued(sock: socket.socket) -> Queued:
    """What was sent on `sock` (IPv4) and has not been read at the other end, which is on this machine too."""
    here, there = _name(sock.getsockname()), _name(sock.getpeername())
    sending = unread = 0
    with open("/proc/net/tcp") as table:
        for line in table:
            _, local, remote, _, queues, *_ = line.split(None, 5)
            if (local, remote) == (here, there):
                sending = int(queues.partition(":")[0], 16)
            elif (local, remote) == (there, here):
                unread = int(queues.partition(":")[2], 16)
    return Queued(sending, unread)


def _name(address: tuple[str, int]) -> str:
    return f"{int.from_bytes(socket.inet_aton(address[0]), 'little'):08X}:{address[1]:04X}"
