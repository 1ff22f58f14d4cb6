"""A worker process for tests of the controller: it speaks the link's protocol and answers what it was told to serve.

It is asked over HTTP on the sockets it was given; some paths make it misbehave. Not a proxy: one request a connection.

    /state       JSON: its process, number, generation, hosts, endpoints, how many full updates it got
    /exit/3      exits with code 3 at once
    /garbage     writes on the link what no worker says
    /deaf        reads nothing from the link any more, /hear goes on
    /stubborn    does not stop when told to
    /report/7    reports 7 requests and 5 open connections
    /mute        says nothing any more, as one whose loop hangs
"""

import argparse
import asyncio
import hashlib
import json
import os
import signal
import socket
import sys

from ingressd.link import Drain, Report, Sample, Serving, frame, frames_to_worker
from ingressd.model import Update, WorkerSettings

LAST_WORDS = 100
"""The requests it reports when it stops."""


class StandIn:
    def __init__(self, link: socket.socket) -> None:
        self.link = link
        self.settings: WorkerSettings | None = None
        self.state: dict[str, object] = {"pid": os.getpid(), "fulls": 0, "updates": 0, "generation": None}
        self.hosts: set[str] = set()
        self.endpoints: dict[str, list[str]] = {}
        self.hearing = asyncio.Event()
        self.hearing.set()
        self.stopped = asyncio.Event()
        self.stubborn = False
        self.mute = False

    async def serve(self, listeners: list[socket.socket]) -> None:
        reader, self.writer = await asyncio.open_connection(sock=self.link, limit=4096)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self.stopped.set)
        servers = [await asyncio.start_server(self.answer, sock=sock) for sock in listeners]
        listening = asyncio.create_task(self.listen(reader))
        living = asyncio.create_task(self.live())
        await self.stopped.wait()
        living.cancel()
        for server in servers:
            server.close()
        self.writer.write(frame(Report(counters=(Sample("requests", "", LAST_WORDS),))))
        await self.writer.drain()
        listening.cancel()

    async def listen(self, reader: asyncio.StreamReader) -> None:
        frames = frames_to_worker()
        while data := await self.more(reader):
            for message in frames.feed(data):
                if isinstance(message, Update):
                    self.apply(message)
                    self.writer.write(frame(Serving(message.generation)))
                elif isinstance(message, Drain):
                    self.state["draining"] = True
                    if not message.listening and not self.stubborn:
                        self.stopped.set()
                elif isinstance(message, WorkerSettings):
                    self.settings = message
                else:
                    self.state["tickets"] = [hashlib.sha256(key.value).hexdigest() for key in message.keys]
            await self.hearing.wait()
        if not self.stubborn:
            self.stopped.set()

    async def live(self) -> None:
        """Gives a sign of life each second."""
        while True:
            await asyncio.sleep(1)
            generation = self.state["generation"]
            if isinstance(generation, int) and not self.mute:
                self.writer.write(frame(Serving(generation)))

    async def more(self, reader: asyncio.StreamReader) -> bytes:
        """Empty at the end of the link, also if its other end had not read all that was said."""
        try:
            return await reader.read(1 << 16)
        except ConnectionError:
            return b""

    def apply(self, update: Update) -> None:
        if update.full:
            self.hosts.clear()
            self.endpoints.clear()
            self.state["fulls"] = int(str(self.state["fulls"])) + 1
        elif self.state["generation"] != update.generation - 1:
            sys.exit(f"generation {update.generation} after {self.state['generation']}")
        self.hosts |= {host.host for host in update.virtual_hosts}
        self.hosts -= set(update.removed_hosts)
        for cluster in update.clusters:
            self.endpoints[str(cluster.key)] = [str(endpoint) for endpoint in cluster.endpoints]
        for key in update.removed_clusters:
            del self.endpoints[str(key)]
        self.state["generation"] = update.generation

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        words = (await reader.readline()).decode().split()
        if not words:
            writer.close()
            return
        _, what, *rest = words[1].split("/")
        match what:
            case "exit":
                os._exit(int(rest[0]))
            case "garbage":
                self.writer.write(b"\0\0\0\1\xc1")
            case "deaf":
                self.hearing.clear()
            case "hear":
                self.hearing.set()
            case "stubborn":
                self.stubborn = True
            case "mute":
                self.mute = True
            case "report":
                open_now = Sample("downstream_connections_open", "idle", 5)
                self.writer.write(frame(Report(counters=(Sample("requests", "", float(rest[0])),), gauges=(open_now,))))
        worker = {"worker": self.settings.worker, "workers": self.settings.workers} if self.settings else {}
        body = json.dumps(self.state | worker | {"hosts": sorted(self.hosts), "endpoints": self.endpoints}).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(body), body))
        await writer.drain()
        writer.close()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--link-fd", type=int, required=True)
    parser.add_argument("--listen-fd", type=int, action="append", default=[])
    parser.add_argument("--tls-listen-fd", type=int, action="append", default=[])
    given = parser.parse_args()
    if (broken := os.environ.get("STAND_IN_BROKEN")) and os.path.exists(broken):
        sys.exit(3)
    listeners = [socket.socket(fileno=fd) for fd in given.listen_fd]
    asyncio.run(StandIn(socket.socket(fileno=given.link_fd)).serve(listeners))


if __name__ == "__main__":
    main()
