"""What OpenSSL can do and Python's `ssl` gives no way to, by way of `ctypes`: keys of session tickets, groups for key
exchange, and servers that ask for a client's certificate, naming authorities, and go on with any.

The library is the very one that `_ssl` is linked with: its functions are looked up through that module. An SSLContext
begins, behind the object's header, with a pointer to its SSL_CTX (Modules/_ssl.c, PySSLContext, from Python 3.2 to 3.14
at least), which begins with its method (OpenSSL 1.1 to 3.x). Nothing is called with that pointer before this has been
seen to be so, by reading memory through /proc/self/mem, where a wrong address is an error and not a crash. If it is not
so, `libssl` raises Unavailable, and what depends on it goes without: see `tickets` and `tls_table`.
"""

import ctypes
import os
import ssl
from functools import cache
from importlib import import_module

from ingressd.link import TICKET_KEY_BYTES

GROUPS = (b"X25519MLKEM768:X25519:P-256:P-384", b"X25519:P-256:P-384")
"""Of key exchange, the best first: those of Mozilla's intermediate configuration, behind the hybrid one that OpenSSL
has from 3.5 on; the second list is for an OpenSSL that does not have it."""

_HEADER = object.__basicsize__
_WORD = ctypes.sizeof(ctypes.c_void_p)
_WORDS_BEFORE_METHOD = 4
"""OpenSSL 1.1: none, 3.x: one (its library context)."""

_SSL_CTRL_SET_SESS_CACHE_MODE = 44
_SSL_CTRL_GET_TICKET_KEYS = 58
_SSL_CTRL_SET_TICKET_KEYS = 59
_SSL_CTRL_SET_GROUPS_LIST = 92
_SSL_SESS_CACHE_OFF = 0
_SSL_VERIFY_PEER = 1
_VERIFIED = 0
"""X509_V_OK."""


class Unavailable(Exception):
    """This Python's OpenSSL cannot be reached; the text says why."""


