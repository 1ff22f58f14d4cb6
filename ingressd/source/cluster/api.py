"""Requests to the API server: credentials, errors, and bodies as bytes; what they mean is for others."""

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import NamedTuple

import aiohttp
import msgspec
from kubernetes_asyncio.client.api_client import ApiClient
from kubernetes_asyncio.client.rest import RESTClientObject
from kubernetes_asyncio.config.config_exception import ConfigException

from ingressd import __version__
from ingressd.source.cluster.access import Access, AccessError

CONNECT_TIMEOUT = 10.0
READ_TIMEOUT = 60.0
"""Seconds between two reads of a response; lists of large clusters take the API server a while."""
MAX_LINE = 32 << 20
"""Bytes of one watch event. etcd takes objects of 1.5 MiB, and JSON may be several times as long."""
USER_AGENT = f"ingressd/{__version__}"
NO_ANSWER, BAD_ANSWER = 0, 1
"""In place of the status of HTTP: none came, or what came is not what an API server says."""
SILENT = "silent"
"""In place of a reason of the API: the connection is there, and nothing comes."""
PROBES = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, getattr(socket, "TCP_KEEPIDLE", 0) or getattr(socket, "TCP_KEEPALIVE", 0), 15),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
)
"""A watch on a connection whose other side is gone ends after 15 + 3 x 5 seconds."""
LONGEST_PAUSE = 300.0
"""Seconds; who asks us to wait longer is not obeyed."""

JSON = "application/json"


