"""Responses of our own: the one table that maps a cause to a status and a word.

The word (`reason`) is the same in the body, the access log and the metrics.
"""

import json
from dataclasses import dataclass
from email.utils import formatdate
from html import escape
from http import HTTPStatus

ACCEPT_FAILED = "accept_failed"
BAD_REQUEST = "bad_request"
BAD_PATH = "bad_path"
CLIENT_AUTH_BROKEN = "client_auth_broken"
CLIENT_CERTIFICATE = "client_certificate"
CLIENT_CLOSED = "client_closed"
CLIENT_NOT_ALLOWED = "client_not_allowed"
CLIENT_TIMEOUT = "client_timeout"
CONNECT_FAILED = "connect_failed"
CONNECT_TIMEOUT = "connect_timeout"
METHOD_NOT_ALLOWED = "method_not_allowed"
MISDIRECTED = "misdirected"
NO_CLIENT_CERTIFICATE = "no_client_certificate"
NO_ENDPOINT = "no_endpoint"
NO_ROUTE = "no_route"
PLAIN_HTTP = "plain_http"
SLOW_BODY = "slow_body"
SLOW_HEAD = "slow_head"
TOO_MANY_CONNECTIONS = "too_many_connections"
TUNNEL_TIMEOUT = "tunnel_timeout"
UPSTREAM_CERTIFICATE = "upstream_certificate"
UPSTREAM_CLOSED = "upstream_closed"
UPSTREAM_FRAMING = "upstream_framing"
UPSTREAM_SEND_TIMEOUT = "upstream_send_timeout"
UPSTREAM_TIMEOUT = "upstream_timeout"
UPSTREAM_TLS = "upstream_tls"

STATUS = {
    BAD_REQUEST: 400,
    BAD_PATH: 400,
    CLIENT_CERTIFICATE: 400,
    NO_CLIENT_CERTIFICATE: 400,
    PLAIN_HTTP: 400,
    CLIENT_AUTH_BROKEN: 403,
    CLIENT_NOT_ALLOWED: 403,
    NO_ROUTE: 404,
    METHOD_NOT_ALLOWED: 405,
    SLOW_HEAD: 408,
    SLOW_BODY: 408,
    "uri_too_long": 414,
    MISDIRECTED: 421,
    "head_too_large": 431,
    CLIENT_CLOSED: 499,
    "transfer_coding": 501,
    CONNECT_FAILED: 502,
    UPSTREAM_CERTIFICATE: 502,
    UPSTREAM_CLOSED: 502,
    UPSTREAM_FRAMING: 502,
    UPSTREAM_TLS: 502,
    NO_ENDPOINT: 503,
    TOO_MANY_CONNECTIONS: 503,
    CONNECT_TIMEOUT: 504,
    UPSTREAM_TIMEOUT: 504,
    UPSTREAM_SEND_TIMEOUT: 504,
    "version_not_supported": 505,
}
"""Cause -> status. 499 is nginx's for a client that left; it is logged and never sent."""

DETAIL = {
    BAD_REQUEST: "the request cannot be served as it is",
    BAD_PATH: "the path is not a valid percent-encoding, or leaves the root",
    NO_ROUTE: "no Ingress has a rule for this host and path",
    CLIENT_AUTH_BROKEN: "what clients of this host have to show cannot be verified",
    CLIENT_CERTIFICATE: "the SSL certificate error: your certificate could not be verified",
    CLIENT_NOT_ALLOWED: "your certificate is not one of those allowed here",
    MISDIRECTED: "this connection was made for another host",
    NO_CLIENT_CERTIFICATE: "No required SSL certificate was sent",
    PLAIN_HTTP: "The plain HTTP request was sent to HTTPS port",
    METHOD_NOT_ALLOWED: "this proxy does not carry out this method",
    SLOW_HEAD: "the request took too long to arrive",
    SLOW_BODY: "the request body took too long to arrive",
    CONNECT_FAILED: "no endpoint accepted a connection",
    UPSTREAM_CERTIFICATE: "the certificate of the endpoint could not be verified",
    UPSTREAM_TLS: "no TLS connection to the endpoint could be made",
    UPSTREAM_CLOSED: "the endpoint closed the connection without a response",
    UPSTREAM_FRAMING: "the endpoint sent something that is not a valid HTTP response",
    NO_ENDPOINT: "the Service has no ready endpoint",
    TOO_MANY_CONNECTIONS: "too many client connections",
    CONNECT_TIMEOUT: "no endpoint accepted a connection in time",
    UPSTREAM_TIMEOUT: "the endpoint did not respond in time",
    UPSTREAM_SEND_TIMEOUT: "the endpoint did not take the request in time",
}

_ALLOW = b"Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n"


def phrase(status: int) -> str:
    """The reason phrase of a status line."""
    return HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else ""


def prefers_json(accept: bytes) -> bool:
    """Whether a client asks for JSON rather than for a page."""
    accept = accept.lower()
    return b"json" in accept and b"text/html" not in accept


@dataclass(frozen=True, slots=True)
class Answer:
    """A response of our own."""

    status: int
    reason: str
    """Empty where nothing is wrong."""
    detail: str
    """One sentence."""
    location: bytes = b""
    """Where the client is sent: a URL fit for a field."""


def failure(reason: str, detail: str = "") -> Answer:
    """What a cause leads to. `detail` in place of the usual sentence."""
    return Answer(STATUS[reason], reason, detail or DETAIL[reason])


def redirect(status: int, location: bytes, reason: str = "") -> Answer:
    """Sends the client elsewhere; with a reason if that is because something is wrong."""
    return Answer(status, reason, f"what you look for is at {location.decode('latin-1')}", location)


def render(
    answer: Answer, request_id: bytes, accept: bytes, connection: bytes, head_only: bool = False
) -> tuple[bytes, int]:
    """A whole response and the length of its body. `connection` are whole field lines."""
    status = answer.status
    reason = answer.reason or "redirect"
    title = f"{status} {phrase(status)}"
    identifier = request_id.decode("latin-1")
    if prefers_json(accept):
        kind = b"application/json"
        fields = {"status": status, "reason": reason, "message": answer.detail, "requestId": identifier}
        body = json.dumps(fields).encode() + b"\n"
    else:
        kind = b"text/html; charset=utf-8"
        body = (
            f"<!doctype html>\n<title>{title}</title>\n<h1>{title}</h1>\n"
            f"<p>{escape(answer.detail)} ({reason})</p>\n<p>Request {escape(identifier)}</p>\n"
        ).encode()
    allow = _ALLOW if status == 405 else b""
    location = b"Location: %b\r\n" % answer.location if answer.location else b""
    head = b"HTTP/1.1 %b\r\nDate: %b\r\nContent-Type: %b\r\nContent-Length: %d\r\n%b%b%b\r\n" % (
        title.encode(),
        formatdate(usegmt=True).encode(),
        kind,
        len(body),
        allow,
        connection,
        location,
    )
    return (head, 0) if head_only else (head + body, len(body))
