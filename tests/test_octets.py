"""The functions of ingressd.octets mean the same in Python and in C.

Compiled modules have the C ones inline, so a small module that does nothing but call them is compiled here. Without
Cython or a C compiler there is nothing to compare, and the Python ones are tested alone.
"""

import contextlib
import importlib.util
import os
import select
import shlex
import shutil
import socket
import struct
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Protocol

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingressd import octets
from tests.kit import DEADLINE

ROOT = Path(octets.__file__).parents[2]
COMPILER = shlex.split(sysconfig.get_config_var("CC") or "cc")[0]
HEADER = Path(sysconfig.get_path("include"), "Python.h")

SOURCE = """
from ingressd cimport octets

def join(list parts):
    return octets.join(parts)

def decimal(long long value):
    return octets.decimal(value)

def receive(int descriptor):
    return octets.receive(descriptor)

def send(int descriptor, bytes data, Py_ssize_t start):
    return octets.send(descriptor, data, start)

def accept(listening):
    return octets.accept(listening)

def poll(epoll, int descriptor):
    return octets.poll(epoll, descriptor)

def write_lines(int descriptor, bytes lines, Py_ssize_t start, Py_ssize_t longest):
    return octets.write_lines(descriptor, lines, start, longest)
"""


class Octets(Protocol):
    """What both are."""

    def join(self, parts: list[bytes]) -> bytes: ...
    def decimal(self, value: int) -> bytes: ...
    def receive(self, descriptor: int) -> bytes | None: ...
    def send(self, descriptor: int, data: bytes, start: int) -> int: ...
    def accept(self, listening: socket.socket) -> tuple[int, object] | None: ...
    def poll(self, epoll: select.epoll, descriptor: int) -> list[int]: ...
    def write_lines(self, descriptor: int, lines: bytes, start: int, longest: int) -> int: ...


KINDS = ["python"]
if importlib.util.find_spec("Cython") and shutil.which(COMPILER) and HEADER.is_file():
    KINDS.append("c")


