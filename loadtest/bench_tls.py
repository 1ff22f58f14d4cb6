"""What TLS costs: CPU time of ingressd's worker beside nginx's, with the same certificate, protocols, ciphers, tickets.

    make bench-tls
    .venv/bin/python loadtest/bench_tls.py --key rsa --rounds 10

Per request on connections that stay, per full handshake and per resumed one (each with one request), and the memory of
an idle connection. The two are measured in turn, in the order A B B A. What is compared is the CPU time of the one
process that carries the connections.
"""

import argparse
import base64
import contextlib
import datetime
import json
import re
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import rig
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from rig import LOOPBACK, TICKS, Process, RigError

from ingressd.model.tls import INTERMEDIATE_CIPHERS

IDLE = 1000
"""Connections that are held open to see what one costs."""

BUDGETS = {"request": 1.1, "full handshake": 1.1, "resumed handshake": 1.1}
IDLE_BUDGET = 40 * 1024
"""Bytes."""


class Files(NamedTuple):
    """A certificate and its key, PEM."""

    certificate: Path
    key: Path


def make_certificate(directory: Path, kind: str) -> Files:
    """A self-signed one for all hosts of the rig."""
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey = (
        rsa.generate_private_key(65537, 2048) if kind == "rsa" else ec.generate_private_key(ec.SECP256R1())
    )
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bench")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("*.example.com")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    files = Files(directory / "tls.crt", directory / "tls.key")
    files.certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    files.key.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return files


@contextlib.contextmanager
def ingressd(directory: Path, upstreams: rig.Upstreams, files: Files) -> Iterator[Process]:
    """With the certificate as the default one; gives it with its port for HTTPS."""
    port = rig.free_port()
    data = {f"tls.{path.suffix[1:]}": base64.b64encode(path.read_bytes()).decode() for path in files}
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/tls",
        "metadata": {"name": "tls", "namespace": "bench"},
        "data": data,
    }
    secrets = directory.parent / "secrets"
    secrets.mkdir()
    (secrets / "secret.yaml").write_text(json.dumps(secret))
    flags = ["--manifests", str(secrets), "--https-port", str(port), "--default-ssl-certificate", "bench/tls"]
    with rig.ingressd(directory, upstreams, 1, *flags) as process:
        yield process._replace(port=port)


