"""What the tests of the data plane are made with: a real worker process, scripted upstreams, a raw client.

    async with Upstream(always(ok(b"hello"))) as upstream, Worker(serving(upstream)) as worker:
        async with Client(worker.port) as client:
            await client.send(get("/"))
            assert (await client.response()).body == b"hello"
    assert upstream.requests[0].target == b"/"

Nothing is mocked and nothing sleeps: everything read has a deadline (`stream.DEADLINE`), and what cannot be read is
waited for by `eventually`. Leaving a Worker's block ends the process and asserts that it exited with 0 and complained
of nothing.
"""

from tests.kit.client import Client, get, request
from tests.kit.model import HOST, cluster, route, serving, virtual_host
from tests.kit.stream import DEADLINE, Closed, Message, Stream, eventually, pause
from tests.kit.upstream import Request, Script, Upstream, always, chunked, deaf_port, each, ok, refused_port
from tests.kit.worker import Worker

__all__ = [
    "DEADLINE",
    "HOST",
    "Client",
    "Closed",
    "Message",
    "Request",
    "Script",
    "Stream",
    "Upstream",
    "Worker",
    "always",
    "chunked",
    "cluster",
    "deaf_port",
    "each",
    "eventually",
    "get",
    "ok",
    "pause",
    "refused_port",
    "request",
    "route",
    "serving",
    "virtual_host",
]
