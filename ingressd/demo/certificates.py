"""The certificate of the demo, and the authority that vouches for it: made at each start, gone at its end."""

import base64
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

NAMESPACE, SECRET = "demo", "secure-tls"
HOSTS = ("secure.localhost",)
LIFE = timedelta(days=7)


class Files(NamedTuple):
    """`authority` is what a client trusts; `manifests` has the Secret."""

    authority: Path
    manifests: Path


def write(folder: Path) -> Files:
    """Writes both below `folder`, which is nobody else's to read."""
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = named("ingressd demo authority")
    usage = x509.BasicConstraints(ca=True, path_length=0)
    authority = unsigned(issuer, issuer, authority_key).add_extension(usage, critical=True)
    signed = authority.sign(authority_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    names = x509.SubjectAlternativeName([x509.DNSName(host) for host in HOSTS])
    leaf = unsigned(named(HOSTS[0]), issuer, key).add_extension(names, critical=False)
    chain = leaf.sign(authority_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    files = Files(folder / "ca.crt", folder / "manifests")
    files.authority.write_bytes(signed)
    files.manifests.mkdir()
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": SECRET, "namespace": NAMESPACE},
        "type": "kubernetes.io/tls",
        "data": {"tls.crt": base64.b64encode(chain).decode(), "tls.key": base64.b64encode(private).decode()},
    }
    (files.manifests / "secret.yaml").write_text(json.dumps(secret, indent=2))
    return files


def named(text: str) -> x509.Name:
    """A subject or an issuer by its common name."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def unsigned(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
) -> x509.CertificateBuilder:
    """What all certificates begin with, good for LIFE before now and after."""
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - LIFE)
        .not_valid_after(now + LIFE)
    )
