"""The certificate that all proxies of a comparison have, and how HTTPS is spoken with them.

Version, cipher and group of TLS are those that CLIENT has OpenSSL offer: no proxy can choose others, whatever its own
preference is.
"""

import base64
import ipaddress
import json
import ssl
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from ingressd.demo.certificates import named, unsigned

CLIENT = {"OPENSSL_CONF": str(Path(__file__).parent / "tls_client.cnf")}
"""The environment of load generators."""
SPOKEN = ("TLSv1.3", "TLS_AES_128_GCM_SHA256")
"""What they speak, in the words of Python's `ssl`."""
SECRET = ("bench", "tls")
"""Namespace and name."""


class Files(NamedTuple):
    """A certificate and its key, PEM. HAProxy finds the key by the name of the certificate."""

    certificate: Path
    key: Path


def make(directory: Path, kind: str = "ecdsa") -> Files:
    """A self-signed one for all hosts of the rig and for the loopback address, which wrk says is the name of a server.

    `kind` is "ecdsa" (P-256) or "rsa" (2048 bits).
    """
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey = (
        rsa.generate_private_key(65537, 2048) if kind == "rsa" else ec.generate_private_key(ec.SECP256R1())
    )
    name = named("bench")
    names: list[x509.GeneralName] = [x509.DNSName("*.example.com")]
    names.append(x509.IPAddress(ipaddress.IPv4Address("127.0.0.1")))
    extension = x509.SubjectAlternativeName(names)
    made = unsigned(name, name, key).add_extension(extension, critical=False).sign(key, hashes.SHA256())
    files = Files(directory / "tls.crt", directory / "tls.key")
    files.certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    files.key.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return files


def write_secret(files: Files, path: Path) -> None:
    """As a manifest."""
    namespace, name = SECRET
    data = {f"tls.{file.suffix[1:]}": base64.b64encode(file.read_bytes()).decode() for file in files}
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/tls",
        "metadata": {"name": name, "namespace": namespace},
        "data": data,
    }
    path.write_text(json.dumps(secret))


def trusting(files: Files) -> ssl.SSLContext:
    """Of a client that takes this certificate and no other."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(files.certificate)
    context.set_alpn_protocols(["http/1.1"])
    return context
