"""The keys of a cluster: a certificate authority, the API server's certificate, and the key that signs tokens."""

import base64
import datetime
import ipaddress
import json
import math
import time
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.kit.pki import usage

ISSUER = "https://kubernetes.default.svc.cluster.local"
"""Of service account tokens; also their audience."""
LEEWAY = 60
"""Seconds for which the API server accepts a token after its `exp` (go-jose's jwt.DefaultLeeway)."""
LIFE = datetime.timedelta(days=2)


class Keys:
    """Files in `folder`: ca.crt, server.crt, server.key (for 127.0.0.1 and localhost) and tokens.key."""

    def __init__(self, folder: Path) -> None:
        self.ca_file = folder / "ca.crt"
        self.certificate_file = folder / "server.crt"
        self.key_file = folder / "server.key"
        self.token_key_file = folder / "tokens.key"
        authority_key, server_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
        self._token_key = ec.generate_private_key(ec.SECP256R1())
        authority = _authority(authority_key)
        self._authority, self._authority_key = authority, authority_key
        self.ca_file.write_bytes(authority.public_bytes(serialization.Encoding.PEM))
        server = _server(server_key, authority, authority_key)
        self.certificate_file.write_bytes(server.public_bytes(serialization.Encoding.PEM))
        self.key_file.write_bytes(_pem(server_key))
        self.token_key_file.write_bytes(_pem(self._token_key))

    def client(self, folder: Path, name: str, group: str, life: float) -> tuple[Path, Path]:
        """A certificate of a user that is accepted for `life` seconds, and its key: files in `folder`, of this name."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate, key_file = folder / f"{name}.crt", folder / f"{name}.key"
        made = _client(key, name, group, life, self._authority, self._authority_key)
        certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
        key_file.write_bytes(_pem(key))
        return certificate, key_file

    def token(self, namespace: str, account: str, uid: str, life: float) -> str:
        """A token of a service account, such as the API server signs, that is accepted for `life` seconds, rounded up
        to a whole second of the clock. Through the API no token shorter than 10 minutes can be had."""
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "aud": [ISSUER],
            "sub": f"system:serviceaccount:{namespace}:{account}",
            "iat": now - 2 * LEEWAY,
            "nbf": now - 2 * LEEWAY,
            "exp": math.ceil(time.time() + life - LEEWAY),
            "kubernetes.io": {"namespace": namespace, "serviceaccount": {"name": account, "uid": uid}},
        }
        signed = f"{_base64({'alg': 'ES256', 'typ': 'JWT'})}.{_base64(claims)}"
        r, s = decode_dss_signature(self._token_key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{signed}.{_base64(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def _base64(value: dict[str, Any] | bytes) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )


def _builder(
    name: str,
    issuer: str,
    key: ec.EllipticCurvePublicKey,
    group: str = "",
    life: datetime.timedelta = LIFE,
    *,
    authority: bool = False,
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    groups = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group)] if group else []
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name), *groups]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - LIFE)
        .not_valid_after(now + life)
        .add_extension(usage(authority=authority), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _authority(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    name = "tests of ingressd"
    builder = _builder(name, name, key.public_key(), authority=True)
    return builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True).sign(
        key, hashes.SHA256()
    )


def _server(
    key: ec.EllipticCurvePrivateKey, authority: x509.Certificate, authority_key: ec.EllipticCurvePrivateKey
) -> x509.Certificate:
    (issuer,) = authority.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    return (
        _builder("kube-apiserver", str(issuer.value), key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(authority_key, hashes.SHA256())
    )


def _client(
    key: ec.EllipticCurvePrivateKey,
    name: str,
    group: str,
    life: float,
    authority: x509.Certificate,
    authority_key: ec.EllipticCurvePrivateKey,
) -> x509.Certificate:
    """Kubernetes takes the common name for the user and the organisation for a group."""
    (issuer,) = authority.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return (
        _builder(name, str(issuer.value), key.public_key(), group, datetime.timedelta(seconds=life))
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
