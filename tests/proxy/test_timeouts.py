"""Every wait for a peer ends. Configured short here; nothing is measured but what came of it."""

import asyncio

import pytest

from ingressd.model import Ejection, Policy, Timeouts, WorkerSettings
from tests.kit import Client, Closed, Upstream, Worker, always, chunked, each, get, ok, pause, request, serving
from tests.kit.upstream import Connection

SHORT = 0.3
LONG = 60.0


async def silent(connection: Connection) -> None:
    """Reads a request and says nothing until the proxy gives up."""
    await connection.request()
    await connection.read_some()


# --- the client's


async def test_a_connection_without_a_byte_is_closed_without_a_word() -> None:
    async with Worker(timeouts=Timeouts(client_header=SHORT)) as worker, Client(worker.port) as client:
        assert await client.ended()
        await worker.stop()
        assert worker.log == []


@pytest.mark.parametrize("part", [b"G", b"GET / HTTP/1.1\r\n", get()[:-2], get()[:-1]])
async def test_a_slow_head_is_answered_408(part: bytes) -> None:
    async with Worker(timeouts=Timeouts(client_header=SHORT)) as worker, Client(worker.port) as client:
        await client.send(part)
        response = await client.response()
        assert (response.status, response.get(b"connection")) == (408, b"close")
        assert b"slow_head" in response.body
        assert await client.ended()


async def test_the_time_for_a_head_does_not_begin_anew_with_each_byte() -> None:
    async with Worker(timeouts=Timeouts(client_header=SHORT)) as worker, Client(worker.port) as client:
        await client.send(b"GET / HTTP/1.1\r\nX: ")

        async def drip() -> None:
            while True:
                await client.send(b"x")
                await pause(SHORT / 10)

        dripping = asyncio.get_running_loop().create_task(drip())
        try:
            assert (await client.response()).status == 408
        finally:
            dripping.cancel()
            await asyncio.gather(dripping, return_exceptions=True)


async def test_a_slow_head_behind_an_earlier_request_is_answered_408() -> None:
    timeouts = Timeouts(client_header=SHORT, keep_alive=LONG)
    async with (
        Upstream(always(ok())) as upstream,
        Worker(serving(upstream), timeouts=timeouts) as worker,
        Client(worker.port) as client,
    ):
        await client.send(get() + get()[:20])
        assert (await client.response()).status == 200
        assert (await client.response()).status == 408
        assert await client.ended()


async def test_a_slow_body_is_answered_408_and_the_upstream_connection_closed() -> None:
    async def script(connection: Connection) -> None:
        await connection.request_head()
        assert await connection.read_exactly(4) == b"some"
        assert await connection.read_some() == b""

    timeouts = Timeouts(client_body=SHORT)
    async with (
        Upstream(script) as upstream,
        Worker(serving(upstream), timeouts=timeouts) as worker,
        Client(worker.port) as client,
    ):
        await client.send(request("POST", "/", "Content-Length: 10") + b"some")
        response = await client.response()
        assert (response.status, response.get(b"connection")) == (408, b"close")
        assert b"slow_body" in response.body
        assert await client.ended()
        await upstream.all_closed()


async def test_a_body_that_keeps_coming_may_take_longer_than_the_time_between_two_reads() -> None:
    timeouts = Timeouts(client_body=3 * SHORT)
    async with (
        Upstream(each(lambda message: ok(message.body))) as upstream,
        Worker(serving(upstream), timeouts=timeouts) as worker,
        Client(worker.port) as client,
    ):
        await client.send(request("POST", "/", "Content-Length: 8"))
        for _ in range(8):
            await pause(SHORT / 2)
            await client.send(b"x")
        assert (await client.response()).body == b"x" * 8


async def test_an_idle_connection_is_closed_without_a_word() -> None:
    timeouts = Timeouts(keep_alive=SHORT)
    async with (
        Upstream(always(ok())) as upstream,
        Worker(serving(upstream), timeouts=timeouts) as worker,
        Client(worker.port) as client,
    ):
        assert (await client.ask(get())).status == 200
        assert await client.ended()


async def test_a_client_that_takes_no_response_is_cut() -> None:
    async with (
        Upstream(always(ok(b"x" * (32 << 20)))) as upstream,
        Worker(serving(upstream), timeouts=Timeouts(client_body=SHORT)) as worker,
        Client(worker.port, receive_buffer=4096) as client,
    ):
        await client.send(get())
        [line] = await worker.logged(1)
        assert b'" 200 ' in line
        await worker.reported(lambda: worker.counter("errors", "client_timeout") == 1, "the timeout is counted")
        await upstream.all_closed()
        with pytest.raises(Closed):
            await client.response()


