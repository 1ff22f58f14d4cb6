"""What TLS costs: CPU time of ingressd's worker beside nginx's, with the same certificate, protocols, ciphers, tickets.

    make bench-tls
    .venv/bin/python loadtest/bench_tls.py --key rsa --rounds 10

Per request on connections that stay, per full handshake and per resumed one (each with one request), and the memory of
an idle connection. The two are measured in turn, in the order A B B A. What is compared is the CPU time of the one
process that carries the connections.
"""

import argparse
import contextlib
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import certificate
import peers
import rig
from matrix import CELLS
from rig import TICKS, Process, RigError

IDLE = 1000
"""Connections that are held open to see what one costs."""

MEASURES = {
    "request": "https-64",
    "full handshake": "https-handshake-full",
    "resumed handshake": "https-handshake-resumed",
}
"""Cells of the comparison, whose loads and budgets these are."""
IDLE_BUDGET = 40 * 1024
"""Bytes."""


@contextlib.contextmanager
def nginx(directory: Path, upstreams: rig.Upstreams, files: certificate.Files) -> Iterator[Process]:
    """As in the comparison, with the process that carries connections as its worker."""
    with peers.start("nginx", directory, upstreams, 1, files) as process:
        (worker,) = Path(f"/proc/{process.root}/task/{process.root}/children").read_text().split()
        yield process._replace(worker=int(worker))


def _cpu(process: Process) -> float:
    fields = Path(f"/proc/{process.worker}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def compare(processes: list[Process], options: argparse.Namespace, directory: Path) -> bool:
    """Measures all and prints the figures. Whether the budgets are kept."""
    kept = True
    print(f"\n{'CPU microseconds per':22}{'ingressd':>10}{'nginx':>10}{'ratio':>8}{'budget':>8}")
    cells = {cell.name: cell for cell in CELLS}
    for what, name in MEASURES.items():
        cell = cells[name]
        budget = cell.budgets["nginx"]
        samples: dict[str, list[float]] = {process.name: [] for process in processes}
        for number in range(options.rounds + 1):
            for process in processes if number % 2 else reversed(processes):
                before = _cpu(process)
                done = cell.load(process, options.seconds, directory)
                cost = (_cpu(process) - before) / max(done.requests, 1) * 1e6
                if done.errors or not done.requests:
                    raise RigError(f"{process.name} answered {done.requests} requests, {done.errors} failed")
                process.empty_log()
                # The first round is for warming up.
                if number:
                    samples[process.name].append(cost)
        ours, theirs = samples["ingressd"], samples["nginx"]
        ratio = statistics.median(our / their for our, their in zip(ours, theirs, strict=True))
        kept = kept and ratio <= budget
        line = f"{what:22}{statistics.median(ours):10.1f}{statistics.median(theirs):10.1f}"
        print(f"{line}{ratio:8.2f}{budget:8.2f}", flush=True)
    return kept


def idle(processes: list[Process]) -> bool:
    """Prints what an idle connection costs. Whether ours keeps the budget."""
    kept = True
    print(f"\n{'bytes per idle connection':26}")
    for process in processes:
        arguments = [str(process.https_port), rig.host(0), "idle", str(IDLE)]
        command = [sys.executable, str(rig.HERE / "tls_clients.py"), *arguments]
        before = process.resident()
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as clients:
            assert clients.stdout is not None
            if clients.stdout.readline() != b"open\n":
                raise RigError(f"not all of {IDLE} connections to {process.name} could be opened")
            each = (process.resident() - before) / IDLE
        print(f"{process.name:22}{each:10.0f}", flush=True)
        kept = kept and (process.name != "ingressd" or each <= IDLE_BUDGET)
    return kept


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench_tls.py", description="Measures what TLS costs.", allow_abbrev=False)
    parser.add_argument("--key", choices=("ecdsa", "rsa"), default="ecdsa", help="of the certificate (default ecdsa)")
    parser.add_argument("--rounds", type=int, default=5, help="of each measurement (default 5)")
    parser.add_argument("--seconds", type=int, default=3, help="of each run (default 3)")
    options = parser.parse_args()
    try:
        rig.need({"nginx": "apt-get install nginx-light", "wrk": "apt-get install wrk"})
        rig.need_files(IDLE + 1000)
        with tempfile.TemporaryDirectory(prefix="ingressd-bench-") as name, contextlib.ExitStack() as stack:
            directory = Path(name)
            files = certificate.make(directory, options.key)
            upstreams = stack.enter_context(rig.upstreams(directory / "upstreams"))
            processes = [
                stack.enter_context(rig.ingressd(directory / "ingressd", upstreams, 1, files=files)),
                stack.enter_context(nginx(directory / "nginx", upstreams, files)),
            ]
            kept = idle(processes)
            kept = compare(processes, options, directory) and kept
    except RigError as error:
        print(f"bench-tls: {error}", file=sys.stderr)
        return 2
    print("\nAll budgets are kept." if kept else "\nNot all budgets are kept.")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
