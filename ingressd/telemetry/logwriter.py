"""Writes access log lines without ever making a request wait.

Lines are collected, handed over once a tick, and written by a thread, because nothing else is sure not to block: a full
pipe blocks its writer, O_NONBLOCK on a standard output is shared with every other process that has it, and a file on a
slow disk cannot be non-blocking at all. When the thread falls behind, lines are dropped and counted.

All workers write to the same place. A pipe that is full takes a part of what one of them writes and then a part of what
another does, but never of less than PIPE_BUF bytes (pipe(7)). So lines go into it in parts of so much, whole ones.
"""

import os
import select
import stat
import threading
from collections import deque

from ingressd import octets

MAX_PENDING = 4 * 1024 * 1024
"""Bytes of lines that may wait for a slow reader; about 15,000 lines."""

BATCH = 64 * 1024
"""Bytes that make a batch leave before the tick."""


class LogWriter:
    """Appends lines to a file descriptor, which stays the caller's."""

    __slots__ = (
        "_batches",
        "_closing",
        "_descriptor",
        "_dropped",
        "_lines",
        "_longest",
        "_pending",
        "_size",
        "_thread",
        "_wake",
        "_written",
    )

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        kind = stat.S_IFMT(os.fstat(descriptor).st_mode)
        self._longest = select.PIPE_BUF if kind in (stat.S_IFIFO, stat.S_IFSOCK) else MAX_PENDING
        """Bytes written at a time, unless a single line is longer."""
        self._lines: list[bytes] = []
        self._size = 0
        self._written = 0
        self._dropped = 0
        self._batches: deque[tuple[int, bytes]] = deque()
        """How many lines, and the lines."""
        self._pending = 0
        self._wake = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="access-log", daemon=True)
        self._thread.start()

    def write(self, line: bytes) -> None:
        """Adds a line; it leaves with the next `flush`."""
        self._lines.append(line)
        self._size += len(line)
        if self._size >= BATCH:
            self.flush()

    def flush(self) -> None:
        """Hands the lines collected so far to the thread, or drops them if it is too far behind."""
        if not self._lines:
            return
        lines, self._lines = self._lines, []
        size, self._size = self._size, 0
        with self._wake:
            if self._pending + size > MAX_PENDING:
                self._dropped += len(lines)
                return
            self._pending += size
            self._batches.append((len(lines), b"".join(lines)))
            self._wake.notify()

    def take(self) -> tuple[int, int]:
        """How many lines were written since the call before, and how many dropped."""
        with self._wake:
            taken = self._written, self._dropped
            self._written = self._dropped = 0
        return taken

    def close(self, timeout: float) -> None:
        """Writes what is left, for at most `timeout` seconds."""
        self.flush()
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join(timeout)

    def _run(self) -> None:
        while True:
            with self._wake:
                while not self._batches and not self._closing:
                    self._wake.wait()
                if not self._batches:
                    return
                lines, batch = self._batches.popleft()
            try:
                self._write(batch)
                lost = False
            except OSError:
                # A reader that went away, or a full disk: the proxy goes on without its log.
                lost = True
            with self._wake:
                self._pending -= len(batch)
                if lost:
                    self._dropped += lines
                else:
                    self._written += lines

    def _write(self, batch: bytes) -> None:
        at = 0
        while (at := octets.write_lines(self._descriptor, batch, at, self._longest)) < len(batch):
            # Somebody else made this descriptor non-blocking.
            select.select([], [self._descriptor], [])
