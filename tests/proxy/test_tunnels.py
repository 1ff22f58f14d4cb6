"""Upgraded connections: WebSocket, and whatever else a client asks for and is granted (RFC 9110 section 7.8)."""

import asyncio
import base64
import hashlib

import pytest

from ingressd.link import HISTOGRAMS
from ingressd.model import Snapshot, Timeouts
from tests.kit import Client, Upstream, Worker, always, get, ok, pause, request, serving
from tests.kit.stream import Message, Stream
from tests.kit.upstream import Connection, Script

pytestmark = pytest.mark.asyncio(loop_scope="module")

WEBSOCKET = ("Connection: keep-alive, Upgrade", "Upgrade: websocket")
SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
ASKED = get("/ws", *WEBSOCKET)
LONG = Timeouts(tunnel_idle=600)
SHORT = 0.3


async def grant(connection: Connection, behind: bytes = b"") -> Message:
    """Answers an Upgrade with 101, and bytes right behind it."""
    message = await connection.request()
    assert message is not None
    await connection.send(SWITCHING + b"\r\n" + behind)
    return message


async def upgrade(client: Client, behind: bytes = b"") -> Message:
    """Asks for an Upgrade, with bytes right behind it, and reads the 101."""
    await client.send(ASKED + behind)
    response = await client.message_head()
    assert response.line == b"HTTP/1.1 101 Switching Protocols"
    return response


async def echo(connection: Connection) -> None:
    """Grants, then sends back what comes until it ends, and ends then too."""
    await grant(connection)
    while data := await connection.read_some():
        await connection.send(data)


async def test_the_request_and_the_101_reach_the_other_side_with_upgrade_and_connection(worker: Worker) -> None:
    async with Upstream(echo) as upstream, Client(worker.port) as client:
        await worker.publish(serving(upstream))
        response = await upgrade(client)
        assert response.get(b"upgrade") == b"websocket"
        assert response.get(b"connection") == b"Upgrade"
        assert not {b"content-length", b"transfer-encoding"} & set(response.names)
        [message] = upstream.requests
        assert message.get(b"upgrade") == b"websocket"
        assert message.get(b"connection") == b"Upgrade"


async def test_websocket_handshake_and_frames(worker: Worker) -> None:
    """With the arithmetic of RFC 6455, sections 1.3 and 5.2, so that both ends would notice a changed byte."""

    def frame(opcode: int, payload: bytes, mask: bytes = b"") -> bytes:
        assert len(payload) < 126
        if not mask:
            return bytes((0x80 | opcode, len(payload))) + payload
        masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))
        return bytes((0x80 | opcode, 0x80 | len(payload))) + mask + masked

    async def read_frame(stream: Stream) -> tuple[int, bytes]:
        first, length = await stream.read_exactly(2)
        mask = await stream.read_exactly(4) if length & 0x80 else bytes(4)
        payload = await stream.read_exactly(length & 0x7F)
        return first & 0x0F, bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))

    def accept(key: bytes) -> bytes:
        return base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())

    async def script(connection: Connection) -> None:
        message = await connection.request()
        assert message is not None
        key = message.get(b"sec-websocket-key")
        assert key is not None
        await connection.send(SWITCHING + b"Sec-WebSocket-Accept: %b\r\n\r\n" % accept(key))
        while (opcode_and_payload := await read_frame(connection))[0] != 8:
            opcode, payload = opcode_and_payload
            await connection.send(frame(opcode, payload.upper()))
        await connection.send(frame(8, opcode_and_payload[1]))

    key = base64.b64encode(b"0123456789abcdef")
    fields = (*WEBSOCKET, f"Sec-WebSocket-Key: {key.decode()}", "Sec-WebSocket-Version: 13")
    async with Upstream(script) as upstream, Client(worker.port) as client:
        await worker.publish(serving(upstream))
        await client.send(get("/ws", *fields))
        assert (await client.message_head()).get(b"sec-websocket-accept") == accept(key)
        for word in (b"hello", b"", b"x" * 125):
            await client.send(frame(1, word, b"abcd"))
            assert await read_frame(client) == (1, word.upper())
        await client.send(frame(8, b"\x03\xe8", b"abcd"))
        assert await read_frame(client) == (8, b"\x03\xe8")
        assert await client.ended()


