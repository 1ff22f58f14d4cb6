"""Certificates of a soak test: an authority that issues them again and again, and clients that trust nobody else."""

import base64
import ssl
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ingressd.demo.certificates import named, unsigned


class Issued(NamedTuple):
    """The data of a Secret, and the serial number in decimal, by which /api/snapshot names a certificate."""

    data: dict[str, str]
    serial_number: str


class Authority:
    """Made at the start, gone at the end. All certificates have one key, which costs time to make."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._leaf_key = ec.generate_private_key(ec.SECP256R1())
        self._name = named("soak test authority")
        usage = x509.BasicConstraints(ca=True, path_length=0)
        own = x509.SubjectKeyIdentifier.from_public_key(self._key.public_key())
        builder = unsigned(self._name, self._name, self._key).add_extension(usage, critical=True)
        made = builder.add_extension(own, critical=False).sign(self._key, hashes.SHA256())
        self._pem = made.public_bytes(serialization.Encoding.PEM)

    def issue(self, host: str) -> Issued:
        """A new one for a host."""
        names = x509.SubjectAlternativeName([x509.DNSName(host)])
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = unsigned(named(host), self._name, self._leaf_key).add_extension(names, critical=False)
        made = builder.add_extension(issuer, critical=False).sign(self._key, hashes.SHA256())
        key = self._leaf_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        values = {"tls.crt": made.public_bytes(serialization.Encoding.PEM), "tls.key": key}
        data = {name: base64.b64encode(value).decode() for name, value in values.items()}
        return Issued(data, str(made.serial_number))

    def client(self, version: ssl.TLSVersion) -> ssl.SSLContext:
        """Of a client that trusts this authority alone, and speaks one version."""
        context = ssl.create_default_context(cadata=self._pem.decode())
        context.minimum_version = context.maximum_version = version
        return context
