"""Where lines of the access log go when they cannot be written. Readers that do not read: tests/proxy/test_life.py."""

import os
import select
import socket
import threading

from ingressd.telemetry.logwriter import LogWriter
from tests.kit import DEADLINE


def test_what_a_full_disk_does_not_take_is_dropped_and_counted() -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        writer = LogWriter(full)
        for _ in range(3):
            writer.write(b"a line\n")
            writer.flush()
        writer.close(10)
        assert writer.take() == (0, 3)
    finally:
        os.close(full)


def test_a_pipe_or_a_socket_gets_whole_lines_and_little_at_a_time() -> None:
    # Of a socket of datagrams each write can be told from the next.
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        theirs.settimeout(DEADLINE)
        writer = LogWriter(ours.fileno())
        lines = b""
        for number in range(100):
            line = b"%03d" % number * 50 + b"\n"
            lines += line
            writer.write(line)
        writer.close(DEADLINE)
        while lines:
            part = theirs.recv(len(lines))
            assert lines.startswith(part)
            assert part.endswith(b"\n")
            assert len(part) <= select.PIPE_BUF
            lines = lines[len(part) :]


def test_lines_of_several_workers_are_not_mixed_in_a_pipe_that_is_full() -> None:
    reading, writing = os.pipe()
    known = [b"a" * 299 + b"\n", b"b" * 301 + b"\n"]

    def work(line: bytes) -> None:
        writer = LogWriter(writing)
        for _ in range(10_000):
            writer.write(line)
        writer.close(60)

    workers = [threading.Thread(target=work, args=(line,)) for line in known]
    for worker in workers:
        worker.start()

    def finish() -> None:
        for worker in workers:
            worker.join()
        os.close(writing)

    ends = threading.Thread(target=finish)
    ends.start()
    with os.fdopen(reading, "rb") as log:
        lines = list(log)
    ends.join()
    assert sorted(lines) == [known[0]] * 10_000 + [known[1]] * 10_000