class Libssl:
    """Made once, by `libssl`."""

    def __init__(self) -> None:
        extension = import_module("_ssl")
        try:
            # Without a file it is part of the interpreter itself.
            self._library = ctypes.CDLL(getattr(extension, "__file__", None))
            self._declare()
        except (OSError, AttributeError) as error:
            raise Unavailable(f"the functions of OpenSSL cannot be found: {error}") from error
        self._verdict: int = _VERIFIED
        # Kept as long as any SSL_CTX may call it.
        self._verify = _VerifyCallback(self._note)
        self._check(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))

    def _declare(self) -> None:
        library = self._library
        pointer, number = ctypes.c_void_p, ctypes.c_int
        for name, result, arguments in (
            ("TLS_method", pointer, ()),
            ("TLS_server_method", pointer, ()),
            ("SSL_CTX_ctrl", ctypes.c_long, (pointer, number, ctypes.c_long, pointer)),
            ("ERR_clear_error", None, ()),
            ("SSL_CTX_set_verify", None, (pointer, number, pointer)),
            ("SSL_CTX_set_verify_depth", None, (pointer, number)),
            ("SSL_load_client_CA_file", pointer, (ctypes.c_char_p,)),
            ("SSL_CTX_set_client_CA_list", None, (pointer, pointer)),
            ("X509_STORE_CTX_get_error", number, (pointer,)),
            ("X509_verify_cert_error_string", ctypes.c_char_p, (ctypes.c_long,)),
        ):
            function = getattr(library, name)
            function.restype = result
            function.argtypes = arguments

    def _check(self, context: ssl.SSLContext) -> None:
        """Raises Unavailable unless the SSL_CTX is where it is thought to be, and is this library's."""
        address = _address(context)
        methods = {self._library.TLS_method(), self._library.TLS_server_method()}
        try:
            memory = os.open("/proc/self/mem", os.O_RDONLY)
            try:
                start = os.pread(memory, _WORD * _WORDS_BEFORE_METHOD, address)
            finally:
                os.close(memory)
        except (OSError, OverflowError) as error:
            raise Unavailable("an SSLContext of Python is not laid out as expected") from error
        if methods.isdisjoint(memoryview(start).cast("P").tolist() if len(start) % _WORD == 0 else ()):
            raise Unavailable("an SSLContext of Python is not laid out as expected")
        self.limit_groups(context)
        key = os.urandom(TICKET_KEY_BYTES)
        self.set_ticket_key(context, key)
        found = ctypes.create_string_buffer(TICKET_KEY_BYTES)
        self._library.SSL_CTX_ctrl(address, _SSL_CTRL_GET_TICKET_KEYS, TICKET_KEY_BYTES, found)
        if found.raw != key:
            raise Unavailable("OpenSSL does not give back the ticket key it was given")

    def set_ticket_key(self, context: ssl.SSLContext, key: bytes) -> None:
        """What session tickets are made with and read with from now on: a name (16 bytes), an HMAC key and an AES key
        (32 each). Raises Unavailable if OpenSSL does not take it."""
        if len(key) != TICKET_KEY_BYTES or not self._library.SSL_CTX_ctrl(
            _address(context), _SSL_CTRL_SET_TICKET_KEYS, len(key), key
        ):
            raise Unavailable("OpenSSL takes no ticket key of this size")

    def limit_groups(self, context: ssl.SSLContext) -> None:
        """Leaves no groups for key exchange but GROUPS."""
        address = _address(context)
        if not any(self._library.SSL_CTX_ctrl(address, _SSL_CTRL_SET_GROUPS_LIST, 0, groups) for groups in GROUPS):
            raise Unavailable("OpenSSL does not take the groups for key exchange")
        self._library.ERR_clear_error()

    def keep_no_sessions(self, context: ssl.SSLContext) -> None:
        """Turns the cache of sessions in this process's memory off; tickets do not need it."""
        self._library.SSL_CTX_ctrl(_address(context), _SSL_CTRL_SET_SESS_CACHE_MODE, _SSL_SESS_CACHE_OFF, None)

    def ask_for_certificate(self, context: ssl.SSLContext, depth: int, authorities: str) -> None:
        """Asks each client for a certificate; whatever it has to show, the handshake goes on, and `verdict` tells.
        `authorities` is the path of a file (PEM) whose names the client is told, to help it choose."""
        address = _address(context)
        self._library.SSL_CTX_set_verify(address, _SSL_VERIFY_PEER, ctypes.cast(self._verify, ctypes.c_void_p))
        self._library.SSL_CTX_set_verify_depth(address, depth)
        names = self._library.SSL_load_client_CA_file(authorities.encode())
        if names:
            # It is the context's from here on.
            self._library.SSL_CTX_set_client_CA_list(address, names)

    def set_verify_depth(self, context: ssl.SSLContext, depth: int) -> None:
        """How many issuers may stand between the peer's certificate and one that is trusted."""
        self._library.SSL_CTX_set_verify_depth(_address(context), depth)

    def begin_verdict(self) -> None:
        """Called before a step of a handshake whose outcome `verdict` is to tell."""
        self._verdict = _VERIFIED

    def verdict(self) -> int:
        """What the verification in the step before found: X509_V_OK (0), or the last error (x509_vfy.h)."""
        return self._verdict

    def explain(self, verdict: int) -> str:
        """As OpenSSL words it."""
        text: bytes = self._library.X509_verify_cert_error_string(verdict)
        return text.decode("ascii", "replace")

    def _note(self, good: int, store: int) -> int:
        """Called by OpenSSL for each certificate of a chain, in the middle of do_handshake."""
        if not good:
            self._verdict = self._library.X509_STORE_CTX_get_error(store)
        return 1


_VerifyCallback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_void_p)


def _address(context: ssl.SSLContext) -> int:
    """Of the SSL_CTX."""
    return ctypes.c_void_p.from_address(id(context) + _HEADER).value or 0


@cache
def _loaded() -> Libssl | str:
    try:
        return Libssl()
    except Unavailable as error:
        return str(error)


def libssl() -> Libssl:
    """The library. Raises Unavailable."""
    loaded = _loaded()
    if isinstance(loaded, str):
        raise Unavailable(loaded)
    return loaded
