"""Sends WebSocket messages through a proxy and waits for their echo, on many connections at once, for some seconds.

    python websocket_clients.py PORT HOST CONNECTIONS SECONDS

Prints a JSON object: messages that came back, seconds, errors, and microseconds from message to echo.
"""

import asyncio
import json
import sys
import time
from typing import cast

import uvloop
from figures import percentile

MESSAGE = bytes((0x81, 0x80 | 32)) + bytes(4) + b"m" * 32
"""A text frame of 32 bytes with a mask of zeros (RFC 6455 section 5.2)."""
ECHO = bytes((0x81, 32)) + b"m" * 32
OPENING = 30.0
"""Seconds until all handshakes are over."""


class Talk(asyncio.Protocol):
    """One connection: after the handshake, one message at a time."""

    _transport: asyncio.Transport

    def __init__(self, host: str) -> None:
        self._host = host
        self._received = b""
        self._sent = 0.0
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.times: list[float] = []
        self.errors = 0
        self.over = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(
            f"GET /talk HTTP/1.1\r\nHost: {self._host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self.opened.done():
            if self._received.endswith(b"\r\n\r\n"):
                if self._received.startswith(b"HTTP/1.1 101 "):
                    self.opened.set_result(None)
                else:
                    self.opened.set_exception(ConnectionError(f"the proxy answered {self._received[:200]!r}"))
                self._received = b""
        elif len(self._received) >= len(ECHO):
            self.times.append(time.perf_counter() - self._sent)
            self.errors += self._received != ECHO
            self._received = b""
            if not self.over:
                self.say()

    def say(self) -> None:
        self._sent = time.perf_counter()
        self._transport.write(MESSAGE)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.opened.done():
            self.opened.set_exception(ConnectionError("the proxy closed a connection"))
        self.errors += not self.over


async def main() -> None:
    port, host, count, seconds = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
    loop = asyncio.get_running_loop()
    talks = [(await loop.create_connection(lambda: Talk(host), "127.0.0.1", port))[1] for _ in range(count)]
    async with asyncio.timeout(OPENING):
        await asyncio.gather(*(talk.opened for talk in talks))
    started = time.perf_counter()
    for talk in talks:
        talk.say()
    await asyncio.sleep(seconds)
    took = time.perf_counter() - started
    for talk in talks:
        talk.over = True
    times = sorted(each for talk in talks for each in talk.times)
    figures = {
        "requests": len(times),
        "seconds": took,
        "errors": sum(talk.errors for talk in talks),
        **{name: percentile(times, share) * 1e6 for name, share in (("p50", 0.5), ("p99", 0.99), ("p999", 0.999))},
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    uvloop.run(main())
