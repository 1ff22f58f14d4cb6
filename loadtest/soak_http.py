"""As much of HTTP/1.1 as both ends of a soak test need: heads and bodies, from streams of asyncio."""

import asyncio
from collections.abc import Mapping

LARGE = 1 << 20
"""Bytes of the largest bodies."""
CONTENT = bytes(range(251)) * (LARGE // 251 + 1)
"""What bodies of responses are the beginning of. 251 is a prime: a piece in the wrong place shows."""
PIECE = 1 << 16


async def read_head(reader: asyncio.StreamReader) -> tuple[str, dict[str, str]]:
    """First line, and fields by their names in lower case. Raises IncompleteReadError."""
    line, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    fields = (text.partition(":") for text in lines if text)
    return line, {name.lower(): value.strip() for name, _, value in fields}


async def read_body(reader: asyncio.StreamReader, fields: Mapping[str, str], pause: float = 0.0) -> bytes:
    """The body of a message with these fields; `pause` seconds are slept before each read. Raises IncompleteReadError
    if it is cut, ValueError if a chunk is none."""
    if fields.get("transfer-encoding") != "chunked":
        return await _exactly(reader, int(fields.get("content-length", "0")), pause)
    received = bytearray()
    while size := int((await reader.readuntil(b"\r\n")).strip(), 16):
        received += await _exactly(reader, size, pause)
        await _line_end(reader)
    await _line_end(reader)
    return bytes(received)


async def _exactly(reader: asyncio.StreamReader, length: int, pause: float) -> bytes:
    received = bytearray()
    while len(received) < length:
        await asyncio.sleep(pause)
        data = await reader.read(min(length - len(received), PIECE))
        if not data:
            raise asyncio.IncompleteReadError(bytes(received), length)
        received += data
    return bytes(received)


async def _line_end(reader: asyncio.StreamReader) -> None:
    if await reader.readexactly(2) != b"\r\n":
        raise ValueError("a chunk does not end where it says")


def chunk(data: bytes) -> bytes:
    """A chunk; the last one if there is no data."""
    return b"%x\r\n%b\r\n" % (len(data), data)
