"""`ingressd run` as a user meets it: real processes, real sockets, real files."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.control.process import DEADLINE, REAL, STAND_INS, Running, exists, fetch, ingressd, until
from tests.control.stand_in import LAST_WORDS

CLASS = """
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: ingressd}
spec: {controller: ingressd.dev/ingress-controller}
"""
SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: front, namespace: shop}
spec: {ports: [{port: 80}], selector: {app: front}}
"""


def ingress(name: str, host: str, path_type: str = "Prefix") -> str:
    return f"""
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{name: {name}, namespace: shop}}
spec:
  ingressClassName: ingressd
  rules:
  - host: {host}
    http:
      paths:
      - path: /
        pathType: {path_type}
        backend: {{service: {{name: front, port: {{number: 80}}}}}}
"""


def endpoints(port: int) -> str:
    """Loopback as in the manifests of a single machine."""
    return f"""
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: front, namespace: shop, labels: {{kubernetes.io/service-name: front}}}}
addressType: IPv4
ports: [{{port: {port}}}]
endpoints: [{{addresses: [127.0.0.1]}}]
"""


@pytest.fixture
def manifests(tmp_path: Path) -> Path:
    write(tmp_path / "base.yaml", CLASS, SERVICE, endpoints(9001))
    write(tmp_path / "web.yaml", ingress("web", "a.example"))
    return tmp_path


def write(path: Path, *documents: str) -> None:
    """In one step, as `mv` and `kubectl`-like tools do."""
    draft = path.with_suffix(".draft")
    draft.write_text("---".join(documents))
    draft.replace(path)


def state(running: Running, path: str = "/state") -> dict[str, Any]:
    """What a worker (a stand-in) says."""
    found: dict[str, Any] = json.loads(fetch(running.port, path)[1])
    return found


def pids(running: Running) -> list[int]:
    return [worker["pid"] for worker in running.workers()]


def all_serve(running: Running, generation: int) -> bool:
    return all(worker["generation"] == generation for worker in running.workers())


def test_every_worker_serves_the_objects_and_gets_the_edits(manifests: Path) -> None:
    with ingressd(STAND_INS, manifests, "--workers=2") as running:
        running.ready()
        assert all_serve(running, 1)
        assert state(running)["hosts"] == ["a.example"]
        write(manifests / "more.yaml", ingress("more", "b.example"))
        until(lambda: all_serve(running, 2))
        # The kernel chooses the worker; enough connections meet both.
        seen: dict[int, dict[str, Any]] = {}
        while len(seen) < 2:
            answer = state(running)
            seen[answer["worker"]] = answer
        assert all(answer["hosts"] == ["a.example", "b.example"] for answer in seen.values())
        assert all(answer["fulls"] == 1 for answer in seen.values()), "an edit is sent as a change, not as the whole"
        (manifests / "more.yaml").unlink()
        until(lambda: all_serve(running, 3))
        assert state(running)["hosts"] == ["a.example"]


def test_an_edit_takes_effect_within_100_ms_with_1000_hosts_loaded(manifests: Path) -> None:
    write(manifests / "many.yaml", *(ingress(f"many-{number}", f"h{number}.example") for number in range(1000)))
    with ingressd(STAND_INS, manifests, "--workers=2") as running:
        running.ready()
        times = []
        for port in range(9002, 9007):
            start = time.monotonic()
            write(manifests / "base.yaml", CLASS, SERVICE, endpoints(port))
            having: set[int] = set()
            while len(having) < 2:
                answer = state(running)
                if answer["endpoints"]["shop-front-80"] == [f"127.0.0.1:{port}"]:
                    having.add(answer["worker"])
                assert time.monotonic() - start < DEADLINE
            times.append(time.monotonic() - start)
        # The machine may be busy with other things; once shows that nothing here waits for longer.
        assert min(times) < 0.1, times


def test_the_log_tells_of_ingresses_that_are_passed_over(manifests: Path) -> None:
    write(manifests / "none.yaml", ingress("none", "b.example").replace("  ingressClassName: ingressd\n", ""))
    with ingressd(STAND_INS, manifests, "--workers=1") as running:
        assert running.line("ready: ").strip().endswith("clusters: 1, Ingresses of another class or of none: 1")


def test_a_broken_edit_is_said_once_and_the_last_good_state_stays(manifests: Path) -> None:
    with ingressd(STAND_INS, manifests, "--workers=1") as running:
        running.ready()
        write(manifests / "web.yaml", ingress("web", "changed.example", path_type="Perfix"))
        said = running.line("Perfix")
        assert "ERROR controller: " in said
        assert f"{manifests}/web.yaml:" in said
        assert "Ingress shop/web: spec.rules[0].http.paths[0].pathType" in said
        assert state(running)["hosts"] == ["a.example"]
        (problem,) = running.admin("/api/problems")[1]["problems"]
        assert (problem["object"]["name"], problem["line"]) == ("web", int(said.split("web.yaml:")[1].split(":")[0]))
        # Something else changes: the problem is not said again.
        write(manifests / "more.yaml", ingress("more", "b.example"))
        until(lambda: state(running)["hosts"] == ["a.example", "b.example"])
        assert len(running.lines("Perfix")) == 1
        write(manifests / "web.yaml", ingress("web", "changed.example"))
        until(lambda: state(running)["hosts"] == ["b.example", "changed.example"])
        assert "Perfix" in running.line("resolved: ")
        assert running.admin("/api/problems")[1]["problems"] == []


