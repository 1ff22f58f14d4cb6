"""The PROXY protocol, versions 1 and 2: what a TCP load balancer says of the client before the client speaks
(haproxy.org/download/3.0/doc/proxy-protocol.txt, sections 2.1 and 2.2).

No IO and no state. Whom to believe is decided elsewhere; whoever is believed must send a header.
"""

import ipaddress
from typing import NamedTuple

MAX_V1 = 107
"""Bytes of a line of version 1, its CRLF included."""

MAX_V2 = 4096
"""Bytes of a header of version 2 with all it adds (certificates of clients, names of endpoints)."""

_SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
_V2_FIXED = 16
_IPV4 = 1
_IPV6 = 2


class ProxyHeaderError(Exception):
    """There is no PROXY header where one must be, or it is malformed."""


class Connection(NamedTuple):
    """The connection that the load balancer accepted. Without addresses (`source` is empty) it is the balancer's own,
    or of a kind that has none."""

    length: int
    """Of the header, in bytes."""
    source: str = ""
    source_port: int = 0
    destination: str = ""
    destination_port: int = 0


def read_proxy_header(data: bytes | bytearray) -> Connection | None:
    """The header that `data` begins with; None while there is more to come. Raises ProxyHeaderError."""
    start = bytes(data[: len(_SIGNATURE)])
    if start == _SIGNATURE:
        return _read_v2(bytes(data[: MAX_V2 + 1]))
    if _SIGNATURE.startswith(start):
        return None
    if start.startswith(b"PROXY "[: len(start)]):
        return _read_v1(bytes(data[:MAX_V1]))
    raise ProxyHeaderError("no PROXY header")


def _read_v1(data: bytes) -> Connection | None:
    end = data.find(b"\r\n")
    if end < 0:
        if len(data) == MAX_V1:
            raise ProxyHeaderError("a PROXY line too long")
        return None
    length = end + 2
    words = data[:end].split(b" ")
    if words[1] == b"UNKNOWN":
        return Connection(length)
    if len(words) != 6 or words[1] not in (b"TCP4", b"TCP6"):
        raise ProxyHeaderError("a malformed PROXY line")
    kind = ipaddress.IPv4Address if words[1] == b"TCP4" else ipaddress.IPv6Address
    try:
        source, destination = (_plain(kind(word.decode("ascii"))) for word in words[2:4])
    except ValueError as error:
        raise ProxyHeaderError("a PROXY line with a malformed address") from error
    return Connection(length, source, _port(words[4]), destination, _port(words[5]))


def _plain(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    """As text; an IPv4 address as IPv6 (RFC 4291 section 2.5.5.2) as what it is."""
    if address.version == 4:
        return str(address)
    if address.scope_id is not None:
        raise ValueError("an address with a zone")
    return str(address.ipv4_mapped or address)


def _port(word: bytes) -> int:
    if not word.isdigit() or len(word) > 5 or (word.startswith(b"0") and word != b"0") or int(word) > 65535:
        raise ProxyHeaderError("a PROXY line with a malformed port")
    return int(word)


def _read_v2(data: bytes) -> Connection | None:
    if len(data) < _V2_FIXED:
        return None
    version, command = data[12] >> 4, data[12] & 15
    family, transport = data[13] >> 4, data[13] & 15
    length = _V2_FIXED + int.from_bytes(data[14:16], "big")
    # The balancer's own connection (command 0) is one whatever is said of its family.
    if version != 2 or command > 1 or (command == 1 and (family > 3 or transport > 2)):
        raise ProxyHeaderError("a malformed PROXY header")
    if length > MAX_V2:
        raise ProxyHeaderError("a PROXY header too large")
    if len(data) < length:
        return None
    if command == 0 or transport != 1 or family not in (_IPV4, _IPV6):
        return Connection(length)
    size = 4 if family == _IPV4 else 16
    if length < _V2_FIXED + 2 * size + 4:
        raise ProxyHeaderError("a PROXY header too short for its addresses")
    block = data[_V2_FIXED:]
    source, destination = (_plain(ipaddress.ip_address(block[at : at + size])) for at in (0, size))
    ports = block[2 * size : 2 * size + 4]
    return Connection(length, source, int.from_bytes(ports[:2], "big"), destination, int.from_bytes(ports[2:], "big"))
