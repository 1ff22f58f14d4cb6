"""Opens connections to a proxy, sends one request on each, and holds them until its standard input ends.

    python idle_clients.py PORT HOST CONNECTIONS

Prints `open` when all are idle. A process of its own, because it needs as many open files as the proxy does.
"""

import socket
import sys

TIMEOUT = 10.0
"""Seconds for one response."""


def opened(port: int, host: str) -> socket.socket:
    """A connection that has had one response."""
    connection = socket.create_connection(("127.0.0.1", port), TIMEOUT)
    connection.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    received = b""
    while not received.endswith(b"\r\n\r\nhello world\n"):
        if not (data := connection.recv(65536)):
            sys.exit(f"the proxy closed a connection after {received!r}")
        received += data
    if not received.startswith(b"HTTP/1.1 200 "):
        sys.exit(f"the proxy answered {received!r}")
    return connection


def main() -> None:
    port, host, count = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    connections = [opened(port, host) for _ in range(count)]
    print("open", flush=True)
    sys.stdin.read()
    for connection in connections:
        connection.close()


if __name__ == "__main__":
    main()
