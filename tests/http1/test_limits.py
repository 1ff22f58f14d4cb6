"""Limits, each met exactly and passed by one byte, whole and in pieces."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ingressd.http1 import FramingError, RequestHead
from ingressd.http1.grammar import MAX_EMPTY_LINES, MAX_FIELD, MAX_FIELDS, MAX_HEAD, MAX_REQUEST_LINE
from tests.http1.reading import Kind, read, read_every_way, read_pieces, request_bytes, response_bytes

ROOT = Path(__file__).parents[2]


def test_the_limits_are_those_promised() -> None:
    assert (MAX_REQUEST_LINE, MAX_FIELD, MAX_HEAD, MAX_FIELDS) == (8192, 8192, 32768, 100)


def _splits(data: bytes) -> range:
    """Few enough cuts for a long head, and those next to its end."""
    return range(1, len(data), 1009)


def _line(length: int) -> bytes:
    """A request line of `length` bytes with its CRLF."""
    return b"GET /%b HTTP/1.1" % (b"a" * (length - len(b"GET / HTTP/1.1\r\n")))


def _field(length: int) -> bytes:
    """A field line of `length` bytes with its CRLF."""
    return b"X: " + b"y" * (length - len(b"X: \r\n"))


def _head(length: int) -> bytes:
    """A request head of `length` bytes with its empty line."""
    fields = [_field(MAX_FIELD)] * 3
    rest = length - len(request_bytes(*fields))
    return request_bytes(*fields, _field(rest))


def _status(data: bytes) -> int:
    """What all ways of feeding `data` refuse it with, 0 where they accept it."""
    reading = read_every_way(data, splits=_splits(data))
    return reading.status if reading.refusal else 0


def test_request_line() -> None:
    assert len(_line(MAX_REQUEST_LINE) + b"\r\n") == MAX_REQUEST_LINE
    assert _status(request_bytes(line=_line(MAX_REQUEST_LINE))) == 0
    assert _status(request_bytes(line=_line(MAX_REQUEST_LINE + 1))) == 414
    assert _status(b"\r\n" + request_bytes(line=_line(MAX_REQUEST_LINE))) == 0
    assert _status(request_bytes(line=_line(MAX_REQUEST_LINE)[:-3] + b"2.0")) == 505
    assert _status(request_bytes(line=_line(MAX_REQUEST_LINE + 1)[:-3] + b"2.0")) == 414


def test_field() -> None:
    assert len(_field(MAX_FIELD) + b"\r\n") == MAX_FIELD
    for name in (b"X", b"X-A_B", b"Cookie", b"User-Agent"):
        for position in range(3):
            for excess, status in ((0, 0), (1, 431)):
                fields = [b"X-A: 1", b"X-B: 2"]
                fields.insert(position, name + _field(MAX_FIELD + excess - len(name) + 1)[1:])
                assert _status(request_bytes(*fields)) == status


def test_field_with_a_long_name() -> None:
    for excess, status in ((0, 0), (1, 431)):
        assert _status(request_bytes(b"X" * (MAX_FIELD - 3 + excess) + b":")) == status


def test_field_of_whitespace() -> None:
    for excess, status in ((0, 0), (1, 431)):
        assert _status(request_bytes(b"X:" + b" " * (MAX_FIELD - 4 + excess))) == status


def test_head() -> None:
    assert len(_head(MAX_HEAD)) == MAX_HEAD
    assert _status(_head(MAX_HEAD)) == 0
    assert _status(_head(MAX_HEAD + 1)) == 431
    assert _status(_head(MAX_HEAD + 2)) == 431
    assert _status(_head(MAX_HEAD + 3)) == 431
    assert _status(_head(MAX_HEAD - 1)) == 0


@pytest.mark.parametrize("start", [MAX_HEAD - MAX_FIELD - 1, MAX_HEAD - MAX_FIELD, MAX_HEAD - MAX_FIELD + 1])
def test_a_line_that_passes_both_limits_is_refused_for_the_one_it_meets_first(start: int) -> None:
    fields = [_field(8000)] * 3
    rest = start - len(request_bytes(*fields)) + len(b"\r\n")
    data = request_bytes(*fields, _field(rest), _field(MAX_FIELD + 100))
    assert data.rindex(b"X: ") == start
    assert _status(data) == 431


def test_fields() -> None:
    assert _status(request_bytes(*[b"X: y"] * (MAX_FIELDS - 1))) == 0
    assert _status(request_bytes(*[b"X: y"] * MAX_FIELDS)) == 431
    # Those that are dropped count as well.
    assert _status(request_bytes(*[b"X_: y"] * MAX_FIELDS)) == 431
    assert _status(request_bytes(*[b"Connection: y"] * MAX_FIELDS)) == 431


def test_what_follows_a_head_does_not_count() -> None:
    data = _head(MAX_HEAD)
    assert read(data * 3).accepted
    data = request_bytes(b"Content-Length: 100000", line=b"POST / HTTP/1.1")
    assert read(data + bytes(100000)).accepted


def test_response_limits() -> None:
    for length, status in ((MAX_FIELD, 0), (MAX_FIELD + 1, 431)):
        for data in (
            response_bytes(_field(length), b"Content-Length: 0"),
            response_bytes(b"Content-Length: 0", line=b"HTTP/1.1 200 " + b"y" * (length - 15)),
        ):
            reading = read_every_way(data, Kind.RESPONSE, splits=_splits(data))
            assert (reading.status if reading.refusal else 0) == status


TOO_LONG = {
    "request line that never ends": (b"GET /" + b"a" * MAX_REQUEST_LINE, 414),
    "method that never ends": (b"G" * (MAX_REQUEST_LINE + 1), 414),
    "spaces in place of a target": (b"GET " + b" " * MAX_REQUEST_LINE, 414),
    "garbage in place of a version": (b"GET / " + b"\0" * MAX_REQUEST_LINE, 414),
    "malformed request line": (b"GET /\0" + b"a" * MAX_REQUEST_LINE, 414),
    "field that never ends": (b"GET / HTTP/1.1\r\nX: " + b"y" * MAX_FIELD, 431),
    "name that never ends": (b"GET / HTTP/1.1\r\n" + b"y" * (MAX_FIELD + 1), 431),
    "malformed field line": (b"GET / HTTP/1.1\r\n\0" + b"y" * MAX_FIELD, 431),
}


@pytest.mark.parametrize(("data", "status"), TOO_LONG.values(), ids=TOO_LONG.keys())
def test_a_line_without_end_is_refused_once_it_is_too_long(data: bytes, status: int) -> None:
    data = data[: max(MAX_REQUEST_LINE + 1, data.find(b"\n") + 1 + MAX_FIELD + 1)]
    assert read_every_way(data, splits=_splits(data)).status == status
    assert read_every_way(data[:-1], splits=_splits(data)).unfinished


@pytest.mark.parametrize(
    ("fault", "status"),
    [(b"X\0: y", 400), (b"Content-Length: x", 400), (b"Transfer-Encoding: x", 501)],
)
def test_of_two_faults_the_first_decides_in_whatever_pieces_they_come(fault: bytes, status: int) -> None:
    before = [_field(MAX_FIELD)] * 3
    room = MAX_HEAD - len(request_bytes(*before)) + len(b"\r\n")
    for gap, expected in (
        (room - 100, status),  # the line with the fault ends within the head's limit
        (room - len(fault) - 2, status),  # exactly there
        (room - len(fault) - 1, 431),  # one byte behind it
        (room - 1, 431),
        (room, 431),
    ):
        data = request_bytes(*before, _field(gap), fault, _field(2000))
        assert _status(data) == expected, gap


def test_bytes_that_drip_in_are_not_scanned_again_and_again() -> None:
    """Otherwise 32 KiB, byte by byte, would be 130 million looks at bytes, and not some 130 thousand."""
    environment = dict(os.environ, INGRESSD_PURE="1")
    command = [sys.executable, "-m", "tests.http1.drip"]
    answer = subprocess.run(command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, check=True)
    looks = json.loads(answer.stdout)
    assert set(looks) == {"request", "request line", "response", "trailers"}
    assert max(looks.values()) < 4


def test_empty_lines_do_not_go_on_for_ever() -> None:
    head = RequestHead(False)
    assert head.feed(b"\r\n" * MAX_EMPTY_LINES, 0) == -1
    with pytest.raises(FramingError, match="empty lines"):
        head.feed(b"\r\n" * (MAX_EMPTY_LINES + 1), 0)
    assert read_pieces([b"\r\n"] * 100).status == 400
