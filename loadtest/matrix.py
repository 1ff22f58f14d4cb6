"""The cells of the comparison: what each loads the proxies with."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import generators
from figures import Load
from rig import Process

HOSTS = 1000
"""How many are configured where a cell says nothing else."""
IDLE = 9_000
"""Nearly as many as ingressd accepts where a process may have 20,000 files: it keeps one free for each client."""
DEEP = 16
"""Requests that are sent at once where they are pipelined."""
PACERS = 64
"""Connections of the cell with a fixed rate."""

ALONE = "one worker"
"""ingressd with one worker, beside which it is measured with several."""

Driver = Callable[[Process, float, Path], Load]
"""Loads a proxy for some seconds, with a directory for its files."""


@dataclass(frozen=True)
class Cell:
    """One row of the matrix."""

    name: str
    title: str
    load: Driver
    hosts: int = HOSTS
    workers: int = 1
    """Of ingressd. With several, it is measured beside ALONE and nobody else."""
    idle: int = 0
    """Connections that are open beside the load, and idle."""
    paced: bool = False
    """Whether requests come at a fixed rate: `load` is then used only to find out what a proxy can do at most."""
    bodies: bool = False
    """Whether the size of buffers counts: the peer with larger ones is then measured, too."""
    h2load: bool = False
    """Whether it is needed."""
    quick: bool = False
    """Whether it is part of --quick."""
    budgets: Mapping[str, float] = field(default_factory=dict)
    """By peer: the ratio that ingressd is to stay below, of CPU time, or of the 99th percentile where paced."""


def _wrk(connections: int, script: str = "", https: bool = False) -> Driver:
    return lambda process, seconds, directory: generators.wrk(process, seconds, script, directory, connections, https)


def _get(path: str, connections: int) -> Driver:
    return _wrk(connections, f'wrk.path = "{path}"')


def paced(rate: float) -> Driver:
    """So many small GET requests per second, whatever the proxy can do."""

    def load(process: Process, seconds: float, directory: Path) -> Load:
        each = f"--rps={rate / PACERS:.2f}"
        options = ["-D", str(max(1, round(seconds))), "-c", str(PACERS), each]
        return generators.h2load(process, options, "/", directory, seconds)

    return load


def _pipelined(process: Process, seconds: float, directory: Path) -> Load:
    """By h2load, because wrk has no percentiles of them."""
    options = ["-D", str(max(1, round(seconds))), "-c", "64", "-m", str(DEEP)]
    return generators.h2load(process, options, "/", directory, seconds)


def _large(path: str, clients: int, rate: float) -> Driver:
    """A whole number of responses, because of large ones many are not over when the time is. `rate` is how many a
    second there are about."""

    def load(process: Process, seconds: float, directory: Path) -> Load:
        count = clients * max(1, round(rate * seconds / clients))
        return generators.h2load(process, ["-n", str(count), "-c", str(clients)], path, directory, seconds)

    return load


def _in_turn(hosts: int) -> Driver:
    """Small GET requests to all hosts, one after the other."""
    return _wrk(
        64,
        f"""
local requests, turn = {{}}, 0
init = function(arguments)
  for number = 0, {hosts - 1} do
    requests[number] = wrk.format("GET", "/", {{ Host = "host-" .. number .. ".example.com" }})
  end
end
request = function()
  turn = (turn + 1) % {hosts}
  return requests[turn]
end""",
    )


_UPLOAD = f'wrk.method = "PUT"\nwrk.path = "/upload"\nwrk.body = string.rep("x", {1 << 20})'

_FIELDS = "\n".join(f'wrk.headers["X-Field-{number}"] = "value {number} of a request"' for number in range(50))


CELLS = (
    Cell("get-8", "small GET, 8 connections", _wrk(8)),
    Cell(
        "get-64",
        "small GET, 64 connections",
        _wrk(64),
        quick=True,
        budgets={"nginx": 1.0, "envoy": 0.5, "caddy": 0.45},
    ),
    Cell("get-512", "small GET, 512 connections", _wrk(512)),
    Cell(
        "half-load",
        f"small GET at half of nginx's rate, {PACERS} connections",
        _wrk(PACERS),
        paced=True,
        h2load=True,
        budgets={"nginx": 1.5},
    ),
    Cell(
        "new-connection",
        "small GET, a new connection for each",
        _wrk(64, 'wrk.headers["Connection"] = "close"'),
        quick=True,
        budgets={"nginx": 1.3},
    ),
    Cell("response-1kib", "responses of 1 KiB, 64 connections", _get("/1kib", 64)),
    Cell("response-64kib", "responses of 64 KiB, 64 connections", _get("/64kib", 64), bodies=True),
    Cell(
        "response-1mib",
        "responses of 1 MiB, 16 connections",
        _get("/1mib", 16),
        bodies=True,
        quick=True,
        budgets={"nginx": 1 / 1.5},
    ),
    Cell(
        "response-100mib",
        "responses of 100 MiB, 4 connections",
        _large("/100mib", 4, 8.0),
        bodies=True,
        h2load=True,
    ),
    Cell(
        "upload-1mib",
        "uploads of 1 MiB, 16 connections",
        _wrk(16, _UPLOAD),
        bodies=True,
        quick=True,
        budgets={"nginx": 1 / 1.5},
    ),
    Cell("headers-50", "small GET with 50 more fields, 64 connections", _wrk(64, _FIELDS), quick=True),
    Cell("pipelining", f"small GET, {DEEP} at once, 64 connections", _pipelined, h2load=True),
    *(
        Cell(f"hosts-{hosts}", f"small GET to {title}, 64 connections", _in_turn(hosts), hosts)
        for hosts, title in ((1, "the only host"), (1000, "1,000 hosts in turn"), (10_000, "10,000 hosts in turn"))
    ),
    Cell("workers-2", "small GET, 64 connections, two workers", _wrk(64), workers=2, budgets={ALONE: 1.1}),
    Cell(f"idle-{IDLE}", f"small GET, 64 connections beside {IDLE:,} idle ones", _wrk(64), idle=IDLE),
    Cell(
        "websocket",
        "WebSocket messages and their echo, 64 connections",
        lambda process, seconds, directory: generators.websocket(process, seconds, 64),
        quick=True,
    ),
    Cell(
        "https-64",
        "HTTPS: small GET, 64 connections",
        _wrk(64, https=True),
        quick=True,
        budgets={"nginx": 1.1},
    ),
    Cell(
        "https-handshake-full",
        "HTTPS: small GET, a new connection with a full handshake for each",
        lambda process, seconds, directory: generators.handshakes(process, seconds, resume=False),
        budgets={"nginx": 1.1},
    ),
    Cell(
        "https-handshake-resumed",
        "HTTPS: small GET, a new connection with a resumed session for each",
        lambda process, seconds, directory: generators.handshakes(process, seconds, resume=True),
        budgets={"nginx": 1.1},
    ),
)
