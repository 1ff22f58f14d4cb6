"""Clients that ask without end, and judge every answer.

Five kinds: connections that are kept, a new connection for each request, uploads, tunnels (WebSocket) and responses
that take their time. A request is lost if it fails, is cut, or has a wrong answer; no client tries again.
"""

import asyncio
import contextlib
import hashlib
import itertools
import math
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import NamedTuple

from ingressd.aio import spawn
from tests.kit import Client, Message, eventually, get, request

BODY = b"u" * 100_000
SHA = hashlib.sha1(BODY).hexdigest().encode()
PIECES = 15
PAUSE = 0.02
"""Seconds between two requests of a client: the load is to be steady, not the most that is possible."""

_ids = itertools.count(1)


class Done(NamedTuple):
    """One request that has an answer. Times in seconds of the loop's clock."""

    kind: str
    ended: float
    took: float
    status: int
    pod: str


@dataclass(frozen=True)
class Lost:
    """One that has none, or a wrong one."""

    kind: str
    ended: float
    why: str


class Traffic:
    """The clients of one host. `tolerated` are statuses that are answers, too, in a test that breaks things."""

    def __init__(self, port: Callable[[], int], host: str, tolerated: tuple[int, ...] = ()) -> None:
        self.done: list[Done] = []
        self.lost: list[Lost] = []
        self.opened = 0
        self._port = port
        self._host = host
        self._tolerated = tolerated
        self._ending = False
        self._clock = asyncio.get_running_loop().time

    # --- what has happened

    @property
    def requests(self) -> int:
        return len(self.done) + len(self.lost)

    @property
    def answered(self) -> int:
        """With a status that says what is wrong."""
        return sum(each.status >= 500 for each in self.done)

    def p99(self, begin: float, end: float = math.inf, pod: str = "") -> float:
        """Of the short requests that ended in between."""
        took = sorted(
            each.took
            for each in self.done
            if begin <= each.ended < end and each.kind in ("kept", "new") and (not pod or each.pod == pod)
        )
        assert len(took) >= 20, f"only {len(took)} requests to judge by"
        return took[int(len(took) * 0.99)]

    def slowest(self, begin: float) -> float:
        """Of the short requests since."""
        return max((each.took for each in self.done if each.ended >= begin and each.kind in ("kept", "new")), default=0)

    def none_lost(self, but: int = 0) -> None:
        """Asserts it, but for so many."""
        kinds = Counter(each.kind for each in self.lost)
        assert len(self.lost) <= but, f"{len(self.lost)} of {self.requests} lost: {kinds}, {self.lost[:5]}"

    async def more(self, number: int = 200) -> None:
        """Waits until so many more requests have ended."""
        wanted = self.requests + number
        await eventually(lambda: self.requests >= wanted, f"{number} more requests", within=30)

    async def met(self, pod: str, since: float = 0.0) -> float:
        """Waits until a pod has answered a request that was sent since a time. Gives the seconds that took."""

        def found() -> float:
            ends = (each.ended for each in self.done if each.pod == pod and each.ended - each.took >= since)
            return min(ends, default=0.0)

        return await eventually(found, f"{pod} answers", within=30) - since

    async def every_kind(self) -> None:
        """Waits until a request of every kind has ended since now."""
        now = self._clock()
        kinds = {name for name, *_ in self._kinds()}
        await eventually(
            lambda: {each.kind for each in self.done if each.ended - each.took > now} >= kinds,
            "a request of every kind",
            within=30,
        )

    async def well(self, within: float, number: int = 30, kinds: tuple[str, ...] = ("kept", "new")) -> float:
        """Waits until so many requests of these kinds in a row were answered well. Gives the seconds until the first of
        them."""
        begin = self._clock()

        def found() -> float:
            ends = [(each.ended, each.status < 500) for each in self.done if each.kind in kinds]
            ends += [(each.ended, False) for each in self.lost if each.kind in kinds]
            last = sorted(each for each in ends if each[0] > begin)[-number:]
            return last[0][0] if len(last) == number and all(good for _, good in last) else 0.0

        return await eventually(found, f"{self._host} is served well again", within) - begin

    # --- the clients

    def end(self) -> None:
        """Lets requests under way finish."""
        self._ending = True

    def _kinds(self) -> list[tuple[str, int, Callable[[str], Awaitable[None]]]]:
        return [
            ("kept", 3, self._kept),
            ("new", 2, self._new),
            ("upload", 2, self._upload),
            ("tunnel", 2, self._tunnel),
            ("slow", 2, self._slow),
        ]

    async def run(self, only: tuple[str, ...] = ()) -> None:
        """All clients, until the end."""
        async with asyncio.TaskGroup() as group:
            for name, number, client in self._kinds():
                if not only or name in only:
                    for _ in range(number):
                        group.create_task(self._client(name, client))

    async def _client(self, kind: str, client: Callable[[str], Awaitable[None]]) -> None:
        while not self._ending:
            try:
                await client(kind)
            except (OSError, AssertionError) as error:
                self.lost.append(Lost(kind, self._clock(), f"{type(error).__name__}: {str(error)[:300]}"))
                await asyncio.sleep(PAUSE)

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[Client]:
        async with Client(self._port()) as client:
            self.opened += 1
            yield client

    async def _ask(self, kind: str, client: Client, data: bytes, expected: Callable[[Message], bool]) -> bool:
        """One request. Whether the connection may be used for another."""
        begin = self._clock()
        message = await client.ask(data)
        end = self._clock()
        if message.status in self._tolerated or (message.status == 200 and expected(message)):
            pod = message.body.partition(b" ")[0].decode() if message.status == 200 else ""
            self.done.append(Done(kind, end, end - begin, message.status, pod[:20]))
        else:
            self.lost.append(Lost(kind, end, f"answer: {message.raw[:300]!r}"))
        return message.get(b"connection") != b"close"

    async def _kept(self, kind: str) -> None:
        async with self._connected() as client:
            while await self._ask(kind, client, get("/", host=self._host), lambda found: bool(found.body)):
                if self._ending:
                    return
                await asyncio.sleep(PAUSE)

    async def _new(self, kind: str) -> None:
        async with self._connected() as client:
            await self._ask(kind, client, get("/", host=self._host), lambda found: bool(found.body))
        await asyncio.sleep(PAUSE)

    async def _upload(self, kind: str) -> None:
        async with self._connected() as client:
            number = f"X-Test-Id: {next(_ids)}"
            data = request("POST", "/", number, host=self._host, body=BODY)
            while await self._ask(kind, client, data, lambda found: found.body.endswith(SHA)):
                if self._ending:
                    return
                await asyncio.sleep(PAUSE)
                data = request("POST", "/", f"X-Test-Id: {next(_ids)}", host=self._host, body=BODY)

    async def _slow(self, kind: str) -> None:
        async with self._connected() as client:
            data = get(f"/drip/{PIECES}", host=self._host)
            while await self._ask(kind, client, data, lambda found: found.body == b"drip" * PIECES):
                if self._ending:
                    return

    async def _tunnel(self, kind: str) -> None:
        """One that lasts for 20 messages; a message is a request."""
        async with self._connected() as client:
            await client.send(get("/echo", "Connection: Upgrade", "Upgrade: websocket", host=self._host))
            message = await client.message_head()
            if message.status != 101:
                if message.status in self._tolerated:
                    self.done.append(Done(kind, self._clock(), 0, message.status, ""))
                else:
                    self.lost.append(Lost(kind, self._clock(), f"answer: {message.raw[:300]!r}"))
                await asyncio.sleep(PAUSE)
                return
            for number in range(20):
                begin = self._clock()
                word = b"message %d" % number
                await client.send(word)
                assert await client.read_exactly(len(word)) == word
                self.done.append(Done(kind, self._clock(), self._clock() - begin, 101, ""))
                await asyncio.sleep(PAUSE * 2)


@asynccontextmanager
async def flowing(
    port: Callable[[], int], host: str, tolerated: tuple[int, ...] = (), only: tuple[str, ...] = ()
) -> AsyncIterator[Traffic]:
    """Traffic within the block; requests under way at its end are finished."""
    traffic = Traffic(port, host, tolerated)
    task = spawn(traffic.run(only), f"clients of {host}")
    try:
        yield traffic
        traffic.end()
        async with asyncio.timeout(30):
            await task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
