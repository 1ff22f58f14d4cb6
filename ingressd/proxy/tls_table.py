"""Which certificate a client gets: TLS hosts by server name, and an SSLContext for each certificate and client policy.

Contexts are made when the first connection asks for one and dropped when what they were made of is replaced;
connections under way keep theirs. A context costs 20 KiB and a millisecond, so only the CONTEXTS used last are kept.
"""

import hashlib
import logging
import os
import ssl
import warnings
from collections.abc import Iterable, Sequence
from functools import cached_property

from ingressd.model import (
    Certificate,
    ClientAuth,
    ClientAuthMode,
    SecretName,
    TlsHost,
    TlsSettings,
    TrustBundle,
    Update,
    UpstreamTls,
)
from ingressd.proxy.libssl import Libssl
from ingressd.proxy.tickets import ContextKeys, find_library

CONTEXTS = 1024
"""Certificates with a context at a time, in one worker."""

PROTOCOLS = ["http/1.1", "http/1.0"]
"""ALPN (RFC 7301), as nginx offers them."""

VERSIONS = {
    "TLSv1": ssl.TLSVersion.TLSv1,
    "TLSv1.1": ssl.TLSVersion.TLSv1_1,
    "TLSv1.2": ssl.TLSVersion.TLSv1_2,
    "TLSv1.3": ssl.TLSVersion.TLSv1_3,
}

_log = logging.getLogger(__name__)


class ServerContext:
    """What connections share that are made with one certificate, for hosts that ask the same of their clients."""

    __slots__ = ("_exact", "_wildcards", "certificate", "client_auth", "context", "keys", "library")

    def __init__(
        self,
        certificate: Certificate,
        client_auth: ClientAuth | None,
        context: ssl.SSLContext,
        library: Libssl | None,
        keys: ContextKeys | None,
    ) -> None:
        self.certificate = certificate.name
        self.client_auth = client_auth
        self.context = context
        self.library = library
        self.keys = keys
        self._exact = frozenset(name.encode() for name in certificate.names if not name.startswith("*."))
        self._wildcards = frozenset(name[1:].encode() for name in certificate.names if name.startswith("*."))

    def covers(self, host: bytes) -> bool:
        """Whether the certificate is for this host (normal form); a wildcard covers one label."""
        dot = host.find(b".")
        return host in self._exact or (dot > 0 and host[dot:] in self._wildcards)


