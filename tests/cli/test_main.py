"""The dispatcher: commands, help, exit codes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ingressd import __version__
from ingressd.cli.main import COMMANDS, main
from ingressd.control.build import compiled_summary, hot_modules

PACKAGE = Path(__file__).parents[2] / "ingressd"


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["version"], ["--version"]):
        assert main(arguments) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[0] == f"ingressd {__version__}"
        assert lines[1].startswith("Python 3.")
        assert lines[2].startswith("uvloop 0.")
        assert lines[3] == f"hot modules: {compiled_summary(hot_modules())}"


def test_version_for_programs_lists_every_hot_module(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version", "--output", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found.keys() == {
        *("version", "python", "uvloop", "openssl", "tls_sessions", "hot_modules", "modules"),
    }
    typed = [path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.pxd") if path.stem != "__init__"]
    hot = {".".join(("ingressd", *path.with_suffix("").parts)) for path in typed}
    assert found["modules"].keys() == hot
    assert set(found["modules"].values()) <= {"compiled", "interpreted"}


def test_the_source_runs_where_it_is_asked_for() -> None:
    command = [sys.executable, "-m", "ingressd", "version", "--output=json"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=60, env={**os.environ, "INGRESSD_PURE": "1"}
    )
    found = json.loads(done.stdout)
    assert found["hot_modules"] == "interpreted"
    assert set(found["modules"].values()) == {"interpreted"}


@pytest.mark.parametrize(
    ("modules", "word"),
    [
        ({"a": True, "b": True}, "compiled"),
        ({"a": False, "b": False}, "interpreted"),
        ({"a": True, "b": False}, "mixed"),
        ({}, "interpreted"),
    ],
)
def test_one_word_for_all_modules(modules: dict[str, bool], word: str) -> None:
    assert compiled_summary(modules) == word


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"  {name} " in shown for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(capsys: pytest.CaptureFixture[str], name: str) -> None:
    with pytest.raises(SystemExit) as caught:
        main([name, "--help"])
    assert caught.value.code == 0
    assert f"usage: ingressd {name} [FLAGS]" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "no command given: write one of "),
        (["rum"], "unknown command 'rum': did you mean run?"),
        (["zzz"], "unknown command 'zzz': write one of "),
        (["version", "--bogus"], "unknown flag --bogus; "),
    ],
)
def test_usage_errors(capsys: pytest.CaptureFixture[str], arguments: list[str], said: str) -> None:
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith(f"ingressd: {said}")
    assert shown.err.count("\n") == 1


def test_a_reader_that_goes_away_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        command = [sys.executable, "-m", "ingressd", "version", "--output=json"]
        done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=60)
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")
