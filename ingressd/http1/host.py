"""What a Host field and the authority of a target may look like."""

from ingressd.http1.grammar import HOST


def valid_host(value: bytes) -> bool:
    """Whether `value` is a host with an optional port (RFC 3986 section 3.2): a name, an IPv4 address or [IPv6]."""
    p = value
    valid = HOST
    length = len(value)
    i = 0
    if length == 0:
        return False
    if p[0] == 91:
        i = value.find(b"]") + 1
        if i < 4 or value[1 : i - 1].strip(b"0123456789abcdefABCDEF:.") or b":" not in value[:i]:
            return False
    else:
        while i < length and valid[p[i]]:
            i += 1
        if i == 0:
            return False
    if i == length:
        return True
    if p[i] != 58:
        return False
    port = value[i + 1 :]
    return len(port) <= 5 and (not port or port.isdigit())
