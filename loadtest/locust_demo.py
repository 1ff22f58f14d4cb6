"""Starts the demo, loads it with the users of locustfile.py, and ends it again.

    make loadtest
    make loadtest ARGS="--users 200 --run-time 2m"

Everything is on loopback, on ports that are free. Arguments go to locust. Exits with 0 if no request failed, with 1 if
one did, with 2 if it could not be tried.
"""

import contextlib
import http.client
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, NoReturn

from ingressd.demo.ports import free_port

HERE = Path(__file__).parent
MANIFESTS = HERE.parent / "manifests" / "demo"
LOOPBACK = "127.0.0.1"
START_WITHIN = 60.0
STOP_WITHIN = 15.0
"""Seconds."""
USERS = ("--headless", "--users", "60", "--spawn-rate", "30", "--run-time", "30s", "--only-summary")
FINISH = ("--stop-timeout", "60")
"""Seconds that users may take to finish what they are at, so that the end of the run cuts nothing off."""


class LoadError(Exception):
    """The load cannot be tried. The text is for the user."""


def main(arguments: Sequence[str]) -> int:
    signal.signal(signal.SIGTERM, _terminate)
    try:
        with tempfile.TemporaryDirectory(prefix="ingressd-loadtest-") as directory, demo(Path(directory)) as port:
            command = [sys.executable, "-m", "locust", "--locustfile", str(HERE / "locustfile.py")]
            command += ["--host", f"http://{LOOPBACK}:{port}", *USERS, *FINISH, *arguments]
            with running(command) as locust:
                return 1 if locust.wait() else 0
    except LoadError as error:
        print(f"loadtest: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _terminate(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


@contextlib.contextmanager
def demo(directory: Path) -> Iterator[int]:
    """While the demo runs. Gives its port for HTTP."""
    port, admin, *servers = (free_port() for _ in range(2 + len(_server_ports())))
    _copy_manifests(directory / "manifests", servers)
    log = directory / "log"
    command = [sys.executable, "-m", "ingressd", "demo", "--manifests", str(directory / "manifests")]
    command += ["--http-port", str(port), "--https-port", "0", "--healthz-port", str(admin)]
    with log.open("wb") as file, running(command, file) as process:
        end = time.monotonic() + START_WITHIN
        while not _ready(admin):
            if process.poll() is not None or time.monotonic() > end:
                raise LoadError(f"the demo does not run:\n{log.read_text(errors='replace')}")
            time.sleep(0.05)
        yield port
        if (code := process.poll()) is not None:
            raise LoadError(f"the demo has exited with code {code}:\n{log.read_text(errors='replace')[-4000:]}")


@contextlib.contextmanager
def running(command: Sequence[str], output: IO[bytes] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is stopped when the block ends, however that comes; by its id, and killed if it must be."""
    # In a session of its own, so that Ctrl-C reaches this script alone, which then ends all in order.
    errors = subprocess.STDOUT if output else None
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=errors, start_new_session=True)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_WITHIN)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _ready(admin: int) -> bool:
    connection = http.client.HTTPConnection(LOOPBACK, admin, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _server_ports() -> list[str]:
    """The ports that the manifests have for the servers of the demo."""
    return sorted(set(re.findall(r"\bport: (18\d{3})\b", (MANIFESTS / "endpoints.yaml").read_text())))


def _copy_manifests(directory: Path, ports: Sequence[int]) -> None:
    """The manifests of the demo with other ports, so that a demo that runs already is not in the way."""
    shutil.copytree(MANIFESTS, directory)
    slices = directory / "endpoints.yaml"
    text = slices.read_text()
    for fixed, free in zip(_server_ports(), ports, strict=True):
        text = text.replace(fixed, str(free))
    slices.write_text(text)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
