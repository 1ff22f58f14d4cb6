"""Where lines of the access log go when they cannot be written. Readers that do not read: tests/proxy/test_life.py."""

import os

from ingressd.telemetry.logwriter import LogWriter


def test_what_a_full_disk_does_not_take_is_dropped_and_counted() -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        writer = LogWriter(full)
        for _ in range(3):
            writer.write(b"a line\n")
            writer.flush()
        writer.close(10)
        assert writer.take() == (0, 3)
    finally:
        os.close(full)
