"""Secrets -> certificates with their keys, and bundles of authorities. Nothing is accepted that OpenSSL would refuse.

No message shows anything of a key. What is read here is remembered by nobody: that is `keyring`.
"""

import re
from collections.abc import Sequence
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes, PrivateKeyTypes, PublicKeyTypes
from cryptography.x509.oid import NameOID

from ingressd.model import Certificate, Hidden, SecretName, TrustBundle
from ingressd.resources import Secret
from ingressd.resources.finding import listing, plain
from ingressd.resources.syntax import host_fault

CERTIFICATE, KEY = "tls.crt", "tls.key"
AUTHORITIES, REVOKED = "ca.crt", "ca.crl"
"""Keys of a Secret."""

LEAST_RSA_BITS = 2048
"""OpenSSL's security level 2 (112 bits), which most systems have, refuses shorter keys."""
_CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
"""Those that TLS 1.3 has signatures for (RFC 8446 section 4.2.3)."""
_WEAK_HASHES = ("md5", "sha1")

_KEY_BEGIN = re.compile(rb"-----BEGIN (?P<kind>[A-Z ]{0,32}PRIVATE KEY)-----")
_UNREADABLE = (
    ValueError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
"""What the library raises where it cannot read a certificate or a list, now or when it is asked for a part of it."""


class Unusable(Exception):
    """Why a Secret is not what it should be: `key` of its data, and a sentence that may follow the Secret's name."""

    def __init__(self, key: str, why: str) -> None:
        super().__init__(why)
        self.key = key


def read_certificate(secret: Secret) -> Certificate:
    """The certificate of a Secret of type kubernetes.io/tls. Whether its time has come and for which hosts it is good,
    is not looked at. Raises Unusable."""
    chain = _certificates(secret, CERTIFICATE)
    key = _private_key(secret)
    leaf = _leaf(chain, key)
    served = _ordered(leaf, chain)
    _check_strength(served)
    return Certificate(
        SecretName(secret.namespace, secret.name),
        b"".join(one.public_bytes(serialization.Encoding.PEM) for one in served),
        Hidden(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        ),
        names=_names(leaf),
        not_before=_seconds(leaf.not_valid_before_utc),
        not_after=_seconds(leaf.not_valid_after_utc),
        serial_number=str(leaf.serial_number),
        issuer_organization=next(iter(_attributes(leaf.issuer, NameOID.ORGANIZATION_NAME)), ""),
        issuer_common_name=next(iter(_attributes(leaf.issuer, NameOID.COMMON_NAME)), ""),
        public_key_algorithm=_algorithm(leaf.public_key()),
    )


def read_trust_bundle(secret: Secret) -> TrustBundle:
    """The authorities in a Secret's ca.crt, and the lists of revoked certificates in its ca.crl. Raises Unusable."""
    found = _certificates(secret, AUTHORITIES)
    authorities = b"".join(one.public_bytes(serialization.Encoding.PEM) for one in found)
    revoked = b""
    if REVOKED in (*secret.data, *secret.string_data):
        blocks = _blocks(secret.value(REVOKED), b"X509 CRL")
        if not blocks:
            raise Unusable(REVOKED, f"{REVOKED} has no list of revoked certificates in PEM (BEGIN X509 CRL)")
        for block in blocks:
            try:
                x509.load_pem_x509_crl(block)
            except _UNREADABLE:
                raise Unusable(REVOKED, f"{REVOKED} has a list of revoked certificates that cannot be read") from None
        revoked = b"\n".join(blocks) + b"\n"
    return TrustBundle(SecretName(secret.namespace, secret.name), authorities, revoked)


def covers(certificate: Certificate, host: str) -> bool:
    """Whether clients take it for `host`, which may be a wildcard (RFC 9525 section 6.3: `*` stands for one label)."""
    return host in certificate.names or f"*.{host.partition('.')[2]}" in certificate.names


def _blocks(data: bytes, kind: bytes) -> list[bytes]:
    """The PEM blocks of one kind (RFC 7468)."""
    begin, end = b"-----BEGIN %b-----" % kind, b"-----END %b-----" % kind
    found = []
    start = data.find(begin)
    # No pattern: where many begin and none ends, each would be looked for to the end.
    while start >= 0 and (stop := data.find(end, start)) >= 0:
        stop += len(end)
        found.append(data[start:stop])
        start = data.find(begin, stop)
    return found


def _value(secret: Secret, key: str) -> bytes:
    try:
        value = secret.value(key)
    except KeyError:
        has = f"it has {listing([plain(one) for one in sorted(secret.keys())])}"
        raise Unusable("", f"has no {key}: {has}") from None
    if not value.strip():
        raise Unusable(key, f"has an empty {key}")
    return value


def _certificates(secret: Secret, key: str) -> list[x509.Certificate]:
    blocks = _blocks(_value(secret, key), b"CERTIFICATE")
    if not blocks:
        raise Unusable(key, f"has no certificate in {key}: write PEM, which begins with BEGIN CERTIFICATE")
    found = []
    for at, block in enumerate(blocks):
        try:
            one = x509.load_pem_x509_certificate(block)
            # All that is looked at later: much of it is read only then.
            one.public_key(), one.subject, one.issuer, one.not_valid_before_utc, one.not_valid_after_utc, _names(one)
        except _UNREADABLE:
            which = f"certificate {at + 1} of {len(blocks)}" if len(blocks) > 1 else "a certificate"
            raise Unusable(key, f"has {which} in {key} that cannot be read") from None
        found.append(one)
    return found


def _private_key(secret: Secret) -> PrivateKeyTypes:
    data = _value(secret, KEY)
    begin = _KEY_BEGIN.search(data)
    blocks = _blocks(data[begin.start() :], begin["kind"]) if begin is not None else []
    if not blocks:
        raise Unusable(KEY, f"has no private key in {KEY}: write PEM, which begins with BEGIN PRIVATE KEY")
    try:
        # What the library would validate takes a second for a long key; _fits does what is needed.
        key = serialization.load_pem_private_key(blocks[0], None, unsafe_skip_rsa_key_validation=True)
    except TypeError:
        raise Unusable(KEY, f"has a {KEY} that is encrypted: write it without a password") from None
    except (ValueError, UnsupportedAlgorithm):
        # The library's own words are left out: they could quote what they could not read.
        raise Unusable(KEY, f"has a {KEY} that cannot be read") from None
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey):
        raise Unusable(KEY, f"has a {KEY} of another kind than RSA, ECDSA or Ed25519")
    return key


