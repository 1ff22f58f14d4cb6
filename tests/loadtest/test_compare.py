"""The matrix and the options; what is missing is said before anything starts."""

import contextlib
import os
import shlex
import subprocess
import sys
from pathlib import Path

import compare
import pytest
import rig
from figures import Load
from matrix import ALONE, CELLS
from peers import LARGE, PEERS
from rig import HERE, RigError

from tests.kit import DEADLINE


def _options(monkeypatch: pytest.MonkeyPatch, arguments: str) -> compare.Options:
    monkeypatch.setattr(sys, "argv", ["compare.py", *shlex.split(arguments)])
    return compare._arguments()[0]


def test_every_cell_has_a_name_of_its_own_and_budgets_of_peers() -> None:
    names = [cell.name for cell in CELLS]
    assert len(set(names)) == len(names)
    assert len({cell.title for cell in CELLS}) == len(names)
    assert {peer for cell in CELLS for peer in cell.budgets} <= {*PEERS, ALONE}


def test_all_is_measured_and_written_up_unless_less_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    options = _options(monkeypatch, "")
    assert options.whole
    assert (options.cells, options.peers) == (list(CELLS), ["nginx", "haproxy", "envoy", "caddy"])
    for less in ("--only get-8", "--peers nginx", "--quick"):
        assert not _options(monkeypatch, less).whole


def test_quick_needs_nginx_and_wrk_only(monkeypatch: pytest.MonkeyPatch) -> None:
    options = _options(monkeypatch, "--quick")
    assert options.peers == ["nginx"]
    assert {compare.QUICK_CELL, "https-64"} <= {cell.name for cell in options.cells}
    assert not any(cell.h2load or cell.idle for cell in options.cells)
    assert [cell.name for cell in options.cells if options.rounds_of(cell) > 1] == [compare.QUICK_CELL]
    assert all(options.subjects(cell) == ["ingressd", "nginx"] for cell in options.cells)


def test_larger_buffers_are_measured_where_bodies_are_large(monkeypatch: pytest.MonkeyPatch) -> None:
    options = _options(monkeypatch, "--only 'response-*,get-64' --peers nginx,caddy")
    large = {cell.name: LARGE in options.subjects(cell) for cell in options.cells}
    assert large == {
        "get-64": False,
        "response-1kib": False,
        "response-64kib": True,
        "response-1mib": True,
        "response-100mib": True,
    }
    assert not any(LARGE in _options(monkeypatch, "--peers envoy").subjects(cell) for cell in CELLS)


def test_https_is_measured_beside_all_peers(monkeypatch: pytest.MonkeyPatch) -> None:
    options = _options(monkeypatch, "--only 'https-*'")
    assert [cell.name for cell in options.cells] == ["https-64", "https-handshake-full", "https-handshake-resumed"]
    for cell in options.cells:
        assert options.subjects(cell) == ["ingressd", "nginx", "haproxy", "envoy", "caddy"]
        assert cell.budgets["nginx"] == 1.1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--only nothing", "'nothing' matches none of get-8, "),
        ("--peers nginx,apache", "apache: there are nginx, haproxy, envoy, caddy"),
        ("--rounds 0", "'0' is not a whole number from 1"),
    ],
)
def test_a_wrong_option_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: str, message: str
) -> None:
    with pytest.raises(SystemExit):
        _options(monkeypatch, arguments)
    assert message in capsys.readouterr().err


def test_a_missing_program_is_named_with_what_installs_it() -> None:
    with pytest.raises(RigError, match=r"^no-such-proxy not found: apt-get install it$"):
        rig.need({"no-such-proxy": "apt-get install it", "sh": "nothing"})


def test_too_few_open_files_are_an_error() -> None:
    """In a process of its own, because its hard limit stays low."""
    program = "import resource, rig; resource.setrlimit(resource.RLIMIT_NOFILE, (300, 400)); rig.need_files({})"
    low, high = (
        subprocess.run(
            [sys.executable, "-c", f"{program.format(count)}; print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])"],
            cwd=HERE,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
        )
        for count in (400, 401)
    )
    assert (low.returncode, low.stdout) == (0, "400\n"), low.stderr
    assert high.returncode == 1
    assert "this needs 401 open files and the hard limit is 400" in high.stderr


def test_a_proxy_that_does_not_keep_its_connections_to_the_upstream_ends_the_measurement(tmp_path: Path) -> None:
    """Played by this process: 120 requests, on a connection each or all on one."""
    log = tmp_path / "access.log"
    log.touch()
    process = rig.Process("itself", os.getpid(), os.getpid(), 0, log)
    with rig.responses(tmp_path / "upstream") as port:

        def one_each(process: rig.Process, seconds: float, directory: Path) -> Load:
            assert all(rig.get(port, "/") == (200, rig.SMALL) for _ in range(120))
            return Load(120, seconds, 0, 1.0, 1.0, 1.0)

        def all_on_one(process: rig.Process, seconds: float, directory: Path) -> Load:
            with contextlib.closing(rig.connected(port, "localhost", DEADLINE)) as connection:
                for _ in range(120):
                    connection.request("GET", "/")
                    assert connection.getresponse().read() == rig.SMALL
            return Load(120, seconds, 0, 1.0, 1.0, 1.0)

        upstreams = rig.Upstreams(port, 0)
        with pytest.raises(RigError, match=r"^itself made 121 connections to the upstream for 120 requests$"):
            compare._sample(one_each, process, 1.0, tmp_path, upstreams)
        assert compare._sample(all_on_one, process, 1.0, tmp_path, upstreams).requests_per_second == 120
