"""Which certificate a client gets, and what it may ask for on that connection."""

import asyncio
import socket
import ssl

import msgspec
import pytest

from ingressd.model import AccessLogFormat, ClientAuth, ClientAuthMode, TlsHost, TlsSettings
from tests.kit import DEADLINE, Upstream, Worker, always, get, ok, serving
from tests.kit.pki import Authority
from tests.proxy.tls.conftest import Pki
from tests.proxy.tls.kit import connected, fetch, secured, settings, unverified


def shown(connection: ssl.SSLObject) -> bytes:
    certificate = connection.getpeercert(binary_form=True)
    assert certificate is not None
    return certificate


async def certificate_for(port: int, name: str | None) -> str:
    """Whose certificate comes: the common name in it."""
    async with connected(port, unverified(), name) as client:
        pem = ssl.DER_cert_to_PEM_cert(shown(client.tls))
    from cryptography import x509

    return str(x509.load_pem_x509_certificate(pem.encode()).subject.rdns[0].rfc4514_string())


async def test_an_exact_name_goes_before_a_wildcard_before_the_default(pki: Pki) -> None:
    fallback = pki.authority.issue("default.example").model("default")
    wild = pki.authority.issue("*.example.com", common_name="wild").model("wild")
    exact = pki.authority.issue("www.example.com", common_name="exact").model("exact")
    hosts = (TlsHost("*.example.com", wild.name), TlsHost("www.example.com", exact.name), TlsHost("plain.example"))
    async with Worker(secured(serving(), fallback, wild, exact, hosts=hosts), settings()) as worker:
        for name, common in (
            ("www.example.com", "exact"),
            ("WWW.example.com", "exact"),
            ("other.example.com", "wild"),
            ("a.b.example.com", "default.example"),
            ("example.com", "default.example"),
            ("plain.example", "default.example"),
            ("unknown.example", "default.example"),
            (None, "default.example"),
        ):
            assert await certificate_for(worker.tls_port, name) == f"CN={common}", name


async def test_the_host_for_all_others_goes_before_the_default(pki: Pki) -> None:
    fallback = pki.authority.issue("default.example").model("default")
    others = pki.authority.issue("others.example").model("others")
    async with Worker(secured(serving(), fallback, others, hosts=(TlsHost("", others.name),)), settings()) as worker:
        assert await certificate_for(worker.tls_port, "unknown.example") == "CN=others.example"
        assert await certificate_for(worker.tls_port, None) == "CN=others.example"


async def test_unknown_names_are_rejected_where_that_is_said(pki: Pki) -> None:
    web = pki.web.model("web")
    snapshot = secured(serving(), web, hosts=(TlsHost("a.example", web.name),))
    async with Worker(snapshot, settings(TlsSettings(reject_unknown=True))) as worker:
        assert await certificate_for(worker.tls_port, "a.example") == "CN=a.example"
        for name in ("b.example", None):
            with pytest.raises(ssl.SSLError, match=r"(?i)unrecognized.name"):
                await certificate_for(worker.tls_port, name)
        await worker.reported(
            lambda: worker.counter("tls_handshake_failures", "unknown_name") == 2, "two handshakes were refused"
        )
        assert worker.counter("tls_handshakes", "full") == 1


async def test_a_new_certificate_is_served_to_the_next_handshake_and_no_connection_is_touched(pki: Pki) -> None:
    async with Upstream(always(ok(b"hello"))) as upstream:
        before = secured(serving(upstream), pki.web.model("web"))
        async with Worker(before, settings()) as worker, connected(worker.tls_port, unverified()) as client:
            assert (await client.ask(get("/"))).body == b"hello"
            renewed = pki.authority.issue("a.example", common_name="renewed")
            await worker.publish(secured(serving(upstream), renewed.model("web")))
            assert await certificate_for(worker.tls_port, "a.example") == "CN=renewed"
            assert (await client.ask(get("/"))).body == b"hello"


async def test_rsa_and_chains_work(pki: Pki) -> None:
    intermediate = Authority("Intermediate", pki.authority)
    chained = intermediate.issue("c.example")
    hosts = (
        TlsHost("b.example", pki.other.model("other").name),
        TlsHost("c.example", chained.model("chained").name),
    )
    async with Upstream(always(ok(b"hello"))) as upstream:
        snapshot = secured(
            serving(upstream, host=""),
            pki.web.model("web"),
            pki.other.model("other"),
            chained.model("chained"),
            hosts=hosts,
        )
        async with Worker(snapshot, settings()) as worker:
            trusting = pki.authority.client_context()
            for name in ("a.example", "b.example", "c.example"):
                assert (await fetch(worker.tls_port, trusting, name)).body == b"hello"


