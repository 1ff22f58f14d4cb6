"""Which certificates metrics tell of: those in use, under the name of their Secret."""

from ingressd.control.certificates import certificate_figures
from ingressd.model import SELF_SIGNED, Certificate, Hidden, SecretName, Snapshot, TlsHost


def test_hosts_with_a_certificate_and_the_default() -> None:
    web, former = SecretName("shop", "web"), SecretName("shop", "web#7")
    certificates = tuple(
        Certificate(name, b"", Hidden(b""), serial_number=number, not_after=9)
        for name, number in ((SELF_SIGNED, "1"), (web, "2"), (former, "7"))
    )
    hosts = (TlsHost("a.example", web), TlsHost("b.example", former), TlsHost("c.example"))
    snapshot = Snapshot(certificates=certificates, tls_hosts=hosts, default_certificate=SELF_SIGNED)
    found = [(one.host, one.namespace, one.secret, one.serial_number) for one in certificate_figures(snapshot)]
    assert found == [
        ("a.example", "shop", "web", "2"),
        ("b.example", "shop", "web", "7"),
        ("_", "", "self-signed", "1"),
    ]
