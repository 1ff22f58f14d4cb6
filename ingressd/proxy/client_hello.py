"""The first message of a TLS client, read without any TLS: which server it asks for (RFC 8446 section 4.1.2).

No IO and no state: bytes in, the message or nothing yet out. What is read here only chooses a certificate or a place to
pass the bytes on to; whether the message is a good one in all else is for OpenSSL, or that place, to say. What could be
read in two ways is refused.
"""

from typing import NamedTuple

MAX_HELLO = 16 * 1024
"""Bytes of the message; browsers send 600 to 2,000. OpenSSL takes 128 KiB, nginx's preread 16 KiB."""

MAX_RECORDS = 16
"""Records it may come in. Browsers send one; middleboxes and tests cut it in a few."""

MAX_RECORD = 16 * 1024
"""Bytes of a plaintext record (RFC 8446 section 5.1)."""

MAX_NAME = 255
"""Characters of a name in the DNS (RFC 1035 section 2.3.4)."""

HANDSHAKE = 22
"""Content type of a record, and the first byte of every TLS connection."""

UNEXPECTED_MESSAGE = 10
ILLEGAL_PARAMETER = 47
DECODE_ERROR = 50
INTERNAL_ERROR = 80
UNRECOGNIZED_NAME = 112
NO_APPLICATION_PROTOCOL = 120
"""Alerts (RFC 8446 section 6)."""

_CLIENT_HELLO = 1
_SERVER_NAME = 0
_ALPN = 16
_SESSION_TICKET = 35
_PRE_SHARED_KEY = 41
_TICKET_NAME = 16
_RECORD_HEADER = 5
_MESSAGE_HEADER = 4
_NAME = b"abcdefghijklmnopqrstuvwxyz0123456789-_.:[]"


class HelloError(Exception):
    """This is no ClientHello; `alert` tells the client why."""

    def __init__(self, detail: str, alert: int = DECODE_ERROR) -> None:
        super().__init__(detail)
        self.alert = alert


class ClientHello(NamedTuple):
    """What is wanted of it. `server_name` is in lower case without a final dot, empty where there is none."""

    server_name: str
    protocols: tuple[bytes, ...]
    """ALPN (RFC 7301), in the client's order."""
    ticket_name: bytes
    """What the session ticket begins with that the client would resume (16 bytes), empty where there is none."""


def alert(description: int) -> bytes:
    """A record with a fatal alert."""
    return bytes((21, 3, 3, 0, 2, 2, description))


def read_client_hello(data: bytes | bytearray) -> ClientHello | None:
    """The ClientHello that `data` begins with; None while there is more to come. Raises HelloError."""
    message = _collect(bytes(data))
    return None if message is None else _parse(message)


def _collect(data: bytes) -> bytes | None:
    """The message, joined from its records."""
    p = data
    whole = len(data) - _RECORD_HEADER
    if (
        _MESSAGE_HEADER < whole <= MAX_HELLO
        and p[0] == HANDSHAKE
        and p[1] == 3
        and p[3] << 8 | p[4] == whole
        and p[5] == _CLIENT_HELLO
        and p[6] << 16 | p[7] << 8 | p[8] == whole - _MESSAGE_HEADER
    ):
        # One record with nothing else, as nearly all send it.
        return data[_RECORD_HEADER:]
    pieces: list[bytes] = []
    length = 0
    wanted = -1
    at = 0
    for _ in range(MAX_RECORDS):
        header = data[at : at + _RECORD_HEADER]
        if header and header[0] != HANDSHAKE:
            raise HelloError("not a TLS handshake", UNEXPECTED_MESSAGE)
        if len(header) > 1 and header[1] != 3:
            raise HelloError("not TLS", UNEXPECTED_MESSAGE)
        if len(header) < _RECORD_HEADER:
            return None
        size = header[3] << 8 | header[4]
        if size == 0 or size > MAX_RECORD:
            raise HelloError("a record of no such size")
        at += _RECORD_HEADER
        piece = data[at : at + size]
        pieces.append(piece)
        length += len(piece)
        if wanted < 0:
            start = b"".join(pieces)
            if start and start[0] != _CLIENT_HELLO:
                raise HelloError("not a ClientHello", UNEXPECTED_MESSAGE)
            if len(start) >= _MESSAGE_HEADER:
                wanted = _MESSAGE_HEADER + int.from_bytes(start[1:4], "big")
                if wanted > MAX_HELLO:
                    raise HelloError("a ClientHello too large", ILLEGAL_PARAMETER)
        if 0 <= wanted <= length:
            if length > wanted:
                # Nothing may follow before the server has answered (early data comes in records of its own).
                raise HelloError("more than a ClientHello", UNEXPECTED_MESSAGE)
            return b"".join(pieces)
        at += size
        if len(piece) < size:
            return None
    raise HelloError("a ClientHello in too many records")


