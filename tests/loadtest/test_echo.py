"""The upstream that shows what it received."""

import pytest
from echo import request_size, unmasked

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
PUT = b"PUT / HTTP/1.1\r\ncontent-length: 5\r\n\r\nhello"
CHUNKED = b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"


@pytest.mark.parametrize("request_bytes", [GET, PUT, CHUNKED], ids=["no body", "length", "chunked"])
def test_a_request_is_complete_with_its_last_byte(request_bytes: bytes) -> None:
    assert [request_size(request_bytes[:size]) for size in range(len(request_bytes))] == [None] * len(request_bytes)
    assert request_size(request_bytes) == len(request_bytes)
    assert request_size(request_bytes + GET) == len(request_bytes)


def _masked(payload: bytes, mask: bytes) -> bytes:
    body = bytes(octet ^ mask[at % 4] for at, octet in enumerate(payload))
    return bytes((0x81, 0x80 | len(payload))) + mask + body


def test_messages_come_back_without_mask() -> None:
    frames = _masked(b"hello", b"\x01\x02\x03\x04") + _masked(b"", b"\xff\xff\xff\xff") + _masked(b"m" * 125, bytes(4))
    expected = b"\x81\x05hello" + b"\x81\x00" + b"\x81\x7d" + b"m" * 125
    assert unmasked(frames) == (expected, b"")


def test_a_part_of_a_message_waits() -> None:
    frame = _masked(b"hello", b"\x01\x02\x03\x04")
    for size in range(len(frame)):
        assert unmasked(frame[:size]) == (b"", frame[:size])
    assert unmasked(frame + frame[:3]) == (b"\x81\x05hello", frame[:3])
