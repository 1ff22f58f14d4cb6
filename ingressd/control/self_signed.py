"""The certificate for hosts that have none: self-signed, made anew at each start, trusted by nobody."""

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ingressd.model import SELF_SIGNED, Certificate, Hidden

COMMON_NAME = "ingressd default certificate"
NAME = "default.ingressd.invalid"
"""No host can have it (RFC 6761 section 6.4)."""
LIFE = timedelta(days=365)
"""Longer than a controller runs; some clients refuse more than 398 days whoever signs."""
SKEW = timedelta(days=1)
"""By which clocks of clients may be late."""


def make(now: datetime | None = None) -> Certificate:
    """A certificate with a new ECDSA key. It takes a millisecond."""
    start = now or datetime.now(UTC)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "ingressd"),
            x509.NameAttribute(NameOID.COMMON_NAME, COMMON_NAME),
        ]
    )
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start - SKEW)
        .not_valid_after(start + LIFE)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Certificate(
        SELF_SIGNED,
        made.public_bytes(serialization.Encoding.PEM),
        Hidden(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        ),
        names=(NAME,),
        not_before=int((start - SKEW).timestamp()),
        not_after=int((start + LIFE).timestamp()),
        serial_number=str(made.serial_number),
        issuer_organization="ingressd",
        issuer_common_name=COMMON_NAME,
        public_key_algorithm="ECDSA",
    )
