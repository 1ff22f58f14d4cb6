"""What is read from Secrets is what OpenSSL serves."""

import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from ingressd.model import Certificate, Hidden, SecretName
from ingressd.translate.certificates import Unusable, covers, read_certificate, read_trust_bundle
from tests.kit.pki import Authority, Issued
from tests.translate.test_keyring import secret

ROOT = Authority()
MIDDLE = Authority("Test Intermediate", ROOT)
OTHER = Authority("Other")


@pytest.mark.parametrize("kind", ["ecdsa", "rsa", "ed25519"])
def test_openssl_takes_it(kind: str, tmp_path: Path) -> None:
    found = read_certificate(secret("tls", MIDDLE.issue("A.example", "*.b.example", key=kind)))
    file = tmp_path / "both.pem"
    file.write_bytes(found.chain + found.private_key.value)
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(file)
    assert found.names == ("a.example", "*.b.example")
    assert found.public_key_algorithm == {"ecdsa": "ECDSA", "rsa": "RSA", "ed25519": "Ed25519"}[kind]
    assert (found.issuer_organization, found.issuer_common_name) == ("Test Trust", "Test Intermediate")
    assert found.not_before < found.not_after


def subjects(chain: bytes) -> list[str]:
    return [one.subject.rfc4514_string() for one in x509.load_pem_x509_certificates(chain)]


@pytest.mark.parametrize("order", ["right", "reversed", "with-root", "with-stranger"])
def test_a_chain_is_put_in_order(order: str) -> None:
    one = MIDDLE.issue("a.example")
    chain = {
        "right": one.chain,
        "reversed": one.issuers + one.certificate,
        "with-root": ROOT.pem + one.chain,
        "with-stranger": OTHER.pem + one.chain,
    }[order]
    found = read_certificate(secret("tls", Issued(chain, b"", one.key)))
    expected = ["CN=a.example", "CN=Test Intermediate,O=Test Trust"]
    if order == "with-root":
        expected.append("CN=Test Root,O=Test Trust")
    assert subjects(found.chain) == expected


def test_what_surrounds_pem_does_no_harm() -> None:
    """As `openssl x509 -text` writes it, with CRLF, and with parameters before an EC key."""
    one = ROOT.issue("a.example")
    chain = b"subject=CN = a.example\r\n" + one.chain.replace(b"\n", b"\r\n") + b"\r\n# the end"
    key = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n" + one.key
    assert read_certificate(secret("tls", Issued(chain, b"", key))).names == ("a.example",)


def test_damaged_numbers_of_an_rsa_key() -> None:
    one = ROOT.issue("a.example", key="rsa")
    key = serialization.load_pem_private_key(one.key, None)
    assert isinstance(key, rsa.RSAPrivateKey)
    numbers = key.private_numbers()
    worse = rsa.RSAPrivateNumbers(
        numbers.p, numbers.q, numbers.d, numbers.dmp1 ^ 2, numbers.dmq1, numbers.iqmp, numbers.public_numbers
    ).private_key(unsafe_skip_rsa_key_validation=True)
    pem = worse.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with pytest.raises(Unusable, match="damaged"):
        read_certificate(secret("tls", one._replace(key=pem)))


@pytest.mark.parametrize(
    ("names", "host", "expected"),
    [
        (("a.example",), "a.example", True),
        (("a.example",), "b.example", False),
        (("*.example",), "a.example", True),
        (("*.example",), "b.a.example", False),
        (("*.example",), "example", False),
        (("*.example",), "*.example", True),
        (("a.example",), "*.example", False),
        (("*.a.example",), "a.example", False),
        ((), "a.example", False),
    ],
)
def test_covers(names: tuple[str, ...], host: str, expected: bool) -> None:
    assert covers(Certificate(SecretName("a", "b"), b"", Hidden(b""), names), host) is expected


def test_bundles_have_all_authorities_and_lists() -> None:
    text = (ROOT.pem + b"between\n" + OTHER.pem).decode()
    lists = (ROOT.revocations([ROOT.issue("a.example")]) + OTHER.revocations()).decode()
    found = read_trust_bundle(secret("ca", None, **{"ca.crt": text, "ca.crl": lists}))
    assert found.authorities == ROOT.pem + OTHER.pem
    assert found.revoked.decode().split() == lists.split()
