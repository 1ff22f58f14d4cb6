"""Users for locust that know hostnames: each connects to the address of --host and asks there for a virtual host.

    make loadtest
    locust -f loadtest/locustfile.py --host http://localhost:8080
    locust -f loadtest/locustfile.py --host https://192.0.2.10 --pages shop.example.com/ --headless -u 50 Browser

So no DNS is needed, and it is certain what is measured: the name goes into Host and, over TLS, into SNI, where the
certificate is checked against it. The places to ask for are options, by default those of `ingressd demo`;
docs/loadtest.md has them all. Needs nothing but locust and what comes with it, so this file alone can be given to
locust elsewhere.
"""

import http.client
import os
import random
import socket
import ssl
import time
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar, NamedTuple
from urllib.parse import urlsplit

import websocket
from locust import User, between, events, task
from locust.argument_parser import LocustArgumentParser
from locust.contrib.fasthttp import FastHttpSession
from locust.exception import StopUser

TIMEOUT = 30.0
"""Seconds to wait for a connection, for bytes of a response, for a message."""
UPLOAD_BYTES = (1 << 10, 64 << 10, 1 << 20)
MESSAGE_BYTES = (8, 125, 1000, 70_000)
"""Of WebSocket messages: one size for each of the three forms of a frame's length (RFC 6455, section 5.2), and 8."""
SLOW_PIECES = 12
SLOW_PAUSE = 0.1
"""Into how many pieces a slow client cuts what it sends or reads, and the seconds before each."""
SLOW_BODY = 6000
"""Bytes that a slow client uploads."""


class Place(NamedTuple):
    """A virtual host and a path in it."""

    name: str
    path: str

    def __str__(self) -> str:
        return self.name + self.path


def places(text: str) -> list[Place]:
    """`shop.localhost/, shop.localhost/cart` as places; a name alone is its `/`."""
    found = []
    for word in text.replace(",", " ").split():
        name, slash, path = word.partition("/")
        if not name or ":" in name:
            raise ValueError(f"{word!r} is not a host name and a path: write shop.example.com/path, without a scheme")
        found.append(Place(name, slash + path or "/"))
    return found


@events.init_command_line_parser.add_listener
def _options(parser: LocustArgumentParser) -> None:
    def add(option: str, default: str, what: str) -> None:
        variable = "LOADTEST_" + option.removeprefix("--").replace("-", "_").upper()
        parser.add_argument(option, default=default, env_var=variable, help=f"{what} (default: {default or 'none'})")

    many = "places, such as shop.example.com/cart, in a list; without any there are no such users:"
    add("--pages", "shop.localhost/, shop.localhost/cart/items, fr.shop.localhost/", f"{many} what Browser asks for")
    add("--api-calls", "shop.localhost/cart/total, shop.localhost/cart/items", f"{many} what ApiClient calls")
    add("--uploads", "shop.localhost/", f"{many} where Uploader sends bodies of up to 1 MiB")
    add("--websockets", "chat.localhost/ws", f"{many} where WebSocketUser talks; they have to echo")
    add("--slow", "shop.localhost/, shop.localhost/cart/items", f"{many} what SlowClient asks for")
    add("--ca-file", "", "PEM file of the authority to check certificates with, in place of the system's")
    parser.add_argument(
        "--insecure", action="store_true", env_var="LOADTEST_INSECURE", help="do not check certificates"
    )


class Visitor(User):
    """What all kinds have: the address that --host names, and places of their own."""

    abstract = True
    option: ClassVar[str]
    """The attribute of the parsed options that has the places."""

    def on_start(self) -> None:
        """Each user has connections of its own, as a browser has. Without places it ends."""
        self.options: Namespace = self.environment.parsed_options
        self.places = places(getattr(self.options, self.option))
        if not self.places:
            raise StopUser()
        self.base = (self.host or "").rstrip("/")
        self.tls = self.base.startswith("https://")
        self._sessions: dict[str, FastHttpSession] = {}

    def ask(
        self,
        method: str,
        place: Place,
        data: bytes | None = None,
        headers: dict[str, str] | None = None,
        query: str = "",
    ) -> None:
        """One request; anything from status 400 on is a failure. Redirects are not followed: they lead to a name, and
        so perhaps away from what is measured."""
        session = self._sessions.get(place.name) or self._sessions.setdefault(place.name, self._session(place.name))
        session.request(method, place.path + query, name=str(place), data=data, headers=headers, allow_redirects=False)

    def _session(self, name: str) -> FastHttpSession:
        """Kept for each name, because the name belongs to a TLS connection from its start."""
        return FastHttpSession(
            base_url=self.base,
            request_event=self.environment.events.request,
            user=self,
            insecure=bool(self.options.insecure),
            ssl_context_factory=lambda cafile: self._context(),
            headers={"Host": name},
            ssl_options={"server_hostname": name},
            max_retries=0,
            network_timeout=TIMEOUT,
            connection_timeout=TIMEOUT,
            concurrency=2,
        )

    def _context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.options.ca_file or None)
        if self.options.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    def connect(self, name: str) -> socket.socket:
        """A connection to the address, over TLS if --host says https, for virtual host `name`."""
        address = urlsplit(self.base)
        sock = socket.create_connection((address.hostname or "", address.port or (443 if self.tls else 80)), TIMEOUT)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self._context().wrap_socket(sock, server_hostname=name) if self.tls else sock

    @contextmanager
    def counted(self, kind: str, place: Place) -> Iterator["Count"]:
        """Tells locust how long the block took, and whether it failed; an exception ends here."""
        count = Count()
        failure: Exception | None = None
        begun, since = time.perf_counter(), time.time()
        try:
            yield count
        except (OSError, ValueError, http.client.HTTPException, websocket.WebSocketException) as error:
            failure = error
            count.failed = True
        self.environment.events.request.fire(
            request_type=kind,
            name=str(place),
            response_time=(time.perf_counter() - begun) * 1000,
            response_length=count.received,
            exception=failure,
            context={},
            start_time=since,
            url=self.base + place.path,
        )


