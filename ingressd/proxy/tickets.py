"""Keys of session tickets (RFC 5077, RFC 8446 section 4.6.1): how a client resumes a session in any worker.

The controller gives all workers the same keys and renews them. What encrypts tickets is derived from them for each
certificate apart, so that a ticket is of use only where the same certificate would have been shown. Where a client has
to show a certificate there are no tickets at all: a session that is resumed brings with it what was verified then, and
must not vouch for anybody at another host, under another authority, or later (compare CVE-2025-23419).

OpenSSL holds one key. Tickets begin with the name of theirs, and the ClientHello shows it: for a client that comes with
one made with an older key, that key is put in place while its hello is read, and then the present one again.
"""

import hashlib
import hmac
import logging
import ssl

from ingressd.link import TICKET_KEY_BYTES
from ingressd.proxy.libssl import Libssl, Unavailable, libssl

_log = logging.getLogger(__name__)


def derive(key: bytes, purpose: bytes) -> bytes:
    """The ticket key for one purpose: HKDF-Expand (RFC 5869 section 2.3) with SHA-512."""
    expanded = b""
    block = b""
    counter = 1
    while len(expanded) < TICKET_KEY_BYTES:
        block = hmac.digest(key, block + b"ingressd ticket " + purpose + bytes((counter,)), hashlib.sha512)
        expanded += block
        counter += 1
    return expanded[:TICKET_KEY_BYTES]


class ContextKeys:
    """The ticket keys of one SSLContext."""

    __slots__ = ("_context", "_keys", "_library", "_purpose")

    def __init__(self, library: Libssl, context: ssl.SSLContext, purpose: bytes, keys: tuple[bytes, ...]) -> None:
        self._library = library
        self._context = context
        self._purpose = purpose
        self._keys: list[bytes] = []
        self.replace(keys)

    def replace(self, keys: tuple[bytes, ...]) -> None:
        """`keys`: those of the controller, the one for new tickets first."""
        self._keys = [derive(key, self._purpose) for key in keys]
        self._library.set_ticket_key(self._context, self._keys[0])

    def lend(self, ticket_name: bytes) -> bool:
        """Puts the older key of this name in place, if there is one; then `restore` has to follow."""
        for key in self._keys[1:]:
            if key.startswith(ticket_name):
                self._library.set_ticket_key(self._context, key)
                return True
        return False

    def restore(self) -> None:
        """Puts the present key in place again."""
        self._library.set_ticket_key(self._context, self._keys[0])


def find_library() -> Libssl | None:
    """OpenSSL, if tickets made by one context are shown to be taken by another; else None, and the log says why."""
    try:
        library = libssl()
        prove(library)
    except (Unavailable, ssl.SSLError) as error:
        _log.warning("TLS sessions are not resumed across workers: %s", error)
        return None
    return library


def describe() -> str:
    """For people: whether sessions are resumed across workers, and if not why."""
    try:
        prove(libssl())
    except (Unavailable, ssl.SSLError) as error:
        return f"not resumed: {error}"
    return "resumed"


def prove(library: Libssl) -> None:
    """Has a session of one context resumed in another that has the same key, with a cipher that needs no certificate.
    Raises Unavailable, ssl.SSLError."""
    key = derive(b"", b"self-test")
    first, second, other = (_anonymous(ssl.PROTOCOL_TLS_SERVER) for _ in range(3))
    client = _anonymous(ssl.PROTOCOL_TLS_CLIENT)
    for context, its in ((first, key), (second, key), (other, derive(b"", b"another"))):
        library.set_ticket_key(context, its)
    session = _connect(client, first, None).session
    if not _connect(client, second, session).session_reused:
        raise Unavailable("a session was not resumed with the key it was made with")
    if _connect(client, other, session).session_reused:
        raise Unavailable("a session was resumed without the key it was made with")


def _anonymous(protocol: int) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("AECDH-AES128-SHA:@SECLEVEL=0")
    return context


def _connect(client: ssl.SSLContext, server: ssl.SSLContext, session: ssl.SSLSession | None) -> ssl.SSLObject:
    """The client's side of a connection within this process."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(to_client, to_server, session=session)
    theirs = server.wrap_bio(to_server, to_client, server_side=True)
    waiting = [ours, theirs, ours, theirs, ours]
    for side in waiting:
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    return ours
