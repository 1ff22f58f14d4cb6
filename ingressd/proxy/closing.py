"""Ends of connections that must not be taken for orderly ones.

An HTTP/1.0 client may know the end of a body only by the end of the connection, and so does whoever is at the end of a
tunnel. Where something is missing the connection is reset, which nobody mistakes for an orderly end (RFC 9112 section
8). A reset destroys what is on its way, too: where framing tells that something is missing, it is left to that.
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