def test_a_worker_that_dies_is_replaced_and_serves_all_there_is(manifests: Path) -> None:
    with ingressd(STAND_INS, manifests, "--workers=2") as running:
        running.ready()
        write(manifests / "more.yaml", ingress("more", "b.example"))
        until(lambda: all_serve(running, 2))
        fetch(running.port, "/report/7")
        until(lambda: running.metric("ingressd_requests_total") == 7)
        before = pids(running)
        os.kill(before[0], signal.SIGKILL)
        assert f"worker 0 (pid {before[0]}) was killed by SIGKILL; starting another now" in running.line("SIGKILL")
        until(lambda: pids(running)[0] not in (None, before[0]) and running.workers()[0]["generation"] == 2)
        assert pids(running)[1] == before[1], "the other worker is not concerned"
        assert running.metric("ingressd_worker_restarts_total") == 1
        assert running.metric("ingressd_requests_total") == 7, "counters never go down"
        assert all(state(running)["hosts"] == ["a.example", "b.example"] for _ in range(20))


def test_the_last_words_of_a_worker_count(manifests: Path) -> None:
    with ingressd(STAND_INS, manifests, "--workers=1") as running:
        running.ready()
        os.kill(pids(running)[0], signal.SIGTERM)
        assert "exited with code 0; starting another now" in running.line("exited with")
        until(lambda: running.metric("ingressd_requests_total") == LAST_WORDS)


