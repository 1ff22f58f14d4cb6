"""Lists of ciphers of TLS 1.2 and before, as OpenSSL writes them (openssl-ciphers(1))."""

import re
import ssl
from functools import lru_cache

_LIST = re.compile(r"[A-Za-z0-9+:_!@=,.-]{1,1000}")


@lru_cache(maxsize=256)
def selects_ciphers(text: str) -> bool:
    """Whether this OpenSSL knows any of them: a context with none could not be made."""
    if not _LIST.fullmatch(text):
        return False
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).set_ciphers(text)
    except ssl.SSLError:
        return False
    return True
