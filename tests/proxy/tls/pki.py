"""Certificates for the tests: authorities that last as long as the tests do, and what they sign."""

import datetime
import ipaddress
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from ingressd.model import Certificate, Hidden, SecretName, TrustBundle

DAY = datetime.timedelta(days=1)
PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@dataclass(frozen=True)
class Issued:
    """A certificate and its key, PEM; `chain` has the issuers behind the certificate."""

    chain: bytes
    key: bytes
    certificate: x509.Certificate
    private_key: PrivateKey

    def model(self, name: str, names: Sequence[str] = ()) -> Certificate:
        """As a worker is told it, in Secret default/`name`."""
        return Certificate(SecretName("default", name), self.chain, Hidden(self.key), tuple(names))

    def files(self, directory: Path, name: str) -> tuple[Path, Path]:
        """Written to `directory`: certificate and key."""
        paths = directory / f"{name}.crt", directory / f"{name}.key"
        paths[0].write_bytes(self.chain)
        paths[1].write_bytes(self.key)
        return paths


class Authority:
    """Signs certificates; its own is signed by `issuer`, or by itself."""

    def __init__(self, name: str = "Test CA", issuer: "Authority | None" = None) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._issuer = issuer
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = _builder(subject, issuer.certificate.subject if issuer else subject, self._key)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self.certificate: x509.Certificate = builder.sign(issuer._key if issuer else self._key, hashes.SHA256())
        self.pem = self.certificate.public_bytes(serialization.Encoding.PEM)

    def bundle(self, name: str = "ca") -> TrustBundle:
        """As a worker is told it."""
        return TrustBundle(SecretName("default", name), self.pem)

    def issue(
        self,
        *names: str,
        common_name: str = "",
        subject: x509.Name | None = None,
        key: PrivateKey | None = None,
        days: int = 30,
    ) -> Issued:
        """A certificate for DNS names or addresses; with `days` below 0 one that has expired."""
        key = key or ec.generate_private_key(ec.SECP256R1())
        if subject is None:
            subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name or (names or ("nobody",))[0])])
        builder = _builder(subject, self.certificate.subject, key, days)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName([_name(name) for name in names]), False)
        certificate = builder.sign(self._key, hashes.SHA256())
        chain = certificate.public_bytes(serialization.Encoding.PEM)
        above: Authority | None = self
        while above is not None and above._issuer is not None:
            chain += above.pem
            above = above._issuer
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return Issued(chain, pem, certificate, key)

    def client_context(self, shown: tuple[Path, Path] | None = None, protocols: Sequence[str] = ()) -> ssl.SSLContext:
        """A client that trusts this authority; `shown` is its own certificate, if it has one."""
        context = ssl.create_default_context(cadata=self.pem.decode())
        if shown is not None:
            context.load_cert_chain(*shown)
        if protocols:
            context.set_alpn_protocols(list(protocols))
        return context


def _builder(subject: x509.Name, issuer: x509.Name, key: PrivateKey, days: int = 30) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - 60 * DAY)
        .not_valid_after(now + days * DAY)
    )


def _name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)