class TlsTable:
    """All that a worker knows of certificates."""

    def __init__(self, settings: TlsSettings) -> None:
        self.settings = settings
        self.generation = 0
        """Changes with every update that is about TLS."""
        self._hosts: dict[str, TlsHost] = {}
        self._certificates: dict[SecretName, Certificate] = {}
        self._bundles: dict[SecretName, TrustBundle] = {}
        self._default: SecretName | None = None
        self._keys: tuple[bytes, ...] = ()
        self._contexts: dict[tuple[SecretName, ClientAuth | None], ServerContext] = {}
        """The one used last at the end."""
        self._client_contexts: dict[UpstreamTls, ssl.SSLContext] = {}
        self._told: set[tuple[str, str]] = set()

    @cached_property
    def library(self) -> Libssl | None:
        """What Python's `ssl` cannot do; looked for, with a self-test, when it is first needed."""
        return find_library()

    def apply(self, update: Update) -> None:
        """Follows an update: new connections see it, those there are go on as they began."""
        self._default = update.default_certificate
        self._told.clear()
        if update.full:
            self._hosts, self._certificates, self._bundles = {}, {}, {}
            self._contexts.clear()
            self._client_contexts.clear()
        changed: set[SecretName] = set(update.removed_certificates)
        changed.update(update.removed_trust_bundles)
        for name in update.removed_tls_hosts:
            self._hosts.pop(name, None)
        for host in update.tls_hosts:
            self._hosts[host.host] = host
        for removed in update.removed_certificates:
            self._certificates.pop(removed, None)
        for certificate in update.certificates:
            self._certificates[certificate.name] = certificate
            changed.add(certificate.name)
        for gone in update.removed_trust_bundles:
            self._bundles.pop(gone, None)
        for bundle in update.trust_bundles:
            self._bundles[bundle.name] = bundle
            changed.add(bundle.name)
        if changed:
            self._contexts = {
                key: context
                for key, context in self._contexts.items()
                if key[0] not in changed and (key[1] is None or key[1].trust not in changed)
            }
            self._client_contexts = {
                policy: context
                for policy, context in self._client_contexts.items()
                if policy.trust not in changed and policy.certificate not in changed
            }
        if update.full or changed or update.tls_hosts or update.removed_tls_hosts:
            self.generation += 1

    def renew(self, keys: Iterable[bytes]) -> None:
        """Takes new keys of session tickets, the one for new tickets first."""
        self._keys = tuple(keys)
        for context in self._contexts.values():
            if context.keys is not None and self._keys:
                context.keys.replace(self._keys)

    def host(self, name: str) -> TlsHost | None:
        """Of a server name (lower case): the exact one, else the wildcard's, else the one for all others."""
        hosts = self._hosts
        found = hosts.get(name)
        if found is None:
            dot = name.find(".")
            if dot > 0:
                found = hosts.get("*" + name[dot:])
            if found is None:
                found = hosts.get("")
        return found

    def demands_certificate(self, host: bytes) -> bool:
        """Whether nobody is served at `host` (normal form) who shows no certificate."""
        found = self.host(host.decode("latin-1"))
        return found is not None and found.client_auth is not None and found.client_auth.demands_certificate

    def trusted(self, client_auth: ClientAuth) -> bool:
        """Whether anybody can be verified, where that is asked."""
        if client_auth.mode is ClientAuthMode.OPTIONAL_NO_CA:
            return not client_auth.broken
        return not client_auth.broken and client_auth.trust in self._bundles

    def certificate(self, host: TlsHost | None) -> Certificate | None:
        """What `host` shows to its clients: its own, else the default one."""
        own = host.certificate if host is not None else None
        if own is None or own not in self._certificates:
            own = self._default
        return self._certificates.get(own) if own is not None else None

    def context(self, host: TlsHost | None) -> ServerContext | None:
        """What a connection to `host` is made with; None, which the log explains, if there is nothing."""
        certificate = self.certificate(host)
        if certificate is None:
            return None
        client_auth = host.client_auth if host is not None else None
        key = (certificate.name, client_auth)
        found = self._contexts.pop(key, None)
        if found is None:
            try:
                found = self._make(certificate, client_auth)
            except (ssl.SSLError, ValueError, OSError) as error:
                _log.error("certificate %s cannot be used: %s", certificate.name, error)
                return None
            if len(self._contexts) >= CONTEXTS:
                del self._contexts[next(iter(self._contexts))]
        self._contexts[key] = found
        return found

    def _make(self, certificate: Certificate, client_auth: ClientAuth | None) -> ServerContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        _limit(context, self.settings.protocols, self.settings.ciphers)
        context.options |= ssl.OP_NO_RENEGOTIATION
        context.set_alpn_protocols(PROTOCOLS)
        # With TLS 1.3 each is a good part of what a handshake costs, and each connection that is resumed gives another.
        context.num_tickets = 1
        _load_certificate(context, certificate)
        library = self.library
        keys = None
        if library is not None:
            library.keep_no_sessions(context)
            library.limit_groups(context)
        if client_auth is None:
            if library is not None and self._keys:
                purpose = hashlib.sha256(certificate.chain).digest()
                keys = ContextKeys(library, context, purpose, self._keys)
        else:
            # What was verified holds for one connection: see `tickets`.
            context.options |= ssl.OP_NO_TICKET
            context.num_tickets = 0
            bundle = self._bundles.get(client_auth.trust) if client_auth.trust is not None else None
            self._ask(context, client_auth, bundle)
        return ServerContext(certificate, client_auth, context, library, keys)

    def _ask(self, context: ssl.SSLContext, client_auth: ClientAuth, bundle: TrustBundle | None) -> None:
        """Has clients asked for their certificates. Those that are not good fail the request, not the handshake, as in
        nginx: so that the client can be told; but the handshake where `libssl` cannot be had."""
        if not self.trusted(client_auth):
            return
        context.verify_mode = ssl.CERT_OPTIONAL
        _load_bundle(context, bundle)
        if self.library is not None:
            with _Memory(bundle.authorities if bundle is not None else b"") as path:
                self.library.ask_for_certificate(context, client_auth.depth, path)

    def upstream_context(self, policy: UpstreamTls) -> ssl.SSLContext | None:
        """What connections to endpoints are made with; None, which the log explains, if they cannot be."""
        found = self._client_contexts.get(policy)
        if found is None:
            try:
                found = self._make_upstream(policy)
            except (ssl.SSLError, ValueError, OSError) as error:
                self.tell(policy.name, str(error))
                return None
            if len(self._client_contexts) >= CONTEXTS:
                del self._client_contexts[next(iter(self._client_contexts))]
            self._client_contexts[policy] = found
        return found

    def tell(self, endpoint: str, detail: str) -> None:
        """Logs why there is no TLS to an endpoint: once until something changes, not with every request."""
        if (endpoint, detail) not in self._told and len(self._told) < CONTEXTS:
            self._told.add((endpoint, detail))
            _log.warning("no TLS to endpoint %s: %s", endpoint, detail)

    def _make_upstream(self, policy: UpstreamTls) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        _limit(context, policy.protocols, policy.ciphers or "DEFAULT")
        # The name is compared by `tls_client`, because it may have to be without being sent.
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        if policy.verify:
            bundle = self._bundles.get(policy.trust) if policy.trust is not None else None
            if bundle is None:
                raise ValueError(f"its certificate cannot be verified without {policy.trust or 'a trust bundle'}")
            context.verify_mode = ssl.CERT_REQUIRED
            _load_bundle(context, bundle)
            if self.library is not None:
                self.library.set_verify_depth(context, policy.depth)
        if policy.certificate is not None:
            # A Secret may hold authorities only; an endpoint that wants to see a certificate refuses by itself.
            certificate = self._certificates.get(policy.certificate)
            if certificate is not None:
                _load_certificate(context, certificate)
        return context


