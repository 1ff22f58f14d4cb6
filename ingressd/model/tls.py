"""TLS as the proxy should do it: certificates, which host has which, who must show one, and how upstreams are met.

Everything here is checked already: a certificate that is here is one that OpenSSL takes, with a key that is its own.
"""

from enum import StrEnum
from typing import NamedTuple

import msgspec

from ingressd.model.cluster import ClusterKey


class SecretName(NamedTuple):
    """Names what a Secret holds. An empty namespace is for what ingressd has made itself."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


SELF_SIGNED = SecretName("", "self-signed")
"""The certificate that the controller makes when it starts, for hosts that have none."""


class Hidden:
    """Bytes that nobody may see: no representation shows them, and an encoder that was not made for them refuses them,
    so that a dump that forgets them fails. `hide` and `reveal` are what the link's codec is given."""

    __slots__ = ("value",)

    def __init__(self, value: bytes) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Hidden) and self.value == other.value

    def __hash__(self) -> int:
        return hash(self.value)

    def __repr__(self) -> str:
        return "<hidden>"


def reveal(value: object) -> bytes:
    """For msgspec encoders (`enc_hook`) whose bytes stay between our processes. Raises NotImplementedError."""
    if isinstance(value, Hidden):
        return value.value
    raise NotImplementedError(f"a value of type {type(value).__name__}")


def hide(wanted: type, value: object) -> Hidden:
    """For msgspec decoders (`dec_hook`) of the same. Raises NotImplementedError."""
    if wanted is Hidden and isinstance(value, bytes):
        return Hidden(value)
    raise NotImplementedError(f"a value of type {wanted.__name__}")


class Certificate(msgspec.Struct, frozen=True):
    """A certificate with its chain (PEM, the leaf first, then each issuer that the Secret has, no root needed) and its
    private key (PEM, PKCS #8, without a password). `names` are the DNS names it is for, in lower case, as they are in
    it: `*.example.com` covers one label. Times in seconds since 1970, UTC; before `not_before` and from `not_after` on
    no client trusts it. The last four are what metrics show of it (RFC 5280 section 4.1.2)."""

    name: SecretName
    chain: bytes
    private_key: Hidden
    names: tuple[str, ...] = ()
    not_before: int = 0
    not_after: int = 0
    serial_number: str = ""
    """Decimal, as ingress-nginx writes it."""
    issuer_organization: str = ""
    issuer_common_name: str = ""
    public_key_algorithm: str = ""
    """RSA, ECDSA or Ed25519."""


class TrustBundle(msgspec.Struct, frozen=True):
    """The certificate authorities (PEM) that vouch for a peer. `revoked` is a list of revoked certificates (PEM, RFC
    5280 section 5) of one or more of them; empty for none."""

    name: SecretName
    authorities: bytes
    revoked: bytes = b""


class ClientAuthMode(StrEnum):
    """nginx: ssl_verify_client, but for `off`. ON: a request without a certificate that TrustBundle vouches for is
    answered 400. OPTIONAL: without any it passes, with a bad one it is answered 400. OPTIONAL_NO_CA: a certificate is
    asked for and passed on, and nobody verifies it."""

    ON = "on"
    OPTIONAL = "optional"
    OPTIONAL_NO_CA = "optional_no_ca"


class ClientAuth(msgspec.Struct, frozen=True):
    """What clients of a host have to show (annotations auth-tls-*).

    Without `trust`, or if the snapshot has no bundle of that name (the Secret is missing or cannot be used), nobody can
    be verified: then, and where it is `broken`, every request to the host over TLS is answered 403, but in mode
    OPTIONAL_NO_CA, which needs no bundle. `common_names`, if there are any, have to contain the whole common name of
    the subject; a `.` in them stands for any one character. `error_page` is a URL or a path to redirect (302) to in
    place of a 400 or 403; empty for none.

    A host with this is served only on connections that were made for this host or for one with an equal ClientAuth:
    others are answered 421, whatever the settings say.
    """

    mode: ClientAuthMode = ClientAuthMode.ON
    trust: SecretName | None = None
    depth: int = 1
    """Intermediate authorities between the client's certificate and one of the bundle (nginx: ssl_verify_depth)."""
    pass_certificate: bool = False
    """Whether the upstream gets the whole certificate as ssl-client-cert (PEM, percent-encoded)."""
    common_names: tuple[str, ...] = ()
    error_page: str = ""
    broken: bool = False

    @property
    def demands_certificate(self) -> bool:
        """Whether nobody is served who shows no certificate."""
        return self.broken or self.mode is ClientAuthMode.ON or bool(self.common_names)


class TlsHost(msgspec.Struct, frozen=True):
    """What a connection with this server name gets. `host` is as in VirtualHost: a name, `*.` and a name (one label in
    front), or empty for all others and for clients that send none. An exact name goes before a wildcard. `certificate`
    is None where the default one is to be used. `passthrough`: the bytes of the connection, from the first on, go to
    this cluster, and nothing else here counts; only where TlsSettings.passthrough is set."""

    host: str
    certificate: SecretName | None = None
    client_auth: ClientAuth | None = None
    passthrough: ClusterKey | None = None


class UpstreamTls(msgspec.Struct, frozen=True):
    """How a connection to an endpoint is encrypted (annotations proxy-ssl-*). Only routes with an equal one share
    connections.

    `verify`: the endpoint's certificate must come from `trust` and be for `name`; if there is no such bundle in the
    snapshot (the Secret is missing or cannot be used), or no `trust`, every request is answered 502. `certificate` is
    ours to show, if the snapshot has it: a Secret may hold authorities only. `name` is never empty; it is sent (SNI) if
    `send_name`. `ciphers` is an OpenSSL list, for TLS 1.2 and before; empty for OpenSSL's default.
    """

    name: str
    send_name: bool = False
    verify: bool = False
    trust: SecretName | None = None
    certificate: SecretName | None = None
    depth: int = 1
    protocols: tuple[str, ...] = ("TLSv1.2", "TLSv1.3")
    """Of TLSv1, TLSv1.1, TLSv1.2 and TLSv1.3, without gaps, the oldest first."""
    ciphers: str = ""


class HttpsRedirect(msgspec.Struct, frozen=True):
    """Where requests over plain HTTP are sent: to the same host and target by https. `port` is named in the URL unless
    it is 443. `strip_slash`: one `/` at the very end of the target is left out, as ingress-nginx does."""

    code: int = 308
    port: int = 443
    strip_slash: bool = False


INTERMEDIATE_CIPHERS = (
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"
    "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
)
"""For TLS 1.2: Mozilla's intermediate configuration, without the two for which a group of DH would be needed. All give
forward secrecy. For TLS 1.3 OpenSSL has its own."""


class TlsSettings(msgspec.Struct, frozen=True):
    """What holds for all of a worker's TLS listeners."""

    protocols: tuple[str, ...] = ("TLSv1.2", "TLSv1.3")
    """Without gaps, the oldest first."""
    ciphers: str = INTERMEDIATE_CIPHERS
    """An OpenSSL list, for TLS 1.2."""
    reject_unknown: bool = False
    """Whether a handshake is refused (alert unrecognized_name) whose server name no TlsHost has."""
    refuse_misdirected: bool = False
    """Whether a request is answered 421 if the connection's certificate does not cover its host (RFC 9110 section
    15.5.20). If not, it is served."""
    passthrough: bool = False
    """Whether ClientHellos are read for hosts with `passthrough`."""
    hsts: str = ""
    """The value of Strict-Transport-Security in every response over TLS; empty for none. It replaces the upstream's."""
