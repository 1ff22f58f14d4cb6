"""The flags of `ingressd run` about the health of endpoints."""

from ingressd.cli.flags import Flag, Values
from ingressd.cli.objects import count, seconds
from ingressd.cli.values import boolean
from ingressd.model import Ejection, HealthCheck
from ingressd.translate.health import read_settings

EJECTION = Ejection()


def percent(value: str) -> float:
    """A share from 0 to 1."""
    if value.isascii() and value.isdigit() and len(value) <= 3 and int(value) <= 100:
        return int(value) / 100
    raise ValueError(f"{value!r} is not a percentage: write a whole number from 0 to 100")


HEALTH_CHECK: Flag[HealthCheck | None] = Flag(
    "health-check",
    read_settings,
    None,
    "health check of all endpoints whose Service and Ingress ask for none, as in type=http,path=/healthz,interval=5s; "
    "the settings are those of the annotations ingressd.dev/health-check-*",
    metavar="off|NAME=VALUE,...",
    default_text="off",
)
EJECT_ENDPOINTS = Flag(
    "eject-endpoints",
    boolean,
    EJECTION.enabled,
    "leave endpoints out for a while that fail request after request",
    metavar="true|false",
    default_text="true",
    switch=True,
)
EJECT_FAILURES = count("eject-failures", EJECTION.failures, "failures in a row that eject an endpoint")
EJECT_TIME = seconds("eject-time", EJECTION.base, "an endpoint is out the first time; doubles each time")
EJECT_MAX_TIME = seconds("eject-max-time", EJECTION.longest, "an endpoint is out at most")
EJECT_MAX_PERCENT = Flag(
    "eject-max-percent",
    percent,
    EJECTION.share,
    "share of the endpoints of a cluster that may be out",
    metavar="PERCENT",
    default_text=f"{EJECTION.share:.0%}".removesuffix("%"),
)

FLAGS = (HEALTH_CHECK, EJECT_ENDPOINTS, EJECT_FAILURES, EJECT_TIME, EJECT_MAX_TIME, EJECT_MAX_PERCENT)


def ejection(values: Values) -> Ejection:
    """What these flags say to workers."""
    return Ejection(
        enabled=values[EJECT_ENDPOINTS],
        failures=values[EJECT_FAILURES],
        base=values[EJECT_TIME],
        longest=max(values[EJECT_TIME], values[EJECT_MAX_TIME]),
        share=values[EJECT_MAX_PERCENT],
    )