def _parse(message: bytes) -> ClientHello:
    p = message
    end = len(message)
    at = _after(message, _MESSAGE_HEADER + 2 + 32, 1, end)  # behind the version, the random number and the session id
    suites = at
    if at - (_MESSAGE_HEADER + 2 + 32 + 1) > 32:
        raise HelloError("a session id too long")
    at = _after(message, at, 2, end)
    compressions = at
    if at - suites < 4 or (at - suites) & 1:
        raise HelloError("cipher suites of no such length")
    at = _after(message, at, 1, end)
    if at - compressions < 2:
        raise HelloError("no compression methods")
    name = ""
    ticket = b""
    protocols: tuple[bytes, ...] = ()
    if at == end:
        # TLS 1.2 and before: a message without extensions may end here.
        return ClientHello(name, protocols, ticket)
    if _after(message, at, 2, end) != end:
        raise HelloError("something behind the extensions")
    at += 2
    seen = set()
    while at < end:
        body = at + 4
        following = _after(message, at + 2, 2, end)
        kind = p[at] << 8 | p[at + 1]
        if kind in seen:
            raise HelloError("an extension twice", ILLEGAL_PARAMETER)
        seen.add(kind)
        if kind == _SERVER_NAME:
            name = _server_name(message, body, following)
        elif kind == _ALPN:
            protocols = _protocols(message, body, following)
        elif kind == _SESSION_TICKET:
            # RFC 5077 section 3.2; for TLS 1.2. Empty from a client that has none yet.
            ticket = ticket or p[body:following][:_TICKET_NAME]
        elif kind == _PRE_SHARED_KEY:
            # RFC 8446 section 4.2.11: a list of identities, of which only the first is likely to be taken.
            identities = _after(message, body, 2, following)
            first = _after(message, body + 2, 2, identities)
            ticket = p[body + 4 : first][:_TICKET_NAME]
        at = following
    return ClientHello(name, protocols, ticket)


def _after(message: bytes, at: int, size: int, end: int) -> int:
    """Where what follows a vector begins that stands at `at`, with a length of `size` bytes (1 or 2) in front."""
    p = message
    if at + size > end:
        raise HelloError("a field ends behind what holds it")
    after = at + size + (p[at] if size == 1 else p[at] << 8 | p[at + 1])
    if after > end:
        raise HelloError("a field ends behind what holds it")
    return after


def _server_name(message: bytes, at: int, end: int) -> str:
    """RFC 6066 section 3: a list, in which one name is of the only type there is."""
    if _after(message, at, 2, end) != end or at + 2 == end:
        raise HelloError("a malformed server name list")
    at += 2
    if message[at] != 0:
        raise HelloError("a server name of an unknown type", UNRECOGNIZED_NAME)
    if _after(message, at + 1, 2, end) != end:
        raise HelloError("several server names", ILLEGAL_PARAMETER)
    raw = message[at + 3 : end].lower()
    if not raw or len(raw) > MAX_NAME or raw.translate(None, _NAME):
        raise HelloError("a malformed server name", UNRECOGNIZED_NAME)
    return raw.decode("ascii").removesuffix(".")


def _protocols(message: bytes, at: int, end: int) -> tuple[bytes, ...]:
    if _after(message, at, 2, end) != end or at + 2 == end:
        raise HelloError("a malformed list of protocols")
    found = []
    at += 2
    while at < end:
        following = _after(message, at, 1, end)
        if following == at + 1:
            raise HelloError("a protocol without a name")
        found.append(message[at + 1 : following])
        at = following
    return tuple(found)
