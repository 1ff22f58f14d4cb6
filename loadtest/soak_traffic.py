"""The clients of a soak test: what each kind does again and again, how often it was done, and what failed.

Each kind is a coroutine that makes one visit, alone or one after the other on a connection. A visit that ends with an
exception counts as failed; none may.
"""

import asyncio
import contextlib
import random
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable, Collection

from soak_client import Connection, Failed, head, random_bytes, resumed
from soak_http import CONTENT, LARGE
from soak_world import HOST, SECURE, World

from ingressd.aio import spawn

FAILURES_KEPT = 20
"""Of which the text is kept; all are counted."""


class Traffic:
    """All clients, from `start` to `stop`. `done` counts visits by kind, `failures` too."""

    def __init__(self, port: int, https_port: int, world: World) -> None:
        self.done: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self.reasons: list[str] = []
        self._port = port
        self._https_port = https_port
        self._world = world
        # Made once: each is large.
        self._tls = [world.authority.client(version) for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)]
        self._stopping = asyncio.Event()
        self._clients: list[asyncio.Task[None]] = []

    def start(self) -> None:
        for kind, (count, visit, pause) in self._plan().items():
            self._clients += [spawn(self._again(kind, visit, pause), kind) for _ in range(count)]

    def kinds(self) -> Collection[str]:
        """The names under which visits are counted."""
        return self._plan().keys()

    def _plan(self) -> dict[str, tuple[int, Callable[[], Awaitable[None]], float]]:
        """By kind: how many clients, what they do, and the seconds of pause between two visits at most."""
        return {
            "stayer": (8, self._stay, 0.1),
            "newcomer": (4, self._come, 0.1),
            "uploader": (3, self._upload, 0.2),
            "downloader": (3, self._download, 0.2),
            "websocket": (6, self._talk, 0.5),
            "slow sender": (3, self._send_slowly, 0.2),
            "slow reader": (3, self._read_slowly, 0.2),
            "idler": (4, self._idle, 0.2),
            "leaver": (3, self._leave, 0.2),
            "secure stayer": (3, self._stay_secure, 0.2),
            "secure newcomer": (2, self._come_secure, 0.2),
            "secure returner": (2, self._return, 0.5),
        }

    async def stop(self) -> None:
        """Each client finishes what it is at."""
        self._stopping.set()
        await asyncio.gather(*self._clients)

    def abandon(self) -> None:
        """Ends all clients in the middle of what they do."""
        for client in self._clients:
            client.cancel()

    async def _again(self, kind: str, visit: Callable[[], Awaitable[None]], pause: float) -> None:
        while not self._stopping.is_set():
            try:
                await visit()
                self.done[kind] += 1
            except (Failed, OSError, EOFError, ValueError, KeyError, asyncio.LimitOverrunError) as error:
                self.failures[kind] += 1
                if len(self.reasons) < FAILURES_KEPT:
                    self.reasons.append(f"{kind}: {type(error).__name__}: {error}")
            await self._pause(pause)

    async def _pause(self, seconds: float) -> None:
        """Up to so many seconds, and no longer than until the end."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(random.uniform(0.0, seconds)):
                await self._stopping.wait()

    def _connection(self, receive_buffer: int = 0) -> Connection:
        return Connection(self._port, receive_buffer)

    def _secure(self, host: str) -> Connection:
        return Connection(self._https_port, 0, random.choice(self._tls), host)

    def _host(self) -> str:
        """Sometimes one that is there for some seconds only."""
        return random.choice((HOST, *self._world.hosts))

    async def _small(self, connection: Connection) -> None:
        if random.random() < 0.2:
            path = f"/v/{self._world.version}"
            if (await connection.ask("GET", HOST, path)) != path.encode():
                raise Failed(f"not the answer to {path}")
        else:
            await self._get(connection, self._host(), random.randrange(4000))

    async def _get(self, connection: Connection, host: str, size: int) -> None:
        _check(size, (await connection.ask("GET", host, f"/bytes/{size}")))

    async def _post(self, connection: Connection, host: str) -> None:
        body = random_bytes(LARGE)
        received = await connection.ask("POST", host, "/", body, chunked=random.random() < 0.5)
        if received != str(len(body)).encode():
            raise Failed(f"{received!r} of {len(body)} bytes arrived")

    async def _stay(self) -> None:
        """Many requests on a connection."""
        async with self._connection() as connection:
            for _ in range(random.randint(1, 200)):
                await self._small(connection)
                self.done["request of stayer"] += 1
                await self._pause(0.05)
                if self._stopping.is_set():
                    return

    async def _come(self) -> None:
        """A connection for one request."""
        async with self._connection() as connection:
            await self._small(connection)

    async def _stay_secure(self) -> None:
        """Many requests on a connection, during which the certificate changes; large bodies among them."""
        async with self._secure(HOST) as connection:
            for _ in range(random.randint(1, 100)):
                match random.randrange(10):
                    case 0:
                        await self._get(connection, HOST, random.randrange(LARGE))
                    case 1:
                        await self._post(connection, HOST)
                    case _:
                        await self._get(connection, HOST, random.randrange(4000))
                self.done["request of secure stayer"] += 1
                await self._pause(0.1)
                if self._stopping.is_set():
                    return

    async def _come_secure(self) -> None:
        """A full handshake for one request."""
        async with self._secure(HOST) as connection:
            await self._get(connection, HOST, random.randrange(4000))

    async def _return(self) -> None:
        """A session that is resumed, whichever worker it comes to."""
        await asyncio.to_thread(resumed, self._https_port, random.choice(self._tls), SECURE, random.randint(1, 5))

    async def _upload(self) -> None:
        async with self._connection() as connection:
            for _ in range(random.randint(1, 5)):
                await self._post(connection, self._host())

    async def _download(self) -> None:
        async with self._connection() as connection:
            for _ in range(random.randint(1, 5)):
                await self._get(connection, HOST, random.randrange(LARGE))

    async def _talk(self) -> None:
        """A WebSocket for up to five seconds, which ends in order or by a reset."""
        async with self._connection() as connection:
            await connection.upgrade(HOST)
            for _ in range(random.randint(1, 25)):
                await connection.echo(random_bytes(random.choice((100, 1000, 100_000))))
                self.done["message of websocket"] += 1
                await self._pause(0.4)
                if self._stopping.is_set():
                    break
            if random.random() < 0.5:
                await connection.close_websocket()
            else:
                connection.reset()

    async def _send_slowly(self) -> None:
        """Head and body in pieces; the pauses add up to a second or two."""
        async with self._connection() as connection:
            await connection.send_slowly(head("POST", HOST, "/", "Content-Length: 5000"), 10, 0.1)
            await connection.send_slowly(bytes(5000), 10, 0.1)
            if (await connection.response()) != b"5000":
                raise Failed("not all of 5000 bytes arrived")

    async def _read_slowly(self) -> None:
        """A response that comes slowly, or one that is read slowly."""
        async with self._connection(receive_buffer=8192) as connection:
            slow = random.random() < 0.5
            size = 20_000 if slow else 400_000
            await connection.send(head("GET", HOST, f"/{'slow' if slow else 'bytes'}/{size}"))
            _check(size, (await connection.response(pause=0.0 if slow else 0.05)))

    async def _idle(self) -> None:
        """Two requests, and some seconds between them."""
        async with self._connection() as connection:
            await self._small(connection)
            await self._pause(8.0)
            await self._small(connection)

    async def _leave(self) -> None:
        """Goes in the middle of something: of a head, an upload, a download, at the start of a WebSocket."""
        async with self._connection() as connection:
            whole = head("POST", self._host(), "/", "Content-Length: 100000")
            match random.randrange(4):
                case 0:
                    await connection.send(whole[: random.randrange(len(whole))])
                case 1:
                    await connection.send(whole + bytes(random.randrange(100_000)))
                case 2:
                    await connection.send(head("GET", HOST, f"/bytes/{LARGE}"))
                case _:
                    await connection.upgrade(HOST)
            await self._pause(0.5)
            if random.random() < 0.5:
                connection.reset()


def _check(size: int, body: bytes) -> None:
    """Raises Failed unless `body` is what the server sends for this size."""
    if body != CONTENT[:size]:
        raise Failed(f"{len(body)} bytes came for {size}, or others")
