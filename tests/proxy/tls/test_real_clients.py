"""curl and openssl(1), as people use them."""

import asyncio
import subprocess
from pathlib import Path

import pytest

from ingressd.model import ClientAuth, ClientAuthMode, HttpsRedirect, Policy, Snapshot, TlsHost
from tests.kit import DEADLINE, Upstream, Worker, always, get, ok, serving
from tests.proxy.tls.conftest import Pki
from tests.proxy.tls.kit import LOCAL, secured, settings, ticket_keys

HOST = "a.example"


def snapshot(pki: Pki, upstream: Upstream, policy: Policy | None = None, auth: ClientAuth | None = None) -> Snapshot:
    web = pki.web.model("web")
    hosts = (TlsHost(HOST, web.name, auth),)
    return secured(serving(upstream, policy=policy), web, hosts=hosts, bundles=(pki.clients.bundle(),))


async def run(*command: str, sent: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return await asyncio.to_thread(subprocess.run, command, input=sent, capture_output=True, timeout=DEADLINE)


async def curl(pki: Pki, *arguments: str, port: int) -> bytes:
    """What it prints for these, which must be all it has to say. HOST and `port` are those of loopback."""
    authority = pki.directory / "ca.pem"
    authority.write_bytes(pki.authority.pem)
    resolve = ("--resolve", f"{HOST}:{port}:127.0.0.1", "--cacert", str(authority))
    done = await run("curl", "--silent", "--show-error", *resolve, *arguments)
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout


async def test_curl_verifies_the_certificate_and_keeps_the_connection(pki: Pki) -> None:
    async with Upstream(always(ok(b"hello"))) as upstream, Worker(snapshot(pki, upstream), settings()) as worker:
        port = worker.tls_port
        one, two = f"https://{HOST}:{port}/", f"https://{HOST}:{port}/2"
        assert await curl(pki, one, two, "--write-out", " %{num_connects} ", port=port) == b"hello 1 hello 0 "


async def test_curl_follows_the_redirect_to_https(pki: Pki) -> None:
    async with Upstream(always(ok(b"hello"))) as upstream, Worker(snapshot(pki, upstream), settings()) as worker:
        port = worker.tls_port
        await worker.publish(snapshot(pki, upstream, Policy(https_redirect=HttpsRedirect(port=port))))
        plain = ("--resolve", f"{HOST}:{worker.port}:127.0.0.1", f"http://{HOST}:{worker.port}/x?y")
        written = await curl(pki, "--location", "--write-out", " %{url_effective}", *plain, port=port)
        assert written == f"hello https://{HOST}:{port}/x?y".encode()


async def test_curl_shows_a_certificate(pki: Pki) -> None:
    auth = ClientAuth(ClientAuthMode.ON, pki.clients.bundle().name)
    async with (
        Upstream(always(ok(b"hello"))) as upstream,
        Worker(snapshot(pki, upstream, auth=auth), settings()) as worker,
    ):
        port = worker.tls_port
        url = f"https://{HOST}:{port}/"
        chain, key = map(str, pki.file(pki.client, "client"))
        assert await curl(pki, "--cert", chain, "--key", key, url, port=port) == b"hello"
        assert upstream.requests[-1].get(b"ssl-client-subject-dn") == b"CN=alice"
        status = ("--output", "/dev/null", "--write-out", "%{http_code}")
        assert await curl(pki, *status, url, port=port) == b"400"


async def test_curl_behind_a_balancer_that_speaks_the_proxy_protocol(pki: Pki) -> None:
    said = settings(proxy_protocol=True, trusted_proxies=LOCAL)
    async with Upstream(always(ok(b"hello"))) as upstream, Worker(snapshot(pki, upstream), said) as worker:
        port = worker.tls_port
        assert await curl(pki, "--haproxy-protocol", f"https://{HOST}:{port}/", port=port) == b"hello"
        assert upstream.requests[-1].get(b"x-forwarded-port") == str(port).encode()


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
async def test_openssl_resumes_its_session(pki: Pki, tmp_path: Path, version: str) -> None:
    session = tmp_path / "session.pem"
    async with Upstream(always(ok(b"hello"))) as upstream, Worker(snapshot(pki, upstream), settings()) as worker:
        await worker.tell(ticket_keys(1))
        client = ("openssl", "s_client", "-connect", f"127.0.0.1:{worker.tls_port}", "-servername", HOST, version)
        request = get("/", "Connection: close")
        first = await run(*client, "-ign_eof", "-sess_out", str(session), sent=request)
        assert b"hello" in first.stdout
        assert b"\nNew, " in first.stdout
        again = await run(*client, "-ign_eof", "-sess_in", str(session), sent=request)
        assert b"hello" in again.stdout
        assert b"\nReused, " in again.stdout
