"""A small API server on loopback: list and watch of the kinds that the source reads, and what can go wrong with them.

The cases of cases.py run on it and on a real API server, so both behave alike where it matters. Objects are the
dictionaries that their JSON is.
"""

import asyncio
import base64
import json
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

import yaml
from aiohttp import web

from ingressd.source.cluster.kinds import LISTED, NAMED, NAMESPACE, Kind

Object = dict[str, Any]
KINDS = {kind.name: kind for kind in (*LISTED, *NAMED.values(), NAMESPACE)}
END = b""
"""In the queue of a watch: no more."""
TOKEN = "token-of-tests"


class Request(NamedTuple):
    """What somebody asked for. `verb` is get, list or watch; `name` also that of a fieldSelector."""

    verb: str
    kind: str
    namespace: str
    name: str
    query: dict[str, str]


class Refusal(Exception):
    """Answered with a Status."""

    def __init__(self, code: int, reason: str, message: str, after: int = 0) -> None:
        super().__init__(message)
        self.code = code
        self.status = {
            "kind": "Status",
            "apiVersion": "v1",
            "status": "Failure",
            "code": code,
            "reason": reason,
            "message": message,
            **({"details": {"retryAfterSeconds": after}} if after else {}),
        }
        self.headers = {"Retry-After": str(after)} if after else {}


@dataclass(eq=False)
class Watch:
    """One that is open. `transport` is its connection."""

    request: Request
    transport: asyncio.BaseTransport
    lines: "asyncio.Queue[bytes]" = field(default_factory=asyncio.Queue)

    def selects(self, kind: str, value: Object) -> bool:
        return self.request.kind == kind and selects(self.request, value)


def selects(request: Request, value: Object) -> bool:
    metadata = value["metadata"]
    if request.namespace and metadata.get("namespace") != request.namespace:
        return False
    if request.name and metadata["name"] != request.name:
        return False
    label, _, wanted = request.query.get("labelSelector", "").partition("=")
    return not label or metadata.get("labels", {}).get(label) == wanted


