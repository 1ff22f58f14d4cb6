"""From HTTP to HTTPS: redirects keep the target byte for byte, and Strict-Transport-Security is for TLS only."""

import asyncio
import http.client
import ssl

import msgspec
import pytest

from ingressd.control import self_signed
from ingressd.model import (
    HttpsRedirect,
    PathKind,
    Policy,
    Snapshot,
    TlsSettings,
    VirtualHost,
    WorkerSettings,
)
from ingressd.proxy.https import location
from tests.kit import HOST, Client, Upstream, Worker, always, cluster, get, ok, request, route, serving

TO_HTTPS = Policy(https_redirect=HttpsRedirect())
HSTS = "max-age=31536000; includeSubDomains"


@pytest.mark.parametrize(
    ("redirect", "host", "target", "expected"),
    [
        (HttpsRedirect(), b"a.example", b"/", b"https://a.example/"),
        (HttpsRedirect(), b"A.Example:8080", b"/a%2fb//../c?x=%zz&y", b"https://A.Example/a%2fb//../c?x=%zz&y"),
        (HttpsRedirect(port=8443), b"a.example:80", b"/x", b"https://a.example:8443/x"),
        (HttpsRedirect(), b"[::1]:8080", b"/x", b"https://[::1]/x"),
        (HttpsRedirect(port=444), b"[::1]", b"/x", b"https://[::1]:444/x"),
        (HttpsRedirect(strip_slash=True), b"a.example", b"/", b"https://a.example"),
        (HttpsRedirect(strip_slash=True), b"a.example", b"/a//", b"https://a.example/a/"),
        (HttpsRedirect(strip_slash=True), b"a.example", b"/a?b=/", b"https://a.example/a?b="),
        (HttpsRedirect(strip_slash=True), b"a.example", b"/a", b"https://a.example/a"),
        (HttpsRedirect(), b"a.example", b"*", b"https://a.example"),
    ],
)
def test_location(redirect: HttpsRedirect, host: bytes, target: bytes, expected: bytes) -> None:
    assert location(redirect, host, target) == expected


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
async def test_a_redirect_keeps_the_target_and_the_connection(code: int) -> None:
    policy = Policy(https_redirect=HttpsRedirect(code, 8443))
    async with (
        Upstream(always(ok())) as upstream,
        Worker(serving(upstream, policy=policy)) as worker,
        Client(worker.port) as client,
    ):
        for target in ("/", "/a%2Fb/?x=%7e&y='(*)'", "//a/../b", "/%C3%A4?/"):
            answer = await client.ask(get(target, host=f"{HOST}:8080"))
            assert answer.status == code
            assert answer.all(b"location") == [f"https://{HOST}:8443{target}".encode()]
            assert answer.get(b"strict-transport-security") is None
        posted = await client.ask(request("POST", "/form", body=b"x=1"))
        assert (posted.status, posted.get(b"location")) == (code, f"https://{HOST}:8443/form".encode())
        head = request("HEAD", "/head")
        await client.send(head)
        assert (await client.response(head_only=True)).status == code
        assert not upstream.connections


async def test_who_came_by_https_already_is_served() -> None:
    """As a trusted proxy says; of anybody else its word counts for nothing."""
    for trusted, said, status in (
        (("127.0.0.0/8",), "https", 200),
        (("127.0.0.0/8",), "HTTPS, http", 200),
        (("127.0.0.0/8",), "http", 308),
        ((), "https", 308),
    ):
        settings = WorkerSettings(worker=0, workers=1, trusted_proxies=trusted)
        async with (
            Upstream(always(ok())) as upstream,
            Worker(serving(upstream, policy=TO_HTTPS), settings) as worker,
            Client(worker.port) as client,
        ):
            assert (await client.ask(get("/", f"X-Forwarded-Proto: {said}"))).status == status, said


async def test_http_1_0_without_host_cannot_be_redirected() -> None:
    async with (
        Upstream(always(ok())) as upstream,
        Worker(serving(upstream, host="", policy=TO_HTTPS)) as worker,
        Client(worker.port) as client,
    ):
        answer = await client.ask(b"GET / HTTP/1.0\r\n\r\n")
        assert (answer.status, answer.get(b"location")) == (400, None)


async def test_a_challenge_is_answered_over_http_beside_routes_that_redirect() -> None:
    """cert-manager's solver: an exact path with dots."""
    challenge = "/.well-known/acme-challenge/Zk3-_a.b"
    async with Upstream(always(ok(b"web"))) as web, Upstream(always(ok(b"proof"))) as solver:
        to_web, to_solver = cluster("web", web), cluster("solver", solver)
        routes = (route(challenge, to_solver, PathKind.EXACT), route("/", to_web, policy=TO_HTTPS))
        snapshot = Snapshot((VirtualHost(HOST, routes),), (to_solver, to_web))
        async with Worker(snapshot) as worker, Client(worker.port) as client:
            assert (await client.ask(get(challenge))).body == b"proof"
            assert (await client.ask(get(challenge + "/"))).status == 308
            assert (await client.ask(get("/"))).status == 308


async def test_strict_transport_security_in_every_response_over_tls() -> None:
    """In place of the upstream's, which says it over HTTP too and is let through there as ever."""
    certificate = self_signed.make()
    settings = WorkerSettings(worker=0, workers=1, tls=TlsSettings(hsts=HSTS))
    theirs = ok(b"ok", "STRICT-transport-security: max-age=1", "X-Other: kept")
    async with Upstream(always(theirs)) as upstream:
        snapshot = msgspec.structs.replace(
            serving(upstream, policy=TO_HTTPS), certificates=(certificate,), default_certificate=certificate.name
        )
        async with Worker(snapshot, settings) as worker, Client(worker.port) as client:
            assert (await client.ask(get("/"))).get(b"strict-transport-security") is None
            for host, status in ((HOST, 200), ("nowhere.example", 404), ("two words", 400)):
                found = await _ask_over_tls(worker.tls_port, host)
                assert found.status == status
                assert found.headers.get_all("Strict-Transport-Security") == [HSTS]
                assert found.headers.get("X-Other") == ("kept" if status == 200 else None)


async def _ask_over_tls(port: int, host: str) -> http.client.HTTPResponse:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE

    def ask() -> http.client.HTTPResponse:
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=10, context=context)
        connection.request("GET", "/", headers={"Host": host})
        response = connection.getresponse()
        response.read()
        connection.close()
        return response

    return await asyncio.to_thread(ask)
