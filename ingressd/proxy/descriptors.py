"""File descriptors: how many a worker may have, and what it may promise with them.

A proxy that runs out of descriptors fails in the middle of requests: it has accepted a client and cannot connect to an
endpoint. So the number of clients is limited to what can be served to the end, and the others are told so.
"""

import resource

import msgspec

from ingressd.model import Limits

OWN = 48
"""For all but connections: the event loop, the link, listening sockets, standard streams, files being imported."""
SHARE = 8
"""One of so many descriptors, at most, for idle upstream connections; another one for clients that are refused."""


def raise_limit() -> int:
    """Raises the soft limit of descriptors to the hard one (setrlimit(2)). Gives what holds now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):
        return soft
    return hard


def fitting(limits: Limits, descriptors: int) -> Limits:
    """`limits`, lowered if need be so that every client that is accepted can also have a connection to an endpoint."""
    free = max(descriptors - OWN, SHARE)
    if 2 * limits.connections + limits.upstream_idle + limits.refusals <= free:
        return limits
    idle = min(limits.upstream_idle, free // SHARE)
    refusals = min(limits.refusals, free // SHARE)
    connections = max(1, min(limits.connections, (free - idle - refusals) // 2))
    return msgspec.structs.replace(limits, connections=connections, upstream_idle=idle, refusals=refusals)
