"""Listening sockets that go from one ingressd to the next on the same machine, while both are alive.

The one that runs listens on a Unix socket. The next one connects there, is given the listening sockets themselves
(SCM_RIGHTS, unix(7)), starts its workers with them, and says so once it is ready; only then does the first one stop.
No socket is ever closed, so no connection that waits in the queue of one is lost: whoever accepts it serves it. If the
next one ends before it is ready, nothing has happened.

Sockets of their own for each (SO_REUSEPORT alone) would not do: the kernel resets the connections in the queue of a
socket that is closed, and those whose handshake is under way, unless net.ipv4.tcp_migrate_req is set on the machine.
"""

import asyncio
import contextlib
import logging
import os
import socket
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

from ingressd.aio import spawn
from ingressd.control.sockets import ListenError
from ingressd.proxy.last_call import take_syns

FLAG = "--handover-socket"
READY = b"ready"
IN_ONE = 250
"""Sockets in one message; the kernel takes 253 (SCM_MAX_FD)."""
MORE, LAST = b"+", b"."
"""What a message with sockets says: whether another one follows."""
ANSWER = 5.0
"""Seconds until whoever listens there must have given its sockets."""

_CREDENTIALS = "3i"
"""struct ucred: process, user, group (unix(7), SO_PEERCRED)."""

_log = logging.getLogger(__name__)


class Taken:
    """The sockets of the one before us, and the connection to it. Without one before us there are none."""

    def __init__(self, sockets: list[socket.socket], connection: socket.socket | None) -> None:
        self.sockets = sockets
        self._connection = connection

    @property
    def shared(self) -> bool:
        """Whether the one before us goes on with them, for all we know."""
        return self._connection is not None

    def ready(self) -> None:
        """Lets the one before us stop."""
        if self._connection is not None:
            for sock in self.sockets:
                take_syns(sock)
            with contextlib.suppress(OSError):  # it has ended already
                self._connection.sendall(READY)
        self.close()

    def close(self) -> None:
        """Ends the connection; the one before us goes on, if it was not told to stop."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def take(path: str) -> Taken:
    """Asks who listens at `path` for its listening sockets. Raises ListenError if it does not give them."""
    if not os.access(Path(path).absolute().parent, os.W_OK | os.X_OK):
        raise ListenError(f"cannot listen on {path} ({FLAG}): there is no such directory, or none we may write to")
    if Path(path).exists() and not Path(path).is_socket():
        # `Offer.open` would replace it.
        raise ListenError(
            f"cannot listen on {path} ({FLAG}): there is something else than a socket: write another path"
        )
    connection = socket.socket(socket.AF_UNIX)
    descriptors: list[int] = []
    said = MORE
    try:
        connection.settimeout(ANSWER)
        try:
            connection.connect(path)
        except (FileNotFoundError, ConnectionRefusedError):
            connection.close()
            return Taken([], None)
        while said == MORE:
            said, given, _, _ = socket.recv_fds(connection, 1, IN_ONE)
            descriptors += given
    except OSError as error:
        connection.close()
        _close(descriptors)
        raise ListenError(f"cannot take over from {path} ({FLAG}): {error.strerror or error}") from error
    if said != LAST or not descriptors:
        connection.close()
        _close(descriptors)
        raise ListenError(
            f"cannot take over from {path} ({FLAG}): whoever listens there gives nothing; it belongs to another user, "
            "or another process is taking over right now"
        )
    sockets = [socket.socket(fileno=descriptor) for descriptor in descriptors]
    for sock in sockets:
        sock.setblocking(False)
    return Taken(sockets, connection)


def _close(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


class Offer:
    """Gives `sockets` to one process after another, until one of them is ready: then `taken` is called, once."""

    def __init__(self, path: str, sockets: Sequence[socket.socket], taken: Callable[[], None]) -> None:
        self._path = Path(path)
        self._sockets = sockets
        self._taken = taken
        self._task: asyncio.Task[None] | None = None
        self._given = False
        """Whether another process has them, and is ready or may yet be."""

    def open(self) -> None:
        """Begins to listen, in place of whoever did at this path. Raises ListenError."""
        listening = socket.socket(socket.AF_UNIX)
        listening.setblocking(False)
        draft = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        try:
            with contextlib.suppress(FileNotFoundError):
                draft.unlink()
            listening.bind(str(draft))
            draft.chmod(0o600)
            listening.listen()
            draft.replace(self._path)
        except OSError as error:
            listening.close()
            raise ListenError(f"cannot listen on {self._path} ({FLAG}): {error.strerror or error}") from error
        self._task = spawn(self._serve(listening), "handover")

    def stop(self) -> bool:
        """Listens no more. Gives whether another process has the sockets: it goes on with them without us."""
        if self._task is not None:
            self._task.cancel()
        return self._given

    async def close(self) -> None:
        """Has stopped when this returns."""
        self.stop()
        if self._task is not None:
            await asyncio.wait([self._task])

    async def _serve(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with listening:
            while True:
                connection, _ = await loop.sock_accept(listening)
                with connection:
                    try:
                        if await self._give(connection):
                            break
                    except OSError as error:
                        _log.warning("handover: %s", error)
                    self._given = False
        self._taken()

    async def _give(self, connection: socket.socket) -> bool:
        """Whether the other one is ready, in the end."""
        process, user, _ = struct.unpack(
            _CREDENTIALS, connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize(_CREDENTIALS))
        )
        if user != os.geteuid():
            _log.warning("handover: process %d of user %d is refused: it is not of our user", process, user)
            return False
        _log.info("handover: process %d takes the listening sockets", process)
        self._given = True
        given = [sock.fileno() for sock in self._sockets]
        for at in range(0, len(given), IN_ONE):
            socket.send_fds(connection, [MORE if at + IN_ONE < len(given) else LAST], given[at : at + IN_ONE])
        said = b""
        while piece := await asyncio.get_running_loop().sock_recv(connection, len(READY)):
            said += piece
        if said != READY:
            _log.warning("handover: process %d has ended before it was ready; going on", process)
        return said == READY
