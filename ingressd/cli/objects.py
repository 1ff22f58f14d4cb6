"""The flags of every command that reads objects: which are read, which are ours, and the policy of all routes."""

import operator

from ingressd.cli.flags import Flag, Values
from ingressd.cli.values import boolean, duration, namespaced_name, text, whole_number
from ingressd.model import Policy
from ingressd.translate import CONTROLLER_CLASS, INGRESS_CLASS, Options

POLICY = Policy()


def seconds(name: str, default: float, what: str) -> Flag[float]:
    """A flag for a time."""
    return Flag(name, duration, default, what, metavar="DURATION", default_text=f"{default:g}s")


def count(name: str, default: int, what: str, least: int = 1) -> Flag[int]:
    """A flag for a number."""
    return Flag(name, whole_number(least), default, what, metavar="NUMBER", default_text=str(default))


def _path(value: str) -> tuple[str, ...]:
    return (text(value),)


MANIFESTS: Flag[tuple[str, ...]] = Flag(
    "manifests",
    _path,
    (),
    "file or directory of Kubernetes manifests to read in place of a cluster, or - for standard input; may be given "
    "several times",
    metavar="PATH",
    combine=operator.add,
)
INGRESS_CLASS_FLAG = Flag(
    "ingress-class",
    text,
    INGRESS_CLASS,
    "value of the annotation kubernetes.io/ingress.class of Ingresses that are ours",
    metavar="NAME",
    default_text=INGRESS_CLASS,
)
CONTROLLER_CLASS_FLAG = Flag(
    "controller-class",
    text,
    CONTROLLER_CLASS,
    "spec.controller of the IngressClasses that are ours",
    metavar="NAME",
    default_text=CONTROLLER_CLASS,
)
WITHOUT_CLASS = Flag(
    "watch-ingress-without-class",
    boolean,
    False,
    "also serve Ingresses that name no class",
    metavar="true|false",
    default_text="false",
    switch=True,
)
DEFAULT_BACKEND = Flag(
    "default-backend-service",
    namespaced_name,
    "",
    "Service for requests that no Ingress serves; without it they are answered with 404",
    metavar="NAMESPACE/NAME",
)

PROXY_CONNECT_TIMEOUT = seconds(
    "proxy-connect-timeout", POLICY.connect_timeout, "for a connection to an endpoint to stand"
)
PROXY_SEND_TIMEOUT = seconds("proxy-send-timeout", POLICY.send_timeout, "between two writes to an endpoint")
PROXY_READ_TIMEOUT = seconds("proxy-read-timeout", POLICY.read_timeout, "between two reads from an endpoint")
PROXY_NEXT_UPSTREAM_TRIES = count("proxy-next-upstream-tries", POLICY.tries, "tries of one request, the first included")

FLAGS = (MANIFESTS, INGRESS_CLASS_FLAG, CONTROLLER_CLASS_FLAG, WITHOUT_CLASS, DEFAULT_BACKEND)
POLICY_FLAGS = (PROXY_CONNECT_TIMEOUT, PROXY_SEND_TIMEOUT, PROXY_READ_TIMEOUT, PROXY_NEXT_UPSTREAM_TRIES)


def translation(values: Values) -> Options:
    """What these flags come to."""
    return Options(
        ingress_class=values[INGRESS_CLASS_FLAG],
        controller_class=values[CONTROLLER_CLASS_FLAG],
        watch_ingress_without_class=values[WITHOUT_CLASS],
        default_backend_service=values[DEFAULT_BACKEND],
        policy=Policy(
            connect_timeout=values[PROXY_CONNECT_TIMEOUT],
            send_timeout=values[PROXY_SEND_TIMEOUT],
            read_timeout=values[PROXY_READ_TIMEOUT],
            tries=values[PROXY_NEXT_UPSTREAM_TRIES],
        ),
    )
