"""An upstream that answers each request with what it received, head and body, and WebSocket messages with themselves.

python echo.py PORT
"""

import asyncio
import re
import sys
from typing import cast

import uvloop

from ingressd.demo.websocket import accept_value

LOOPBACK = "127.0.0.1"


class Echo(asyncio.Protocol):
    """One connection."""

    _transport: asyncio.Transport

    def __init__(self) -> None:
        self._received = b""
        self._websocket = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self._websocket:
            self._messages()
        elif (size := request_size(self._received)) is not None:
            request, self._received = self._received[:size], self._received[size:]
            self._answer(request)

    def _answer(self, request: bytes) -> None:
        key = re.search(rb"\r\nsec-websocket-key: *(\S+)", request, re.IGNORECASE)
        if key is not None:
            self._websocket = True
            accepted = accept_value(key[1].decode())
            fields = f"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accepted}\r\n"
            self._transport.write(f"HTTP/1.1 101 Switching Protocols\r\n{fields}\r\n".encode())
        else:
            head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n"
            self._transport.write(head % len(request) + request)

    def _messages(self) -> None:
        echoed, self._received = unmasked(self._received)
        self._transport.write(echoed)


def request_size(received: bytes) -> int | None:
    """Bytes of the request that comes first; None: not all of it is there."""
    head = received.find(b"\r\n\r\n") + 4
    if head < 4:
        return None
    length = re.search(rb"\r\ncontent-length: *(\d+)", received[:head], re.IGNORECASE)
    if length is None and re.search(rb"\r\ntransfer-encoding:", received[:head], re.IGNORECASE):
        end = received.find(b"0\r\n\r\n", head) + 5
        return end if end > 4 else None
    size = head + (int(length[1]) if length else 0)
    return size if len(received) >= size else None


def unmasked(received: bytes) -> tuple[bytes, bytes]:
    """Whole frames of a client as a server sends them back, and the rest. Frames have less than 126 bytes (RFC 6455,
    section 5.2): first byte, length with the mask bit, 4 bytes of mask, payload."""
    echoed, at = [], 0
    while len(received) >= at + 6 + (length := received[at + 1] & 0x7F if len(received) > at + 1 else 0):
        mask = int.from_bytes((received[at + 2 : at + 6] * (length // 4 + 1))[:length], "big")
        payload = int.from_bytes(received[at + 6 : at + 6 + length], "big") ^ mask
        echoed.append(bytes((received[at], length)) + payload.to_bytes(length, "big"))
        at += 6 + length
    return b"".join(echoed), received[at:]


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(Echo, LOOPBACK, int(sys.argv[1]), backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
