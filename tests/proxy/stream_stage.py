"""Streams over real sockets in the test's own process, of the compiled module and of the interpreted one."""

import asyncio
import contextlib
import gc
import os
import resource
import socket
import struct
from collections.abc import Callable, Iterator
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import ingressd
from ingressd.proxy import stream
from tests.kit import eventually

SMALL = 4096
"""Bytes of socket buffers, as far as the kernel goes down."""


def _interpreted() -> ModuleType:
    """The module from its source, whatever lies beside it."""
    loader = SourceFileLoader("interpreted_stream", str(Path(ingressd.__file__).parent / "proxy" / "stream.py"))
    spec = spec_from_loader(loader.name, loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module


MODULES = {"interpreted": _interpreted()}
if not str(stream.__file__).endswith(".py"):
    MODULES["compiled"] = stream


class Recorder(asyncio.Protocol):
    """Writes down what it is told. `then` has what else it does when told one of `made`, `data`, `eof`, `pause`,
    `resume` and `lost`."""

    def __init__(self, stays: bool = False, **then: Callable[[], object]) -> None:
        self.told: list[str] = []
        self.received = b""
        self.stays = stays
        """Goes on when the peer has ended its direction."""
        self.then = then
        self.error: Exception | None = None
        self.transport: asyncio.Transport | None = None

    def _told(self, what: str) -> None:
        self.told.append(what)
        if what in self.then:
            self.then[what]()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._told("made")

    def data_received(self, data: bytes) -> None:
        self.received += data
        self._told("data")

    def eof_received(self) -> bool:
        self._told("eof")
        return self.stays

    def pause_writing(self) -> None:
        self._told("pause")

    def resume_writing(self) -> None:
        self._told("resume")

    def connection_lost(self, error: Exception | None) -> None:
        self.error = error
        self._told("lost")

    def end(self, method: str) -> None:
        """Calls `close` or `abort`."""
        getattr(self.transport, method)()

    @property
    def lost(self) -> bool:
        return "lost" in self.told

    @property
    def ends(self) -> list[str]:
        """What it was told but for data."""
        return [what for what in self.told if what not in ("made", "data")]


class Stage:
    """A poller, and connections of it to sockets of the test."""

    def __init__(self, module: ModuleType) -> None:
        self.module: Any = module
        self.poller = self.module.Poller(asyncio.get_running_loop())
        self._kept = contextlib.ExitStack()
        self._recorders: list[Recorder] = []
        self._courier = self.stream(Recorder())

    def keep(self, sock: socket.socket) -> socket.socket:
        """Closes it at the end."""
        return self._kept.enter_context(sock)

    def stream(self, recorder: Recorder, small: bool = False) -> tuple[Any, socket.socket]:
        """A stream over TCP that has begun, and its peer."""
        with socket.create_server(("127.0.0.1", 0)) as server:
            if small:
                server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
            ours = socket.create_connection(server.getsockname())
            peer = self.keep(server.accept()[0])
        if small:
            for sock in (ours, peer):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
        # Without it a small segment waits for the acknowledgement of the one before.
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self.over(ours, recorder), peer

    def over(self, ours: socket.socket, recorder: Recorder) -> Any:
        """A stream over this socket that has begun."""
        ours.setblocking(False)
        self._recorders.append(recorder)
        made = self.module.Stream(self.poller, ours, ours.getsockname(), recorder)
        made.start()
        return made

    def remember(self, recorder: Recorder) -> None:
        """Ends its connection at the end."""
        self._recorders.append(recorder)

    def forget(self, recorder: Recorder) -> None:
        """It need not be told of an end."""
        self._recorders.remove(recorder)

    async def looked(self) -> None:
        """When this is over the poller has handed out what was there for the others before."""
        _, peer = self._courier
        recorder = self._recorders[0]
        have = len(recorder.received)
        peer.send(b"!")
        await eventually(lambda: len(recorder.received) > have, "the poller has looked")

    async def fill(self, made: Any) -> int:
        """Writes until the kernel has taken all it will. Gives how many bytes were written."""
        written = 0
        while True:
            made.write(b"f" * SMALL)
            written += SMALL
            if made.get_write_buffer_size():
                # The peer's kernel may take some more in a moment.
                await self.looked()
                if made.get_write_buffer_size():
                    return written

    async def end(self) -> None:
        """Ends all connections, and asserts that nothing of them is left."""
        for recorder in self._recorders:
            if not recorder.lost and recorder.transport is not None:
                recorder.transport.abort()
        await eventually(lambda: all(recorder.lost for recorder in self._recorders), "all are told of their end")
        assert all(recorder.told.count("lost") == 1 for recorder in self._recorders)
        self.poller.close()
        self._kept.close()

    def streams(self) -> int:
        """How many streams there are."""
        return sum(type(thing) is self.module.Stream for thing in gc.get_objects())


def pieces(*sizes: int) -> list[bytes]:
    """Of bytes that tell their place."""
    whole = b"".join(b"%07d\n" % number for number in range(sum(sizes) // 8 + 1))
    ends = [sum(sizes[: number + 1]) for number in range(len(sizes))]
    return [whole[end - size : end] for end, size in zip(ends, sizes, strict=True)]


def reset(peer: socket.socket) -> None:
    """Closes so that the other side sees a reset."""
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()


def drain(peer: socket.socket) -> bytes:
    """What has come, of what fits into memory at once."""
    peer.setblocking(False)
    data = b""
    with contextlib.suppress(BlockingIOError):
        while piece := peer.recv(1 << 16):
            data += piece
    return data


async def read_to_end(peer: socket.socket) -> bytes:
    """What comes until the end of the stream."""
    peer.setblocking(False)
    loop = asyncio.get_running_loop()
    data = b""
    while piece := await asyncio.wait_for(loop.sock_recv(peer, 1 << 16), 10):
        data += piece
    return data


@contextlib.contextmanager
def no_descriptors() -> Iterator[None]:
    """Nothing can be opened in this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    spare = os.dup(0)
    os.close(spare)
    resource.setrlimit(resource.RLIMIT_NOFILE, (spare, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