async def test_bytes_right_behind_both_heads_are_the_tunnels(worker: Worker) -> None:
    async def script(connection: Connection) -> None:
        await grant(connection, b"from upstream")
        await connection.send(b"|" + await connection.read_exactly(11))

    async with Upstream(script) as upstream, Client(worker.port) as client:
        await worker.publish(serving(upstream))
        await upgrade(client, b"from client")
        assert await client.read_to_end() == b"from upstream|from client"


async def test_what_the_client_sent_before_the_101_waits_for_it(worker: Worker) -> None:
    go = asyncio.Event()

    async def script(connection: Connection) -> None:
        await connection.request()
        await go.wait()
        assert connection.silent()
        await connection.send(SWITCHING + b"\r\n")
        while data := await connection.read_some():
            await connection.send(data)

    async with Upstream(script) as upstream, Client(worker.port) as client:
        await worker.publish(serving(upstream))
        await client.send(ASKED)
        await upstream.received(1)
        ahead = b"x" * 200_000
        sending = asyncio.get_running_loop().create_task(client.send(ahead))
        async with Client(worker.port) as other:
            assert (await other.ask(get(host="nowhere.example"))).status == 404
        go.set()
        assert (await client.message_head()).status == 101
        assert await client.read_exactly(len(ahead)) == ahead
        await sending


async def test_a_client_that_ends_its_stream_still_hears_the_upstream(worker: Worker) -> None:
    async def script(connection: Connection) -> None:
        await grant(connection)
        assert await connection.read_to_end() == b"last words"
        for word in (b"and ", b"an ", b"answer"):
            await connection.send(word)

    async with Upstream(script) as upstream, Client(worker.port) as client:
        await worker.publish(serving(upstream))
        await upgrade(client)
        await client.send(b"last words")
        client.half_close()
        assert await client.read_to_end() == b"and an answer"
        await upstream.all_closed()


async def test_an_upstream_that_ends_its_stream_still_hears_the_client() -> None:
    heard = b""

    async def script(connection: Connection) -> None:
        nonlocal heard
        await grant(connection, b"last words")
        connection.half_close()
        heard = await connection.read_to_end()

    async with Upstream(script) as upstream, Worker(serving(upstream)) as worker, Client(worker.port) as client:
        await upgrade(client)
        assert await client.read_to_end() == b"last words"
        await client.send(b"and an answer")
        client.half_close()
        await upstream.all_closed()
        assert heard == b"and an answer"
        await worker.logged(1)


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_a_client_that_goes_away_takes_the_upstream_connection_with_it(how: str) -> None:
    async with Upstream(echo) as upstream, Worker(serving(upstream)) as worker, Client(worker.port) as client:
        await upgrade(client)
        getattr(client, how)()
        await upstream.all_closed()
        assert b'" 101 ' in (await worker.logged(1))[0]


async def test_an_upstream_that_resets_takes_the_client_connection_with_it() -> None:
    async def script(connection: Connection) -> None:
        await grant(connection)
        await connection.read_exactly(1)
        connection.reset()

    async with Upstream(script) as upstream, Worker(serving(upstream)) as worker, Client(worker.port) as client:
        await upgrade(client)
        await client.send(b"x")
        await client.ended()
        await worker.logged(1)


