"""What we forward means the same to h11 and to llhttp as what we received; and what we accept, they accept.

The reference in `reference.py` says what is dropped on purpose.
"""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingressd.http1 import encode_chunk, encode_last_chunk
from tests.http1.messages import damaged, requests, responses
from tests.http1.peers import (
    LLHTTP_METHODS,
    Parsed,
    h11_request,
    h11_response,
    llhttp_request,
    llhttp_response,
)
from tests.http1.reading import Kind, Message, read, read_every_way
from tests.http1.reference import Fields, forwarded_request, forwarded_response, forwarded_trailers

THOROUGH = settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.too_slow])


def _sent_request(message: Message) -> bytes:
    """The whole request as the proxy sends it upstream."""
    if message.head["chunked"]:
        return message.forwarded + encode_chunk([message.body]) + encode_last_chunk(message.trailers)
    return message.forwarded + message.body


def _sent_response(message: Message) -> bytes:
    """The whole response as the proxy sends it downstream, framing it by length."""
    return message.forwarded[:-2] + b"Content-Length: %d\r\n\r\n" % len(message.body) + message.body


def _absolute_host(method: bytes, target: bytes) -> bytes | None:
    """The authority of a target in absolute form, None for other forms."""
    _, separator, rest = target.partition(b"://")
    if method == b"CONNECT" or target.startswith(b"/") or not separator:
        return None
    return rest.partition(b"/")[0].partition(b"?")[0]


def _origin(method: bytes, target: bytes) -> bytes:
    """The target in origin form."""
    host = _absolute_host(method, target)
    if host is None:
        return target
    path = target.partition(b"://")[2].removeprefix(host)
    if not path:
        return b"*" if method == b"OPTIONS" else b"/"
    return path if path.startswith(b"/") else b"/" + path


def _check_request(data: bytes, trusted: bool) -> None:
    """`data` is one request that we accept: the peers accept it as well, and what we send on means the same."""
    message = read(data, trusted=trusted).message
    data = data.lstrip(b"\r\n")  # h11 overlooks no empty lines, llhttp does
    minor = message.head["minor"]
    assert isinstance(minor, int)
    original, rest = h11_request(data)
    assert rest == b""
    assert original.body == message.body
    method, target = original.start
    host = _absolute_host(method, target)
    expected = Parsed(
        (method, _origin(method, target)),
        forwarded_request(original.fields, minor, trusted, host),
        original.body,
        forwarded_trailers(original.trailers),
    )
    sent = _sent_request(message)
    assert _sorted(h11_request(sent)[0]) == expected
    if method in LLHTTP_METHODS:
        by_llhttp = llhttp_request(data)
        assert by_llhttp.start == original.start
        assert by_llhttp.fields == original.fields
        by_llhttp = _sorted(llhttp_request(sent))
        if message.head["upgrade"]:
            # llhttp leaves the body of such a request to whoever upgrades.
            assert (by_llhttp.start, by_llhttp.fields) == (expected.start, expected.fields)
        else:
            assert by_llhttp == expected


def _check_response(data: bytes) -> None:
    message = read(data, Kind.RESPONSE).messages[-1]
    original, _ = h11_response(data)
    assert original.body == message.body
    fields: Fields = [*forwarded_response(original.fields), (b"content-length", b"%d" % len(message.body))]
    expected = Parsed((original.start[0], original.start[1]), sorted(fields), original.body)
    sent = _sent_response(message)
    assert _sorted(h11_response(sent)[0]) == expected
    assert _sorted(llhttp_response(sent)) == expected
    assert forwarded_trailers(original.trailers) == forwarded_trailers(llhttp_response(data).trailers)


def _sorted(parsed: Parsed) -> Parsed:
    return Parsed(parsed.start, sorted(parsed.fields), parsed.body, parsed.trailers)


@THOROUGH
@given(requests(), st.booleans())
def test_requests_are_forwarded_with_the_same_meaning(data: bytes, trusted: bool) -> None:
    _check_request(data, trusted)


@THOROUGH
@given(responses())
def test_responses_are_forwarded_with_the_same_meaning(data: bytes) -> None:
    _check_response(data)


@THOROUGH
@given(damaged(requests()), st.booleans())
def test_damaged_requests_that_we_accept_the_peers_accept_too(data: bytes, trusted: bool) -> None:
    start = 0
    for message in read_every_way(data, trusted=trusted, splits=range(1, len(data), 7)).messages:
        _check_request(data[start : message.end], trusted)
        start = message.end


@THOROUGH
@given(damaged(responses()))
def test_damaged_responses_that_we_accept_the_peers_accept_too(data: bytes) -> None:
    start = 0
    for message in read_every_way(data, Kind.RESPONSE, splits=range(1, len(data), 7)).messages:
        if message.head["status"] not in range(100, 200):
            _check_response(data[start : message.end])
        start = message.end
