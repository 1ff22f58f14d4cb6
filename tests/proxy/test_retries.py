"""When a request is tried again, and when it must not be (RFC 9110 section 9.2.2)."""

import asyncio

import pytest

from ingressd.model import Ejection, Policy, WorkerSettings
from tests.kit import (
    Client,
    Upstream,
    Worker,
    always,
    chunked,
    deaf_port,
    eventually,
    get,
    ok,
    refused_port,
    request,
    serving,
)
from tests.kit.upstream import Connection

IDEMPOTENT = ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"]
OTHERS = ["POST", "PATCH", "PROPFIND"]
SHORT = 0.3


async def dies_when_reused(connection: Connection) -> None:
    """Answers one request per connection, reads the next and closes."""
    if await connection.request():
        await connection.send(ok(b"%d" % connection.number))
        await connection.request()


def column(line: bytes) -> list[bytes]:
    """The fields of a text line from the upstream's address on: addresses, lengths, times, statuses, request id."""
    rest = line.rpartition(b"] [] ")[2].replace(b", ", b",")
    return rest.split(b" ")


# --- a connection that dies


async def test_a_post_that_crosses_with_the_end_of_an_idle_connection_is_sent_again() -> None:
    """An endpoint closes its idle connections after a time that is about that between two requests of the client. What
    its kernel has taken before may have been read, for all that can be known; what it answers with a reset was not."""
    crossed = 3
    loop = asyncio.get_running_loop()

    async def pass_by(seconds: float) -> None:
        # A timer alone would be too late by more than what is to be met.
        end = loop.time() + seconds
        await asyncio.sleep(0.001)
        while loop.time() < end:  # noqa: ASYNC110
            await asyncio.sleep(0)

    async def impatient(connection: Connection) -> None:
        await connection.request()
        await connection.send(ok())
        await pass_by(0.003 + len(upstream.connections) % 13 * 0.0001)

    async with (
        Upstream(impatient) as upstream,
        Worker(serving(upstream)) as worker,
        Client(worker.port) as client,
    ):
        asked = 0
        served = []
        async with asyncio.timeout(60):
            while worker.counter("upstream_retries") < crossed:
                asked += 1
                response = await client.ask(request("POST", "/", body=b"%d" % asked))
                if response.status == 200:
                    served.append(b"%d" % asked)
                await pass_by(0.0035)
        assert [message.body for message in upstream.requests] == served, "each once, and no other"


@pytest.mark.parametrize("late", [False, True], ids=["at once", "before it reads"])
async def test_a_post_that_was_taken_is_not_sent_again_whenever_the_endpoint_ends_its_direction(late: bool) -> None:
    async def half(connection: Connection) -> None:
        await connection.request()
        await connection.send(ok())
        await connection.request_head()
        connection.half_close()
        if late:
            await connection.read_some()

    async with (
        Upstream(half) as upstream,
        Worker(serving(upstream)) as worker,
        Client(worker.port) as client,
    ):
        assert (await client.ask(get())).status == 200
        assert (await client.ask(request("POST", "/", body=b"once"))).status == 502
        assert len(upstream.requests) == 2


@pytest.mark.parametrize("method", IDEMPOTENT)
async def test_what_is_idempotent_and_dies_on_a_reused_connection_is_tried_on_a_fresh_one(method: str) -> None:
    async with (
        Upstream(dies_when_reused) as upstream,
        Worker(serving(upstream)) as worker,
        Client(worker.port) as client,
    ):
        assert (await client.ask(get())).status == 200
        assert (await client.ask(request(method))).status == 200
        assert [message.method for message in upstream.requests] == [b"GET", method.encode(), method.encode()]
        assert len(upstream.connections) == 2
        line = (await worker.logged(2))[1]
        address = str(upstream.endpoint).encode()
        assert column(line)[0] == address + b"," + address
        assert column(line)[3] == b"502,200"
        await worker.stop()
        assert worker.counter("upstream_retries") == 1


@pytest.mark.parametrize("method", OTHERS)
async def test_what_is_not_idempotent_is_not_tried_again_once_it_was_sent(method: str) -> None:
    async with (
        Upstream(dies_when_reused) as upstream,
        Worker(serving(upstream)) as worker,
        Client(worker.port) as client,
    ):
        assert (await client.ask(get())).status == 200
        response = await client.ask(request(method, "/", body=b"once"))
        assert response.status == 502
        assert b"upstream_closed" in response.body
        assert [message.method for message in upstream.requests] == [b"GET", method.encode()]
        await worker.stop()
        assert worker.counter("upstream_retries") == 0


