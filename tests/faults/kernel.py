"""What the kernel holds of a TCP connection over loopback, from /proc/net/tcp (proc(5))."""

import socket


def outgoing(sock: socket.socket) -> int:
    """Bytes sent on `sock` (IPv4) that the other end, which is on this machine too, has not read yet."""
    return _held(sock.getsockname(), sock.getpeername())


def incoming(sock: socket.socket) -> int:
    """Bytes that the other end has sent and that were not read from `sock` yet."""
    return _held(sock.getpeername(), sock.getsockname())


def _held(sender: tuple[str, int], receiver: tuple[str, int]) -> int:
    """Bytes the far kernel has not acknowledged yet, and bytes nobody has read there."""
    held = 0
    here, there = _name(sender), _name(receiver)
    with open("/proc/net/tcp") as table:
        for line in table:
            _, local, remote, _, queues, *_ = line.split(None, 5)
            if (local, remote) == (here, there):
                held += int(queues.partition(":")[0], 16)
            elif (local, remote) == (there, here):
                held += int(queues.partition(":")[2], 16)
    return held


def _name(address: tuple[str, int]) -> str:
    return f"{int.from_bytes(socket.inet_aton(address[0]), 'little'):08X}:{address[1]:04X}"
