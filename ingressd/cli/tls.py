"""The flags of TLS, those of the profile, which sets what is assumed where nothing is said, and what they come to.

Most are keys of the ConfigMap of ingress-nginx, under their names.
"""

from collections.abc import Callable
from enum import StrEnum
from typing import TypeVar

import msgspec

from ingressd.cli import objects
from ingressd.cli.flags import Flag, Values
from ingressd.cli.values import boolean, choice, namespaced_name, port, whole_number
from ingressd.model import TlsSettings
from ingressd.translate import Options
from ingressd.translate.ciphers import selects_ciphers
from ingressd.translate.options import ACME_CHALLENGE

T = TypeVar("T")

SETTINGS = TlsSettings()
OF_INGRESS_NGINX = "k8s.io/ingress-nginx"
"""Its spec.controller."""
HTTPS_PORT_NUMBER = 443
REDIRECT_CODES = (301, 302, 303, 307, 308)
PROTOCOLS = ("TLSv1.2", "TLSv1.3")
"""Those served. RFC 8996 has retired the others."""


class Profile(StrEnum):
    """SPEC: what standards say and nothing more. INGRESS_NGINX: what it does where nothing is said."""

    AUTO = "auto"
    SPEC = "spec"
    INGRESS_NGINX = "ingress-nginx"


def _optional(parse: Callable[[str], T]) -> Callable[[str], T | None]:
    return parse


def _https_port(value: str) -> int | None:
    """A port; -1 for none."""
    return -1 if value == "off" else port(value)


def _protocols(value: str) -> tuple[str, ...]:
    words = value.replace(",", " ").split()
    if not words or not set(words) <= set(PROTOCOLS):
        raise ValueError(f"{value!r} is not possible: write TLSv1.2, TLSv1.3 or both")
    return tuple(protocol for protocol in PROTOCOLS if protocol in words)


def _ciphers(value: str) -> str:
    if selects_ciphers(value):
        return value
    raise ValueError(f"{value!r} is not a list of ciphers that there are: write OpenSSL's names, separated by colons")


def _locations(value: str) -> tuple[str, ...]:
    parts = tuple(part.strip() for part in value.split(",") if part.strip())
    for part in parts:
        if not part.startswith("/"):
            raise ValueError(f"{part!r} is not a path: write /{part}")
    return parts


def _redirect_code(value: str) -> int:
    if value in map(str, REDIRECT_CODES):
        return int(value)
    raise ValueError(f"{value!r} is not a redirect: write one of {', '.join(map(str, REDIRECT_CODES))}")


def _secret(value: str) -> str:
    try:
        return namespaced_name(value)
    except ValueError:
        raise ValueError(f"{value!r} does not name a Secret: write namespace/name") from None


def _switch(name: str, what: str, default: bool = False) -> Flag[bool]:
    return Flag(name, boolean, default, what, "true|false", "true" if default else "false", switch=True)


def _by_profile(name: str, what: str, default_text: str) -> Flag[bool | None]:
    return Flag(name, _optional(boolean), None, what, "true|false", default_text, switch=True)