@pytest.mark.parametrize("coding", ["length", "chunked"])
async def test_a_body_is_sent_again_with_the_request(coding: str) -> None:
    async with (
        Upstream(dies_when_reused) as upstream,
        Worker(serving(upstream)) as worker,
        Client(worker.port) as client,
    ):
        await client.ask(get())
        if coding == "length":
            data = request("PUT", "/", body=b"x" * 60_000)
        else:
            data = request("PUT", "/", "Transfer-Encoding: chunked")
            data += chunked(b"x" * 20_000, b"x" * 20_000, b"x" * 20_000, trailers=b"Sum: 1\r\n")
        assert (await client.ask(data)).status == 200
        first, second = upstream.requests[1:]
        assert first.body == second.body == b"x" * 60_000
        assert first.trailers == second.trailers == ([] if coding == "length" else [b"Sum: 1"])


async def test_a_body_of_which_too_much_was_sent_is_not_sent_again() -> None:
    async with (
        Upstream(dies_when_reused) as upstream,
        Worker(serving(upstream)) as worker,
        Client(worker.port) as client,
    ):
        await client.ask(get())
        response = await client.ask(request("PUT", "/", body=b"x" * 3_000_000))
        assert (response.status, len(upstream.requests)) == (502, 2)


async def test_a_connection_that_dies_in_mid_upload_is_followed_by_one_that_gets_all_of_it() -> None:
    async def script(connection: Connection) -> None:
        message = await connection.request_head()
        if connection.number == 0:
            await connection.read_exactly(5)
            return
        await connection.message_body(message)
        await connection.send(ok(message.body))

    async with Upstream(script) as upstream, Worker(serving(upstream)) as worker, Client(worker.port) as client:
        await client.send(request("PUT", "/", "Content-Length: 10") + b"hello")
        await upstream.received(2)
        await client.send(b"world")
        assert (await client.response()).body == b"helloworld"


async def test_a_fresh_connection_that_dies_is_a_try_as_well_and_there_are_three_at_most() -> None:
    async def script(connection: Connection) -> None:
        await connection.request()

    async with Upstream(script) as upstream, Worker(serving(upstream)) as worker, Client(worker.port) as client:
        assert (await client.ask(get())).status == 502
        assert len(upstream.requests) == 3
        assert (await client.ask(request("POST"))).status == 502
        assert len(upstream.requests) == 4
        lines = await worker.logged(2)
        assert column(lines[0])[3] == b"502,502,502"
        assert column(lines[1])[3] == b"502"


async def test_the_next_try_goes_to_another_endpoint_and_uses_up_no_turn() -> None:
    async def script(connection: Connection) -> None:
        await connection.request()

    async with Upstream(script) as bad, Upstream(always(ok())) as good, Worker(serving(bad, good)) as worker:
        async with Client(worker.port) as client:
            for _ in range(6):
                assert (await client.ask(get())).status == 200
        # Every other request begins with the bad one.
        assert (len(bad.requests), len(good.requests)) == (3, 6)


async def test_further_tries_are_spread_over_the_other_endpoints() -> None:
    async with Upstream(always(ok())) as one, Upstream(always(ok())) as two:
        refused = refused_port()
        kept = WorkerSettings(worker=0, workers=1, ejection=Ejection(enabled=False))
        async with Worker(serving(one, two, refused), kept) as worker, Client(worker.port) as client:
            for _ in range(30):
                assert (await client.ask(request("POST"))).status == 200
            assert (len(one.requests), len(two.requests)) == (15, 15)
            assert sum(line.count(str(refused).encode()) for line in await worker.logged(30)) == 10


@pytest.mark.parametrize("tries", [1, 2, 5])
async def test_how_many_tries_there_are_is_the_routes_policy(tries: int) -> None:
    async def script(connection: Connection) -> None:
        await connection.request()

    policy = Policy(tries=tries)
    async with (
        Upstream(script) as upstream,
        Worker(serving(upstream, policy=policy)) as worker,
        Client(worker.port) as client,
    ):
        assert (await client.ask(get())).status == 502
        assert len(upstream.requests) == tries