class ApiError(Exception):
    """The API server refused, or did not answer.

    `status` is that of HTTP, or NO_ANSWER or BAD_ANSWER; `reason` the word of the API (`Expired`, `Forbidden`) or
    SILENT; `message` one line; `retry_after` the seconds that the API server asks us to wait.
    """

    def __init__(self, status: int, reason: str, message: str, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message
        self.retry_after = min(retry_after, LONGEST_PAUSE)


class StatusDetails(msgspec.Struct, frozen=True, rename="camel"):
    """StatusDetails of meta/v1."""

    retry_after_seconds: float = 0.0


class Status(msgspec.Struct, frozen=True):
    """Status of meta/v1: the body of every refusal, and the object of an ERROR in a watch."""

    code: int = 0
    reason: str = ""
    message: str = ""
    details: StatusDetails | None = None

    def error(self, status: int = 0, retry_after: float = 0.0) -> ApiError:
        """This refusal, of a response with `status`."""
        told = self.details.retry_after_seconds if self.details else 0.0
        message = self.message or self.reason or f"status {status or self.code}"
        return ApiError(status or self.code, self.reason, " ".join(message.split()), max(told, retry_after))


class _Request(NamedTuple):
    method: str
    path: str
    query: Mapping[str, str]
    limits: aiohttp.ClientTimeout
    body: object = None
    content: str = JSON


class Api:
    """The API server, for one event loop."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._client: ApiClient | None = None
        self._stale = True
        """Whether the credentials must be loaded before the next request."""
        self._loading = asyncio.Lock()
        self._users: Counter[RESTClientObject] = Counter()

    async def client(self) -> ApiClient:
        """The client of kubernetes_asyncio, for who reads and writes in ways of its own. It stays the same object when
        credentials are loaded again. Raises ApiError."""
        async with self._loading:
            if self._stale or self._client is None:
                try:
                    fresh = ApiClient(await self._access.load())
                except (AccessError, OSError) as error:  # ssl.SSLError is an OSError
                    raise ApiError(NO_ANSWER, "", _sentence(error)) from error
                if self._client is None:
                    self._client = fresh
                else:
                    former, self._client.rest_client = self._client.rest_client, fresh.rest_client
                    self._client.configuration = fresh.configuration
                    await self._close_if_done(former)
                self._stale = False
            return self._client

    async def close(self) -> None:
        """Closes all connections; nothing may be under way. The next request opens others."""
        self._stale = True
        if self._client is not None:
            await self._client.rest_client.close()

    async def request(
        self, method: str, path: str, query: Mapping[str, str] | None = None, body: object = None, content: str = JSON
    ) -> bytes:
        """The body of the response. `path` begins with `/api`; `body` is sent as JSON, `content` is its media type.
        Raises ApiError."""
        limits = aiohttp.ClientTimeout(sock_connect=CONNECT_TIMEOUT, sock_read=READ_TIMEOUT)
        async with self._response(_Request(method, path, query or {}, limits, body, content)) as response:
            return await response.read()

    @asynccontextmanager
    async def lines(
        self, path: str, query: Mapping[str, str], *, silence: float, total: float
    ) -> AsyncIterator[AsyncGenerator[bytes, None]]:
        """The lines of a response that goes on. It is given up when nothing comes for `silence` seconds, and after
        `total` seconds. Raises ApiError, within the block too."""
        limits = aiohttp.ClientTimeout(total=total, sock_connect=CONNECT_TIMEOUT, sock_read=silence)
        async with self._response(_Request("GET", path, query, limits)) as response:
            _probe(response)
            yield _lines(response)

    @asynccontextmanager
    async def _response(self, request: _Request) -> AsyncIterator[aiohttp.ClientResponse]:
        """A response of success. Credentials that the API server does not know are loaded again, once."""
        for last in (False, True):
            client = await self.client()
            rest = client.rest_client
            self._users[rest] += 1
            try:
                async with asyncio.timeout(READ_TIMEOUT):  # of a watch too, which may be silent for longer after that
                    response = await _send(client, request)
                async with response:
                    if response.status == 401 and not last:
                        self._renew(rest)
                        continue
                    if response.status >= 400:
                        raise await _refusal(response)
                    yield response
                    return
            except aiohttp.ClientSSLError as error:
                self._renew(rest)  # the certificate of the API server may be of a new CA
                raise ApiError(NO_ANSWER, "", _sentence(error)) from error
            except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError) as error:
                host = client.configuration.host
                raise ApiError(NO_ANSWER, "", f'the server is "{host}": write https://HOST:PORT') from error
            except (aiohttp.ClientError, ConfigException, OSError) as error:  # TimeoutError is an OSError
                reason = SILENT if isinstance(error, aiohttp.SocketTimeoutError) else ""
                raise ApiError(NO_ANSWER, reason, _sentence(error)) from error
            finally:
                self._users[rest] -= 1
                await self._close_if_done(rest)

    def _renew(self, rest: RESTClientObject) -> None:
        """The next request loads the credentials again, unless that has been done since `rest` was made."""
        if self._client is not None and self._client.rest_client is rest:
            self._stale = True

    async def _close_if_done(self, rest: RESTClientObject) -> None:
        """Ends connections made with former credentials once nobody uses them."""
        if self._users[rest] <= 0:
            del self._users[rest]
            if self._client is not None and self._client.rest_client is not rest:
                await rest.close()


async def _send(client: ApiClient, request: _Request) -> aiohttp.ClientResponse:
    headers = {"Accept": JSON, "Content-Type": request.content, "User-Agent": USER_AGENT}
    settings = await client.configuration.auth_settings()
    if token := settings.get("BearerToken"):
        headers["Authorization"] = token["value"].strip()  # a token file may end with a line end
    response: aiohttp.ClientResponse = await client.rest_client.request(
        request.method,
        f"{client.configuration.host}{request.path}",
        query_params=dict(request.query),
        headers=headers,
        body=request.body,
        _preload_content=False,
        _request_timeout=request.limits,
    )
    return response


def _probe(response: aiohttp.ClientResponse) -> None:
    """Has the kernel ask now and then whether the other side is still there, while nothing comes: a machine that has
    lost its power closes no connection."""
    transport = response.connection and response.connection.transport
    if transport:
        connection = transport.get_extra_info("socket")
        for level, option, value in PROBES:
            connection.setsockopt(level, option, value)


async def _refusal(response: aiohttp.ClientResponse) -> ApiError:
    body = await response.read()
    try:
        status = msgspec.json.decode(body, type=Status)
    except (msgspec.DecodeError, UnicodeDecodeError):  # a proxy in between, or a server that is just starting
        status = Status(message=f"{response.status} {response.reason}")
    after = response.headers.get("Retry-After", "")
    return status.error(response.status, float(after) if after.isascii() and after.isdigit() else 0.0)


async def _lines(response: aiohttp.ClientResponse) -> AsyncGenerator[bytes, None]:
    rest = bytearray()
    async for data in response.content.iter_any():
        begin = 0
        while (end := data.find(b"\n", begin)) >= 0:
            yield bytes(rest) + data[begin:end] if rest else data[begin:end]
            rest.clear()
            begin = end + 1
        rest += data[begin:]
        if len(rest) > MAX_LINE:
            raise ApiError(BAD_ANSWER, "", f"a watch event has more than {MAX_LINE >> 20} MiB")


def _sentence(error: Exception) -> str:
    if isinstance(error, aiohttp.SocketTimeoutError):
        return "nothing came for too long"
    if isinstance(error, TimeoutError):
        return str(error) or "no answer in time"
    return " ".join(str(error).split()) or type(error).__name__
