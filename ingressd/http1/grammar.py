"""The characters and names of RFC 9110 and RFC 9112 that the scanners decide by, as look-up tables."""

from enum import IntEnum

KIB = 1024
MAX_REQUEST_LINE = 8 * KIB
"""Bytes, its CRLF included; nginx: one buffer of large-client-header-buffers, 8 KiB. Longer: 414."""
MAX_FIELD = 8 * KIB
"""Bytes in one field line: name, value and CRLF; nginx as above. Longer: 431."""
MAX_HEAD = 32 * KIB
"""Bytes in a whole head; nginx: four such buffers. Longer: 431."""
MAX_FIELDS = 100
"""Field lines in a head; Apache: 100. More: 431."""
MAX_EMPTY_LINES = 4
"""Overlooked before a request (RFC 9112 section 2.2 asks for one); llhttp: any number."""
MAX_CHUNK_EXTENSIONS = 1 * KIB
"""Bytes behind one chunk size, which nobody uses but attackers; Go: 4 KiB."""
MAX_CONTENT_LENGTH_DIGITS = 18
"""Keeps a length below 2**63."""

_TCHAR = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def _table(accepted: bytes, mark: int = 1) -> bytearray:
    table = bytearray(256)
    for char in accepted:
        table[char] = mark
    return table


def _token() -> bytes:
    table = _table(_TCHAR)
    table[ord("_")] = 2
    return bytes(table)


TOKEN = _token()
"""tchar (RFC 9110 section 5.6.2): 1, the underscore 2 because field names with one are dropped, anything else 0."""

VALUE = bytes(_table(b"\t" + bytes(range(0x20, 0x7F)) + bytes(range(0x80, 0x100))))
"""What a field value may hold (section 5.5): visible characters, space, tab, obs-text. No other control character."""


def _target() -> bytes:
    table = _table(bytes(range(0x21, 0x7F)))
    table[ord("#")] = 0
    table[ord("%")] = table[ord("/")] = 2
    table[ord("?")] = 3
    return bytes(table)


TARGET = _target()
"""What a request target may hold: visible ASCII without `#`. Wider than RFC 3986 (`|`, `{`, `"` ...) because browsers
send those in queries. 2 for what may make a path differ from its normal form, 3 for the start of the query."""

HOST = bytes(_table(b"!$%&'()*+,;=-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"))
"""reg-name (RFC 3986 section 3.2.2)."""


GET = b"GET"
"""Most requests share this one, whose hash is known."""

IDEMPOTENT = frozenset((GET, b"HEAD", b"OPTIONS", b"PUT", b"DELETE"))
"""RFC 9110 section 9.2.2, without TRACE, which is not forwarded."""


class Known(IntEnum):
    """Field names that mean something to a proxy."""

    HOST = 1
    CONNECTION = 2
    CONTENT_LENGTH = 3
    TRANSFER_ENCODING = 4
    UPGRADE = 5
    TE = 6
    EXPECT = 7
    HOP = 8
    """Others that concern one connection only, or that must not reach an application as they came: `Proxy`
    (CVE-2016-5385), and ssl-client-*, what we say of a client's certificate. Trusted proxies hand on what their clients
    say in these, so they are not believed either."""
    # Up to here: never forwarded as they came, except Host and Expect.
    REFERER = 9
    USER_AGENT = 10
    AUTHORIZATION = 11
    REQUEST_ID = 12
    FORWARDED_FOR = 13
    FORWARDED_PROTO = 14
    FORWARDED_HOST = 15
    FORWARDED_PORT = 16
    FORWARDED_SCHEME = 17
    SCHEME = 18
    REAL_IP = 19
    FORWARDED_OTHER = 20
    """Forwarded (RFC 7239), X-Original-Forwarded-For, and all other X-Forwarded-*."""


KNOWN: dict[bytes, int] = {
    name: int(code)
    for name, code in {
        b"host": Known.HOST,
        b"connection": Known.CONNECTION,
        b"content-length": Known.CONTENT_LENGTH,
        b"transfer-encoding": Known.TRANSFER_ENCODING,
        b"upgrade": Known.UPGRADE,
        b"te": Known.TE,
        b"expect": Known.EXPECT,
        b"keep-alive": Known.HOP,
        b"proxy-connection": Known.HOP,
        b"proxy-authorization": Known.HOP,
        b"proxy-authenticate": Known.HOP,
        b"proxy": Known.HOP,
        b"http2-settings": Known.HOP,
        b"referer": Known.REFERER,
        b"user-agent": Known.USER_AGENT,
        b"authorization": Known.AUTHORIZATION,
        b"x-request-id": Known.REQUEST_ID,
        b"x-forwarded-for": Known.FORWARDED_FOR,
        b"x-forwarded-proto": Known.FORWARDED_PROTO,
        b"x-forwarded-host": Known.FORWARDED_HOST,
        b"x-forwarded-port": Known.FORWARDED_PORT,
        b"x-forwarded-scheme": Known.FORWARDED_SCHEME,
        b"x-scheme": Known.SCHEME,
        b"x-real-ip": Known.REAL_IP,
        b"forwarded": Known.FORWARDED_OTHER,
        b"x-original-forwarded-for": Known.FORWARDED_OTHER,
        b"ssl-client-verify": Known.HOP,
        b"ssl-client-subject-dn": Known.HOP,
        b"ssl-client-issuer-dn": Known.HOP,
        b"ssl-client-cert": Known.HOP,
    }.items()
}

FORWARDED_PREFIX = b"x-forwarded-"

NAME_ROOM = 32
"""Bytes: more than the longest name in KNOWN has."""
SEVERAL = 255
"""In CANDIDATES: more than one name could be meant."""


def _candidates() -> bytes:
    table = bytearray(NAME_ROOM * 32)
    for index, name in enumerate(KNOWN):
        slot = len(name) * 32 + (name[0] & 31)
        table[slot] = SEVERAL if table[slot] else index + 1
    for length in range(len(FORWARDED_PREFIX), NAME_ROOM):
        table[length * 32 + (ord("x") & 31)] = SEVERAL
    return bytes(table)


CANDIDATES = _candidates()
"""By length * 32 + (first letter & 31): the number of the one name in KNOWN (from 1) that a field name can be, so that
a comparison of its bytes decides, and most fields cost not even that."""
NAMES = b"".join(name.ljust(NAME_ROOM, b"\0") for name in (b"", *KNOWN))
"""The names by that number, NAME_ROOM bytes each."""
CODES = bytes((0, *KNOWN.values()))
"""Their Known codes."""


def known(name: bytes) -> int:
    """The Known code of a field name in lower case, 0 for none."""
    code = KNOWN.get(name)
    if code is None:
        return int(Known.FORWARDED_OTHER) if name.startswith(FORWARDED_PREFIX) else 0
    return code


NOT_IN_TRAILERS = frozenset(
    (
        # Authentication and state.
        b"authorization",
        b"authentication-info",
        b"cookie",
        b"set-cookie",
        b"www-authenticate",
        # How to read the content.
        b"content-encoding",
        b"content-range",
        b"content-type",
        b"trailer",
        # Controls and conditions of a request.
        b"cache-control",
        b"if-match",
        b"if-modified-since",
        b"if-none-match",
        b"if-range",
        b"if-unmodified-since",
        b"max-forwards",
        b"pragma",
        b"range",
        # Controls of a response.
        b"age",
        b"expires",
        b"date",
        b"location",
        b"retry-after",
        b"vary",
    )
)
"""What RFC 9110 section 6.5.1 keeps out of trailers, besides what is not forwarded from a head either."""
