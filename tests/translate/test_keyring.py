"""What is in use stays in use until there is something better."""

import datetime
from collections.abc import Sequence

import pytest

from ingressd.control.reconcile import Reconciler
from ingressd.model import SELF_SIGNED, Certificate, Hidden, ObjectRef, Snapshot
from ingressd.resources import Ingress, Secret, parse
from ingressd.source.base import Changes
from ingressd.translate import Options, secret_name
from tests.kit.pki import DAY, Authority, Issued

NOW = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)
SECOND = datetime.timedelta(seconds=1)
CA = Authority()


def secret(name: str, issued: Issued | None, namespace: str = "shop", **more: str) -> Secret:
    values = {"tls.crt": issued.chain.decode(), "tls.key": issued.key.decode()} if issued else {}
    (found,) = parse(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": namespace},
            "stringData": {**values, **more},
        }
    ).resources
    assert isinstance(found, Secret)
    return found


def ingress(
    secret_name: str, hosts: Sequence[str] = ("a.example",), namespace: str = "shop", **annotations: str
) -> Ingress:
    path = {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "web", "port": {"number": 80}}}}
    written = {f"nginx.ingress.kubernetes.io/{key.replace('_', '-')}": value for key, value in annotations.items()}
    (found,) = parse(
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "Ingress",
            "metadata": {"name": "web", "namespace": namespace, "annotations": written},
            "spec": {
                "ingressClassName": "ingressd",
                "tls": [{"hosts": list(hosts), "secretName": secret_name}],
                "rules": [{"host": host, "http": {"paths": [path]}} for host in hosts],
            },
        }
    ).resources
    assert isinstance(found, Ingress)
    return found


def issue(*names: str, start: datetime.datetime = NOW - DAY, end: datetime.datetime = NOW + 30 * DAY) -> Issued:
    return CA.issue(*(names or ("a.example",)), start=start, end=end)


class World:
    """A reconciler, and a clock that stands still."""

    def __init__(self, options: Options | None = None) -> None:
        self.now = NOW
        self.reconciler = Reconciler(options or Options(), lambda problem: problem, lambda: self.now.timestamp())

    def put(self, *resources: Ingress | Secret, gone: Sequence[ObjectRef] = ()) -> Snapshot:
        self.reconciler.take(Changes(resources, tuple(gone)))
        return self.look()

    def look(self) -> Snapshot:
        self.reconciler.rebuild()
        self.reconciler.publish(lambda name: (), {})
        return self.reconciler.published.snapshot

    def serves(self, host: str = "a.example") -> bytes | None:
        snapshot = self.reconciler.published.snapshot
        certificates = {one.name: one for one in snapshot.certificates}
        names = {one.host: one.certificate for one in snapshot.tls_hosts}
        name = names.get(host)
        return certificates[name].chain if name is not None else None

    def reasons(self) -> list[str]:
        return [problem.reason for problem in self.reconciler.problems if problem.reason != "ServiceNotFound"]

    def due(self) -> int | None:
        return self.reconciler.due

    def messages(self) -> str:
        return "\n".join(problem.message for problem in self.reconciler.problems)


@pytest.fixture
def world() -> World:
    return World()


def test_a_renewed_secret_is_used_at_once(world: World) -> None:
    first, second = issue(), issue()
    world.put(ingress("tls"), secret("tls", first))
    assert world.serves() == first.chain
    world.put(secret("tls", second))
    assert world.serves() == second.chain
    assert not world.reasons()


@pytest.mark.parametrize(
    "broken",
    [
        secret("tls", None, **{"tls.crt": "nonsense", "tls.key": "nonsense"}),
        secret("tls", None),
        secret("tls", issue()._replace(key=issue().key)),
        secret("tls", CA.issue("b.example")),
    ],
    ids=["nonsense", "empty", "mismatched", "for-another-host"],
)
def test_a_bad_edit_takes_nothing_away(world: World, broken: Secret) -> None:
    good = issue()
    world.put(ingress("tls"), secret("tls", good))
    world.put(broken)
    assert world.serves() == good.chain
    assert len(world.reasons()) == 1
    assert "the certificate from before stays in use" in world.messages()
    better = issue()
    world.put(secret("tls", better))
    assert world.serves() == better.chain
    assert not world.reasons()


def test_a_removed_secret_and_one_that_is_late(world: World) -> None:
    good, late = issue(), issue()
    world.put(ingress("tls"), secret("tls", good))
    world.put(gone=[ObjectRef("Secret", "shop", "tls")])
    assert world.serves() == good.chain
    assert world.reasons() == ["SecretNotFound"]
    world.put(ingress("other"))
    assert world.serves() == good.chain
    world.put(secret("other", late))
    assert world.serves() == late.chain
    assert not world.reasons()


def test_it_ends_with_the_wish(world: World) -> None:
    world.put(ingress("tls"), secret("tls", issue()))
    world.put(ingress("tls", ["b.example"]))
    assert world.serves() is None
    world.put(ingress("tls"), gone=[ObjectRef("Secret", "shop", "tls")])
    assert world.serves() is None
    assert world.reconciler.published.snapshot.certificates == ()


def test_it_does_not_pass_to_another_namespace(world: World) -> None:
    world.put(ingress("tls"), secret("tls", issue()))
    world.put(ingress("tls", namespace="other"), gone=[ObjectRef("Ingress", "shop", "web")])
    assert world.serves() is None
    assert world.reasons() == ["SecretNotFound"]


