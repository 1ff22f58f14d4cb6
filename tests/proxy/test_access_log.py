"""The access log: the default format of ingress-nginx (log-format-upstream) field for field, or the same as JSON."""

import asyncio
import json
import re
from datetime import datetime, timedelta

import msgspec
import pytest

from ingressd.model import AccessLogFormat, Snapshot, WorkerSettings
from tests.kit import (
    Client,
    Closed,
    Upstream,
    Worker,
    always,
    chunked,
    cluster,
    each,
    eventually,
    get,
    ok,
    pause,
    request,
    route,
    serving,
    virtual_host,
)
from tests.kit.upstream import Connection
from tests.kit.worker import SETTINGS

LOG_FORMAT_UPSTREAM = (
    '$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent" '
    "$request_length $request_time [$proxy_upstream_name] [$proxy_alternative_upstream_name] $upstream_addr "
    "$upstream_response_length $upstream_response_time $upstream_status $req_id"
)
SHAPES = {
    "remote_addr": r"[0-9a-f.:]+",
    "remote_user": r"\S.*?",
    "time_local": r"\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}",
    "request": r'[^"]*',
    "status": r"\d{3}",
    "body_bytes_sent": r"\d+",
    "http_referer": r'[^"]*',
    "http_user_agent": r'[^"]*',
    "request_length": r"\d+",
    "request_time": r"\d+\.\d{3}",
    "proxy_upstream_name": r"\S*",
    "proxy_alternative_upstream_name": r"\S*",
    "upstream_addr": r"\S+(?:, \S+)*",
    "upstream_response_length": r"[\d-]+(?:, [\d-]+)*",
    "upstream_response_time": r"(?:\d+\.\d{3}|-)(?:, (?:\d+\.\d{3}|-))*",
    "upstream_status": r"(?:\d{3}|-)(?:, (?:\d{3}|-))*",
    "req_id": r"\S+",
}
LINE = re.compile(
    re.sub(r"\\\$(\w+)", lambda name: f"(?P<{name[1]}>{SHAPES[name[1]]})", re.escape(LOG_FORMAT_UPSTREAM)),
    re.ASCII,
)
JSON = msgspec.structs.replace(SETTINGS, access_log=AccessLogFormat.JSON)
OFF = msgspec.structs.replace(SETTINGS, access_log=AccessLogFormat.OFF)
TRUSTING = msgspec.structs.replace(SETTINGS, trusted_proxies=("127.0.0.1",))


def fields(line: bytes) -> dict[str, str]:
    """The variables of a text line by name."""
    match = LINE.fullmatch(line.decode("ascii"))
    assert match, line
    return match.groupdict()


async def test_every_field_of_the_text_format() -> None:
    asked = request(
        "POST",
        "/path?query=1",
        "Referer: http://from.example/",
        "User-Agent: curl/8.5",
        "Authorization: Basic am9lOnNlY3JldA==",
        body=b"x" * 500,
    )
    async with Upstream(always(ok(b"y" * 1234))) as upstream, Worker(serving(upstream)) as worker:
        async with Client(worker.port, source="127.0.0.3") as client:
            response = await client.ask(asked)
        [line] = await worker.logged(1)
        found = fields(line)
        assert found["remote_addr"] == "127.0.0.3"
        assert found["remote_user"] == "joe"
        assert found["request"] == "POST /path?query=1 HTTP/1.1"
        assert found["status"] == "200"
        assert found["body_bytes_sent"] == "1234" == str(len(response.body))
        assert found["http_referer"] == "http://from.example/"
        assert found["http_user_agent"] == "curl/8.5"
        assert found["request_length"] == str(len(asked))
        assert 0 <= float(found["request_time"]) < 5
        assert found["proxy_upstream_name"] == "default-web-80"
        assert found["proxy_alternative_upstream_name"] == ""
        assert found["upstream_addr"] == str(upstream.endpoint)
        assert found["upstream_response_length"] == "1234"
        assert 0 <= float(found["upstream_response_time"]) <= float(found["request_time"])
        assert found["upstream_status"] == "200"
        assert found["req_id"].encode() == upstream.requests[0].get(b"x-request-id")
        logged = datetime.strptime(found["time_local"], "%d/%b/%Y:%H:%M:%S %z")
        assert abs(datetime.now(logged.tzinfo) - logged) < timedelta(seconds=30)


