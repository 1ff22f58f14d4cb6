"""`ingressd demo`: every line that it prints, run as printed; what stops it, and what it leaves behind.

INGRESSD_DEMO may hold another command line that starts the demo, such as `make demo` in a fresh clone (.ci/run does
that). Then it is run in the current directory with its own ports and manifests, else with free ports and a copy.
"""

import asyncio
import contextlib
import os
import re
import selectors
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from ingressd.aio import spawn
from ingressd.demo import upstream, websocket
from ingressd.demo.ports import ADDRESS, free_port
from ingressd.demo.upstream import Server
from tests.kit import DEADLINE, Client, chunked, get, request

MANIFESTS = Path(__file__).parent.parent / "manifests" / "demo"
PORTS = ("18081", "18082", "18083")
LAST_LINE = "Ctrl-C ends everything."
START_WITHIN = 60.0
"""Seconds: `make demo` looks first whether anything has to be compiled."""


class Line(NamedTuple):
    """A printed command, and the texts that must be in its output."""

    command: str
    expected: list[str]


class Demo:
    """A running demo. What it prints is read up to the last line of the tour, and then again by `stop`."""

    def __init__(self, command: list[str], manifests: Path) -> None:
        self.manifests = manifests
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
        )
        self.printed = ""

    def read_tour(self) -> None:
        """Reads until all is printed. Raises AssertionError with what was printed if that does not come."""
        assert self.process.stdout is not None
        end = time.monotonic() + START_WITHIN
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while LAST_LINE not in self.printed:
                assert selector.select(end - time.monotonic()), self.printed
                data = os.read(self.process.stdout.fileno(), 65536)
                assert data, self.printed
                self.printed += data.decode()

    @property
    def lines(self) -> list[Line]:
        """The commands of the tour. Each follows its explanation, where the texts to expect stand in quotes."""
        found = re.findall(r"^# .*?\. Expect (.+)\.\n(.+)\n", self.printed, re.MULTILINE)
        return [Line(command, re.findall(r'"([^"]+)"', texts)) for texts, command in found]

    @property
    def http_port(self) -> int:
        return int(re.findall(r"http://localhost:(\d+)/hello", self.printed)[0])

    def descendants(self) -> set[int]:
        """The processes it has started, and those which they have."""
        found: set[int] = set()
        left = {self.process.pid}
        while left:
            children = {pid for pid in _processes() if _parent(pid) in left}
            left = children - found
            found |= children
        return found

    def stop(self) -> int:
        """Sends what Ctrl-C sends, to the whole group as a terminal does, and waits. Gives the exit code. Asserts that
        no process is left."""
        started = self.descendants()
        os.killpg(self.process.pid, signal.SIGINT)
        try:
            rest, _ = self.process.communicate(timeout=DEADLINE)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        self.printed += rest.decode()
        assert not [pid for pid in started if _parent(pid)], self.printed
        assert "Traceback" not in self.printed
        return self.process.returncode

    def kill(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
            self.process.communicate()


def _processes() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def _copied(folder: Path) -> Path:
    """The manifests with other ports, so that a demo that runs on this machine is not in the way."""
    copy = folder / "manifests"
    shutil.copytree(MANIFESTS, copy)
    slices = copy / "endpoints.yaml"
    text = slices.read_text()
    for fixed, free in zip(PORTS, (str(free_port()) for _ in PORTS), strict=True):
        text = text.replace(fixed, free)
    slices.write_text(text)
    return copy


def _command(manifests: Path, *more: str) -> list[str]:
    ports = ["--http-port", "0", "--https-port", "0", "--healthz-port", "0"]
    return [sys.executable, "-m", "ingressd", "demo", *ports, "--manifests", str(manifests), *more]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    if command := os.environ.get("INGRESSD_DEMO"):
        demo = Demo(shlex.split(command), Path("manifests/demo"))
    else:
        manifests = _copied(tmp_path_factory.mktemp("demo"))
        demo = Demo(_command(manifests), manifests)
    try:
        demo.read_tour()
        yield demo
        demo.stop()
    finally:
        demo.kill()


def _run(command: str) -> str:
    """The output of a pasted line. curl gives 28 where it hung up as told, on a WebSocket."""
    done = subprocess.run(command, shell=True, capture_output=True, timeout=DEADLINE)
    assert done.returncode in (0, 28), done.stderr
    return done.stdout.decode(errors="replace")


def test_every_printed_line_shows_what_is_said_of_it(demo: Demo) -> None:
    before = {path.name: path.read_bytes() for path in demo.manifests.iterdir()}
    assert len(demo.lines) == demo.printed.count("\n# ") == 15
    for line in demo.lines:
        assert line.expected, f"nothing quoted is expected of {line.command}"
        output = _run(line.command)
        for text in line.expected:
            assert text in output, f"{line.command}\nshould show {text!r} and shows\n{output}"
    assert {path.name: path.read_bytes() for path in demo.manifests.iterdir()} == before


def test_the_round_is_even_on_one_connection(demo: Demo) -> None:
    (line,) = (line for line in demo.lines if "[1-6]" in line.command)
    servers = [text.split()[1] for text in _run(line.command).splitlines()]
    assert sorted(servers) == ["one", "one", "three", "three", "two", "two"]
    assert servers[:3] == servers[3:]


def test_the_edit_is_served_only_while_it_lasts(demo: Demo) -> None:
    edit, undo = (line.command for line in demo.lines if line.command.startswith("sed"))
    basket = edit.rpartition(";")[2]
    _run(edit)
    assert "server two" in _run(basket)
    _run(undo)
    three = _run(basket.replace("/items", "/[1-3]"))
    assert set(re.findall(r"^server (\w+)", three, re.MULTILINE)) == {"one", "two", "three"}


async def test_a_websocket_echoes_through_the_proxy(demo: Demo) -> None:
    async with Client(demo.http_port) as client:
        await client.send(_handshake("chat.localhost", "/ws"))
        assert (await client.message_head()).status == 101
        greeting = await _frame(client)
        assert greeting[0] == 0x81
        assert greeting[1].startswith(b"hello from server three")
        for first, payload in [(0x82, b"x" * 100_000), (0x01, b"begin"), (0x80, b"end"), (0x82, b"")]:
            await client.send(_masked(first, payload))
            assert await _frame(client) == (first, payload)
        await client.send(_masked(0x89, b"are you there"))
        assert await _frame(client) == (0x8A, b"are you there")
        await client.send(_masked(0x88, b"\x03\xe8bye"))
        assert await _frame(client) == (0x88, b"\x03\xe8")
        assert await client.ended()


def test_ctrl_c_ends_everything(tmp_path: Path) -> None:
    manifests = _copied(tmp_path)
    demo = Demo(_command(manifests), manifests)
    try:
        demo.read_tour()
        assert demo.descendants(), "there should be workers"
        assert demo.stop() == 0, demo.printed
    finally:
        demo.kill()
    for port in (demo.http_port, *(server.port for server in upstream.named_servers(manifests))):
        socket.create_server(("127.0.0.1", port)).close()


def _refusal(command: list[str]) -> str:
    """What a demo says that cannot start: one line on stderr, and exit code 2."""
    done = subprocess.run(command, capture_output=True, timeout=START_WITHIN, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    return line


def test_a_port_in_use_is_one_line(tmp_path: Path) -> None:
    manifests = _copied(tmp_path)
    taken = upstream.named_servers(manifests)[1].port
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        line = _refusal(_command(manifests, "--http-port", str(port)))
        assert line.startswith(f"ingressd: cannot listen on 127.0.0.1:{port} (--http-port): another process listens")
    with socket.create_server(("127.0.0.1", taken)):
        line = _refusal(_command(manifests))
        assert f"cannot listen on 127.0.0.1:{taken} for server two: another process listens there" in line


def test_a_missing_directory_is_one_line(tmp_path: Path) -> None:
    assert str(tmp_path / "none") in _refusal(_command(tmp_path / "none"))
    assert "no EndpointSlice" in _refusal(_command(tmp_path))


def test_each_server_is_named_once() -> None:
    numbered = zip(("one", "two", "three"), map(int, PORTS), strict=True)
    assert upstream.named_servers(MANIFESTS) == [Server(name, "127.0.0.1", port) for name, port in numbered]


async def test_a_server_shows_what_it_got() -> None:
    async with _serving() as server, Client(server.port) as client:
        answer = await client.ask(get("/a?b", "X-Color: blue"))
        assert answer.status == 200
        assert answer.body.decode() == f"{server}\nGET /a?b HTTP/1.1\nHost: a.example\nX-Color: blue\n"
        head = await client.ask(request("HEAD"))
        assert (head.status, head.body) == (200, b"")
        assert (await client.ask(request("POST", body=b"x" * 100_000))).body.endswith(b"\nbody of 100000 bytes\n")
        await client.send(
            request("POST", "/", "Transfer-Encoding: chunked") + chunked(b"ab", b"cde", trailers=b"A: b\r\n")
        )
        assert (await client.response()).body.endswith(b"\nbody of 5 bytes\n")
        assert (await client.ask(get("/after"))).status == 200


async def test_a_server_cuts_off_a_client_that_breaks_the_websocket_protocol() -> None:
    async with _serving() as server:
        for wrong in (b"\x81\x02hi", b"\x82\xff" + (websocket.MAX_FRAME + 1).to_bytes(8, "big")):
            async with Client(server.port) as client:
                await client.send(_handshake("a.example", "/"))
                await client.message_head()
                await _frame(client)
                await client.send(wrong)
                assert await _frame(client) == (0x88, b"")
                assert await client.ended()


def test_the_accept_value_is_that_of_the_rfc() -> None:
    """The example of RFC 6455 section 1.3."""
    assert websocket.accept_value("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


@contextlib.asynccontextmanager
async def _serving() -> AsyncIterator[Server]:
    """One server, in this process."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        server = Server("test", *sock.getsockname())
        serving = spawn(upstream.serve([(server, sock)]), "server")
        yield server
        serving.cancel()
        await asyncio.wait([serving])


def _handshake(host: str, path: str) -> bytes:
    fields = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAA")
    return get(path, *fields, host=host)


def _masked(first: int, payload: bytes) -> bytes:
    """A frame as clients send it (RFC 6455 section 5.3)."""
    size = len(payload)
    length = bytes((0x80 | size,)) if size < 126 else b"\xff" + size.to_bytes(8, "big")
    mask = b"\x01\x02\x03\x04"
    return bytes((first,)) + length + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))


async def _frame(client: Client) -> tuple[int, bytes]:
    """First byte and payload of a frame as servers send it."""
    first, size = await client.read_exactly(2)
    if size >= 126:
        size = int.from_bytes(await client.read_exactly(2 if size == 126 else 8), "big")
    return first, await client.read_exactly(size)


def test_a_free_port_is_for_one_who_asks_and_no_other() -> None:
    taken = {free_port() for _ in range(20)}
    assert len(taken) == 20
    for number in taken:
        # Who looks for a free one meets it, in whatever process; who was given it can listen on it.
        with socket.socket() as other, pytest.raises(OSError, match="Address already in use"):
            other.bind((ADDRESS, number))
        with socket.create_server((ADDRESS, number)):
            pass