def test_two_hosts_may_need_two_versions_of_a_secret(world: World) -> None:
    both, only_b, only_a = issue("a.example", "b.example"), issue("b.example"), issue("a.example")
    world.put(ingress("tls", ["a.example", "b.example"]), secret("tls", both))
    world.put(secret("tls", only_b))
    assert (world.serves("a.example"), world.serves("b.example")) == (both.chain, only_b.chain)
    assert world.reasons() == ["HostNotCovered"]
    assert {secret_name(one.name) for one in world.reconciler.published.snapshot.certificates} == {("shop", "tls")}
    world.put(secret("tls", only_a))
    assert (world.serves("a.example"), world.serves("b.example")) == (only_a.chain, only_b.chain)
    world.put(secret("tls", both))
    assert len(world.reconciler.published.snapshot.certificates) == 1


def test_time_passes(world: World) -> None:
    """A certificate that ends stays in use and is told of; one that has ended or not begun replaces none that holds."""
    short = issue(end=NOW + DAY)
    world.put(ingress("tls"), secret("tls", short))
    assert not world.reasons()
    assert world.due() == int((NOW + DAY).timestamp())
    world.now = NOW + DAY
    world.look()
    assert world.serves() == short.chain
    assert world.reasons() == ["CertificateExpired"]
    assert world.due() is None

    good, future = issue(end=NOW + 9 * DAY), issue(start=NOW + 3 * DAY)
    world.put(secret("tls", good))
    assert not world.reasons()
    for worse, reason in ((short, "CertificateExpired"), (future, "CertificateNotYetValid")):
        world.put(secret("tls", worse))
        assert world.serves() == good.chain
        assert world.reasons() == [reason]
    assert world.due() == int((NOW + 3 * DAY).timestamp())
    world.now = NOW + 3 * DAY
    world.look()
    assert world.serves() == future.chain
    assert not world.reasons()


def test_the_default_certificate() -> None:
    fallback = Certificate(SELF_SIGNED, b"fallback", Hidden(b"key"))
    world = World(Options(default_ssl_certificate="shop/tls", fallback_certificate=fallback))
    world.put(ingress("other"))
    assert world.reconciler.references == (ObjectRef("Secret", "shop", "other"), ObjectRef("Secret", "shop", "tls"))
    assert world.reconciler.published.snapshot.default_certificate == ("", "self-signed")
    assert "one made here is used" in world.messages()
    good = issue("whatever.example")
    world.put(secret("tls", good))
    assert world.reconciler.published.snapshot.default_certificate == ("shop", "tls")
    world.put(secret("tls", None))
    assert world.reconciler.published.snapshot.default_certificate == ("shop", "tls")
    assert "the one from before stays in use" in world.messages()


def test_authorities_stay_too(world: World) -> None:
    asking = ingress("tls", auth_tls_secret="shop/ca")
    world.put(asking, secret("ca", None, **{"ca.crt": CA.pem.decode()}), secret("tls", issue()))
    (bundle,) = world.reconciler.published.snapshot.trust_bundles
    assert bundle.authorities == CA.pem
    world.put(secret("ca", None, **{"ca.crt": "nonsense"}))
    assert world.reconciler.published.snapshot.trust_bundles == (bundle,)
    assert world.reasons() == ["SecretNotUsable"]
    world.put(gone=[ObjectRef("Secret", "shop", "ca")])
    assert world.reconciler.published.snapshot.trust_bundles == (bundle,)
    world.put(secret("ca", None, **{"ca.crt": CA.pem.decode(), "ca.crl": CA.revocations().decode()}))
    (bundle,) = world.reconciler.published.snapshot.trust_bundles
    assert bundle.revoked.startswith(b"-----BEGIN X509 CRL-----")
    world.put(secret("ca", None, **{"ca.crt": CA.pem.decode(), "ca.crl": "nonsense"}))
    assert world.reconciler.published.snapshot.trust_bundles == (bundle,)


def test_changes_of_secrets_translate_nothing_else(world: World) -> None:
    """The routes are the very same objects, and a Secret that nobody names changes nothing at all."""
    world.put(ingress("tls"), secret("tls", issue()))
    before = world.reconciler.published
    world.put(secret("tls", issue()))
    assert world.reconciler.published.snapshot.virtual_hosts is before.snapshot.virtual_hosts
    after = world.reconciler.published
    assert after.generation == before.generation + 1
    world.put(secret("unnamed", issue()))
    assert world.reconciler.published is after


def test_the_same_from_scratch(world: World) -> None:
    """What is reached step by step is what a new controller makes of the same objects."""
    first, second = issue(), issue("b.example")
    world.put(ingress("tls"), secret("tls", first))
    world.put(secret("other", second))
    world.put(ingress("other", ["b.example"]))
    fresh = World()
    fresh.put(ingress("other", ["b.example"]), secret("tls", first), secret("other", second))
    assert fresh.reconciler.published.snapshot == world.reconciler.published.snapshot
    assert fresh.reconciler.published.checksum == world.reconciler.published.checksum


def test_nothing_of_a_key_is_in_problems_or_representations(world: World) -> None:
    one, other = issue(), issue()
    mixed = Issued(one.certificate, one.issuers, other.key)
    world.put(ingress("tls"), secret("tls", mixed), secret("good", one))
    messages = world.messages()
    assert "does not belong" in messages
    snapshot = world.put(ingress("good"))
    body = other.key.splitlines()[1].decode()
    kept = one.key.splitlines()[1].decode()
    for text in (repr(snapshot), str(snapshot), messages, repr(secret("tls", mixed))):
        assert body not in text
        assert kept not in text
