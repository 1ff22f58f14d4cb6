"""Clients that ask without end, and judge every answer.

Five kinds: connections that are kept, a new connection for each request, uploads, tunnels (WebSocket) and responses
that take their time; all of them also over TLS, where new connections begin with a full handshake, or resume a session
(TLS 1.2 and 1.3). A request is lost if it fails, is cut, or has a wrong answer; so is a handshake that fails, or that
shows a certificate of another host. No client tries again.
"""

import asyncio
import contextlib
import hashlib
import itertools
import math
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import NamedTuple

from ingressd.aio import spawn
from tests.chaos.secure import Https, SecureClient
from tests.kit import Client, Message, eventually, get, request

BODY = b"u" * 100_000
SHA = hashlib.sha1(BODY).hexdigest().encode()
PIECES = 15
PAUSE = 0.02
"""Seconds between two requests of a client: the load is to be steady, not the most that is possible."""

HANDSHAKES = ("https-new", "https-resumed", "https-resumed-1.2")
"""Kinds of clients that open a TLS connection for each request."""

_ids = itertools.count(1)

Connect = Callable[[], AbstractAsyncContextManager[Client]]
"""Opens a connection, for a block."""


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


class Handshake(NamedTuple):
    """One that was done. `certificate` is a serial number."""

    begun: float
    certificate: int
    resumed: bool


class Kind(NamedTuple):
    """`number` clients that do the same, one connection each at a time."""

    name: str
    number: int
    client: Callable[[str, Connect], Awaitable[None]]
    connect: Connect


class Traffic:
    """The clients of one host: those of the kinds `only`, or all; over TLS, too, if `https` says where. `tolerated` are
    statuses that are answers, too, in a test that breaks things."""

    def __init__(
        self,
        port: Callable[[], int],
        host: str,
        https: Https | None = None,
        tolerated: tuple[int, ...] = (),
        only: tuple[str, ...] = (),
    ) -> None:
        self.done: list[Done] = []
        self.lost: list[Lost] = []
        self.handshakes: list[Handshake] = []
        self._port = port
        self._host = host
        self._https = https
        self._tolerated = tolerated
        self._ending = False
        self._clock = asyncio.get_running_loop().time
        self._kinds = [kind for kind in self._all_kinds() if not only or kind.name in only]

    # --- what has happened

    @property
    def requests(self) -> int:
        return len(self.done) + len(self.lost)

    @property
    def clients(self) -> int:
        """So many connections are open at most."""
        return sum(kind.number for kind in self._kinds)

    @property
    def resumed(self) -> int:
        """Handshakes that resumed a session."""
        return sum(each.resumed for each in self.handshakes)

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
        kinds = {kind.name for kind in self._kinds}
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

    def _all_kinds(self) -> list[Kind]:
        plain = [
            Kind("kept", 3, self._kept, self._plain),
            Kind("new", 2, self._new, self._plain),
            Kind("upload", 2, self._upload, self._plain),
            Kind("tunnel", 2, self._tunnel, self._plain),
            Kind("slow", 2, self._slow, self._plain),
        ]
        if self._https is None:
            return plain
        full = self._over_tls(self._https)
        return [
            *plain,
            Kind("https-kept", 2, self._kept, full),
            Kind("https-new", 1, self._new, full),
            Kind("https-resumed", 1, self._new, self._over_tls(self._https, resume=True)),
            Kind("https-resumed-1.2", 1, self._new, self._over_tls(self._https, ssl.TLSVersion.TLSv1_2, resume=True)),
            Kind("https-upload", 1, self._upload, full),
            Kind("https-tunnel", 1, self._tunnel, full),
            Kind("https-slow", 1, self._slow, full),
        ]

    async def run(self) -> None:
        """All clients, until the end."""
        async with asyncio.TaskGroup() as group:
            for kind in self._kinds:
                for _ in range(kind.number):
                    group.create_task(self._client(kind))

    async def _client(self, kind: Kind) -> None:
        while not self._ending:
            try:
                await kind.client(kind.name, kind.connect)
            except (OSError, AssertionError) as error:
                self.lost.append(Lost(kind.name, self._clock(), f"{type(error).__name__}: {str(error)[:300]}"))
                await asyncio.sleep(PAUSE)

    @asynccontextmanager
    async def _plain(self) -> AsyncIterator[Client]:
        async with Client(self._port()) as client:
            yield client

    def _over_tls(
        self, https: Https, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3, resume: bool = False
    ) -> Connect:
        """`resume`: each connection resumes the session of the one before."""
        context = https.context(version)
        session: ssl.SSLSession | None = None

        @asynccontextmanager
        async def connect() -> AsyncIterator[Client]:
            nonlocal session
            begun = self._clock()
            async with SecureClient(https.port(), context, self._host, session) as client:
                self.handshakes.append(Handshake(begun, client.certificate, bool(client.tls.session_reused)))
                yield client
                if resume:
                    session = client.tls.session

        return connect

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

    async def _kept(self, kind: str, connect: Connect) -> None:
        async with connect() as client:
            while await self._ask(kind, client, get("/", host=self._host), lambda found: bool(found.body)):
                if self._ending:
                    return
                await asyncio.sleep(PAUSE)

    async def _new(self, kind: str, connect: Connect) -> None:
        async with connect() as client:
            await self._ask(kind, client, get("/", host=self._host), lambda found: bool(found.body))
        await asyncio.sleep(PAUSE)

    async def _upload(self, kind: str, connect: Connect) -> None:
        async with connect() as client:
            number = f"X-Test-Id: {next(_ids)}"
            data = request("POST", "/", number, host=self._host, body=BODY)
            while await self._ask(kind, client, data, lambda found: found.body.endswith(SHA)):
                if self._ending:
                    return
                await asyncio.sleep(PAUSE)
                data = request("POST", "/", f"X-Test-Id: {next(_ids)}", host=self._host, body=BODY)

    async def _slow(self, kind: str, connect: Connect) -> None:
        async with connect() as client:
            data = get(f"/drip/{PIECES}", host=self._host)
            while await self._ask(kind, client, data, lambda found: found.body == b"drip" * PIECES):
                if self._ending:
                    return

    async def _tunnel(self, kind: str, connect: Connect) -> None:
        """One that lasts for 20 messages; a message is a request."""
        async with connect() as client:
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
    port: Callable[[], int],
    host: str,
    https: Https | None = None,
    tolerated: tuple[int, ...] = (),
    only: tuple[str, ...] = (),
) -> AsyncIterator[Traffic]:
    """Traffic within the block; requests under way at its end are finished."""
    traffic = Traffic(port, host, https, tolerated, only)
    task = spawn(traffic.run(), f"clients of {host}")
    try:
        yield traffic
        traffic.end()
        async with asyncio.timeout(30):
            await task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
