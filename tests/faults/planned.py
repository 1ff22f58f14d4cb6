"""Exchanges planned by their numbers: framings, splits, pauses, pipelining, faults on both sides. Both sides are here;
they carry the plans out and check each other.

An upstream sees of a request what its client sent or sees its end; a client whose response is whole has its own; an
exchange without a fault gets its answer, whatever happens on other connections.
"""

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field

from tests.kit import Client, Closed, Message, Stream, Worker, chunked, pause
from tests.kit.upstream import Connection

SEED = 20261123
CLIENTS = 24
"""At a time."""
DEPTH = 6
"""Requests a client sends at most before it reads."""

IDEMPOTENT = ("GET", "HEAD", "PUT", "DELETE")
FAULTS = (
    "close before the head",
    "reset before the head",
    "close in the head",
    "garbage for a head",
    "close in the body",
    "reset in the body",
    "garbage chunk",
    "answer before the body",
)
FORGED = b"HTTP/1.1 200 OK\r\nX-Number: -1\r\nContent-Length: 6\r\n\r\nforged"


@dataclass
class Plan:
    """What is to happen in exchange `number`; the same on every run."""

    number: int
    method: str
    version: str
    request_framing: str
    request_body: bytes = field(repr=False)
    response_framing: str
    response_body: bytes = field(repr=False)
    interim: int
    fault: str
    """Of the upstream; empty for none."""
    extra: bool
    """The upstream sends another response right behind."""
    leaves: str
    """How the client leaves before it has read the response; empty if it does not."""
    slow: bool
    answers: int = field(default=0, compare=False)
    """How often an upstream has had all of the request."""

    @property
    def clean(self) -> bool:
        return not self.fault and not self.leaves

    @property
    def request(self) -> bytes:
        lines = [f"{self.method} /{self.number} HTTP/{self.version}", "Host: a.example"]
        if self.version == "1.0":
            lines.append("Connection: keep-alive")
        if self.request_framing == "length":
            lines.append(f"Content-Length: {len(self.request_body)}")
        elif self.request_framing == "chunked":
            lines.append("Transfer-Encoding: chunked")
        return "\r\n".join((*lines, "", "")).encode() + encoded(self.request_framing, self.request_body)

    def response(self, connection: str = "") -> bytes:
        head = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * self.interim
        head += b"HTTP/1.1 200 OK\r\nX-Number: %d\r\n" % self.number
        if self.response_framing == "length":
            head += b"Content-Length: %d\r\n" % len(self.response_body)
        elif self.response_framing == "chunked":
            head += b"Transfer-Encoding: chunked\r\n"
        head += connection.encode() + b"\r\n"
        return head if self.method == "HEAD" else head + encoded(self.response_framing, self.response_body)


def encoded(framing: str, body: bytes) -> bytes:
    if framing != "chunked":
        return body
    third = len(body) // 3
    return chunked(*(piece for piece in (body[:third], body[third:]) if piece))


def plan(number: int) -> Plan:
    chance = random.Random(SEED * 1_000_003 + number)
    method = chance.choice(("GET", "GET", "GET", "HEAD", "POST", "POST", "PUT", "DELETE", "PATCH"))
    version = "1.0" if chance.random() < 0.1 else "1.1"
    framing = chance.choice(("length", "chunked")) if method in ("POST", "PUT", "PATCH") else "none"
    if version == "1.0" and framing == "chunked":
        framing = "length"
    size = chance.choice((0, 1, 100, 5000, 70_000))
    response_framing = chance.choice(("length", "length", "chunked", "close"))
    fault = chance.choice(FAULTS) if chance.random() < 0.15 else ""
    if response_framing == "close" and fault == "close in the body":
        fault = "reset in the body"  # The other is no fault.
    elif fault == "garbage chunk" and (response_framing != "chunked" or method == "HEAD"):
        fault = "garbage for a head"
    response_body = chance.randbytes(chance.choice((0, 1, 100, 5000, 90_000)))
    if method == "HEAD" or (response_framing == "length" and not response_body):
        # Without a body these come behind a whole response, and could then only hit the next one.
        fault = fault.replace("in the body", "in the head").replace("reset in", "close in")
    return Plan(
        number=number,
        method=method,
        version=version,
        request_framing=framing,
        request_body=chance.randbytes(size) if framing != "none" else b"",
        response_framing=response_framing,
        response_body=response_body,
        interim=chance.choice((0, 0, 0, 1, 3)),
        fault=fault,
        extra=chance.random() < 0.05 and response_framing != "close",
        leaves=chance.choice(("close", "reset")) if chance.random() < 0.08 else "",
        slow=chance.random() < 0.2,
    )


async def in_pieces(stream: Stream, data: bytes, number: int, slow: bool) -> None:
    """Sends `data` cut anywhere."""
    chance = random.Random(SEED + number)
    while data:
        cut = chance.choice((1, 7, 100, 3000, len(data)))
        await stream.send(data[:cut])
        data = data[cut:]
        if slow:
            await pause(chance.random() * 0.005)


