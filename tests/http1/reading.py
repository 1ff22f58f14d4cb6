"""Reads byte streams with the codec as the proxy does, whole and in pieces, and writes down all that it found."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from ingressd.http1 import Body, FramingError, RequestHead, ResponseHead, encode_chunk, encode_last_chunk
from ingressd.http1.body import CHUNKED, LENGTH, NONE, UNTIL_CLOSE

HEAD_ATTRIBUTES = (
    "start",
    "end",
    "minor",
    "content_length",
    "chunked",
    "close",
    "keep_alive",
    "connection_upgrade",
    "persists",
    "upgrade",
)
REQUEST_ATTRIBUTES = (
    *HEAD_ATTRIBUTES,
    "line",
    "method",
    "target",
    "path",
    "path_normal",
    "host",
    "host_replaced",
    "expect_continue",
    "te_trailers",
    "referer",
    "user_agent",
    "authorization",
    "accept",
    "request_id",
    "forwarded_for",
    "has_proto",
    "has_host",
    "has_port",
    "has_scheme",
    "has_x_scheme",
)
RESPONSE_ATTRIBUTES = (*HEAD_ATTRIBUTES, "status")

NEXT_REQUEST = b"GET /next HTTP/1.1\r\nHost: next.example\r\n\r\n"
NEXT_RESPONSE = b"HTTP/1.1 299 Next\r\nContent-Length: 0\r\n\r\n"


class Kind(Enum):
    """Which side a stream comes from, and for responses whether the requests were HEAD."""

    REQUEST = "request"
    RESPONSE = "response"
    RESPONSE_TO_HEAD = "response to HEAD"


@dataclass(frozen=True)
class Message:
    """One whole message: what the codec says of its head, what it forwards, and the body."""

    head: dict[str, object]
    forwarded: bytes
    body: bytes
    trailers: bytes
    end: int
    """Offset in the stream behind the message."""


@dataclass(frozen=True)
class Reading:
    """All messages of a stream, and how it ended: `refusal` is status, reason and detail of the FramingError."""

    messages: tuple[Message, ...]
    refusal: tuple[int, str, str] | None
    unfinished: bool
    """The stream ends inside a message."""
    final: bool
    """The last message ends the use of the connection for messages; what follows it is not looked at."""
    until_close: bool
    """The last message ended with the connection."""

    @property
    def accepted(self) -> bool:
        """Whole messages and nothing else."""
        return bool(self.messages) and self.refusal is None and not self.unfinished

    @property
    def message(self) -> Message:
        """The only one, of a stream that is accepted."""
        assert self.refusal is None, self.refusal
        assert not self.unfinished, "unfinished"
        assert len(self.messages) == 1
        return self.messages[0]

    @property
    def status(self) -> int:
        """What the stream is refused with."""
        assert self.refusal is not None, "accepted"
        return self.refusal[0]


class Reader:
    """Takes a stream in pieces."""

    def __init__(self, kind: Kind, trusted: bool = False) -> None:
        self._kind = kind
        self._trusted = trusted
        self._buffer = b""
        self._position = 0
        self._head: RequestHead | ResponseHead | None = None
        self._body: Body | None = None
        self._payload: list[bytes] = []
        self._messages: list[Message] = []
        self._refusal: tuple[int, str, str] | None = None
        self._final = False

    def feed(self, piece: bytes) -> None:
        """Reads as many messages as there are now."""
        self._buffer += piece
        try:
            while self._refusal is None and not self._final and self._position < len(self._buffer):
                if self._body is None and not self._read_head():
                    return
                self._read_body()
        except FramingError as error:
            self._refusal = (error.status, error.reason, error.detail)

    def finish(self) -> Reading:
        """The connection was closed."""
        unfinished = until_close = False
        if self._refusal is None:
            until_close = self._body is not None and self._body.framing == UNTIL_CLOSE
            if until_close:
                self._complete()
                self._final = True
            rest = b"" if self._final else self._buffer[self._position :]
            if self._kind is Kind.REQUEST:
                rest = rest.lstrip(b"\r\n")
            unfinished = bool(rest) or self._body is not None
        return Reading(tuple(self._messages), self._refusal, unfinished, self._final, until_close)

    def _read_head(self) -> bool:
        if self._head is None:
            self._head = RequestHead(self._trusted) if self._kind is Kind.REQUEST else ResponseHead()
        end = self._head.feed(self._buffer, self._position)
        if end < 0:
            return False
        self._position = end
        self._body = Body(*self._framing(self._head))
        return True

    def _framing(self, head: RequestHead | ResponseHead) -> tuple[int, int]:
        if isinstance(head, ResponseHead) and (
            self._kind is Kind.RESPONSE_TO_HEAD or head.status < 200 or head.status in (204, 304)
        ):
            return NONE, 0
        if head.chunked:
            return CHUNKED, 0
        if head.content_length >= 0:
            return LENGTH, head.content_length
        return (NONE if isinstance(head, RequestHead) else UNTIL_CLOSE), 0

    def _read_body(self) -> None:
        assert self._body is not None
        self._position = self._body.feed(self._buffer, self._position, self._payload)
        if self._body.done:
            self._complete()

    def _complete(self) -> None:
        head, body = self._head, self._body
        assert head is not None
        assert body is not None
        names = REQUEST_ATTRIBUTES if isinstance(head, RequestHead) else RESPONSE_ATTRIBUTES
        content = b"".join(self._payload)
        self._messages.append(
            Message(
                {name: head.persists() if name == "persists" else getattr(head, name) for name in names},
                head.forward(b""),
                content,
                body.trailers,
                self._position,
            )
        )
        if isinstance(head, RequestHead):
            self._final = not head.persists() or head.method == b"CONNECT" or bool(head.upgrade)
        else:
            self._final = head.status == 101 or (head.status >= 200 and not head.persists())
        self._head = self._body = None
        self._payload = []


def read_pieces(pieces: Iterable[bytes], kind: Kind = Kind.REQUEST, trusted: bool = False) -> Reading:
    """What a stream holds that comes in these pieces and is then closed."""
    reader = Reader(kind, trusted)
    for piece in pieces:
        reader.feed(piece)
    return reader.finish()


def read(data: bytes, kind: Kind = Kind.REQUEST, trusted: bool = False) -> Reading:
    """What a stream holds that comes as one piece."""
    return read_pieces((data,), kind, trusted)


def read_every_way(
    data: bytes, kind: Kind = Kind.REQUEST, trusted: bool = False, splits: Iterable[int] | None = None
) -> Reading:
    """As `read`, and asserts that it makes no difference whether the stream comes byte by byte, in two pieces (cut
    anywhere, or only at `splits`), or with another message behind it."""
    reading = read(data, kind, trusted)
    assert read_pieces((data[i : i + 1] for i in range(len(data))), kind, trusted) == reading
    for cut in splits if splits is not None else range(1, len(data)):
        assert read_pieces((data[:cut], data[cut:]), kind, trusted) == reading, cut
    following = NEXT_REQUEST if kind is Kind.REQUEST else NEXT_RESPONSE
    longer = read(data + following, kind, trusted)
    if reading.refusal is not None or (reading.final and not reading.until_close):
        assert longer == reading
    elif reading.accepted and not reading.final:
        assert longer.messages[:-1] == reading.messages
        assert longer.messages[-1].end == len(data) + len(following)
        assert longer.accepted
    return reading


def request_bytes(*fields: bytes, line: bytes = b"GET / HTTP/1.1", host: bytes | None = b"a.example") -> bytes:
    """A request head with these field lines behind Host."""
    lines = [line, *([b"Host: " + host] if host is not None else []), *fields]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def response_bytes(*fields: bytes, line: bytes = b"HTTP/1.1 200 OK") -> bytes:
    """A response head with these field lines."""
    return b"\r\n".join((line, *fields)) + b"\r\n\r\n"


def chunked_bytes(*chunks: bytes, trailers: bytes = b"") -> bytes:
    """A chunked body."""
    return b"".join(encode_chunk([chunk]) for chunk in chunks) + encode_last_chunk(trailers)


def field_lines(forwarded: bytes) -> list[bytes]:
    """The field lines of a forwarded head."""
    head, separator, rest = forwarded.partition(b"\r\n\r\n")
    assert separator
    assert not rest
    return head.split(b"\r\n")[1:]
