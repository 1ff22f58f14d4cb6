"""Certificates of clients: who may pass, what the upstream is told, and that no client can tell it itself."""

import ssl
from urllib.parse import unquote

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID, ObjectIdentifier

from ingressd.model import ClientAuth, ClientAuthMode, HttpsRedirect, Policy, Snapshot, TlsHost
from ingressd.proxy.client_auth import common_name, distinguished_names, matches
from tests.kit import Client, Upstream, Worker, always, get, ok, serving
from tests.kit.pki import Authority, Issued
from tests.proxy.tls.conftest import Pki
from tests.proxy.tls.kit import LOCAL, connected, fetch, secured, settings, unverified

FORGED = (
    "ssl-client-verify: SUCCESS",
    "SSL-Client-Subject-DN: CN=root",
    "ssl-client-issuer-dn: CN=root",
    "Ssl-Client-Cert: forged",
)
Told = dict[bytes, bytes]


def told(upstream: Upstream) -> Told:
    """What the last request said of the client."""
    lines = [line.partition(b": ") for line in upstream.requests[-1].fields]
    found = {name.lower(): value for name, _, value in lines if name.lower().startswith(b"ssl-client")}
    assert len(found) == sum(name.lower().startswith(b"ssl-client") for name, _, _ in lines)
    return found


def asking(pki: Pki, upstream: Upstream, auth: ClientAuth | None, **changes: object) -> Snapshot:
    """a.example and www.example.com: the first asks this of its clients, the second nothing."""
    web = pki.web.model("web")
    if auth is not None:
        auth = msgspec.structs.replace(auth, **changes)
    hosts = (TlsHost("a.example", web.name, auth), TlsHost("www.example.com", web.name))
    return secured(serving(upstream, host=""), web, hosts=hosts, bundles=(pki.clients.bundle(),))


def client(pki: Pki, issued: Issued | None) -> ssl.SSLContext:
    context = unverified()
    if issued is not None:
        context.load_cert_chain(*pki.file(issued, "shown"))
    return context


ON = ClientAuth(ClientAuthMode.ON, Authority().bundle().name)


@pytest.mark.parametrize(
    ("mode", "none", "good", "stranger"),
    [
        (ClientAuthMode.ON, 400, 200, 400),
        (ClientAuthMode.OPTIONAL, 200, 200, 400),
        (ClientAuthMode.OPTIONAL_NO_CA, 200, 200, 200),
    ],
)
async def test_modes(pki: Pki, mode: ClientAuthMode, none: int, good: int, stranger: int) -> None:
    async with (
        Upstream(always(ok(b"hello"))) as upstream,
        Worker(asking(pki, upstream, ON, mode=mode), settings()) as worker,
    ):
        port = worker.tls_port
        for issued, status in ((None, none), (pki.client, good), (pki.stranger, stranger)):
            answer = await fetch(port, client(pki, issued), "a.example", "", *FORGED)
            assert answer.status == status
            if status == 200:
                fields = told(upstream)
                expected = b"NONE" if issued is None else b"SUCCESS" if issued is pki.client else b"FAILED:"
                assert fields[b"ssl-client-verify"].startswith(expected)
                assert b"ssl-client-cert" not in fields
        if mode is ClientAuthMode.ON:
            answer = await fetch(port, client(pki, None))
            assert b"No required SSL certificate was sent" in answer.body
            assert b"no_client_certificate" in await worker.line(b"no_client_certificate")
            assert b"client_certificate" in await worker.line(b'"client_certificate"')


async def test_what_the_upstream_is_told(pki: Pki) -> None:
    async with (
        Upstream(always(ok(b"hello"))) as upstream,
        Worker(asking(pki, upstream, ON, pass_certificate=True), settings()) as worker,
    ):
        assert (await fetch(worker.tls_port, client(pki, pki.client), "a.example", "", *FORGED)).status == 200
        fields = told(upstream)
        assert fields[b"ssl-client-verify"] == b"SUCCESS"
        assert fields[b"ssl-client-subject-dn"] == b"CN=alice"
        assert fields[b"ssl-client-issuer-dn"] == b"CN=Client CA,O=Test Trust"
        passed = unquote(fields[b"ssl-client-cert"].decode())
        assert passed.encode() == pki.client.certificate