class FakeApi:
    """Use it within its block. Everything it does happens in the loop of the test."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[tuple[str, str], Object]] = {kind: {} for kind in KINDS}
        self.version = 100
        self.oldest = 0
        """Watches and pages of versions before this one are answered with 410."""
        self.history: list[tuple[int, str, str, Object, Object | None]] = []
        """Version, kind, type of event, object, and what it was before."""
        self.requests: list[Request] = []
        self.watches: list[Watch] = []
        self.refuse: Callable[[Request], Refusal | None] = lambda request: None
        self.answer: Callable[[Request], bytes | None] = lambda request: None
        """A body to answer with instead."""
        self.token = TOKEN
        self.page = 500
        """Items of a page at most, whatever limit says."""
        self.silent = False
        """Whether watches say nothing any more."""
        self.held: asyncio.Event | None = None
        """What lists and gets wait for before they are answered."""
        self.waiting = 0
        """How many do."""
        self.gone_in_watch = True
        """Whether 410 comes as an event of the watch, as the real one does, or as the status of the response."""
        self.port = 0
        self._rests: dict[str, tuple[int, list[Object]]] = {}
        """By the token that asks for it: version and items of the rest of a list, as it was when it was begun."""
        self._news = asyncio.Condition()
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> "FakeApi":
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Answers on its port, the same as before if it was stopped."""
        sock = socket.create_server(("127.0.0.1", self.port))
        self.port = sock.getsockname()[1]
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.01)
        await self._runner.setup()
        await web.SockSite(self._runner, sock).start()

    async def stop(self) -> None:
        """Nobody listens any more; connections are reset."""
        self.cut()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def kubeconfig(self, token: str = TOKEN) -> str:
        """The text of a kubeconfig that leads here."""
        return yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "fake", "cluster": {"server": self.url}}],
                "users": [{"name": "fake", "user": {"token": token}}],
                "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "fake"}}],
                "current-context": "fake",
            }
        )

    # --- objects

    def put(self, value: Object) -> Object:
        """Creates or replaces an object."""
        kind, name = value["kind"], _name(value)
        former = self.objects[kind].get(name)
        self.version += 1
        value = deepcopy(value)
        value["metadata"]["resourceVersion"] = str(self.version)
        self.objects[kind][name] = value
        self._record(kind, "MODIFIED" if former else "ADDED", value, former)
        return value

    def delete(self, kind: str, namespace: str, name: str) -> None:
        former = self.objects[kind].pop((namespace, name))
        self.version += 1
        value = deepcopy(former)
        value["metadata"]["resourceVersion"] = str(self.version)
        self._record(kind, "DELETED", value, former)

    def _record(self, kind: str, event: str, value: Object, former: Object | None) -> None:
        self.history.append((self.version, kind, event, value, former))
        for watch in self.watches:
            self._tell(watch, kind, event, value, former)

    def _tell(self, watch: Watch, kind: str, event: str, value: Object, former: Object | None) -> None:
        """As with a selector: what comes to match is ADDED, what no longer does is DELETED."""
        if watch.request.kind != kind:
            return
        now = event != "DELETED" and selects(watch.request, value)
        before = former is not None and selects(watch.request, former)
        if now:
            self._say(watch, "MODIFIED" if before else "ADDED", value)
        elif before:
            self._say(watch, "DELETED", value)

    def _say(self, watch: Watch, event: str, value: Object) -> None:
        if not self.silent:
            watch.lines.put_nowait(json.dumps({"type": event, "object": value}).encode() + b"\n")

    # --- what can go wrong

    def compact(self) -> None:
        """Forgets what was before."""
        self.oldest = self.version
        self.history.clear()

    def cut(self) -> None:
        """Ends all watches with a reset."""
        for watch in self.watches:
            cast(asyncio.Transport, watch.transport).abort()
            watch.lines.put_nowait(END)

    def end(self) -> None:
        """Ends all watches as when their time is over."""
        for watch in self.watches:
            watch.lines.put_nowait(END)

    def bookmark(self) -> None:
        for watch in self.watches:
            self._say(watch, "BOOKMARK", {"metadata": {"resourceVersion": str(self.version)}})

    def raw(self, line: bytes, kind: str = "Ingress") -> None:
        """Writes a line into the watches of a kind."""
        for watch in self.watches:
            if watch.request.kind == kind:
                watch.lines.put_nowait(line + b"\n")

    # --- what was asked

    def asked(self, verb: str, kind: str = "", name: str = "") -> list[Request]:
        return [
            request
            for request in self.requests
            if request.verb == verb and kind in ("", request.kind) and name in ("", request.name)
        ]

    async def until(self, condition: Callable[[], object]) -> None:
        """Waits for a condition on `requests` and `watches`."""
        async with asyncio.timeout(10), self._news:
            await self._news.wait_for(condition)

    # --- answers

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        asked = _request(request)
        if asked is None:
            return web.Response(status=404, text="nothing is here")
        self.requests.append(asked)
        await self._note()
        try:
            if request.headers.get("Authorization", "") != f"Bearer {self.token}":
                raise Refusal(401, "Unauthorized", "Unauthorized")
            if (refusal := self.refuse(asked)) is not None:
                raise refusal
            if asked.verb == "watch":
                return await self._watch(request, asked)
            if self.held is not None:
                self.waiting += 1
                await self._note()
                await self.held.wait()
                self.waiting -= 1
            body = self.answer(asked)
            if body is None:
                body = json.dumps(self._list(asked) if asked.verb == "list" else self._get(asked)).encode()
            return web.Response(body=body, content_type="application/json")
        except Refusal as refusal:
            return web.json_response(refusal.status, status=refusal.code, headers=refusal.headers)

    def _get(self, asked: Request) -> Object:
        found = self.objects[asked.kind].get((asked.namespace, asked.name))
        if found is None:
            raise Refusal(404, "NotFound", f"{KINDS[asked.kind].plural} {json.dumps(asked.name)} not found")
        return found

    def _list(self, asked: Request) -> Object:
        if token := asked.query.get("continue"):
            version, found = self._rests[token]
            if version < self.oldest:
                raise Refusal(410, "Expired", "The provided continue parameter is too old")
        else:
            version = self.version
            found = [value for _, value in sorted(self.objects[asked.kind].items()) if selects(asked, value)]
        limit = min(self.page, int(asked.query.get("limit", "1000000")))
        metadata: Object = {"resourceVersion": str(version)}
        if rest := found[limit:]:
            metadata["continue"] = f"rest-{len(self._rests)}"
            self._rests[metadata["continue"]] = version, rest
        # As in the real one, the items of a list do not say what they are.
        named = ("kind", "apiVersion")
        items = [{key: part for key, part in value.items() if key not in named} for value in found[:limit]]
        return {"kind": f"{asked.kind}List", "apiVersion": "v1", "metadata": metadata, "items": items}

    async def _watch(self, request: web.Request, asked: Request) -> web.StreamResponse:
        since = int(asked.query["resourceVersion"])
        gone = Refusal(410, "Expired", f"too old resource version: {since} ({self.oldest})")
        if since < self.oldest and not self.gone_in_watch:
            raise gone
        assert request.transport is not None
        watch = Watch(asked, request.transport)
        if since < self.oldest:
            self._say(watch, "ERROR", gone.status)
            watch.lines.put_nowait(END)
        for version, kind, event, value, former in self.history:
            if version > since:
                self._tell(watch, kind, event, value, former)
        self.watches.append(watch)
        response = web.StreamResponse()
        response.content_type = "application/json"
        try:
            await response.prepare(request)
            await self._note()
            while line := await watch.lines.get():
                await response.write(line)
        finally:
            self.watches.remove(watch)
            await self._note()
        return response

    async def _note(self) -> None:
        async with self._news:
            self._news.notify_all()


