"""Status lines: RFC 9112 section 4."""

import pytest

from tests.http1.reading import Kind, read_every_way, response_bytes

REFUSED = {
    "no version": b"200 OK",
    "no name": b"/1.1 200 OK",
    "version in lower case": b"http/1.1 200 OK",
    "another protocol": b"ICY 200 OK",
    "HTTP/0.9": b"HTTP/0.9 200 OK",
    "HTTP/1.2": b"HTTP/1.2 200 OK",
    "HTTP/2": b"HTTP/2 200 OK",
    "HTTP/2.0": b"HTTP/2.0 200 OK",
    "two digits": b"HTTP/1.10 200 OK",
    "no minor": b"HTTP/1 200 OK",
    "two spaces before the code": b"HTTP/1.1  200 OK",
    "tab before the code": b"HTTP/1.1\t200 OK",
    "no code": b"HTTP/1.1 OK",
    "no code, only a space": b"HTTP/1.1 ",
    "nothing behind the version": b"HTTP/1.1",
    "one digit": b"HTTP/1.1 2 OK",
    "two digits in the code": b"HTTP/1.1 20 OK",
    "four digits in the code": b"HTTP/1.1 2000 OK",
    "code with a sign": b"HTTP/1.1 -20 OK",
    "code with a space": b"HTTP/1.1 2 0 OK",
    "code with a letter": b"HTTP/1.1 20x OK",
    "code below 100": b"HTTP/1.1 099 OK",
    "code 000": b"HTTP/1.1 000 OK",
    "digits of another script": b"HTTP/1.1 \xd9\xa2\xd9\xa0 OK",
    "tab behind the code": b"HTTP/1.1 200\tOK",
    "bare CR behind the code": b"HTTP/1.1 200\rOK",
    "bare LF behind the code": b"HTTP/1.1 200\nX: y",
    "bare CR in the reason": b"HTTP/1.1 200 O\rK",
    "bare LF in the reason": b"HTTP/1.1 200 O\nK",
    "NUL in the reason": b"HTTP/1.1 200 O\0K",
    "escape in the reason": b"HTTP/1.1 200 \x1b[31m",
    "DEL in the reason": b"HTTP/1.1 200 \x7f",
    "space before the line": b" HTTP/1.1 200 OK",
    "empty line before the line": b"\r\nHTTP/1.1 200 OK",
}


@pytest.mark.parametrize("line", REFUSED.values(), ids=REFUSED.keys())
def test_refused(line: bytes) -> None:
    assert read_every_way(response_bytes(b"Content-Length: 0", line=line), Kind.RESPONSE).status == 400


ACCEPTED = {
    # line: (minor, status, line as forwarded)
    "usual": (b"HTTP/1.1 200 OK", (1, 200, b"HTTP/1.1 200 OK")),
    "HTTP/1.0": (b"HTTP/1.0 404 Not Found", (0, 404, b"HTTP/1.1 404 Not Found")),
    "empty reason": (b"HTTP/1.1 200 ", (1, 200, b"HTTP/1.1 200 ")),
    "no reason and no space, as some send it": (b"HTTP/1.1 200", (1, 200, b"HTTP/1.1 200 ")),
    "reason with spaces and tabs": (b"HTTP/1.1 200  a\tb ", (1, 200, b"HTTP/1.1 200  a\tb ")),
    "reason beyond ASCII": (b"HTTP/1.1 500 Ori\xebntatie", (1, 500, b"HTTP/1.1 500 Ori\xebntatie")),
    "the greatest code": (b"HTTP/1.1 999 X", (1, 999, b"HTTP/1.1 999 X")),
}


@pytest.mark.parametrize(("line", "expected"), ACCEPTED.values(), ids=ACCEPTED.keys())
def test_accepted(line: bytes, expected: tuple[int, int, bytes]) -> None:
    message = read_every_way(response_bytes(b"Content-Length: 0", line=line), Kind.RESPONSE).message
    forwarded_line, _, rest = message.forwarded.partition(b"\r\n")
    assert (message.head["minor"], message.head["status"], forwarded_line) == expected
    assert rest == b"\r\n"


def test_switching_protocols() -> None:
    """RFC 9110 section 15.2.2: what follows is not HTTP/1.1 any more."""
    data = response_bytes(b"Connection: upgrade", b"Upgrade: websocket", line=b"HTTP/1.1 101 Switching Protocols")
    reading = read_every_way(data + b"\x81\x05hello", Kind.RESPONSE)
    assert reading.final
    assert reading.messages[0].end == len(data)
    assert reading.messages[0].head["upgrade"] == b"websocket"
    assert reading.messages[0].head["connection_upgrade"] is True
    assert reading.messages[0].forwarded == b"HTTP/1.1 101 Switching Protocols\r\n\r\n"


@pytest.mark.parametrize("garbage", [b"S", b"SSH-2.0-OpenSSH_9.2", b"\x15\x03\x03\x00\x02\x02\x16", b"HTTP/2", b"\0"])
def test_another_protocol_is_refused_without_waiting_for_a_line(garbage: bytes) -> None:
    assert read_every_way(garbage, Kind.RESPONSE).status == 400


@pytest.mark.parametrize("end", range(1, len(response_bytes(b"A: b"))))
def test_a_part_of_a_head_is_unfinished(end: int) -> None:
    reading = read_every_way(response_bytes(b"A: b")[:end], Kind.RESPONSE)
    assert not reading.messages
    assert reading.unfinished
