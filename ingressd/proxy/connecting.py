"""TCP connections to endpoints."""

import asyncio
import contextlib
import errno
import os
import socket

from ingressd.model import Endpoint


async def connect(loop: asyncio.AbstractEventLoop, endpoint: Endpoint, within: float) -> socket.socket:
    """A socket connected to `endpoint` `within` some seconds. Raises OSError, TimeoutError among them."""
    connecting = socket.socket(socket.AF_INET6 if ":" in endpoint.address else socket.AF_INET, socket.SOCK_STREAM)
    try:
        connecting.setblocking(False)
        connecting.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        error = connecting.connect_ex((endpoint.address, endpoint.port))
        if error == errno.EINPROGRESS:
            # Not loop.sock_connect: uvloop's asks a pool of threads to resolve even an IP address.
            writable = asyncio.Event()
            loop.add_writer(connecting, writable.set)
            try:
                async with asyncio.timeout(within):
                    await writable.wait()
            finally:
                loop.remove_writer(connecting)
            error = connecting.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise OSError(error, os.strerror(error))
    except BaseException:
        with contextlib.suppress(OSError):
            connecting.close()
        raise
    return connecting
