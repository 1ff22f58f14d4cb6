"""Makes TLS connections to a proxy with one request each.

    python tls_clients.py PORT HOST COUNT full|resumed|idle

`full`: a handshake each; `resumed`: all resume one session. Prints how many did. `idle`: holds the connections
until standard input ends, after printing `open`. A process of its own, so that its CPU time counts for nobody.
"""

import socket
import ssl
import sys
from concurrent.futures import ThreadPoolExecutor

TIMEOUT = 20.0
THREADS = 4


def context() -> ssl.SSLContext:
    """Of a client that takes any certificate."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    made.set_alpn_protocols(["http/1.1"])
    return made


def opened(port: int, host: str, with_context: ssl.SSLContext, session: ssl.SSLSession | None) -> ssl.SSLSocket:
    """A connection that has had a response of "hello world"."""
    plain = socket.create_connection(("127.0.0.1", port), TIMEOUT)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection = with_context.wrap_socket(plain, server_hostname=host, session=session)
    connection.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    received = b""
    while not received.endswith(b"\r\n\r\nhello world\n"):
        if not (data := connection.recv(65536)):
            sys.exit(f"the proxy closed a connection after {received!r}")
        received += data
    return connection


def main() -> None:
    port, host, count, kind = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]
    shared = context()
    if kind == "idle":
        connections = [opened(port, host, shared, None) for _ in range(count)]
        print("open", flush=True)
        sys.stdin.read()
        for connection in connections:
            connection.close()
        return
    session = None
    if kind == "resumed":
        with opened(port, host, shared, None) as first:
            session = first.session

    def one(_: int) -> bool:
        with opened(port, host, shared, session) as connection:
            return bool(connection.session_reused)

    with ThreadPoolExecutor(THREADS) as pool:
        print(sum(pool.map(one, range(count))), flush=True)


if __name__ == "__main__":
    main()
