"""The processes of a measurement: a backend, ingressd and nginx in front of it, and wrk.

All on loopback, all files in one temporary directory, and each stopped by its process id when its block ends.
"""

import contextlib
import http.client
import json
import os
import re
import resource
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
LOOPBACK = "127.0.0.1"
START_WITHIN = 120.0
"""Seconds for a process to serve; reading 10,000 manifests is the longest."""
STOP_WITHIN = 15.0
TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


class RigError(Exception):
    """The measurement cannot be made. The text is for the user."""


class Cpu(NamedTuple):
    """CPU time of a process, in seconds."""

    user: float
    system: float


class Load(NamedTuple):
    """What wrk says of a run."""

    requests: int
    seconds: float


class Process(NamedTuple):
    """A proxy that runs: the process that carries requests, and the port it listens on."""

    name: str
    worker: int
    port: int
    log: Path

    def empty_log(self) -> None:
        """Throws its access log away, so that a long measurement does not fill the disk."""
        os.truncate(self.log, 0)

    def cpu(self) -> Cpu:
        """What it has used so far (proc_pid_stat(5), fields 14 and 15)."""
        fields = Path(f"/proc/{self.worker}/stat").read_text().rpartition(")")[2].split()
        return Cpu(int(fields[11]) / TICKS, int(fields[12]) / TICKS)

    def resident(self) -> int:
        """Resident memory in bytes."""
        return int(Path(f"/proc/{self.worker}/statm").read_text().split()[1]) * PAGE


def host(number: int) -> str:
    """The name of a host that both proxies know."""
    return f"host-{number}.example.com"


def need(*programs: str) -> None:
    """Raises RigError if a program is missing."""
    missing = [program for program in programs if _program(program) is None]
    if missing:
        raise RigError(f"{' and '.join(missing)} not found: apt-get install nginx-light wrk")


def need_files(count: int) -> None:
    """Lets this process and those it starts open `count` files. Raises RigError if the system does not."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        raise RigError(f"this needs {count} open files and the hard limit is {hard}: raise it (ulimit -Hn)")
    if soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


def _program(name: str) -> str | None:
    # Debian has nginx in /usr/sbin, which is not on everybody's path.
    return shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")


def nginx_version() -> str:
    """As nginx says it, without its name."""
    said = subprocess.run([_program("nginx") or "nginx", "-v"], capture_output=True, text=True).stderr
    return said.strip().rpartition("/")[2]


def free_port() -> int:
    """A port of the loopback address that nobody listens on."""
    with socket.create_server((LOOPBACK, 0)) as listening:
        number: int = listening.getsockname()[1]
    return number


@contextlib.contextmanager
def _running(command: Sequence[str], directory: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process whose output goes to files in `directory`."""
    # Appending, so that it can be emptied while it is written to.
    with (directory / "stdout").open("ab") as out, (directory / "stderr").open("wb") as err:
        # In a session of its own, so that Ctrl-C reaches this script alone, which then ends all in order.
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=directory, start_new_session=True
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