async def test_a_client_that_takes_its_response_slowly_gets_all_of_it() -> None:
    # Longer than every timeout, among them those of the upstream and of the idle connection at the end.
    timeouts = Timeouts(client_body=3 * SHORT, keep_alive=SHORT)
    body = b"x" * (8 << 20)
    async with (
        Upstream(always(ok(body))) as upstream,
        Worker(serving(upstream, policy=Policy(read_timeout=SHORT)), timeouts=timeouts) as worker,
        Client(worker.port, receive_buffer=4096) as client,
    ):
        await client.send(get())
        message = await client.message_head()
        for _ in range(8):
            message.body += await client.read_exactly(1 << 20)
            await pause(SHORT)
        assert message.body == body
        assert await client.ended()
        assert worker.counter("errors", "client_timeout") == 0


# --- the upstream's


async def test_an_upstream_that_does_not_respond_is_504_and_not_tried_again() -> None:
    policy = Policy(read_timeout=SHORT)
    async with (
        Upstream(silent) as upstream,
        Worker(serving(upstream, policy=policy)) as worker,
        Client(worker.port) as client,
    ):
        response = await client.ask(get())
        assert (response.status, response.get(b"connection")) == (504, None)
        assert b"upstream_timeout" in response.body
        await upstream.all_closed()
        assert len(upstream.requests) == 1
        # The client's connection goes on.
        assert (await client.ask(get())).status == 504


async def test_half_a_head_of_a_response_is_504() -> None:
    async def script(connection: Connection) -> None:
        await connection.request()
        await connection.send(b"HTTP/1.1 200 OK\r\nConte")
        await connection.read_some()

    policy = Policy(read_timeout=SHORT)
    async with (
        Upstream(script) as upstream,
        Worker(serving(upstream, policy=policy)) as worker,
        Client(worker.port) as client,
    ):
        assert (await client.ask(get())).status == 504
        await upstream.all_closed()


async def test_a_response_that_stops_in_mid_body_is_cut() -> None:
    async def script(connection: Connection) -> None:
        await connection.request()
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        await connection.read_some()

    policy = Policy(read_timeout=SHORT)
    async with (
        Upstream(script) as upstream,
        Worker(serving(upstream, policy=policy)) as worker,
        Client(worker.port) as client,
    ):
        await client.send(get())
        with pytest.raises(Closed):
            await client.response()
        await upstream.all_closed()
        await worker.reported(lambda: worker.counter("errors", "upstream_timeout") == 1, "the timeout is counted")


async def test_a_response_that_keeps_coming_may_take_longer_than_the_time_between_two_reads() -> None:
    async def script(connection: Connection) -> None:
        await connection.request()
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n")
        for _ in range(8):
            await pause(SHORT / 2)
            await connection.send(b"x")

    policy = Policy(read_timeout=3 * SHORT)
    async with (
        Upstream(script) as upstream,
        Worker(serving(upstream, policy=policy)) as worker,
        Client(worker.port) as client,
    ):
        assert (await client.ask(get())).body == b"x" * 8


async def test_the_time_to_respond_begins_when_the_request_is_complete() -> None:
    policy = Policy(read_timeout=2 * SHORT)
    async with (
        Upstream(each(lambda message: ok(message.body))) as upstream,
        Worker(serving(upstream, policy=policy)) as worker,
        Client(worker.port) as client,
    ):
        await client.send(request("POST", "/", "Content-Length: 6"))
        for _ in range(6):
            await pause(SHORT)
            await client.send(b"x")
        assert (await client.response()).body == b"x" * 6


async def test_a_response_begun_during_the_upload_must_go_on_when_the_upload_is_done() -> None:
    async def script(connection: Connection) -> None:
        message = await connection.request_head()
        await connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(b"begun")[:-5])
        await connection.message_body(message)
        await connection.read_some()

    policy = Policy(read_timeout=SHORT)
    async with (
        Upstream(script) as upstream,
        Worker(serving(upstream, policy=policy)) as worker,
        Client(worker.port) as client,
    ):
        await client.send(request("POST", "/", "Content-Length: 4"))
        response = await client.message_head()
        assert await client.chunk(response) == b"begun"
        await client.send(b"done")
        with pytest.raises(Closed):
            await client.chunk(response)
        await upstream.all_closed()