@contextlib.contextmanager
def nginx(directory: Path, upstreams: rig.Upstreams, files: Files) -> Iterator[Process]:
    """Its configuration of the comparison, with TLS in front."""
    directory.mkdir()
    port = rig.free_port()
    text = (rig.HERE / "peers" / "nginx.conf").read_text()
    text = re.sub(r"listen 127\.0\.0\.1:@PORT@", r"\g<0> ssl", text)
    text = text.replace(
        "http {",
        "http {\n    ssl_certificate @CERTIFICATE@;\n    ssl_certificate_key @KEY@;\n"
        f"    ssl_protocols TLSv1.2 TLSv1.3;\n    ssl_ciphers {INTERMEDIATE_CIPHERS};\n"
        "    ssl_prefer_server_ciphers on;\n    ssl_session_tickets on;\n    ssl_buffer_size 16k;\n"
        # ingressd gives one for a handshake; OpenSSL's default for TLS 1.3 is two.
        "    ssl_conf_command NumTickets 1;",
    )
    template = directory / "template.conf"
    template.write_text(text)
    values: dict[str, object] = {
        "PORT": port,
        "UPSTREAM": upstreams.responses,
        "ECHO": upstreams.echo,
        "ECHO_HOST": rig.ECHO_HOST,
        "HOSTS": rig.host(0),
        "LOG": directory / "access.log",
        "BUFFERS": "",
        "FILES": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        "CERTIFICATE": files.certificate,
        "KEY": files.key,
    }
    path = rig.configuration(template, directory, values)
    command = [rig.find_program("nginx") or "nginx", "-p", str(directory), "-c", str(path)]
    with rig.running(command, directory) as process:
        _clients(port, 1, "full", patience=50)
        (worker,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        yield Process("nginx", process.pid, int(worker), port, directory / "access.log")


def _clients(port: int, count: int, kind: str, patience: int = 1) -> int:
    """Makes connections. How many were resumed. Raises RigError, after as many attempts as `patience` says."""
    command = [sys.executable, str(rig.HERE / "tls_clients.py"), str(port), rig.host(0), str(count), kind]
    done = None
    for _ in range(patience):
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        if done.returncode == 0:
            return int(done.stdout)
    raise RigError(f"the clients failed: {done.stderr if done else ''}")


def requests(process: Process, options: argparse.Namespace) -> int:
    """Loads it with requests on connections that stay. How many there were."""
    command = ["wrk", "--threads", "1", "--connections", "64", "--duration", f"{options.seconds}s"]
    command += ["--header", f"Host: {rig.host(0)}", f"https://{LOOPBACK}:{process.port}/"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=options.seconds + 60)
    found = re.search(r"(\d+) requests in", done.stdout)
    failed = re.search(r"Non-2xx or 3xx responses: .*|Socket errors: .*", done.stdout)
    if found is None or failed is not None:
        raise RigError(f"wrk on {process.name}: {done.stdout + done.stderr}")
    return int(found[1])


def full(process: Process, options: argparse.Namespace) -> int:
    """Loads it with full handshakes. How many there were."""
    if _clients(process.port, options.handshakes, "full"):
        raise RigError("handshakes that should have been full were not")
    return int(options.handshakes)


def resumed(process: Process, options: argparse.Namespace) -> int:
    """The same with resumed sessions."""
    if _clients(process.port, options.handshakes, "resumed") != options.handshakes:
        raise RigError(f"{process.name} did not resume all sessions")
    return int(options.handshakes)


Measure = Callable[[Process, argparse.Namespace], int]
MEASURES: dict[str, Measure] = {"request": requests, "full handshake": full, "resumed handshake": resumed}


def _cpu(process: Process) -> float:
    fields = Path(f"/proc/{process.worker}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def compare(processes: list[Process], options: argparse.Namespace) -> bool:
    """Measures all and prints the figures. Whether the budgets are kept."""
    kept = True
    print(f"\n{'CPU microseconds per':22}{'ingressd':>10}{'nginx':>10}{'ratio':>8}{'budget':>8}")
    for what, measure in MEASURES.items():
        samples: dict[str, list[float]] = {process.name: [] for process in processes}
        for number in range(options.rounds + 1):
            for process in processes if number % 2 else reversed(processes):
                before = _cpu(process)
                count = measure(process, options)
                cost = (_cpu(process) - before) / count * 1e6
                process.empty_log()
                # The first round is for warming up.
                if number:
                    samples[process.name].append(cost)
        ours, theirs = samples["ingressd"], samples["nginx"]
        ratio = statistics.median(our / their for our, their in zip(ours, theirs, strict=True))
        kept = kept and ratio <= BUDGETS[what]
        line = f"{what:22}{statistics.median(ours):10.1f}{statistics.median(theirs):10.1f}"
        print(f"{line}{ratio:8.2f}{BUDGETS[what]:8.2f}", flush=True)
    return kept


def idle(processes: list[Process]) -> bool:
    """Prints what an idle connection costs. Whether ours keeps the budget."""
    kept = True
    print(f"\n{'bytes per idle connection':26}")
    for process in processes:
        command = [sys.executable, str(rig.HERE / "tls_clients.py"), str(process.port), rig.host(0), str(IDLE), "idle"]
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
    parser.add_argument("--seconds", type=int, default=3, help="of each run of wrk (default 3)")
    parser.add_argument("--handshakes", type=int, default=1500, help="in each run (default 1500)")
    options = parser.parse_args()
    try:
        rig.need({"nginx": "apt-get install nginx-light", "wrk": "apt-get install wrk"})
        rig.need_files(IDLE + 1000)
        with tempfile.TemporaryDirectory(prefix="ingressd-bench-") as name, contextlib.ExitStack() as stack:
            directory = Path(name)
            files = make_certificate(directory, options.key)
            upstreams = stack.enter_context(rig.upstreams(directory / "upstreams"))
            processes = [
                stack.enter_context(ingressd(directory / "ingressd", upstreams, files)),
                stack.enter_context(nginx(directory / "nginx", upstreams, files)),
            ]
            kept = idle(processes)
            kept = compare(processes, options) and kept
    except RigError as error:
        print(f"bench-tls: {error}", file=sys.stderr)
        return 2
    print("\nAll budgets are kept." if kept else "\nNot all budgets are kept.")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
