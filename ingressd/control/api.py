"""Reads and writes of single objects at the Kubernetes API, for what the controller writes there: the Lease, the status
of Ingresses, Events.

JSON is decoded straight into the types that the caller names. Every write asks `may_write` before it starts, so that no
writer can forget to, and no request takes longer than `timeout`.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

import msgspec

from ingressd.source.cluster.api import JSON, NO_ANSWER, Api, ApiError
from ingressd.source.cluster.wire import ListMetadata

T = TypeVar("T")

FORBIDDEN = 403
NOT_FOUND = 404
CONFLICT = 409
"""The object has changed since it was read, or exists already."""

FIELD_MANAGER = "ingressd"
"""Who metadata.managedFields says has written."""
PAGE = 500
"""Objects of a list asked for at once."""
MERGE_PATCH = "application/merge-patch+json"


class NotAllowedNow(Exception):
    """The write was not started, because `may_write` said no, or it was abandoned."""


class Metadata(msgspec.Struct, frozen=True, rename="camel"):
    """ObjectMeta, as far as writers need it."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""


class Object(msgspec.Struct, frozen=True):
    """Any object, without what it says."""

    metadata: Metadata = Metadata()


class Page(msgspec.Struct, Generic[T], frozen=True):
    """Some of the objects of a list."""

    items: tuple[T, ...] | None = None
    metadata: ListMetadata = ListMetadata()


def micro_time() -> str:
    """Now, as a MicroTime of meta/v1."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def always() -> bool:
    """For a writer that needs no lead."""
    return True


def is_passing(error: ApiError) -> bool:
    """Whether the fault is not in the request: there was no answer, or the API server is overloaded or broken, or does
    not know us, as while it starts. Without an answer a write may have been done all the same."""
    return error.status in (NO_ANSWER, 401, 429) or error.status >= 500


class Objects:
    """All methods raise ApiError; the writing ones raise NotAllowedNow too. `timeout` is in seconds. A path is as in
    `/api/v1/namespaces/default/services/web`."""

    def __init__(self, api: Api, timeout: float, may_write: Callable[[], bool] = always) -> None:
        self._api = api
        self._timeout = timeout
        self._may_write = may_write
        self._writes: set[asyncio.Timeout] = set()
        """The limits of the writes that are under way."""

    async def get(self, path: str, type_: type[T]) -> T:
        """Reads an object."""
        return await self._ask("GET", path, {}, type_)

    async def pages(self, path: str, type_: type[Page[T]], **query: str) -> AsyncIterator[tuple[T, ...]]:
        """The objects of a list, a page at a time."""
        query = {"limit": str(PAGE), **query}
        while True:
            page = await self._ask("GET", path, query, type_)
            yield page.items or ()
            if not page.metadata.more:
                return
            query["continue"] = page.metadata.more

    async def create(self, path: str, body: Mapping[str, Any], type_: type[T]) -> T:
        """Posts an object to `path`, that of its list. CONFLICT if there is one of its name."""
        return await self._write("POST", path, type_, body, JSON)

    async def patch(self, path: str, body: Mapping[str, Any], type_: type[T]) -> T:
        """A JSON merge patch (RFC 7396). With metadata.resourceVersion in it CONFLICT if that is old."""
        return await self._write("PATCH", path, type_, body, MERGE_PATCH)

    def abandon(self) -> None:
        """Gives up on the writes under way, which raise NotAllowedNow. They may have been done all the same."""
        now = asyncio.get_running_loop().time()
        for limit in self._writes:
            if not limit.expired():
                limit.reschedule(now)
        self._writes.clear()

    async def _write(self, method: str, path: str, type_: type[T], body: Mapping[str, Any], content: str) -> T:
        if not self._may_write():
            raise NotAllowedNow
        limit = asyncio.timeout(self._timeout)
        self._writes.add(limit)
        try:
            return await self._ask(method, path, {"fieldManager": FIELD_MANAGER}, type_, body, content, limit)
        except ApiError as error:
            if limit.expired() and limit not in self._writes:
                raise NotAllowedNow from error
            raise
        finally:
            self._writes.discard(limit)

    async def _ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        type_: type[T],
        body: object = None,
        content: str = JSON,
        limit: asyncio.Timeout | None = None,
    ) -> T:
        try:
            async with limit or asyncio.timeout(self._timeout):
                data = await self._api.request(method, path, query, body, content)
        except TimeoutError as error:
            raise ApiError(NO_ANSWER, "", f"no answer to {method} {path} within {self._timeout:g} s") from error
        try:
            return msgspec.json.decode(data, type=type_)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            message = f"the answer to {method} {path} is not what an API server says: {error}"
            raise ApiError(NO_ANSWER, "", message) from error
