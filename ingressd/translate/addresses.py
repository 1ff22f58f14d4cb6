"""Addresses that may be endpoints."""

from functools import lru_cache
from ipaddress import IPv6Address, ip_address

_ADDRESSES_REMEMBERED = 1 << 17  # those of a large cluster, so that each is parsed once


@lru_cache(maxsize=_ADDRESSES_REMEMBERED)
def canonical(text: str) -> str:
    """The one way of writing an address (IPv6 by RFC 5952, IPv4 in IPv6 as IPv4); empty if it cannot be an endpoint.

    Link-local addresses cannot, as in the API server: they mean another host on each node, and the metadata service
    of many clouds. Loopback addresses can, for the manifests of a single machine; a cluster lets nobody write them.
    """
    try:
        address = ip_address(text)
    except ValueError:
        return ""
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            return ""
        address = address.ipv4_mapped or address
    if address.is_unspecified or address.is_multicast or address.is_link_local:
        return ""
    return str(address)


def is_loopback(text: str) -> bool:
    """Whether an address, or a name in lower case (RFC 6761 section 6.3), is this host itself."""
    if text == "localhost" or text.endswith(".localhost"):
        return True
    address = canonical(text)
    return bool(address) and ip_address(address).is_loopback