async def test_versions_and_protocols_are_limited(pki: Pki) -> None:
    async with Worker(secured(serving(), pki.web.model("web")), settings()) as worker:
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            async with connected(worker.tls_port, unverified(version)) as client:
                assert (client.tls.version() or "").replace(".", "_") == version.name
        for offered, chosen in ((["h2", "http/1.1"], "http/1.1"), (["http/1.0"], "http/1.0"), ([], None)):
            context = unverified()
            if offered:
                context.set_alpn_protocols(offered)
            async with connected(worker.tls_port, context) as client:
                assert client.tls.selected_alpn_protocol() == chosen
        context = unverified()
        context.set_alpn_protocols(["h2"])
        with pytest.raises(ssl.SSLError, match=r"(?i)no.application.protocol"):
            async with connected(worker.tls_port, context):
                pass
    limited = settings(TlsSettings(protocols=("TLSv1.3",)))
    async with Worker(secured(serving(), pki.web.model("web")), limited) as worker:
        with pytest.raises(ssl.SSLError):
            async with connected(worker.tls_port, unverified(ssl.TLSVersion.TLSv1_2)):
                pass


async def test_requests_say_that_they_came_by_https(pki: Pki) -> None:
    async with (
        Upstream(always(ok(b"hello"))) as upstream,
        Worker(secured(serving(upstream), pki.web.model("web")), settings()) as worker,
    ):
        await fetch(worker.tls_port, unverified())
        fields = {line.split(b":")[0].lower(): line.split(b": ")[1] for line in upstream.requests[0].fields}
        assert fields[b"x-forwarded-proto"] == fields[b"x-scheme"] == fields[b"x-forwarded-scheme"] == b"https"
        assert fields[b"x-forwarded-port"] == b"%d" % worker.tls_port


async def test_another_host_than_the_certificate_is_for(pki: Pki) -> None:
    other = pki.other.model("other", ["b.example"])
    web = pki.web.model("web", ["a.example", "*.example.com"])
    hosts = (TlsHost("a.example", web.name), TlsHost("b.example", other.name), TlsHost("www.example.com", web.name))
    async with Upstream(always(ok(b"hello"))) as upstream:
        snapshot = secured(serving(upstream, host=""), web, other, hosts=hosts)
        async with Worker(snapshot, settings()) as worker:
            assert (await fetch(worker.tls_port, unverified(), "a.example", "b.example")).status == 200
        async with Worker(snapshot, settings(TlsSettings(refuse_misdirected=True))) as worker:
            async with connected(worker.tls_port, unverified(), "a.example") as client:
                for host, status in (
                    ("a.example", 200),
                    ("b.example", 421),
                    ("www.example.com", 200),
                    ("A.Example:443", 200),
                    ("unknown.example", 200),
                    ("b.example", 421),
                    ("a.example", 200),
                ):
                    assert (await client.ask(get("/", host=host))).status == status, host
            assert b'"misdirected"' in await worker.line(b"misdirected")
        # So it is where both ask the same of their clients.
        auth = ClientAuth(ClientAuthMode.OPTIONAL, pki.clients.bundle().name)
        asking = tuple(msgspec.structs.replace(host, client_auth=auth) for host in hosts)
        snapshot = msgspec.structs.replace(snapshot, tls_hosts=asking, trust_bundles=(pki.clients.bundle(),))
        async with Worker(snapshot, settings(TlsSettings(refuse_misdirected=True))) as worker:
            assert (await fetch(worker.tls_port, unverified(), "a.example", "b.example")).status == 421
            assert (await fetch(worker.tls_port, unverified(), "a.example", "www.example.com")).status == 200


async def test_plain_http_is_told_so(pki: Pki) -> None:
    async with Worker(secured(serving(), pki.web.model("web")), settings()) as worker:
        reader, writer = await asyncio.open_connection("127.0.0.1", worker.tls_port)
        writer.write(get("/"))
        answer = await asyncio.wait_for(reader.read(), 10)
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert b"The plain HTTP request was sent to HTTPS port" in answer
        writer.close()
        await writer.wait_closed()


async def test_plain_http_is_told_so_even_while_it_sends(pki: Pki) -> None:
    """Closing with unread bytes would have the kernel reset the connection, and the client lose the answer."""

    def send() -> bytes:
        with socket.create_connection(("127.0.0.1", worker.tls_port), DEADLINE) as client:
            client.sendall(b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: %d\r\n\r\n" % (1 << 20))
            assert client.recv(1, socket.MSG_PEEK)
            for _ in range(16):
                client.sendall(bytes(1 << 16))
            return client.makefile("rb").read()

    async with Worker(secured(serving(), pki.web.model("web")), settings()) as worker:
        assert (await asyncio.to_thread(send)).startswith(b"HTTP/1.1 400 ")
        await worker.reported(lambda: worker.counter("tls_handshake_failures", "plain_http") == 1, "it was counted")


async def test_a_certificate_that_cannot_be_used_harms_nobody_else(pki: Pki) -> None:
    broken = msgspec.structs.replace(pki.other.model("broken"), chain=b"nonsense")
    snapshot = secured(serving(), pki.web.model("web"), broken, hosts=(TlsHost("b.example", broken.name),))
    async with Worker(snapshot, settings(access_log=AccessLogFormat.OFF)) as worker:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await certificate_for(worker.tls_port, "b.example")
        assert await certificate_for(worker.tls_port, "a.example") == "CN=a.example"
        assert "PRIVATE KEY" not in worker.stderr()
        with pytest.raises(AssertionError, match="certificate default/broken cannot be used"):
            await worker.stop()
