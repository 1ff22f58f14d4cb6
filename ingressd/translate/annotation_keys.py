"""The annotations that ingress-nginx v1.15.1 knows, without its prefix, and what people write instead of them.

Being listed here gives a key no effect.
"""

PREFIX = "nginx.ingress.kubernetes.io/"
INVALID = "InvalidAnnotation"
"""The reason of Problems of values that cannot be understood."""

OWN_KEYS = frozenset(
    {
        "health-check-expected-status",
        "health-check-healthy-threshold",
        "health-check-host",
        "health-check-interval",
        "health-check-path",
        "health-check-port",
        "health-check-timeout",
        "health-check-type",
        "health-check-unhealthy-threshold",
        "slow-start",
    }
)
"""Those of ingressd itself, without resources.metadata.OWN_PREFIX. They have an effect."""

KEYS = frozenset(
    {
        "affinity",
        "affinity-canary-behavior",
        "affinity-mode",
        "allowlist-source-range",
        "app-root",
        "auth-always-set-cookie",
        "auth-cache-duration",
        "auth-cache-key",
        "auth-keepalive",
        "auth-keepalive-requests",
        "auth-keepalive-share-vars",
        "auth-keepalive-timeout",
        "auth-method",
        "auth-proxy-set-headers",
        "auth-realm",
        "auth-request-redirect",
        "auth-response-headers",
        "auth-secret",
        "auth-secret-type",
        "auth-signin",
        "auth-signin-redirect-param",
        "auth-snippet",
        "auth-tls-error-page",
        "auth-tls-match-cn",
        "auth-tls-pass-certificate-to-upstream",
        "auth-tls-secret",
        "auth-tls-verify-client",
        "auth-tls-verify-depth",
        "auth-type",
        "auth-url",
        "backend-protocol",
        "canary",
        "canary-by-cookie",
        "canary-by-header",
        "canary-by-header-pattern",
        "canary-by-header-value",
        "canary-weight",
        "canary-weight-total",
        "client-body-buffer-size",
        "configuration-snippet",
        "connection-proxy-header",
        "cors-allow-credentials",
        "cors-allow-headers",
        "cors-allow-methods",
        "cors-allow-origin",
        "cors-expose-headers",
        "cors-max-age",
        "custom-headers",
        "custom-http-errors",
        "default-backend",
        "denylist-source-range",
        "disable-proxy-intercept-errors",
        "enable-access-log",
        "enable-cors",
        "enable-global-auth",
        "enable-modsecurity",
        "enable-opentelemetry",
        "enable-owasp-core-rules",
        "enable-rewrite-log",
        "fastcgi-index",
        "fastcgi-params-configmap",
        "force-ssl-redirect",
        "from-to-www-redirect",
        "http2-push-preload",
        "limit-allowlist",
        "limit-burst-multiplier",
        "limit-connections",
        "limit-rate",
        "limit-rate-after",
        "limit-rpm",
        "limit-rps",
        "load-balance",
        "mirror-host",
        "mirror-request-body",
        "mirror-target",
        "modsecurity-snippet",
        "modsecurity-transaction-id",
        "opentelemetry-operation-name",
        "opentelemetry-trust-incoming-span",
        "permanent-redirect",
        "permanent-redirect-code",
        "preserve-trailing-slash",
        "proxy-body-size",
        "proxy-buffer-size",
        "proxy-buffering",
        "proxy-buffers-number",
        "proxy-busy-buffers-size",
        "proxy-connect-timeout",
        "proxy-cookie-domain",
        "proxy-cookie-path",
        "proxy-http-version",
        "proxy-max-temp-file-size",
        "proxy-next-upstream",
        "proxy-next-upstream-timeout",
        "proxy-next-upstream-tries",
        "proxy-read-timeout",
        "proxy-redirect-from",
        "proxy-redirect-to",
        "proxy-request-buffering",
        "proxy-send-timeout",
        "proxy-ssl-ciphers",
        "proxy-ssl-name",
        "proxy-ssl-protocols",
        "proxy-ssl-secret",
        "proxy-ssl-server-name",
        "proxy-ssl-verify",
        "proxy-ssl-verify-depth",
        "relative-redirects",
        "rewrite-target",
        "satisfy",
        "server-alias",
        "server-snippet",
        "service-upstream",
        "session-cookie-change-on-failure",
        "session-cookie-conditional-samesite-none",
        "session-cookie-domain",
        "session-cookie-expires",
        "session-cookie-max-age",
        "session-cookie-name",
        "session-cookie-path",
        "session-cookie-samesite",
        "session-cookie-secure",
        "ssl-ciphers",
        "ssl-passthrough",
        "ssl-prefer-server-ciphers",
        "ssl-redirect",
        "stream-snippet",
        "temporal-redirect",
        "temporal-redirect-code",
        "upstream-hash-by",
        "upstream-hash-by-subset",
        "upstream-hash-by-subset-size",
        "upstream-vhost",
        "use-port-in-redirects",
        "use-regex",
        "whitelist-source-range",
        "x-forwarded-prefix",
    }
)
"""137 keys."""

