"""Many exchanges of every shape on one client connection, cut into packets anywhere: each arrives as it was sent.

Seeded, so that a failure comes again.
"""

import asyncio
import itertools
import random
from dataclasses import dataclass

import pytest

from tests.kit import Client, Upstream, Worker, chunked, get, request, serving
from tests.kit.stream import Message
from tests.kit.upstream import Connection

pytestmark = pytest.mark.asyncio(loop_scope="module")

EXCHANGES = 100


@dataclass
class Plan:
    """One exchange: what the client sends, what the upstream must then see and answer, what the client must get."""

    sent: bytes
    method: str
    body: bytes
    trailers: list[bytes]
    answer: bytes
    closes: bool
    status: int
    answered: bytes
    answered_trailers: list[bytes]


def any_body(chance: random.Random) -> bytes:
    size = chance.choice((0, 1, 10, 1000, 65_536, chance.randrange(300_000)))
    return chance.randbytes(size)


def pieces(chance: random.Random, data: bytes) -> list[bytes]:
    """`data` cut into a few pieces, none of them empty."""
    cuts = sorted({0, len(data), *(chance.randrange(len(data) + 1) for _ in range(chance.randrange(5)))})
    return [data[start:end] for start, end in itertools.pairwise(cuts)]


def plan(chance: random.Random, number: int) -> Plan:
    method = chance.choice(("GET", "POST", "PUT", "HEAD", "DELETE", "BREW"))
    framing = chance.choice(("none", "length", "chunked"))
    body = b"" if framing == "none" else any_body(chance)
    trailers: list[bytes] = []
    if framing == "chunked":
        trailers = chance.choice(([], [b"Sum: 1"]))
        lines = b"".join(line + b"\r\n" for line in trailers)
        sent = request(method, f"/{number}", "Transfer-Encoding: chunked")
        sent += chunked(*pieces(chance, body), trailers=lines)
    else:
        sent = request(method, f"/{number}", body=body if framing == "length" else None)

    head = "".join("HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n" for _ in range(chance.choice((0, 0, 0, 1, 3))))
    how = chance.choice(("length", "length", "chunked", "chunked", "close", "204", "304"))
    status = int(how) if how.isdigit() else 200
    answered = b"" if how.isdigit() or method == "HEAD" else any_body(chance)
    closes = how == "close" or chance.random() < 0.1
    head += f"HTTP/1.1 {status} Whatever\r\nNumber: {number}\r\n" + ("Connection: close\r\n" if closes else "")
    answered_trailers: list[bytes] = []
    if how == "length":
        data = f"Content-Length: {len(answered)}\r\n\r\n".encode() + answered
    elif how == "chunked" and method != "HEAD":
        answered_trailers = chance.choice(([], [b"Sum: 2"]))
        lines = b"".join(line + b"\r\n" for line in answered_trailers)
        data = b"Transfer-Encoding: chunked\r\n\r\n" + chunked(*pieces(chance, answered), trailers=lines)
    else:
        data = b"\r\n" + answered
        closes = closes or how == "close"
    return Plan(sent, method, body, trailers, head.encode() + data, closes, status, answered, answered_trailers)


async def send_in_pieces(chance: random.Random, stream: Client | Connection, data: bytes) -> None:
    while data:
        size = chance.choice((1, 2, 3, 100, 10_000, 100_000, len(data)))
        await stream.send(data[:size])
        data = data[size:]
        await asyncio.sleep(0)


@pytest.mark.parametrize("seed", range(20))
async def test_each_arrives_as_it_was_sent(seed: int, worker: Worker) -> None:
    chance = random.Random(seed)
    plans = [plan(chance, number) for number in range(EXCHANGES)]

    async def script(connection: Connection) -> None:
        while (message := await connection.request()) is not None:
            todo = plans[int(message.target[1:])]
            await send_in_pieces(chance, connection, todo.answer)
            if todo.closes:
                return

    def received(number: int) -> Message:
        [message] = [message for message in upstream.requests if message.target == b"/%d" % number]
        return message

    async with Upstream(script) as upstream, Client(worker.port) as client:
        await worker.publish(serving(upstream))
        sending = asyncio.get_running_loop().create_task(
            send_in_pieces(chance, client, b"".join(todo.sent for todo in plans))
        )
        try:
            for number, todo in enumerate(plans):
                head_only = todo.method == "HEAD"
                while (response := await client.response(head_only)).status == 103:
                    pass
                assert (response.status, response.get(b"number")) == (todo.status, b"%d" % number)
                assert response.body == todo.answered
                assert response.trailers == todo.answered_trailers
                assert response.get(b"connection") is None
                message = received(number)
                assert message.method == todo.method.encode()
                assert message.body == todo.body
                assert message.trailers == todo.trailers
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
        assert (await client.ask(get(host="nowhere.example"))).status == 404
