"""Asks one endpoint once."""

import asyncio
import os
import ssl
from collections.abc import Awaitable, Callable

import aiohttp
from yarl import URL

from ingressd import __version__
from ingressd.model import CheckType, Endpoint, HealthCheck
from ingressd.proxy.ejection import OURS

Probe = Callable[[Endpoint, HealthCheck], Awaitable[str]]
"""Gives what is wrong, empty if nothing is. Raises nothing but CancelledError and NotAsked."""

HEADERS = {"User-Agent": f"ingressd-health-check/{__version__}", "Accept": "*/*"}


class NotAsked(Exception):
    """A check could not be made, which says nothing of the endpoint."""


class Prober:
    """Opens a connection for each check: whether the endpoint accepts one is part of the question. Of a response only
    the head is read. Redirects are not followed. Certificates are not verified: a check is about whether the endpoint
    works, and nothing that anybody should not see is sent to it."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._tls.check_hostname = False
        self._tls.verify_mode = ssl.CERT_NONE

    async def ask(self, endpoint: Endpoint, check: HealthCheck) -> str:
        """A Probe."""
        try:
            async with asyncio.timeout(check.timeout):
                return await (_connect if check.type is CheckType.TCP else self._get)(endpoint, check)
        except TimeoutError:
            return f"no answer within {check.timeout:g} s"
        except OSError as error:
            if error.errno in OURS:
                raise NotAsked(_reason(error)) from error
            return _reason(error)
        except Exception as error:  # whatever it is that an answer makes the library raise, the check has failed
            return f"no valid response: {str(error) or type(error).__name__}"

    async def _get(self, endpoint: Endpoint, check: HealthCheck) -> str:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, force_close=True),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None),
                auto_decompress=False,
                headers=HEADERS,
            )
        address = Endpoint(endpoint.address, check.port or endpoint.port)
        url = URL(f"{check.type}://{address}{check.path}", encoded=True)
        host = {"Host": check.host} if check.host else None
        name = check.host.partition(":")[0] or None
        async with self._session.get(
            url, headers=host, allow_redirects=False, ssl=self._tls, server_hostname=name
        ) as response:
            status = response.status
        if any(first <= status <= last for first, last in check.expected_status):
            return ""
        return f"answered {status}"

    async def close(self) -> None:
        """Nothing may be asked any more."""
        if self._session is not None:
            await self._session.close()


async def _connect(endpoint: Endpoint, check: HealthCheck) -> str:
    _, writer = await asyncio.open_connection(endpoint.address, check.port or endpoint.port)
    writer.transport.abort()
    return ""


def _reason(error: OSError) -> str:
    """In few words: the libraries' texts name the address once more."""
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(cause, ssl.SSLError):
        return f"no TLS: {(cause.reason or str(cause)).replace('_', ' ').lower()}"
    return os.strerror(cause.errno).lower() if cause.errno else str(cause) or type(cause).__name__
