"""Certificates for tests: authorities, what they issue, and lists of what they revoke."""

import datetime
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ingressd.model import Certificate, Hidden, SecretName, TrustBundle

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey

DAY = datetime.timedelta(days=1)


class Issued(NamedTuple):
    """PEM: the certificate, those of its issuers without the root, and its key (PKCS #8)."""

    certificate: bytes
    issuers: bytes
    key: bytes

    @property
    def chain(self) -> bytes:
        return self.certificate + self.issuers

    def model(self, name: str, names: Sequence[str] = ()) -> Certificate:
        """As a worker is told it, from Secret default/`name` and for the hosts `names`."""
        return Certificate(SecretName("default", name), self.chain, Hidden(self.key), tuple(names))

    def files(self, folder: Path, name: str) -> tuple[Path, Path]:
        """Chain and key, written to `folder`."""
        paths = folder / f"{name}.crt", folder / f"{name}.key"
        for path, content in zip(paths, (self.chain, self.key), strict=True):
            path.write_bytes(content)
        return paths


def make_key(kind: str = "ecdsa") -> PrivateKey:
    """`ecdsa` (P-256), `rsa` (2048 bits; slow), `rsa1024` or `ed25519`."""
    match kind:
        case "ecdsa":
            return ec.generate_private_key(ec.SECP256R1())
        case "ed25519":
            return ed25519.Ed25519PrivateKey.generate()
        case _:
            return rsa.generate_private_key(65537, int(kind.removeprefix("rsa") or 2048))


def key_pem(key: PrivateKey, password: bytes = b"") -> bytes:
    protection = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protection)


class Authority:
    """A root, or with `parent` an intermediate authority."""

    def __init__(self, name: str = "Test Root", parent: "Authority | None" = None) -> None:
        self._parent = parent
        self._key = make_key()
        self.name = x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Test Trust"),
                x509.NameAttribute(NameOID.COMMON_NAME, name),
            ]
        )
        issuer = parent or self
        builder = _builder(self.name, issuer.name, self._key)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        builder = builder.add_extension(usage(authority=True), critical=True)
        own = x509.SubjectKeyIdentifier.from_public_key(self._key.public_key())
        builder = builder.add_extension(own, critical=False)
        if parent is not None:
            builder = builder.add_extension(parent.key_identifier, critical=False)
        self.certificate = builder.sign(issuer._key, hashes.SHA256())

    @property
    def key_identifier(self) -> x509.AuthorityKeyIdentifier:
        """By which what it issues names its key."""
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def bundle(self) -> TrustBundle:
        """As a worker is told it, in Secret default/ca."""
        return TrustBundle(SecretName("default", "ca"), self.pem)

    def client_context(self) -> ssl.SSLContext:
        """A client that trusts this authority."""
        return ssl.create_default_context(cadata=self.pem.decode())

    def issue(
        self,
        *names: str,
        common_name: str = "",
        subject: x509.Name | None = None,
        key: str | PrivateKey = "ecdsa",
        start: datetime.datetime | None = None,
        end: datetime.datetime | None = None,
    ) -> Issued:
        """For servers and clients; `names` are its DNS names, and without any it has no alternative names at all. The
        subject is `common_name`, or the first name, unless it is given whole."""
        private = make_key(key) if isinstance(key, str) else key
        if subject is None:
            text = common_name or (names[0] if names else "nobody")
            subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])
        builder = _builder(subject, self.name, private, start, end)
        if names:
            alternatives = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
            builder = builder.add_extension(alternatives, critical=False)
        builder = builder.add_extension(usage(authority=False), critical=True)
        builder = builder.add_extension(self.key_identifier, critical=False)
        purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        made = builder.sign(self._key, hashes.SHA256())
        issuers = b""
        authority: Authority | None = self
        while authority is not None and authority._parent is not None:
            issuers += authority.pem
            authority = authority._parent
        return Issued(made.public_bytes(serialization.Encoding.PEM), issuers, key_pem(private))

    def expired(self, *names: str, common_name: str = "") -> Issued:
        """As `issue`, good until yesterday."""
        now = datetime.datetime.now(datetime.UTC)
        return self.issue(*names, common_name=common_name, start=now - 2 * DAY, end=now - DAY)

    def revocations(self, revoked: Sequence[Issued] = ()) -> bytes:
        """A list (PEM) of the certificates that are revoked."""
        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateRevocationListBuilder().issuer_name(self.name)
        builder = builder.last_update(now - DAY).next_update(now + DAY)
        for one in revoked:
            number = x509.load_pem_x509_certificate(one.certificate).serial_number
            entry = x509.RevokedCertificateBuilder().serial_number(number).revocation_date(now - DAY).build()
            builder = builder.add_revoked_certificate(entry)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: PrivateKey,
    start: datetime.datetime | None = None,
    end: datetime.datetime | None = None,
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start or now - DAY)
        .not_valid_after(end or now + 30 * DAY)
    )


def usage(*, authority: bool) -> x509.KeyUsage:
    """What a key is for: signing, and if `authority` signing certificates and lists of revoked ones."""
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )
