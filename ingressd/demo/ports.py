"""Ports to listen on for a while."""

import random
import socket

RANGE = range(20_000, 32_000)
"""Below those that the system gives to connections (32768 and above, ip(7)): of these, one that is free now may be
taken by anybody's connection before it is listened on."""

TRIES = 1000


ADDRESS = "127.0.0.1"


def free_port() -> int:
    """A port of the loopback address that nobody uses. Raises OSError where there is none."""
    for number in random.sample(RANGE, TRIES):
        try:
            with socket.create_server((ADDRESS, number)):
                return number
        except OSError:
            continue
    raise OSError(f"no free port of {ADDRESS} was found from {RANGE.start} to {RANGE.stop - 1}")
