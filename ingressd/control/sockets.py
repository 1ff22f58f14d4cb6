"""The listening sockets, all owned by the controller.

Each worker gets a socket of its own for each address, all bound with SO_REUSEPORT. The kernel then spreads new
connections over the workers by a hash of their addresses, with no worker waking up for a connection that another takes;
and because the controller keeps every socket open, a worker that dies leaves nothing refused: what arrives for its
sockets waits in their queues for the worker that is started in its place.

SO_REUSEPORT would also let a second ingressd of the same user bind the same port and take half of the connections. So a
port is first bound without it, which fails if anybody listens there, and only then for good. One that is meant to take
over gets the sockets themselves (`handover`), and opens no others at the same place: if it ended before it is ready,
what waits in their queues would be lost.
"""

import errno
import socket
from collections.abc import Sequence
from dataclasses import dataclass

BACKLOG = 4096
"""Connections that may wait to be accepted, for each socket; the kernel caps it at net.core.somaxconn (4096)."""

ANY_V6 = "::"
ANY_V4 = "0.0.0.0"


class ListenError(Exception):
    """An address cannot be listened on. The text is for the user, one line."""


@dataclass(frozen=True, slots=True)
class Port:
    """What to listen on: `number` 0 lets the system choose. `flag` is the one to change it with, for messages.
    `addresses` are IP literals; none means every address of the machine."""

    flag: str
    number: int
    addresses: tuple[str, ...] = ()


def listen(port: Port, sets: int, taken: Sequence[socket.socket] = ()) -> list[list[socket.socket]]:
    """`sets` times the listening sockets of `port`, one per address. They are non-blocking and not inheritable.

    Where some of `taken` listen, these are used and no others: a set may get several, or share one with another. Where
    the system chooses the port, all share the one it chose. Raises ListenError, leaving nothing open but `taken`.
    """
    result: list[list[socket.socket]] = [[] for _ in range(sets)]
    opened: list[socket.socket] = []
    number = port.number
    try:
        for address in port.addresses or (_any_address(),):
            have = [sock for sock in taken if number and sock.getsockname()[:2] == (address, number)]
            if number and not have:
                _probe(port, address, number)
            if not have:
                for _ in range(sets):
                    have.append(_open(port, address, number))
                    opened.append(have[-1])
                    number = have[-1].getsockname()[1]
            for at in range(max(sets, len(have))):
                result[at % sets].append(have[at % len(have)])
    except ListenError:
        close([opened])
        raise
    return result


def close(groups: Sequence[Sequence[socket.socket]]) -> None:
    """Closes all of them; the connections that nobody has accepted are reset."""
    for group in groups:
        for sock in group:
            sock.close()


def url(sock: socket.socket, scheme: str = "http") -> str:
    """Where `sock` listens, as http://address:port."""
    address, number = sock.getsockname()[:2]
    return f"{scheme}://[{address}]:{number}" if ":" in address else f"{scheme}://{address}:{number}"


def _any_address() -> str:
    """`::`, which takes IPv4 too, or the IPv4 wildcard on a machine without IPv6."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as sock:
            sock.bind((ANY_V6, 0))
    except OSError:
        return ANY_V4
    return ANY_V6


def _probe(port: Port, address: str, number: int) -> None:
    with _bound(port, address, number, share=False):
        pass


def _open(port: Port, address: str, number: int) -> socket.socket:
    sock = _bound(port, address, number, share=True)
    sock.listen(BACKLOG)
    sock.setblocking(False)
    return sock


def _bound(port: Port, address: str, number: int, *, share: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        sock = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise ListenError(explain(port, address, number, error)) from error
    try:
        # Connections of an ingressd that ran here before may still be closing; they are no reason to refuse.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if share:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            # The wildcard we chose ourselves takes both families; an address the user wrote is taken as written.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1 if port.addresses else 0)
        sock.bind((address, number))
    except OSError as error:
        sock.close()
        raise ListenError(explain(port, address, number, error)) from error
    return sock


def explain(port: Port, address: str, number: int, error: OSError) -> str:
    """Why `address` and `number` cannot be listened on, and what to change."""
    place = f"[{address}]:{number}" if ":" in address else f"{address}:{number}"
    match error.errno:
        case errno.EADDRINUSE:
            why = f"another process listens there: stop it or choose another port with {port.flag}"
        case errno.EACCES | errno.EPERM:
            why = (
                "permission denied: ports below 1024 need the capability NET_BIND_SERVICE (or root); "
                f"choose another port with {port.flag}"
            )
        case errno.EADDRNOTAVAIL:
            why = "this machine has no such address: change --bind-address"
        case errno.EAFNOSUPPORT:
            why = "this machine has no IPv6: change --bind-address"
        case _:
            why = error.strerror or str(error)
    return f"cannot listen on {place} ({port.flag}): {why}"
