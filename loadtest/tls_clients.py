"""Makes TLS connections to a proxy with one request each, for some seconds.

    python tls_clients.py PORT HOST full|resumed SECONDS
    python tls_clients.py PORT HOST idle COUNT

`full`: a handshake each; `resumed`: all resume one session. Prints a JSON object: requests that were answered, how
many of them resumed, seconds, errors, microseconds from connecting to the response, versions and ciphers. `idle`: holds
so many connections until standard input ends, after printing `open`. A process of its own, so that its CPU time counts
for nobody.
"""

import contextlib
import json
import socket
import ssl
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from figures import percentile

TIMEOUT = 20.0
THREADS = 4


class Done:
    """What the connections of one thread were like."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.resumed = 0
        self.failed: list[str] = []
        self.spoken: set[tuple[str, str]] = set()


def context() -> ssl.SSLContext:
    """Of a client that takes any certificate."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    made.set_alpn_protocols(["http/1.1"])
    return made


@contextlib.contextmanager
def opened(
    port: int, host: str, with_context: ssl.SSLContext, session: ssl.SSLSession | None
) -> Iterator[ssl.SSLSocket]:
    """A connection that has had a response of "hello world". Raises OSError."""
    plain = socket.create_connection(("127.0.0.1", port), TIMEOUT)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with with_context.wrap_socket(plain, server_hostname=host, session=session) as connection:
        connection.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        received = b""
        while not received.endswith(b"\r\n\r\nhello world\n"):
            if not (data := connection.recv(65536)):
                raise ConnectionError(f"the proxy closed a connection after {received!r}")
            received += data
        yield connection


def hold(port: int, host: str, count: int) -> None:
    """Opens connections that have each had one response, until standard input ends."""
    with contextlib.ExitStack() as stack:
        shared = context()
        for _ in range(count):
            stack.enter_context(opened(port, host, shared, None))
        print("open", flush=True)
        sys.stdin.read()


def load(port: int, host: str, resume: bool, seconds: float) -> dict[str, object]:
    """One connection after the other in each thread. What it prints."""
    shared, session = context(), None
    if resume:
        with opened(port, host, shared, None) as first:
            session = first.session
    started = time.perf_counter()

    def some(_: int) -> Done:
        done = Done()
        while (before := time.perf_counter()) < started + seconds:
            try:
                with opened(port, host, shared, session) as connection:
                    done.times.append(time.perf_counter() - before)
                    done.resumed += bool(connection.session_reused)
                    cipher = connection.cipher()
                    done.spoken.add((str(connection.version()), cipher[0] if cipher else ""))
            except OSError as error:
                done.failed.append(str(error))
        return done

    with ThreadPoolExecutor(THREADS) as pool:
        threads = list(pool.map(some, range(THREADS)))
    took = time.perf_counter() - started
    times = sorted(each for done in threads for each in done.times)
    failed = [each for done in threads for each in done.failed]
    for error in failed[:1]:
        print(error, file=sys.stderr)
    return {
        "requests": len(times),
        "resumed": sum(done.resumed for done in threads),
        "seconds": took,
        "errors": len(failed),
        **{name: percentile(times, share) * 1e6 for name, share in (("p50", 0.5), ("p99", 0.99), ("p999", 0.999))},
        "spoken": sorted({each for done in threads for each in done.spoken}),
    }


def main() -> None:
    port, host, kind, number = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]
    if kind == "idle":
        hold(port, host, int(number))
        return
    try:
        print(json.dumps(load(port, host, kind == "resumed", float(number))))
    except OSError as error:
        sys.exit(f"no session to resume: {error}")


if __name__ == "__main__":
    main()
