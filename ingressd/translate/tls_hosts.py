"""What all Ingresses say of TLS -> TLS hosts, and the certificates and trust bundles that are needed.

Ingresses come oldest first. Who names a Secret for a host first has it, and so with the certificates that clients have
to show: both hold for a host as a whole, whichever Ingress a path belongs to. Only hosts that an Ingress has rules for
can be claimed, so that nobody sets the certificate of somebody else's host.

An example. One Ingress has a rule for `*.example.com` and a Secret for it, another a rule for `a.example.com` and
`auth-tls-secret`. Connections that name `b.example.com` find the TLS host of the wildcard: its certificate, and clients
show nothing. `a.example.com` gets a TLS host of its own, with what its clients must show; its certificate, of which
nobody says anything, is that of the wildcard. Were there no second Ingress, but `a.example.com` among the hosts of the
first one's `spec.tls`, with another Secret, it would get a TLS host with that certificate: its requests are those of
the wildcard, and a rule for that is enough to claim it, as long as nobody has a rule for the very host (`own`).
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from ingressd.model import (
    Certificate,
    ClientAuth,
    ClientAuthMode,
    ClusterKey,
    ObjectRef,
    Problem,
    SecretName,
    Severity,
    TlsHost,
    TrustBundle,
)
from ingressd.resources import Ingress, Store
from ingressd.resources.finding import listing, shown
from ingressd.translate.certificates import CERTIFICATE
from ingressd.translate.keyring import NOT_COVERED, Flaw, Keyring, set_apart
from ingressd.translate.options import Options
from ingressd.translate.tls_annotations import TlsAnnotations, annotation_field

CONFLICT = "TLSConflict"
WITHOUT_RULE = "TLSHostWithoutRule"

DEFAULT_PLACE = "/default"
"""Where the keyring keeps the default certificate."""
_CLIENT_PLACE = "/client/"


class Resolved(NamedTuple):
    """Everything in a Snapshot that depends on Secrets, and its Problems. `due` is when the time of a certificate
    begins or ends next, in seconds since 1970."""

    certificates: tuple[Certificate, ...] = ()
    trust_bundles: tuple[TrustBundle, ...] = ()
    tls_hosts: tuple[TlsHost, ...] = ()
    default_certificate: SecretName | None = None
    problems: tuple[Problem, ...] = ()
    due: int | None = None


class _Claim(NamedTuple):
    """An entry of `spec.tls` that names a Secret. `named`: it lists its hosts."""

    ingress: ObjectRef
    secret: SecretName
    field: str
    named: bool = True
    own: bool = True
    """Whether a rule of the Ingress is for this very host, and not only for one that includes it."""


class _Trust(NamedTuple):
    """An annotation that names a Secret. `authorities`: they are needed; else it may hold a certificate only."""

    ingress: ObjectRef
    secret: SecretName
    field: str
    authorities: bool
    of_clients: bool


class TlsHosts:
    """All that is said of TLS. `problems` gets what no Secret can change."""

    def __init__(self, options: Options, problems: list[Problem]) -> None:
        self._options = options
        self._problems = problems
        self._claims: dict[str, _Claim] = {}
        self._blocks: dict[str, bool] = {}
        """Hosts that `spec.tls` is for, with a Secret or without, and whether a rule of that Ingress is for this very
        host."""
        self._client_auths: dict[str, tuple[ObjectRef, ClientAuth]] = {}
        self._trusts: dict[tuple[ObjectRef, str], _Trust] = {}
        self.passthrough: Mapping[str, ClusterKey] = {}
        """By host; set when the routes are known."""
        self._default = _default_secret(options, problems)
        self._names: Sequence[str] = ()

    # --- what Ingresses say

    def add(self, ingress: Ingress, said: TlsAnnotations) -> None:
        """Takes an Ingress, which is newer than those added before."""
        rules = list(dict.fromkeys(rule.host for rule in ingress.spec.rules)) or [""]
        listed = {host.lower() for tls in ingress.spec.tls for host in tls.hosts}
        for at, tls in enumerate(ingress.spec.tls):
            named = bool(tls.hosts)
            hosts = [host.lower() for host in tls.hosts] or [host for host in rules if host not in listed]
            strangers = [host for host in hosts if not any(_serves(rule, host) for rule in rules)]
            if strangers:
                message = f"no rule of this Ingress is for {listing(strangers)}, so nothing here is done for that host"
                field = f"spec.tls[{at}].hosts"
                self._problems.append(Problem(ingress.ref, WITHOUT_RULE, message, field, Severity.WARNING))
            for host in hosts:
                if host in strangers:
                    continue
                own = host in rules
                self._blocks[host] = own or self._blocks.get(host, False)
                if tls.secret_name:
                    secret = SecretName(ingress.namespace, tls.secret_name)
                    self._claim(host, _Claim(ingress.ref, secret, f"spec.tls[{at}].secretName", named, own))
        self._add_trusts(ingress, said)
        if said.client_auth is not None:
            for host in rules:
                self._claim_client_auth(ingress.ref, host, said.client_auth)

    def _claim(self, host: str, claim: _Claim) -> None:
        former = self._claims.setdefault(host, claim)
        if claim.own and not former.own:
            self._claims[host] = claim
        elif former.secret != claim.secret and claim.named:
            owner = f"{former.ingress}, {former.field}"
            message = f"the certificate of {shown(host)} comes from Secret {former.secret} ({owner}), which goes first"
            self._problems.append(Problem(claim.ingress, CONFLICT, message, claim.field, Severity.WARNING))

    def _claim_client_auth(self, ref: ObjectRef, host: str, auth: ClientAuth) -> None:
        owner, former = self._client_auths.setdefault(host, (ref, auth))
        if former != auth:
            named = shown(host) if host else "all hosts"
            message = f"what clients of {named} have to show is said by {owner}, which goes first"
            field = annotation_field("auth-tls-secret")
            self._problems.append(Problem(ref, CONFLICT, message, field))

    def _add_trusts(self, ingress: Ingress, said: TlsAnnotations) -> None:
        if (auth := said.client_auth) is not None and auth.trust is not None:
            field = annotation_field("auth-tls-secret")
            needed = auth.mode is not ClientAuthMode.OPTIONAL_NO_CA
            self._trusts[ingress.ref, field] = _Trust(ingress.ref, auth.trust, field, needed, True)
        if said.upstream.trust is not None:
            field = annotation_field("proxy-ssl-secret")
            self._trusts[ingress.ref, field] = _Trust(
                ingress.ref, said.upstream.trust, field, said.upstream.verify, False
            )

    # --- what others ask

    def has_block(self, host: str) -> bool:
        """Whether a request for this host may count on TLS: some `spec.tls` is for it, or for a wildcard over it."""
        return host in self._blocks or _wildcard(host) in self._blocks

    def asks_clients(self, host: str) -> bool:
        """Whether nobody gets a response from this host over TLS without a certificate."""
        _, auth = self._client_auths.get(host, (None, None))
        return auth is not None and auth.demands_certificate

    def references(self) -> Iterator[ObjectRef]:
        """The Secrets that are named."""
        for claim in self._claims.values():
            yield _ref(claim.secret)
        for trust in self._trusts.values():
            yield _ref(trust.secret)
        if self._default is not None:
            yield _ref(self._default)

    def set_names(self, names: Sequence[str]) -> None:
        """Says which virtual hosts there are. None of them is for those to claim whose rules are for a wider one: their
        requests go to others."""
        self._names = names
        for host in names:
            if self._blocks.get(host) is False:
                del self._blocks[host]
            claim = self._claims.get(host)
            if claim is not None and not claim.own:
                del self._claims[host]
                message = f"{shown(host)} has rules of its own, in other Ingresses: this certificate is not used for it"
                self._problems.append(Problem(claim.ingress, CONFLICT, message, claim.field, Severity.WARNING))

    # --- with the Secrets

    def resolve(self, store: Store, keyring: Keyring, now: int | None) -> Resolved:
        """The state of TLS with the Secrets as they are now. `now` is in seconds since 1970; without it, no certificate
        is too old or too young."""
        resolving = _Resolving(store, keyring, now)
        certificates = {
            host: found for host, claim in self._claims.items() if (found := resolving.host(host, claim)) is not None
        }
        resolving.default(self._default, self._options.fallback_certificate)
        for trust in self._trusts.values():
            resolving.trust(trust)
        hosts = tuple(self._tls_hosts(resolving.settled(certificates)))
        return resolving.result(hosts)

    def _tls_hosts(self, certificates: Mapping[str, SecretName]) -> Iterator[TlsHost]:
        """A host that something is said of; and one of which nothing is said, if a wider one would speak for it. From a
        wider one a virtual host has the certificate, but not what clients must show. A name that is no virtual host
        has that too: its requests are those of the wider one, its `speaker`."""
        all_needed = self._options.ssl_reject_handshake
        asking = self._client_auths.keys() | self.passthrough.keys()
        names = set(self._names)
        for host in sorted({*names, *certificates, *asking}):
            wider = _wildcard(host)
            said = host in certificates or host in asking
            if said or all_needed or (host and not asking.isdisjoint(("", wider))):
                speaker = host if host in names else next((one for one in (wider, "") if one in names), host)
                auth = self._client_auths.get(speaker)
                certificate = certificates.get(host) or certificates.get(wider)
                if certificate is None and host:
                    certificate = certificates.get("")
                yield TlsHost(host, certificate, auth[1] if auth else None, self.passthrough.get(speaker))


class _Resolving:
    """One look at all Secrets."""

    def __init__(self, store: Store, keyring: Keyring, now: int | None) -> None:
        self._store = store
        self._keyring = keyring
        self._now = now
        self._places: dict[str, Certificate] = {}
        self._bundles: dict[SecretName, TrustBundle] = {}
        self._asked: set[SecretName] = set()
        self._asked_bundles: set[SecretName] = set()
        self._flawed: defaultdict[tuple[_Claim, Flaw, str], list[str]] = defaultdict(list)
        """What is wrong, with what happens instead, and to which hosts."""
        self._useful: set[_Claim] = set()
        """Those whose Secret serves at least one host."""
        self._problems: list[Problem] = []
        self._times: set[int] = set()

    def host(self, host: str, claim: _Claim) -> Certificate | None:
        """The certificate of a host; None where that is the default one."""
        chosen, flaw = self._choose(claim.secret, host)
        if flaw is None:
            self._useful.add(claim)
        else:
            if chosen is None:
                instead = "the default certificate is used"
            elif chosen is self._keyring.certificate(self._store, claim.secret):
                instead = "it is used all the same"
            else:
                instead = "the certificate from before stays in use"
            self._flawed[claim, flaw, instead].append(host)
        return chosen

    def default(self, name: SecretName | None, fallback: Certificate | None) -> None:
        """Finds the default certificate: that of a Secret, else `fallback`."""
        if name is not None:
            chosen, flaw = self._choose(name, DEFAULT_PLACE)
            if flaw is not None:
                instead = "the one from before stays in use" if chosen is not None else "one made here is used"
                message = f"{flaw.message}, and --default-ssl-certificate names it: {instead}"
                self._problems.append(Problem(_ref(name), flaw.reason, message))
        if fallback is not None:
            self._places.setdefault(DEFAULT_PLACE, fallback)

    def trust(self, trust: _Trust) -> None:
        """Finds what an annotation names a Secret for: authorities to verify clients or endpoints with, and for
        endpoints a certificate to show them, if the Secret is to have one."""
        name = trust.secret
        flaws = [self._find_authorities(name)] if trust.authorities else []
        lacking = False
        if not trust.of_clients and self._may_have_certificate(name):
            shown_to_endpoints, flaw = self._choose(name, f"{_CLIENT_PLACE}{name}")
            lacking = shown_to_endpoints is None
            flaws.append(flaw)
        if trust.authorities and name not in self._bundles:
            instead = "nobody can be verified"
        else:
            instead = "no certificate is shown to endpoints" if lacking else "what was there before stays in use"
        # A Secret that is missing is a flaw for both, and said once.
        for each in dict.fromkeys(filter(None, flaws)):
            self._problems.append(Problem(trust.ingress, each.reason, f"{each.message}: {instead}", trust.field))

    def _find_authorities(self, name: SecretName) -> Flaw | None:
        found = self._keyring.bundle(self._store, name)
        self._asked_bundles.add(name)
        if (bundle := self._keyring.bundles.get(name)) is not None:
            self._bundles[name] = bundle
        return found if isinstance(found, Flaw) else None

    def _may_have_certificate(self, name: SecretName) -> bool:
        """A Secret with authorities only is as good; of one that is missing nobody knows."""
        secret = self._store.secret(name.namespace, name.name)
        return secret is None or CERTIFICATE in (*secret.data, *secret.string_data)

    def settled(self, chosen: Mapping[str, Certificate]) -> dict[str, SecretName]:
        """The certificates of the hosts by name. Where a Secret's former certificate is still needed beside the one it
        has now, it gets another name."""
        current: dict[SecretName, Certificate] = {}
        for name in self._asked:
            found = self._keyring.certificate(self._store, name)
            if not isinstance(found, Flaw):
                current[name] = found
        names: dict[str, SecretName] = {}
        for place, certificate in list(self._places.items()):
            holder = current.setdefault(certificate.name, certificate)
            if holder != certificate:
                certificate = self._places[place] = set_apart(certificate)
            if place in chosen:
                names[place] = certificate.name
        return names

    def result(self, hosts: tuple[TlsHost, ...]) -> Resolved:
        """All of it. From now on the keyring keeps what is in use."""
        self._keyring.keep(dict(self._places), self._asked, self._asked_bundles)
        certificates = {certificate.name: certificate for certificate in self._places.values()}
        default = self._places.get(DEFAULT_PLACE)
        later = [time for time in self._times if self._now is not None and time > self._now]
        return Resolved(
            tuple(certificates[name] for name in sorted(certificates)),
            tuple(self._bundles[name] for name in sorted(self._bundles)),
            hosts,
            default.name if default is not None else None,
            (*self._problems, *self._host_problems()),
            min(later, default=None),
        )

    def _choose(self, name: SecretName, place: str) -> tuple[Certificate | None, Flaw | None]:
        self._asked.add(name)
        chosen, flaw = self._keyring.choose(self._store, name, place, self._now)
        found = self._keyring.certificate(self._store, name)
        for certificate in (chosen, found):
            if isinstance(certificate, Certificate):
                self._times.update((certificate.not_before, certificate.not_after))
        if chosen is not None:
            self._places[place] = chosen
        return chosen, flaw

    def _host_problems(self) -> Iterator[Problem]:
        for (claim, flaw, instead), hosts in self._flawed.items():
            if flaw.reason == NOT_COVERED and not claim.named and claim in self._useful:
                continue  # it was left to the certificate for which hosts it is
            named = listing([shown(host) if host else "all hosts without one" for host in sorted(hosts)])
            message = f"{flaw.message}: {instead} for {named}"
            yield Problem(claim.ingress, flaw.reason, message, claim.field)


def _default_secret(options: Options, problems: list[Problem]) -> SecretName | None:
    wanted = options.default_ssl_certificate
    if not wanted:
        return None
    namespace, slash, name = wanted.partition("/")
    if namespace and slash and name:
        return SecretName(namespace, name)
    message = f"--default-ssl-certificate is {shown(wanted)}: write namespace/name"
    problems.append(Problem(ObjectRef("Secret", "", wanted), "InvalidValue", message))
    return None


def _ref(name: SecretName) -> ObjectRef:
    return ObjectRef("Secret", name.namespace, name.name)


def _wildcard(host: str) -> str:
    """The wildcard over a host; `*.` and nothing for one that has none."""
    return f"*.{host.partition('.')[2]}" if not host.startswith("*") else "*."


def _serves(rule: str, host: str) -> bool:
    """Whether a rule for the host `rule` (empty: for all) may lead requests for `host` to its Ingress."""
    return not rule or rule == host or (rule.startswith("*.") and rule == _wildcard(host))
