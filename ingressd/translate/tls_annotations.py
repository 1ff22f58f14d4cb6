"""The annotations of an Ingress that are about TLS -> closed types. What cannot be understood is a Fault.

A value that keeps requests out is never replaced by one that lets them in: a host whose auth-tls-* cannot be understood
serves nobody over TLS, and an upstream whose proxy-ssl-* cannot be understood gets no request.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec

from ingressd.model import ClientAuth, ClientAuthMode, SecretName, Severity, UpstreamTls
from ingressd.resources.boolean import parse_boolean
from ingressd.resources.finding import shown
from ingressd.resources.syntax import label_fault, subdomain_fault
from ingressd.translate.annotation_keys import INVALID, PREFIX, field_of
from ingressd.translate.ciphers import selects_ciphers

NO_EFFECT = "AnnotationWithoutEffect"

KEYS = frozenset(
    {
        "auth-tls-error-page",
        "auth-tls-match-cn",
        "auth-tls-pass-certificate-to-upstream",
        "auth-tls-secret",
        "auth-tls-verify-client",
        "auth-tls-verify-depth",
        "backend-protocol",
        "force-ssl-redirect",
        "preserve-trailing-slash",
        "proxy-ssl-ciphers",
        "proxy-ssl-name",
        "proxy-ssl-protocols",
        "proxy-ssl-secret",
        "proxy-ssl-server-name",
        "proxy-ssl-verify",
        "proxy-ssl-verify-depth",
        "ssl-passthrough",
        "ssl-redirect",
    }
)
"""Those that are read here, without prefix."""

PROTOCOLS = ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")
MOST_DEPTH = 100
MOST_COMMON_NAMES = 1000

_ERROR_PAGE = re.compile(
    r"(https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?)?/[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*|https?://[A-Za-z0-9.-]+"
)
_COMMON_NAME = re.compile(r"CN=(?P<names>[A-Za-z0-9 /._~@()|-]*)")
_TOKENS = re.compile(r"[(|)]|[^(|)]+")
_OTHER_PROTOCOLS = ("AUTO_HTTP", "GRPC", "GRPCS", "FCGI")


class Fault(NamedTuple):
    """Becomes a Problem of the Ingress. `field` is the place of the annotation."""

    field: str
    reason: str
    message: str
    severity: Severity = Severity.ERROR


class TlsAnnotations(msgspec.Struct, frozen=True):
    """What an Ingress says; None where it says nothing. `upstream`, which has no name yet, holds where connections to
    endpoints are encrypted: `https` says whether they are, or leaves it to the Service."""

    ssl_redirect: bool | None = None
    force_ssl_redirect: bool | None = None
    preserve_trailing_slash: bool | None = None
    passthrough: bool = False
    client_auth: ClientAuth | None = None
    https: bool | None = None
    upstream: UpstreamTls = UpstreamTls("")
    faults: tuple[Fault, ...] = ()


NOTHING = TlsAnnotations()


def tls_annotations(annotations: Mapping[str, str], namespace: str) -> TlsAnnotations:
    """What the annotations of an Ingress in `namespace` say."""
    if not any(key.startswith(PREFIX) and key[len(PREFIX) :] in KEYS for key in annotations):
        return NOTHING
    return _Reading(annotations, namespace).result()


class _Reading:
    def __init__(self, annotations: Mapping[str, str], namespace: str) -> None:
        self._annotations = annotations
        self._namespace = namespace
        self._faults: list[Fault] = []

    def result(self) -> TlsAnnotations:
        https = self._https()
        return TlsAnnotations(
            ssl_redirect=self._boolean("ssl-redirect"),
            force_ssl_redirect=self._boolean("force-ssl-redirect"),
            preserve_trailing_slash=self._boolean("preserve-trailing-slash"),
            passthrough=self._boolean("ssl-passthrough") or False,
            client_auth=self._client_auth(),
            https=https,
            upstream=self._upstream(https),
            faults=tuple(self._faults),
        )

    # --- values

    def _get(self, key: str) -> str | None:
        text = self._annotations.get(PREFIX + key)
        return None if text is None else text.strip()

    def _fail(self, key: str, text: str, instead: str) -> None:
        self._faults.append(Fault(annotation_field(key), INVALID, f"{shown(text)}: {instead}"))

    def _boolean(self, key: str) -> bool | None:
        text = self._get(key)
        value = None if text is None else parse_boolean(text)
        if text is not None and value is None:
            self._fail(key, text, "write true or false")
        return value

    def _switch(self, key: str, otherwise: bool) -> bool:
        """`on` or `off`; `otherwise` for what is neither."""
        text = self._get(key)
        if text is None or text in ("on", "off"):
            return text == "on"
        self._fail(key, text, f"write on or off; until then it counts as {'on' if otherwise else 'off'}")
        return otherwise

    def _depth(self, key: str) -> int:
        text = self._get(key)
        if text is None:
            return 1
        if text.isascii() and text.isdigit() and len(text) <= 3 and 1 <= int(text) <= MOST_DEPTH:
            return int(text)
        self._fail(key, text, f"write a whole number from 1 to {MOST_DEPTH}; until then it counts as 1")
        return 1

    def _secret(self, key: str) -> SecretName | None:
        """A Secret in the namespace of the Ingress, None for none or another one."""
        text = self._get(key)
        if text is None:
            return None
        namespace, slash, name = text.partition("/")
        if not slash and not subdomain_fault(text):
            self._fail(key, text, f"write the namespace too, {self._namespace}/{text}")
        elif label_fault(namespace) or subdomain_fault(name):
            self._fail(key, text, "write namespace/name of a Secret")
        elif namespace != self._namespace:
            self._fail(key, text, f"an Ingress may only use Secrets of its own namespace, {self._namespace}")
        else:
            return SecretName(namespace, name)
        return None

    # --- clients

    def _client_auth(self) -> ClientAuth | None:
        if self._get("auth-tls-secret") is None:
            for key in sorted(KEYS):
                if key.startswith("auth-tls-") and self._get(key) is not None:
                    self._without_secret(key)
            return None
        before = len(self._faults)
        trust = self._secret("auth-tls-secret")
        mode = self._get("auth-tls-verify-client") or ClientAuthMode.ON.value
        if mode == "off":
            return None
        if mode not in tuple(ClientAuthMode):
            self._fail("auth-tls-verify-client", mode, "write on, off, optional or optional_no_ca")
            mode = ClientAuthMode.ON.value
        common_names = tuple(self._common_names())
        error_page = self._error_page()
        return ClientAuth(
            mode=ClientAuthMode(mode),
            trust=trust,
            depth=self._depth("auth-tls-verify-depth"),
            pass_certificate=self._boolean("auth-tls-pass-certificate-to-upstream") or False,
            common_names=common_names,
            error_page=error_page,
            broken=len(self._faults) > before,
        )

    def _without_secret(self, key: str) -> None:
        message = (
            f"{key} has no effect without auth-tls-secret, which names the Secret with the certificate authorities"
        )
        self._faults.append(Fault(annotation_field(key), NO_EFFECT, message, Severity.WARNING))

    def _common_names(self) -> Iterator[str]:
        """The names that the alternatives of `CN=(a|b)` come to."""
        key = "auth-tls-match-cn"
        text = self._get(key)
        if text is None:
            return
        found = _COMMON_NAME.fullmatch(text)
        names = _alternatives(found["names"]) if found is not None else None
        if not names or "" in names:
            self._fail(key, text, "write CN=name or CN=(name|other), where `.` stands for any one character")
        else:
            yield from names

    def _error_page(self) -> str:
        text = self._get("auth-tls-error-page")
        if text is None or _ERROR_PAGE.fullmatch(text):
            return text or ""
        self._fail("auth-tls-error-page", text, "write a URL as https://host/path, or a path")
        return ""

    # --- upstreams

    def _https(self) -> bool | None:
        text = self._get("backend-protocol")
        if text is None:
            return None
        match text.upper():
            case "HTTP":
                return False
            case "HTTPS":
                return True
            case name if name in _OTHER_PROTOCOLS:
                self._fail("backend-protocol", text, "only HTTP and HTTPS are supported; it counts as HTTP")
            case _:
                self._fail("backend-protocol", text, "write HTTP or HTTPS; until then it counts as HTTP")
        return False

    def _upstream(self, https: bool | None) -> UpstreamTls:
        written = [key for key in sorted(KEYS) if key.startswith("proxy-ssl-") and self._get(key) is not None]
        if https is False:
            for key in written:
                message = (
                    f"{key} has no effect: connections to the Service are not encrypted; write backend-protocol HTTPS"
                )
                self._faults.append(Fault(annotation_field(key), NO_EFFECT, message, Severity.WARNING))
            return UpstreamTls("")
        secret = self._secret("proxy-ssl-secret")
        verify = self._switch("proxy-ssl-verify", otherwise=True)
        if verify and self._get("proxy-ssl-secret") is None:
            message = (
                "without proxy-ssl-secret, a Secret with ca.crt, nothing can be verified: requests are answered 502"
            )
            self._faults.append(Fault(annotation_field("proxy-ssl-verify"), INVALID, message))
        # A Secret that must not be used is no reason to go without: nothing then has `trust`, and nobody is trusted.
        refused = secret is None and self._get("proxy-ssl-secret") is not None
        return UpstreamTls(
            self._name(),
            send_name=self._switch("proxy-ssl-server-name", otherwise=True),
            verify=verify or refused,
            trust=secret,
            certificate=secret,
            depth=self._depth("proxy-ssl-verify-depth"),
            protocols=self._protocols(),
            ciphers=self._ciphers(),
        )

    def _name(self) -> str:
        text = (self._get("proxy-ssl-name") or "").lower()
        if text and subdomain_fault(text):
            self._fail("proxy-ssl-name", text, "write a DNS name; until then that of the Service is used")
            return ""
        return text

    def _protocols(self) -> tuple[str, ...]:
        key, usual = "proxy-ssl-protocols", UpstreamTls("").protocols
        text = self._get(key)
        if text is None:
            return usual
        wanted = [PROTOCOLS.index(word) for word in text.split() if word in PROTOCOLS]
        if len(wanted) < len(text.split()) or not wanted:
            self._fail(key, text, f"write some of {' '.join(PROTOCOLS)}; until then {' '.join(usual)} are used")
            return usual
        if len(set(wanted)) <= max(wanted) - min(wanted):
            self._fail(key, text, f"leave none out in between; until then {' '.join(usual)} are used")
            return usual
        return PROTOCOLS[min(wanted) : max(wanted) + 1]

    def _ciphers(self) -> str:
        text = self._get("proxy-ssl-ciphers")
        if text is None or selects_ciphers(text):
            return text or ""
        self._fail("proxy-ssl-ciphers", text, "write an OpenSSL list of ciphers that there are, separated by colons")
        return ""


def annotation_field(key: str) -> str:
    """The place of an annotation of ingress-nginx; `key` is without prefix."""
    return field_of(PREFIX + key)


def _alternatives(text: str) -> list[str] | None:
    """The texts that a pattern of letters, `(`, `|` and `)` stands for; None for one that is malformed or stands for
    too many."""
    outer: list[tuple[list[str], list[str]]] = []
    done: list[str] = []
    current = [""]
    for token in _TOKENS.findall(text):
        more: Sequence[str] = (token,)
        if token == "(":
            outer.append((done, current))
            done, current = [], [""]
            continue
        if token == "|":
            done, current = [*done, *current], [""]
            continue
        if token == ")":
            if not outer:
                return None
            more = [*done, *current]
            done, current = outer.pop()
        if len(done) + len(current) * len(more) > MOST_COMMON_NAMES:
            return None
        current = [before + after for before in current for after in more]
    return [*done, *current] if not outer else None
