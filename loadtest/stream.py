"""How much memory the worker takes while it carries a body of many GiB to a peer that does not keep up.

    .venv/bin/python loadtest/stream.py
    .venv/bin/python loadtest/stream.py --gib 1 --direction up --framing chunked --slow 64:100

The sender is always ready; the receiver reads in bursts and pauses in between, so the sender is held back much of the
time. Every block carries its number, which the receiver checks. Ends with 1 if the worker's resident memory rose by
more than 32 MiB over what it was before the transfer.
"""

import argparse
import contextlib
import json
import queue
import signal
import socket
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO, NoReturn, cast

import rig
from rig import Process, RigError, Upstreams

MIB = 1 << 20
GIB = 1 << 30
BLOCK = MIB
"""Bytes between two block numbers; also the size of a chunk sent."""
NUMBER = struct.Struct(">Q")
MAX_GROWTH = 32 * MIB
PATIENCE = 60.0
"""Seconds after which a peer gives up waiting."""
SAMPLE = 0.02
"""Seconds between two looks at the worker's memory."""

DIRECTIONS = ("up", "down")
FRAMINGS = ("length", "chunked", "close")


@dataclass(frozen=True)
class Slow:
    """The receiver's pace: reads `burst` bytes, then does nothing for `pause` seconds; 0 bytes: it never pauses."""

    burst: int
    pause: float

    @classmethod
    def parse(cls, text: str) -> "Slow":
        """`none`, or MiB:milliseconds."""
        if text == "none":
            return cls(0, 0.0)
        burst, colon, pause = text.partition(":")
        if not colon or not burst.isdigit() or not pause.isdigit() or int(burst) == 0:
            raise argparse.ArgumentTypeError(f"{text!r} is neither `none` nor MiB:milliseconds, as in 16:20")
        return cls(int(burst) * MIB, int(pause) / 1000)


@dataclass(frozen=True)
class Transfer:
    """A measured transfer; memory of the worker in bytes, CPU time of all processes."""

    direction: str
    framing: str
    size: int
    seconds: float
    cpu_seconds: float
    idle: int
    highest: int

    @property
    def growth(self) -> int:
        return self.highest - self.idle


def main() -> int:
    options = _arguments()
    directions = DIRECTIONS if options.direction == "both" else (options.direction,)
    framings = FRAMINGS if options.framing == "all" else (options.framing,)
    size = round(options.gib * GIB)
    transfers = []
    print(
        f"{'':14} {'GiB':>6} {'seconds':>8} {'GiB/s':>6} {'CPU s/GiB':>10} {'idle MiB':>9} {'highest':>8} {'rise':>6}"
    )
    with tempfile.TemporaryDirectory(prefix="ingressd-stream-") as directory, _listening() as upstream:
        port: int = upstream.getsockname()[1]
        with rig.ingressd(Path(directory) / "ingressd", Upstreams(port, port), 1) as process:
            for direction in directions:
                for framing in framings:
                    if (direction, framing) == ("up", "close"):
                        continue  # A request cannot be ended by close.
                    transfer = _transfer(process, upstream, direction, framing, size, options.slow)
                    transfers.append(transfer)
                    print(_line(transfer), flush=True)
    if options.json:
        options.json.write_text(json.dumps([asdict(transfer) for transfer in transfers], indent=2))
    return max(transfer.growth for transfer in transfers) > MAX_GROWTH


def _transfer(
    process: Process, upstream: socket.socket, direction: str, framing: str, size: int, slow: Slow
) -> Transfer:
    failures: queue.Queue[BaseException] = queue.Queue()
    with contextlib.closing(socket.create_connection((rig.LOOPBACK, process.port), PATIENCE)) as client:
        serving = _spawn(lambda: _serve(upstream, direction, framing, size, slow), failures)
        idle = process.resident()
        with _highest(process) as highest:
            cpu, started = sum(process.cpu()), time.monotonic()
            if direction == "up":
                client.sendall(_head("PUT / HTTP/1.1", framing, size))
                _send(client, framing, size)
                _read_head(cast(BinaryIO, client.makefile("rb")))
            else:
                # Only a client of HTTP/1.0 gets a body that ends with the connection.
                version = "1.0" if framing == "close" else "1.1"
                client.sendall(f"GET / HTTP/{version}\r\nHost: {rig.host(0)}\r\n\r\n".encode())
                _receive(cast(BinaryIO, client.makefile("rb", MIB)), size, slow)
            seconds, cpu = time.monotonic() - started, sum(process.cpu()) - cpu
        serving.join(PATIENCE)
        if not failures.empty():
            raise RigError(f"the upstream failed: {failures.get()!r}")
    return Transfer(direction, framing, size, seconds, cpu, idle, highest[0])


def _serve(upstream: socket.socket, direction: str, framing: str, size: int, slow: Slow) -> None:
    """Plays the endpoint for one request."""
    connection, _ = upstream.accept()
    with contextlib.closing(connection):
        connection.settimeout(PATIENCE)
        file = cast(BinaryIO, connection.makefile("rb", MIB))
        if direction == "up":
            _receive(file, size, slow)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        else:
            _read_head(file)
            connection.sendall(_head("HTTP/1.1 200 OK", framing, size))
            _send(connection, framing, size)