async def test_what_is_not_there_is_a_dash() -> None:
    async with Worker() as worker, Client(worker.port) as client:
        await client.ask(get())
        found = fields((await worker.logged(1))[0])
        assert found["status"] == "404"
        dashed = ["remote_user", "http_referer", "http_user_agent", "proxy_upstream_name"]
        dashed += ["upstream_addr", "upstream_response_length", "upstream_response_time", "upstream_status"]
        assert {name: found[name] for name in dashed} == dict.fromkeys(dashed, "-")
        assert re.fullmatch("[0-9a-f]{32}", found["req_id"])


async def test_json_has_the_same_fields_and_host_ingress_reason() -> None:
    asked = request("GET", "/p", "User-Agent: curl/8.5", "Referer: http://from.example/")
    async with (
        Upstream(always(ok(b"hello"))) as upstream,
        Worker(serving(upstream), settings=JSON) as worker,
        Client(worker.port) as client,
    ):
        await client.ask(asked)
        await client.ask(get(host="nowhere.example"))
        good, bad = (json.loads(line) for line in await worker.logged(2))
        variables = {name for name in SHAPES if name != "time_local"}
        assert set(good) == set(bad) == variables | {"time", "host", "namespace", "ingress", "reason"}
        times = {name: good.pop(name) for name in ("time", "request_time", "upstream_response_time", "req_id")}
        assert good == {
            "remote_addr": "127.0.0.1",
            "remote_user": "",
            "request": "GET /p HTTP/1.1",
            "status": 200,
            "body_bytes_sent": 5,
            "http_referer": "http://from.example/",
            "http_user_agent": "curl/8.5",
            "request_length": len(asked),
            "proxy_upstream_name": "default-web-80",
            "proxy_alternative_upstream_name": "",
            "upstream_addr": str(upstream.endpoint),
            "upstream_response_length": "5",
            "upstream_status": "200",
            "host": "a.example",
            "namespace": "default",
            "ingress": "web",
            "reason": "",
        }
        datetime.fromisoformat(times["time"])
        assert 0 <= times["request_time"] < 5
        assert float(times["upstream_response_time"]) >= 0
        assert (bad["reason"], bad["ingress"], bad["host"]) == ("no_route", "", "nowhere.example")


async def test_off_means_no_line() -> None:
    async with (
        Upstream(always(ok())) as upstream,
        Worker(serving(upstream), settings=OFF) as worker,
        Client(worker.port) as client,
    ):
        for _ in range(3):
            await client.ask(get())
        await worker.stop()
        assert worker.log == []
        assert worker.counter("access_log_lines") == 0
        assert worker.counter("requests") == 3


HOSTILE = 'x" 200 1 "-" \\ \t \x85\xff'
ESCAPED = "x\\x22 200 1 \\x22-\\x22 \\x5C \\x09 \\x85\\xFF"


async def test_a_client_cannot_forge_a_line_or_a_field() -> None:
    async with Worker(settings=TRUSTING) as worker, Client(worker.port) as client:
        asked = get('/"\\', f"User-Agent: {HOSTILE}", f"Referer: {HOSTILE}", f"X-Request-ID: {HOSTILE}")
        await client.ask(asked)
        [line] = await worker.logged(1)
        assert line.count(ESCAPED.encode()) == 3
        assert b'"GET /\\x22\\x5C HTTP/1.1" 404 ' in line
        assert line.count(b'"') == 6
        assert all(0x20 <= byte < 0x7F for byte in line)


async def test_hostile_bytes_are_valid_json() -> None:
    async with Worker(settings=JSON) as worker, Client(worker.port) as client:
        await client.ask(get('/"\\', f"User-Agent: {HOSTILE}", "Referer: caf\xc3\xa9"))
        [line] = await worker.logged(1)
        found = json.loads(line)
        assert found["http_user_agent"] == HOSTILE
        assert found["http_referer"] == "caf\xe9"
        assert found["request"] == 'GET /"\\ HTTP/1.1'


@pytest.mark.parametrize(
    ("authorization", "user"),
    [
        ("Basic am9lOg==", "joe"),
        ("basic am9l", "joe"),
        ("Basic am9lCmpvZToxOjI=", "joe\\x0Ajoe"),
        ("Basic !!!", "-"),
        ("Bearer am9lOg==", "-"),
        ("Basic", "-"),
    ],
)
async def test_the_user_is_that_of_basic_credentials(authorization: str, user: str) -> None:
    async with Worker() as worker, Client(worker.port) as client:
        await client.ask(get("/", f"Authorization: {authorization}"))
        assert fields((await worker.logged(1))[0])["remote_user"] == user


