"""Ports to listen on for a while."""

import random
import socket

RANGE = range(20_000, 32_000)
"""Below those that the system gives to connections (32768 and above, ip(7)): of these, one that is free now may be
taken by anybody's connection before it is listened on."""

TRIES = 1000


ADDRESS = "127.0.0.1"


def free_port() -> int:
    """A port of the loopback address that nobody uses, and that nobody else gets from here as long as this process
    lives: it stays bound, in a way that lets others listen on it with SO_REUSEADDR (socket(7)), as servers do. Raises
    OSError where there is none."""
    for number in random.sample(RANGE, TRIES):
        sock = socket.socket()
        try:
            sock.bind((ADDRESS, number))
        except OSError:
            sock.close()
            continue
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.detach()
        return number
    raise OSError(f"no free port of {ADDRESS} was found from {RANGE.start} to {RANGE.stop - 1}")
