"""Connections of which it is not known yet what they are: from their start to the end of their TLS handshake.

Nobody waits for them. They have a time, and there are only so many of them; when one too many comes, the one that is
there for longest is dropped: it is the likeliest never to be through, and a flood of them keeps nobody else out who is
quicker. A handshake costs as much as thirty requests, so in each turn of the loop there is at most one, and established
connections have their turn in between.
"""

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from ingressd.link import Sample
from ingressd.proxy.context import Context
from ingressd.proxy.tls_table import TlsTable

if TYPE_CHECKING:
    from ingressd.proxy.tls_server import TlsServer


class Gate:
    """All of a worker's. Times in seconds of the loop's clock."""

    __slots__ = ("_counts", "_ready", "_turn", "_waiting", "context", "table")

    def __init__(self, context: Context, table: TlsTable) -> None:
        self.context = context
        self.table = table
        self._waiting: dict[asyncio.Transport, float] = {}
        """Until when they have time; the oldest first."""
        self._ready: deque[TlsServer] = deque()
        self._turn = -1
        """Of the poller, when a first step was taken last."""
        self._counts: dict[tuple[str, str], int] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def enter(self, transport: asyncio.Transport) -> None:
        """A connection begins."""
        if len(self._waiting) >= self.context.settings.limits.handshakes:
            self._drop(next(iter(self._waiting)), "crowded_out")
        self._waiting[transport] = self.context.now + self.context.settings.timeouts.handshake

    def leave(self, transport: asyncio.Transport) -> bool:
        """It is through, or gone. False if it had left before."""
        return self._waiting.pop(transport, None) is not None

    def check(self, now: float) -> None:
        """Called about ten times a second: whose time is over?"""
        while self._waiting:
            transport, deadline = next(iter(self._waiting.items()))
            if now < deadline:
                break
            self._drop(transport, "timeout")

    def _drop(self, transport: asyncio.Transport, reason: str) -> None:
        del self._waiting[transport]
        self.count("tls_handshake_failures", reason)
        transport.abort()

    def submit(self, server: "TlsServer") -> None:
        """Has the first step of a handshake taken when its turn comes: at once if it is the first."""
        turn = self.context.poller.turns
        if not self._ready and turn != self._turn:
            self._turn = turn
            server.first_step()
            return
        self._ready.append(server)
        if len(self._ready) == 1:
            self.context.loop.call_soon(self._take_turn)

    def _take_turn(self) -> None:
        server = self._ready[0]
        try:
            server.first_step()
        finally:
            self._ready.popleft()
            if self._ready:
                self.context.loop.call_soon(self._take_turn)

    def drain(self) -> None:
        """Drops all that are not through: nothing was promised to them."""
        for transport in list(self._waiting):
            del self._waiting[transport]
            transport.abort()

    def count(self, name: str, label: str = "") -> None:
        """Counts one of `name` with this value of its label."""
        self._counts[name, label] = self._counts.get((name, label), 0) + 1

    def take(self) -> list[Sample]:
        """What was counted since the call before."""
        samples = [Sample(name, label, count) for (name, label), count in self._counts.items()]
        self._counts.clear()
        return samples
