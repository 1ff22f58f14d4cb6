"""Header fields: what a proxy takes away, what it adds, and whom it believes (RFC 9110 section 7.6)."""

import json
import re

import pytest

from ingressd.model import WorkerSettings
from tests.kit import Client, Upstream, Worker, always, get, ok, request, serving

pytestmark = pytest.mark.asyncio(loop_scope="module")

TRUSTING = WorkerSettings(worker=0, workers=1, trusted_proxies=("127.0.0.0/8", "10.0.0.0/8", "2001:db8::/32"))
ADDED = [
    b"x-request-id",
    b"x-real-ip",
    b"x-forwarded-for",
    b"x-forwarded-host",
    b"x-forwarded-port",
    b"x-forwarded-proto",
    b"x-forwarded-scheme",
    b"x-scheme",
]
CLAIMS = (
    "X-Request-ID: mine",
    "X-Real-IP: 6.6.6.6",
    "X-Forwarded-For: 1.1.1.1, 10.1.1.1",
    "X-Forwarded-Host: public.example",
    "X-Forwarded-Port: 443",
    "X-Forwarded-Proto: https",
    "X-Forwarded-Scheme: https",
    "X-Scheme: https",
    "Forwarded: for=1.1.1.1",
    "X-Original-Forwarded-For: 6.6.6.6",
    "X-Forwarded-Prefix: /a",
)


async def test_everything_else_is_forwarded_as_received_in_order(worker: Worker) -> None:
    fields = ["Accept: */*", "cookie: a=1", "Cookie: b=2", "X-Empty:", "X-Tab:\tx", "X-Latin: \xe9", "Via: 1.1 there"]
    answer = [b"Set-Cookie: a=1", b"set-cookie: b=2", b"Server: own", b"Date: never", b"X-Latin: \xe9", b"Via: 1.1 up"]
    response = b"HTTP/1.1 200 Fine by me\r\n" + b"\r\n".join((*answer, b"Content-Length: 0", b"", b""))
    async with Upstream(always(response)) as upstream, Client(worker.port) as client:
        await worker.publish(serving(upstream))
        received = await client.ask(get("/", *fields))
        assert received.line == b"HTTP/1.1 200 Fine by me"
        assert received.fields == [*answer, b"Content-Length: 0"]
        lines = [line.encode("latin-1") for line in ["Host: a.example", *fields]]
        assert upstream.requests[0].fields[: len(lines)] == lines
        assert sorted(upstream.requests[0].names[len(lines) :]) == sorted(ADDED)


async def test_what_is_added_for_anybody(worker: Worker) -> None:
    async with Upstream(always(ok())) as upstream:
        await worker.publish(serving(upstream))
        async with Client(worker.port, source="127.0.0.7") as client:
            await client.ask(get(host="a.example:8080"))
        [message] = upstream.requests
        assert re.fullmatch(b"[0-9a-f]{32}", message.get(b"x-request-id") or b"")
        assert message.get(b"x-real-ip") == b"127.0.0.7"
        assert message.get(b"x-forwarded-for") == b"127.0.0.7"
        assert message.get(b"x-forwarded-host") == b"a.example:8080"
        assert message.get(b"x-forwarded-port") == b"%d" % worker.port
        assert message.get(b"x-forwarded-proto") == b"http"
        assert message.get(b"x-forwarded-scheme") == b"http"
        assert message.get(b"x-scheme") == b"http"


async def test_every_request_gets_an_id_of_its_own(worker: Worker) -> None:
    async with Upstream(always(ok())) as upstream, Client(worker.port) as client:
        await worker.publish(serving(upstream))
        await client.send(get() * 600)
        for _ in range(600):
            await client.response()
        assert len({message.get(b"x-request-id") for message in upstream.requests}) == 600


