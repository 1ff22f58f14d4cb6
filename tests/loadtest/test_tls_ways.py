"""Every way to do TLS that is measured answers, with the handshakes that are counted."""

import subprocess
import sys
from pathlib import Path

import tls_ways

LIMIT = 60.0
"""Seconds."""


def test_all_ways_are_measured() -> None:
    command = [sys.executable, str(Path(tls_ways.__file__)), "--rounds", "1", "--seconds", "0.2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT)
    assert (done.returncode, done.stderr) == (0, "")
    head, *lines = (line.split() for line in done.stdout.splitlines())
    assert head[-len(tls_ways.WAYS) - 1 :] == [*tls_ways.WAYS, "nginx"]
    assert [line[0] for line in lines] == list(tls_ways.KINDS)
    assert all(float(figure) > 0 for line in lines for figure in line[2:])