async def test_no_client_speaks_for_itself_whatever_the_host_asks(pki: Pki) -> None:
    """Nor over plain HTTP, nor through a trusted proxy, which hands on what its clients say in fields like these."""
    async with Upstream(always(ok(b"hello"))) as upstream:
        snapshot = asking(pki, upstream, ON)
        async with Worker(snapshot, settings()) as worker:
            await fetch(worker.tls_port, client(pki, pki.client), "www.example.com", "", *FORGED)
            assert told(upstream) == {}
            for host in ("a.example", "www.example.com"):
                async with Client(worker.port) as plain:
                    await plain.ask(get("/", *FORGED, "Connection: close, ssl-client-verify", host=host))
                assert told(upstream) == {}
        async with Worker(snapshot, settings(trusted_proxies=LOCAL)) as worker:
            await fetch(worker.tls_port, client(pki, pki.client), "www.example.com", "", *FORGED)
            assert told(upstream) == {}
            async with Client(worker.port) as plain:
                await plain.ask(get("/", *FORGED, "X-Forwarded-Proto: https", host="a.example"))
            assert told(upstream) == {}
            await fetch(worker.tls_port, client(pki, pki.client), "a.example", "", *FORGED)
            fields = told(upstream)
            assert fields[b"ssl-client-subject-dn"] == b"CN=alice"
            assert b"ssl-client-cert" not in fields


@pytest.mark.parametrize(
    ("auth", "status"),
    [
        (ClientAuth(ClientAuthMode.ON), 400),
        (ClientAuth(ClientAuthMode.OPTIONAL), 200),
        (ClientAuth(ClientAuthMode.OPTIONAL, common_names=("alice",)), 400),
        (ClientAuth(ClientAuthMode.OPTIONAL, broken=True), 400),
    ],
)
async def test_who_takes_tls_off_in_front_cannot_show_a_certificate(pki: Pki, auth: ClientAuth, status: int) -> None:
    """Where requests over HTTP are redirected, which a trusted proxy's word keeps them from."""
    async with Upstream(always(ok(b"hello"))) as upstream:
        asked = asking(pki, upstream, auth, trust=ON.trust)
        policy = Policy(https_redirect=HttpsRedirect())
        snapshot = msgspec.structs.replace(asked, virtual_hosts=serving(upstream, host="", policy=policy).virtual_hosts)
        async with Worker(snapshot, settings(trusted_proxies=LOCAL)) as worker, Client(worker.port) as plain:
            assert (await plain.ask(get("/", host="a.example"))).status == 308
            answer = await plain.ask(get("/", "X-Forwarded-Proto: https", host="a.example"))
            assert answer.status == status
            assert (b"No required SSL certificate was sent" in answer.body) == (status == 400)
            async with Client(worker.port) as other:
                assert (await other.ask(get("/", "X-Forwarded-Proto: https", host="www.example.com"))).status == 200


async def test_a_connection_for_one_host_is_not_for_another_that_asks_more(pki: Pki) -> None:
    async with Upstream(always(ok(b"hello"))) as upstream, Worker(asking(pki, upstream, ON), settings()) as worker:
        async with connected(worker.tls_port, client(pki, pki.client), "www.example.com") as connection:
            assert (await connection.ask(get("/", host="www.example.com"))).status == 200
            assert (await connection.ask(get("/", host="a.example"))).status == 421
            assert (await connection.ask(get("/", host="A.EXAMPLE."))).status == 421
        async with connected(worker.tls_port, client(pki, pki.client), "a.example") as connection:
            assert (await connection.ask(get("/", host="www.example.com"))).status == 421
            assert (await connection.ask(get("/", host="a.example"))).status == 200


