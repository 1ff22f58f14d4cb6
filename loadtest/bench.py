"""What a request costs: CPU time of ingressd's worker against that of nginx's, doing the same for the same backend.

    make bench
    .venv/bin/python loadtest/bench.py --scenario table --rounds 10 --json results.json

Wall clock and requests per second say little on a machine that also runs the client and the backend, so what is
compared is the CPU time of the one process that carries the requests, as the kernel counts it, divided by the requests.
The two are measured in turn, in the order A B B A, so that a machine that warms up or gets busy favours neither.
"""

import argparse
import contextlib
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple, NoReturn

import bench_codec
import rig
from rig import Process, RigError

from ingressd import __version__
from ingressd.control.build import compiled_summary, hot_modules

WARM_UP = 1.0
"""Seconds of load before the first round."""
TABLE_SIZES = (1, 1000, 10_000)
MANY_HOSTS = 1000
"""How many hosts are asked for in turn where a scenario spreads its requests."""


class Subject(NamedTuple):
    """What is measured: a proxy, and the load on it. Without script, GET requests to host 0."""

    label: str
    process: Process
    path: str
    script: Path | None = None


@dataclass(frozen=True)
class Sample:
    """One run of wrk on one subject; times in microseconds per request."""

    round: int
    label: str
    user: float
    system: float
    requests_per_second: float

    @property
    def total(self) -> float:
        return self.user + self.system


@dataclass(frozen=True)
class Options:
    """The command line. `seconds` is the length of one run."""

    rounds: int
    seconds: float
    connections: int
    hosts: int
    paths: int
    spread: int
    idle_connections: int

    @property
    def path_list(self) -> list[str]:
        """The paths of the rules of each host."""
        return ["/", *(f"/path-{number}" for number in range(1, self.paths))]


Result = dict[str, object]
"""What goes into the JSON file."""


def main() -> int:
    arguments = _arguments()
    options = Options(
        **{name: value for name, value in vars(arguments).items() if name in Options.__dataclass_fields__}
    )
    signal.signal(signal.SIGTERM, _terminate)
    try:
        rig.need("nginx", "wrk")
        print(_machine(), flush=True)
        with tempfile.TemporaryDirectory(prefix="ingressd-bench-") as directory, contextlib.ExitStack() as stack:
            upstream = stack.enter_context(rig.backend(Path(directory, "backend")))
            result = SCENARIOS[arguments.scenario](Path(directory), upstream, options)
    except RigError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    if arguments.json is not None:
        document = {"scenario": arguments.scenario, "machine": _machine(), "options": asdict(options), **result}
        arguments.json.write_text(json.dumps(document, indent=2) + "\n")
    return 0


