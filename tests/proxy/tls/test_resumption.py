"""Sessions are resumed in any worker that has the keys, and nowhere else."""

import asyncio
import ssl

import pytest

from ingressd.link import TICKET_KEY_BYTES
from ingressd.model import ClientAuth, ClientAuthMode, TlsHost
from ingressd.proxy.libssl import libssl
from ingressd.proxy.tickets import derive, find_library, prove
from tests.kit import Upstream, Worker, always, ok, serving
from tests.proxy.tls.conftest import Pki
from tests.proxy.tls.kit import secured, settings, shaken, ticket_keys, unverified


@pytest.fixture(params=[ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def context(request: pytest.FixtureRequest) -> ssl.SSLContext:
    return unverified(request.param)


def test_openssl_can_be_reached_and_resumes_between_contexts() -> None:
    assert find_library() is not None
    prove(libssl())


def test_derived_keys_differ_by_key_and_purpose_in_every_part() -> None:
    keys = [derive(key, purpose) for key in (b"k" * 80, b"l" * 80) for purpose in (b"one", b"two")]
    assert {len(key) for key in keys} == {TICKET_KEY_BYTES}
    for part in (slice(0, 16), slice(16, 48), slice(48, 80)):
        assert len({key[part] for key in keys}) == len(keys)
    assert keys[0] == derive(b"k" * 80, b"one")


async def test_a_session_of_one_worker_is_resumed_in_another(pki: Pki, context: ssl.SSLContext) -> None:
    async with Upstream(always(ok(b"hello"))) as upstream:
        snapshot = secured(serving(upstream), pki.web.model("web"))
        async with Worker(settings=settings()) as one, Worker(settings=settings()) as two:
            for worker in (one, two):
                await worker.tell(ticket_keys(1))
                await worker.publish(snapshot)
            resumed, session = await asyncio.to_thread(shaken, one.tls_port, context, None)
            assert not resumed
            resumed, session = await asyncio.to_thread(shaken, two.tls_port, context, session)
            assert resumed
            await two.reported(lambda: two.counter("tls_handshakes", "resumed") == 1, "it is counted")


async def test_renewed_keys(pki: Pki, context: ssl.SSLContext) -> None:
    async with Upstream(always(ok(b"hello"))) as upstream, Worker(settings=settings()) as worker:
        await worker.tell(ticket_keys(1))
        await worker.publish(secured(serving(upstream), pki.web.model("web")))
        _, old = await asyncio.to_thread(shaken, worker.tls_port, context, None)
        await worker.tell(ticket_keys(2, 1))
        resumed, _ = await asyncio.to_thread(shaken, worker.tls_port, context, old)
        assert resumed, "a ticket of the key before is taken"
        _, new = await asyncio.to_thread(shaken, worker.tls_port, context, None)
        await worker.tell(ticket_keys(3, 2))
        resumed, _ = await asyncio.to_thread(shaken, worker.tls_port, context, new)
        assert resumed, "new tickets are made with the first key"
        resumed, _ = await asyncio.to_thread(shaken, worker.tls_port, context, old)
        assert not resumed, "a key that is gone opens nothing"


async def test_not_with_other_keys_nor_with_another_certificate(pki: Pki, context: ssl.SSLContext) -> None:
    hosts = (TlsHost("b.example", pki.other.model("other").name),)
    async with Upstream(always(ok(b"hello"))) as upstream:
        snapshot = secured(serving(upstream, host=""), pki.web.model("web"), pki.other.model("other"), hosts=hosts)
        async with Worker(settings=settings()) as one, Worker(settings=settings()) as two:
            await one.tell(ticket_keys(1))
            await two.tell(ticket_keys(2))
            await one.publish(snapshot)
            await two.publish(snapshot)
            _, session = await asyncio.to_thread(shaken, one.tls_port, context, None)
            assert not (await asyncio.to_thread(shaken, two.tls_port, context, session))[0]
            assert not (await asyncio.to_thread(shaken, one.tls_port, context, session, "b.example"))[0]
            assert (await asyncio.to_thread(shaken, one.tls_port, context, session))[0]


async def test_never_where_clients_show_certificates(pki: Pki, context: ssl.SSLContext) -> None:
    """CVE-2025-23419: a session of a host that asks for nothing must not be taken at one that does."""
    web = pki.web.model("web")
    bundle = pki.clients.bundle()
    auth = ClientAuth(ClientAuthMode.OPTIONAL, bundle.name)
    hosts = (TlsHost("a.example", web.name), TlsHost("www.example.com", web.name, auth))
    context.load_cert_chain(*pki.file(pki.client, "client"))
    async with Upstream(always(ok(b"hello"))) as upstream, Worker(settings=settings()) as worker:
        await worker.tell(ticket_keys(1))
        await worker.publish(secured(serving(upstream, host=""), web, hosts=hosts, bundles=(bundle,)))
        _, session = await asyncio.to_thread(shaken, worker.tls_port, context, None)
        assert not (await asyncio.to_thread(shaken, worker.tls_port, context, session, "www.example.com"))[0]
        _, session = await asyncio.to_thread(shaken, worker.tls_port, context, None, "www.example.com")
        for name in ("www.example.com", "a.example"):
            assert not (await asyncio.to_thread(shaken, worker.tls_port, context, session, name))[0]