class _Memory:
    """A file in memory, for what OpenSSL takes only by path; private keys never touch a disk."""

    def __init__(self, data: bytes) -> None:
        self._descriptor = os.memfd_create("ingressd")
        left = memoryview(data)
        while left:
            left = left[os.write(self._descriptor, left) :]

    def __enter__(self) -> str:
        return f"/proc/self/fd/{self._descriptor}"

    def __exit__(self, *error: object) -> None:
        os.close(self._descriptor)


def _limit(context: ssl.SSLContext, protocols: Sequence[str], ciphers: str) -> None:
    with warnings.catch_warnings():
        # Where somebody asks for TLS 1.0, that it is old is no news.
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = VERSIONS[protocols[0]]
        context.maximum_version = VERSIONS[protocols[-1]]
    context.set_ciphers(ciphers)


def _load_certificate(context: ssl.SSLContext, certificate: Certificate) -> None:
    with _Memory(certificate.chain + b"\n" + certificate.private_key.value) as path:
        # Without this a key with a password would have OpenSSL ask for it on a terminal.
        context.load_cert_chain(path, password=_no_password)


def _no_password() -> str:
    raise ValueError("its key has a password")


def _load_bundle(context: ssl.SSLContext, bundle: TrustBundle | None) -> None:
    if bundle is None:
        return
    with _Memory(bundle.authorities + b"\n" + bundle.revoked) as path:
        context.load_verify_locations(path)
    if bundle.revoked:
        context.verify_flags |= ssl.VerifyFlags.VERIFY_CRL_CHECK_CHAIN
