"""All writers together on a small API: what the controller's loop tells them, and what they leave when it ends."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any

import pytest
import pytest_asyncio

from ingressd.control import writers as module
from ingressd.control.election import Times
from ingressd.control.status import AddressSource, StatusWriter
from ingressd.control.writers import ClusterWriters, WritingOptions
from ingressd.control.writing import NoWriters, orphans
from ingressd.model import ObjectRef, Problem
from ingressd.resources import Ingress, parse
from ingressd.source.cluster.api import Api
from tests.control.fake_api import FakeApi, Json, api_at, fake_api
from tests.kit.stream import eventually

LEASE = "/apis/coordination.k8s.io/v1/namespaces/ingress/leases/ingressd-leader"
SERVICE = "/api/v1/namespaces/ingress/services/front"
SLICE = "/apis/discovery.k8s.io/v1/namespaces/ingress/endpointslices/front-1"
ADDRESS = {"ip": "203.0.113.9"}


def ingress(name: str, host: str = "a.example") -> Ingress:
    path = {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "api", "port": {"number": 80}}}}
    raw = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"rules": [{"host": host, "http": {"paths": [path]}}]},
    }
    (made,) = parse(raw).resources
    assert isinstance(made, Ingress)
    return made


def by_ref(*ingresses: Ingress) -> dict[ObjectRef, Ingress]:
    return {one.ref: one for one in ingresses}


class Desk:
    """Writers and the API they write to, with a Service that has an address."""

    def __init__(self, fake: FakeApi, api: Api) -> None:
        self.fake = fake
        self._api = api
        fake.put(SERVICE, spec={"type": "LoadBalancer"}, status={"loadBalancer": {"ingress": [ADDRESS]}})

    def writers(self, pod: str = "pod-a", **more: Any) -> ClusterWriters:
        published = AddressSource(("ingress", "front"))
        settings = {"election": Times(3), "published": published, **more}
        return ClusterWriters(self._api, WritingOptions(pod, "ingress", "ingressd-leader", **settings))

    def put(self, *ingresses: Ingress) -> None:
        for one in ingresses:
            self.fake.put(f"/apis/networking.k8s.io/v1/namespaces/shop/ingresses/{one.name}", spec={}, status={})

    def pods(self, *names: str) -> None:
        endpoints = [{"targetRef": {"kind": "Pod", "name": name}, "conditions": {"ready": True}} for name in names]
        self.fake.put(SLICE, endpoints=endpoints, metadata={"labels": {"kubernetes.io/service-name": "front"}})

    def status(self, one: Ingress) -> object:
        value = self.fake.objects[f"/apis/networking.k8s.io/v1/namespaces/shop/ingresses/{one.name}"]
        return value.get("status", {}).get("loadBalancer", {}).get("ingress")

    def events(self, reason: str) -> list[Json]:
        return [value for value in self.fake.objects.values() if value.get("reason") == reason]

    @property
    def holder(self) -> str:
        return str(self.fake.objects.get(LEASE, {}).get("spec", {}).get("holderIdentity") or "")


@pytest_asyncio.fixture
async def desk(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    monkeypatch.setattr(module, "SETTLE", 0.0)
    async with fake_api() as fake, api_at(fake.url) as api:
        yield Desk(fake, api)


WEB = ingress("web")
PROBLEMS = (Problem(WEB.ref, "ServiceNotFound", "there is no Service"),)


async def test_the_leader_writes_status_and_events(desk: Desk) -> None:
    desk.put(WEB)
    writers = desk.writers()
    async with writers.running():
        writers.take(by_ref(WEB), PROBLEMS)
        await eventually(lambda: desk.status(WEB) == [ADDRESS])
        await eventually(lambda: desk.events("ServiceNotFound") and desk.events("Sync"))
        await eventually(lambda: writers.figures().events == 2)
        figures = writers.figures()
    assert (figures.election, figures.leads, figures.statuses, figures.status_failures) == (
        "ingressd-leader",
        True,
        1,
        0,
    )
    assert desk.holder.startswith("pod-a_")


async def test_who_does_not_lead_writes_nothing(desk: Desk) -> None:
    desk.put(WEB)
    desk.fake.put(LEASE, spec={"holderIdentity": "other", "leaseDurationSeconds": 3600})
    writers = desk.writers()
    async with writers.running():
        writers.take(by_ref(WEB), PROBLEMS)
        await desk.fake.until_asked("GET", "/leases/", 3)
    assert {request.method for request in desk.fake.requests} == {"GET"}
    assert not writers.figures().leads


async def test_a_lead_that_is_taken_away_ends_the_writes_under_way(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    """By who writes another holder into the Lease. The API server sits on a write that could take 10 seconds."""
    desk.put(WEB)
    writers, forever = desk.writers(election=Times(30)), asyncio.Event()
    desk.fake.slow = lambda request: forever if request.path.endswith("/status") else None
    async with writers.running():
        writers.take(by_ref(WEB), ())
        await desk.fake.until_asked("PATCH", "/status")
        desk.fake.put(LEASE, spec={**desk.fake.objects[LEASE]["spec"], "holderIdentity": "other"})
        await eventually(lambda: [request.path[-7:] for request in desk.fake.hung_up] == ["/status"])
        assert not writers.figures().leads
    assert "not leading any more" in caplog.text
    assert "no answer" not in caplog.text
    assert len(desk.fake.asked("PATCH", "/status")) == 1


async def test_changes_are_told_and_what_is_gone_is_not(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("ingressd.control.event_ledger.REPEAT", 0.0)
    other, late = ingress("other"), ingress("late")
    desk.put(WEB, other, late)
    writers = desk.writers()
    async with writers.running():
        writers.take(by_ref(WEB, other), ())
        await eventually(lambda: writers.figures().events == 2)
        writers.take(by_ref(ingress("web", "b.example"), other, late), ())
        await eventually(lambda: desk.status(late) == [ADDRESS])
        await eventually(lambda: writers.figures().events == 4)
    series = {event["regarding"]["name"]: event.get("series", {}).get("count") for event in desk.events("Sync")}
    assert series == {"web": 2, "other": None, "late": None}
    assert not caplog.text


async def test_without_an_address_there_are_events_only(desk: Desk) -> None:
    desk.put(WEB)
    writers = desk.writers(published=None)
    async with writers.running():
        writers.take(by_ref(WEB), PROBLEMS)
        await eventually(lambda: writers.figures().events == 2)
        await writers.finish()
    assert desk.status(WEB) is None
    assert not desk.fake.asked("GET", "services")


async def test_the_end_releases_the_lease_and_keeps_the_status(desk: Desk) -> None:
    desk.put(WEB)
    desk.pods("pod-a")
    writers = desk.writers()
    async with writers.running():
        writers.take(by_ref(WEB), ())
        await eventually(lambda: desk.status(WEB) == [ADDRESS])
        await writers.finish()
        assert desk.holder == ""
    assert desk.status(WEB) == [ADDRESS]
    assert not writers.figures().leads


async def test_an_end_that_is_not_in_order_keeps_lease_and_status(desk: Desk) -> None:
    desk.put(WEB)
    writers = desk.writers(update_status_on_shutdown=True)
    async with writers.running():
        writers.take(by_ref(WEB), ())
        await eventually(lambda: desk.status(WEB) == [ADDRESS])
    assert desk.holder.startswith("pod-a_")
    assert desk.status(WEB) == [ADDRESS]


@pytest.mark.parametrize(
    ("pods", "cleared"),
    [(["pod-a"], True), (["pod-a", "pod-b"], False), ([], False)],
    ids=["last", "not last", "unknown"],
)
async def test_only_the_last_replica_clears_the_status(desk: Desk, pods: Iterable[str], cleared: bool) -> None:
    desk.put(WEB)
    desk.pods(*pods)
    writers = desk.writers(update_status_on_shutdown=True)
    async with writers.running():
        writers.take(by_ref(WEB), ())
        await eventually(lambda: desk.status(WEB) == [ADDRESS])
        await writers.finish()
    assert desk.status(WEB) == (None if cleared else [ADDRESS])
    assert desk.holder == ""


async def test_the_last_replica_waits_to_see_who_comes_in_its_place(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pod that is replaced is told to end before its successor has an address, and goes on writing until then."""
    monkeypatch.setattr(module, "SETTLE", 0.5)
    late = ingress("late")
    desk.put(WEB, late)
    desk.pods("pod-a")
    writers = desk.writers(update_status_on_shutdown=True)
    async with writers.running():
        writers.take(by_ref(WEB), ())
        await eventually(lambda: desk.status(WEB) == [ADDRESS])
        ending = asyncio.gather(writers.finish())
        await asyncio.sleep(0)
        writers.take(by_ref(WEB, late), ())
        await eventually(lambda: desk.status(late) == [ADDRESS])
        desk.pods("pod-a", "pod-b")
        await ending
    assert desk.status(WEB) == desk.status(late) == [ADDRESS]
    assert desk.holder == ""


