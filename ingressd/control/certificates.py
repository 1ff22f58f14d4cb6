"""What metrics say of the certificates in use."""

from collections.abc import Iterator

from ingressd.model import Snapshot
from ingressd.telemetry.exposition import CertificateFigures
from ingressd.translate import secret_name

DEFAULT_HOST = "_"
"""What ingress-nginx calls all other hosts."""


def certificate_figures(snapshot: Snapshot) -> Iterator[CertificateFigures]:
    """One for each host with a certificate of its own, and one for the default certificate."""
    by_name = {certificate.name: certificate for certificate in snapshot.certificates}
    used = [(host.host, host.certificate) for host in snapshot.tls_hosts if host.certificate is not None]
    if snapshot.default_certificate is not None and "" not in dict(used):
        used.append(("", snapshot.default_certificate))
    for host, name in used:
        certificate = by_name[name]
        secret = secret_name(name)
        yield CertificateFigures(
            host or DEFAULT_HOST,
            secret.namespace,
            secret.name,
            certificate.serial_number,
            certificate.issuer_organization,
            certificate.issuer_common_name,
            certificate.public_key_algorithm,
            certificate.not_after,
        )