@pytest.mark.parametrize("data", [b"garbage\r\n\r\n", b"GET / HTTP/3.0\r\n\r\n", get("/", "Bad Field: 1")])
async def test_what_is_no_request_is_a_line_of_the_same_format(data: bytes) -> None:
    async with Worker() as worker:
        async with Client(worker.port) as client:
            response = await client.ask(data)
        [line] = await worker.logged(1)
        found = fields(line)
        assert found["status"] in ("400", "505")
        assert (found["request_length"], found["body_bytes_sent"]) == (str(len(data)), str(len(response.body)))


async def test_the_time_of_a_request_begins_with_its_own_first_byte() -> None:
    now = asyncio.get_running_loop().time
    async with Worker() as worker, Client(worker.port) as client:
        await client.ask(get("/first"))
        await pause(0.1)
        start = now()
        await client.ask(get("/second"))
        took = now() - start
        _, line = await worker.logged(2)
        # The worker rounds both ends to milliseconds, and so does the log.
        assert float(fields(line)["request_time"]) < took + 0.01


@pytest.mark.parametrize("settings", [SETTINGS, JSON], ids=["text", "json"])
@pytest.mark.parametrize(
    ("start", "logged"),
    [
        (b"garbage", b'"garbage"'),
        (b"\r\nGET /\x01 HTTP/1.1", b'"GET /'),
        (b"GET  / HTTP/1.1", b'"GET  / HTTP/1.1"'),
        (b"GET /" + b"x" * 20_000, b'"GET /' + b"x" * 1019 + b'"'),
    ],
    ids=["garbage", "control-character", "spaces", "too-long"],
)
async def test_of_what_is_no_request_line_no_more_than_that_line_is_logged(
    start: bytes, logged: bytes, settings: WorkerSettings
) -> None:
    async with Worker(settings=settings) as worker, Client(worker.port) as client:
        await client.ask(start + b"\r\nHost: a.example\r\nCookie: secret\r\n\r\n")
        [line] = await worker.logged(1)
        assert logged in line
        assert b"secret" not in line


@pytest.mark.parametrize("start", [b"garbage", b"\r\n\r\nGET /\x01 HTTP/1.1", 5 * b"\r\n" + b"GET / HTTP/1.1"])
async def test_what_is_no_request_is_not_logged_as_the_one_before_it(start: bytes) -> None:
    async with Worker() as worker, Client(worker.port) as client:
        await client.send(get("/before") + start + b"\r\n\r\n")
        assert [(await client.response()).status for _ in range(2)] == [404, 400]
        first, second = (fields(line) for line in await worker.logged(2))
        assert (first["request"], first["status"]) == ("GET /before HTTP/1.1", "404")
        assert (second["request"], second["status"]) == (start.strip().decode().replace("\x01", "\\x01"), "400")


async def test_lengths_count_what_was_on_the_wire() -> None:
    async with (
        Upstream(each(lambda message: ok(message.body))) as upstream,
        Worker(serving(upstream)) as worker,
        Client(worker.port) as client,
    ):
        data = request("POST", "/", "Transfer-Encoding: chunked") + chunked(b"x" * 100, b"y" * 100)
        await client.send(data + get())
        for _ in range(2):
            await client.response()
        first, second = (fields(line) for line in await worker.logged(2))
        assert (first["request_length"], first["body_bytes_sent"]) == (str(len(data)), "200")
        assert (second["request_length"], second["body_bytes_sent"]) == (str(len(get())), "0")


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_a_client_that_leaves_before_the_response_is_499(how: str) -> None:
    async def script(connection: Connection) -> None:
        await connection.request()
        assert await connection.read_some() == b""

    async with Upstream(script) as upstream, Worker(serving(upstream)) as worker:
        async with Client(worker.port) as client:
            await client.send(get())
            await upstream.received(1)
            getattr(client, how)()
        found = fields((await worker.logged(1))[0])
        assert (found["status"], found["body_bytes_sent"], found["upstream_status"]) == ("499", "0", "-")
        await upstream.all_closed()
        await worker.stop()
        assert worker.counter("errors", "client_closed") == 1


async def test_a_client_that_leaves_in_the_middle_of_its_upload_is_499() -> None:
    async def script(connection: Connection) -> None:
        await connection.request_head()
        await connection.read_to_end()

    async with Upstream(script) as upstream, Worker(serving(upstream)) as worker:
        async with Client(worker.port) as client:
            await client.send(request("POST", "/", "Content-Length: 100") + b"half")
            await upstream.received(1)
        assert fields((await worker.logged(1))[0])["status"] == "499"
        await upstream.all_closed()