async def test_who_has_handed_over_clears_nothing(desk: Desk) -> None:
    """The process that has taken over may be in the same pod."""
    desk.put(WEB)
    desk.pods("pod-a")
    writers = desk.writers(update_status_on_shutdown=True)
    async with writers.running():
        writers.take(by_ref(WEB), ())
        await eventually(lambda: desk.status(WEB) == [ADDRESS])
        await writers.finish(None)
    assert desk.status(WEB) == [ADDRESS]
    assert desk.holder == ""


async def test_what_cannot_be_known_of_other_replicas_clears_nothing(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    desk.put(WEB)
    writers = desk.writers(update_status_on_shutdown=True)
    async with writers.running():
        writers.take(by_ref(WEB), ())
        await eventually(lambda: desk.status(WEB) == [ADDRESS])
        desk.fake.refuse = lambda request: 403 if "endpointslices" in request.path else 0
        await writers.finish()
    assert desk.status(WEB) == [ADDRESS]
    assert "it is not known whether there are other replicas" in caplog.text


async def test_an_api_that_is_gone_does_not_hold_up_the_end(desk: Desk) -> None:
    desk.put(WEB)
    writers = desk.writers(update_status_on_shutdown=True)
    async with writers.running():
        writers.take(by_ref(WEB), ())
        await eventually(lambda: desk.status(WEB) == [ADDRESS])
        never = asyncio.Event()
        desk.fake.slow = lambda request: never
        async with asyncio.timeout(5):
            await writers.finish()


async def test_a_defect_in_one_writer_leaves_the_others_alone_and_passes(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "DEFECT_PAUSE", 0.01)
    failing, real = [True], StatusWriter._look

    async def look(self: StatusWriter) -> None:
        if failing:
            failing.pop()
            raise ZeroDivisionError
        await real(self)

    monkeypatch.setattr(StatusWriter, "_look", look)
    desk.put(WEB)
    writers = desk.writers()
    async with writers.running():
        writers.take(by_ref(WEB), PROBLEMS)
        await eventually(lambda: desk.events("ServiceNotFound"))
        await eventually(lambda: desk.status(WEB) == [ADDRESS])
    assert "nothing is written to the cluster by this part" in caplog.text


async def test_for_files_there_is_nothing_to_do() -> None:
    writers = NoWriters()
    async with writers.running():
        writers.take(by_ref(WEB), PROBLEMS)
        await writers.finish()
    assert writers.figures() is None


def test_orphans_are_ingresses_without_service_or_endpoint() -> None:
    problems = [
        *PROBLEMS,
        Problem(WEB.ref, "NoEndpoints", "none"),
        Problem(WEB.ref, "InvalidValue", "no"),
        Problem(ObjectRef("Service", "shop", "api"), "ServiceNotFound", "no"),
    ]
    assert list(orphans(problems)) == [("shop", "web", "no-service"), ("shop", "web", "no-endpoint")]
