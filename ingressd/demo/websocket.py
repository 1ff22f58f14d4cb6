"""As much of the WebSocket protocol (RFC 6455) as it takes to greet a client and to echo what it says."""

import asyncio
import base64
import hashlib

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_TEXT, _CLOSE, _PING, _PONG = 0x81, 0x88, 0x89, 0x8A
"""First bytes of frames: the opcode, and that the frame is final."""
_RESERVED = 0x70
_MASKED = 0x80

MAX_FRAME = 1 << 20
"""Bytes of one frame; a client that sends more is cut off."""


def accept_value(key: str) -> str:
    """What Sec-WebSocket-Accept has to be for a Sec-WebSocket-Key (section 4.2.2)."""
    return base64.b64encode(hashlib.sha1(key.encode() + _GUID).digest()).decode()


def frame(first: int, payload: bytes) -> bytes:
    """A frame with this first byte as servers send it, without mask (section 5.2)."""
    length = len(payload)
    head = bytes((first,))
    if length < 126:
        return head + bytes((length,)) + payload
    if length < 1 << 16:
        return head + b"\x7e" + length.to_bytes(2, "big") + payload
    return head + b"\x7f" + length.to_bytes(8, "big") + payload


async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, key: str, greeting: str) -> None:
    """Answers the handshake, sends `greeting`, and echoes until the client closes."""
    writer.write(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        + f"Sec-WebSocket-Accept: {accept_value(key)}\r\n\r\n".encode()
    )
    writer.write(frame(_TEXT, f"{greeting}\n".encode()))
    while True:
        await writer.drain()
        first, payload = await _read(reader)
        if first == _CLOSE:
            writer.write(frame(_CLOSE, payload[:2]))
            await writer.drain()
            return
        if first != _PONG:
            writer.write(frame(_PONG if first == _PING else first, payload))


async def _read(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """First byte and unmasked payload of the next frame; of fragments each for itself."""
    first, second = await reader.readexactly(2)
    length = second & ~_MASKED
    if length >= 126:
        length = int.from_bytes(await reader.readexactly(2 if length == 126 else 8), "big")
    if length > MAX_FRAME or not second & _MASKED:
        return _CLOSE, b""
    mask = await reader.readexactly(4)
    payload = await reader.readexactly(length)
    # As one large number: byte by byte takes a hundred times as long.
    masks = (mask * (length // 4 + 1))[:length]
    plain = int.from_bytes(payload, "big") ^ int.from_bytes(masks, "big")
    return first & ~_RESERVED, plain.to_bytes(length, "big")