PROFILE = Flag(
    "profile",
    choice(Profile),
    Profile.AUTO,
    "what is assumed where nothing is said; auto is ingress-nginx where --controller-class is k8s.io/ingress-nginx, "
    "else spec",
    metavar="auto|spec|ingress-nginx",
    default_text="auto",
)
HTTPS_PORT: Flag[int | None] = Flag(
    "https-port",
    _https_port,
    None,
    "port for HTTPS, or off",
    metavar="PORT|off",
    default_text="443; with --manifests off",
)
PUBLISHED_HTTPS_PORT: Flag[int | None] = Flag(
    "published-https-port",
    _optional(port),
    None,
    "port for HTTPS as clients see it, to which they are redirected",
    metavar="PORT",
    default_text="--https-port",
)
DEFAULT_CERTIFICATE = Flag(
    "default-ssl-certificate",
    _secret,
    "",
    "Secret with the certificate for hosts that have none; without it one is made at each start",
    metavar="NAMESPACE/NAME",
)
REJECT_HANDSHAKE = _switch("ssl-reject-handshake", "refuse TLS handshakes for hosts that no Ingress has")
PASSTHROUGH = _switch("enable-ssl-passthrough", "heed the annotation ssl-passthrough")
SSL_PROTOCOLS = Flag(
    "ssl-protocols",
    _protocols,
    SETTINGS.protocols,
    "versions of TLS",
    metavar="VERSIONS",
    default_text=" ".join(SETTINGS.protocols),
)
SSL_CIPHERS = Flag(
    "ssl-ciphers",
    _ciphers,
    SETTINGS.ciphers,
    "ciphers of TLS 1.2, as OpenSSL names them",
    metavar="LIST",
    default_text="Mozilla's intermediate list",
)
USE_PROXY_PROTOCOL = _switch(
    "use-proxy-protocol", "connections from --trusted-proxies begin with a header of the PROXY protocol (1 or 2)"
)
SSL_REDIRECT = _by_profile(
    "ssl-redirect",
    "redirect requests to https where an Ingress has a tls section for the host; the profile ingress-nginx does",
    "by profile",
)
FORCE_SSL_REDIRECT = _switch("force-ssl-redirect", "redirect all requests to https")
REDIRECT_CODE = Flag(
    "http-redirect-code", _redirect_code, 308, "status of redirects to https", metavar="CODE", default_text="308"
)
NO_REDIRECT_LOCATIONS: Flag[tuple[str, ...]] = Flag(
    "no-tls-redirect-locations",
    _locations,
    (ACME_CHALLENGE,),
    "beginnings of paths of rules that are never redirected to https, comma separated",
    metavar="PATHS",
    default_text=ACME_CHALLENGE,
)
HSTS = _by_profile(
    "hsts",
    "send Strict-Transport-Security in every response over HTTPS; the profile ingress-nginx does",
    "by profile",
)
HSTS_MAX_AGE = Flag(
    "hsts-max-age", whole_number(0), 31536000, "its max-age, in seconds", metavar="SECONDS", default_text="31536000"
)
HSTS_SUBDOMAINS = _switch("hsts-include-subdomains", "it is for subdomains too", default=True)
HSTS_PRELOAD = _switch("hsts-preload", "it asks for a place in the lists of browsers")

TRANSLATED = (
    PROFILE,
    DEFAULT_CERTIFICATE,
    SSL_REDIRECT,
    FORCE_SSL_REDIRECT,
    REDIRECT_CODE,
    NO_REDIRECT_LOCATIONS,
    PASSTHROUGH,
    REJECT_HANDSHAKE,
)
"""Those that have a say in what objects mean."""
FLAGS = (
    *TRANSLATED,
    PUBLISHED_HTTPS_PORT,
    SSL_PROTOCOLS,
    SSL_CIPHERS,
    HSTS,
    HSTS_MAX_AGE,
    HSTS_SUBDOMAINS,
    HSTS_PRELOAD,
)


def translation(values: Values) -> Options:
    """What the flags of objects and these say to translate."""
    like_nginx = _like_nginx(values)
    redirect = values[SSL_REDIRECT]
    return msgspec.structs.replace(
        objects.translation(values),
        default_ssl_certificate=values[DEFAULT_CERTIFICATE],
        ssl_redirect=like_nginx if redirect is None else redirect,
        force_ssl_redirect=values[FORCE_SSL_REDIRECT],
        preserve_trailing_slash=not like_nginx,
        http_redirect_code=values[REDIRECT_CODE],
        no_tls_redirect_locations=values[NO_REDIRECT_LOCATIONS],
        ssl_passthrough=values[PASSTHROUGH],
        ssl_reject_handshake=values[REJECT_HANDSHAKE],
    )


def https_port(values: Values) -> int | None:
    """The port to listen on; None for none."""
    number = values[HTTPS_PORT]
    if number is None:
        return None if values[objects.MANIFESTS] else HTTPS_PORT_NUMBER
    return None if number < 0 else number


def published_port(values: Values) -> int:
    """The port that clients are redirected to."""
    return values[PUBLISHED_HTTPS_PORT] or https_port(values) or HTTPS_PORT_NUMBER


def settings(values: Values) -> TlsSettings:
    """What workers are told."""
    like_nginx = _like_nginx(values)
    hsts = values[HSTS]
    return TlsSettings(
        protocols=values[SSL_PROTOCOLS],
        ciphers=values[SSL_CIPHERS],
        reject_unknown=values[REJECT_HANDSHAKE],
        refuse_misdirected=not like_nginx,
        passthrough=values[PASSTHROUGH],
        hsts=_hsts(values) if (like_nginx if hsts is None else hsts) else "",
    )


def _hsts(values: Values) -> str:
    """RFC 6797 section 6.1."""
    parts = [f"max-age={values[HSTS_MAX_AGE]}"]
    if values[HSTS_SUBDOMAINS]:
        parts.append("includeSubDomains")
    if values[HSTS_PRELOAD]:
        parts.append("preload")
    return "; ".join(parts)


def _like_nginx(values: Values) -> bool:
    profile = values[PROFILE]
    if profile is Profile.AUTO:
        return values[objects.CONTROLLER_CLASS_FLAG] == OF_INGRESS_NGINX
    return profile is Profile.INGRESS_NGINX