def _head(line: str, framing: str, size: int) -> bytes:
    fields = {"length": f"Content-Length: {size}\r\n", "chunked": "Transfer-Encoding: chunked\r\n", "close": ""}
    return f"{line}\r\nHost: {rig.host(0)}\r\n{fields[framing]}\r\n".encode()


def _send(connection: socket.socket, framing: str, size: int) -> None:
    """A body of numbered blocks."""
    chunked = framing == "chunked"
    front = b"%x\r\n" % BLOCK if chunked else b""
    block = bytearray(front + bytes(BLOCK) + (b"\r\n" if chunked else b""))
    for number in range(size // BLOCK):
        NUMBER.pack_into(block, len(front), number)
        connection.sendall(block)
    if chunked:
        connection.sendall(b"0\r\n\r\n")


def _read_head(file: BinaryIO) -> dict[bytes, bytes]:
    """Fields by their names in lower case."""
    lines = iter(file.readline, b"\r\n")
    first = next(lines, b"")
    if first.startswith(b"HTTP/") and b" 200 " not in first:
        raise RigError(f"answered {first!r}")
    if not first:
        raise RigError("the connection ended in place of a head")
    return {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}


def _receive(file: BinaryIO, size: int, slow: Slow) -> None:
    """Reads a message with a body of numbered blocks, at the pace asked for. Raises RigError if it is another."""
    fields = _read_head(file)
    room = memoryview(bytearray(BLOCK))
    at = 0
    rest = slow.burst
    for piece in _pieces(file, room, fields):
        first = -at % BLOCK
        if first + NUMBER.size <= len(piece) and NUMBER.unpack_from(piece, first)[0] != (at + first) // BLOCK:
            raise RigError(f"block {(at + first) // BLOCK} is another")
        at += len(piece)
        rest -= len(piece)
        if slow.burst and rest <= 0:
            rest = slow.burst
            time.sleep(slow.pause)
    if at != size:
        raise RigError(f"{at} bytes came of {size}")


def _pieces(file: BinaryIO, room: memoryview, fields: dict[bytes, bytes]) -> Iterator[memoryview]:
    """The body as it comes; each piece is good until the next."""
    read = cast(Callable[[memoryview], int], file.readinto1)  # type: ignore[attr-defined]
    if b"transfer-encoding" in fields:
        while remaining := int(file.readline(), 16):
            while remaining:
                count = read(room[:remaining])
                remaining -= count
                yield room[:count]
            file.readline()
        return
    remaining = int(fields.get(b"content-length", 1 << 62))
    while remaining and (count := read(room[:remaining])):
        remaining -= count
        yield room[:count]


@contextlib.contextmanager
def _highest(process: Process) -> Iterator[list[int]]:
    """One figure: the worker's highest resident memory while the block lasts."""
    highest = [process.resident()]
    over = threading.Event()

    def look() -> None:
        while not over.wait(SAMPLE):
            highest[0] = max(highest[0], process.resident())

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield highest
    finally:
        over.set()
        looking.join()


@contextlib.contextmanager
def _listening() -> Iterator[socket.socket]:
    with socket.create_server((rig.LOOPBACK, 0)) as listening:
        listening.settimeout(PATIENCE)
        yield listening


def _spawn(work: Callable[[], None], failures: "queue.Queue[BaseException]") -> threading.Thread:
    def run() -> None:
        try:
            work()
        except Exception as error:
            failures.put(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def _line(transfer: Transfer) -> str:
    gib = transfer.size / GIB
    return (
        f"{transfer.direction + ' ' + transfer.framing:14} {gib:6.1f} {transfer.seconds:8.1f} "
        f"{gib / transfer.seconds:6.2f} {transfer.cpu_seconds / gib:10.2f} {transfer.idle / MIB:9.1f} "
        f"{transfer.highest / MIB:8.1f} {transfer.growth / MIB:6.1f}"
    )


def _arguments() -> argparse.Namespace:
    description = "Stream large bodies through ingressd to a slow receiver and watch the worker's memory."
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--gib", type=float, default=10.0, help="size of each body (10)")
    parser.add_argument("--direction", choices=(*DIRECTIONS, "both"), default="both")
    parser.add_argument("--framing", choices=(*FRAMINGS, "all"), default="all", help="close: responses only")
    slow = "the receiver reads so many MiB, then rests so many milliseconds; or none (16:20)"
    parser.add_argument("--slow", type=Slow.parse, default="16:20", metavar="MIB:MS", help=slow)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    return parser.parse_args()


def _terminate(number: int, frame: object) -> NoReturn:
    sys.exit(128 + number)


if __name__ == "__main__":
    # So that the processes it started end with it.
    signal.signal(signal.SIGTERM, _terminate)
    try:
        sys.exit(main())
    except RigError as error:
        sys.exit(f"stream: {error}")
