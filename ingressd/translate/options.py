"""What the flags say to translate."""

import msgspec

from ingressd.model import Certificate, HealthCheck, Policy

INGRESS_CLASS = "ingressd"
CONTROLLER_CLASS = "ingressd.dev/ingress-controller"
ACME_CHALLENGE = "/.well-known/acme-challenge"
"""Where certificate authorities look for the proof that a host is ours, over plain HTTP (RFC 8555 section 8.3)."""


class Options(msgspec.Struct, frozen=True):
    """Named as the flags are. `default_backend_service` is `namespace/name`, empty for the built-in 404; `policy` that
    of all routes. `fallback_certificate` is used where --default-ssl-certificate gives none; `https_port` is the one
    that clients see. `health_check` is that of clusters whose objects say nothing of one."""

    ingress_class: str = INGRESS_CLASS
    controller_class: str = CONTROLLER_CLASS
    watch_ingress_without_class: bool = False
    default_backend_service: str = ""
    policy: Policy = Policy()
    default_ssl_certificate: str = ""
    fallback_certificate: Certificate | None = None
    https_port: int = 443
    ssl_redirect: bool = False
    force_ssl_redirect: bool = False
    preserve_trailing_slash: bool = True
    http_redirect_code: int = 308
    no_tls_redirect_locations: tuple[str, ...] = (ACME_CHALLENGE,)
    ssl_passthrough: bool = False
    ssl_reject_handshake: bool = False
    health_check: HealthCheck | None = None
