"""What a TLS connection costs in the ways that Python has, with nothing of a proxy around it, beside nginx.

    .venv/bin/python loadtest/tls_ways.py --rounds 5

Each way is a server of its own that does a handshake, answers one request with a constant, and closes: `memory` has
OpenSSL work in memory (ssl.SSLObject), and reads and writes itself, as ingressd does; `socket` has OpenSSL read and
write the socket (ssl.SSLSocket); `uvloop` and `asyncio` leave TLS to the loop. nginx answers with `return`. CPU time of
the server per connection, medians over rounds, in turn.
"""

import argparse
import asyncio
import contextlib
import select
import socket
import ssl
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import certificate
import generators
import rig
from rig import Process, RigError

from ingressd.demo.ports import free_port

RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nhello world\n"
KINDS = {"full": False, "resumed": True}
NGINX = """
daemon off; master_process off; pid {directory}/pid; error_log stderr error;
events {{ worker_connections 1024; multi_accept on; }}
http {{
    access_log off;
    server {{
        listen 127.0.0.1:{port} ssl backlog=4096;
        ssl_certificate {chain}; ssl_certificate_key {key}; ssl_protocols TLSv1.3; ssl_session_tickets on;
        keepalive_requests 1000000;
        location / {{ return 200 "hello world\\n"; }}
    }}
}}
"""


def server_context(chain: str, key: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.num_tickets = 1
    context.set_alpn_protocols(["http/1.1"])
    context.load_cert_chain(chain, key)
    return context


# --- the loop does it


class Answering(asyncio.Protocol):
    """Answers each piece that comes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._transport.write(RESPONSE)


async def _serve(listening: socket.socket, context: ssl.SSLContext) -> None:
    server = await asyncio.get_running_loop().create_server(Answering, sock=listening, ssl=context)
    await server.serve_forever()


def by_asyncio(listening: socket.socket, context: ssl.SSLContext) -> None:
    asyncio.run(_serve(listening, context))


def by_uvloop(listening: socket.socket, context: ssl.SSLContext) -> None:
    import uvloop

    uvloop.run(_serve(listening, context))


# --- a loop of the least there can be


class Memory:
    """A connection over ssl.SSLObject."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        self._socket = sock
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._established = False
        self.close = sock.close

    def ready(self) -> bool:
        """Goes on with it. Whether there is more to come."""
        try:
            data = self._socket.recv(65536)
            self._incoming.write(data)
            if not self._established:
                self._tls.do_handshake()
                self._established = True
            while self._incoming.pending and self._tls.read(16384):
                self._tls.write(RESPONSE)
        except ssl.SSLWantReadError:
            pass
        except OSError:
            return False
        if self._outgoing.pending:
            self._socket.send(self._outgoing.read())
        return bool(data)


class Direct:
    """A connection over ssl.SSLSocket."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        self._tls = context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        self._established = False
        self.close = self._tls.close

    def ready(self) -> bool:
        """Goes on with it. Whether there is more to come."""
        try:
            if not self._established:
                self._tls.do_handshake()
                self._established = True
            while self._tls.recv(16384):
                self._tls.send(RESPONSE)
        except ssl.SSLWantReadError:
            return True
        except OSError:
            pass
        return False


def _poll(listening: socket.socket, make: Callable[[socket.socket], Memory | Direct]) -> None:
    listening.setblocking(False)
    polled = select.epoll()
    polled.register(listening, select.EPOLLIN)
    connections: dict[int, Memory | Direct] = {}
    while True:
        for descriptor, _ in polled.poll():
            if descriptor == listening.fileno():
                with contextlib.suppress(BlockingIOError):
                    while True:
                        sock, _ = listening.accept()
                        sock.setblocking(False)
                        polled.register(sock, select.EPOLLIN)
                        accepted = sock.fileno()
                        connections[accepted] = make(sock)
            elif not connections[descriptor].ready():
                connections.pop(descriptor).close()


def by_memory(listening: socket.socket, context: ssl.SSLContext) -> None:
    _poll(listening, lambda sock: Memory(sock, context))


def by_socket(listening: socket.socket, context: ssl.SSLContext) -> None:
    _poll(listening, lambda sock: Direct(sock, context))


WAYS = {"memory": by_memory, "socket": by_socket, "uvloop": by_uvloop, "asyncio": by_asyncio}


# --- measuring


@contextlib.contextmanager
def running(way: str, directory: Path, files: certificate.Files) -> Iterator[Process]:
    """A server of its own process, once it answers."""
    directory.mkdir()
    port = free_port()
    chain, key = map(str, files)
    if way == "nginx":
        configured = directory / "nginx.conf"
        configured.write_text(NGINX.format(directory=directory, port=port, chain=chain, key=key))
        command = [str(rig.find_program("nginx")), "-c", str(configured)]
    else:
        command = [sys.executable, __file__, "--serve", way, str(port), chain, key]
    with rig.running(command, directory) as server:
        rig.wait(server, port, "/", rig.host(0), directory, certificate.trusting(files))
        yield Process(way, server.pid, server.pid, 0, directory / "stdout", port)


def main() -> int:
    parser = argparse.ArgumentParser(prog="tls_ways.py", description="Measures ways to do TLS.", allow_abbrev=False)
    parser.add_argument("--rounds", type=int, default=5, help="of each measurement (default 5)")
    parser.add_argument("--seconds", type=float, default=3, help="of each run (default 3)")
    parser.add_argument("--serve", nargs=4, metavar=("WAY", "PORT", "CHAIN", "KEY"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        way, port, chain, key = options.serve
        WAYS[way](socket.create_server(("127.0.0.1", int(port)), backlog=4096), server_context(chain, key))
        return 0
    rig.end_on_signals()
    try:
        rig.need({"nginx": "apt-get install nginx-light"})
        with tempfile.TemporaryDirectory(prefix="ingressd-ways-") as name, contextlib.ExitStack() as stack:
            directory = Path(name)
            files = certificate.make(directory)
            ways = [stack.enter_context(running(way, directory / way, files)) for way in (*WAYS, "nginx")]
            print(f"{'CPU microseconds per':22}" + "".join(f"{way.name:>10}" for way in ways))
            for kind, resume in KINDS.items():
                costs: dict[str, list[float]] = {way.name: [] for way in ways}
                for number in range(options.rounds + 1):
                    for way in ways if number % 2 else reversed(ways):
                        before = sum(way.cpu())
                        done = generators.handshakes(way, options.seconds, resume)
                        if done.errors or not done.requests:
                            raise RigError(f"{way.name} answered {done.requests} requests, {done.errors} failed")
                        # The first round is for warming up.
                        if number:
                            costs[way.name].append((sum(way.cpu()) - before) / done.requests * 1e6)
                medians = [statistics.median(cost) for cost in costs.values()]
                print(f"{kind + ' handshake':22}" + "".join(f"{median:10.0f}" for median in medians), flush=True)
    except RigError as error:
        print(f"tls-ways: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
