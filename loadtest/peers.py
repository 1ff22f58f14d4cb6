"""The proxies that are compared: how each is started, with one worker and its configuration from `peers/`."""

import contextlib
import json
import re
import resource
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import certificate
import rig
from rig import ECHO_HOST, Process, Upstreams

DEBIAN = "apt-get install nginx-light haproxy nghttp2-client wrk"
PYPI = "pip install -e '.[bench]'"


LARGE = "nginx-64k"
"""nginx with buffers of 64 KiB in place of its default of 4 KiB (on a machine with pages of that size)."""


class Peer(NamedTuple):
    """Another proxy. `arguments` are for its program, from the path of its configuration."""

    program: str
    template: str
    version: str
    """The argument that makes it print its version."""
    source: str
    """The command that installs it."""
    arguments: Callable[[Path], list[str]]
    hosts: Callable[[Path, list[str]], str]
    """From its directory and all host names: what stands for @HOSTS@."""
    log: str = "access.log"
    buffers: str = ""
    environment: Mapping[str, str] = MappingProxyType({})


def _map_file(directory: Path, hosts: list[str]) -> str:
    lines = [f"{ECHO_HOST} echo", *(f"{host} responses" for host in hosts)]
    (directory / "hosts.map").write_text("".join(f"{line}\n" for line in lines))
    return ""


_NGINX = Peer(
    "nginx",
    "nginx.conf",
    "-v",
    DEBIAN,
    lambda path: ["-p", str(path.parent), "-c", str(path)],
    lambda directory, hosts: "\n".join(hosts),
)
PEERS = {
    "nginx": _NGINX,
    LARGE: _NGINX._replace(
        buffers="proxy_buffers 8 64k; proxy_busy_buffers_size 128k; client_body_buffer_size 64k;",
    ),
    "haproxy": Peer(
        "haproxy",
        "haproxy.cfg",
        "-v",
        DEBIAN,
        lambda path: ["-f", str(path)],
        _map_file,
        log="stdout",
        environment={"OPENSSL_CONF": str(rig.HERE / "peers" / "haproxy.openssl.cnf")},
    ),
    "envoy": Peer(
        "envoy",
        "envoy.yaml",
        "--version",
        PYPI,
        lambda path: ["-c", str(path), "--concurrency", "1", "--disable-hot-restart", "--log-level", "warning"],
        lambda directory, hosts: json.dumps(hosts),
    ),
    "caddy": Peer(
        "caddy",
        "Caddyfile",
        "version",
        PYPI,
        lambda path: ["run", "--config", str(path), "--adapter", "caddyfile"],
        lambda directory, hosts: " ".join(hosts),
        environment={"GOMAXPROCS": "1"},
    ),
}


def _program(name: str) -> str:
    program = PEERS[name].program
    return rig.find_program(program) or program


def version(name: str) -> str:
    """As the program says it."""
    command = [_program(name), PEERS[name].version]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    found = re.search(r"\d+\.\d+\.\d+", done.stdout + done.stderr)
    return found[0] if found else "unknown"


@contextlib.contextmanager
def start(name: str, directory: Path, upstreams: Upstreams, hosts: int, files: certificate.Files) -> Iterator[Process]:
    """A peer that serves: `hosts` names by the upstream of responses, ECHO_HOST by that which echoes.

    All of it over HTTP and HTTPS, with the one certificate.
    """
    peer = PEERS[name]
    directory.mkdir(parents=True)
    port, https_port = rig.free_port(), rig.free_port()
    log = directory / peer.log
    values: dict[str, object] = {
        "PORT": port,
        "HTTPS_PORT": https_port,
        "CERTIFICATE": files.certificate,
        "KEY": files.key,
        "UPSTREAM": upstreams.responses,
        "ECHO": upstreams.echo,
        "ECHO_HOST": ECHO_HOST,
        "FILES": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        "LOG": log,
        "BUFFERS": peer.buffers,
        "HOSTS": peer.hosts(directory, [rig.host(number) for number in range(hosts)]),
    }
    configuration = rig.configuration(rig.HERE / "peers" / peer.template, directory, values)
    command = [_program(name), *peer.arguments(configuration)]
    with rig.running(command, directory, {"HOME": str(directory), **peer.environment}) as process:
        rig.wait(process, port, "/", rig.host(0), directory)
        rig.wait(process, https_port, "/", rig.host(0), directory, certificate.trusting(files))
        yield Process(name, process.pid, process.pid, port, log, https_port)
