"""The certificate that is made at start is one that OpenSSL serves and nobody trusts."""

import ssl
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from ingressd.control import self_signed
from ingressd.model import SELF_SIGNED


def test_openssl_takes_it(tmp_path: Path) -> None:
    made = self_signed.make()
    file = tmp_path / "both.pem"
    file.write_bytes(made.chain + made.private_key.value)
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(file)


def test_what_is_said_of_it_is_what_it_says() -> None:
    made = self_signed.make(datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC))
    parsed = x509.load_pem_x509_certificate(made.chain)
    assert made.name == SELF_SIGNED
    assert made.not_before == parsed.not_valid_before_utc.timestamp()
    assert made.not_after == parsed.not_valid_after_utc.timestamp() > datetime(2030, 12, 1, tzinfo=UTC).timestamp()
    assert made.serial_number == str(parsed.serial_number)
    names = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == list(made.names)
    assert self_signed.make().serial_number != made.serial_number
    assert self_signed.make().private_key != made.private_key