@pytest.fixture(scope="module", params=KINDS)
def functions(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Octets:
    if request.param == "python":
        return octets
    source = tmp_path_factory.mktemp("octets") / "octets_in_c.pyx"
    source.write_text(SOURCE)
    command = [sys.executable, "-m", "Cython.Build.Cythonize", "-q", "-i", "-3", source.name]
    # Cython looks for `ingressd` where Python does.
    environment = dict(os.environ, CFLAGS="-O1", PYTHONPATH=str(ROOT))
    subprocess.run(command, cwd=source.parent, env=environment, check=True, capture_output=True, text=True)
    [compiled] = [path for path in source.parent.iterdir() if path.name.endswith(EXTENSION_SUFFIXES[0])]
    spec = importlib.util.spec_from_file_location("octets_in_c", compiled)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made: Octets = module
    return made


def connected() -> tuple[socket.socket, socket.socket]:
    """Two ends of a TCP connection; the first does not block."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        ours = socket.create_connection(server.getsockname())
        theirs = server.accept()[0]
    ours.setblocking(False)
    return ours, theirs


def test_join(functions: Octets) -> None:
    @given(st.lists(st.binary(max_size=300), max_size=40))
    def check(parts: list[bytes]) -> None:
        before = list(parts)
        assert functions.join(parts) == b"".join(parts)
        assert parts == before

    check()
    assert functions.join([]) == functions.join([b""]) == b""
    # Nothing of it is shared with bytes of the interpreter's own.
    assert functions.join([b"a"]) == b"a"
    assert functions.join([b"b"]) == b"b"
    assert (b"a", bytes((97,)), b"ab"[:1]) == (b"a",) * 3
    large = [bytes((number,)) * 70_000 for number in range(20)]
    assert functions.join(large) == b"".join(large)


@pytest.mark.parametrize("wrong", [["a"], [b"a", 1]])
def test_join_takes_bytes_alone(functions: Octets, wrong: list[bytes]) -> None:
    with pytest.raises(TypeError):
        functions.join(wrong)


def test_decimal(functions: Octets) -> None:
    @given(st.integers(0, 2**63 - 1))
    def check(value: int) -> None:
        assert functions.decimal(value) == b"%d" % value

    check()
    for value in (0, 9, 10, 99, 100, 2**31 - 1, 2**31, 2**32, 10**18, 10**19 - 1 >> 1, 2**63 - 1):
        assert functions.decimal(value) == b"%d" % value


def test_receive(functions: Octets) -> None:
    ours, theirs = connected()
    with ours, theirs:
        assert functions.receive(ours.fileno()) is None
        for data in (b"x", b"\0\r\n\xff", b"hello"):
            theirs.send(data)
            ours.setblocking(True)
            ours.recv(1, socket.MSG_PEEK)
            ours.setblocking(False)
            assert functions.receive(ours.fileno()) == data
        theirs.shutdown(socket.SHUT_WR)
        ours.setblocking(True)
        ours.recv(1, socket.MSG_PEEK)
        ours.setblocking(False)
        assert functions.receive(ours.fileno()) == b""
        assert functions.receive(ours.fileno()) == b""


def test_receive_takes_so_much_at_a_time(functions: Octets) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        for sock in (ours, theirs):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * octets.RECEIVE)
        sent = 0
        pattern = bytes(range(251)) * 1000
        with contextlib.suppress(BlockingIOError):
            while True:
                sent += theirs.send(pattern[sent % 251 :][:1000])
        received = b""
        while (piece := functions.receive(ours.fileno())) is not None:
            assert len(piece) == min(octets.RECEIVE, sent - len(received))
            received += piece
        assert received == (pattern * (sent // len(pattern) + 1))[:sent]


def test_send(functions: Octets) -> None:
    ours, theirs = connected()
    with ours, theirs:
        for data, start in ((b"hello", 0), (b"hello", 2), (b"h\0llo", 1), (b"hello", 5), (b"", 0)):
            assert functions.send(ours.fileno(), data, start) == len(data) - start
            expected = data[start:]
            assert not expected or theirs.recv(10) == expected


def test_send_takes_what_there_is_room_for(functions: Octets) -> None:
    # Nobody makes room meanwhile, as TCP may.
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        data = bytes(range(256)) * 1024
        sent = 0
        while taken := functions.send(ours.fileno(), data, sent % 256):
            assert taken <= len(data) - sent % 256
            sent += taken
        # Nothing more, and that is no error.
        assert functions.send(ours.fileno(), data, 7) == 0
        received = b""
        while len(received) < sent:
            received += theirs.recv(1 << 20)
        assert received == (data * (sent // len(data) + 1))[:sent]


Operation = Callable[[Octets, int], object]


def receives(functions: Octets, descriptor: int) -> object:
    return functions.receive(descriptor)


def sends(functions: Octets, descriptor: int) -> object:
    return functions.send(descriptor, b"x", 0)


@pytest.mark.parametrize("operation", [receives, sends])
def test_errors_are_those_of_the_kernel(functions: Octets, operation: Operation) -> None:
    ours, theirs = connected()
    with ours:
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        theirs.close()
        reset_comes = select.poll()
        reset_comes.register(ours, select.POLLRDHUP)
        assert reset_comes.poll(10_000)
        with pytest.raises(ConnectionResetError):
            operation(functions, ours.fileno())
        # A reset is told once; then only what cannot be any more is an error.
        with pytest.raises(BrokenPipeError):
            sends(functions, ours.fileno())
        assert receives(functions, ours.fileno()) == b""
        descriptor = ours.fileno()
    with pytest.raises(OSError, match="Bad file descriptor"):
        operation(functions, descriptor)


# --- accept


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_accept(functions: Octets, address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.create_server((address, 0), family=family) as listening:
        listening.setblocking(False)
        assert functions.accept(listening) is None
        with socket.create_connection(listening.getsockname()[:2]) as client:
            assert select.select([listening], [], [], DEADLINE)[0]
            accepted = functions.accept(listening)
            assert accepted is not None
            descriptor, peer = accepted
            with socket.socket(fileno=descriptor) as ours:
                assert peer == client.getsockname()
                assert not os.get_blocking(descriptor)
                assert not os.get_inheritable(descriptor)
                client.sendall(b"x")
                assert select.select([ours], [], [], DEADLINE)[0]
                assert ours.recv(2) == b"x"


def test_accept_of_a_peer_that_has_no_address(functions: Octets, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening, socket.socket(socket.AF_UNIX) as client:
        listening.bind(str(tmp_path / "socket"))
        listening.listen()
        listening.setblocking(False)
        client.connect(str(tmp_path / "socket"))
        accepted = functions.accept(listening)
        assert accepted is not None
        os.close(accepted[0])
        assert accepted[1] is None


def test_accept_of_what_does_not_listen(functions: Octets) -> None:
    with socket.socket() as idle, pytest.raises(OSError, match="Invalid argument"):
        functions.accept(idle)


def test_poll(functions: Octets) -> None:
    ours, theirs = connected()
    with ours, theirs, select.epoll() as epoll:
        assert functions.poll(epoll, epoll.fileno()) == []
        epoll.register(ours.fileno(), select.EPOLLIN)
        assert functions.poll(epoll, epoll.fileno()) == []
        epoll.register(theirs.fileno(), select.EPOLLOUT)
        assert functions.poll(epoll, epoll.fileno()) == [theirs.fileno(), select.EPOLLOUT]
        theirs.sendall(b"x")
        ready = functions.poll(epoll, epoll.fileno())
        assert dict(zip(ready[::2], ready[1::2], strict=True)) == {
            ours.fileno(): select.EPOLLIN,
            theirs.fileno(): select.EPOLLOUT,
        }
    with pytest.raises((OSError, ValueError)):
        functions.poll(epoll, -1)


# --- write_lines


def test_write_lines_writes_whole_lines_at_a_time(functions: Octets) -> None:
    # Of a socket of datagrams each write can be told from the next.
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        theirs.settimeout(DEADLINE)

        @given(st.lists(st.binary(max_size=20).map(lambda line: line.replace(b"\n", b"") + b"\n"), max_size=20))
        def check(lines: list[bytes]) -> None:
            before, batch = b"before\n", b"".join(lines)
            assert functions.write_lines(ours.fileno(), before + batch, len(before), 16) == len(before + batch)
            left = batch
            while left:
                part = theirs.recv(1 << 16)
                assert left.startswith(part)
                assert part.endswith(b"\n")
                assert len(part) <= 16 or part.count(b"\n") == 1
                left = left[len(part) :]
                # As many as there was room for.
                assert not left or len(part) + left.index(b"\n") + 1 > 16

        check()
        assert functions.write_lines(ours.fileno(), b"a line without its end", 2, 4) == 22
        assert theirs.recv(1 << 16) == b"line without its end"


def test_write_lines_gives_how_far_it_came(functions: Octets) -> None:
    reading, writing = os.pipe()
    lines = b"".join(b"%06d\n" % number for number in range(50_000))
    try:
        os.set_blocking(writing, False)
        at = functions.write_lines(writing, lines, 0, select.PIPE_BUF)
        assert 0 < at < len(lines)
        assert functions.write_lines(writing, lines, at, select.PIPE_BUF) == at
        received = os.read(reading, 1 << 20)
        assert received == lines[:at]
        assert functions.write_lines(writing, lines, at, select.PIPE_BUF) > at
        os.close(reading)
        with pytest.raises(BrokenPipeError):
            functions.write_lines(writing, lines, 0, select.PIPE_BUF)
        reading = os.dup(writing)
    finally:
        os.close(reading)
        os.close(writing)
