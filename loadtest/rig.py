"""The processes of a measurement: upstreams, ingressd, and whatever else is started for it.

All on loopback, all files in one temporary directory, and each stopped by its process id when its block ends.
"""

import contextlib
import http.client
import json
import os
import random
import resource
import shutil
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

import certificate

from ingressd.demo.ports import free_port as free_port

HERE = Path(__file__).parent
LOOPBACK = "127.0.0.1"
ECHO_HOST = "echo.example.com"
"""The host whose requests go to the upstream that shows what it received, and that speaks WebSocket."""
FILES = {"/1kib": 1 << 10, "/64kib": 64 << 10, "/1mib": 1 << 20, "/100mib": 100 << 20}
"""Paths of the upstream, and how many bytes each gives. All others give SMALL."""
SMALL = b"hello world\n"
START_WITHIN = 120.0
"""Seconds for a process to serve; reading 10,000 manifests is the longest."""
STOP_WITHIN = 15.0
TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


class RigError(Exception):
    """The measurement cannot be made. The text is for the user."""


class Cpu(NamedTuple):
    """CPU time, in seconds."""

    user: float
    system: float


class Upstreams(NamedTuple):
    """Ports that the proxies pass requests to."""

    responses: int
    echo: int


class Process(NamedTuple):
    """A proxy that runs: the process that was started, the one that carries requests, and the ports it listens on."""

    name: str
    root: int
    worker: int
    port: int
    log: Path
    https_port: int = 0
    """0 where it has none."""

    def empty_log(self) -> None:
        """Throws its access log away, so that a long measurement does not fill the disk."""
        os.truncate(self.log, 0)

    def ids(self) -> list[int]:
        """Of all its processes."""
        found, ahead = [], [self.root]
        while ahead:
            found.append(ahead.pop())
            ahead += _children(found[-1])
        return found

    def cpu(self) -> Cpu:
        """What all its processes have used so far (proc_pid_stat(5), fields 14 and 15)."""
        used = []
        for number in self.ids():
            fields = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
            used.append(Cpu(int(fields[11]) / TICKS, int(fields[12]) / TICKS))
        return Cpu(sum(cpu.user for cpu in used), sum(cpu.system for cpu in used))

    def resident(self) -> int:
        """Resident memory of the worker in bytes."""
        return int(Path(f"/proc/{self.worker}/statm").read_text().split()[1]) * PAGE

    def memory(self) -> int:
        """Memory of all its processes in bytes; what n of them share counts 1/n in each (proc_pid_smaps(5), Pss)."""
        total = 0
        for number in self.ids():
            lines = Path(f"/proc/{number}/smaps_rollup").read_text().splitlines()
            total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
        return total * 1024


def _children(number: int) -> list[int]:
    """Of all threads of a process."""
    return [
        int(child) for path in Path(f"/proc/{number}/task").glob("*/children") for child in path.read_text().split()
    ]


def host(number: int) -> str:
    """The name of a host that all proxies know."""
    return f"host-{number}.example.com"


def need(programs: dict[str, str]) -> None:
    """Raises RigError if a program is missing. The values say what installs it."""
    missing = {name: how for name, how in programs.items() if find_program(name) is None}
    if missing:
        raise RigError(f"{' and '.join(missing)} not found: {'; '.join(sorted(set(missing.values())))}")


