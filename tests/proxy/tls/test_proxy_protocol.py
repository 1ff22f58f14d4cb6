"""PROXY protocol headers: both versions as the specification writes them, in parts, and damaged."""

import ipaddress
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingressd.proxy.proxy_protocol import MAX_V1, MAX_V2, Connection, ProxyHeaderError, read_proxy_header

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
PORT = st.integers(0, 65535)
PAIR = st.one_of(
    st.tuples(st.ip_addresses(v=4), st.ip_addresses(v=4)), st.tuples(st.ip_addresses(v=6), st.ip_addresses(v=6))
)


def v1(source: str, destination: str, source_port: int, destination_port: int) -> bytes:
    family = "TCP6" if ":" in source else "TCP4"
    return f"PROXY {family} {source} {destination} {source_port} {destination_port}\r\n".encode()


def v2(
    source: str, destination: str, source_port: int, destination_port: int, more: bytes = b"", command: int = 1
) -> bytes:
    addresses = [ipaddress.ip_address(each).packed for each in (source, destination)]
    family = 0x21 if len(addresses[0]) == 16 else 0x11
    block = b"".join(addresses) + struct.pack("!HH", source_port, destination_port) + more
    return SIGNATURE + bytes((0x20 | command, family)) + struct.pack("!H", len(block)) + block


def plain(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


@given(PAIR, PORT, PORT, st.sampled_from([v1, v2]), st.binary(max_size=30), st.data())
def test_addresses_are_read_and_the_rest_is_left(
    pair: tuple[ipaddress.IPv4Address, ipaddress.IPv4Address],
    source_port: int,
    destination_port: int,
    write: object,
    rest: bytes,
    data: st.DataObject,
) -> None:
    assert callable(write)
    header = write(str(pair[0]), str(pair[1]), source_port, destination_port)
    found = read_proxy_header(header + rest)
    assert found == Connection(len(header), plain(pair[0]), source_port, plain(pair[1]), destination_port)
    assert read_proxy_header(header[: data.draw(st.integers(0, len(header) - 1))]) is None


@given(st.binary(max_size=150))
def test_anything_raises_nothing_else(data: bytes) -> None:
    for start in (b"", b"PROXY TCP4 ", b"PROXY ", SIGNATURE, SIGNATURE + b"\x21\x11"):
        try:
            found = read_proxy_header(start + data)
        except ProxyHeaderError:
            continue
        assert found is None or found.length <= len(start + data)


@pytest.mark.parametrize(
    "line",
    [
        b"PROXY TCP4 1.2.3.4 1.2.3.5 1\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.5 1 2 3\r\n",
        b"PROXY TCP4 ::1 ::2 1 2\r\n",
        b"PROXY TCP6 1.2.3.4 1.2.3.5 1 2\r\n",
        b"PROXY TCP6 fe80::1%eth0 ::2 1 2\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.5 1 65536\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.5 01 2\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.5 -1 2\r\n",
        b"PROXY TCP4 1.2.3.04 1.2.3.5 1 2\r\n",
        b"PROXY  TCP4 1.2.3.4 1.2.3.5 1 2\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.5 1 2 ".ljust(MAX_V1, b"x") + b"\r\n",
        b"GET / HTTP/1.1\r\n",
        b"proxy TCP4 1.2.3.4 1.2.3.5 1 2\r\n",
        SIGNATURE + b"\x31\x11\x00\x0c" + bytes(12),
        SIGNATURE + b"\x22\x11\x00\x0c" + bytes(12),
        SIGNATURE + b"\x21\x11\x00\x0b" + bytes(11),
        SIGNATURE + b"\x21\x41\x00\x0c" + bytes(12),
        SIGNATURE + b"\x21\x11" + MAX_V2.to_bytes(2, "big"),
    ],
)
def test_a_malformed_header_is_refused(line: bytes) -> None:
    with pytest.raises(ProxyHeaderError):
        read_proxy_header(line)


@pytest.mark.parametrize(
    "header",
    [
        b"PROXY UNKNOWN\r\n",
        b"PROXY UNKNOWN ffff:f::1 ::1 1 2\r\n",
        v2("1.2.3.4", "1.2.3.5", 1, 2, command=0),
        SIGNATURE + b"\x20\x00\x00\x00",
        SIGNATURE + b"\x20\xff\x00\x02xx",
        SIGNATURE + b"\x21\x31\x00\xd8" + bytes(216),
    ],
)
def test_a_connection_of_the_balancer_itself_has_no_addresses(header: bytes) -> None:
    assert read_proxy_header(header + b"rest") == Connection(len(header))


def test_what_version_2_adds_is_passed_over() -> None:
    header = v2("1.2.3.4", "1.2.3.5", 1, 2, more=b"\x04\x00\x05hello")
    found = read_proxy_header(header)
    assert found is not None
    assert (found.length, found.source) == (len(header), "1.2.3.4")
