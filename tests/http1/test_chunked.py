"""The chunked transfer coding: RFC 9112 section 7.1."""

import pytest

from ingressd.http1 import Body, ChunkedDecoder, FramingError, encode_chunk, encode_last_chunk
from ingressd.http1.body import CHUNKED, LENGTH, NONE, UNTIL_CLOSE
from ingressd.http1.grammar import MAX_CHUNK_EXTENSIONS, MAX_HEAD
from tests.http1.reading import Kind, chunked_bytes, read_every_way, request_bytes, response_bytes

REQUEST = request_bytes(b"Transfer-Encoding: chunked", line=b"POST / HTTP/1.1")
RESPONSE = response_bytes(b"Transfer-Encoding: chunked")

REFUSED = {
    # chunk-size = 1*HEXDIG
    "no size": b"\r\nhello\r\n0\r\n\r\n",
    "plus sign": b"+5\r\nhello\r\n0\r\n\r\n",
    "minus sign": b"-5\r\nhello\r\n0\r\n\r\n",
    "0x": b"0x5\r\nhello\r\n0\r\n\r\n",
    "h": b"5h\r\nhello\r\n0\r\n\r\n",
    "g": b"g\r\nhello\r\n0\r\n\r\n",
    "grave accent, next to a": b"`\r\nhello\r\n0\r\n\r\n",
    "underscore": b"1_0\r\n0123456789abcdef\r\n0\r\n\r\n",
    "fraction": b"5.0\r\nhello\r\n0\r\n\r\n",
    "comma": b"5,5\r\nhello\r\n0\r\n\r\n",
    "quotes": b'"5"\r\nhello\r\n0\r\n\r\n',
    "digits of another script": b"\xd9\xa5\r\nhello\r\n0\r\n\r\n",
    "space before": b" 5\r\nhello\r\n0\r\n\r\n",
    "space behind": b"5 \r\nhello\r\n0\r\n\r\n",
    "tab behind": b"5\t\r\nhello\r\n0\r\n\r\n",
    "space behind the last": b"5\r\nhello\r\n0 \r\n\r\n",
    "NUL behind": b"5\0\r\nhello\r\n0\r\n\r\n",
    "2**60": b"1000000000000000\r\nhello",
    "2**64 + 5, which would wrap around to 5": b"10000000000000005\r\nhello\r\n0\r\n\r\n",
    "2**63 - 1": b"7fffffffffffffff\r\nhello",
    "2**32 + 5 in more digits than needed": b"0000000100000005\r\nhello\r\n0\r\n\r\n",
    "a thousand zeros": b"0" * 1000 + b"5\r\nhello\r\n0\r\n\r\n",
    # a line ends in CRLF
    "bare LF behind the size": b"5\nhello\r\n0\r\n\r\n",
    "bare CR behind the size": b"5\rhello\r\n0\r\n\r\n",
    "CR CR LF behind the size": b"5\r\r\nhello\r\n0\r\n\r\n",
    "LF CR behind the size": b"5\n\rhello\r\n0\r\n\r\n",
    "bare LF behind the data": b"5\r\nhello\n0\r\n\r\n",
    "bare CR behind the data": b"5\r\nhello\r0\r\n\r\n",
    "nothing behind the data": b"5\r\nhello0\r\n\r\n",
    "more data than the size": b"5\r\nhello!\r\n0\r\n\r\n",
    "less data than the size": b"6\r\nhello\r\n0\r\n\r\n",
    "two line ends behind the data": b"5\r\nhello\r\n\r\n0\r\n\r\n",
    "bare LF behind the last size": b"5\r\nhello\r\n0\n\r\n",
    "bare LF at the end": b"5\r\nhello\r\n0\r\n\n",
    "bare CR at the end": b"5\r\nhello\r\n0\r\n\rX\n",
    # 7.1.1 chunk-ext, without whitespace
    "semicolon alone": b"5;\r\nhello\r\n0\r\n\r\n",
    "two semicolons": b"5;;a\r\nhello\r\n0\r\n\r\n",
    "semicolon at the end": b"5;a;\r\nhello\r\n0\r\n\r\n",
    "extension without a size": b";a=b\r\nhello\r\n0\r\n\r\n",
    "extension without a size where the body could end": b"5\r\nhello\r\n;a\r\n\r\n",
    "no size where the body could end": b"5\r\nhello\r\n\r\n\r\n",
    "space before the semicolon": b"5 ;a=b\r\nhello\r\n0\r\n\r\n",
    "space behind the semicolon": b"5; a=b\r\nhello\r\n0\r\n\r\n",
    "space before the equals sign": b"5;a =b\r\nhello\r\n0\r\n\r\n",
    "space behind the equals sign": b"5;a= b\r\nhello\r\n0\r\n\r\n",
    "equals sign without a name": b"5;=b\r\nhello\r\n0\r\n\r\n",
    "equals sign without a value": b"5;a=\r\nhello\r\n0\r\n\r\n",
    "two values": b"5;a=b=c\r\nhello\r\n0\r\n\r\n",
    "extension without a semicolon": b"5 a=b\r\nhello\r\n0\r\n\r\n",
    "quotes that do not end": b'5;a="b\r\nhello\r\n0\r\n\r\n',
    "quotes in a token": b'5;a=b"c"\r\nhello\r\n0\r\n\r\n',
    "text behind quotes": b'5;a="b"c\r\nhello\r\n0\r\n\r\n',
    "backslash at the end of quotes": b'5;a="b\\"\r\nhello\r\n0\r\n\r\n',
    "CR in quotes": b'5;a="b\rc"\r\nhello\r\n0\r\n\r\n',
    "CRLF in quotes": b'5;a="b\r\nc"\r\nhello\r\n0\r\n\r\n',
    "LF in an extension": b"5;a\nb\r\nhello\r\n0\r\n\r\n",
    "bare LF behind an extension": b"5;a\nhello\r\n0\r\n\r\n",
    "NUL in an extension": b"5;a\0b\r\nhello\r\n0\r\n\r\n",
    "DEL in quotes": b'5;a="\x7f"\r\nhello\r\n0\r\n\r\n',
    "letters beyond ASCII in a token": b"5;a=\xc3\xa9\r\nhello\r\n0\r\n\r\n",
    # 7.1.2 the trailer section is field lines
    "trailer without a colon": b"0\r\nX-A\r\n\r\n",
    "trailer with a space before the colon": b"0\r\nX-A : 1\r\n\r\n",
    "trailer that is folded": b"0\r\nX-A: 1\r\n 2\r\n\r\n",
    "first trailer that begins with a space": b"0\r\n X-A: 1\r\n\r\n",
    "trailer with a bare CR": b"0\r\nX-A: 1\r2\r\n\r\n",
    "trailer with a bare LF": b"0\r\nX-A: 1\nX-B: 2\r\n\r\n",
    "trailer with a NUL": b"0\r\nX-A: \0\r\n\r\n",
    # RFC 9110 section 6.5.1: what framing and routing rest on
    "Content-Length as a trailer": b"0\r\nContent-Length: 5\r\n\r\n",
    "Transfer-Encoding as a trailer": b"0\r\nX-A: 1\r\ntransfer-ENCODING: chunked\r\n\r\n",
    "Host as a trailer": b"0\r\nhost: evil.example\r\nX-A: 1\r\n\r\n",
    "next request where the trailer section should end": b"0\r\nGET / HTTP/1.1\r\n\r\n",
}