async def test_a_response_begun_during_an_upload_must_go_on_if_the_upload_does_not_either() -> None:
    async def script(connection: Connection) -> None:
        await connection.request_head()
        await connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(b"begun")[:-5])
        await connection.read_exactly(4)
        await connection.read_some()

    policy = Policy(read_timeout=SHORT)
    settings = WorkerSettings(
        worker=0,
        workers=1,
        timeouts=Timeouts(client_body=SHORT),
        ejection=Ejection(failures=1, base=LONG, longest=LONG),
    )
    async with (
        Upstream(script) as upstream,
        Upstream(script) as other,
        Worker(serving(upstream, other, policy=policy), settings) as worker,
    ):
        for _ in range(3):
            async with Client(worker.port) as client:
                await client.send(request("POST", "/", "Content-Length: 9") + b"some")
                response = await client.message_head()
                assert await client.chunk(response) == b"begun"
                with pytest.raises(Closed):
                    await client.chunk(response)
        await upstream.all_closed()
        await worker.stop()
        assert worker.counter("errors", "upstream_timeout") == 3
        # The endpoint may have waited for the rest, which its client owes it.
        assert worker.counter("ejections") == 0


async def test_a_response_begun_during_an_upload_may_wait_while_the_upload_goes_on() -> None:
    async def script(connection: Connection) -> None:
        message = await connection.request_head()
        await connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        await connection.message_body(message)
        await connection.send(chunked(message.body))

    policy = Policy(read_timeout=2 * SHORT)
    async with (
        Upstream(script) as upstream,
        Worker(serving(upstream, policy=policy)) as worker,
        Client(worker.port) as client,
    ):
        await client.send(request("POST", "/", "Content-Length: 6"))
        response = await client.message_head()
        for _ in range(6):
            await pause(SHORT)
            await client.send(b"x")
        assert await client.chunk(response) == b"x" * 6


async def test_an_endpoint_that_answers_need_not_take_the_rest_of_the_request() -> None:
    async def script(connection: Connection) -> None:
        await connection.request_head()
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n")
        for _ in range(8):
            await pause(SHORT)
            await connection.send(b"x")
        await done.wait()

    done = asyncio.Event()
    policy = Policy(send_timeout=SHORT, read_timeout=3 * SHORT)
    async with (
        Upstream(script, receive_buffer=4096) as upstream,
        Worker(serving(upstream, policy=policy)) as worker,
        Client(worker.port) as client,
    ):
        await client.send(request("POST", "/", f"Content-Length: {64 << 20}"))
        sending = asyncio.get_running_loop().create_task(client.send(b"x" * (64 << 20)))
        response = await client.message_head()
        await client.message_body(response)
        assert response.body == b"x" * 8
        done.set()
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


async def test_an_upstream_that_does_not_take_the_request_is_504() -> None:
    async def script(connection: Connection) -> None:
        await connection.request_head()
        await done.wait()

    done = asyncio.Event()
    policy = Policy(send_timeout=SHORT)
    async with (
        Upstream(script, receive_buffer=4096) as upstream,
        Worker(serving(upstream, policy=policy)) as worker,
        Client(worker.port) as client,
    ):
        await client.send(request("POST", "/", f"Content-Length: {64 << 20}"))
        sending = asyncio.get_running_loop().create_task(client.send(b"x" * (64 << 20)))
        response = await client.response()
        assert (response.status, response.get(b"connection")) == (504, b"close")
        assert b"upstream_send_timeout" in response.body
        done.set()
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


async def test_an_upstream_that_takes_the_request_slowly_gets_all_of_it() -> None:
    length = 12 << 20

    async def script(connection: Connection) -> None:
        await connection.request_head()
        for _ in range(12):
            await pause(SHORT / 2)
            await connection.read_exactly(1 << 20)
        await connection.send(ok(b"thanks"))

    policy = Policy(send_timeout=3 * SHORT, read_timeout=3 * SHORT)
    async with (
        Upstream(script, receive_buffer=4096) as upstream,
        Worker(serving(upstream, policy=policy), timeouts=Timeouts(client_body=SHORT)) as worker,
        Client(worker.port) as client,
    ):
        await client.send(request("POST", "/", body=b"x" * length))
        assert (await client.response()).body == b"thanks"
