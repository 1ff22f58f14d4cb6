"""Loaded by all that a test starts with this folder on PYTHONPATH: workers leak what INGRESSD_LEAK names."""

import os
import sys
import threading
import time

EACH = 0.05
"""Seconds between two leaks."""
PIECE = 100 << 10
"""Bytes: 2 MiB a second."""
_kept: list[bytes] = []


def leak(what: str) -> None:
    """Goes on for ever."""
    while True:
        time.sleep(EACH)
        if what == "descriptors":
            os.dup(0)
        else:
            _kept.append(os.urandom(PIECE))


if "INGRESSD_LEAK" in os.environ and "ingressd.proxy" in sys.orig_argv:
    threading.Thread(target=leak, args=(os.environ["INGRESSD_LEAK"],), daemon=True).start()