def _leaf(chain: Sequence[x509.Certificate], key: PrivateKeyTypes) -> x509.Certificate:
    """The certificate of the key."""
    wanted = _encoded(key.public_key())
    if isinstance(key, rsa.RSAPrivateKey) and not _is_whole(key):
        raise Unusable(KEY, f"has a {KEY} that is damaged: its numbers do not belong together")
    for one in chain:
        if _encoded(one.public_key()) == wanted:
            return one
    raise Unusable(KEY, f"has a {KEY} that does not belong to the certificate in {CERTIFICATE}")


def _is_whole(key: rsa.RSAPrivateKey) -> bool:
    """Whether the numbers give signatures that hold (RFC 8017 section 3.2), as far as that costs no time."""
    numbers = key.private_numbers()
    p, q, d, public = numbers.p, numbers.q, numbers.d, numbers.public_numbers
    return (
        min(p, q) > 1
        and p * q == public.n
        and d * public.e % (p - 1) == 1
        and d * public.e % (q - 1) == 1
        and numbers.dmp1 == d % (p - 1)
        and numbers.dmq1 == d % (q - 1)
        and numbers.iqmp * q % p == 1
    )


def _encoded(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _check_strength(served: Sequence[x509.Certificate]) -> None:
    """Raises Unusable for what OpenSSL refuses to serve: the leaf, which comes first, or one of its issuers."""
    curve = getattr(served[0].public_key(), "curve", None)
    if curve is not None and not isinstance(curve, _CURVES):
        raise Unusable(CERTIFICATE, f"has a key on the curve {curve.name}: use P-256, P-384 or P-521")
    for one in served:
        of_leaf = one is served[0]
        key = one.public_key()
        if isinstance(key, rsa.RSAPublicKey) and key.key_size < LEAST_RSA_BITS:
            which = "an RSA key" if of_leaf else "an issuer with an RSA key"
            raise Unusable(CERTIFICATE, f"has {which} of {key.key_size} bits: {LEAST_RSA_BITS} are the least")
        try:
            used = one.signature_hash_algorithm
        except UnsupportedAlgorithm:
            continue
        # Nobody looks at the signature of a root.
        if used is not None and used.name in _WEAK_HASHES and (of_leaf or one.subject != one.issuer):
            which = "a certificate" if of_leaf else "an issuer whose certificate is"
            raise Unusable(CERTIFICATE, f"has {which} signed with {used.name.upper()}, which no client trusts")


def _ordered(leaf: x509.Certificate, chain: Sequence[x509.Certificate]) -> list[x509.Certificate]:
    """The leaf, then whoever issued the one before (RFC 8446 section 4.4.2); what has nothing to do with it is left
    out, as clients do not look at it."""
    ordered, rest = [leaf], [one for one in chain if one != leaf]
    while issuer := next((one for one in rest if one.subject == ordered[-1].issuer), None):
        ordered.append(issuer)
        rest.remove(issuer)
    return ordered


def _names(leaf: x509.Certificate) -> tuple[str, ...]:
    """DNS names in lower case. Where there are no alternative names at all, the common name, as ingress-nginx does it:
    browsers do not look at that any more, other clients may."""
    try:
        extension = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        found = extension.value.get_values_for_type(x509.DNSName)
    except x509.ExtensionNotFound:
        found = _attributes(leaf.subject, NameOID.COMMON_NAME)
    lower = (name.lower().removesuffix(".") for name in found)
    return tuple(dict.fromkeys(name for name in lower if not host_fault(name)))


def _attributes(name: x509.Name, which: x509.ObjectIdentifier) -> list[str]:
    return [str(attribute.value) for attribute in name.get_attributes_for_oid(which)]


def _algorithm(key: CertificatePublicKeyTypes) -> str:
    """As Go's x509.PublicKeyAlgorithm is written."""
    match key:
        case rsa.RSAPublicKey():
            return "RSA"
        case ec.EllipticCurvePublicKey():
            return "ECDSA"
        case ed25519.Ed25519PublicKey():
            return "Ed25519"
        case ed448.Ed448PublicKey():
            return "Ed448"
        case _:
            return "unknown"


def _seconds(time: datetime) -> int:
    return int(time.timestamp())
