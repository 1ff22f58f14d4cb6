"""From HTTP to HTTPS, and how clients are kept there: redirects, and Strict-Transport-Security (RFC 6797)."""

from ingressd.http1.head import RequestHead, ResponseHead
from ingressd.model import HttpsRedirect, TlsSettings

HSTS = b"strict-transport-security"
HTTPS_PORT = 443


def hsts_line(settings: TlsSettings) -> bytes:
    """The field line for responses over TLS; empty for none."""
    return b"Strict-Transport-Security: %b\r\n" % settings.hsts.encode("latin-1") if settings.hsts else b""


def drop_hsts(head: ResponseHead) -> None:
    """Leaves out what an upstream says, which does not know how it is reached."""
    if HSTS in b"".join(head.kept).lower():
        head.drop(frozenset((HSTS,)))


def told_https(head: RequestHead) -> bool:
    """Whether a trusted proxy in front says that the client came to it by https."""
    if not (head.trusted and head.has_proto):
        return False
    proto = head.get(b"x-forwarded-proto") or b""
    return proto.partition(b",")[0].strip(b" \t").lower() in (b"https", b"wss")


def location(redirect: HttpsRedirect, host: bytes, target: bytes) -> bytes:
    """The URL of the same by https. `host` is the authority as the client wrote it, whose port is left out; `target`
    that of the request, byte for byte."""
    end = host.find(b"]") + 1 if host.startswith(b"[") else host.find(b":")
    bare = host[:end] if end > 0 else host
    port = b"" if redirect.port == HTTPS_PORT else b":%d" % redirect.port
    if not target.startswith(b"/"):
        target = b""  # OPTIONS *
    if redirect.strip_slash and target.endswith(b"/"):
        target = target[:-1]
    return b"https://%b%b%b" % (bare, port, target)
