"""A client over TLS that reads as strictly as the plain one, and knows what it was shown."""

import asyncio
import ssl
from collections.abc import Callable
from typing import NamedTuple

from tests.kit import DEADLINE, Client, Closed


class Https(NamedTuple):
    """Where HTTPS clients go, and whom they trust (PEM)."""

    port: Callable[[], int]
    authority: bytes

    def context(self, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
        """Of a client that speaks this version only, and verifies what it is shown."""
        context = ssl.create_default_context(cadata=self.authority.decode())
        context.minimum_version = context.maximum_version = version
        return context


class SecureClient(Client):
    """A connection over TLS to `name`; its handshake is done on entering its block. `session` is one to resume, of the
    same context. TLS errors are ssl.SSLError; an end without close_notify (RFC 8446 section 6.1) is Closed."""

    def __init__(self, port: int, context: ssl.SSLContext, name: str, session: ssl.SSLSession | None = None) -> None:
        super().__init__(port)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=name, session=session)

    async def __aenter__(self) -> "SecureClient":
        await super().__aenter__()
        try:
            async with asyncio.timeout(DEADLINE):
                await self._shake()
        except TimeoutError:
            self.close()
            raise AssertionError(f"nothing came within {DEADLINE:g} s of a handshake") from None
        except BaseException:
            self.close()
            raise
        return self

    @property
    def certificate(self) -> int:
        """The serial number of the server's; in a resumed session, of the one that was shown when it began."""
        found = self.tls.getpeercert()
        assert found is not None
        return int(str(found["serialNumber"]), 16)

    async def send(self, data: bytes, within: float = DEADLINE) -> None:
        """As Stream.send."""
        self.tls.write(data)
        await super().send(self._outgoing.read(), within)

    async def _shake(self) -> None:
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._loop.sock_sendall(self.socket, self._outgoing.read())
                if not await self._feed():
                    raise Closed(b"", "end in a handshake") from None
            else:
                await self._loop.sock_sendall(self.socket, self._outgoing.read())
                return

    async def _receive(self) -> bytes:
        while True:
            try:
                return self.tls.read(1 << 18)
            except ssl.SSLWantReadError:
                if not await self._feed():
                    raise ConnectionAbortedError("end without close_notify") from None

    async def _feed(self) -> bool:
        """Whether the connection has not ended."""
        data = await super()._receive()
        self._incoming.write(data)
        return bool(data)