class Count:
    """Bytes that a client has received, and whether it gave up."""

    def __init__(self) -> None:
        self.received = 0
        self.failed = False


class Browser(Visitor):
    """Looks at pages, one after the other, at a person's pace when in a hurry."""

    option = "pages"
    weight = 10
    wait_time = between(0.1, 1.0)

    @task(8)
    def page(self) -> None:
        self.ask("GET", random.choice(self.places), headers={"Accept": "text/html"})

    @task(1)
    def with_query(self) -> None:
        query = f"?page={random.randrange(100)}"
        self.ask("GET", random.choice(self.places), headers={"Cookie": "session=1"}, query=query)

    @task(1)
    def head(self) -> None:
        self.ask("HEAD", random.choice(self.places))


class ApiClient(Visitor):
    """A program: small calls of several methods, without much of a pause."""

    option = "api_calls"
    weight = 6
    wait_time = between(0.01, 0.05)
    HEADERS: ClassVar = {"Accept": "application/json", "Content-Type": "application/json"}

    @task(6)
    def read(self) -> None:
        self.ask("GET", random.choice(self.places), headers={"Accept": "application/json"})

    @task(2)
    def create(self) -> None:
        self.ask("POST", random.choice(self.places), b'{"item": 1, "count": 2}', self.HEADERS)

    @task(1)
    def replace(self) -> None:
        self.ask("PUT", random.choice(self.places), b'{"count": 3}', self.HEADERS)


class Uploader(Visitor):
    """Sends files."""

    option = "uploads"
    weight = 2
    wait_time = between(0.1, 0.5)

    @task(1)
    def upload(self) -> None:
        body = os.urandom(random.choice(UPLOAD_BYTES))
        self.ask("POST", random.choice(self.places), body, {"Content-Type": "application/octet-stream"})


class WebSocketUser(Visitor):
    """Opens a WebSocket, says some things, waits for each to come back, and leaves."""

    option = "websockets"
    weight = 2
    wait_time = between(0.1, 0.5)

    @task(1)
    def talk(self) -> None:
        place = random.choice(self.places)
        with self.counted("WS open", place) as opening:
            sock = self.connect(place.name)
            try:
                url = f"{'wss' if self.tls else 'ws'}://{place}"
                connection = websocket.create_connection(url, TIMEOUT, host=place.name, socket=sock)
            except BaseException:
                sock.close()
                raise
        if opening.failed:
            return
        try:
            for number in range(random.randint(1, 10)):
                message = f"{number}:".ljust(random.choice(MESSAGE_BYTES), "x")
                with self.counted("WS echo", place) as count:
                    self._echo(connection, message, count)
                time.sleep(random.uniform(0.01, 0.2))
        finally:
            connection.close()

    def _echo(self, connection: websocket.WebSocket, message: str, count: Count) -> None:
        connection.send(message)
        end = time.monotonic() + TIMEOUT
        while time.monotonic() < end:  # a greeting, or what others say, may come before
            heard = connection.recv()
            count.received += len(heard)
            if heard == message:
                return
        raise TimeoutError("the message did not come back")


class SlowClient(Visitor):
    """Sends and reads in small pieces, with pauses, each time on a new connection."""

    option = "slow"
    weight = 2
    wait_time = between(0.1, 1.0)

    @task(1)
    def slow_head(self) -> None:
        place = random.choice(self.places)
        self._exchange("SLOW head", place, self._head("GET", place))

    @task(1)
    def slow_upload(self) -> None:
        place = random.choice(self.places)
        self._exchange("SLOW upload", place, self._head("POST", place, SLOW_BODY) + bytes(SLOW_BODY))

    @task(1)
    def slow_reader(self) -> None:
        place = random.choice(self.places)
        with self.counted("SLOW read", place) as count, self.connect(place.name) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.sendall(self._head("GET", place))
            self._read(sock, count, SLOW_PAUSE)

    def _exchange(self, kind: str, place: Place, request: bytes) -> None:
        with self.counted(kind, place) as count, self.connect(place.name) as sock:
            step = len(request) // SLOW_PIECES + 1
            for at in range(0, len(request), step):
                time.sleep(SLOW_PAUSE)
                sock.sendall(request[at : at + step])
            self._read(sock, count, 0.0)

    def _read(self, sock: socket.socket, count: Count, pause: float) -> None:
        """Reads a response. Raises OSError, ValueError or HTTPException if there is none, or none below 400."""
        response = http.client.HTTPResponse(sock)
        response.begin()
        step = (response.length or 0) // SLOW_PIECES + 1024
        while data := response.read(step):
            count.received += len(data)
            time.sleep(pause)
        if response.length:
            raise http.client.IncompleteRead(b"", response.length)
        if response.status >= 400:
            raise ValueError(f"status {response.status}")

    def _head(self, method: str, place: Place, length: int = 0) -> bytes:
        lines = [f"{method} {place.path} HTTP/1.1", f"Host: {place.name}", "User-Agent: slow", "Connection: close"]
        if length:
            lines.append(f"Content-Length: {length}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode()
