"""What the proxy answers in place of an upstream: one cause, one status, one word, in the body and in the log."""

import json
import time
from email.utils import parsedate_to_datetime

import pytest

from ingressd.model import Policy, Snapshot, VirtualHost, WorkerSettings
from ingressd.model.settings import AccessLogFormat
from ingressd.proxy.responses import STATUS
from tests.kit import HOST, Client, Upstream, Worker, always, cluster, get, ok, refused_port, request, route, serving
from tests.kit.stream import Message
from tests.kit.upstream import Connection

JSON_LOG = WorkerSettings(worker=0, workers=1, access_log=AccessLogFormat.JSON)
LONG_LINE = get("/" + "x" * 8192)
LONG_FIELD = get("/", "Long: " + "x" * 8192)


async def no_response(connection: Connection) -> None:
    await connection.request()


async def nonsense(connection: Connection) -> None:
    await connection.request()
    await connection.send(b"SSH-2.0-OpenSSH_9.2\r\n")
    await connection.read_some()


async def mute(connection: Connection) -> None:
    await connection.request()
    await connection.read_some()


CASES = [
    # the request, its status, its word, whether the connection goes on
    pytest.param(get(host="nowhere.example"), 404, "no_route", True, id="no-route"),
    pytest.param(get("/empty"), 503, "no_endpoint", True, id="no-endpoint"),
    pytest.param(get("/nothing"), 503, "no_endpoint", True, id="no-service"),
    pytest.param(get("/refused"), 502, "connect_failed", True, id="refused"),
    pytest.param(get("/no_response"), 502, "upstream_closed", True, id="upstream-closed"),
    pytest.param(get("/nonsense"), 502, "upstream_framing", True, id="upstream-nonsense"),
    pytest.param(get("/mute"), 504, "upstream_timeout", True, id="upstream-timeout"),
    pytest.param(get("/%zz"), 400, "bad_path", False, id="bad-path"),
    pytest.param(get("/../etc"), 400, "bad_path", False, id="path-leaves-the-root"),
    pytest.param(request("TRACE"), 405, "method_not_allowed", True, id="trace"),
    pytest.param(b"garbage\r\n\r\n", 400, "bad_request", False, id="garbage"),
    pytest.param(LONG_LINE, 414, "uri_too_long", False, id="long-request-line"),
    pytest.param(LONG_FIELD, 431, "head_too_large", False, id="long-field"),
    pytest.param(
        request("POST", "/", "Transfer-Encoding: gzip, chunked"),
        501,
        "transfer_coding",
        False,
        id="unknown-transfer-coding",
    ),
    pytest.param(request(version="2.0"), 505, "version_not_supported", False, id="version"),
]


@pytest.mark.parametrize(("data", "status", "word", "goes_on"), CASES)
async def test_each_cause_has_its_status_and_word(data: bytes, status: int, word: str, goes_on: bool) -> None:
    async with Upstream(no_response) as closing, Upstream(nonsense) as speaking, Upstream(mute) as silent:
        policy = Policy(read_timeout=0.2)
        clusters = (
            cluster("empty"),
            cluster("mute", silent),
            cluster("no_response", closing),
            cluster("nonsense", speaking),
            cluster("refused", refused_port()),
        )
        routes = [route(f"/{each.key.service}", each, policy=policy) for each in clusters]
        host = VirtualHost(HOST, (*routes, route("/nothing", None)))
        async with Worker(Snapshot((host,), clusters), settings=JSON_LOG) as worker:
            async with Client(worker.port) as client:
                response = await client.ask(data)
                if goes_on:
                    assert (await client.ask(get(host="nowhere.example"))).status == 404
                else:
                    assert await client.ended()
            assert response.status == status
            assert response.get(b"content-type") == b"text/html; charset=utf-8"
            assert abs(parsedate_to_datetime((response.get(b"date") or b"").decode()).timestamp() - time.time()) < 10
            assert response.get(b"connection") == (None if goes_on else b"close")
            logged = json.loads((await worker.logged(1))[0])
            assert (logged["status"], logged["reason"]) == (response.status, word)
            assert f"({word})".encode() in response.body
            assert len(logged["req_id"]) == 32
            assert logged["req_id"].encode() in response.body
            assert logged["body_bytes_sent"] == len(response.body)
            await worker.stop()
            assert worker.counter("errors", word) == (2 if word == "no_route" else 1)


