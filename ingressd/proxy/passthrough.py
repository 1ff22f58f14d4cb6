"""TLS that is not ended here: the bytes of a connection, from the ClientHello on, passed to an endpoint and back.

Each direction ends for itself, and a side that does not keep up stops the reading of the other. What is inside may be
any protocol; only the server name was read.
"""

import asyncio
from typing import TYPE_CHECKING, cast

from ingressd.aio import spawn
from ingressd.model import ClusterKey
from ingressd.proxy.closing import reset
from ingressd.proxy.connecting import connect

if TYPE_CHECKING:
    from ingressd.proxy.gate import Gate

CONNECT_TIME = 5.0
"""Seconds for an endpoint to accept a connection."""

TRIES = 3
"""Endpoints that are asked."""

IDLE_TIME = 600.0
"""Seconds of silence in both directions after which it ends; ingress-nginx: proxy-stream-timeout."""


class Side(asyncio.Protocol):
    """One of the two connections."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.other: Side | None = None
        self.ended = False
        self.lost = False
        self.touched = True
        """Something has come since the last look."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.touched = True
        if self.other is not None and self.other.transport is not None:
            self.other.transport.write(data)

    def eof_received(self) -> bool:
        self.ended = True
        other = self.other
        if other is None or other.transport is None or other.ended:
            self.close()
            return False
        if other.transport.can_write_eof():
            other.transport.write_eof()
        return True

    def pause_writing(self) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        self.touched = True
        if self.other is not None and self.other.transport is not None:
            self.other.transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = True
        other = self.other
        if other is None or other.transport is None or other.lost:
            return
        if error is None and self.ended:
            other.transport.close()
        else:
            # Nobody must take a connection that broke for one that ended.
            reset(other.transport)

    def close(self) -> None:
        """Closes both once everything is sent."""
        for side in (self, self.other):
            if side is not None and side.transport is not None:
                side.transport.close()

    def abort(self) -> None:
        """Closes both at once."""
        for side in (self, self.other):
            if side is not None and side.transport is not None:
                side.transport.abort()


class Passthrough(Side):
    """The client's side, which is there first."""

    def __init__(self, gate: "Gate", cluster: ClusterKey, hello: bytes) -> None:
        super().__init__()
        self._gate = gate
        self._cluster = cluster
        self._hello = hello
        self._deadline = gate.context.now + IDLE_TIME

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        context = self._gate.context
        context.counters.connections += 1
        if context.clients >= context.settings.limits.connections:
            context.counters.connections_refused += 1
            self.abort()
            return
        context.passthroughs.add(self)
        if self.transport is not None:
            self.transport.pause_reading()
        spawn(self._connect(), "connect a passthrough")

    def connection_lost(self, error: Exception | None) -> None:
        self._gate.context.passthroughs.discard(self)
        super().connection_lost(error)

    def check(self, now: float) -> None:
        """Called about ten times a second: whether it has been silent for too long."""
        if self.touched or (self.other is not None and self.other.touched):
            self.touched = False
            if self.other is not None:
                self.other.touched = False
            self._deadline = now + IDLE_TIME
        elif now >= self._deadline:
            self.abort()

    async def _connect(self) -> None:
        """Finds an endpoint that accepts the connection; without any, the client's is closed."""
        context = self._gate.context
        cluster = context.clusters.get(self._cluster)
        endpoint = cluster.pick() if cluster is not None else None
        unreachable = []
        while cluster is not None and endpoint is not None and not self.lost:
            try:
                connected = await connect(context.loop, endpoint.endpoint, CONNECT_TIME)
                _, other = await context.loop.create_connection(Side, sock=connected)
            except OSError as error:
                context.counters.connect_failures += 1
                endpoint.unreachable(error)
                unreachable.append(endpoint)
                endpoint = cluster.pick_again(endpoint, unreachable) if len(unreachable) < TRIES else None
                continue
            context.counters.upstream_connections += 1
            if endpoint.failures:
                # It accepts connections: more is not to be seen of what is encrypted.
                endpoint.answered(200)
            self._join(other)
            return
        self._gate.count("tls_passthrough_failures")
        self.abort()

    def _join(self, other: Side) -> None:
        if self.lost or self.transport is None or other.transport is None:
            other.abort()
            return
        self.other = other
        other.other = self
        other.transport.write(self._hello)
        self._hello = b""
        self.transport.resume_reading()
