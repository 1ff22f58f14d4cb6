"""What was read of Secrets, and what of it is in use.

Each Secret is read once, for as long as it does not change. And what is in use stays in use until there is something
better: a Secret that goes away, is broken by an edit, or is not there yet when an Ingress begins to name it, takes no
certificate from a host that has one. That is why a keyring outlives a translation.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple, TypeVar

import msgspec

from ingressd.model import Certificate, SecretName, TrustBundle
from ingressd.resources import Secret, Store
from ingressd.translate.certificates import Unusable, covers, read_certificate, read_trust_bundle

SECRET_NOT_FOUND = "SecretNotFound"
UNUSABLE = "SecretNotUsable"
EXPIRED = "CertificateExpired"
NOT_YET_VALID = "CertificateNotYetValid"
NOT_COVERED = "HostNotCovered"

FORMER = "#"
"""Begins what follows the name of a Secret in that of a certificate it held before: no Secret's name has it."""

T = TypeVar("T")


class Flaw(NamedTuple):
    """Why a Secret does not serve: a sentence to be followed by what happens instead."""

    reason: str
    message: str


class Keyring:
    """Certificates and trust bundles. One for the life of a controller."""

    def __init__(self) -> None:
        self._certificates: dict[SecretName, tuple[Secret, Certificate | Flaw]] = {}
        self._bundles: dict[SecretName, tuple[Secret, TrustBundle | Flaw]] = {}
        self.places: dict[str, Certificate] = {}
        """By host, or another place, what is in use."""
        self.bundles: dict[SecretName, TrustBundle] = {}
        """The same of trust bundles."""

    def certificate(self, store: Store, name: SecretName) -> Certificate | Flaw:
        """What the Secret holds now."""
        return _read(store, name, self._certificates, read_certificate)

    def bundle(self, store: Store, name: SecretName) -> TrustBundle | Flaw:
        """The same of the authorities in it. Where that is a Flaw, those it had before stay in use."""
        found = _read(store, name, self._bundles, read_trust_bundle)
        if isinstance(found, TrustBundle):
            self.bundles[name] = found
        return found

    def choose(
        self, store: Store, name: SecretName, place: str, now: int | None
    ) -> tuple[Certificate | None, Flaw | None]:
        """What to use in a place that shall have the certificate of a Secret, and what is wrong with that. A place is a
        host, which the certificate has to cover, or anything that is empty or begins with `/`. `now` is in seconds
        since 1970; None if nobody knows."""
        found = self.certificate(store, name)
        former = self.places.get(place)
        if former is not None and former.name.namespace != name.namespace:
            former = None  # whose it was is nothing to whose it is now
        if isinstance(found, Flaw):
            return former, found
        host = "" if place.startswith("/") else place
        if host and not covers(found, host):
            names = ", ".join(found.names[:5]) or "no DNS name"
            flaw = Flaw(NOT_COVERED, f"the certificate of Secret {name} is for {names} only")
            return (former if former is not None and covers(former, host) else None), flaw
        late = _untimely(found, now)
        if late is not None and former is not None and _untimely(former, now) is None:
            return former, late
        return found, late

    def keep(self, places: dict[str, Certificate], certificates: set[SecretName], bundles: set[SecretName]) -> None:
        """These are in use from now on, and Secrets of these names are asked for."""
        self.places = places
        self.bundles = {name: bundle for name, bundle in self.bundles.items() if name in bundles}
        self._bundles = {name: one for name, one in self._bundles.items() if name in bundles}
        self._certificates = {name: one for name, one in self._certificates.items() if name in certificates}


def set_apart(certificate: Certificate) -> Certificate:
    """A certificate that a Secret held before, with a name of its own beside the one it holds now."""
    secret = secret_name(certificate.name)
    name = SecretName(secret.namespace, f"{secret.name}{FORMER}{certificate.serial_number}")
    return msgspec.structs.replace(certificate, name=name)


def secret_name(name: SecretName) -> SecretName:
    """The Secret that a certificate comes from."""
    return SecretName(name.namespace, name.name.partition(FORMER)[0])


def _read(
    store: Store,
    name: SecretName,
    known: dict[SecretName, tuple[Secret, T | Flaw]],
    read: Callable[[Secret], T],
) -> T | Flaw:
    secret = store.secret(name.namespace, name.name)
    if secret is None:
        known.pop(name, None)
        return Flaw(SECRET_NOT_FOUND, f"there is no Secret {name}")
    former = known.get(name)
    if former is not None and (former[0] is secret or former[0] == secret):
        return former[1]
    try:
        found: T | Flaw = read(secret)
    except Unusable as why:
        found = Flaw(UNUSABLE, f"Secret {name} {why}")
    known[name] = (secret, found)
    return found


def _untimely(certificate: Certificate, now: int | None) -> Flaw | None:
    if now is None:
        return None
    if now >= certificate.not_after:
        when = _date(certificate.not_after)
        return Flaw(EXPIRED, f"the certificate of Secret {secret_name(certificate.name)} has expired on {when}")
    if now < certificate.not_before:
        when = _date(certificate.not_before)
        return Flaw(
            NOT_YET_VALID, f"the certificate of Secret {secret_name(certificate.name)} is not valid before {when}"
        )
    return None


def _date(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"
