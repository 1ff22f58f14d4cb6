"""What a worker is told once, when it starts. Times in seconds, sizes in bytes."""

from enum import StrEnum

import msgspec

from ingressd.model.health import Ejection
from ingressd.model.tls import TlsSettings


class AccessLogFormat(StrEnum):
    """TEXT is the default log line of ingress-nginx, JSON has the same fields and a few more."""

    TEXT = "text"
    JSON = "json"
    OFF = "off"


class Timeouts(msgspec.Struct, frozen=True):
    """Those of connections; what belongs to a route is in its Policy. Defaults are ingress-nginx's (its ConfigMap keys
    `client-header-timeout`, `client-body-timeout`, `keep-alive`, `upstream-keepalive-timeout`, `-time`)."""

    client_header: float = 60.0
    """From the first byte of a head (or from the connection's start) to its end."""
    client_body: float = 60.0
    """Between two reads of a request body, and between two writes of a response the client accepts."""
    keep_alive: float = 75.0
    """How long a client connection may be idle between two requests."""
    upstream_idle: float = 60.0
    """How long an upstream connection may wait in the pool."""
    upstream_age: float = 3600.0
    """How old an upstream connection may get; it is not reused after that."""
    tunnel_idle: float = 60.0
    """How long an upgraded connection (WebSocket) may be silent in both directions."""
    handshake: float = 10.0
    """From the start of a connection, a PROXY protocol header included, to the end of its TLS handshake."""
    drain: float = 240.0
    """How long connections may go on once the worker has been told to stop; ingress-nginx: worker-shutdown-timeout."""


class Limits(msgspec.Struct, frozen=True):
    """What one worker accepts at most."""

    connections: int = 16384
    """Client connections; ingress-nginx: max-worker-connections. More: 503 and close."""
    upstream_idle: int = 320
    """Idle upstream connections kept by a worker, over all endpoints; ingress-nginx: upstream-keepalive-connections."""
    refusals: int = 256
    """Connections beyond `connections` that may linger at a time, to be sure that they read why they are refused."""
    upstream_requests: int = 10_000
    """Requests on one upstream connection; ingress-nginx: upstream-keepalive-requests."""
    handshakes: int = 1024
    """TLS handshakes under way at a time."""


class WorkerSettings(msgspec.Struct, frozen=True, tag=True):
    """The first message a worker receives."""

    worker: int
    """Its number, from 0."""
    workers: int
    timeouts: Timeouts = Timeouts()
    limits: Limits = Limits()
    trusted_proxies: tuple[str, ...] = ()
    """Networks (CIDR) whose forwarded headers are believed; nobody's by default."""
    access_log: AccessLogFormat = AccessLogFormat.TEXT
    log_level: str = "info"
    ejection: Ejection = Ejection()
    proxy_protocol: bool = False
    """Whether connections from trusted proxies begin with a PROXY protocol header, on all listeners."""
    tls: TlsSettings = TlsSettings()
    shared: bool = False
    """Whether the listening sockets are those of another process, which may go on with them if the controller dies."""