async def test_a_slow_client_holds_back_the_upstream_and_gets_everything() -> None:
    total = 32 << 20

    async def script(connection: Connection) -> None:
        await grant(connection)
        await connection.send(b"x" * total)

    async with (
        Upstream(script) as upstream,
        Worker(serving(upstream)) as worker,
        Client(worker.port, receive_buffer=4096) as client,
    ):
        before = worker.resident()
        await upgrade(client)
        async with Client(worker.port) as other:
            assert (await other.ask(get(host="nowhere.example"))).status == 404
        assert worker.resident() - before < 4 << 20
        assert len(await client.read_to_end()) == total


async def test_a_slow_upstream_holds_back_the_client_and_gets_everything() -> None:
    go = asyncio.Event()
    heard = 0

    async def script(connection: Connection) -> None:
        nonlocal heard
        await grant(connection)
        await go.wait()
        heard = len(await connection.read_to_end())

    async with (
        Upstream(script, receive_buffer=4096) as upstream,
        Worker(serving(upstream), timeouts=LONG) as worker,
        Client(worker.port) as client,
    ):
        before = worker.resident()
        await upgrade(client)
        sent = await client.fill(b"x" * 65536)
        assert worker.resident() - before < 4 << 20
        go.set()
        client.half_close()
        await upstream.all_closed()
        assert heard == sent


async def test_a_tunnel_silent_in_both_directions_is_closed() -> None:
    timeouts = Timeouts(tunnel_idle=SHORT)
    async with (
        Upstream(echo) as upstream,
        Worker(serving(upstream), timeouts=timeouts) as worker,
        Client(worker.port) as client,
    ):
        await upgrade(client)
        assert await client.ended()
        await upstream.all_closed()
        await worker.reported(lambda: worker.counter("errors", "tunnel_timeout") == 1, "the timeout is counted")


async def test_a_tunnel_is_not_silent_while_one_direction_speaks() -> None:
    async def script(connection: Connection) -> None:
        await grant(connection)
        for _ in range(8):
            await pause(SHORT / 2)
            await connection.send(b"x")
        for _ in range(8):
            await connection.read_exactly(1)

    # No other timeout applies to a tunnel: neither the client's nor the route's.
    timeouts = Timeouts(tunnel_idle=3 * SHORT, client_header=SHORT, client_body=SHORT, keep_alive=SHORT)
    async with (
        Upstream(script) as upstream,
        Worker(serving(upstream), timeouts=timeouts) as worker,
        Client(worker.port) as client,
    ):
        await upgrade(client)
        assert await client.read_exactly(8) == b"x" * 8
        for _ in range(8):
            await pause(SHORT / 2)
            await client.send(b"x")
        assert await client.ended()
        await upstream.all_closed()


async def test_a_tunnel_that_was_held_back_is_closed_when_it_falls_silent() -> None:
    go = asyncio.Event()

    async def script(connection: Connection) -> None:
        await grant(connection)
        await go.wait()
        while await connection.read_some():
            pass

    timeouts = Timeouts(tunnel_idle=4 * SHORT)
    async with (
        Upstream(script, receive_buffer=4096) as upstream,
        Worker(serving(upstream), timeouts=timeouts) as worker,
        Client(worker.port) as client,
    ):
        await upgrade(client)
        await client.fill(b"x" * 65536, SHORT)
        go.set()
        assert await client.ended()
        await upstream.all_closed()


