"""How `ingressd run` ends: in order, handed over to another one, or by losing a process."""

import contextlib
import os
import resource
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.control.process import DEADLINE, MUTE, REAL, STAND_INS, exists, ingressd, until
from tests.control.test_run import CLASS, SERVICE, endpoints, failing, ingress, pids, state, write


@pytest.fixture
def manifests(tmp_path: Path) -> Path:
    directory = tmp_path / "manifests"
    directory.mkdir()
    write(directory / "base.yaml", CLASS, SERVICE, endpoints(9001))
    write(directory / "web.yaml", ingress("web", "a.example"))
    return directory


@contextlib.contextmanager
def connected(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE) as client:
        yield client


def ask(client: socket.socket) -> bytes:
    """Head and body of an answer of ours."""
    client.sendall(b"GET / HTTP/1.1\r\nHost: nobody.example\r\n\r\n")
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += client.recv(65536)
    head, _, body = answer.partition(b"\r\n\r\n")
    (length,) = [int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length:")]
    while len(body) < length:
        body += client.recv(65536)
    return head


def refused(port: int) -> bool:
    try:
        with connected(port):
            return False
    except OSError:
        return True


def test_it_listens_while_load_balancers_notice_and_then_finishes_what_it_has(manifests: Path) -> None:
    with (
        ingressd(REAL, manifests, "--workers=2", "--shutdown-grace-period=3s") as running,
        connected(running.port) as idle,
        connected(running.port) as used,
    ):
        running.ready()
        assert b"Connection: close" not in ask(used)
        began = time.monotonic()
        running.process.send_signal(signal.SIGTERM)
        running.line("listening for 3 s more (--shutdown-grace-period)")
        assert running.admin("/readyz") == (503, {"ready": False, "missing": ["the controller is stopping"]})
        with connected(running.port) as late:
            until(lambda: b"Connection: close" in ask_anew(running.port))
            assert b"Connection: close" in ask(late)
            assert late.recv(1) == b""
        until(lambda: refused(running.port))
        assert time.monotonic() - began >= 3
        assert running.process.poll() is None, "two connections may still have a request"
        for client in (idle, used):
            assert b"Connection: close" in ask(client)
            assert client.recv(1) == b""
        assert running.finish() == 0
        assert not running.lines("ERROR")


def ask_anew(port: int) -> bytes:
    with connected(port) as client:
        return ask(client)


def test_whoever_waits_in_the_queue_is_accepted_however_far_behind_a_worker_is(manifests: Path) -> None:
    """Here it is, by half a second, since it had no descriptor left for one more connection."""
    with ingressd(REAL, manifests, "--workers=1") as running:
        running.ready()
        (worker,) = pids(running)
        limits = resource.prlimit(worker, resource.RLIMIT_NOFILE)
        resource.prlimit(worker, resource.RLIMIT_NOFILE, (0, limits[1]))
        with connected(running.port) as client:
            running.line("no connection can be accepted for 0.5 s")
            resource.prlimit(worker, resource.RLIMIT_NOFILE, limits)
            running.process.send_signal(signal.SIGTERM)
            assert b"Connection: close" in ask(client)
        assert running.finish() == 0


def test_what_does_not_end_is_cut_after_the_time_to_drain(manifests: Path) -> None:
    with (
        ingressd(REAL, manifests, "--workers=1", "--drain-timeout=1s") as running,
        connected(running.port) as client,
    ):
        running.ready()
        client.sendall(b"GET / HTTP/1.1\r\nHost: half")
        running.process.send_signal(signal.SIGTERM)
        assert running.finish() == 0
        with contextlib.suppress(ConnectionError):
            assert client.recv(1) == b""


def test_a_worker_that_dies_in_the_grace_period_is_replaced_and_edits_count(manifests: Path) -> None:
    with ingressd(STAND_INS, manifests, "--workers=1", "--shutdown-grace-period=1h") as running:
        running.ready()
        (worker,) = pids(running)
        running.process.send_signal(signal.SIGTERM)
        until(lambda: state(running).get("draining"))
        os.kill(worker, signal.SIGKILL)
        write(manifests / "more.yaml", ingress("more", "b.example"))
        until(lambda: state(running)["hosts"] == ["a.example", "b.example"] and state(running).get("draining"))
        assert pids(running) != [worker]
        running.process.send_signal(signal.SIGTERM)
        assert running.finish() == 1


def test_a_worker_that_hangs_is_replaced(manifests: Path) -> None:
    with ingressd(REAL, manifests, "--workers=2") as running:
        running.ready()
        before = pids(running)
        os.kill(before[0], signal.SIGSTOP)
        assert f"worker 0 (pid {before[0]}) hangs: nothing was heard of it for 10 s" in running.line("hangs")
        running.line("was killed by SIGKILL; starting another now")
        until(lambda: pids(running)[0] not in (0, before[0]) and running.admin("/readyz")[0] == 200)
        assert pids(running)[1] == before[1]
        assert running.metric("ingressd_worker_hangs_total") == 1
        assert running.metric("ingressd_worker_restarts_total") == 1


def test_without_its_controller_a_worker_finishes_what_it_has_and_nobody_keeps_the_port(manifests: Path) -> None:
    with ingressd(REAL, manifests, "--workers=2") as running, connected(running.port) as client:
        running.ready()
        ask(client)
        workers = pids(running)
        running.process.kill()
        running.process.wait()
        until(lambda: refused(running.port))
        # One of them still has this connection; the port is free for another all the same.
        assert any(map(exists, workers))
        with ingressd(REAL, manifests, "--workers=1", f"--http-port={running.port}") as after:
            after.ready()
            assert b"404 Not Found" in ask_anew(after.port)
        assert b"Connection: close" in ask(client)
        until(lambda: not any(map(exists, workers)))


# --- handover


def test_another_takes_over_the_sockets_and_nobody_is_refused(manifests: Path, tmp_path: Path) -> None:
    path = tmp_path / "handover"
    with ingressd(REAL, manifests, "--workers=2", f"--handover-socket={path}") as first:
        first.ready()
        ports = [f"--http-port={first.port}", f"--healthz-port={first.admin_port}"]
        until(path.exists)
        with (
            connected(first.port) as kept,
            ingressd(REAL, manifests, "--workers=3", f"--handover-socket={path}", *ports) as second,
        ):
            ask(kept)
            while not first.lines("another process has taken over"):
                ask_anew(first.port)
            # The first one finishes what it has, while the second has the ports.
            assert first.process.poll() is None
            second.ready()
            assert (second.port, second.admin_port) == (first.port, first.admin_port)
            assert b"Connection: close" in ask(kept)
            assert first.finish() == 0
            assert not first.lines("ERROR")
            for _ in range(50):
                ask_anew(second.port)
            # With fewer workers than there are sockets, each worker gets several.
            with ingressd(REAL, manifests, "--workers=1", f"--handover-socket={path}", *ports) as third:
                assert second.finish() == 0
                third.ready()
                for _ in range(50):
                    ask_anew(third.port)


def test_one_that_ends_before_it_is_ready_takes_nothing_over(manifests: Path, tmp_path: Path) -> None:
    path = tmp_path / "handover"
    broken = tmp_path / "broken"
    broken.touch()
    with ingressd(STAND_INS, manifests, "--workers=1", f"--handover-socket={path}") as first:
        first.ready()
        until(path.exists)
        ports = [f"--http-port={first.port}", f"--healthz-port={first.admin_port}"]
        with ingressd(
            STAND_INS,
            manifests,
            f"--handover-socket={path}",
            *ports,
            environment={"STAND_IN_BROKEN": str(broken)},
        ) as second:
            second.line("exited with code 3")
            second.process.kill()
            second.finish()
        first.line("has ended before it was ready; going on")
        assert state(first)["pid"] in pids(first)
        with ingressd(STAND_INS, manifests, "--workers=1", f"--handover-socket={path}", *ports) as third:
            third.ready()
            assert first.finish() == 0
            assert state(third)["pid"] in pids(third)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_one_that_ends_while_it_starts_leaves_the_sockets_as_they_were(
    manifests: Path, tmp_path: Path, how: signal.Signals
) -> None:
    """One of its workers accepts connections already, on sockets that are not its own yet."""
    path = tmp_path / "handover"
    with ingressd(REAL, manifests, "--workers=1", f"--handover-socket={path}") as first:
        first.ready()
        until(path.exists)
        with ingressd(
            MUTE, manifests, "--workers=2", f"--handover-socket={path}", f"--http-port={first.port}"
        ) as second:
            until(lambda: [worker["generation"] for worker in second.workers()] == [1, None])
            worker = pids(second)[0]
            second.process.send_signal(how)
            until(lambda: not exists(worker))
            second.process.kill()
            second.finish()
        first.line("has ended before it was ready; going on")
        ask_anew(first.port)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_one_that_ends_while_another_takes_over_leaves_the_sockets_to_it(
    manifests: Path, tmp_path: Path, how: signal.Signals
) -> None:
    path = tmp_path / "handover"
    broken = tmp_path / "broken"
    broken.touch()
    with ingressd(REAL, manifests, "--workers=1", f"--handover-socket={path}") as first:
        first.ready()
        until(path.exists)
        with ingressd(
            STAND_INS,
            manifests,
            "--workers=1",
            f"--handover-socket={path}",
            f"--http-port={first.port}",
            environment={"STAND_IN_BROKEN": str(broken)},
        ) as second:
            second.line("exited with code 3")
            (worker,) = pids(first)
            first.process.send_signal(how)
            assert first.finish() == (0 if how == signal.SIGTERM else -how)
            until(lambda: not exists(worker))
            broken.unlink()
            second.ready()
            assert state(second)["pid"] in pids(second)


def test_one_that_drains_hands_nothing_over_and_the_ports_are_free(manifests: Path, tmp_path: Path) -> None:
    path = tmp_path / "handover"
    with ingressd(REAL, manifests, "--workers=1", f"--handover-socket={path}") as first:
        first.ready()
        until(path.exists)
        port = first.port
        with connected(port) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: half")
            first.process.send_signal(signal.SIGTERM)
            until(lambda: refused(port))
            with ingressd(REAL, manifests, "--workers=1", f"--handover-socket={path}", f"--http-port={port}") as second:
                second.ready()
                ask_anew(port)
                assert first.process.poll() is None


def test_a_socket_for_handing_over_that_cannot_be_made_is_said_at_the_start(manifests: Path, tmp_path: Path) -> None:
    path = tmp_path / "none" / "handover"
    common = ("run", "--manifests", str(manifests), "--bind-address=127.0.0.1", "--http-port=0", "--healthz-port=0")
    code, said = failing(*common, f"--handover-socket={path}")
    assert code == 2
    assert f"cannot listen on {path} (--handover-socket): there is no such directory" in said


def test_nobody_takes_over_from_one_that_gives_nothing(manifests: Path, tmp_path: Path) -> None:
    path = tmp_path / "handover"
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(str(path))
        deaf.listen()
        common = ("run", "--manifests", str(manifests), "--bind-address=127.0.0.1", "--http-port=0", "--healthz-port=0")
        code, said = failing(*common, f"--handover-socket={path}")
    assert code == 2
    assert "cannot take over from" in said
