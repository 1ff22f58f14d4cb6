"""New connections to endpoints, over TLS where their policy asks for it."""

import asyncio
from typing import cast

from ingressd.model import UpstreamTls
from ingressd.proxy.connecting import connect
from ingressd.proxy.context import Context
from ingressd.proxy.registry import EndpointState
from ingressd.proxy.responses import UPSTREAM_CERTIFICATE
from ingressd.proxy.stream import Stream
from ingressd.proxy.tls_client import TlsClient, TlsFailed
from ingressd.proxy.upstream import Upstream


async def open_upstream(
    context: Context, endpoint: EndpointState, within: float, policy: UpstreamTls | None = None
) -> Upstream:
    """Connects to an endpoint `within` some seconds. Raises OSError: TimeoutError and TlsFailed among them."""
    if policy is not None:
        return await _open_secured(context, endpoint, within, policy)
    connected = await connect(context.loop, endpoint.endpoint, within)
    upstream = Upstream(context, endpoint, connected)
    Stream(context.poller, connected, None, cast(asyncio.Protocol, upstream)).start()
    return upstream


async def _open_secured(context: Context, endpoint: EndpointState, within: float, policy: UpstreamTls) -> Upstream:
    tls = context.tls.upstream_context(policy)
    if tls is None:
        raise TlsFailed(UPSTREAM_CERTIFICATE, "it cannot be verified", ours=True)
    start = context.loop.time()
    connected = await connect(context.loop, endpoint.endpoint, within)
    upstream = Upstream(context, endpoint, connected, tls)
    try:
        client = TlsClient(tls, policy, upstream)
    except TlsFailed:
        connected.close()
        raise
    Stream(context.poller, connected, None, cast(asyncio.Protocol, client)).start()
    try:
        async with asyncio.timeout(max(0.0, start + within - context.loop.time())):
            await client.ready
    except BaseException as error:
        client.abort()
        if isinstance(error, TlsFailed):
            context.tls.tell(endpoint.text.decode(), str(error))
        raise
    return upstream