def _terminate(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


def small_get(directory: Path, upstream: int, options: Options) -> Result:
    """A response of 12 bytes on connections that stay, with many hosts configured."""
    with _both(directory, upstream, options) as proxies:
        path = options.path_list[-1].rstrip("/") + "/"
        script = _spread_script(directory, path, options.spread) if options.spread > 1 else None
        return _compare([Subject(process.name, process, path, script) for process in proxies], options)


def one_mib(directory: Path, upstream: int, options: Options) -> Result:
    """Responses and uploads of 1 MiB."""
    script = directory / "upload.lua"
    script.write_text(
        f'wrk.method = "PUT"\nwrk.headers["Host"] = "{rig.host(0)}"\nwrk.body = string.rep("x", {1 << 20})\n'
    )
    with _both(directory, upstream, options) as proxies:
        print("\nResponses of 1 MiB")
        responses = _compare([Subject(process.name, process, "/1mib") for process in proxies], options)
        print("\nUploads of 1 MiB")
        uploads = _compare([Subject(process.name, process, "/upload", script) for process in proxies], options)
    return {"responses": responses, "uploads": uploads}


def table(directory: Path, upstream: int, options: Options) -> Result:
    """What more hosts cost: the look-up alone, and a whole request."""
    print("\nRouting table, nanoseconds per look-up")
    figures = bench_codec.figures()
    names = {hosts: f"look-up, {hosts} host{'s' if hosts > 1 else ''}" for hosts in TABLE_SIZES}
    nanoseconds = {hosts: figures[name] for hosts, name in names.items()}
    for hosts, cost in nanoseconds.items():
        print(f"{hosts:>7} hosts {cost:7.1f}  ({cost / nanoseconds[1]:.2f} x)", flush=True)
    few, many = TABLE_SIZES[0], TABLE_SIZES[-1]
    print(f"\nCPU per request with {few} host and with {many}; the last line asks for {MANY_HOSTS} of them in turn")
    script = _spread_script(directory, "/", MANY_HOSTS)
    with (
        rig.ingressd(directory / "few", upstream, few, ["/"]) as small,
        rig.ingressd(directory / "many", upstream, many, ["/"]) as large,
    ):
        subjects = [
            Subject(f"{many} hosts", large, "/"),
            Subject(f"{few} host", small, "/"),
            Subject(f"{many} spread", large, "/", script),
        ]
        return {"lookup_ns": nanoseconds, **_compare(subjects, options)}


def idle_memory(directory: Path, upstream: int, options: Options) -> Result:
    """What a connection costs that waits for its next request."""
    count = options.idle_connections
    rig.need_files(count + 1000)
    print(f"\n{'':10}{'idle':>8}{'before':>11}{'after':>11}{'per connection':>16}")
    result: dict[str, object] = {}
    with _both(directory, upstream, options) as proxies:
        for process in proxies:
            with _idle(process, count // 10):
                # What is allocated once and kept is no cost of a connection.
                pass
            before = process.resident()
            with _idle(process, count):
                after = process.resident()
            each = (after - before) / count
            print(
                f"{process.name:10}{count:8}{before / 1024:7.0f} KiB{after / 1024:7.0f} KiB{each:10.0f} bytes",
                flush=True,
            )
            result[process.name] = {"before": before, "after": after, "bytes_per_connection": each}
    return {"idle": result}


SCENARIOS = {"small-get": small_get, "1mib": one_mib, "table": table, "idle-memory": idle_memory}


@contextlib.contextmanager
def _both(directory: Path, upstream: int, options: Options) -> Iterator[list[Process]]:
    with (
        rig.ingressd(directory / "ingressd", upstream, options.hosts, options.path_list) as ours,
        rig.nginx(directory / "nginx", upstream, options.hosts, options.path_list) as nginx,
    ):
        yield [ours, nginx]


@contextlib.contextmanager
def _idle(process: Process, count: int) -> Iterator[None]:
    """While `count` connections are open that have each had one response."""
    command = [sys.executable, str(rig.HERE / "idle_clients.py"), str(process.port), rig.host(0), str(count)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True) as clients:
        # Leaving this block closes its standard input, which ends it.
        assert clients.stdout is not None
        if clients.stdout.readline() != b"open\n":
            raise RigError(f"not all of {count} connections to {process.name} could be opened")
        yield


def _spread_script(directory: Path, path: str, hosts: int) -> Path:
    """A script for wrk that asks for the first `hosts` hosts in turn."""
    script = directory / "spread.lua"
    script.write_text(
        f"""
local requests, count, turn = {{}}, {hosts}, 0
init = function(arguments)
  for number = 0, count - 1 do
    requests[number] = wrk.format("GET", "{path}", {{ Host = "host-" .. number .. ".example.com" }})
  end
end
request = function()
  turn = (turn + 1) % count
  return requests[turn]
end
"""
    )
    return script


def _compare(subjects: Sequence[Subject], options: Options) -> Result:
    """Measures all subjects in each round and prints the figures; the others are compared with the second."""
    for subject in subjects:
        rig.wrk(subject.process, subject.path, options.connections, WARM_UP, subject.script)
    print(f"\n{'round':>6}  {'':14}{'us/request':>11}{'user':>8}{'system':>8}{'requests/s':>12}")
    samples: list[Sample] = []
    for number in range(1, options.rounds + 1):
        for subject in subjects if number % 2 else reversed(subjects):
            sample = _measure(subject, number, options)
            samples.append(sample)
            print(f"{number:6}  {_line(subject.label, [sample])}", flush=True)
    summary: dict[str, object] = {}
    base = [sample.total for sample in samples if sample.label == subjects[1].label]
    print()
    for subject in subjects:
        own = [sample for sample in samples if sample.label == subject.label]
        ratios = [sample.total / other for sample, other in zip(own, base, strict=True)]
        ratio = f"{statistics.median(ratios):8.2f} x  ({min(ratios):.2f} to {max(ratios):.2f})"
        print(f"median  {_line(subject.label, own)}{ratio if subject is not subjects[1] else ''}")
        totals = [sample.total for sample in own]
        summary[subject.label] = {
            "microseconds": statistics.median(totals),
            "range": [min(totals), max(totals)],
            "ratio": statistics.median(ratios),
            "ratio_range": [min(ratios), max(ratios)],
        }
    return {"samples": [asdict(sample) for sample in samples], "summary": summary}


def _measure(subject: Subject, number: int, options: Options) -> Sample:
    before = subject.process.cpu()
    load = rig.wrk(subject.process, subject.path, options.connections, options.seconds, subject.script)
    after = subject.process.cpu()
    subject.process.empty_log()
    scale = 1e6 / load.requests
    return Sample(
        number,
        subject.label,
        (after.user - before.user) * scale,
        (after.system - before.system) * scale,
        load.requests / load.seconds,
    )


def _line(label: str, samples: Sequence[Sample]) -> str:
    def median(values: Iterator[float]) -> float:
        return statistics.median(values)

    return (
        f"{label:14}{median(sample.total for sample in samples):11.1f}{median(sample.user for sample in samples):8.1f}"
        f"{median(sample.system for sample in samples):8.1f}"
        f"{median(sample.requests_per_second for sample in samples):12.0f}"
    )


def _machine() -> str:
    return (
        f"ingressd {__version__} on Python {platform.python_version()}, hot modules {compiled_summary(hot_modules())}; "
        f"nginx {rig.nginx_version()}; Linux {platform.release()}, {os.cpu_count()} CPUs"
    )


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bench.py", description="Measures CPU per request of ingressd and of nginx.", allow_abbrev=False
    )
    add = parser.add_argument
    shown = "; ".join(f"{name}: {(scenario.__doc__ or '').rstrip('.')}" for name, scenario in SCENARIOS.items())
    add("--scenario", choices=SCENARIOS, default="small-get", help=f"what to measure (default small-get). {shown}")
    add("--rounds", type=_positive, default=6, metavar="N", help="rounds, each subject once in each (default 6)")
    add("--seconds", type=_positive, default=5, metavar="N", help="length of one run (default 5)")
    add("--connections", type=_positive, default=64, metavar="N", help="connections of the client (default 64)")
    add("--hosts", type=_positive, default=1000, metavar="N", help="hosts configured (default 1000)")
    add("--paths", type=_positive, default=1, metavar="N", help="paths of each host; the last is asked for (default 1)")
    add("--spread", type=_positive, default=1, metavar="N", help="hosts asked for in turn, in small-get (default 1)")
    add("--idle-connections", type=_positive, default=10_000, metavar="N", help="in idle-memory (default 10000)")
    add("--json", type=Path, metavar="FILE", help="write all figures to this file")
    arguments = parser.parse_args()
    if arguments.spread > arguments.hosts:
        parser.error(f"--spread {arguments.spread} is more than --hosts {arguments.hosts}")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
