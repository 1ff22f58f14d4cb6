"""One client that sends all it can does not keep the others waiting.

Counted in requests, not in time, which a busy machine stretches: the worker is stopped, the hostile client's requests
and then one on a new connection of each other client are put into the kernel's hands, and the worker goes on. Its
access log says who came when. The others take many turns of its loop, for only so many are accepted in each
(ingressd.proxy.stream.ACCEPTED).
"""

import asyncio
import contextlib
import fcntl
import os
import signal
import socket
import sys
import termios
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from ingressd.model import Snapshot
from tests.kit import Client, Worker, eventually, get, request
from tests.kit.pki import Authority
from tests.proxy.tls.kit import secured, settings
from tests.proxy.tls.test_connections import Raw

NOBODY = "nobody.example"
OTHERS = 640
TURN = 4 * 64
"""Requests of the hostile client, at most, between two of others: some turns of it (ingressd.proxy.downstream.TURNS),
as the loop may look more than once before it hands anything out."""

MANY = 20_000
"""Requests of the hostile client, at most."""

HOSTILE = {
    "requests": get("/hostile", host=NOBODY),
    "requests behind empty lines": b"\r\n\r\n" + get("/hostile", host=NOBODY),
    "requests with bodies": request("POST", "/hostile", host=NOBODY, body=b"x"),
    "requests by refused methods": request("TRACE", "/hostile", host=NOBODY),
    "requests in TLS records of their own": get("/hostile", host=NOBODY),
}


@pytest_asyncio.fixture
async def worker() -> AsyncIterator[Worker]:
    certificate = Authority().issue("a.example").model("web")
    async with Worker(secured(Snapshot(), certificate), settings()) as worker:
        yield worker


@contextlib.contextmanager
def stopped(worker: Worker) -> Iterator[None]:
    os.kill(worker.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(worker.pid, signal.SIGCONT)


def arrived(sock: socket.socket) -> bool:
    """Whether the other kernel has all that was sent (tcp(7), SIOCOUTQ)."""
    return int.from_bytes(fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4)), sys.byteorder) == 0


@contextlib.asynccontextmanager
async def hostile(worker: Worker, kind: str) -> AsyncIterator[tuple[socket.socket, bytes]]:
    """A connection that is accepted, and what is sent on it."""
    first, unit = get("/first", host=NOBODY), HOSTILE[kind]
    if "TLS" in kind:
        client = await asyncio.to_thread(Raw, worker.tls_port)
        with client.sock:
            await asyncio.to_thread(client.shake)
            client.tls.write(first)
            client.sock.sendall(client.outgoing.read())
            assert await asyncio.to_thread(client.read, b"\r\n\r\n")
            for _ in range(MANY):
                client.tls.write(unit)
            client.sock.setblocking(False)
            yield client.sock, client.outgoing.read()
    else:
        async with Client(worker.port) as plain:
            await plain.ask(first)
            yield plain.socket, unit * MANY


@pytest.mark.alone
@pytest.mark.parametrize("kind", HOSTILE)
async def test_others_have_their_turn(worker: Worker, kind: str) -> None:
    async with contextlib.AsyncExitStack() as stack:
        connection, whole = await stack.enter_async_context(hostile(worker, kind))
        await worker.logged(1)
        others = []
        with stopped(worker):
            sent = 0
            with contextlib.suppress(BlockingIOError):
                while sent < len(whole):
                    sent += connection.send(whole[sent:])
            assert sent * MANY // len(whole) > 10 * TURN
            for _ in range(OTHERS):
                client = await stack.enter_async_context(Client(worker.port))
                await client.send(get("/other", host=NOBODY))
                others.append(client)
            await eventually(lambda: all(arrived(client.socket) for client in others), "their requests are there")
        for client in others:
            assert (await client.response()).status == 404
        await eventually(lambda: sum(b"/other" in line for line in worker.log[1:]) == OTHERS, "they are logged")
    runs = [0]
    for line in worker.log[1:]:
        if b"/other" in line:
            runs.append(0)
        else:
            runs[-1] += 1
    assert sum(runs[:-1]) > 0
    assert max(runs[:-1]) <= TURN