def get(port: int, path: str, name: str = "localhost") -> tuple[int, bytes]:
    """Status and body of one request. Raises OSError."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=5)
    try:
        connection.request("GET", path, headers={"Host": name})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def _wait(process: subprocess.Popen[bytes], port: int, path: str, name: str, directory: Path) -> None:
    """Until `path` is answered with 200. Raises RigError."""
    end = time.monotonic() + START_WITHIN
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            if get(port, path, name)[0] == 200:
                return
        time.sleep(0.05)
    said = "".join(
        (directory / file).read_text(errors="replace")
        for file in ("stderr", "error.log")
        if (directory / file).exists()
    )
    raise RigError(f"{directory.name} does not serve {path}:\n{said}")


def _configuration(template: str, directory: Path, **values: object) -> Path:
    text = (HERE / template).read_text()
    values.update(USER="user root;" if os.geteuid() == 0 else "", DIRECTORY=directory)
    for name, value in values.items():
        text = text.replace(f"@{name}@", str(value))
    path = directory / "nginx.conf"
    path.write_text(text)
    return path


@contextlib.contextmanager
def _nginx(name: str, configuration: Path, port: int, path: str, host_name: str) -> Iterator[Process]:
    directory = configuration.parent
    command = [_program("nginx") or "nginx", "-p", str(directory), "-c", str(configuration)]
    with _running(command, directory) as process:
        _wait(process, port, path, host_name, directory)
        (worker,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        yield Process(name, int(worker), port, directory / "access.log")


@contextlib.contextmanager
def backend(directory: Path) -> Iterator[int]:
    """The upstream of both proxies. Gives its port."""
    directory.mkdir()
    files = directory / "files"
    files.mkdir()
    (files / "1mib").write_bytes(bytes(1 << 20))
    port = free_port()
    with _nginx("backend", _configuration("backend.conf", directory, PORT=port), port, "/", "localhost") as process:
        yield process.port


@contextlib.contextmanager
def nginx(directory: Path, upstream: int, hosts: int, paths: Sequence[str]) -> Iterator[Process]:
    """nginx as a proxy in front of the port `upstream`."""
    directory.mkdir()
    port = free_port()
    configuration = _configuration(
        "nginx.conf",
        directory,
        PORT=port,
        BACKEND=upstream,
        FILES=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        HOSTS="\n".join(map(host, range(hosts))),
        LOCATIONS="\n".join(f"location {path} {{ proxy_pass http://backend; }}" for path in paths),
    )
    with _nginx("nginx", configuration, port, paths[0], host(0)) as process:
        yield process


@contextlib.contextmanager
def ingressd(directory: Path, upstream: int, hosts: int, paths: Sequence[str]) -> Iterator[Process]:
    """ingressd with one worker in front of the port `upstream`: as installed, all of it, reading manifests."""
    directory.mkdir()
    write_manifests(directory / "manifests", upstream, hosts, paths)
    port, admin = free_port(), free_port()
    command = [sys.executable, "-m", "ingressd", "run", "--manifests", str(directory / "manifests")]
    command += ["--workers", "1", "--bind-address", LOOPBACK, "--http-port", str(port), "--healthz-port", str(admin)]
    command += ["--access-log-format", "text"]
    with _running(command, directory) as process:
        _wait(process, admin, "/readyz", "localhost", directory)
        workers = json.loads(get(admin, "/api/snapshot")[1])["workers"]
        yield Process("ingressd", workers[0]["pid"], port, directory / "stdout")


def write_manifests(directory: Path, upstream: int, hosts: int, paths: Sequence[str]) -> None:
    """One Ingress for each host, all to one Service."""
    directory.mkdir()
    backend = {"service": {"name": "backend", "port": {"number": 80}}}
    http = {"paths": [{"path": path, "pathType": "Prefix", "backend": backend} for path in paths]}
    documents: list[dict[str, object]] = [
        {"apiVersion": "v1", "kind": "Service", "metadata": _named("backend"), "spec": {"ports": [{"port": 80}]}},
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {**_named("backend"), "labels": {"kubernetes.io/service-name": "backend"}},
            "addressType": "IPv4",
            "ports": [{"port": upstream}],
            "endpoints": [{"addresses": [LOOPBACK]}],
        },
    ]
    for number in range(hosts):
        spec = {"ingressClassName": "ingressd", "rules": [{"host": host(number), "http": http}]}
        documents.append(
            {
                "apiVersion": "networking.k8s.io/v1",
                "kind": "Ingress",
                "metadata": _named(f"host-{number}"),
                "spec": spec,
            }
        )
    # JSON is YAML; written by json because yaml.dump takes ten times as long.
    (directory / "all.yaml").write_text("\n---\n".join(map(json.dumps, documents)))


def _named(name: str) -> dict[str, str]:
    return {"name": name, "namespace": "bench"}


def wrk(process: Process, path: str, connections: int, seconds: float, script: Path | None = None) -> Load:
    """Loads a proxy, by default with GET requests to host 0. Raises RigError if any request fails."""
    command = ["wrk", "--threads", "1", "--connections", str(connections), "--duration", f"{max(1, round(seconds))}s"]
    command += ["--script", str(script)] if script else ["--header", f"Host: {host(0)}"]
    command.append(f"http://{LOOPBACK}:{process.port}{path}")
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 30)
    found = re.search(r"(\d+) requests in ([\d.]+)(m?s|m)", done.stdout)
    failed = re.search(r"Non-2xx or 3xx responses: .*|Socket errors: .*", done.stdout)
    if found is None or failed is not None or done.returncode != 0:
        raise RigError(f"wrk on {process.name}: {failed[0] if failed else done.stdout + done.stderr}")
    unit = {"ms": 0.001, "s": 1.0, "m": 60.0}[found[3]]
    return Load(int(found[1]), float(found[2]) * unit)
