"""The writers on a real API server: what it takes and refuses, and what the fake of the fast tests does like it."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from ingressd.aio import spawn
from ingressd.control import api as control_api
from ingressd.control import event_ledger
from ingressd.control.api import Object, Objects, Page
from ingressd.control.election import Times
from ingressd.control.events import EventWriter
from ingressd.control.leader import Leader, identity_of
from ingressd.control.replicas import read_is_last
from ingressd.control.status import AddressSource, StatusWriter, Timing
from ingressd.model import ObjectRef, Problem
from ingressd.source.cluster.access import Kubeconfig
from ingressd.source.cluster.api import Api as ClusterApi
from ingressd.source.cluster.api import ApiError
from tests.cluster import api
from tests.cluster.apiserver import Cluster
from tests.cluster.kubectl import kubectl
from tests.cluster.until import until
from tests.control.fake_api import Lead, api_at, fake_api
from tests.kit import DEADLINE, eventually

Json = dict[str, Any]
LEAD = Lead()
"""Of who always leads."""
TAKEOVER = 20.0
"""Seconds within which a leader that has died is replaced, as is promised."""


@pytest_asyncio.fixture
async def reached(cluster: Cluster, tmp_path: Path) -> AsyncIterator[ClusterApi]:
    """The API server, as the writers reach it."""
    made = ClusterApi(Kubeconfig(str(cluster.kubeconfig(tmp_path / "writers")), ""))
    yield made
    await made.close()


@asynccontextmanager
async def running(*works: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    tasks = [spawn(_run(work), "writer") for work in works]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def _run(work: Callable[[], Awaitable[None]]) -> None:
    await work()


def ingress(name: str, service: str = "api") -> Json:
    path = {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": service, "port": {"number": 80}}}}
    spec = {"ingressClassName": "ingressd", "rules": [{"host": f"{name[:60]}.example", "http": {"paths": [path]}}]}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": name}, "spec": spec}


# --- the fake is like the real one


async def outcomes(objects: Objects, namespace: str) -> list[object]:
    """What comes of requests as the writers make them: what an object says afterwards, or the status of a refusal."""
    leases = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
    ingresses = f"/apis/networking.k8s.io/v1/namespaces/{namespace}/ingresses"
    slices = f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
    found: list[object] = []

    async def note(work: Awaitable[Json], *parts: str) -> Json:
        try:
            value = whole = await work
        except ApiError as error:
            found.append(error.status)
            return {}
        for part in parts:
            value = value.get(part, {})
        found.append(value)
        return whole

    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "x", "labels": {"of": "us"}}}
    spec = {"holderIdentity": "a", "leaseDurationSeconds": 15, "leaseTransitions": 0}
    await note(objects.get(f"{leases}/x", dict))
    await note(objects.patch(f"{leases}/x", {"spec": spec}, dict))
    made = await note(objects.create(leases, {**lease, "spec": spec}, dict), "spec")
    await note(objects.create(leases, {**lease, "spec": spec}, dict))
    version = {"metadata": {"resourceVersion": made["metadata"]["resourceVersion"]}}
    await note(objects.patch(f"{leases}/x", {**version, "spec": {"leaseTransitions": 1}}, dict), "spec")
    await note(objects.patch(f"{leases}/x", {**version, "spec": {"leaseTransitions": 2}}, dict))
    await note(objects.patch(f"{leases}/x", {"spec": {"holderIdentity": None}}, dict), "spec")
    await note(objects.get(f"{leases}/x", dict), "metadata", "labels")

    body = ingress("web")
    await note(objects.create(ingresses, body, dict), "metadata", "name")
    status = {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}
    more = {"status": status, "spec": {"ingressClassName": "other"}}
    await note(objects.patch(f"{ingresses}/web/status", more, dict), "status")
    await note(objects.get(f"{ingresses}/web", dict), "spec", "ingressClassName")
    await note(objects.patch(f"{ingresses}/gone/status", more, dict))
    cleared = {"status": {"loadBalancer": {"ingress": None}}}
    await note(objects.patch(f"{ingresses}/web/status", cleared, dict), "status", "loadBalancer")

    for number in range(5):
        each = {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": f"s{number}", "labels": {"odd": str(number % 2)}},
            "addressType": "IPv4",
            "endpoints": [],
        }
        await objects.create(slices, each, Object)
    for query in ({}, {"labelSelector": "odd=1"}):
        pages = objects.pages(slices, Page[Object], **query)
        found.append([each.metadata.name async for page in pages for each in page])
    return found


async def test_the_fake_of_the_fast_tests_does_as_the_real_one(
    admin: api.Api, reached: ClusterApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control_api, "PAGE", 2)
    async with fake_api() as fake, api_at(fake.url) as faked:
        assert await outcomes(Objects(faked, 5.0), "x") == await outcomes(Objects(reached, 5.0), admin.namespace)


# --- the Lease


def candidate(reached: ClusterApi, namespace: str, pod: str, times: Times) -> Leader:
    return Leader(Objects(reached, times.ask), namespace, "ingressd-leader", identity_of(pod), times)


async def test_the_lease_goes_from_one_to_the_next(admin: api.Api, reached: ClusterApi) -> None:
    times = Times(6)
    first, second = (candidate(reached, admin.namespace, pod, times) for pod in ("pod-a", "pod-b"))
    async with running(second.run):
        async with running(first.run):
            await eventually(lambda: first.leads or second.leads)
            leader = first if first.leads else second
            made = await admin.get("Lease", "ingressd-leader")
            labelled = {"metadata": {"labels": {"of": "somebody"}}}
            await admin.patch("Lease", "ingressd-leader", labelled)

            async def is_renewed() -> bool:
                found = await admin.get("Lease", "ingressd-leader")
                return bool(found["spec"]["renewTime"] != made["spec"]["renewTime"])

            await until(is_renewed, "the Lease is renewed")
            assert leader.leads, "a change of labels is no loss of the lead"
            assert not (first.leads and second.leads)
        await first.release()
        await eventually(lambda: second.leads)
    await second.release()
    found = await admin.get("Lease", "ingressd-leader")
    assert "holderIdentity" not in found["spec"]
    assert found["metadata"]["labels"] == {"of": "somebody"}


@pytest.mark.slow
async def test_a_killed_leader_is_replaced_in_time(admin: api.Api, reached: ClusterApi) -> None:
    """With the times of the default."""
    first, second = (candidate(reached, admin.namespace, pod, Times()) for pod in ("pod-a", "pod-b"))
    async with running(first.run):
        await asyncio.wait_for(first.led(), DEADLINE)
    killed = time.monotonic()
    async with running(second.run):
        await asyncio.wait_for(second.led(), TAKEOVER)
        assert time.monotonic() - killed < TAKEOVER
        assert not first.leads
    found = await admin.get("Lease", "ingressd-leader")
    assert found["spec"]["leaseTransitions"] == 1


async def test_an_api_server_that_does_not_answer_ends_the_lead_in_time(
    cluster: Cluster, admin: api.Api, reached: ClusterApi
) -> None:
    times = Times(3)
    leader = candidate(reached, admin.namespace, "pod-a", times)
    async with running(leader.run):
        await asyncio.wait_for(leader.led(), DEADLINE)
        cluster.freeze()
        try:
            frozen = time.monotonic()
            await eventually(lambda: not leader.leads)
            assert time.monotonic() - frozen < times.renew_deadline + 0.5
        finally:
            cluster.thaw()
        await asyncio.wait_for(leader.led(), DEADLINE)


# --- the status


async def test_statuses_follow_the_service(admin: api.Api, reached: ClusterApi) -> None:
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "front"}}
    await admin.create({**service, "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]}})
    for name in ("web", "other"):
        await admin.create(ingress(name))
    published = AddressSource((admin.namespace, "front"))
    timing = Timing(look=0.1, compare=1000.0)
    writer = StatusWriter(Objects(reached, 5.0), LEAD, published, (admin.namespace,), timing)
    ours = [(admin.namespace, name) for name in ("web", "other", "gone")]
    writer.take(ours, ours)

    def has(name: str, *expected: Json) -> Callable[[], Awaitable[bool]]:
        async def look() -> bool:
            status = (await admin.get("Ingress", name))["status"]
            return bool(status["loadBalancer"].get("ingress", []) == list(expected))

        return look

    ports = [{"port": 80, "protocol": "TCP"}, {"port": 443, "protocol": "TCP", "error": "example.dev/NotServed"}]
    async with running(writer.run):
        status = {"loadBalancer": {"ingress": [{"ip": "192.0.2.9", "ports": ports}, {"hostname": "lb.example"}]}}
        await admin.patch("Service", "front", {"status": status}, sub="status")
        for name in ("web", "other"):
            await until(has(name, {"ip": "192.0.2.9", "ports": ports}, {"hostname": "lb.example"}), "the first address")
        version = (await admin.get("Ingress", "web"))["metadata"]["resourceVersion"]
        await admin.patch("Service", "front", {"status": {"loadBalancer": {"ingress": None}}}, sub="status")
        await admin.create(ingress("late"))
        ours.append((admin.namespace, "late"))
        writer.take(ours, ours[-1:])
        await until(has("late", {"ip": "192.0.2.9", "ports": ports}, {"hostname": "lb.example"}), "the late one")
        assert (await admin.get("Ingress", "web"))["metadata"]["resourceVersion"] == version
        await admin.patch("Service", "front", {"spec": {"externalIPs": ["2001:db8::1"]}})
        await until(has("web", {"ip": "2001:db8::1"}), "the second address")
    assert writer.failures == 0
    await writer.clear()
    assert await has("web")()


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"type": "ExternalName", "externalName": "edge.example.com"}, {"hostname": "edge.example.com"}),
        ({"type": "NodePort", "ports": [{"port": 80}], "externalIPs": ["192.0.2.7"]}, {"ip": "192.0.2.7"}),
        ({"type": "ClusterIP", "ports": [{"port": 80}], "clusterIP": "None"}, None),
    ],
    ids=["ExternalName", "NodePort", "headless"],
)
async def test_other_types_of_service(
    admin: api.Api, reached: ClusterApi, caplog: pytest.LogCaptureFixture, spec: Json, expected: Json | None
) -> None:
    await admin.create({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "front"}, "spec": spec})
    await admin.create(ingress("web"))
    published = AddressSource((admin.namespace, "front"))
    writer = StatusWriter(Objects(reached, 5.0), LEAD, published, (), Timing(look=0.1))
    writer.take([(admin.namespace, "web")], [(admin.namespace, "web")])
    async with running(writer.run):
        if expected is None:
            await eventually(lambda: "has no address" in caplog.text)
        else:
            await eventually(lambda: writer.writes == 1)
    status = (await admin.get("Ingress", "web"))["status"]["loadBalancer"]
    assert status == ({"ingress": [expected]} if expected else {})


async def test_the_last_replica_knows_it(admin: api.Api, reached: ClusterApi) -> None:
    def endpoint(pod: str, address: str, **conditions: bool) -> Json:
        return {"addresses": [address], "targetRef": {"kind": "Pod", "name": pod}, "conditions": conditions}

    value = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "front-1", "labels": {"kubernetes.io/service-name": "front"}},
        "addressType": "IPv4",
        "endpoints": [endpoint("pod-a", "10.1.0.1", terminating=True), endpoint("pod-b", "10.1.0.2", ready=False)],
    }
    await admin.create(value)
    objects = Objects(reached, 5.0)
    assert not await read_is_last(objects, admin.namespace, "front", "pod-a")
    value["endpoints"][1]["conditions"]["terminating"] = True  # type: ignore[index]
    await admin.apply(value)
    assert await read_is_last(objects, admin.namespace, "front", "pod-a")
    assert not await read_is_last(objects, admin.namespace, "front", "pod-x")
    assert not await read_is_last(objects, admin.namespace, "other", "pod-a")


# --- Events


async def test_events_are_taken_counted_and_shown(
    cluster: Cluster, admin: api.Api, reached: ClusterApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_ledger, "REPEAT", 0.0)
    await admin.create(ingress("web"))
    ref = ObjectRef("Ingress", admin.namespace, "web")
    problem = Problem(ref, "ServiceNotFound", 'there is no Service "api"', "spec.rules[0]")
    first, second = (EventWriter(Objects(reached, 5.0), LEAD, pod) for pod in ("pod-a", "pod-b"))
    async with running(first.run):
        first.problems([problem])
        first.served([ref], first=True)
        await eventually(lambda: first.writes == 2)
        first.problems([])
        first.problems([problem])
        await eventually(lambda: first.writes == 3)
    async with running(second.run):
        second.problems([problem])
        second.served([ref], first=True)
        await eventually(lambda: second.writes == 1)
    events = (await admin.list("events.k8s.io/v1/Event")).items
    told = {event["reason"]: event.get("series", {}).get("count", 1) for event in events}
    assert told == {"ServiceNotFound": 3, "Sync": 1}
    assert (first.failures, second.failures) == (0, 0)
    config = cluster.kubeconfig(tmp_path / "kubectl", namespace=admin.namespace)
    shown = kubectl("describe", "ingress", "web", kubeconfig=config)
    assert 'spec.rules[0]: there is no Service "api"' in shown
    assert "Scheduled for sync" in shown


async def test_events_of_every_kind_and_length_are_taken(admin: api.Api, reached: ClusterApi) -> None:
    long_name = ".".join(["a" * 60] * 4)[:252].rstrip(".")
    class_name = f"class-{admin.namespace}"
    await admin.create(ingress(long_name))
    await admin.create(
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "IngressClass",
            "metadata": {"name": class_name},
            "spec": {"controller": "ingressd.dev/ingress-controller"},
        }
    )
    await admin.create({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "tls"}})
    refs = [
        ObjectRef("Ingress", admin.namespace, long_name),
        ObjectRef("IngressClass", "", class_name),
        ObjectRef("Secret", admin.namespace, "tls"),
    ]
    writer = EventWriter(Objects(reached, 5.0), LEAD, "p" * 200)
    try:
        async with running(writer.run):
            writer.problems([Problem(ref, "R" * 128, "é" * 2000) for ref in refs])
            await eventually(lambda: writer.writes == 3)
        assert (writer.failures, writer.dropped) == (0, 0)
        events = (await admin.list("events.k8s.io/v1/Event", "default")).items
        (of_class,) = [event for event in events if event["regarding"]["name"] == class_name]
        await admin.delete("events.k8s.io/v1/Event", of_class["metadata"]["name"], "default")
    finally:
        await admin.delete("IngressClass", class_name)


async def test_an_event_that_was_deleted_is_written_anew(
    admin: api.Api, reached: ClusterApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_ledger, "REPEAT", 0.0)
    await admin.create(ingress("web"))
    problem = Problem(ObjectRef("Ingress", admin.namespace, "web"), "NoEndpoints", "has no endpoint")
    writer = EventWriter(Objects(reached, 5.0), LEAD, "pod-a")
    async with running(writer.run):
        writer.problems([problem])
        await eventually(lambda: writer.writes == 1)
        (event,) = (await admin.list("events.k8s.io/v1/Event")).items
        await admin.delete("events.k8s.io/v1/Event", event["metadata"]["name"])
        writer.problems([])
        writer.problems([problem])
        await eventually(lambda: writer.writes == 2)
    (event,) = (await admin.list("events.k8s.io/v1/Event")).items
    assert event.get("series") is None


async def test_a_service_account_without_rights_is_told_which(
    cluster: Cluster, admin: api.Api, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await admin.create({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "poor"}})
    config = cluster.kubeconfig(tmp_path / "poor", await admin.token("poor"))
    await admin.create(ingress("web"))
    reached = ClusterApi(Kubeconfig(str(config), ""))
    objects = Objects(reached, 5.0)
    published = AddressSource(None, ("192.0.2.1",))
    name, ref = (admin.namespace, "web"), ObjectRef("Ingress", admin.namespace, "web")
    leader = candidate(reached, admin.namespace, "pod-a", Times(3))
    status, events = StatusWriter(objects, LEAD, published), EventWriter(objects, LEAD, "pod-a")
    needed = ('get resource "leases"', 'get resource "ingresses"', 'create resource "events"')
    status.take([name], [name])
    events.problems([Problem(ref, "NoEndpoints", "has no endpoint")])
    try:
        async with running(leader.run, status.run, events.run):
            await eventually(lambda: all(missing in caplog.text for missing in needed))
    finally:
        await reached.close()
    user = f"system:serviceaccount:{admin.namespace}:poor"
    for missing in needed:
        (line,) = [line for line in caplog.messages if missing in line]
        assert user in line
        assert f'in the namespace "{admin.namespace}"' in line
