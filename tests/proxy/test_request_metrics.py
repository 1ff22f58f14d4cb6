"""The request metrics that a worker reports once a second: labels, counts, sums, buckets."""

from ingressd.link import BUCKETS, HISTOGRAMS, RequestSeries
from ingressd.model import Snapshot, VirtualHost
from tests.kit import (
    Client,
    Upstream,
    Worker,
    always,
    cluster,
    each,
    get,
    ok,
    pause,
    request,
    route,
    serving,
    virtual_host,
)
from tests.kit.stream import Message
from tests.kit.upstream import Connection


def labels(series: RequestSeries) -> tuple[str, str, str, str, str, str, int]:
    return (
        series.host,
        series.path,
        series.namespace,
        series.ingress,
        series.service,
        series.method,
        series.status,
    )


def totals(worker: Worker) -> dict[tuple[str, str, str, str, str, str, int], int]:
    """Requests by labels, over all reports."""
    found: dict[tuple[str, str, str, str, str, str, int], int] = {}
    for series in worker.requests():
        found[labels(series)] = found.get(labels(series), 0) + series.requests
    return found


async def test_requests_are_counted_by_the_rules_labels() -> None:
    def answer(message: Message) -> bytes:
        status = message.target.partition(b"=")[2].decode() or "200"
        return f"HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n".encode()

    async with Upstream(each(answer)) as upstream:
        web, api = cluster("web", upstream), cluster("api", upstream)
        exact = VirtualHost("a.example", (route("/api", api, ingress="apis"), route("/", web)))
        wild = VirtualHost("*.b.example", (route("/x", web),), default=route("/", api))
        async with Worker(Snapshot((wild, exact), (api, web))) as worker, Client(worker.port) as client:
            for data in (
                get("/"),
                get("/other/path?status=404"),
                get("/api/v1/users"),
                get("/api", host="A.EXAMPLE:80"),
                request("POST", "/api"),
                request("BREW", "/api"),
                request("MAKE-A-SERIES", "/api"),
                get("/x/y", host="one.b.example"),
                get("/x/z", host="two.b.example"),
                get("/else", host="two.b.example"),
                get("/", host="nowhere.example"),
            ):
                await client.ask(data)
            await worker.stop()
            assert totals(worker) == {
                ("a.example", "/", "default", "web", "web", "GET", 200): 1,
                ("a.example", "/", "default", "web", "web", "GET", 404): 1,
                ("a.example", "/api", "default", "apis", "api", "GET", 200): 2,
                ("a.example", "/api", "default", "apis", "api", "POST", 200): 1,
                ("a.example", "/api", "default", "apis", "api", "OTHER", 200): 2,
                ("*.b.example", "/x", "default", "web", "web", "GET", 200): 2,
                ("*.b.example", "/", "default", "web", "api", "GET", 200): 1,
            }
            assert worker.counter("requests") == 11


async def test_own_responses_on_a_route_are_counted_with_it() -> None:
    async with Worker(serving()) as worker, Client(worker.port) as client:
        assert (await client.ask(get())).status == 503
        await worker.stop()
        assert totals(worker) == {("a.example", "/", "default", "web", "web", "GET", 503): 1}


async def test_sums_and_buckets() -> None:
    async def script(connection: Connection) -> None:
        while await connection.request():
            await pause(0.05)
            await connection.send(ok(b"x" * 5000))

    async with Upstream(script) as upstream, Worker(serving(upstream)) as worker:
        async with Client(worker.port) as client:
            asked = get("/", "Padding: " + "x" * 500)
            received = [await client.ask(asked) for _ in range(3)]
        await worker.stop()
        [series] = worker.requests()
        assert series.requests == 3
        assert [len(counts) for counts in series.buckets] == [len(bounds) + 1 for bounds in BUCKETS]
        figures = dict(zip(HISTOGRAMS, zip(series.sums, series.buckets, BUCKETS, strict=True), strict=True))
        for name, (_, counts, _) in figures.items():
            assert sum(counts) == 3, name
        for name, size in (
            ("request_size", len(asked)),
            ("response_size", len(received[0].raw)),
            ("bytes_sent", len(received[0].raw)),
        ):
            total, counts, bounds = figures[name]
            assert total == 3 * size
            first = next((index for index, bound in enumerate(bounds) if size <= bound), len(bounds))
            assert counts[first] == 3
        times = {name: figures[name][0] for name in HISTOGRAMS if name.endswith("seconds")}
        assert 0.14 < times["header_duration_seconds"] <= times["response_duration_seconds"]
        assert times["response_duration_seconds"] <= times["request_duration_seconds"] < 30
        # One connection was made and then used again.
        assert 0 <= times["connect_duration_seconds"] < times["header_duration_seconds"]
        assert sum(worker.counter(name) for name in ("upstream_connections", "upstream_connections_reused")) == 3


