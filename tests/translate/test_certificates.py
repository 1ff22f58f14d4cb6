"""What is read from Secrets is what OpenSSL serves."""

import base64
import datetime
import ssl
import subprocess
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtensionOID, NameOID

from ingressd.model import Certificate, Hidden, SecretName
from ingressd.translate.certificates import Unusable, covers, read_certificate, read_trust_bundle
from tests.kit.pki import Authority, Issued, key_pem, make_key
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


def pem(data: bytes, kind: str = "CERTIFICATE") -> bytes:
    return f"-----BEGIN {kind}-----\n{base64.encodebytes(data).decode()}-----END {kind}-----\n".encode()


def test_a_factor_of_an_rsa_key_that_is_one() -> None:
    one = ROOT.issue("a.example", key="rsa")
    key = serialization.load_pem_private_key(one.key, None)
    assert isinstance(key, rsa.RSAPrivateKey)
    numbers = key.private_numbers()
    n = numbers.public_numbers.n
    values = (0, n, numbers.public_numbers.e, numbers.d, 1, n, 0, numbers.d % (n - 1), 1)
    body = b"".join(tagged(2, value.to_bytes(value.bit_length() // 8 + 1, "big")) for value in values)
    with pytest.raises(Unusable, match="damaged"):
        read_certificate(secret("tls", one._replace(key=pem(tagged(0x30, body), "RSA PRIVATE KEY"))))


def tagged(tag: int, content: bytes) -> bytes:
    """A value in DER (X.690 section 8.1)."""
    size = len(content)
    if size < 128:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content


def self_signed(key: ec.EllipticCurvePrivateKey, alternatives: bytes = b"") -> bytes:
    """A certificate (DER); `alternatives` is what is in its extension of that name."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a.example")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now).not_valid_after(now + datetime.timedelta(1))
    if alternatives:
        extension = x509.UnrecognizedExtension(ExtensionOID.SUBJECT_ALTERNATIVE_NAME, alternatives)
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


VERSION_3, VERSION_6 = b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x05"


def test_what_the_library_cannot_read_is_no_crash() -> None:
    """It has exceptions of many kinds: for a version that does not exist, and for a name of a kind that nobody uses."""
    key = ec.generate_private_key(ec.SECP256R1())
    good = self_signed(key)
    assert good.count(VERSION_3) == 1
    for bad in (good.replace(VERSION_3, VERSION_6), self_signed(key, b"\x30\x06\xa5\x04\xa1\x02\x0c\x00")):
        with pytest.raises(Unusable, match="cannot be read"):
            read_certificate(secret("tls", Issued(pem(bad), b"", key_pem(key))))
        with pytest.raises(Unusable, match="cannot be read"):
            read_trust_bundle(secret("ca", None, **{"ca.crt": pem(bad).decode()}))
    good = ssl.PEM_cert_to_DER_cert(ROOT.revocations().decode().replace("X509 CRL", "CERTIFICATE"))
    assert good.count(b"\x02\x01\x01\x30") == 1
    bad = good.replace(b"\x02\x01\x01\x30", b"\x02\x01\x07\x30")
    with pytest.raises(Unusable, match="cannot be read"):
        read_trust_bundle(secret("ca", None, **{"ca.crt": ROOT.pem.decode(), "ca.crl": pem(bad, "X509 CRL").decode()}))


def test_an_issuer_that_openssl_refuses(tmp_path: Path) -> None:
    """One signed with SHA-1, and one with a short key. A root may have such a signature."""
    keys = {"root": tmp_path / "root.key", "sha1": tmp_path / "sha1.key", "short": tmp_path / "short.key"}
    for name, file in keys.items():
        private = rsa.generate_private_key(65537, 1024 if name == "short" else 2048)
        file.write_bytes(key_pem(private))
    root = certificate(tmp_path, "root", "root", "root", "-sha1")
    leaf_key = tmp_path / "leaf.key"
    leaf_key.write_bytes(key_pem(make_key()))
    for name, option in (("sha1", "-sha1"), ("short", "-sha256")):
        issuer = certificate(tmp_path, name, name, "root", option)
        leaf = certificate(tmp_path, "leaf", "leaf", name, "-sha256")
        with pytest.raises(Unusable, match="an issuer whose .* SHA1" if name == "sha1" else "an issuer .* 1024 bits"):
            read_certificate(secret("tls", Issued(leaf, issuer, leaf_key.read_bytes())))
    leaf = certificate(tmp_path, "leaf", "leaf", "root", "-sha256")
    found = read_certificate(secret("tls", Issued(leaf, root, leaf_key.read_bytes())))
    file = tmp_path / "both.pem"
    file.write_bytes(found.chain + found.private_key.value)
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(file)


def certificate(folder: Path, key: str, name: str, issuer: str, digest: str) -> bytes:
    """Made with openssl, because the library signs with no weak digest."""
    wanted = subprocess.run(
        ["openssl", "req", "-new", "-key", folder / f"{key}.key", "-subj", f"/CN={name}"],
        capture_output=True,
        check=True,
    ).stdout
    by = ["-signkey", f"{key}.key"]
    if name != issuer:
        by = ["-CA", f"{issuer}.crt", "-CAkey", f"{issuer}.key", "-CAcreateserial"]
    command = ["openssl", "x509", "-req", "-days", "2", digest, *by, "-out", f"{name}.crt"]
    subprocess.run(command, cwd=folder, input=wanted, capture_output=True, check=True)
    return (folder / f"{name}.crt").read_bytes()


def test_what_never_ends_is_not_looked_for_again_and_again() -> None:
    """As large as a Secret may be: this took minutes once. CPU time, of which there is a hundred times enough."""
    one = ROOT.issue("a.example")
    start = time.process_time()
    with pytest.raises(Unusable, match="no certificate"):
        read_certificate(secret("tls", one._replace(certificate=b"-----BEGIN CERTIFICATE-----" * 30_000)))
    with pytest.raises(Unusable, match="no private key"):
        read_certificate(secret("tls", one._replace(key=b"-----BEGIN PRIVATE KEY-----" * 30_000)))
    assert time.process_time() - start < 10


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
