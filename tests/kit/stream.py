"""A connected socket that sends any bytes and reads HTTP messages strictly; for both ends of the proxy."""

import asyncio
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self, TypeVar

T = TypeVar("T")

DEADLINE = 30.0
"""Seconds after which a test that still waits has failed. Long, because the machine may be busy; nothing waits for it
to pass."""

POLL = 0.01
"""Seconds between two looks at what gives no notice (files in /proc, a process's end)."""

NO_BODY = frozenset((204, 304))


class Closed(ConnectionError):
    """The peer ended the connection where more was expected. `got` is what had come by then and was not read yet."""

    def __init__(self, got: bytes, how: str) -> None:
        super().__init__(f"{how} after {got!r}")
        self.got = got


async def eventually(
    condition: Callable[[], T],
    what: str = "the condition",
    within: float = DEADLINE,
    explain: Callable[[], str] = str,
) -> T:
    """Waits until `condition()` is true (or has a true value, which is returned). Raises AssertionError naming `what`
    after `within` seconds, with what `explain` has to say."""
    loop = asyncio.get_running_loop()
    end = loop.time() + within
    while not (value := condition()):
        if loop.time() > end:
            raise AssertionError(f"after {within:g} s still not true: {what}; last value {value!r}\n{explain()}")
        await asyncio.sleep(POLL)
    return value


async def pause(seconds: float) -> None:
    """Lets time pass, where a slow peer is what is tested; never to wait for what should have happened."""
    await asyncio.sleep(seconds)


@dataclass
class Message:
    """A request or a response as it came over the wire. `line` is its first line without CRLF, `fields` are whole field
    lines without CRLF, `body` is decoded, `raw` is all of it byte for byte, `chunks` are the sizes of its chunks."""

    line: bytes
    fields: list[bytes]
    raw: bytes
    body: bytes = b""
    trailers: list[bytes] = field(default_factory=list)
    chunks: list[int] = field(default_factory=list)

    @property
    def head(self) -> bytes:
        """The bytes up to the empty line, that included."""
        return self.raw[: self.raw.index(b"\r\n\r\n") + 4]

    @property
    def status(self) -> int:
        """Of a response."""
        return int(self.line.split(b" ")[1])

    @property
    def reason_phrase(self) -> bytes:
        """Of a response."""
        return self.line.split(b" ", 2)[2]

    @property
    def method(self) -> bytes:
        """Of a request."""
        return self.line.split(b" ")[0]

    @property
    def target(self) -> bytes:
        """Of a request."""
        return self.line.split(b" ")[1]

    def all(self, name: bytes) -> list[bytes]:
        """The values of all fields of this name (any case)."""
        pairs = [line.split(b":", 1) for line in self.fields]
        return [value.strip(b" \t") for key, value in pairs if key.lower() == name.lower()]

    def get(self, name: bytes) -> bytes | None:
        """The value of the only field of this name; None without one. Raises AssertionError for several."""
        values = self.all(name)
        if len(values) > 1:
            raise AssertionError(f"several {name!r} in {self.raw!r}")
        return values[0] if values else None

    @property
    def names(self) -> list[bytes]:
        """Field names in lower case, in order."""
        return [line.split(b":", 1)[0].lower() for line in self.fields]