def need_files(count: int) -> None:
    """Lets this process and those it starts open `count` files. Raises RigError if the system does not."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (count, count))  # root may
        except (OSError, ValueError):
            message = f"this needs {count} open files and the hard limit is {hard}: raise it (ulimit -Hn)"
            raise RigError(message) from None
    elif soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


def find_program(name: str) -> str | None:
    """Where it is: installed beside this Python, on the path, or where Debian has nginx and HAProxy."""
    beside = Path(sys.executable).parent
    return shutil.which(name, path=f"{beside}:{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")


def end_on_signals() -> None:
    """Makes Ctrl-C and SIGTERM raise KeyboardInterrupt, once: what follows does not disturb the clearing up."""

    def stop(number: int, frame: object) -> NoReturn:
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, stop)


@contextlib.contextmanager
def running(
    command: Sequence[str], directory: Path, environment: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A process whose output goes to files in `directory`."""
    # Appending, so that it can be emptied while it is written to.
    with (directory / "stdout").open("ab") as out, (directory / "stderr").open("wb") as err:
        # In a session of its own, so that Ctrl-C reaches this script alone, which then ends all in order.
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            cwd=directory,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(STOP_WITHIN)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def connected(
    port: int, name: str, timeout: float, context: ssl.SSLContext | None = None
) -> http.client.HTTPConnection:
    """A connection for requests to the host `name`, over TLS where there is a context. Raises OSError."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=timeout)
    connection.connect()
    if context is not None:
        # Not HTTPSConnection, which would say that the server's name is its address.
        connection.sock = context.wrap_socket(connection.sock, server_hostname=name)
    return connection


def get(port: int, path: str, name: str = "localhost", context: ssl.SSLContext | None = None) -> tuple[int, bytes]:
    """Status and body of one request, over TLS where there is a context. Raises OSError."""
    connection = connected(port, name, 5, context)
    try:
        connection.request("GET", path, headers={"Host": name})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def wait(
    process: subprocess.Popen[bytes],
    port: int,
    path: str,
    name: str,
    directory: Path,
    context: ssl.SSLContext | None = None,
) -> None:
    """Until `path` of the host `name` is answered with 200. Raises RigError."""
    end = time.monotonic() + START_WITHIN
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            if get(port, path, name, context)[0] == 200:
                return
        time.sleep(0.05)
    said = "".join(
        (directory / file).read_text(errors="replace")
        for file in ("stderr", "error.log")
        if (directory / file).exists()
    )
    raise RigError(f"{directory.name} does not serve {path}:\n{said}")


def configuration(template: Path, directory: Path, values: dict[str, object]) -> Path:
    """A copy of a template in `directory`, with its @NAMES@ filled in."""
    text = template.read_text()
    for name, value in {**values, "USER": "user root;" if os.geteuid() == 0 else "", "DIRECTORY": directory}.items():
        text = text.replace(f"@{name}@", str(value))
    path = directory / template.name
    path.write_text(text)
    return path


@contextlib.contextmanager
def upstreams(directory: Path) -> Iterator[Upstreams]:
    """What all proxies pass requests to: nginx with responses of several sizes, and `echo.py`."""
    echoing = directory / "echo"
    echoing.mkdir(parents=True)
    port = free_port()
    with (
        responses(directory / "responses") as answering,
        running([sys.executable, str(HERE / "echo.py"), str(port)], echoing) as process,
    ):
        wait(process, port, "/", ECHO_HOST, echoing)
        yield Upstreams(answering, port)


@contextlib.contextmanager
def responses(directory: Path) -> Iterator[int]:
    """An nginx that answers all by itself. Gives its port."""
    files = directory / "files"
    files.mkdir(parents=True)
    for name, size in FILES.items():
        (files / name[1:]).write_bytes(random.Random(size).randbytes(size))
    # An upload replaces it, so that each is answered with the same status.
    (files / "upload").touch()
    port = free_port()
    path = configuration(HERE / "backend.conf", directory, {"PORT": port})
    command = [find_program("nginx") or "nginx", "-p", str(directory), "-c", str(path)]
    with running(command, directory) as process:
        wait(process, port, "/", "localhost", directory)
        yield port


def accepted(port: int) -> int:
    """How many connections the upstream of responses has accepted so far, the one that asks included."""
    return int(get(port, "/accepted")[1].split()[7])


@contextlib.contextmanager
def ingressd(
    directory: Path,
    upstreams: Upstreams,
    hosts: int,
    *flags: str,
    name: str = "ingressd",
    workers: int = 1,
    files: certificate.Files | None = None,
) -> Iterator[Process]:
    """ingressd as installed, all of it, reading manifests. With a certificate it has a port for HTTPS, too."""
    directory.mkdir(parents=True)
    write_manifests(directory / "manifests", upstreams, hosts)
    port, admin, https_port = free_port(), free_port(), 0
    command = [sys.executable, "-m", "ingressd", "run", "--manifests", str(directory / "manifests")]
    command += [
        "--workers",
        str(workers),
        "--bind-address",
        LOOPBACK,
        "--http-port",
        str(port),
        "--healthz-port",
        str(admin),
    ]
    command += ["--access-log-format", "text", *flags]
    if files is not None:
        https_port = free_port()
        certificate.write_secret(files, directory / "manifests" / "secret.yaml")
        command += ["--https-port", str(https_port), "--ssl-protocols", certificate.SPOKEN[0]]
        command += ["--default-ssl-certificate", "/".join(certificate.SECRET)]
    with running(command, directory) as process:
        wait(process, admin, "/readyz", "localhost", directory)
        started = json.loads(get(admin, "/api/snapshot")[1])["workers"]
        yield Process(name, process.pid, started[0]["pid"], port, directory / "stdout", https_port)


def write_manifests(directory: Path, upstreams: Upstreams, hosts: int) -> None:
    """One Ingress for each host, all to one Service; and one for ECHO_HOST."""
    directory.mkdir()
    documents = [
        *_service("responses", upstreams.responses),
        *_service("echo", upstreams.echo),
        _ingress("echo", ECHO_HOST, "echo"),
        *(_ingress(f"host-{number}", host(number), "responses") for number in range(hosts)),
    ]
    # JSON is YAML; written by json because yaml.dump takes ten times as long.
    (directory / "all.yaml").write_text("\n---\n".join(map(json.dumps, documents)))


def _service(name: str, port: int) -> list[dict[str, object]]:
    """With its one endpoint."""
    return [
        {"apiVersion": "v1", "kind": "Service", "metadata": _named(name), "spec": {"ports": [{"port": 80}]}},
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {**_named(name), "labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4",
            "ports": [{"port": port}],
            "endpoints": [{"addresses": [LOOPBACK]}],
        },
    ]


def _ingress(name: str, host_name: str, service: str) -> dict[str, object]:
    backend = {"service": {"name": service, "port": {"number": 80}}}
    rule = {"host": host_name, "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}
    spec = {"ingressClassName": "ingressd", "rules": [rule]}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": _named(name), "spec": spec}


def _named(name: str) -> dict[str, str]:
    return {"name": name, "namespace": "bench"}
