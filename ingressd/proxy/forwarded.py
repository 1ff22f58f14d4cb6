"""The fields a proxy adds to a request: who asked, for what, over what (X-Forwarded-* and their kin of ingress-nginx).

One list, the trusted proxies, decides about all of them: what comes from one of those is kept and completed, what comes
from anybody else is replaced. The scanner has already dropped what is replaced.
"""

from collections.abc import Callable

from ingressd import octets
from ingressd.http1.head import RequestHead


def client_fields(address: bytes, scheme: bytes, port: int) -> bytes:
    """The fields that are the same for all requests of a client that is not trusted: rendered once per connection."""
    return octets.join(
        [
            b"X-Real-IP: ",
            address,
            b"\r\nX-Forwarded-For: ",
            address,
            b"\r\nX-Forwarded-Port: ",
            octets.decimal(port),
            b"\r\nX-Forwarded-Proto: ",
            scheme,
            b"\r\nX-Forwarded-Scheme: ",
            scheme,
            b"\r\nX-Scheme: ",
            scheme,
            b"\r\n",
        ]
    )


def untrusted_fields(head: RequestHead, of_client: bytes, request_id: bytes) -> bytes:
    """All added fields of a request from anybody."""
    parts = [b"X-Request-ID: ", request_id, b"\r\nX-Forwarded-Host: ", head.host, b"\r\n", of_client]
    if head.forwarded_for:
        parts += [b"X-Original-Forwarded-For: ", head.forwarded_for, b"\r\n"]
    return octets.join(parts)


def real_address(peer: bytes, forwarded_for: bytes, trusts: Callable[[str], bool]) -> bytes:
    """The client as trusted proxies tell it: the last address of X-Forwarded-For that is not one of theirs."""
    for entry in reversed(forwarded_for.split(b",")):
        address = entry.strip(b" \t").decode("latin-1")
        if not address:
            continue
        if not trusts(address):
            return address.encode("latin-1") if _plausible(address) else peer
        peer = address.encode("latin-1")
    return peer


def _plausible(address: str) -> bool:
    """Whether it can go into the log as an address; proxies write host names, `unknown` and ports there too."""
    return len(address) <= 45 and not address.strip("0123456789abcdefABCDEF.:")


def trusted_fields(head: RequestHead, peer: bytes, real: bytes, scheme: bytes, port: int, request_id: bytes) -> bytes:
    """All added fields of a request from a trusted proxy: its own claims stay, what it left out is added."""
    chain = b"%b, %b" % (head.forwarded_for, peer) if head.forwarded_for else peer
    parts = [b"X-Request-ID: %b\r\nX-Real-IP: %b\r\nX-Forwarded-For: %b\r\n" % (request_id, real, chain)]
    if not head.has_host:
        parts.append(b"X-Forwarded-Host: %b\r\n" % head.host)
    if not head.has_port:
        parts.append(b"X-Forwarded-Port: %d\r\n" % port)
    if not head.has_proto:
        parts.append(b"X-Forwarded-Proto: %b\r\n" % scheme)
    if not head.has_scheme:
        parts.append(b"X-Forwarded-Scheme: %b\r\n" % scheme)
    if not head.has_x_scheme:
        parts.append(b"X-Scheme: %b\r\n" % scheme)
    return b"".join(parts)