@pytest.mark.parametrize(
    "first", [b"H", b"HTTP/1.1 200 OK\r\nContent-Le", b"HTTP/1.1 100 Continue\r\n\r\n"], ids=["byte", "head", "interim"]
)
@pytest.mark.parametrize("version", ["1.1", "1.0"])
async def test_nothing_is_tried_again_after_the_first_byte_of_a_response(first: bytes, version: str) -> None:
    async def script(connection: Connection) -> None:
        await connection.request()
        await connection.send(first)

    async with Upstream(script) as upstream, Worker(serving(upstream)) as worker, Client(worker.port) as client:
        response = await client.ask(request(version=version))
        if response.status == 100:
            response = await client.response()
        assert response.status == 502
        assert len(upstream.requests) == 1


# --- a connection that is not there


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_refused_endpoint_is_followed_by_the_next_for_every_method(method: str) -> None:
    refused = refused_port()
    async with Upstream(always(ok())) as upstream, Worker(serving(upstream, refused)) as worker:
        async with Client(worker.port) as client:
            for _ in range(10):
                assert (await client.ask(request(method, "/", body=b"hello"))).status == 200
        assert [message.body for message in upstream.requests] == [b"hello"] * 10
        lines = await worker.logged(10)
        both = f"{refused},{upstream.endpoint}".encode()
        assert [column(line)[0] for line in lines].count(both) == 5
        assert {column(line)[3] for line in lines} == {b"200", b"502,200"}
        await worker.stop()
        assert worker.counter("upstream_connect_failures") == worker.counter("upstream_retries") == 5


@pytest.mark.parametrize("count", [1, 2, 3, 5])
async def test_when_all_refuse_it_is_502_after_as_many_tries_as_endpoints_or_three(count: int) -> None:
    endpoints = [refused_port() for _ in range(count)]
    async with Worker(serving(*endpoints)) as worker, Client(worker.port) as client:
        response = await client.ask(request("POST", "/", body=b"hello"))
        assert (response.status, response.get(b"connection")) == (502, None)
        assert b"connect_failed" in response.body
        [line] = await worker.logged(1)
        tried = column(line)[0].split(b",")
        assert len(tried) == len(set(tried)) == min(count, 3)


async def test_an_endpoint_that_does_not_answer_is_followed_by_the_next_for_every_method() -> None:
    policy = Policy(connect_timeout=SHORT)
    with deaf_port() as deaf:
        async with Upstream(always(ok())) as upstream, Worker(serving(upstream, deaf, policy=policy)) as worker:
            async with Client(worker.port) as client:
                for _ in range(2):
                    assert (await client.ask(request("POST", "/", body=b"hello"))).status == 200
            assert [message.body for message in upstream.requests] == [b"hello"] * 2
            lines = await worker.logged(2)
            assert sorted(column(line)[3] for line in lines) == [b"200", b"504,200"]


async def test_when_none_answers_it_is_504() -> None:
    policy = Policy(connect_timeout=SHORT)
    with deaf_port() as deaf:
        async with Worker(serving(deaf, policy=policy)) as worker, Client(worker.port) as client:
            response = await client.ask(get())
            assert (response.status, response.get(b"connection")) == (504, None)
            assert b"connect_timeout" in response.body
            [line] = await worker.logged(1)
            assert column(line)[3] == b"504"


async def test_a_body_that_comes_while_connecting_waits_and_is_sent() -> None:
    policy = Policy(connect_timeout=2 * SHORT)
    with deaf_port() as deaf:
        # The deaf one first, whatever its port.
        async with Upstream(always(ok())) as upstream, Worker(serving(deaf, policy=policy)) as worker:
            async with Client(worker.port) as client:
                body = b"x" * 4_000_000
                await client.send(request("POST", "/", f"Content-Length: {len(body)}"))
                sending = asyncio.get_running_loop().create_task(client.send(body))
                await worker.publish(serving(deaf, upstream, policy=policy))
                assert (await client.response()).status == 200
                await sending
            assert upstream.requests[0].body == body


async def test_a_client_that_leaves_while_connecting_leaves_nothing_behind() -> None:
    policy = Policy(connect_timeout=2 * SHORT)
    with deaf_port() as deaf:
        async with Worker(serving(deaf, policy=policy)) as worker:
            async with Client(worker.port) as client:
                await client.ask(get(host="nowhere.example"))
                before = worker.descriptors()
                await client.send(get())
                await eventually(lambda: worker.descriptors() > before, "it is connecting")
            assert b'" 499 ' in (await worker.logged(2))[1]
            await eventually(lambda: worker.descriptors() < before, "both are closed")
