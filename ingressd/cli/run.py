"""`ingressd run`: the controller and its workers."""

import logging
import operator
import platform
import sys
from collections.abc import Mapping, Sequence
from enum import StrEnum

import msgspec
import uvloop

from ingressd.cli import cluster, flags, health, objects, tls, writing
from ingressd.cli.flags import Flag, UsageError, Values
from ingressd.cli.objects import count, seconds
from ingressd.cli.values import addresses, choice, networks, none_or_duration, port, text, workers
from ingressd.control import self_signed
from ingressd.control.cpus import usable_cpus
from ingressd.control.dns import nameserver
from ingressd.control.options import Options
from ingressd.control.run import run
from ingressd.control.sockets import ListenError, Port
from ingressd.model import AccessLogFormat, Limits, Timeouts, WorkerSettings
from ingressd.source.base import SourceError
from ingressd.telemetry.exposition import Identity

SUMMARY = "Serves the Ingresses of a Kubernetes cluster, or of manifests, and applies changes to them at once."

TIMEOUTS, LIMITS = Timeouts(), Limits()


class LogLevel(StrEnum):
    """How much is logged to stderr; each includes those after it."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def nameservers(value: str) -> tuple[str, ...]:
    """Addresses of nameservers, comma separated, each with a port or without."""
    parts = tuple(part.strip() for part in value.split(","))
    for part in parts:
        nameserver(part)
    return parts


HTTP_PORT = Flag("http-port", port, 80, "port for HTTP", metavar="PORT", default_text="80")
HEALTHZ_PORT = Flag(
    "healthz-port", port, 10254, "port for health, metrics and the admin API", metavar="PORT", default_text="10254"
)
BIND_ADDRESS: Flag[tuple[str, ...]] = Flag(
    "bind-address",
    addresses,
    (),
    "IP address to listen on, for all ports; a comma-separated list, or given several times",
    metavar="ADDRESS",
    default_text="all, IPv4 and IPv6",
    combine=operator.add,
)
WORKERS = Flag(
    "workers",
    workers,
    None,
    "number of worker processes; auto is the CPU limit of the container, or else the number of CPUs",
    metavar="NUMBER|auto",
    default_text="auto",
)
TRUSTED_PROXIES: Flag[tuple[str, ...]] = Flag(
    "trusted-proxies",
    networks,
    (),
    "addresses or networks (CIDR) of proxies whose X-Forwarded-*, Forwarded and X-Request-ID fields are believed; "
    "a comma-separated list, or given several times",
    metavar="NETWORK",
    default_text="nobody",
    combine=operator.add,
)
ACCESS_LOG_FORMAT = Flag(
    "access-log-format",
    choice(AccessLogFormat),
    AccessLogFormat.TEXT,
    "format of the access log on stdout; text is that of ingress-nginx",
    metavar="text|json|off",
    default_text="text",
)
LOG_LEVEL = Flag(
    "log-level",
    choice(LogLevel),
    LogLevel.INFO,
    "what is logged on stderr",
    metavar="debug|info|warning|error",
    default_text="info",
)
NAMESERVER: Flag[tuple[str, ...]] = Flag(
    "nameserver",
    nameservers,
    (),
    "IP address (and :port, if not 53) of a DNS server for Services of type ExternalName; a comma-separated list, "
    "or given several times",
    metavar="ADDRESS",
    default_text="those of /etc/resolv.conf",
    combine=operator.add,
)

CLIENT_HEADER_TIMEOUT = seconds(
    "client-header-timeout", TIMEOUTS.client_header, "for a client to send the head of a request"
)
CLIENT_BODY_TIMEOUT = seconds(
    "client-body-timeout",
    TIMEOUTS.client_body,
    "between two reads of a request body, and between two writes of a response",
)
KEEP_ALIVE = seconds("keep-alive", TIMEOUTS.keep_alive, "a client connection may be idle")
TUNNEL_IDLE_TIMEOUT = seconds(
    "tunnel-idle-timeout", TIMEOUTS.tunnel_idle, "an upgraded connection (WebSocket) may be silent both ways"
)
UPSTREAM_KEEPALIVE_TIMEOUT = seconds(
    "upstream-keepalive-timeout", TIMEOUTS.upstream_idle, "a connection to an endpoint may be idle"
)
UPSTREAM_KEEPALIVE_TIME = seconds(
    "upstream-keepalive-time", TIMEOUTS.upstream_age, "a connection to an endpoint is used at most"
)
UPSTREAM_KEEPALIVE_CONNECTIONS = count(
    "upstream-keepalive-connections", LIMITS.upstream_idle, "idle connections to endpoints that a worker keeps", least=0
)
UPSTREAM_KEEPALIVE_REQUESTS = count(
    "upstream-keepalive-requests", LIMITS.upstream_requests, "requests on one connection to an endpoint"
)
MAX_WORKER_CONNECTIONS = count("max-worker-connections", LIMITS.connections, "client connections of a worker")

SHUTDOWN_GRACE_PERIOD: Flag[float] = Flag(
    "shutdown-grace-period",
    none_or_duration,
    0.0,
    "on SIGTERM, to go on listening while /readyz fails, so that load balancers notice",
    metavar="DURATION",
    default_text="0s",
)
DRAIN_TIMEOUT = seconds("drain-timeout", TIMEOUTS.drain, "for requests under way to finish after listening has stopped")
HANDOVER_SOCKET = Flag(
    "handover-socket",
    text,
    "",
    "Unix socket by which an ingressd takes the listening sockets of the one that runs with the same path, which ends",
    metavar="PATH",
)

SECTIONS: flags.Sections = {
    "objects": objects.FLAGS,
    "cluster": cluster.FLAGS,
    "what is written to a cluster": writing.FLAGS,
    "policy of all routes": objects.POLICY_FLAGS,
    "listening": (HTTP_PORT, tls.HTTPS_PORT, HEALTHZ_PORT, BIND_ADDRESS),
    "TLS": tls.FLAGS,
    "proxy": (WORKERS, TRUSTED_PROXIES, tls.USE_PROXY_PROTOCOL, NAMESERVER),
    "health of endpoints": health.FLAGS,
    "logs": (ACCESS_LOG_FORMAT, LOG_LEVEL),
    "times (60, 60s, 500ms, 5m, 1h)": (
        CLIENT_HEADER_TIMEOUT,
        CLIENT_BODY_TIMEOUT,
        KEEP_ALIVE,
        TUNNEL_IDLE_TIMEOUT,
        UPSTREAM_KEEPALIVE_TIMEOUT,
        UPSTREAM_KEEPALIVE_TIME,
    ),
    "the end": (SHUTDOWN_GRACE_PERIOD, DRAIN_TIMEOUT, HANDOVER_SOCKET),
    "limits": (
        UPSTREAM_KEEPALIVE_CONNECTIONS,
        UPSTREAM_KEEPALIVE_REQUESTS,
        MAX_WORKER_CONNECTIONS,
    ),
}


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    values = flags.read("run", SUMMARY, SECTIONS, arguments, environment)
    options = controller_options(values, environment)
    logging.basicConfig(
        level=values[LOG_LEVEL].upper(),
        format="%(asctime)s %(levelname)s controller: %(message)s",
        stream=sys.stderr,
    )
    try:
        source = cluster.source(values, environment)
        uvloop.run(run(options, source, writing.writers(values, options.identity, source)))
    except (SourceError, ListenError) as error:
        raise UsageError(str(error)) from error
    return 0


def controller_options(values: Values, environment: Mapping[str, str]) -> Options:
    """The flags as the controller takes them."""
    number = values[WORKERS]
    https_port = tls.https_port(values)
    ports = {HTTP_PORT.option: values[HTTP_PORT], tls.HTTPS_PORT.option: https_port}
    _check_ports({**ports, HEALTHZ_PORT.option: values[HEALTHZ_PORT]})
    translation = msgspec.structs.replace(
        tls.translation(values),
        https_port=tls.published_port(values),
        health_check=values[health.HEALTH_CHECK],
        fallback_certificate=None if https_port is None else self_signed.make(),
    )
    if values[tls.USE_PROXY_PROTOCOL] and not values[TRUSTED_PROXIES]:
        raise UsageError(
            f"{tls.USE_PROXY_PROTOCOL.option} has no effect without {TRUSTED_PROXIES.option}: write there who sends it"
        )
    return Options(
        https=None if https_port is None else Port(tls.HTTPS_PORT.option, https_port, values[BIND_ADDRESS]),
        http=Port(HTTP_PORT.option, values[HTTP_PORT], values[BIND_ADDRESS]),
        admin=Port(HEALTHZ_PORT.option, values[HEALTHZ_PORT], values[BIND_ADDRESS]),
        settings=WorkerSettings(
            worker=0,
            workers=usable_cpus() if number is None else number,
            timeouts=Timeouts(
                client_header=values[CLIENT_HEADER_TIMEOUT],
                client_body=values[CLIENT_BODY_TIMEOUT],
                keep_alive=values[KEEP_ALIVE],
                upstream_idle=values[UPSTREAM_KEEPALIVE_TIMEOUT],
                upstream_age=values[UPSTREAM_KEEPALIVE_TIME],
                tunnel_idle=values[TUNNEL_IDLE_TIMEOUT],
                drain=values[DRAIN_TIMEOUT],
            ),
            limits=Limits(
                connections=values[MAX_WORKER_CONNECTIONS],
                upstream_idle=values[UPSTREAM_KEEPALIVE_CONNECTIONS],
                upstream_requests=values[UPSTREAM_KEEPALIVE_REQUESTS],
            ),
            trusted_proxies=values[TRUSTED_PROXIES],
            access_log=values[ACCESS_LOG_FORMAT],
            log_level=values[LOG_LEVEL].value,
            ejection=health.ejection(values),
            proxy_protocol=values[tls.USE_PROXY_PROTOCOL],
            tls=tls.settings(values),
        ),
        translation=translation,
        identity=Identity(
            namespace=environment.get("POD_NAMESPACE", ""),
            controller_class=values[objects.CONTROLLER_CLASS_FLAG],
            pod=environment.get("POD_NAME") or platform.node(),
        ),
        nameservers=values[NAMESERVER],
        grace=values[SHUTDOWN_GRACE_PERIOD],
        handover=values[HANDOVER_SOCKET],
    )


def _check_ports(ports: Mapping[str, int | None]) -> None:
    """Raises UsageError if two flags have one port, before listening blames another process."""
    seen: dict[int, str] = {}
    for flag, number in ports.items():
        if number and seen.setdefault(number, flag) != flag:
            raise UsageError(f"{flag}: {number} is the port of {seen[number]} too: choose another one")