def _name(value: Object) -> tuple[str, str]:
    metadata = value["metadata"]
    return metadata.get("namespace", "") if KINDS[value["kind"]].namespaced else "", metadata["name"]


def _request(request: web.Request) -> Request | None:
    """None for all that is no reading of KINDS."""
    readings = list(_readings(request.path))
    if not readings or request.method != "GET":
        return None
    kind, namespace, name = readings[0]
    query = dict(request.query)
    selected = query.get("fieldSelector", "").removeprefix("metadata.name=")
    verb = "watch" if query.get("watch") == "true" else "get" if name else "list"
    return Request(verb, kind.name, namespace, name or selected, query)


def _readings(path: str) -> Iterator[tuple[Kind, str, str]]:
    for kind in KINDS.values():
        root = kind.path().removesuffix(f"/{kind.plural}")
        parts = path.removeprefix(root).strip("/").split("/")
        if not path.startswith(f"{root}/"):
            continue
        namespace = parts[1] if parts[0] == "namespaces" and len(parts) > 2 else ""
        rest = parts[2:] if namespace else parts
        if rest[0] == kind.plural:
            yield kind, namespace, "".join(rest[1:])


@asynccontextmanager
async def fake_api() -> AsyncIterator[FakeApi]:
    async with FakeApi() as api:
        yield api


# --- objects


def ingress(name: str, host: str = "a.example", namespace: str = "shop", tls: str = "", **spec: object) -> Object:
    backend = {"service": {"name": "web", "port": {"number": 80}}}
    rule = {"host": host, "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "ingressClassName": "ingressd",
            "rules": [rule],
            **({"tls": [{"hosts": [host], "secretName": tls}]} if tls else {}),
            **spec,
        },
    }


def ingress_class(name: str = "ingressd") -> Object:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "IngressClass",
        "metadata": {"name": name},
        "spec": {"controller": "ingressd.dev/ingress-controller"},
    }


def service(name: str = "web", namespace: str = "shop") -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"type": "ClusterIP", "ports": [{"port": 80, "protocol": "TCP", "targetPort": 8080}]},
    }


def endpoint_slice(*addresses: str, name: str = "web-1", of: str = "web", namespace: str = "shop") -> Object:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": name, "namespace": namespace, "labels": {"kubernetes.io/service-name": of}},
        "addressType": "IPv4",
        "ports": [{"name": "", "port": 8080, "protocol": "TCP"}],
        "endpoints": [{"addresses": [address], "conditions": {"ready": True}} for address in addresses],
    }


def secret(name: str, value: str = "a", namespace: str = "shop") -> Object:
    data = {"key": base64.b64encode(value.encode()).decode()}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace},
        "type": "Opaque",
        "data": data,
    }


def config_map(name: str, value: str = "a", namespace: str = "shop") -> Object:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace},
        "data": {"key": value},
    }


def namespace(name: str, **labels: str) -> Object:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
