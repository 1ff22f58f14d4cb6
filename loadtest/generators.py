"""The load generators: how each is started, and what it says.

wrk sends as fast as responses come back. h2load sends a fixed number of requests, or at a fixed rate.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import certificate
import rig
from figures import Load, percentile
from rig import LOOPBACK, Process, RigError

GRACE = 60.0
"""Seconds that a generator may take longer than the run."""
LINE = "measured"
"""What the line begins with that DONE prints."""
DONE = f"""
done = function(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format("{LINE} requests=%d duration=%d p50=%d p99=%d p999=%d errors=%d\\n",
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), latency:percentile(99.9),
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
"""
"""For wrk, which itself prints no percentile above the 99th. Times are in microseconds."""


def wrk(process: Process, seconds: float, script: str, directory: Path, connections: int, https: bool = False) -> Load:
    """Requests as the script makes them, or GET requests for / of host 0."""
    url = f"https://{LOOPBACK}:{process.https_port}" if https else f"http://{LOOPBACK}:{process.port}"
    path = directory / "wrk.lua"
    path.write_text(f'wrk.headers["Host"] = "{rig.host(0)}"\n{script}\n{DONE}')
    command = ["wrk", "--threads", "1", "--connections", str(connections), "--timeout", "30s", "--script", str(path)]
    command += ["--duration", f"{max(1, round(seconds))}s", url]
    return parse_wrk(_output(command, process, seconds))


def parse_wrk(output: str) -> Load:
    """From the line that DONE prints."""
    found = re.search(rf"^{LINE} (.*)$", output, re.MULTILINE)
    if found is None:
        raise RigError(f"wrk printed no figures: {output}")
    said = {name: int(value) for name, _, value in (word.partition("=") for word in found[1].split())}
    return Load(said["requests"], said["duration"] / 1e6, said["errors"], said["p50"], said["p99"], said["p999"])


def h2load(process: Process, options: Sequence[str], path: str, directory: Path, seconds: float) -> Load:
    """HTTP/1.1 requests to host 0. `seconds` is how long the options make it take, about."""
    log = directory / "h2load.log"
    log.unlink(missing_ok=True)
    command = ["h2load", "--h1", f"--log-file={log}", f"--header=:authority: {rig.host(0)}", *options]
    command.append(f"http://{LOOPBACK}:{process.port}{path}")
    output = _output(command, process, seconds)
    with log.open() as lines:
        return parse_h2load(output, (int(line.split("\t")[2]) for line in lines))


def parse_h2load(output: str, times: Iterable[int]) -> Load:
    """From what it prints, and from the microseconds of each request, which it writes to its log."""
    took = re.search(r"^finished in ([\d.]+)(us|ms|s|m),?", output, re.MULTILINE)
    counts = re.search(r"^requests: .* (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", output, re.M)
    if took is None or counts is None:
        raise RigError(f"h2load printed no figures: {output}")
    unit = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}[took[2]]
    succeeded, failed, errored, timeout = map(int, counts.groups())
    ordered = sorted(times)
    return Load(
        succeeded,
        float(took[1]) * unit,
        # Failed requests are those with an error, and those that were not answered in time.
        max(failed, errored + timeout),
        *(percentile(ordered, share) for share in (0.5, 0.99, 0.999)),
    )


def websocket(process: Process, seconds: float, connections: int) -> Load:
    """Messages and their echo; each pair counts as one request."""
    arguments = [str(process.port), rig.ECHO_HOST, str(connections), str(seconds)]
    return Load(
        **json.loads(_output([sys.executable, str(rig.HERE / "websocket_clients.py"), *arguments], process, seconds))
    )


def handshakes(process: Process, seconds: float, resume: bool) -> Load:
    """HTTPS requests, each on a new connection, with a full handshake each or all resuming one session.

    Raises RigError if a handshake was of the other kind, or in another version or cipher than all are to have.
    """
    kind = "resumed" if resume else "full"
    arguments = [str(process.https_port), rig.host(0), kind, str(seconds)]
    output = _output([sys.executable, str(rig.HERE / "tls_clients.py"), *arguments], process, seconds)
    said = json.loads(output)
    resumed, spoken = said.pop("resumed"), [tuple(each) for each in said.pop("spoken")]
    load = Load(**said)
    if resumed != (load.requests if resume else 0):
        raise RigError(f"{process.name} resumed {resumed} of {load.requests} sessions, where all were to be {kind}")
    if load.requests and spoken != [certificate.SPOKEN]:
        raise RigError(f"{process.name} spoke {spoken}, not {certificate.SPOKEN}")
    return load


def _output(command: Sequence[str], process: Process, seconds: float) -> str:
    environment = {**os.environ, **certificate.CLIENT}
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + GRACE, env=environment)
    if done.returncode != 0:
        raise RigError(f"{Path(command[0]).name} on {process.name}: {done.stdout}{done.stderr}")
    return done.stdout