@pytest.mark.parametrize("body", REFUSED.values(), ids=REFUSED.keys())
def test_refused(body: bytes) -> None:
    assert read_every_way(REQUEST + body).status == 400
    assert read_every_way(RESPONSE + body, Kind.RESPONSE).status == 400


ACCEPTED = {
    "nothing": (b"0\r\n\r\n", b""),
    "one chunk": (b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
    "several chunks": (b"1\r\nh\r\n3\r\nell\r\n1\r\no\r\n0\r\n\r\n", b"hello"),
    "letters as digits": (b"a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n", b"0123456789" * 2),
    "zeros in front": (b"000000000000005\r\nhello\r\n000\r\n\r\n", b"hello"),
    "data that looks like framing": (b"9\r\n0\r\n\r\n1\r\nx\r\n0\r\n\r\n", b"0\r\n\r\n1\r\nx"),
    "an extension": (b"5;a\r\nhello\r\n0\r\n\r\n", b"hello"),
    "extensions": (b'5;a=b;c;d="e f"\r\nhello\r\n0;x="\\"\\\\;y"\r\n\r\n', b"hello"),
    "empty quotes": (b'5;a=""\r\nhello\r\n0\r\n\r\n', b"hello"),
    "obs-text in quotes": (b'5;a="caf\xe9"\r\nhello\r\n0\r\n\r\n', b"hello"),
}


@pytest.mark.parametrize(("body", "content"), ACCEPTED.values(), ids=ACCEPTED.keys())
def test_accepted(body: bytes, content: bytes) -> None:
    for message in (read_every_way(REQUEST + body).message, read_every_way(RESPONSE + body, Kind.RESPONSE).message):
        assert message.body == content
        assert message.trailers == b""


TRAILERS = {
    # RFC 9110 section 6.5.1
    "kept": (b"X-A: 1\r\ngrpc-status:0\r\nX-B:\r\n", b"X-A: 1\r\ngrpc-status:0\r\nX-B:\r\n"),
    "one connection": (b"Connection: close\r\nKeep-Alive: 1\r\nUpgrade: h2c\r\nTE: x\r\nX-A: 1\r\n", b"X-A: 1\r\n"),
    "what Connection would name": (b"Connection: x-a\r\nX-A: 1\r\n", b"X-A: 1\r\n"),
    "forwarded": (
        b"X-Forwarded-For: a\r\nForwarded: b\r\nX-Real-IP: c\r\nX-Request-ID: d\r\nX-A: 1\r\n",
        b"X-A: 1\r\n",
    ),
    "authentication": (b"Authorization: x\r\nCookie: a=b\r\nSet-Cookie: c=d\r\nProxy-Authorization: y\r\n", b""),
    "content": (b"Content-Type: a/b\r\nContent-Encoding: gzip\r\nContent-Range: x\r\nTrailer: X-A\r\n", b""),
    "requests": (b"Expect: 100-continue\r\nMax-Forwards: 1\r\nRange: bytes=0-1\r\nIf-Match: x\r\n", b""),
    "responses": (b"Cache-Control: public\r\nLocation: /\r\nVary: *\r\nAge: 1\r\n", b""),
    "underscores": (b"X_A: 1\r\nX-A: 1\r\n", b"X-A: 1\r\n"),
}


@pytest.mark.parametrize(("section", "kept"), TRAILERS.values(), ids=TRAILERS.keys())
def test_trailers(section: bytes, kept: bytes) -> None:
    message = read_every_way(REQUEST + b"5\r\nhello\r\n0\r\n" + section + b"\r\n").message
    assert message.body == b"hello"
    assert message.trailers == kept


@pytest.mark.parametrize("end", range(1, len(b"5;a=b\r\nhello\r\n0\r\nX-A: 1\r\n\r\n")))
def test_a_part_of_a_body_is_unfinished(end: int) -> None:
    reading = read_every_way(REQUEST + b"5;a=b\r\nhello\r\n0\r\nX-A: 1\r\n\r\n"[:end])
    assert reading.unfinished
    assert not reading.messages


def test_extensions_up_to_the_limit() -> None:
    for excess, status in ((0, None), (1, 400)):
        extensions = b";" + b"a" * (MAX_CHUNK_EXTENSIONS - 1 + excess)
        reading = read_every_way(REQUEST + b"5" + extensions + b"\r\nhello\r\n0\r\n\r\n", splits=range(60, 1200, 77))
        assert (reading.refusal and reading.status) == status


def test_extensions_that_never_end() -> None:
    decoder = ChunkedDecoder()
    decoder.feed(b"5;", 0, [])
    for _ in range(MAX_CHUNK_EXTENSIONS - 1):
        decoder.feed(b"a", 0, [])
    with pytest.raises(FramingError, match="too long"):
        decoder.feed(b"a", 0, [])


def test_trailers_up_to_the_limit() -> None:
    line = b"X: " + b"y" * 8000 + b"\r\n"
    last = MAX_HEAD - 4 * len(line) - len(b"X: \r\n\r\n")
    for excess, status in ((0, None), (1, 431)):
        section = line * 4 + b"X: " + b"y" * (last + excess) + b"\r\n"
        reading = read_every_way(REQUEST + b"0\r\n" + section + b"\r\n", splits=range(60, MAX_HEAD, 2777))
        assert (reading.refusal and reading.status) == status


def test_the_decoder_stops_where_the_body_ends() -> None:
    decoder = ChunkedDecoder()
    payload: list[bytes] = []
    data = b"xx5\r\nhello\r\n0\r\n\r\nGET"
    assert decoder.feed(data, 2, payload) == len(data) - 3
    assert decoder.done
    assert payload == [b"hello"]
    assert decoder.feed(data, len(data) - 3, payload) == len(data) - 3
    assert payload == [b"hello"]


def test_a_piece_that_is_all_data_is_not_copied() -> None:
    decoder = ChunkedDecoder()
    payload: list[bytes] = []
    decoder.feed(b"10000\r\n", 0, payload)
    piece = bytes(65536 // 4)
    for _ in range(4):
        decoder.feed(piece, 0, payload)
    assert all(part is piece for part in payload)


def test_encoding() -> None:
    assert encode_chunk([]) == b""
    assert encode_chunk([b"", b""]) == b""
    assert encode_chunk([b"hello"]) == b"5\r\nhello\r\n"
    assert encode_chunk([b"a" * 9, b"", b"b" * 9]) == b"12\r\n" + b"a" * 9 + b"b" * 9 + b"\r\n"
    assert encode_last_chunk(b"") == b"0\r\n\r\n"
    assert encode_last_chunk(b"X-A: 1\r\n") == b"0\r\nX-A: 1\r\n\r\n"


def test_many_small_chunks_leave_as_one() -> None:
    payload: list[bytes] = []
    ChunkedDecoder().feed(chunked_bytes(*[b"x"] * 100), 0, payload)
    assert encode_chunk(payload) == b"64\r\n" + b"x" * 100 + b"\r\n"


def _feed(body: Body, data: bytes, start: int, payload: list[bytes]) -> tuple[int, bool]:
    """Offset and whether the body is done."""
    return body.feed(data, start, payload), body.done


def test_a_body_of_a_known_length() -> None:
    body = Body(LENGTH, 5)
    payload: list[bytes] = []
    assert _feed(body, b"xxhe", 2, payload) == (4, False)
    assert _feed(body, b"", 0, payload) == (0, False)
    assert _feed(body, b"lloGET", 0, payload) == (3, True)
    assert _feed(body, b"GET", 0, payload) == (0, True)
    assert payload == [b"he", b"llo"]


@pytest.mark.parametrize(("framing", "length"), [(NONE, 0), (LENGTH, 0)])
def test_a_body_of_nothing_is_done_from_the_start(framing: int, length: int) -> None:
    body = Body(framing, length)
    assert body.done
    assert body.framing == NONE
    assert body.feed(b"GET", 0, []) == 0


def test_a_body_until_the_connection_closes_is_never_done() -> None:
    body = Body(UNTIL_CLOSE)
    payload: list[bytes] = []
    assert _feed(body, b"xhello", 1, payload) == (6, False)
    assert _feed(body, b"0\r\n\r\n", 0, payload) == (5, False)
    assert payload == [b"hello", b"0\r\n\r\n"]


def test_a_body_in_chunks() -> None:
    body = Body(CHUNKED)
    payload: list[bytes] = []
    assert _feed(body, b"5\r\nhel", 0, payload) == (6, False)
    assert _feed(body, b"lo\r\n0\r\nX: y\r\n\r\nGET", 0, payload) == (15, True)
    assert body.trailers == b"X: y\r\n"
    assert payload == [b"hel", b"lo"]
