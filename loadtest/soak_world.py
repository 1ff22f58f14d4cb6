"""What a soak test has around ingressd: upstream servers that come and go, and manifests that say so.

Each second an endpoint of Service `web` is replaced, as when pods roll: a new server starts, the EndpointSlice names it
in place of the oldest, and that one is stopped once no worker sends it anything new. Each second, too, a host comes and
an older one goes, the path of a route is another, and a host gets a new certificate.
"""

import asyncio
import contextlib
import json
import os
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

from soak_certificates import Authority
from soak_server import LOOPBACK, Server

from ingressd.aio import spawn

NAMESPACE = "soak"
HOST = "web.example"
"""Is always there, on `/`. Over HTTPS its certificate changes."""
SECURE = "secure.example"
"""Is always there, with a certificate that stays, so that sessions can be resumed."""
ENDPOINTS = 4
HOSTS = 5
"""Hosts that are there at a time, HOST not counted."""
PACE = 1.0
"""Seconds between two changes."""
IN_FORCE = 30.0
"""Seconds for a change to be in force in all workers; it takes a tenth of one."""
PRE_STOP = 1.0
"""Seconds between the end of new requests and the stop of a server: what was sent to it last has to arrive."""

Object = dict[str, object]
Change = Callable[[int], Awaitable[None]]
"""Called each PACE seconds with the number of the turn, from 0. A new kind of change is another one in the list that
`World.changes` gives."""
Published = Callable[[Callable[[Object], bool]], Awaitable[None]]
"""Waits until a condition holds for the document of /api/snapshot, and every worker serves that generation."""


class WorldError(Exception):
    """A change did not come into force. The text is for the user."""


class World:
    """Servers and manifests. `hosts` are those that may be asked for: they are served, and will be for a while."""

    def __init__(self, manifests: Path) -> None:
        self.hosts: deque[str] = deque()
        self.authority = Authority()
        """Of all certificates."""
        self.version = 0
        """Of the route `/v/VERSION` of HOST."""
        self.changed = 0
        """How many changes are in force."""
        self._manifests = manifests
        self._servers: deque[Server] = deque()
        self._stopping: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Writes the manifests to begin with; nothing reads them yet."""
        self._manifests.mkdir()
        self._write("base", *_base())
        for _ in range(ENDPOINTS):
            await self._add_server()
        self._write("endpoints", self._slice())
        self._write("web", _ingress("web", HOST, "/", "/v/0", secret="web"))
        self._write("secure", _ingress("secure", SECURE, "/", secret="secure"))
        for name, host in (("web", HOST), ("secure", SECURE)):
            self._write(f"secret-{name}", _secret(name, self.authority.issue(host).data))
        for number in range(HOSTS):
            self._write(f"host-{number}", _ingress(f"host-{number}", _host(number), "/"))
            self.hosts.append(_host(number))

    async def stop(self) -> None:
        await asyncio.gather(*self._stopping, *(server.stop() for server in self._servers))

    def changes(self, published: Published) -> Sequence[Change]:
        """All kinds of change."""

        async def endpoint(turn: int) -> None:
            """One endpoint is replaced."""
            await self._add_server()
            old = self._servers.popleft()
            self._write("endpoints", self._slice())
            await published(lambda snapshot: str(old.port) not in json.dumps(snapshot["clusters"]))
            stopping = spawn(self._stop_later(old), "stop a server")
            self._stopping.add(stopping)
            stopping.add_done_callback(self._stopping.discard)

        async def host(turn: int) -> None:
            """A host comes, another goes; who is asking it finishes in a few seconds."""
            new = turn + HOSTS
            self._write(f"host-{new}", _ingress(f"host-{new}", _host(new), "/"))
            await published(lambda snapshot: _host(new) in json.dumps(snapshot["virtual_hosts"]))
            self.hosts.append(_host(new))
            self.hosts.popleft()
            if turn >= HOSTS:
                (self._manifests / f"host-{turn - HOSTS}.yaml").unlink()

        async def route(turn: int) -> None:
            """A route of HOST has another path."""
            path = f"/v/{turn + 1}"
            self._write("web", _ingress("web", HOST, "/", path, secret="web"))
            await published(lambda snapshot: path in json.dumps(snapshot["virtual_hosts"]))
            self.version = turn + 1

        async def certificate(turn: int) -> None:
            """HOST gets a new certificate."""
            new = self.authority.issue(HOST)
            self._write("secret-web", _secret("web", new.data))
            await published(lambda snapshot: new.serial_number in json.dumps(snapshot["certificates"]))

        return (endpoint, host, route, certificate)

    async def _stop_later(self, server: Server) -> None:
        await asyncio.sleep(PRE_STOP)
        await server.stop()

    async def _add_server(self) -> None:
        server = Server()
        await server.start()
        self._servers.append(server)

    def _slice(self) -> Object:
        """Endpoints at one address differ in their ports, so there is a list of slices: each has one list of ports."""
        items = [_slice(f"web-{number}", server.port) for number, server in enumerate(self._servers)]
        return {"apiVersion": "v1", "kind": "List", "items": items}

    def _write(self, name: str, *documents: Object) -> None:
        """In one step, so that no half of it is ever read."""
        text = "\n---\n".join(map(json.dumps, documents))
        new = self._manifests / f".{name}"
        new.write_text(text)
        os.replace(new, self._manifests / f"{name}.yaml")


async def every(seconds: float, change: Change, world: World) -> None:
    """Makes a change again and again, never two of a kind at a time."""
    loop = asyncio.get_running_loop()
    due = loop.time()
    turn = 0
    while True:
        await change(turn)
        world.changed += 1
        turn += 1
        due = max(due + seconds, loop.time())
        await asyncio.sleep(due - loop.time())


@contextlib.asynccontextmanager
async def around(manifests: Path) -> AsyncIterator[World]:
    """A world, from before ingressd starts until after it has ended."""
    world = World(manifests)
    await world.start()
    try:
        yield world
    finally:
        await world.stop()


def _host(number: int) -> str:
    return f"host-{number}.example"


def _metadata(name: str, **more: object) -> Object:
    return {"name": name, "namespace": NAMESPACE, **more}


def _base() -> list[Object]:
    spec = {"controller": "ingressd.dev/ingress-controller"}
    return [
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "IngressClass",
            "metadata": {"name": "ingressd"},
            "spec": spec,
        },
        {"apiVersion": "v1", "kind": "Service", "metadata": _metadata("web"), "spec": {"ports": [{"port": 80}]}},
    ]


def _slice(name: str, port: int) -> Object:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": _metadata(name, labels={"kubernetes.io/service-name": "web"}),
        "addressType": "IPv4",
        "ports": [{"port": port}],
        "endpoints": [{"addresses": [LOOPBACK]}],
    }


def _secret(name: str, data: dict[str, str]) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": _metadata(name),
        "type": "kubernetes.io/tls",
        "data": data,
    }


def _ingress(name: str, host: str, *paths: str, secret: str = "") -> Object:
    backend = {"service": {"name": "web", "port": {"number": 80}}}
    http = {"paths": [{"path": path, "pathType": "Prefix", "backend": backend} for path in paths]}
    spec: Object = {"ingressClassName": "ingressd", "rules": [{"host": host, "http": http}]}
    if secret:
        spec["tls"] = [{"hosts": [host], "secretName": secret}]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": _metadata(name),
        "spec": spec,
    }