def test_every_status_the_proxy_gives_has_a_case() -> None:
    elsewhere = {403, 408, 413, 421, 499}
    assert set(STATUS.values()) - elsewhere == {case.values[1] for case in CASES}


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("application/json", b"application/json"),
        ("application/vnd.api+json, */*", b"application/json"),
        ("text/html, application/json", b"text/html; charset=utf-8"),
        ("*/*", b"text/html; charset=utf-8"),
        ("text/plain", b"text/html; charset=utf-8"),
    ],
)
async def test_the_body_is_json_for_who_asks_for_json(accept: str, kind: bytes) -> None:
    async with Worker() as worker, Client(worker.port) as client:
        response = await client.ask(get("/", f"Accept: {accept}"))
        assert response.get(b"content-type") == kind
        if kind == b"application/json":
            body = json.loads(response.body)
            assert (body["status"], body["reason"], len(body["requestId"])) == (404, "no_route", 32)
            assert body["message"]


@pytest.mark.parametrize("data", [request("HEAD"), request("HEAD", "/%zz"), request("HEAD", "/", "Bad Field: 1")])
async def test_HEAD_is_answered_without_a_body(data: bytes) -> None:
    async with Worker() as worker, Client(worker.port) as client:
        await client.send(data + get("/", "Connection: close"))
        response = await client.response(head_only=True)
        assert response.status in (400, 404)
        assert int(response.get(b"content-length") or 0) > 0
        rest = await client.read_to_end()
        assert rest.startswith(b"HTTP/1.1 404") or (rest == b"" and response.get(b"connection") == b"close")


@pytest.mark.parametrize("method", ["CONNECT", "TRACE"])
async def test_CONNECT_and_TRACE_are_405_with_what_is_allowed(method: str) -> None:
    async with Upstream(always(ok())) as upstream, Worker(serving(upstream)) as worker, Client(worker.port) as client:
        target = "a.example:443" if method == "CONNECT" else "/"
        response = await client.ask(request(method, target))
        assert response.status == 405
        assert response.get(b"allow") == b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
        assert upstream.requests == []


async def test_a_refused_upload_is_answered_before_it_is_over_and_the_answer_is_not_lost() -> None:
    async with Worker() as worker, Client(worker.port) as client:
        await client.send(request("POST", "/", "Content-Length: 50000000"))
        response = await client.response()
        assert (response.status, response.get(b"connection")) == (404, b"close")
        for _ in range(50):
            await client.send(b"x" * 100_000)
        client.half_close()
        assert await client.ended()


async def test_a_refused_request_whose_body_is_there_leaves_the_connection_open() -> None:
    async with Worker() as worker, Client(worker.port) as client:
        for _ in range(2):
            response: Message = await client.ask(request("POST", "/", body=b"small"))
            assert (response.status, response.get(b"connection")) == (404, None)


async def test_text_of_a_client_is_escaped_in_the_page() -> None:
    settings = WorkerSettings(worker=0, workers=1, trusted_proxies=("127.0.0.0/8",))
    async with Worker(settings=settings) as worker, Client(worker.port) as client:
        response = await client.ask(get("/", "X-Request-ID: <script>"))
        assert b"<script>" not in response.body
        assert b"&lt;script&gt;" in response.body


async def test_a_default_backend_serves_what_no_rule_matches() -> None:
    async with Upstream(always(ok(b"default"))) as upstream:
        web = cluster("web", upstream)
        snapshot = Snapshot((), (web,), default=route("/", web))
        async with Worker(snapshot) as worker, Client(worker.port) as client:
            assert (await client.ask(get("/anything", host="nowhere.example"))).body == b"default"