def test_a_worker_that_cannot_start_keeps_the_pod_unready(manifests: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.touch()
    with ingressd(STAND_INS, manifests, "--workers=1", environment={"STAND_IN_BROKEN": str(broken)}) as running:
        assert "exited with code 3; starting another in 1 s" in running.line("exited with", count=2)
        status, answer = running.admin("/readyz")
        assert status == 503
        assert answer["ready"] is False
        assert answer["missing"][0].startswith("worker 0 ")
        assert fetch(running.admin_port, "/healthz") == (200, b"ok")
        broken.unlink()
        running.ready()


@pytest.mark.parametrize("which", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_in_order(manifests: Path, which: signal.Signals) -> None:
    with ingressd(REAL, manifests, "--workers=2") as running:
        running.ready()
        workers = pids(running)
        running.process.send_signal(which)
        assert running.finish() == 0
        assert not any(map(exists, workers))
        with pytest.raises(ConnectionRefusedError):
            fetch(running.port, "/")


def test_a_signal_before_it_serves_ends_it_as_well() -> None:
    """Said by the exit code, not by the signal itself: as process 1 it would not die of that."""
    with subprocess.Popen(
        [sys.executable, "-m", "ingressd", "run", "--manifests=-", "--http-port=0", "--healthz-port=0"],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        # It reads to the end of standard input first, which does not come.
        assert process.stdin is not None
        until(lambda: int(Path(f"/proc/{process.pid}/status").read_text().split("SigCgt:")[1].split()[0], 16) >> 14 & 1)
        process.terminate()
        assert process.wait(DEADLINE) == 128 + signal.SIGTERM
        assert process.stderr is not None
        assert process.stderr.read() == b""


def test_ctrl_c_reaches_the_whole_process_group_and_nobody_prints_a_traceback(manifests: Path) -> None:
    with ingressd(REAL, manifests, "--workers=2") as running:
        running.ready()
        workers = pids(running)
        os.killpg(running.process.pid, signal.SIGINT)
        assert running.finish() == 0
        assert not any(map(exists, workers))
        assert not running.lines("Traceback")
        assert not running.lines("ERROR")


def test_a_second_signal_ends_at_once(manifests: Path) -> None:
    with ingressd(STAND_INS, manifests, "--workers=1") as running:
        running.ready()
        workers = pids(running)
        fetch(running.port, "/stubborn")
        running.process.send_signal(signal.SIGTERM)
        running.line("stopping: SIGTERM")
        status, answer = running.admin("/readyz")
        assert (status, answer["missing"]) == (503, ["the controller is stopping"])
        assert running.process.poll() is None
        running.process.send_signal(signal.SIGTERM)
        assert running.finish() == 1
        until(lambda: not any(map(exists, workers)))


@pytest.mark.parametrize("module", [REAL, STAND_INS])
def test_no_worker_outlives_a_controller_that_is_killed(manifests: Path, module: tuple[str, ...]) -> None:
    with ingressd(module, manifests, "--workers=2") as running:
        running.ready()
        workers = pids(running)
        running.process.kill()
        running.finish()
        until(lambda: not any(map(exists, workers)))


def test_two_of_us_do_not_share_a_port(manifests: Path) -> None:
    with ingressd(STAND_INS, manifests, "--workers=1") as running:
        running.ready()
        common = ("run", "--manifests", str(manifests), "--bind-address=127.0.0.1")
        code, said = failing(*common, f"--http-port={running.port}")
        assert code == 2
        assert said == (
            f"ingressd: cannot listen on 127.0.0.1:{running.port} (--http-port): "
            "another process listens there: stop it or choose another port with --http-port\n"
        )
        code, said = failing(*common, "--http-port=0", f"--healthz-port={running.admin_port}")
        assert code == 2
        assert f"127.0.0.1:{running.admin_port} (--healthz-port)" in said.splitlines()[-1]


def failing(*arguments: str, **environment: str) -> tuple[int, str]:
    """Exit code and stderr of a command that does not begin to serve."""
    done = subprocess.run(
        [sys.executable, "-m", "ingressd", *arguments],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        env={**os.environ, **environment},
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        (
            ["run"],
            {"KUBECONFIG": "/none"},
            "there is no kubeconfig /none: write --kubeconfig PATH, or --manifests PATH",
        ),
        (
            ["run", "--manifests=/no/such/place"],
            {},
            "--manifests: cannot read /no/such/place: No such file or directory",
        ),
        (["run", "--manifest=x"], {}, "unknown flag --manifest; did you mean --manifests?"),
        (
            ["run"],
            {"INGRESSD_HTTP_PORT": "many"},
            "INGRESSD_HTTP_PORT: 'many' is not a port: write a number from 0 to 65535",
        ),
        (["rum"], {}, "unknown command 'rum': did you mean run?"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(arguments: list[str], environment: dict[str, str], said: str) -> None:
    assert failing(*arguments, **environment) == (2, f"ingressd: {said}\n")


def test_manifests_from_the_environment_and_from_standard_input() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "ingressd", "run", "--bind-address=127.0.0.1", "--healthz-port=0"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "INGRESSD_MANIFESTS": "-", "INGRESSD_HTTP_PORT": "0", "INGRESSD_WORKERS": "1"},
    ) as process:
        assert process.stdin is not None
        process.stdin.write("---".join((CLASS, SERVICE, ingress("web", "a.example"))))
        process.stdin.close()
        running = Running(process)
        running.ready()
        hosts = [host["host"] for host in running.admin("/api/snapshot")[1]["virtual_hosts"]]
        process.terminate()
        assert running.finish() == 0
    assert hosts == ["a.example"]


def test_standard_streams_may_be_closed(manifests: Path) -> None:
    command = [sys.executable, "-m", "ingressd", "run", "--bind-address=127.0.0.1", "--healthz-port=0", "--http-port=0"]
    with subprocess.Popen(
        ["sh", "-c", 'exec "$@" <&- >&-', "sh", *command, f"--manifests={manifests}", "--workers=1"],
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        running = Running(process)
        try:
            running.ready()
            assert fetch(running.port, "/", "unknown.example")[0] == 404
            process.terminate()
            assert running.finish() == 0
        finally:
            process.kill()
    assert not running.lines("Traceback")


def test_requests_through_a_real_worker_are_counted(manifests: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as upstream:
        write(manifests / "base.yaml", CLASS, SERVICE, endpoints(upstream.getsockname()[1]))
        with ingressd(REAL, manifests, "--workers=2") as running:
            running.ready()
            client = socket.create_connection(("127.0.0.1", running.port), timeout=DEADLINE)
            client.sendall(b"GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n")
            upstream.settimeout(DEADLINE)
            accepted, _ = upstream.accept()
            with accepted, client:
                accepted.settimeout(DEADLINE)
                assert accepted.recv(65536).startswith(b"GET / HTTP/1.1\r\n")
                accepted.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                answer = b"".join(iter(lambda: client.recv(65536), b""))
            assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
            assert answer.endswith(b"ok")
            until(lambda: running.metric("ingressd_requests_total") == 1)
            for process in ("controller", "worker"):
                assert running.metric(f'ingressd_tasks{{process="{process}"}}') >= 2
            page = fetch(running.admin_port, "/metrics")[1].decode()
            (line,) = [line for line in page.splitlines() if line.startswith("nginx_ingress_controller_requests{")]
            assert line.endswith("} 1")
            for label in ('host="a.example"', 'ingress="web"', 'method="GET"', 'namespace="shop"', 'status="200"'):
                assert label in line
            # The Ingress goes, and its series with it.
            (manifests / "web.yaml").unlink()
            until(lambda: "nginx_ingress_controller_requests{" not in fetch(running.admin_port, "/metrics")[1].decode())