ALIASES = {"limit-whitelist": "limit-allowlist"}
"""Known keys that stand for another. (`whitelist-source-range`, that of allowlist-source-range, is in KEYS.)"""

PROTECTIVE = frozenset(
    {
        "allowlist-source-range",
        "auth-secret",
        "auth-tls-match-cn",
        "auth-tls-secret",
        "auth-tls-verify-client",
        "auth-type",
        "auth-url",
        "denylist-source-range",
        "enable-modsecurity",
        "enable-owasp-core-rules",
        "limit-connections",
        "limit-rate",
        "limit-rpm",
        "limit-rps",
        "satisfy",
        "whitelist-source-range",
    }
)
"""Keys that keep requests out. Whoever writes one must hear that it does not."""

MEANT = {
    "client-max-body-size": "proxy-body-size",
    "enable-opentracing": "enable-opentelemetry",
    "grpc-backend": "backend-protocol",
    "ip-whitelist": "whitelist-source-range",
    "load-balancing": "load-balance",
    "location-snippet": "configuration-snippet",
    "location-snippets": "configuration-snippet",
    "max-body-size": "proxy-body-size",
    "rate-limit": "limit-rps",
    "rate-limit-burst": "limit-burst-multiplier",
    "rate-limit-connections": "limit-connections",
    "rate-limit-requests-per-minute": "limit-rpm",
    "rate-limit-rpm": "limit-rpm",
    "rate-limit-whitelist": "limit-allowlist",
    "secure-backends": "backend-protocol",
    "server-snippets": "server-snippet",
    "sticky-sessions": "affinity",
    "timeout": "proxy-read-timeout",
    "whitelist": "whitelist-source-range",
}
"""Keys that do not exist, or no longer, and the one that was meant. What is merely misspelled is found by likeness."""

MEANT_BEGINNINGS = {
    "global-rate-limit": "limit-rps",
    "limit-req": "limit-rps",
    "rate-limit": "limit-rps",
    "ratelimit": "limit-rps",
}
"""The same for all keys that begin so."""

REMARKS = {
    "client-header-buffer-size": "it is a key of the ConfigMap of ingress-nginx and never was an annotation",
    "enable-influxdb": "ingress-nginx has removed it, without a successor",
    "hsts": "it is a key of the ConfigMap of ingress-nginx and never was an annotation",
    "proxy-set-headers": "it is a key of the ConfigMap of ingress-nginx and never was an annotation",
    "session-cookie-hash": "ingress-nginx has removed it: session cookies need no choice of hash",
    "websocket-services": "WebSockets need no annotation",
}
"""Keys that do not exist and have no counterpart."""

LIKE_PREFIXES = frozenset(
    {
        "",
        "ingress.kubernetes.io/",
        "ingress.nginx.kubernetes.io/",
        "kubernetes.io/",
        "nginx.ingress.k8s.io/",
        "nginx.ingress/",
        "nginx.io/",
        "nginx.kubernetes.io/",
        "nginx.org/",
    }
)
"""Prefixes under which keys of ingress-nginx are found by mistake. (ingress-nginx ignores them without a word.)"""


def field_of(key: str) -> str:
    """The place of an annotation in its object, as a Problem names it; `key` is whole."""
    return f"metadata.annotations[{key}]"
