"""Idle upstream connections: a stack per endpoint, and one order over all of them for the limit.

The last one used is taken first, so that what is not needed grows old and is closed. Nothing here does IO but the look
at a socket in `Upstream.stale`.
"""

import ssl
from typing import TYPE_CHECKING

from ingressd.model import Limits, Timeouts
from ingressd.proxy.registry import EndpointState

if TYPE_CHECKING:
    from ingressd.proxy.upstream import Upstream


class Pool:
    """All idle connections of a worker. Times in seconds of the loop's clock."""

    __slots__ = ("_age", "_idle", "_limit", "_order", "_requests", "_secured")

    def __init__(self, timeouts: Timeouts, limits: Limits) -> None:
        self._idle = timeouts.upstream_idle
        self._age = timeouts.upstream_age
        self._limit = limits.upstream_idle
        self._requests = limits.upstream_requests
        self._order: dict[Upstream, None] = {}
        """All of them, the one idle for longest first."""
        self._secured: dict[tuple[EndpointState, ssl.SSLContext], list[Upstream]] = {}
        """Those over TLS: only what is made with one context is the same to all who use it."""

    def __len__(self) -> int:
        return len(self._order)

    def __repr__(self) -> str:
        return f"<Pool {len(self._order)} of {self._limit} idle>"

    def take(
        self, endpoint: EndpointState, now: float, certain: bool, tls: ssl.SSLContext | None = None
    ) -> "Upstream | None":
        """The connection to `endpoint` used last, or None. A peer may have closed it, the loop not knowing it yet:
        one that was idle for a moment, or any where `certain` is asked, is looked at before it is handed out."""
        idle = endpoint.idle if tls is None else self._secured.get((endpoint, tls), [])
        while idle:
            upstream = idle.pop()
            del self._order[upstream]
            if tls is not None and not idle:
                del self._secured[endpoint, tls]
            if (certain or now > upstream.idle_since) and upstream.stale():
                upstream.close()
                continue
            return upstream
        return None

    def give(self, upstream: "Upstream", now: float) -> "list[Upstream]":
        """Keeps a connection whose exchange is over. Returns those to close: itself if it has served long enough or its
        endpoint is gone, the one idle for longest if there are too many."""
        endpoint = upstream.endpoint
        if endpoint.references == 0 or upstream.requests >= self._requests or now - upstream.born >= self._age:
            return [upstream]
        upstream.idle_since = now
        upstream.deadline = min(now + self._idle, upstream.born + self._age)
        if upstream.tls is None:
            endpoint.idle.append(upstream)
        else:
            self._secured.setdefault((endpoint, upstream.tls), []).append(upstream)
        self._order[upstream] = None
        if len(self._order) > self._limit:
            oldest = next(iter(self._order))
            self.remove(oldest)
            return [oldest]
        return []

    def remove(self, upstream: "Upstream") -> None:
        """Forgets a connection that closed while it was idle."""
        if upstream in self._order:
            del self._order[upstream]
            if upstream.tls is None:
                upstream.endpoint.idle.remove(upstream)
            else:
                key = (upstream.endpoint, upstream.tls)
                self._secured[key].remove(upstream)
                if not self._secured[key]:
                    del self._secured[key]

    def orphans(self) -> "list[Upstream]":
        """Those over TLS whose endpoint is in no cluster any more; of the others the registry knows."""
        return [each for (endpoint, _), idle in self._secured.items() if endpoint.references == 0 for each in idle]