async def test_what_anybody_claims_is_replaced_and_only_the_chain_kept_aside(worker: Worker) -> None:
    async with Upstream(always(ok())) as upstream, Client(worker.port) as client:
        await worker.publish(serving(upstream))
        await client.ask(get("/claims", *CLAIMS))
        [message] = upstream.requests
        assert message.get(b"x-request-id") != b"mine"
        assert message.get(b"x-real-ip") == b"127.0.0.1"
        assert message.get(b"x-forwarded-for") == b"127.0.0.1"
        assert message.get(b"x-original-forwarded-for") == b"1.1.1.1, 10.1.1.1"
        assert message.get(b"x-forwarded-host") == b"a.example"
        assert message.get(b"x-forwarded-port") == b"%d" % worker.port
        assert message.get(b"x-forwarded-proto") == b"http"
        assert message.get(b"x-forwarded-scheme") == b"http"
        assert message.get(b"x-scheme") == b"http"
        assert not {b"forwarded", b"x-forwarded-prefix"} & set(message.names)
        logged = json.loads(await worker.line(b"/claims "))
        assert logged["remote_addr"] == "127.0.0.1"
        assert logged["req_id"].encode() == message.get(b"x-request-id")


async def test_what_a_trusted_proxy_claims_is_kept_and_completed() -> None:
    async with (
        Upstream(always(ok())) as upstream,
        Worker(serving(upstream), settings=TRUSTING) as worker,
        Client(worker.port) as client,
    ):
        await client.ask(get("/", *CLAIMS))
        [message] = upstream.requests
        assert message.get(b"x-request-id") == b"mine"
        assert message.get(b"x-real-ip") == b"1.1.1.1"
        assert message.get(b"x-forwarded-for") == b"1.1.1.1, 10.1.1.1, 127.0.0.1"
        assert message.get(b"x-forwarded-host") == b"public.example"
        assert message.get(b"x-forwarded-port") == b"443"
        assert message.get(b"x-forwarded-proto") == b"https"
        assert message.get(b"x-forwarded-scheme") == b"https"
        assert message.get(b"x-scheme") == b"https"
        assert message.get(b"forwarded") == b"for=1.1.1.1"
        assert message.get(b"x-forwarded-prefix") == b"/a"
        [line] = await worker.logged(1)
        assert line.startswith(b"1.1.1.1 ")
        assert line.endswith(b" mine")


async def test_what_a_trusted_proxy_leaves_out_is_added() -> None:
    async with (
        Upstream(always(ok())) as upstream,
        Worker(serving(upstream), settings=TRUSTING) as worker,
        Client(worker.port) as client,
    ):
        await client.ask(get())
        [message] = upstream.requests
        assert sorted(message.names) == sorted([b"host", *ADDED])
        assert re.fullmatch(b"[0-9a-f]{32}", message.get(b"x-request-id") or b"")
        assert message.get(b"x-real-ip") == b"127.0.0.1"
        assert message.get(b"x-forwarded-host") == b"a.example"


@pytest.mark.parametrize(
    ("chain", "real"),
    [
        ("8.8.8.8", "8.8.8.8"),
        ("6.6.6.6, 8.8.8.8", "8.8.8.8"),
        ("6.6.6.6, 8.8.8.8, 10.0.0.1 , 10.9.9.9", "8.8.8.8"),
        ("10.0.0.1, 10.0.0.2", "10.0.0.1"),
        ("2001:db8::1, 2001:db9::1, 10.0.0.1", "2001:db9::1"),
        ("6.6.6.6, unknown, 10.0.0.1", "10.0.0.1"),
        ("6.6.6.6, evil\x22 address, 10.0.0.1", "10.0.0.1"),
        (", ,10.0.0.1,", "10.0.0.1"),
        ("", "127.0.0.1"),
    ],
)
async def test_the_real_address_is_the_last_that_no_trusted_proxy_has(chain: str, real: str) -> None:
    async with (
        Upstream(always(ok())) as upstream,
        Worker(serving(upstream), settings=TRUSTING) as worker,
        Client(worker.port) as client,
    ):
        await client.ask(get("/", f"X-Forwarded-For: {chain}"))
        assert upstream.requests[0].get(b"x-real-ip") == real.encode()
        [line] = await worker.logged(1)
        assert line.startswith(real.encode() + b" ")