async def test_a_client_that_leaves_in_the_middle_of_a_response_is_logged_with_what_it_got() -> None:
    async def script(connection: Connection) -> None:
        await connection.request()
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        assert await connection.read_some() == b""

    async with Upstream(script) as upstream, Worker(serving(upstream), settings=JSON) as worker:
        async with Client(worker.port) as client:
            await client.send(get())
            await client.read_until(b"half")
        found = json.loads((await worker.logged(1))[0])
        assert (found["status"], found["body_bytes_sent"], found["reason"]) == (200, 4, "client_closed")
        await upstream.all_closed()


async def test_a_response_that_its_endpoint_cuts_is_logged_as_it_began_with_the_reason_why_it_ended() -> None:
    async def script(connection: Connection) -> None:
        await connection.request()
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")

    async with (
        Upstream(script) as upstream,
        Worker(serving(upstream), settings=JSON) as worker,
        Client(worker.port) as client,
    ):
        await client.send(get())
        with pytest.raises(Closed):
            await client.response()
        found = json.loads((await worker.logged(1))[0])
        assert (found["status"], found["upstream_status"]) == (200, "200")
        assert (found["body_bytes_sent"], found["upstream_response_length"]) == (4, "4")
        assert found["reason"] == "upstream_closed"
        await worker.stop()
        assert worker.counter("errors", "upstream_closed") == 1


async def test_ipv6_endpoints_and_clusters_with_dashes_are_named_in_full() -> None:
    async with Upstream(always(ok()), address="::1") as upstream:
        web = cluster("my-web", upstream, namespace="team-a", port="http")
        snapshot = Snapshot((virtual_host("a.example", "/", web),), (web,))
        async with Worker(snapshot) as worker, Client(worker.port) as client:
            await client.ask(get())
            found = fields((await worker.logged(1))[0])
            assert found["proxy_upstream_name"] == "team-a-my-web-http"
            assert found["upstream_addr"] == f"[::1]:{upstream.endpoint.port}"


async def test_the_default_backend_is_logged_as_any_other() -> None:
    async with Upstream(always(ok())) as upstream:
        web = cluster("fallback", upstream)
        async with Worker(Snapshot((), (web,), default=route("/", web))) as worker, Client(worker.port) as client:
            await client.ask(get())
            assert fields((await worker.logged(1))[0])["proxy_upstream_name"] == "default-fallback-80"


async def test_lines_are_batched_and_complete() -> None:
    async with Upstream(always(ok())) as upstream, Worker(serving(upstream)) as worker, Client(worker.port) as client:
        for _ in range(20):
            await client.send(get() * 100)
            for _ in range(100):
                await client.response()
        lines = await worker.logged(2000)
        assert len(lines) == 2000
        assert len({fields(line)["req_id"] for line in lines}) == 2000
        await worker.stop()
        assert worker.counter("access_log_lines") == 2000
        assert worker.counter("access_log_dropped_lines") == 0


async def test_a_reader_that_does_not_read_never_delays_a_request_and_what_is_dropped_is_counted() -> None:
    asked = get("/", "User-Agent: " + "x" * 8000)
    count = 1500
    async with Upstream(always(ok())) as upstream, Worker(serving(upstream)) as worker, Client(worker.port) as client:
        worker.stop_reading_log()
        slowest = 0.0
        loop = asyncio.get_running_loop()
        for _ in range(count):
            began = loop.time()
            assert (await client.ask(asked)).status == 200
            slowest = max(slowest, loop.time() - began)
        assert slowest < 1
        await worker.reported(lambda: worker.counter("access_log_dropped_lines") > 0, "dropped lines are reported")
        # What waited is written once it is read, whole lines all of it; and the log goes on.
        worker.read_log()
        await eventually(
            lambda: len(worker.log) + worker.counter("access_log_dropped_lines") == count, "each line came or counts"
        )
        await client.ask(get("/last"))
        await eventually(lambda: b'"GET /last ' in worker.log[-1], "the log goes on")
        assert all(LINE.fullmatch(line.decode()) for line in worker.log)


async def test_a_reader_that_goes_away_never_stops_the_proxy() -> None:
    async with Upstream(always(ok())) as upstream, Worker(serving(upstream)) as worker, Client(worker.port) as client:
        await client.ask(get())
        await worker.logged(1)
        worker.close_log()
        for _ in range(3):
            assert (await client.ask(get())).status == 200
        await worker.reported(lambda: worker.counter("access_log_dropped_lines") == 3, "lost lines are reported")
