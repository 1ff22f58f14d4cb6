"""Ends of connections that must not be taken for orderly ones.

An HTTP/1.0 client, and whoever is at the end of a tunnel, knows the end of the data only by the end of the connection;
and not every client minds a missing last chunk. Where something is missing the connection is therefore reset, which
nobody mistakes for an orderly end (RFC 9112 section 8).
"""

import asyncio
import contextlib
import socket
import struct

_NO_LINGER = struct.pack("ii", 1, 0)
"""struct linger: close() sends a reset (socket(7))."""


def reset(transport: asyncio.Transport) -> None:
    """Closes at once; what is not sent yet never is."""
    connection = transport.get_extra_info("socket")
    if connection is not None:
        # Refused where the peer is gone already.
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    transport.abort()
