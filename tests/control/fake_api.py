"""A small Kubernetes API on loopback: objects by path, with resource versions, merge patches and pages.

It knows no kinds: an object is what was posted. `refuse` makes requests fail the way an API server fails. The tests
that use it run against a real API server too (tests/cluster/test_writers.py).
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import uuid4

from aiohttp import web
from kubernetes_asyncio.client.configuration import Configuration

from ingressd.source.cluster.api import Api

logging.getLogger("aiohttp.access").setLevel(logging.WARNING)

Json = dict[str, Any]

REASONS = {403: "Forbidden", 404: "NotFound", 409: "Conflict", 410: "Expired", 422: "Invalid", 500: "InternalError"}


class Request(NamedTuple):
    method: str
    path: str
    body: Json


class Refused(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class FakeApi:
    def __init__(self) -> None:
        self.objects: dict[str, Json] = {}
        """By path, as `/api/v1/namespaces/default/services/web`."""
        self.requests: list[Request] = []
        """All that came, refused ones included."""
        self.refuse: Callable[[Request], int] = lambda request: 0
        """The status to refuse a request with; 0 does what was asked."""
        self.retry_after = 0
        """Seconds that whoever is refused is asked to wait."""
        self.slow: Callable[[Request], asyncio.Event | None] = lambda request: None
        """What a request waits for before it is answered; it is done before that."""
        self.hung_up: list[Request] = []
        """Those whose client went away before the answer."""
        self.url = ""
        self._version = 0
        self._seen = asyncio.Condition()

    # --- what tests do

    def put(self, path: str, **parts: Any) -> Json:
        """Stores an object under its path; replaces one that is there."""
        *_, name = path.split("/")
        namespace = path.split("/namespaces/")[1].split("/")[0] if "/namespaces/" in path else ""
        metadata = {"name": name, "namespace": namespace, "uid": str(uuid4()), **parts.pop("metadata", {})}
        self.objects[path] = {"metadata": metadata, **parts}
        return self._store(path, self.objects[path])

    def asked(self, method: str, part: str = "") -> list[Request]:
        """The requests of a method whose path contains `part`."""
        return [request for request in self.requests if request.method == method and part in request.path]

    async def until_asked(self, method: str, part: str = "", count: int = 1) -> list[Request]:
        """Waits for so many of such requests."""
        async with asyncio.timeout(10), self._seen:
            await self._seen.wait_for(lambda: len(self.asked(method, part)) >= count)
        return self.asked(method, part)

    # --- what the API does

    async def handle(self, request: web.Request) -> web.Response:
        text = await request.text()
        asked = Request(request.method, request.path, json.loads(text) if text else {})
        self.requests.append(asked)
        async with self._seen:
            self._seen.notify_all()
        try:
            if status := self.refuse(asked):
                raise Refused(status, f"{asked.method} of {asked.path} is refused by the test")
            answer, status = self._answer(request, asked), 201 if asked.method == "POST" else 200
        except Refused as refused:
            answer, status = self._status(refused), refused.status
        if event := self.slow(asked):
            try:
                await event.wait()
            except asyncio.CancelledError:
                self.hung_up.append(asked)
                raise
        return web.json_response(answer, status=status)

    def _answer(self, request: web.Request, asked: Request) -> Json:
        match asked.method:
            case "GET" if asked.path in self.objects:
                return self.objects[asked.path]
            case "GET" if asked.path.split("/")[-1] in ("ingresses", "endpointslices"):
                return self._page(asked.path, request.query)
            case "POST":
                return self._create(asked)
            case "PATCH":
                assert request.content_type == "application/merge-patch+json"
                return self._patch(asked)
        raise Refused(404, f"{asked.path} not found")

    def _page(self, path: str, query: Any) -> Json:
        head, kind = path.rsplit("/", 1)
        wanted = dict(pair.split("=") for pair in query.get("labelSelector", "").split(",") if pair)
        found = [
            value
            for place, value in sorted(self.objects.items())
            if place.startswith(head) and place.split("/")[-2] == kind
            if wanted.items() <= value["metadata"].get("labels", {}).items()
        ]
        start, limit = int(query.get("continue") or 0), int(query["limit"])
        more = str(start + limit) if start + limit < len(found) else ""
        return {"metadata": {"continue": more}, "items": found[start : start + limit]}

    def _create(self, asked: Request) -> Json:
        path = f"{asked.path}/{asked.body['metadata']['name']}"
        if path in self.objects:
            raise Refused(409, f"{path} already exists")
        return self.put(path, **json.loads(json.dumps(asked.body)))

    def _patch(self, asked: Request) -> Json:
        path = asked.path.removesuffix("/status")
        if path not in self.objects:
            raise Refused(404, f"{path} not found")
        former = self.objects[path]
        version = asked.body.get("metadata", {}).get("resourceVersion")
        if version not in (None, former["metadata"]["resourceVersion"]):
            raise Refused(409, f"{path}: the object has been modified")
        body = asked.body
        if path != asked.path:
            body = {"status": body["status"]}
        return self._store(path, _merged(former, body))

    def _store(self, path: str, value: Json) -> Json:
        self._version += 1
        value["metadata"]["resourceVersion"] = str(self._version)
        self.objects[path] = value
        return value

    def _status(self, refused: Refused) -> Json:
        details = {"retryAfterSeconds": self.retry_after} if self.retry_after else {}
        reason = REASONS.get(refused.status, "")
        return {"kind": "Status", "reason": reason, "message": str(refused), "details": details}


def _merged(former: Any, patch: Any) -> Any:
    """RFC 7396."""
    if not isinstance(patch, dict):
        return patch
    result = dict(former) if isinstance(former, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = _merged(result.get(key), value)
    return result


def now() -> str:
    """A MicroTime."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@asynccontextmanager
async def fake_api() -> AsyncIterator[FakeApi]:
    fake = FakeApi()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", fake.handle)
    runner = web.AppRunner(application, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0]
    fake.url = f"http://{host}:{port}"
    try:
        yield fake
    finally:
        await runner.cleanup()


@dataclass
class At:
    """The way to an API that asks for no credentials."""

    url: str

    async def load(self) -> Configuration:
        return Configuration(host=self.url)


@asynccontextmanager
async def api_at(url: str) -> AsyncIterator[Api]:
    made = Api(At(url))
    try:
        yield made
    finally:
        await made.close()


class Lead:
    """The lead, as the test gives and takes it."""

    def __init__(self) -> None:
        self._leading = asyncio.Event()
        self._leading.set()
        self.waits = 0
        """How often somebody has begun to wait for it."""

    @property
    def leads(self) -> bool:
        return self._leading.is_set()

    async def led(self) -> None:
        self.waits += 1
        await self._leading.wait()

    def take(self) -> None:
        self._leading.clear()

    def give(self) -> None:
        self._leading.set()
