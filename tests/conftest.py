"""Tests marked `alone` get the machine for themselves where several run at a time (pytest-xdist)."""

import contextlib
import fcntl
import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# 200 ms for an example is what a busy machine may take.
settings.register_profile("unhurried", settings(), deadline=None)
settings.load_profile("unhurried")

# Any two files that are there: only the locks on them count (flock(2)).
QUEUE = Path(__file__)
RUNNING = Path(__file__).with_name("__init__.py")


@contextlib.contextmanager
def _locked(path: Path, how: int) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, how)
        yield
    finally:
        os.close(descriptor)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Around all of a test, its time limit included: waiting for a turn does not count."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return (yield)
    with contextlib.ExitStack() as stack:
        # Without a queue, those that may run beside each other would never leave a gap.
        with _locked(QUEUE, fcntl.LOCK_EX):
            stack.enter_context(_locked(RUNNING, fcntl.LOCK_EX if item.get_closest_marker("alone") else fcntl.LOCK_SH))
        return (yield)
