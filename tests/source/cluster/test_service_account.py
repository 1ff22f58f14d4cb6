"""Requests from a pod, by its service account."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ingressd.source.cluster.access import ServiceAccount
from ingressd.source.cluster.api import NO_ANSWER
from tests.source.cluster.asking import INGRESSES, failure, using


class Pod:
    """What a pod has of its service account, and an API server behind TLS that it trusts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.token = "first"
        self.asked: list[str] = []
        self.port = 0
        (folder / "token").write_text(self.token)

    @property
    def access(self) -> ServiceAccount:
        environment = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(self.port)}
        return ServiceAccount(environment, self.folder)

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(request.headers.get("Authorization", ""))
        known = self.asked[-1] == f"Bearer {self.token}"
        return web.json_response({}, status=200 if known else 401)


def certificate(folder: Path, name: str) -> ssl.SSLContext:
    """A certificate for 127.0.0.1 that signs itself, in `folder/name.crt`."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    crt, pem = folder / f"{name}.crt", folder / f"{name}.key"
    crt.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    pem.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(crt, pem)
    return context


@asynccontextmanager
async def pod(folder: Path, context: ssl.SSLContext) -> AsyncIterator[Pod]:
    made = Pod(folder)
    app = web.Application()
    app.router.add_get("/{path:.*}", made.answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    ((_, made.port, *_),) = runner.addresses
    try:
        yield made
    finally:
        await runner.cleanup()


async def test_in_a_pod_the_service_account_is_used_and_its_token_read_again(tmp_path: Path) -> None:
    context = certificate(tmp_path, "ca")
    async with pod(tmp_path, context) as here, using(here.access) as api:
        await api.request("GET", INGRESSES)
        here.token = "second"
        (tmp_path / "token").write_text("second\n")
        await api.request("GET", INGRESSES)
        assert here.asked == ["Bearer first", "Bearer first", "Bearer second"]


async def test_a_new_ca_is_read_when_the_certificate_is_not_trusted(tmp_path: Path) -> None:
    certificate(tmp_path, "ca")
    async with pod(tmp_path, certificate(tmp_path, "other")) as here, using(here.access) as api:
        error = await failure(api)
        assert error.status == NO_ANSWER
        assert "certificate" in error.message.lower()
        (tmp_path / "ca.crt").write_bytes((tmp_path / "other.crt").read_bytes())
        await api.request("GET", INGRESSES)


async def test_a_pod_without_a_token_is_no_answer(tmp_path: Path) -> None:
    context = certificate(tmp_path, "ca")
    async with pod(tmp_path, context) as here, using(here.access) as api:
        (tmp_path / "token").unlink()
        error = await failure(api)
        assert (error.status, "service account" in error.message) == (NO_ANSWER, True)
