"""The admin HTTP application and the server that runs it on its own port.

Nothing here asks who is calling: the port is for the cluster's inside. Nothing here can change anything either.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager

from aiohttp import web

from ingressd.admin import documents
from ingressd.admin.view import View
from ingressd.telemetry.exposition import CONTENT_TYPE

ENDPOINTS = {
    "/metrics": "metrics in the Prometheus text format",
    "/healthz": "200 while the controller's loop lives",
    "/readyz": "200 when every worker serves, else 503 and what is missing",
    "/api/snapshot": "virtual hosts, routes, clusters and endpoints as published, and the generation of each worker",
    "/api/endpoints": "every endpoint: its health by check, who has ejected it, whether it terminates",
    "/api/problems": "what is wrong with which object, and which Ingresses are left to other controllers",
}
HangUp = Callable[[], Coroutine[None, None, None]]
STOP_TIMEOUT = 1.0
"""Seconds that responses under way may take when the server stops."""


def application(view: View) -> web.Application:
    """The endpoints of ENDPOINTS over `view`."""

    async def index(_: web.Request) -> web.Response:
        return web.json_response({"endpoints": ENDPOINTS})

    async def metrics(request: web.Request) -> web.StreamResponse:
        return await _stream(request, CONTENT_TYPE, view.metrics())

    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="ok")

    async def readyz(_: web.Request) -> web.Response:
        missing = list(view.missing())
        return web.json_response({"ready": not missing, "missing": missing}, status=503 if missing else 200)

    async def snapshot(request: web.Request) -> web.StreamResponse:
        return await _stream(request, "application/json", documents.snapshot(view))

    async def endpoints(request: web.Request) -> web.StreamResponse:
        return await _stream(request, "application/json", documents.endpoints(view))

    async def problems(request: web.Request) -> web.StreamResponse:
        return await _stream(request, "application/json", documents.problems(view))

    app = web.Application()
    handlers = {
        "/": index,
        "/metrics": metrics,
        "/healthz": healthz,
        "/readyz": readyz,
        "/api/snapshot": snapshot,
        "/api/endpoints": endpoints,
        "/api/problems": problems,
    }
    app.add_routes([web.get(path, handler) for path, handler in handlers.items()])
    return app


@asynccontextmanager
async def serving(view: View, sockets: Sequence[socket.socket]) -> AsyncIterator[HangUp]:
    """Serves `view` on listening sockets while the block runs; what it gives stops the listening before."""
    runner = web.AppRunner(application(view), access_log=None, handle_signals=False, shutdown_timeout=STOP_TIMEOUT)
    await runner.setup()
    try:
        sites = [web.SockSite(runner, sock) for sock in sockets]
        for site in sites:
            await site.start()

        async def hang_up() -> None:
            for site in sites:
                await site.stop()

        yield hang_up
    finally:
        await runner.cleanup()


async def _stream(request: web.Request, content_type: str, pieces: Iterable[bytes]) -> web.StreamResponse:
    """Writes each piece as it is made; other work gets its turn in between."""
    response = web.StreamResponse(headers={"Content-Type": content_type})
    response.enable_compression()
    await response.prepare(request)
    if request.method == "HEAD":
        return response
    for piece in pieces:
        await response.write(piece)
        await asyncio.sleep(0)
    await response.write_eof()
    return response