async def test_a_head_that_was_not_passed_on_is_not_among_the_bytes_sent() -> None:
    async def script(connection: Connection) -> None:
        await connection.request()
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nPadding: %b\r\n\r\n" % (b"x" * 999)
        await connection.send(head + b"broken")

    async with Upstream(script) as upstream, Worker(serving(upstream)) as worker:
        async with Client(worker.port) as client:
            received = await client.ask(get())
        await worker.stop()
        [series] = worker.requests()
        assert (series.status, received.status) == (502, 502)
        assert dict(zip(HISTOGRAMS, series.sums, strict=True))["bytes_sent"] == len(received.raw)


async def test_interim_responses_are_among_the_bytes_sent() -> None:
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"

    async def script(connection: Connection) -> None:
        while message := await connection.request():
            await connection.send(hints)
            if message.target == b"/no":
                return
            await connection.send(ok())

    async with Upstream(script) as upstream, Worker(serving(upstream)) as worker, Client(worker.port) as client:
        received = []
        for target, status in (("/", 200), ("/no", 502)):
            await client.send(get(target))
            received += [await client.response(), await client.response()]
            assert (received[-2].status, received[-1].status) == (103, status)
        await worker.stop()
        sent = sum(dict(zip(HISTOGRAMS, series.sums, strict=True))["bytes_sent"] for series in worker.requests())
        assert sent == sum(len(message.raw) for message in received)


async def test_reports_are_increments() -> None:
    async with Upstream(always(ok())) as upstream, Worker(serving(upstream)) as worker, Client(worker.port) as client:
        for _ in range(2):
            before = len(worker.reports)
            await client.ask(get())
            counted = len(worker.requests())
            await worker.reported(lambda counted=counted: len(worker.requests()) > counted, "it is reported")  # type: ignore[misc]
            assert len(worker.reports) > before
        assert [series.requests for series in worker.requests()] == [1, 1]
        quiet = len(worker.reports)
        await worker.reported(lambda: len(worker.reports) > quiet, "another report")
        assert worker.reports[-1].requests == ()
        assert {sample.value for sample in worker.reports[-1].counters} == {0}


async def test_counts_survive_an_update_of_their_route() -> None:
    async with Upstream(always(ok())) as upstream:
        state = serving(upstream)
        async with Worker(state) as worker, Client(worker.port) as client:
            await client.ask(get())
            # The same host anew, with another route beside the first.
            web = state.clusters[0]
            host = VirtualHost("a.example", (route("/new", web), route("/", web)))
            await worker.publish(Snapshot((host,), state.clusters))
            await client.ask(get())
            await client.ask(get("/new"))
            await worker.publish(Snapshot())
            await worker.stop()
            assert {key[1]: count for key, count in totals(worker).items()} == {"/": 2, "/new": 1}


async def test_errors_are_counted_by_reason() -> None:
    async with Worker(Snapshot((virtual_host("a.example", "/a", None),))) as worker:
        async with Client(worker.port) as client:
            for target in ("/a", "/a", "/b", "/%"):
                await client.ask(get(target))
        await worker.stop()
        counted = {reason: worker.counter("errors", reason) for reason in ("no_endpoint", "no_route", "bad_path")}
        assert counted == {"no_endpoint": 2, "no_route": 1, "bad_path": 1}


async def test_many_routes_are_reported_a_part_at_a_time() -> None:
    async with Upstream(always(ok())) as upstream:
        web = cluster("web", upstream)
        names = [f"h{number:03}.example" for number in range(350)]
        state = Snapshot(tuple(VirtualHost(name, (route("/", web),)) for name in names), (web,))
        async with Worker(state) as worker, Client(worker.port) as client:
            await client.send(b"".join(get("/", host=name) for name in names))
            for _ in names:
                assert (await client.response()).status == 200
            await worker.reported(lambda: len(totals(worker)) == len(names), "all are reported")
            assert sum(totals(worker).values()) == len(names)
            assert max(len(report.requests) for report in worker.reports) <= 100
            await worker.stop()
