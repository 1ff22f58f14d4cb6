"""The ClientHello: real ones are understood, cut ones are waited for, others refused, and nothing else happens."""

import contextlib
import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingressd.proxy.client_hello import (
    ILLEGAL_PARAMETER,
    MAX_HELLO,
    MAX_RECORDS,
    UNEXPECTED_MESSAGE,
    HelloError,
    alert,
    read_client_hello,
)

LABEL = st.from_regex(r"[a-zA-Z0-9]([a-zA-Z0-9-]{0,10}[a-zA-Z0-9])?", fullmatch=True)
NAMES = st.lists(LABEL, min_size=2, max_size=4).map(".".join).filter(lambda name: not name.replace(".", "").isdigit())
PROTOCOLS = st.lists(st.sampled_from(["h2", "http/1.1", "http/1.0", "acme-tls/1", "x"]), max_size=4, unique=True)


def hello(
    name: str | None = "a.example", protocols: tuple[str, ...] = (), version: ssl.TLSVersion | None = None
) -> bytes:
    """What OpenSSL sends first."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if version is not None:
        context.maximum_version = version
    if protocols:
        context.set_alpn_protocols(list(protocols))
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    connection = context.wrap_bio(incoming, outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        connection.do_handshake()
    return outgoing.read()


def records(message: bytes, sizes: list[int]) -> bytes:
    """A handshake message cut into records of these sizes, the rest in one more."""
    cut = []
    for size in sizes:
        cut.append(message[:size])
        message = message[size:]
    return b"".join(b"\x16\x03\x01" + len(piece).to_bytes(2, "big") + piece for piece in (*cut, message) if piece)


@given(NAMES, PROTOCOLS, st.sampled_from([None, ssl.TLSVersion.TLSv1_2]))
def test_names_and_protocols_are_those_that_openssl_sends(
    name: str, protocols: list[str], version: ssl.TLSVersion | None
) -> None:
    found = read_client_hello(hello(name, tuple(protocols), version))
    assert found is not None
    assert found.server_name == name.lower()
    assert found.protocols == tuple(each.encode() for each in protocols)
    assert found.ticket_name == b""


def test_a_client_without_a_name_has_none() -> None:
    found = read_client_hello(hello(None))
    assert found is not None
    assert found.server_name == ""


REAL = hello("www.example.com", ("h2", "http/1.1"))
WANTED = read_client_hello(REAL)


@given(st.lists(st.integers(1, 200), max_size=MAX_RECORDS - 2), st.binary(max_size=50))
def test_it_may_come_in_several_records_and_something_may_follow(sizes: list[int], behind: bytes) -> None:
    assert read_client_hello(records(REAL[5:], sizes) + behind) == WANTED


@given(st.integers(0, len(REAL) - 1), st.lists(st.integers(1, 200), max_size=MAX_RECORDS - 2))
def test_a_part_of_it_is_no_error(length: int, sizes: list[int]) -> None:
    whole = records(REAL[5:], sizes)
    assert read_client_hello(whole[: min(length, len(whole) - 1)]) is None


@given(st.lists(st.tuples(st.integers(0, len(REAL) - 1), st.integers(0, 255)), min_size=1, max_size=8))
def test_damage_raises_nothing_else(damage: list[tuple[int, int]]) -> None:
    data = bytearray(REAL)
    for at, value in damage:
        data[at] = value
    with contextlib.suppress(HelloError):
        read_client_hello(bytes(data))


def test_an_alert_is_a_record() -> None:
    assert alert(UNEXPECTED_MESSAGE) == b"\x15\x03\x03\x00\x02\x02\x0a"


@given(st.binary(max_size=200))
def test_anything_raises_nothing_else(data: bytes) -> None:
    for start in (b"", b"\x16\x03\x01", REAL[:5], REAL[:11], REAL[:43]):
        with contextlib.suppress(HelloError):
            read_client_hello(start + data)


def test_it_is_no_longer_than_the_limit() -> None:
    message = b"\x01" + (MAX_HELLO).to_bytes(3, "big")
    with pytest.raises(HelloError) as caught:
        read_client_hello(records(message, []))
    assert caught.value.alert == ILLEGAL_PARAMETER


def test_it_does_not_come_in_many_records() -> None:
    with pytest.raises(HelloError, match="too many records"):
        read_client_hello(records(REAL[5:], [1] * MAX_RECORDS))


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n", b"\x15\x03\x01\x00\x02\x02\x00", b"\x80\x2e\x01\x03\x01"])
def test_what_is_no_handshake_is_refused_at_its_first_byte(data: bytes) -> None:
    with pytest.raises(HelloError) as caught:
        read_client_hello(data)
    assert caught.value.alert == UNEXPECTED_MESSAGE


def extended(*extensions: tuple[int, bytes]) -> bytes:
    """A hello with these extensions alone."""
    listed = b"".join(kind.to_bytes(2, "big") + len(body).to_bytes(2, "big") + body for kind, body in extensions)
    body = (
        b"\x03\x03" + bytes(32) + b"\x00" + b"\x00\x02\x13\x01" + b"\x01\x00" + len(listed).to_bytes(2, "big") + listed
    )
    return records(b"\x01" + len(body).to_bytes(3, "big") + body, [])


def name_list(*names: bytes) -> bytes:
    listed = b"".join(b"\x00" + len(name).to_bytes(2, "big") + name for name in names)
    return len(listed).to_bytes(2, "big") + listed


@pytest.mark.parametrize(
    "body",
    [
        name_list(),
        name_list(b""),
        name_list(b"a.example", b"b.example"),
        name_list(b"a.example\x00.evil"),
        name_list("ä.example".encode()),
        name_list(b"a" * 256),
        name_list(b"a.example") + b"x",
        b"\x00\x05\x01\x00\x02ab",
        b"",
    ],
)
def test_a_server_name_is_one_name_or_an_error(body: bytes) -> None:
    with pytest.raises(HelloError):
        read_client_hello(extended((0, body)))


def test_an_extension_is_there_once() -> None:
    with pytest.raises(HelloError, match="twice"):
        read_client_hello(extended((0, name_list(b"a.example")), (0, name_list(b"b.example"))))


def test_names_are_compared_in_lower_case_without_a_final_dot() -> None:
    found = read_client_hello(extended((0, name_list(b"A.Example."))))
    assert found is not None
    assert found.server_name == "a.example"


def test_the_name_of_a_ticket_is_that_of_either_version() -> None:
    ticket = bytes(range(100))
    found = read_client_hello(extended((35, ticket)))
    assert found is not None
    assert found.ticket_name == ticket[:16]
    identity = len(ticket).to_bytes(2, "big") + ticket + bytes(4)
    shared = len(identity).to_bytes(2, "big") + identity + b"\x00\x21\x20" + bytes(32)
    found = read_client_hello(extended((35, b""), (41, shared)))
    assert found is not None
    assert found.ticket_name == ticket[:16]