async def test_a_101_that_nobody_asked_for_is_502(worker: Worker) -> None:
    async def script(connection: Connection) -> None:
        await connection.request()
        await connection.send(SWITCHING + b"\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        assert await connection.read_some() == b""

    async with Upstream(script) as upstream, Client(worker.port) as client:
        await worker.publish(serving(upstream))
        for data in (get(), get("/", "Upgrade: websocket"), get("/", "Connection: Upgrade")):
            response = await client.ask(data)
            assert response.status == 502
            assert b"upstream_framing" in response.body
        await upstream.all_closed()


async def test_a_101_without_upgrade_is_502(worker: Worker) -> None:
    async with (
        Upstream(always(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\r\n")) as upstream,
        Client(worker.port) as client,
    ):
        await worker.publish(serving(upstream))
        assert (await client.ask(ASKED)).status == 502
        await upstream.all_closed()


async def test_an_upgrade_that_is_not_granted_is_an_exchange_like_any_other(worker: Worker) -> None:
    async with (
        Upstream(always(ok(b"no", "Upgrade: websocket", "Connection: Upgrade"))) as upstream,
        Client(worker.port) as client,
    ):
        await worker.publish(serving(upstream))
        for _ in range(2):
            response = await client.ask(ASKED)
            assert (response.status, response.body) == (200, b"no")
            assert not {b"upgrade", b"connection"} & set(response.names)
        assert (await client.ask(get())).body == b"no"
        assert len(upstream.connections) == 1


@pytest.mark.parametrize("protocol", ["h2c", "H2C", "h2c, websocket"])
async def test_http_2_by_upgrade_is_not_asked_for(protocol: str, worker: Worker) -> None:
    fields = ("Connection: Upgrade, HTTP2-Settings", f"Upgrade: {protocol}", "HTTP2-Settings: AAMAAABkAAQAAP__")
    async with Upstream(always(ok())) as upstream, Client(worker.port) as client:
        await worker.publish(serving(upstream))
        assert (await client.ask(get("/", *fields))).status == 200
        assert not {b"upgrade", b"connection", b"http2-settings"} & set(upstream.requests[0].names)


async def test_http_1_0_cannot_upgrade(worker: Worker) -> None:
    async with Upstream(always(ok())) as upstream, Client(worker.port) as client:
        await worker.publish(serving(upstream))
        assert (await client.ask(request("GET", "/", *WEBSOCKET, version="1.0"))).status == 200
        assert not {b"upgrade", b"connection"} & set(upstream.requests[0].names)


async def test_a_tunnel_is_logged_and_counted_when_it_is_over() -> None:
    async with Upstream(echo) as upstream, Worker(serving(upstream)) as worker:
        async with Client(worker.port) as client:
            head = (await upgrade(client)).raw
            await client.send(b"hello")
            assert await client.read_exactly(5) == b"hello"
            await worker.reported(lambda: worker.gauge("downstream_connections_open", "tunnel") == 1, "it is open")
            assert worker.log == []
            client.half_close()
            assert await client.ended()
        [line] = await worker.logged(1)
        assert b'"GET /ws HTTP/1.1" 101 5 "-" "-" %d ' % (len(ASKED) + 5) in line
        _, length, _, status, _ = line.rpartition(b"] [] ")[2].split(b" ")
        assert (length, status) == (b"5", b"101")
        await worker.stop()
        assert worker.counter("tunnels") == 1
        [series] = worker.requests()
        sums = dict(zip(HISTOGRAMS, series.sums, strict=True))
        assert (sums["request_size"], sums["bytes_sent"]) == (len(ASKED) + 5, len(head) + 5)


async def test_updates_leave_a_tunnel_alone(worker: Worker) -> None:
    async with Upstream(echo) as upstream, Client(worker.port) as client:
        await worker.publish(serving(upstream))
        await upgrade(client)
        await worker.publish(Snapshot())
        async with Client(worker.port) as other:
            assert (await other.ask(get())).status == 404
        await client.send(b"still here")
        assert await client.read_exactly(10) == b"still here"
        client.half_close()
        assert await client.ended()


async def test_a_protocol_that_is_not_websocket_is_tunnelled_as_well(worker: Worker) -> None:
    script: Script = echo
    async with Upstream(script) as upstream, Client(worker.port) as client:
        await worker.publish(serving(upstream))
        await client.send(request("POST", "/attach", "Connection: Upgrade", "Upgrade: tcp", body=b"{}"))
        assert (await client.message_head()).status == 101
        assert upstream.requests[0].body == b"{}"
        await client.send(b"ping")
        assert await client.read_exactly(4) == b"ping"
