"""The syntax of names, hosts and ports. Each `..._fault` answers what is wrong, fit to follow the value, or "".

Sources: k8s.io/apimachinery/pkg/util/validation (RFC 1123, RFC 6335), networking.k8s.io/v1 IngressRule.host.
"""

import re
from ipaddress import ip_address

from ingressd.resources.finding import plain

LABEL_CHARACTERS = 63
SUBDOMAIN_CHARACTERS = 253
PORT_NAME_CHARACTERS = 15  # RFC 6335 section 5.1
LAST_PORT = 65535

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_DOTTED_NUMBERS = re.compile(r"[0-9]+(\.[0-9]+){3}")
_WITH_PORT = re.compile(r"(?P<host>[^:]+):[0-9]+")
_KEY_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")


def label_fault(text: str) -> str:
    """RFC 1123 label: namespaces, Services."""
    if len(text) > LABEL_CHARACTERS:
        return f"has {len(text)} characters and may have {LABEL_CHARACTERS}"
    if _LABEL.fullmatch(text):
        return ""
    return "write lower-case letters, digits and `-`, beginning and ending with a letter or digit"


def subdomain_fault(text: str) -> str:
    """RFC 1123 subdomain: the names of most objects."""
    if len(text) > SUBDOMAIN_CHARACTERS:
        return f"has {len(text)} characters and may have {SUBDOMAIN_CHARACTERS}"
    if _SUBDOMAIN.fullmatch(text):
        return ""
    return "write lower-case letters, digits, `-` and `.`, each part beginning and ending with a letter or digit"


def host_fault(text: str) -> str:
    """A host name, or `*.` and a host name."""
    if text == "*":
        return "leave `host` out to match every host"
    if ported := _WITH_PORT.fullmatch(text):
        return f"write the host without a port, {plain(ported['host'])}"
    if ":" in text or _DOTTED_NUMBERS.fullmatch(text):
        return "write a DNS name: a host is never an IP address"
    if len(text) > SUBDOMAIN_CHARACTERS:
        return f"has {len(text)} characters and may have {SUBDOMAIN_CHARACTERS}"
    name = text.removeprefix("*.")
    if "*" in name:
        return "write `*` only as the whole first label, as in *.example.com"
    fault = subdomain_fault(name)
    if fault and not subdomain_fault(text.lower().removeprefix("*.")):
        return f"write it in lower case, {text.lower()}"
    return fault


def port_name_fault(text: str) -> str:
    """IANA service name, as `backend.service.port.name` must be."""
    if len(text) > PORT_NAME_CHARACTERS:
        return f"has {len(text)} characters and a port name may have {PORT_NAME_CHARACTERS}"
    if text.isascii() and text.isdigit():
        return f"is a number: write it as `number: {text}`"
    if _LABEL.fullmatch(text) and "--" not in text and any("a" <= character <= "z" for character in text):
        return ""
    return "write lower-case letters, digits and single `-`, with at least one letter"


def port_fault(number: int) -> str:
    """A TCP or UDP port."""
    return "" if 1 <= number <= LAST_PORT else f"write a port from 1 to {LAST_PORT}"


def key_fault(text: str) -> str:
    """The key of an annotation: an optional DNS prefix and `/`, then a name."""
    prefix, slash, name = text.rpartition("/")
    if slash and subdomain_fault(prefix.lower()):
        return "what stands before the `/` must be a DNS name"
    if len(name) > LABEL_CHARACTERS:
        return f"the key has {len(name)} characters after the prefix and may have {LABEL_CHARACTERS}"
    if _KEY_NAME.fullmatch(name):
        return ""
    return "write letters, digits, `-`, `_` and `.` in a key, beginning and ending with a letter or digit"


def is_address(text: str) -> bool:
    """Whether a text is an IP address."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
