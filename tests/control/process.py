"""Runs the command `ingressd run` as a process, and asks it questions."""

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

T = TypeVar("T")

DEADLINE = 30.0
"""Seconds; far more than anything here takes."""
REAL = ("ingressd",)
STAND_INS = ("tests.control.with_stand_ins",)
MUTE = ("tests.control.with_mute_workers",)
"""Modules to run: with real workers, with those of stand_in.py, or with a real one and others that are mute."""


def until(probe: Callable[[], T | None], deadline: float = DEADLINE) -> T:
    """The first result of `probe` that is true. It is asked again and again: another process tells nobody when its
    state changes."""
    end = time.monotonic() + deadline
    while not (found := probe()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.002)
    return found


def fetch(port: int, path: str, host: str = "localhost", address: str = "127.0.0.1") -> tuple[int, bytes]:
    """Status and body of a GET."""
    connection = http.client.HTTPConnection(address, port, timeout=DEADLINE)
    try:
        connection.request("GET", path, headers={"Host": host})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


class Running:
    """A process of `ingressd run`. `errors` are the lines of its stderr so far."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.errors: list[str] = []
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._news:
                self.errors.append(line.rstrip("\n"))
                self._news.notify_all()

    def line(self, text: str, count: int = 1) -> str:
        """The `count`th line of stderr that has `text`, once it is there."""
        with self._news:
            assert self._news.wait_for(lambda: len(self.lines(text)) >= count, DEADLINE), self.errors
            return self.lines(text)[count - 1]

    def lines(self, text: str) -> list[str]:
        return [line for line in self.errors if text in line]

    @property
    def port(self) -> int:
        return _port(self.line("listening on "))

    @property
    def admin_port(self) -> int:
        return _port(self.line("admin API on "))

    @property
    def https_port(self) -> int:
        return _port(self.line("HTTPS on "))

    def admin(self, path: str) -> tuple[int, Any]:
        """Status and document of an endpoint of the admin API."""
        status, body = fetch(self.admin_port, path)
        return status, json.loads(body)

    def ready(self) -> None:
        self.line("ready: ")
        assert self.admin("/readyz") == (200, {"ready": True, "missing": []})

    def workers(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.admin("/api/snapshot")[1]["workers"]
        return found

    def metric(self, line: str) -> float:
        """The value on the line of the metrics page that begins with `line` and a space."""
        page = fetch(self.admin_port, "/metrics")[1].decode()
        (value,) = [found.removeprefix(line + " ") for found in page.splitlines() if found.startswith(line + " ")]
        return float(value)

    def finish(self) -> int:
        """Waits for the end; gives the exit code."""
        code = self.process.wait(DEADLINE)
        self._reader.join(DEADLINE)
        return code


def _port(line: str) -> int:
    port = urlsplit(line.split()[-1]).port
    assert port
    return port


@contextmanager
def running(module: Sequence[str], *flags: str, environment: Mapping[str, str] | None = None) -> Iterator[Running]:
    """`ingressd run` on ports of its own choice, in a process group of its own; killed at the end if it still runs."""
    command = [sys.executable, "-m", *module, "run", "--bind-address", "127.0.0.1"]
    with subprocess.Popen(
        [*command, "--http-port=0", "--https-port=0", "--healthz-port=0", *flags],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **(environment or {})},
        start_new_session=True,
    ) as process:
        started = Running(process)
        try:
            yield started
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            started.finish()


@contextmanager
def ingressd(
    module: Sequence[str], manifests: Path, *flags: str, environment: Mapping[str, str] | None = None
) -> Iterator[Running]:
    """The same with manifests."""
    with running(module, "--manifests", str(manifests), *flags, environment=environment) as started:
        yield started


def exists(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
