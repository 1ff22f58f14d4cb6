"""Whether an endpoint may be picked: what is asked of it, and what is concluded from how it answers requests.

Times in seconds.
"""

from enum import StrEnum

import msgspec


class CheckType(StrEnum):
    """HTTP: a GET has to be answered with an expected status. HTTPS: the same over TLS, whatever certificate is shown.
    TCP: a connection has to be accepted."""

    HTTP = "http"
    HTTPS = "https"
    TCP = "tcp"


class HealthCheck(msgspec.Struct, frozen=True):
    """How the controller asks an endpoint whether it is well (annotations `ingressd.dev/health-check-*`). What HTTP and
    HTTPS alone need is at its default where `type` is TCP, so that equal checks are one.

    Defaults: the period, the threshold of failures and the range of statuses are those of a readiness probe (core/v1
    Probe); twice, before it is taken back, is HAProxy's `rise`."""

    type: CheckType = CheckType.HTTP
    path: str = "/"
    """The target of the request, as it is sent."""
    host: str = ""
    """The Host field; empty for address and port."""
    port: int = 0
    """0 for that of the endpoint."""
    interval: float = 10.0
    """Between the beginnings of two checks."""
    timeout: float = 2.0
    """For connection and response head together."""
    healthy_threshold: int = 2
    """Checks in a row that an unhealthy endpoint has to pass."""
    unhealthy_threshold: int = 3
    """Checks in a row that a healthy endpoint has to fail."""
    expected_status: tuple[tuple[int, int], ...] = ((200, 399),)
    """Ranges, both ends included; sorted."""


class Ejection(msgspec.Struct, frozen=True):
    """When a worker leaves an endpoint out for a while because of how it answers requests. The numbers are those of
    Envoy's outlier detection, but for `share`, there 10 %."""

    enabled: bool = True
    failures: int = 5
    """In a row: connections that are not accepted, responses that do not come or do not hold, 502, 503 and 504."""
    base: float = 10.0
    """How long the first time; doubles each time."""
    longest: float = 300.0
    share: float = 0.5
    """Of the endpoints of a cluster that may be left out, those that are unhealthy included; from 0 to 1."""
