"""The client's side of a TLS connection: to an endpoint."""

import asyncio
import ipaddress
import ssl
from typing import TYPE_CHECKING, cast

from ingressd.model import UpstreamTls
from ingressd.proxy.responses import UPSTREAM_CERTIFICATE, UPSTREAM_TLS
from ingressd.proxy.tls import TlsTransport

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ingressd.proxy.upstream import Upstream


class TlsFailed(OSError):
    """No TLS connection could be made; `reason` is one of `responses`. `ours`: what we were told to do cannot be done,
    which says nothing of the endpoint."""

    def __init__(self, reason: str, detail: str, ours: bool = False) -> None:
        super().__init__(detail)
        self.reason = reason
        self.ours = ours


class TlsClient(TlsTransport):
    """Made for a TCP connection that stands. `ready` is done when the handshake is, and then `upstream` has begun; or
    has a TlsFailed."""

    def __init__(self, context: ssl.SSLContext, policy: UpstreamTls, upstream: "Upstream") -> None:
        loop = asyncio.get_running_loop()
        super().__init__(loop)
        self.ready: asyncio.Future[None] = loop.create_future()
        self._policy = policy
        self._upstream = upstream
        try:
            self.begin(context, False, policy.name if policy.send_name else None)
        except ValueError as error:
            raise TlsFailed(UPSTREAM_TLS, str(error), ours=True) from error

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.handshake(b"")

    def handshake_done(self) -> None:
        if self.connection is None or self.ready.done():
            self.abort()
            return
        if self._policy.verify and not is_for(self.connection.getpeercert() or {}, self._policy.name):
            self.ready.set_exception(TlsFailed(UPSTREAM_CERTIFICATE, f"the certificate is not for {self._policy.name}"))
            self.abort()
            return
        self.app = cast(asyncio.Protocol, self._upstream)
        self._upstream.connection_made(cast(asyncio.BaseTransport, self))
        self.ready.set_result(None)

    def handshake_failed(self, error: Exception) -> None:
        if not self.ready.done():
            if isinstance(error, ssl.SSLCertVerificationError):
                self.ready.set_exception(TlsFailed(UPSTREAM_CERTIFICATE, error.verify_message))
            else:
                self.ready.set_exception(TlsFailed(UPSTREAM_TLS, str(error)))
        self.abort()

    def truncated(self) -> None:
        # What has no other end than that of the connection is not whole (RFC 9112 section 9.8).
        self.lose(ConnectionAbortedError("no close_notify"))
        self.abort()


def is_for(certificate: "Mapping[str, object]", name: str) -> bool:
    """Whether a verified certificate (as `getpeercert` gives it) is for `name`, a DNS name or an IP address: RFC 9525;
    the common name counts where there are no alternative names, as with nginx. A wildcard is a whole first label."""
    alternatives = cast("tuple[tuple[str, str], ...]", certificate.get("subjectAltName", ()))
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        pass
    else:
        return any(kind == "IP Address" and _same(address, value) for kind, value in alternatives)
    names = [value for kind, value in alternatives if kind == "DNS"]
    if not names:
        subject = cast("tuple[tuple[tuple[str, str], ...], ...]", certificate.get("subject", ()))
        names = [value for parts in subject for kind, value in parts if kind == "commonName"]
    return any(_matches(pattern.lower().rstrip("."), name.lower().rstrip(".")) for pattern in names)


def _same(address: ipaddress.IPv4Address | ipaddress.IPv6Address, text: str) -> bool:
    try:
        return ipaddress.ip_address(text.strip()) == address
    except ValueError:
        return False


def _matches(pattern: str, name: str) -> bool:
    if not pattern.startswith("*."):
        return pattern == name
    label, dot, rest = name.partition(".")
    return bool(label and dot) and rest == pattern[2:] and "." in rest
