"""What all connections of one worker share."""

import asyncio
import ipaddress
import os
from functools import lru_cache
from typing import TYPE_CHECKING

from ingressd.link import Sample
from ingressd.model import Update, WorkerSettings
from ingressd.proxy.admission import Admission
from ingressd.proxy.https import hsts_line
from ingressd.proxy.pool import Pool
from ingressd.proxy.registry import Registry
from ingressd.proxy.stream import Poller
from ingressd.proxy.tls_table import TlsTable
from ingressd.routing.normalise import normal_host
from ingressd.routing.table import Table
from ingressd.telemetry.accesslog import AccessLog
from ingressd.telemetry.logwriter import LogWriter
from ingressd.telemetry.record import Record
from ingressd.telemetry.requests import RequestMetrics

if TYPE_CHECKING:
    from ingressd.proxy.downstream import Downstream
    from ingressd.proxy.passthrough import Passthrough
    from ingressd.proxy.upstream import Upstream

ID_BYTES = 16
"""Of a request id; 32 digits, as nginx's $request_id has."""

IDS = 256
"""Request ids made at a time."""

HOST_CACHE = 4096
"""Host field values whose normal form is remembered; the cache starts anew beyond it."""


class Counters:
    """Figures of one worker that only grow; `take` gives their increments."""

    __slots__ = (
        "connect_failures",
        "connections",
        "connections_refused",
        "errors",
        "requests",
        "retries",
        "tunnels",
        "upstream_connections",
        "upstream_reused",
    )

    def __init__(self) -> None:
        self.connections = 0
        self.connections_refused = 0
        self.requests = 0
        self.upstream_connections = 0
        self.upstream_reused = 0
        self.connect_failures = 0
        self.retries = 0
        self.tunnels = 0
        self.errors: dict[str, int] = {}
        """By reason."""

    def take(self) -> list[Sample]:
        """The increments since the call before; those of 0 as well, so that every series exists from the start."""
        samples = [
            Sample("downstream_connections", "", self.connections),
            Sample("downstream_connections_refused", "", self.connections_refused),
            Sample("requests", "", self.requests),
            Sample("upstream_connections", "", self.upstream_connections),
            Sample("upstream_connections_reused", "", self.upstream_reused),
            Sample("upstream_connect_failures", "", self.connect_failures),
            Sample("upstream_retries", "", self.retries),
            Sample("tunnels", "", self.tunnels),
        ]
        samples += [Sample("errors", reason, count) for reason, count in self.errors.items()]
        self.connections = self.connections_refused = self.requests = 0
        self.upstream_connections = self.upstream_reused = self.connect_failures = 0
        self.retries = self.tunnels = 0
        self.errors = {}
        return samples


class Context:
    """The live state of a worker. `table` is replaced whole by one assignment; an exchange reads it once."""

    __slots__ = (
        "_clock",
        "_hosts",
        "_ids",
        "_next_id",
        "_trusted",
        "access_log",
        "admission",
        "client_body",
        "client_header",
        "clusters",
        "counters",
        "downstreams",
        "draining",
        "hsts",
        "keep_alive",
        "log_writer",
        "loop",
        "metrics",
        "moment",
        "now",
        "passthroughs",
        "poller",
        "pool",
        "registry",
        "settings",
        "table",
        "tls",
        "tunnels",
        "upstreams",
    )

    def __init__(self, settings: WorkerSettings, loop: asyncio.AbstractEventLoop, log_writer: LogWriter) -> None:
        self.settings = settings
        # Asked for with every request.
        self.client_header = settings.timeouts.client_header
        self.client_body = settings.timeouts.client_body
        self.keep_alive = settings.timeouts.keep_alive
        self.loop = loop
        self.poller = Poller(loop)
        self.now = loop.time()
        """Seconds of the loop's clock as of the last tick: for deadlines, not for measuring."""
        self.moment = self.now
        """Seconds of the loop's clock as of the event being handled: for measuring."""
        self._clock = loop.time
        self._ids = b""
        self._next_id = 0
        self.table = Table()
        self.tls = TlsTable(settings.tls)
        self.hsts = hsts_line(settings.tls)
        """A field line for responses over TLS."""
        self.registry = Registry(settings.worker, settings.ejection)
        self.clusters = self.registry.clusters
        self.pool = Pool(settings.timeouts, settings.limits)
        self.admission = Admission(self)
        self.access_log = AccessLog(settings.access_log)
        self.log_writer = log_writer
        self.metrics = RequestMetrics()
        self.counters = Counters()
        self.downstreams: set[Downstream] = set()
        self.passthroughs: set[Passthrough] = set()
        self.upstreams: set[Upstream] = set()
        self.tunnels = 0
        """How many exchanges are tunnels now."""
        self.draining = False
        """Connections are closed after the response under way."""
        self._hosts: dict[bytes, bytes] = {}
        networks = [ipaddress.ip_network(network, strict=False) for network in settings.trusted_proxies]

        @lru_cache(maxsize=HOST_CACHE)
        def trusted(address: str) -> bool:
            try:
                parsed = ipaddress.ip_address(address)
            except ValueError:
                return False
            return any(parsed.version == network.version and parsed in network for network in networks)

        self._trusted = trusted if networks else None

    def apply(self, update: Update) -> None:
        """Follows an update: new exchanges see it, those under way go on as they began."""
        for upstream in self.registry.apply(update) + self.pool.orphans():
            self.pool.remove(upstream)
            upstream.close()
        default = self.table.default.route if self.table.default is not None else None
        # Endpoints are the registry's: a change of theirs alone compiles nothing.
        if update.full or update.virtual_hosts or update.removed_hosts or update.default != default:
            self.table = self.table.updated(update)
        self.tls.apply(update)

    @property
    def clients(self) -> int:
        """How many client connections there are, for the limit: a passthrough takes as many descriptors as any."""
        return len(self.downstreams) + len(self.passthroughs)

    def trusts(self, address: str) -> bool:
        """Whether `address` is one of the trusted proxies."""
        return self._trusted is not None and self._trusted(address)

    def normal_host(self, host: bytes) -> bytes:
        """`routing.normal_host`, remembered."""
        normal = self._hosts.get(host)
        if normal is None:
            if len(self._hosts) >= HOST_CACHE:
                self._hosts.clear()
            normal = normal_host(host)
            self._hosts[host] = normal
        return normal

    def request_id(self) -> bytes:
        """A new X-Request-ID: 32 random hexadecimal digits, made by the hundred."""
        at = self._next_id
        if at == len(self._ids):
            self._ids = os.urandom(ID_BYTES * IDS).hex().encode()
            at = 0
        self._next_id = at + ID_BYTES * 2
        p = self._ids
        return p[at : at + ID_BYTES * 2]

    def look(self) -> float:
        """Reads the loop's clock into `moment`; called when something begins to happen."""
        self.moment = self._clock()
        return self.moment

    def count_error(self, reason: str) -> None:
        """Counts what went wrong, by its word in `responses`."""
        errors = self.counters.errors
        errors[reason] = errors.get(reason, 0) + 1

    def finished(self, record: Record) -> None:
        """Takes note of an exchange that is over: metrics and access log."""
        duration = self.moment - record.started
        counters = self.counters
        counters.requests += 1
        if record.reason:
            self.count_error(record.reason)
        self.metrics.add(record, duration)
        if self.access_log.enabled:
            self.log_writer.write(self.access_log.line(record, duration))
