"""Where a message ends: RFC 9112 section 6. What could be read in two ways is refused."""

import pytest

from tests.http1.reading import Kind, chunked_bytes, field_lines, read_every_way, request_bytes, response_bytes

HELLO = chunked_bytes(b"hello")

REFUSED = {
    # 6.3 rule 3: both
    "length, then chunked": ((b"Content-Length: 5", b"Transfer-Encoding: chunked"), 400),
    "chunked, then length": ((b"Transfer-Encoding: chunked", b"Content-Length: 5"), 400),
    "chunked and length 0": ((b"Transfer-Encoding: chunked", b"Content-Length: 0"), 400),
    "in other case": ((b"content-LENGTH: 5", b"TRANSFER-encoding: CHUNKED"), 400),
    # 6.3 rule 5: Content-Length is digits, once
    "two lengths that differ": ((b"Content-Length: 5", b"Content-Length: 6"), 400),
    "two lengths that agree": ((b"Content-Length: 5", b"Content-Length: 5"), 400),
    "two lengths in one field": ((b"Content-Length: 5, 5",), 400),
    "plus sign": ((b"Content-Length: +5",), 400),
    "minus sign": ((b"Content-Length: -5",), 400),
    "minus zero": ((b"Content-Length: -0",), 400),
    "empty length": ((b"Content-Length:",), 400),
    "length of whitespace": ((b"Content-Length: \t",), 400),
    "space inside": ((b"Content-Length: 1 5",), 400),
    "underscore inside": ((b"Content-Length: 1_5",), 400),
    "hexadecimal": ((b"Content-Length: 0x5",), 400),
    "fraction": ((b"Content-Length: 5.0",), 400),
    "exponent": ((b"Content-Length: 5e0",), 400),
    "word": ((b"Content-Length: five",), 400),
    "letter behind": ((b"Content-Length: 5a",), 400),
    "digits of another script": ((b"Content-Length: \xd9\xa5",), 400),
    "beyond 2**63": ((b"Content-Length: 9223372036854775808",), 400),
    "beyond 2**64, which would wrap around to 5": ((b"Content-Length: 18446744073709551621",), 400),
    "nineteen digits": ((b"Content-Length: 0000000000000000005",), 400),
    "a thousand digits": ((b"Content-Length: " + b"1" * 1000,), 400),
    # 6.1: chunked once, alone, nothing else
    "chunked twice": ((b"Transfer-Encoding: chunked, chunked",), 501),
    "chunked in two fields": ((b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"), 400),
    "chunked, then identity": ((b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity"), 400),
    "identity": ((b"Transfer-Encoding: identity",), 501),
    "identity, then chunked": ((b"Transfer-Encoding: identity, chunked",), 501),
    "identity and chunked in two fields": ((b"Transfer-Encoding: identity", b"Transfer-Encoding: chunked"), 501),
    "gzip, then chunked": ((b"Transfer-Encoding: gzip, chunked",), 501),
    "chunked is not last": ((b"Transfer-Encoding: chunked, gzip",), 501),
    "a coding of one's own": ((b"Transfer-Encoding: xchunked",), 501),
    "chunked and more letters": ((b"Transfer-Encoding: chunkedx",), 501),
    "chunked with a parameter": ((b"Transfer-Encoding: chunked;q=1",), 501),
    "chunked with a comma": ((b"Transfer-Encoding: chunked,",), 501),
    "chunked behind a comma": ((b"Transfer-Encoding: ,chunked",), 501),
    "chunked in quotes": ((b'Transfer-Encoding: "chunked"',), 501),
    "empty": ((b"Transfer-Encoding:",), 501),
    "vertical tab before chunked": ((b"Transfer-Encoding: \x0bchunked",), 400),
    "non-breaking space before chunked": ((b"Transfer-Encoding: \xa0chunked",), 501),
    "NUL behind chunked": ((b"Transfer-Encoding: chunked\0",), 400),
    "space before the colon": ((b"Transfer-Encoding : chunked",), 400),
    "space before the name": ((b"X-A: 1", b" Transfer-Encoding: chunked"), 400),
    "in a folded line": ((b"Transfer-Encoding:\r\n chunked",), 501),
    "behind a bare LF": ((b"X-A: 1\nTransfer-Encoding: chunked",), 400),
    "behind a bare CR": ((b"X-A: 1\rTransfer-Encoding: chunked",), 400),
    "behind LF CR": ((b"X-A: 1\n\rTransfer-Encoding: chunked",), 400),
}


@pytest.mark.parametrize(("fields", "status"), REFUSED.values(), ids=REFUSED.keys())
def test_refused(fields: tuple[bytes, ...], status: int) -> None:
    request = request_bytes(*fields, line=b"POST / HTTP/1.1")
    assert read_every_way(request + HELLO).status == status
    assert read_every_way(response_bytes(*fields) + HELLO, Kind.RESPONSE).status == status


def test_transfer_encoding_in_http_1_0_is_refused() -> None:
    """RFC 9112 section 6.1: framing is to be treated as faulty."""
    request = request_bytes(b"Transfer-Encoding: chunked", line=b"POST / HTTP/1.0")
    assert read_every_way(request + HELLO).status == 400
    response = response_bytes(b"Transfer-Encoding: chunked", line=b"HTTP/1.0 200 OK")
    assert read_every_way(response + HELLO, Kind.RESPONSE).status == 400


ACCEPTED = {
    # (fields, body, framing as forwarded, body as decoded)
    "no body": ((), b"", [], b""),
    "length 0": ((b"Content-Length: 0",), b"", [b"Content-Length: 0"], b""),
    "a length": ((b"Content-Length: 5",), b"hello", [b"Content-Length: 5"], b"hello"),
    "a length with zeros in front": ((b"Content-Length: 005",), b"hello", [b"Content-Length: 5"], b"hello"),
    "eighteen digits": ((b"Content-Length: 000000000000000005",), b"hello", [b"Content-Length: 5"], b"hello"),
    "a length between whitespace": ((b"Content-Length: \t5 ",), b"hello", [b"Content-Length: 5"], b"hello"),
    "a body that looks like a request": (
        (b"content-length: 18",),
        b"GET / HTTP/1.1\r\n\r\n",
        [b"Content-Length: 18"],
        None,
    ),
    "chunked": ((b"Transfer-Encoding: chunked",), HELLO, [b"Transfer-Encoding: chunked"], b"hello"),
    "Chunked": ((b"transfer-encoding:\tChunked ",), HELLO, [b"Transfer-Encoding: chunked"], b"hello"),
    "chunked without a body": (
        (b"Transfer-Encoding: chunked",),
        chunked_bytes(),
        [b"Transfer-Encoding: chunked"],
        b"",
    ),
}


@pytest.mark.parametrize(("fields", "body", "framing", "content"), ACCEPTED.values(), ids=ACCEPTED.keys())
def test_bodies_of_requests(
    fields: tuple[bytes, ...], body: bytes, framing: list[bytes], content: bytes | None
) -> None:
    for method in (b"POST", b"GET", b"DELETE"):
        message = read_every_way(request_bytes(*fields, line=method + b" / HTTP/1.1") + body).message
        assert message.body == (body if content is None else content)
        assert field_lines(message.forwarded) == [b"Host: a.example", *framing]


def test_the_greatest_length_is_read_as_it_stands() -> None:
    reading = read_every_way(request_bytes(b"Content-Length: 999999999999999999"))
    assert reading.unfinished
    assert reading.refusal is None


def test_framing_of_a_response_is_left_to_the_proxy_that_knows_the_request() -> None:
    for fields, body in (((b"Content-Length: 5",), b"hello"), ((b"Transfer-Encoding: chunked",), HELLO)):
        message = read_every_way(response_bytes(*fields) + body, Kind.RESPONSE).message
        assert message.body == b"hello"
        assert field_lines(message.forwarded) == []


def test_a_response_without_framing_ends_with_the_connection() -> None:
    """RFC 9112 section 6.3 rule 8."""
    message = read_every_way(response_bytes() + b"hello\r\n\r\n", Kind.RESPONSE).message
    assert message.body == b"hello\r\n\r\n"
    assert read_every_way(response_bytes(line=b"HTTP/1.0 200 OK"), Kind.RESPONSE).message.body == b""


@pytest.mark.parametrize("status", [b"100", b"103", b"204", b"304"])
def test_responses_that_never_have_a_body(status: bytes) -> None:
    """RFC 9112 section 6.3 rule 1; a length is what a GET would have got."""
    for fields in ((), (b"Content-Length: 5",)):
        data = response_bytes(*fields, line=b"HTTP/1.1 %b X" % status)
        assert read_every_way(data, Kind.RESPONSE).message.body == b""


def test_responses_to_head_have_no_body() -> None:
    for fields in ((b"Content-Length: 5",), (b"Transfer-Encoding: chunked",), ()):
        assert read_every_way(response_bytes(*fields), Kind.RESPONSE_TO_HEAD).message.body == b""


def test_pipelined_requests_are_read_one_by_one() -> None:
    """RFC 9112 section 9.3.2."""
    first = request_bytes(b"Content-Length: 5", line=b"POST /1 HTTP/1.1") + b"hello"
    second = request_bytes(b"Transfer-Encoding: chunked", line=b"PUT /2 HTTP/1.1") + HELLO
    third = b"\r\n" + request_bytes(b"Connection: close", line=b"GET /3 HTTP/1.1")
    reading = read_every_way(first + second + third)
    assert [message.head["path"] for message in reading.messages] == [b"/1", b"/2", b"/3"]
    assert [message.body for message in reading.messages] == [b"hello", b"hello", b""]
    ends = (len(first), len(first + second), len(first + second + third))
    assert tuple(message.end for message in reading.messages) == ends
    assert reading.final


def test_a_request_behind_a_good_one_is_judged_on_its_own() -> None:
    reading = read_every_way(request_bytes() + request_bytes(b"Content-Length: -1"))
    assert len(reading.messages) == 1
    assert reading.status == 400


def test_interim_responses_come_before_the_final_one() -> None:
    """RFC 9110 section 15.2."""
    data = (
        response_bytes(line=b"HTTP/1.1 100 Continue")
        + response_bytes(b"Link: </a>", line=b"HTTP/1.1 103 Early Hints")
        + response_bytes(b"Content-Length: 5")
        + b"hello"
    )
    reading = read_every_way(data, Kind.RESPONSE)
    assert [message.head["status"] for message in reading.messages] == [100, 103, 200]
    assert field_lines(reading.messages[1].forwarded) == [b"Link: </a>"]
    assert reading.messages[2].body == b"hello"
