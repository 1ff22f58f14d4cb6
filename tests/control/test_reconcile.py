"""Changes of objects and addresses go in, what to publish comes out."""

from typing import Any

import msgspec

from ingressd.control.reconcile import Reconciler
from ingressd.model import Endpoint, ObjectRef, Problem, Severity, Update
from ingressd.resources import parse
from ingressd.source.base import Changes
from ingressd.translate import Options

CLASS = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "IngressClass",
    "metadata": {"name": "ingressd"},
    "spec": {"controller": "ingressd.dev/ingress-controller"},
}
FAR = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "far", "namespace": "shop"},
    "spec": {"type": "ExternalName", "externalName": "far.example"},
}
FAR_REF = ObjectRef("Service", "shop", "far")
SOURCE_PROBLEM = Problem(ObjectRef("File", "", "a.yaml"), "NotYAML", "no", file="a.yaml", line=1)


def ingress(name: str, host: str, class_name: str = "ingressd", tls: str = "", **annotations: str) -> dict[str, Any]:
    backend = {"service": {"name": "far", "port": {"number": 80}}}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": name, "namespace": "shop", "annotations": annotations},
        "spec": {
            "ingressClassName": class_name,
            "rules": [{"host": host, "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}],
            **({"tls": [{"hosts": [host], "secretName": tls}]} if tls else {}),
        },
    }


def changes(*raw: dict[str, Any], removals: tuple[ObjectRef, ...] = (), problems: tuple[Problem, ...] = ()) -> Changes:
    return Changes(tuple(found for one in raw for found in parse(one).resources), removals, problems)


def nowhere(_: str) -> tuple[str, ...]:
    return ()


def placed(problem: Problem) -> Problem:
    return msgspec.structs.replace(problem, file="here.yaml", line=3)


def reconciler(*raw: dict[str, Any]) -> Reconciler:
    made = Reconciler(Options(), placed)
    made.take(changes(CLASS, FAR, *raw))
    made.rebuild()
    return made


def published(made: Reconciler) -> Update:
    update = made.publish(nowhere, {})
    assert update is not None
    return update


def test_the_first_is_published_even_if_there_is_nothing() -> None:
    made = Reconciler(Options(), placed)
    made.rebuild()
    assert published(made) == Update(generation=1, full=True)
    assert made.publish(nowhere, {}) is None


def test_generations_count_what_changes_and_nothing_else() -> None:
    made = reconciler(ingress("web", "a.example"))
    assert published(made).generation == 1
    assert not made.take(changes(ingress("web", "a.example"))), "the same object is no change"
    assert made.take(changes(ingress("other", "b.example")))
    made.rebuild()
    update = published(made)
    assert (update.generation, update.full) == (2, False)
    assert [host.host for host in update.virtual_hosts] == ["b.example"]
    assert made.take(changes(removals=(ObjectRef("Ingress", "shop", "other"),)))
    made.rebuild()
    assert published(made).removed_hosts == ("b.example",)
    assert made.published.generation == 3
    assert made.published.ingresses() == {("shop", "web")}


def test_addresses_become_endpoints_without_translating_again() -> None:
    made = reconciler(ingress("web", "a.example"))
    published(made)
    assert made.dns_names() == {"far.example"}
    update = made.publish({"far.example": ("192.0.2.1", "2001:db8::1")}.__getitem__, {})
    assert update is not None
    (cluster,) = update.clusters
    assert cluster.endpoints == (Endpoint("192.0.2.1", 80), Endpoint("2001:db8::1", 80))
    assert not update.virtual_hosts


def test_until_a_name_is_looked_up_a_cluster_keeps_the_endpoints_it_had() -> None:
    """Else each change of the name would be answered with 503 until DNS has answered."""
    made = reconciler(ingress("web", "a.example"))
    known = {"far.example": ("192.0.2.1",)}
    made.publish(lambda name: known.get(name, ()), {})
    former = made.published.snapshot.clusters[0].endpoints
    made.take(changes(FAR | {"spec": {"type": "ExternalName", "externalName": "new.example"}}))
    made.rebuild()
    made.publish(lambda name: known.get(name, ()), {})
    assert made.published.snapshot.clusters[0].dns_name == "new.example"
    assert made.published.snapshot.clusters[0].endpoints == former == (Endpoint("192.0.2.1", 80),)
    known["new.example"] = ("192.0.2.2",)
    made.publish(lambda name: known.get(name, ()), {})
    assert made.published.snapshot.clusters[0].endpoints == (Endpoint("192.0.2.2", 80),)


def test_a_name_that_does_not_exist_gives_no_endpoints_of_another() -> None:
    made = reconciler(ingress("web", "a.example"))
    made.publish({"far.example": ("192.0.2.1",)}.__getitem__, {})
    made.take(changes(FAR | {"spec": {"type": "ExternalName", "externalName": "new.example"}}))
    made.rebuild()
    made.publish(nowhere, {})
    made.publish(nowhere, {"new.example": "the name does not exist (NXDOMAIN)"})
    assert made.published.snapshot.clusters[0].endpoints == ()


def test_problems_come_from_source_translation_and_dns_with_their_places() -> None:
    made = reconciler()
    made.take(changes(ingress("web", "a.example", **{"ingressd.dev/nonsense": "1"}), problems=(SOURCE_PROBLEM,)))
    made.rebuild()
    made.publish(nowhere, {"far.example": "the name does not exist (NXDOMAIN)"})
    by_object = {problem.object: problem for problem in made.problems}
    assert by_object[SOURCE_PROBLEM.object] == SOURCE_PROBLEM
    assert "ingressd.dev/nonsense" in by_object[ObjectRef("Ingress", "shop", "web")].field
    assert by_object[FAR_REF] == Problem(
        FAR_REF,
        "NameNotResolved",
        "far.example: the name does not exist (NXDOMAIN)",
        "spec.externalName",
        Severity.WARNING,
        "here.yaml",
        3,
    )
    assert list(made.problems) == sorted(made.problems)
    # The name resolves again: no other change is needed for the problem to go.
    made.publish(nowhere, {})
    assert FAR_REF not in {problem.object for problem in made.problems}


def test_ingresses_of_others_are_counted_but_not_served() -> None:
    made = reconciler(ingress("theirs", "a.example", class_name="other"))
    published(made)
    assert made.passed_over == (ObjectRef("Ingress", "shop", "theirs"),)
    assert made.published.snapshot.virtual_hosts == ()
    assert made.objects() == {"IngressClass": 1, "Service": 1, "Ingress": 1}


def test_equal_snapshots_have_equal_checksums() -> None:
    one, same, other = (reconciler(ingress("web", host)) for host in ("a.example", "a.example", "b.example"))
    for made in (one, same, other):
        published(made)
    assert one.published.checksum == same.published.checksum
    assert one.published.checksum != other.published.checksum