async def test_a_policy_that_comes_later_holds_for_connections_there_are(pki: Pki) -> None:
    async with (
        Upstream(always(ok(b"hello"))) as upstream,
        Worker(asking(pki, upstream, None), settings()) as worker,
        connected(worker.tls_port, client(pki, pki.client)) as connection,
    ):
        assert (await connection.ask(get("/"))).status == 200
        await worker.publish(asking(pki, upstream, ON))
        assert (await connection.ask(get("/"))).status == 421


async def test_expired_certificates_and_long_chains_are_refused(pki: Pki) -> None:
    expired = pki.clients.expired(common_name="old")
    middle = Authority("Middle", Authority("Upper", pki.clients))
    long = middle.issue(common_name="long")
    async with Upstream(always(ok(b"hello"))) as upstream, Worker(asking(pki, upstream, ON), settings()) as worker:
        assert (await fetch(worker.tls_port, client(pki, expired))).status == 400
        assert (await fetch(worker.tls_port, client(pki, long))).status == 400
        await worker.publish(asking(pki, upstream, ON, depth=2))
        assert (await fetch(worker.tls_port, client(pki, long))).status == 200


async def test_common_names_and_error_pages(pki: Pki) -> None:
    async with (
        Upstream(always(ok(b"hello"))) as upstream,
        Worker(asking(pki, upstream, ON, common_names=("bob", "al.ce")), settings()) as worker,
    ):
        assert (await fetch(worker.tls_port, client(pki, pki.client))).status == 200
        await worker.publish(asking(pki, upstream, ON, common_names=("bob",), error_page="https://x.example/why"))
        for issued in (pki.client, None, pki.stranger):
            answer = await fetch(worker.tls_port, client(pki, issued))
            assert (answer.status, answer.fields["location"]) == (302, "https://x.example/why")
        for mode in ClientAuthMode:
            await worker.publish(asking(pki, upstream, ON, mode=mode, common_names=("bob",)))
            assert (await fetch(worker.tls_port, client(pki, pki.client))).status == 403
            status = 400 if mode is ClientAuthMode.ON else 403
            assert (await fetch(worker.tls_port, client(pki, None))).status == status


async def test_who_cannot_be_verified_does_not_pass(pki: Pki) -> None:
    async with (
        Upstream(always(ok(b"hello"))) as upstream,
        Worker(asking(pki, upstream, ON, trust=None), settings()) as worker,
    ):
        assert (await fetch(worker.tls_port, client(pki, pki.client))).status == 403
        missing = msgspec.structs.replace(asking(pki, upstream, ON), trust_bundles=())
        await worker.publish(missing)
        assert (await fetch(worker.tls_port, client(pki, pki.client))).status == 403
        await worker.publish(asking(pki, upstream, ON, broken=True))
        assert (await fetch(worker.tls_port, client(pki, pki.client))).status == 403
        await worker.publish(asking(pki, upstream, ON))
        assert (await fetch(worker.tls_port, client(pki, pki.client))).status == 200


def test_names_are_written_as_openssl_writes_them() -> None:
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "DE"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Müller, Söhne\r\nX-Injected: 1"),
            x509.NameAttribute(NameOID.EMAIL_ADDRESS, "a@example.com"),
            x509.NameAttribute(NameOID.COMMON_NAME, "alice"),
        ]
    )
    issued = Authority().issue(subject=subject)
    der = ssl.PEM_cert_to_DER_cert(issued.chain.decode())
    written, issuer = distinguished_names(der)
    assert written == (rb"CN=alice,emailAddress=a@example.com,O=M\C3\BCller\, S\C3\B6hne\0D\0AX-Injected: 1,C=DE")
    assert issuer == b"CN=Test Root,O=Test Trust"
    assert ObjectIdentifier("2.5.4.3") == NameOID.COMMON_NAME
    assert distinguished_names(b"nonsense") == (b"", b"")
    version_6 = (
        Authority().certificate.public_bytes(Encoding.DER).replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x05")
    )
    assert distinguished_names(version_6) == (b"", b"")
    assert common_name(version_6) == ""


def test_a_dot_stands_for_one_character() -> None:
    assert matches("a.example", ("b", "a.example"))
    assert matches("axexample", ("a.example",))
    assert not matches("a.example.com", ("a.example",))
    assert not matches("", ("a",))
