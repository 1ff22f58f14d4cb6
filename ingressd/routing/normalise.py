"""The form in which hosts and paths of requests are compared.

What is compared is not what is forwarded: the target goes upstream as received.
"""

from urllib.parse import unquote_to_bytes


class InvalidPath(ValueError):
    """The path has no normal form: a broken percent-encoding, a NUL, or dot segments that leave the root."""


_HEX = frozenset(b"0123456789abcdefABCDEF")


def normal_path(path: bytes) -> bytes:
    """The path (without query) as nginx compares it: percent-decoded once, repeated slashes merged, dot segments
    resolved.

    In this order, so `%2e%2e` and `%2F` mean what `..` and `/` mean (RFC 3986 section 6.2.2 calls the first equivalent;
    the second is nginx's choice, and the safe one: no upstream sees a path that was routed as another). A trailing
    slash stays, and one is left where a last `.` or `..` was. Raises InvalidPath.
    """
    if b"%" in path:
        at = path.find(b"%")
        while at >= 0:
            digits = path[at + 1 : at + 3]
            if len(digits) != 2 or not _HEX.issuperset(digits):
                raise InvalidPath("percent sign without two hexadecimal digits")
            at = path.find(b"%", at + 3)
        path = unquote_to_bytes(path)
        if b"\0" in path:
            raise InvalidPath("NUL in the path")
    segments: list[bytes] = []
    parts = path.split(b"/")
    for part in parts[1:]:
        if part == b"..":
            if not segments:
                raise InvalidPath("path leaves the root")
            segments.pop()
        elif part and part != b".":
            segments.append(part)
    if parts[-1] in (b"", b".", b".."):
        segments.append(b"")
    return b"/" + b"/".join(segments)


def normal_host(host: bytes) -> bytes:
    """A valid Host field value as virtual hosts are named: lower case, no port, no trailing dot."""
    name = host[: host.find(b"]") + 1] if host.startswith(b"[") else host.partition(b":")[0]
    return name.lower().removesuffix(b".")