class Upstreams:
    """Plays the endpoint of all exchanges, and keeps what it saw wrong."""

    def __init__(self, plans: list[Plan]) -> None:
        self._plans = plans
        self.seen: Counter[str] = Counter()

    async def script(self, connection: Connection) -> None:
        while True:
            try:
                head = await connection.request_head()
            except Closed:
                return
            exchange = self._plans[int(head.target[1:])]
            assert head.method.decode() == exchange.method
            if not await self._answer(connection, head, exchange):
                return

    async def _answer(self, connection: Connection, head: Message, exchange: Plan) -> bool:
        """Whether the connection goes on."""
        if exchange.fault == "answer before the body":
            await connection.send(exchange.response("Connection: close\r\n"))
            return False
        message = await connection.message_body(head)
        assert message.body == exchange.request_body, exchange
        exchange.answers += 1
        self.seen[exchange.fault or "well"] += 1
        whole = exchange.response()
        head_size = whole.index(b"X-Number")
        body_size = len(whole) - whole.index(b"\r\n\r\n", head_size) - 4
        fault = exchange.fault
        if fault == "close in the head":
            await connection.send(whole[:head_size])
        elif fault == "garbage for a head":
            await connection.send(b"\x00\x01\x02\x03" + whole)
        elif fault in ("close in the body", "reset in the body", "garbage chunk"):
            await in_pieces(connection, whole[: len(whole) - (body_size + 1) // 2], exchange.number, exchange.slow)
            if fault == "garbage chunk":
                await connection.send(b"\r\n\x00zz")
        elif not fault:
            rest = b""
            if exchange.extra:
                # In one piece with the end of the response: later, it could be meant for the next request.
                whole, rest = whole[:-10], whole[-10:] + FORGED
            await in_pieces(connection, whole, exchange.number, exchange.slow)
            await connection.send(rest)
            # A body that only the end of the connection ends, or a connection that is of no more use.
            return exchange.response_framing != "close" or exchange.method == "HEAD"
        if fault.startswith("reset"):
            connection.reset()
        return False


async def _client(worker: Worker, exchanges: list[Plan], outcome: Counter[str]) -> None:
    """Sends these on one connection, then reads. What is not answered because the connection ended is sent again on
    another if nothing was wrong with it."""
    async with Client(worker.port) as stream:
        leaving = next((exchange for exchange in exchanges if exchange.leaves), None)
        sent = exchanges[: exchanges.index(leaving) + 1] if leaving else exchanges
        data = b"".join(exchange.request for exchange in sent)
        if leaving is not None:
            # In the head of the last request, in its body, or behind it.
            data = data[: len(data) - leaving.number % 3 * len(leaving.request) // 3]
        slow = any(exchange.slow for exchange in sent)

        async def send() -> bool:
            """Whether the worker took all."""
            try:
                await in_pieces(stream, data, sent[0].number, slow)
            except ConnectionError:
                return False
            return True

        sending = asyncio.create_task(send())
        ended = ""
        try:
            for exchange in sent[:-1] if leaving else sent:
                if ended:
                    # Nothing is answered behind a response that ended the connection.
                    outcome[f"not answered: {ended}"] += 1
                    continue
                ended = await _check(stream, exchange, sending, outcome)
            await sending
        finally:
            sending.cancel()
        if leaving is not None:
            outcome["client left"] += 1
            if leaving.leaves == "reset":
                stream.reset()
        elif not ended:
            assert stream.silent()


async def _check(stream: Stream, exchange: Plan, sending: "asyncio.Task[bool]", outcome: Counter[str]) -> str:
    """Reads one response. Returns why nothing can follow it, or nothing."""
    try:
        while (response := await stream.message_head()).status == 103:
            assert (exchange.version, exchange.interim > 0) == ("1.1", True)
        until_close = exchange.version == "1.0" and response.get(b"connection") == b"close"
        if exchange.method != "HEAD":
            await stream.message_body(response, until_close)
            if until_close and exchange.fault and not await sending:
                # Linux tells of a reset once: here it told the one who was sending.
                raise Closed(b"", "reset")
    except Closed:
        assert exchange.fault, exchange
        outcome["cut"] += 1
        return "cut"
    number = response.get(b"x-number")
    if number is None:
        assert exchange.fault, (exchange, response.raw)
        assert response.status == 502
        outcome["502"] += 1
    else:
        assert int(number) == exchange.number, (exchange.number, response.raw[:300])
        assert response.body == (b"" if exchange.method == "HEAD" else exchange.response_body), exchange
        outcome["answered"] += 1
    return "closed" if response.get(b"connection") == b"close" else ""


async def carry_out(worker: Worker, plans: list[Plan]) -> Counter[str]:
    """Plays all clients, CLIENTS of them at a time. Returns how often what came of it: `answered`, `502`, `cut`,
    `client left` ..."""
    outcome: Counter[str] = Counter()
    chance = random.Random(SEED)
    waiting = list(plans)

    async def clients() -> None:
        while waiting:
            depth = chance.randint(1, DEPTH)
            mine, waiting[:depth] = waiting[:depth], []
            await _client(worker, mine, outcome)

    async with asyncio.TaskGroup() as group:
        for _ in range(CLIENTS):
            group.create_task(clients())
    return outcome