class Stream:
    """One end of a TCP connection. Every wait ends with an AssertionError after DEADLINE seconds."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.socket = sock
        self._loop = asyncio.get_running_loop()
        self._buffer = b""
        self._ended = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def address(self) -> tuple[str, int]:
        """Our own address and port."""
        name: tuple[str, int] = self.socket.getsockname()
        return name[0], name[1]

    # --- sending

    async def send(self, data: bytes, within: float = DEADLINE) -> None:
        """Sends all of `data`. Raises ConnectionError if the peer is gone."""
        try:
            async with asyncio.timeout(within):
                await self._loop.sock_sendall(self.socket, data)
        except TimeoutError:
            raise AssertionError(f"the peer did not take {len(data)} bytes within {within:g} s") from None

    async def fill(self, data: bytes, quiet: float = 0.3, limit: int = 256 << 20) -> int:
        """Sends `data` over and over until the peer has taken nothing for `quiet` seconds. Returns how many bytes it
        took; what follows is then stuck behind them, perhaps in the middle of `data`. Raises AssertionError when it
        takes more than `limit`."""
        sent = 0
        while True:
            if sent > limit:
                raise AssertionError(f"the peer took {sent} bytes and still takes more")
            writable = asyncio.Event()
            try:
                sent += self.socket.send(data[sent % len(data) :])
                continue
            except BlockingIOError:
                self._loop.add_writer(self.socket.fileno(), writable.set)
            try:
                async with asyncio.timeout(quiet):
                    await writable.wait()
            except TimeoutError:
                return sent
            finally:
                self._loop.remove_writer(self.socket.fileno())

    def half_close(self) -> None:
        """Sends the end of our stream; the other direction stays open."""
        self.socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Closes both directions. With bytes unread the kernel sends a reset."""
        self.socket.close()

    def reset(self) -> None:
        """Closes with a reset, whatever was sent and not read."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    # --- reading

    async def _more(self, within: float = DEADLINE) -> None:
        """Waits for more bytes. Raises Closed at the end or a reset."""
        if self._ended:
            raise Closed(self._buffer, "end")
        try:
            async with asyncio.timeout(within):
                data = await self._receive()
        except TimeoutError:
            raise AssertionError(f"nothing came within {within:g} s after {self._buffer[-2000:]!r}") from None
        except ConnectionError as error:
            raise Closed(self._buffer, type(error).__name__) from error
        if not data:
            self._ended = True
            raise Closed(self._buffer, "end")
        self._buffer += data

    async def _receive(self) -> bytes:
        """Bytes of the peer; empty at the end of the stream."""
        return await self._loop.sock_recv(self.socket, 1 << 18)

    async def read_some(self) -> bytes:
        """Whatever comes next, at least a byte; empty at the end of the stream."""
        if not self._buffer:
            try:
                await self._more()
            except Closed as closed:
                if closed.__cause__ is not None:
                    raise
                return b""
        data, self._buffer = self._buffer, b""
        return data

    async def read_exactly(self, count: int) -> bytes:
        """Exactly `count` bytes."""
        parts = [self._buffer]
        have = len(self._buffer)
        while have < count:
            self._buffer = b""
            try:
                await self._more()
            except Closed as closed:
                raise Closed(b"".join(parts)[-2000:], "end") from closed
            parts.append(self._buffer)
            have += len(self._buffer)
        data = b"".join(parts)
        self._buffer = data[count:]
        return data[:count]

    async def read_until(self, mark: bytes) -> bytes:
        """Everything up to `mark`, that included."""
        while (at := self._buffer.find(mark)) < 0:
            await self._more()
        data, self._buffer = self._buffer[: at + len(mark)], self._buffer[at + len(mark) :]
        return data

    async def read_to_end(self) -> bytes:
        """Everything up to the end of the stream. Raises Closed on a reset, with what came before it."""
        parts = []
        while data := await self.read_some():
            parts.append(data)
        return b"".join(parts)

    async def ended(self) -> bool:
        """Whether the peer closes without another byte: True for an orderly end, False for a reset. Raises
        AssertionError if bytes come instead."""
        try:
            data = await self.read_some()
        except Closed:
            return False
        if data:
            raise AssertionError(f"bytes instead of the end: {data!r}")
        return True

    def silent(self) -> bool:
        """Whether nothing lies here unread at this moment, and the peer has not closed."""
        if self._buffer:
            return False
        try:
            return not self.socket.recv(1, socket.MSG_PEEK) and False
        except BlockingIOError:
            return True

    # --- messages

    async def message_head(self) -> Message:
        """The next first line and field lines."""
        raw = await self.read_until(b"\r\n\r\n")
        line, *fields = raw[:-4].split(b"\r\n")
        for field_line in fields:
            name, colon, _ = field_line.partition(b":")
            if not colon or not name or name != name.strip() or b"\n" in field_line:
                raise AssertionError(f"malformed field line {field_line!r} in {raw!r}")
        return Message(line, fields, raw)

    async def message_body(self, message: Message, until_close: bool = False) -> Message:
        """Reads the body that the head announces into `message`; without any framing it is empty, or with `until_close`
        everything up to the end."""
        length = message.get(b"content-length")
        coding = message.get(b"transfer-encoding")
        if length is not None and coding is not None:
            raise AssertionError(f"two framings: {message.raw!r}")
        if coding is not None:
            if coding != b"chunked":
                raise AssertionError(f"transfer coding {coding!r}")
            await self._chunked(message)
        elif length is not None:
            message.body = await self.read_exactly(int(length))
            message.raw += message.body
        elif until_close:
            message.body = await self.read_to_end()
            message.raw += message.body
        return message

    async def chunk(self, message: Message) -> bytes:
        """The next chunk of a chunked body, added to `message` too; empty for the last, with the trailers."""
        line = await self.read_until(b"\r\n")
        message.raw += line
        size = int(line, 16)
        if line != b"%x\r\n" % size:
            raise AssertionError(f"chunk size line {line!r}")
        if size:
            data = await self.read_exactly(size + 2)
            if data[-2:] != b"\r\n":
                raise AssertionError(f"chunk of {size} bytes ends in {data[-2:]!r}")
            message.raw += data
            message.body += data[:-2]
            message.chunks.append(size)
            return data[:-2]
        while (line := await self.read_until(b"\r\n")) != b"\r\n":
            message.raw += line
            message.trailers.append(line[:-2])
        message.raw += line
        return b""

    async def _chunked(self, message: Message) -> None:
        while await self.chunk(message):
            pass

    async def response(self, head_only: bool = False) -> Message:
        """The next response, also an interim one (1xx). `head_only`: it answers HEAD. Without framing its body goes on
        to the end of the connection."""
        message = await self.message_head()
        version, _, rest = message.line.partition(b" ")
        if version != b"HTTP/1.1" or not rest[:3].isdigit() or rest[3:4] != b" ":
            raise AssertionError(f"malformed status line {message.line!r}")
        if head_only or message.status < 200 or message.status in NO_BODY:
            return message
        return await self.message_body(message, until_close=True)

    async def request(self) -> Message | None:
        """The next request with its body; None when the peer closes, or resets, in place of another."""
        try:
            message = await self.message_head()
        except Closed as closed:
            if closed.got:
                raise
            return None
        return await self.message_body(message)
