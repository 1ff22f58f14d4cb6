"""Counts how often a head looks at single bytes while 32 KiB drip in byte by byte. Prints the counts as JSON.

Only the interpreted modules let that be seen, so this runs in a process of its own: `INGRESSD_PURE=1 python -m
tests.http1.drip`.
"""

import json
from typing import Any

from ingressd.http1 import RequestHead, ResponseHead, Trailers

FIELDS = (b"X: " + b"y" * 8000 + b"\r\n") * 4 + b"\r\n"


class CountedBytes(bytes):
    """Counts single bytes that are asked for."""

    looks = 0

    def __getitem__(self, index: Any) -> Any:
        if not isinstance(index, slice):
            CountedBytes.looks += 1
        return super().__getitem__(index)


def looks_per_byte(head: RequestHead | ResponseHead | Trailers, data: bytes) -> float:
    """The mean over all bytes of `data`."""
    CountedBytes.looks = 0
    ends = [head.feed(CountedBytes(data[:length]), 0) for length in range(1, len(data) + 1)]
    assert ends == [-1] * (len(data) - 1) + [len(data)]
    return CountedBytes.looks / len(data)


if __name__ == "__main__":
    print(
        json.dumps(
            {
                "request": looks_per_byte(RequestHead(False), b"GET / HTTP/1.1\r\nHost: a\r\n" + FIELDS),
                "request line": looks_per_byte(RequestHead(False), b"GET /" + b"a" * 8000 + b" HTTP/1.0\r\n\r\n"),
                "response": looks_per_byte(ResponseHead(), b"HTTP/1.1 200 OK\r\n" + FIELDS),
                "trailers": looks_per_byte(Trailers(), FIELDS),
            }
        )
    )
