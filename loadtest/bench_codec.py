"""What heads, chunked bodies and the routing table cost, compiled and interpreted, in nanoseconds per operation.

    python loadtest/bench_codec.py

The figure is the best of many short rounds, because other work on the machine only ever adds to it. On a machine too
busy even for that, count instructions: run one operation twice with different counts under valgrind, and divide the
difference of the two totals by the difference of the counts.

    valgrind --tool=callgrind python loadtest/bench_codec.py --only "request head" --count 20000
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable

from ingressd.http1 import ChunkedDecoder, RequestHead, ResponseHead, encode_chunk, head
from ingressd.model import ClusterKey, ObjectRef, PathKind, PathMatch, Route, Update, VirtualHost
from ingressd.routing import Table, normal_host, normal_path

REQUEST = (
    b"GET /api/items?page=2 HTTP/1.1\r\nHost: shop.example.com\r\nUser-Agent: wrk/4.1.0\r\nAccept: */*\r\n"
    b"Accept-Encoding: gzip\r\nConnection: keep-alive\r\nX-Custom: 1\r\nCookie: a=b\r\n\r\n"
)
BROWSER_REQUEST = (
    b"GET /assets/app.js?v=81 HTTP/1.1\r\nHost: shop.example.com\r\nConnection: keep-alive\r\n"
    b'sec-ch-ua: "Chromium";v="128", "Not;A=Brand";v="24"\r\nsec-ch-ua-mobile: ?0\r\n'
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/128.0 Safari/537.36\r\n"
    b'sec-ch-ua-platform: "Linux"\r\nAccept: */*\r\nSec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: no-cors\r\n'
    b"Sec-Fetch-Dest: script\r\nReferer: http://shop.example.com/\r\nAccept-Encoding: gzip, deflate, br\r\n"
    b"Accept-Language: en-GB,en;q=0.9\r\nCookie: session=0123456789abcdef0123456789abcdef; theme=dark\r\n"
    b'If-None-Match: "5f3-8ab"\r\n\r\n'
)
RESPONSE = (
    b"HTTP/1.1 200 OK\r\nServer: app\r\nDate: Tue, 01 Sep 2026 10:00:00 GMT\r\nContent-Type: text/plain\r\n"
    b"Content-Length: 12\r\nConnection: keep-alive\r\n\r\n"
)
ADDED = b"X-Request-ID: 0123456789abcdef0123456789abcdef\r\nX-Real-IP: 192.0.2.1\r\nX-Forwarded-For: 192.0.2.1\r\n"
CHUNKED = b"".join(b"%x\r\n%b\r\n" % (size, b"x" * size) for size in (16, 500, 1400, 4096)) + b"0\r\n\r\n"
DRIP = b"GET / HTTP/1.1\r\nHost: a\r\n" + b"".join(b"X: %b\r\n" % (b"v" * 8000) for _ in range(4)) + b"\r\n"
OPTIONS = b",".join(b"x-%d" % number for number in range(1000))
HOSTILE = (
    b"GET / HTTP/1.1\r\nHost: a\r\n"
    + (b"Connection: " + OPTIONS + b"\r\n") * 4
    + b"".join(b"y-%d: 1\r\n" % number for number in range(95))
    + b"\r\n"
)
ROUNDS = 20
ROUND_SECONDS = 0.02


def request_head() -> None:
    message = RequestHead(False)
    message.feed(REQUEST, 0)
    message.forward(ADDED)


def browser_request_head() -> None:
    message = RequestHead(False)
    message.feed(BROWSER_REQUEST, 0)
    message.forward(ADDED)


def response_head() -> None:
    message = ResponseHead()
    message.feed(RESPONSE, 0)
    message.forward(b"Content-Length: 12\r\n")


def hostile_head() -> None:
    """A Connection field that names thousands of fields."""
    message = RequestHead(False)
    message.feed(HOSTILE, 0)
    message.forward(ADDED)


def dripped_head() -> None:
    """32 KiB that arrive byte by byte: what a hostile client can make us do."""
    message = RequestHead(False)
    for length in range(1, len(DRIP) + 1):
        message.feed(DRIP[:length], 0)


def chunked_body() -> None:
    payload: list[bytes] = []
    ChunkedDecoder().feed(CHUNKED, 0, payload)
    encode_chunk(payload)


def normalise() -> None:
    normal_host(b"Shop.Example.com:8080")
    normal_path(b"/a/../b//c%20d/./e")


def lookup(hosts: int) -> Callable[[], None]:
    """Finds a route among as many hosts, asking for another one each time."""
    source = ObjectRef("Ingress", "shop", "web")
    cluster = ClusterKey("shop", "web", "80")
    routes = tuple(
        Route(PathMatch(PathKind.PREFIX, value), source, cluster) for value in ("/api/v2", "/api", "/static", "/")
    )
    names = [f"host-{number}.example.com" for number in range(hosts)]
    table = Table().updated(Update(1, full=True, virtual_hosts=tuple(VirtualHost(name, routes) for name in names)))
    # The same number of distinct names in all cases, so that the processor's caches are not what is measured.
    asked = [names[number * 7919 % hosts].encode() for number in range(64)]

    def find() -> None:
        for host in asked:
            table.lookup(host, b"/api/v1/items")

    return find


# Name -> (operation, how many units one call does).
OPERATIONS: dict[str, tuple[Callable[[], Callable[[], None]], int]] = {
    "request head": (lambda: request_head, 1),
    "request head of a browser": (lambda: browser_request_head, 1),
    "request head, 24 KB of Connection": (lambda: hostile_head, 1),
    "response head": (lambda: response_head, 1),
    "chunked body, 6 KB in 4 chunks": (lambda: chunked_body, 1),
    "normal host and path": (lambda: normalise, 1),
    "look-up, 1 host": (lambda: lookup(1), 64),
    "look-up, 1000 hosts": (lambda: lookup(1000), 64),
    "look-up, 10000 hosts": (lambda: lookup(10_000), 64),
    "head of 32 KiB byte by byte, per byte": (lambda: dripped_head, len(DRIP)),
}


def calibrate(operation: Callable[[], None]) -> int:
    """How many calls take ROUND_SECONDS, at least one."""
    count = 1
    while (taken := timed(operation, count)) < ROUND_SECONDS:
        count = max(count * 2, int(count * ROUND_SECONDS / max(taken, 1e-9)))
    return count


def timed(operation: Callable[[], None], count: int) -> float:
    """Seconds for `count` calls."""
    began = time.perf_counter()
    for _ in range(count):
        operation()
    return time.perf_counter() - began


def figures() -> dict[str, float]:
    """Nanoseconds per unit of each operation, in this process. Rounds go through all operations in turn, so that a busy
    spell of the machine does not fall on one of them alone."""
    operations = {name: make() for name, (make, _) in OPERATIONS.items()}
    counts = {name: calibrate(operation) for name, operation in operations.items()}
    best = dict.fromkeys(operations, float("inf"))
    for _ in range(ROUNDS):
        for name, operation in operations.items():
            best[name] = min(best[name], timed(operation, counts[name]) / counts[name])
    return {name: seconds * 1e9 / OPERATIONS[name][1] for name, seconds in best.items()}


def in_process(pure: bool) -> dict[str, float]:
    """The figures of a process of its own, with or without the compiled modules."""
    environment = dict(os.environ, INGRESSD_PURE="1" if pure else "")
    answer = subprocess.run([sys.executable, __file__, "--json"], env=environment, stdout=subprocess.PIPE, check=True)
    found: dict[str, float] = json.loads(answer.stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Costs of the codec and of the routing table.")
    parser.add_argument("--json", action="store_true", help="print the figures of this process as JSON")
    parser.add_argument("--only", choices=OPERATIONS, help="run one operation, without timing it")
    parser.add_argument("--count", type=int, default=1, help="how often --only runs it (default 1)")
    arguments = parser.parse_args()
    if arguments.only:
        operation = OPERATIONS[arguments.only][0]()
        for _ in range(arguments.count):
            operation()
        return
    if arguments.json:
        print(json.dumps(figures()))
        return
    if head.__file__.endswith(".py"):
        sys.exit("The hot modules are not compiled: python setup.py build_ext --inplace")
    compiled = in_process(pure=False)
    interpreted = in_process(pure=True)
    print(f"{'ns per operation':40}{'compiled':>10}{'interpreted':>13}{'ratio':>7}")
    for name, cost in compiled.items():
        print(f"{name:40}{cost:10.0f}{interpreted[name]:13.0f}{interpreted[name] / cost:7.1f}")
    for hosts in (1000, 10_000):
        ratio = compiled[f"look-up, {hosts} hosts"] / compiled["look-up, 1 host"]
        print(f"look-up with {hosts} hosts / with 1 host: {ratio:.2f}")


if __name__ == "__main__":
    main()
