"""Our own figures as workers report them: what each means, and what its one label is called.

A figure that is missing here is exposed all the same, with a general help text.
"""

from collections.abc import Mapping
from typing import NamedTuple


class Figure(NamedTuple):
    """The help text of a metric, and the name of its label; empty for a metric without one."""

    help: str
    label: str = ""


UNKNOWN = Figure("Reported by the workers, not described further.", "label")

COUNTERS: Mapping[str, Figure] = {
    "access_log_dropped_lines": Figure("Access log lines dropped because their reader was too slow."),
    "access_log_lines": Figure("Access log lines written."),
    "downstream_connections": Figure("Client connections accepted."),
    "downstream_connections_refused": Figure("Client connections refused because a worker had too many."),
    "ejections": Figure("Endpoints ejected by a worker because of their failures."),
    "ejections_refused": Figure("Ejections that would have left a cluster with too few endpoints."),
    "errors": Figure("Responses of our own in place of an upstream's, by reason.", "reason"),
    "requests": Figure("Requests of clients, those to no Ingress included."),
    "tls_handshake_failures": Figure(
        "Client connections that ended in their PROXY header or TLS handshake, by reason.", "reason"
    ),
    "tls_handshakes": Figure("TLS handshakes with clients, full ones and resumed sessions.", "kind"),
    "tls_passthrough_connections": Figure("Connections passed to endpoints with their TLS as it is."),
    "tls_passthrough_failures": Figure("Connections to be passed on for which no endpoint could be reached."),
    "tunnels": Figure("Upgraded connections (WebSocket) begun."),
    "upstream_connect_failures": Figure("Connections to endpoints that failed or timed out."),
    "upstream_connections": Figure("Connections to endpoints opened."),
    "upstream_connections_reused": Figure("Requests sent on a connection that was open already."),
    "upstream_retries": Figure("Further tries of requests."),
    "worker_cpu_seconds": Figure("CPU time of the worker processes."),
}
"""By name without prefix and without `_total`."""

GAUGES: Mapping[str, Figure] = {
    "downstream_connections_open": Figure("Client connections open now, by state.", "state"),
    "endpoints_ejected": Figure("Endpoints that are ejected now; those of each worker count."),
    "tasks": Figure("Tasks (asyncio) of the controller, and of all workers.", "process"),
    "downstream_connections_limit": Figure("Client connections that the workers accept at a time."),
    "tls_handshakes_open": Figure("Client connections now before the end of their TLS handshake."),
    "tls_passthrough_connections_open": Figure("Connections open now whose TLS is passed on as it is."),
    "upstream_connections_open": Figure("Connections to endpoints open now, by state.", "state"),
    "worker_memory_bytes": Figure("Resident memory of the worker processes."),
}
