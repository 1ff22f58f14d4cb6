"""Who the client of a TLS connection is, what its host asks of it, and whether a request may go on.

A client shows its certificate in the handshake, which goes on whatever it is; each request is then judged by what its
host asks, as nginx does it. Nobody's word but OpenSSL's decides what a certificate is worth.
"""

import re
import ssl
from typing import TYPE_CHECKING
from urllib.parse import quote

from ingressd.model import ClientAuth, ClientAuthMode
from ingressd.proxy.responses import (
    CLIENT_AUTH_BROKEN,
    CLIENT_CERTIFICATE,
    CLIENT_NOT_ALLOWED,
    MISDIRECTED,
    NO_CLIENT_CERTIFICATE,
)
from ingressd.proxy.tls_table import ServerContext, TlsTable

if TYPE_CHECKING:
    from cryptography.x509 import Name

WITHOUT_AUTHORITY = frozenset((18, 19, 20, 21))
"""What `optional_no_ca` forgives, as in nginx: DEPTH_ZERO_SELF_SIGNED_CERT, SELF_SIGNED_CERT_IN_CHAIN,
UNABLE_TO_GET_ISSUER_CERT_LOCALLY, UNABLE_TO_VERIFY_LEAF_SIGNATURE (x509_vfy.h)."""

_NAMES = {
    "2.5.4.3": "CN",
    "2.5.4.4": "SN",
    "2.5.4.5": "serialNumber",
    "2.5.4.6": "C",
    "2.5.4.7": "L",
    "2.5.4.8": "ST",
    "2.5.4.9": "street",
    "2.5.4.10": "O",
    "2.5.4.11": "OU",
    "2.5.4.12": "title",
    "2.5.4.17": "postalCode",
    "2.5.4.42": "GN",
    "0.9.2342.19200300.100.1.1": "UID",
    "0.9.2342.19200300.100.1.25": "DC",
    "1.2.840.113549.1.9.1": "emailAddress",
}
"""Short names of OpenSSL (crypto/objects)."""

_UNPRINTABLE = re.compile(rb"[^ -~]")


class Secured:
    """The TLS of one client connection."""

    __slots__ = ("_checked", "_fields", "_generation", "_object", "_refusal", "_table", "context", "verdict")

    def __init__(self, table: TlsTable, context: ServerContext, connection: ssl.SSLObject) -> None:
        self._table = table
        self.context = context
        self._object = connection
        self.verdict = 0
        """Of OpenSSL on the client's certificate; 0: good, or there is none."""
        self._checked: bytes | None = None
        self._generation = -1
        self._refusal: str | None = None
        self._fields: bytes | None = None

    def refusal(self, host: bytes) -> str | None:
        """Why requests to `host` (normal form) are not answered on this connection; None if they are."""
        table = self._table
        if host is not self._checked or table.generation != self._generation:
            self._refusal = self._judge(host)
            self._checked = host
            self._generation = table.generation
        return self._refusal

    def _judge(self, host: bytes) -> str | None:
        table = self._table
        found = table.host(host.decode("latin-1"))
        wanted = found.client_auth if found is not None else None
        if wanted != self.context.client_auth:
            return MISDIRECTED
        if wanted is not None and (reason := self._judge_client(wanted)) is not None:
            return reason
        if table.settings.refuse_misdirected and host and not self.context.covers(host):
            # Only where another connection would be another: there may be no certificate for this host at all.
            certificate = table.certificate(found)
            if certificate is not None and certificate.name != self.context.certificate:
                return MISDIRECTED
        return None

    def _judge_client(self, wanted: ClientAuth) -> str | None:
        if not self._table.trusted(wanted):
            return CLIENT_AUTH_BROKEN
        if self.verdict and not (wanted.mode is ClientAuthMode.OPTIONAL_NO_CA and self.verdict in WITHOUT_AUTHORITY):
            return CLIENT_CERTIFICATE
        shown = self._object.getpeercert(binary_form=True)
        if shown is None and wanted.mode is ClientAuthMode.ON:
            return NO_CLIENT_CERTIFICATE
        # Who shows nothing has no name, where certificates are optional too; as with ingress-nginx.
        if wanted.common_names and (shown is None or not matches(common_name(shown), wanted.common_names)):
            return CLIENT_NOT_ALLOWED
        return None

    def fields(self) -> bytes:
        """What the upstream is told of the client, in whole lines; nothing if its host asks nothing of clients."""
        if self._fields is None:
            wanted = self.context.client_auth
            self._fields = b"" if wanted is None else self._render(wanted)
        return self._fields

    def _render(self, wanted: ClientAuth) -> bytes:
        shown = self._object.getpeercert(binary_form=True)
        if shown is None:
            return b"ssl-client-verify: NONE\r\n"
        library = self.context.library
        verify = "SUCCESS"
        if self.verdict and library is not None:
            verify = f"FAILED:{library.explain(self.verdict)}"
        subject, issuer = distinguished_names(shown)
        lines = b"ssl-client-verify: %b\r\nssl-client-subject-dn: %b\r\nssl-client-issuer-dn: %b\r\n" % (
            verify.encode(),
            subject,
            issuer,
        )
        if wanted.pass_certificate:
            lines += b"ssl-client-cert: %b\r\n" % quote(ssl.DER_cert_to_PEM_cert(shown), safe="").encode()
        return lines


def matches(name: str, patterns: tuple[str, ...]) -> bool:
    """Whether a common name is one of `patterns`, in which a `.` stands for any one character."""
    return any(
        len(name) == len(pattern) and all(wanted in (".", found) for wanted, found in zip(pattern, name, strict=True))
        for pattern in patterns
    )


def common_name(certificate: bytes) -> str:
    """Of the subject of a certificate (DER); the last one if there are several, empty if there is none."""
    from cryptography.x509 import InvalidVersion, load_der_x509_certificate
    from cryptography.x509.oid import NameOID

    try:
        names = load_der_x509_certificate(certificate).subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    except (ValueError, InvalidVersion):
        return ""
    return str(names[-1].value) if names else ""


def distinguished_names(certificate: bytes) -> tuple[bytes, bytes]:
    """Subject and issuer of a certificate (DER) as RFC 2253 writes them, in OpenSSL's manner: what is not printable
    ASCII is escaped, so that no name can end a field line."""
    # Here and not above: it takes megabytes, and few workers need it.
    from cryptography.x509 import InvalidVersion, load_der_x509_certificate

    try:
        parsed = load_der_x509_certificate(certificate)
        return _written(parsed.subject), _written(parsed.issuer)
    except (ValueError, InvalidVersion):
        # OpenSSL takes names and versions that cryptography finds malformed; no more is said of them.
        return b"", b""


def _written(name: "Name") -> bytes:
    from cryptography.x509 import ObjectIdentifier

    names = {ObjectIdentifier(number): short for number, short in _NAMES.items()}
    return _UNPRINTABLE.sub(lambda found: b"\\%02X" % found[0][0], name.rfc4514_string(names).encode("utf-8"))