async def test_several_fields_of_a_chain_are_one_chain() -> None:
    async with (
        Upstream(always(ok())) as upstream,
        Worker(serving(upstream), settings=TRUSTING) as worker,
        Client(worker.port) as client,
    ):
        await client.ask(get("/", "X-Forwarded-For: 8.8.8.8", "x-forwarded-for: 10.0.0.1"))
        assert upstream.requests[0].get(b"x-forwarded-for") == b"8.8.8.8, 10.0.0.1, 127.0.0.1"
        assert upstream.requests[0].get(b"x-real-ip") == b"8.8.8.8"


async def test_fields_with_an_underscore_are_dropped_both_in_a_request_and_its_trailers(worker: Worker) -> None:
    async with Upstream(always(ok())) as upstream, Client(worker.port) as client:
        await worker.publish(serving(upstream))
        await client.ask(get("/", "X_Forwarded_For: 6.6.6.6", "_a: 1", "b_: 2", "Content_Length: 3", "Good: yes"))
        names = upstream.requests[0].names
        assert not [name for name in names if b"_" in name]
        assert b"good" in names


HOP_BY_HOP = [
    "Keep-Alive: timeout=5",
    "Proxy-Connection: keep-alive",
    "Proxy-Authorization: Basic eA==",
    "Proxy-Authenticate: Basic",
    "TE: gzip",
    "Upgrade: websocket",
    "Proxy: http://evil.example",
]


@pytest.mark.parametrize("field", HOP_BY_HOP)
async def test_hop_by_hop_fields_go_no_further_in_requests(field: str, worker: Worker) -> None:
    async with Upstream(always(ok())) as upstream, Client(worker.port) as client:
        await worker.publish(serving(upstream))
        await client.ask(get("/", field, "Good: yes"))
        assert sorted(upstream.requests[0].names) == sorted([b"host", b"good", *ADDED])


@pytest.mark.parametrize("field", HOP_BY_HOP)
async def test_hop_by_hop_fields_go_no_further_in_responses(field: str, worker: Worker) -> None:
    async with Upstream(always(ok(b"", field, "Good: yes"))) as upstream, Client(worker.port) as client:
        await worker.publish(serving(upstream))
        assert (await client.ask(get())).fields == [b"Good: yes", b"Content-Length: 0"]


async def test_fields_that_connection_names_go_no_further_in_either_direction(worker: Worker) -> None:
    named = ("Connection: keep-alive, X-One", "X-One: 1", "Good: yes", "Connection: x-two ,,", "x-Two: 2")
    async with Upstream(always(ok(b"", *named))) as upstream, Client(worker.port) as client:
        await worker.publish(serving(upstream))
        response = await client.ask(get("/", *named))
        assert response.fields == [b"Good: yes", b"Content-Length: 0"]
        assert sorted(upstream.requests[0].names) == sorted([b"host", b"good", *ADDED])


@pytest.mark.parametrize("name", ["Host", "Content-Length", "X-Forwarded-For", "X-Real-IP", "X-Request-ID"])
async def test_connection_cannot_take_away_what_decides_or_is_added(name: str, worker: Worker) -> None:
    async with Upstream(always(ok())) as upstream, Client(worker.port) as client:
        await worker.publish(serving(upstream))
        assert (await client.ask(request("POST", "/", f"Connection: {name}", body=b"hello"))).status == 200
        [message] = upstream.requests
        assert sorted(message.names) == sorted([b"host", b"content-length", *ADDED])
        assert message.body == b"hello"


async def test_trailers_are_asked_for_where_the_client_takes_them(worker: Worker) -> None:
    async with Upstream(always(ok())) as upstream, Client(worker.port) as client:
        await worker.publish(serving(upstream))
        await client.ask(get("/", "TE: trailers", "Connection: TE"))
        assert upstream.requests[0].get(b"te") == b"trailers"
        assert upstream.requests[0].get(b"connection") == b"TE"
