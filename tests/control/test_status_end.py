"""What becomes of the status of Ingresses when the writer ends."""

import asyncio

import pytest

from ingressd.control import status as module
from ingressd.control.api import Objects
from ingressd.control.replicas import read_is_last
from ingressd.control.status import AddressSource
from tests.control.fake_api import Json
from tests.control.status_desk import ADDRESS, Desk, ingress_path, running, take
from tests.control.status_desk import desk as desk


async def test_the_end_takes_only_our_own_addresses_away(desk: Desk) -> None:
    desk.front(ADDRESS)
    web = desk.ingress("web")
    writer = desk.writer()
    take(writer, web)
    async with running(writer):
        await desk.until(lambda: desk.status("web") == [ADDRESS])
    changed, foreign = desk.ingress("changed", {"ip": "192.0.2.66"}), desk.ingress("foreign", ADDRESS)
    take(writer, web, changed)
    await writer.clear()
    assert desk.status("web") is None
    assert desk.status("changed") == [{"ip": "192.0.2.66"}]
    assert desk.status(foreign[1]) == [ADDRESS]


async def test_the_end_is_not_slowed_down(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pod that ends has no time for the pace of one that runs."""
    monkeypatch.setattr(module, "RATE", 0.01)
    monkeypatch.setattr(module, "BURST", 1)
    ours = [desk.ingress(f"web{number}", ADDRESS) for number in range(20)]
    writer = desk.writer(AddressSource(addresses=(ADDRESS["ip"],)))
    take(writer, *ours)
    await writer.clear()
    assert not any(desk.status(name) for _, name in ours)


async def test_the_end_alone_takes_nothing_away(desk: Desk) -> None:
    desk.front(ADDRESS)
    web = desk.ingress("web")
    writer = desk.writer()
    take(writer, web)
    async with running(writer):
        await desk.until(lambda: desk.status("web") == [ADDRESS])
    assert desk.status("web") == [ADDRESS]


async def test_a_clearing_that_fails_is_logged_and_goes_on(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    desk.front(ADDRESS)
    bad, web = desk.ingress("bad"), desk.ingress("web")
    writer = desk.writer()
    take(writer, bad, web)
    async with running(writer):
        await desk.until(lambda: desk.status("web") == desk.status("bad") == [ADDRESS])
    desk.fake.refuse = lambda request: 500 if request.method == "PATCH" and "/bad/" in request.path else 0
    await writer.clear()
    assert desk.status("web") is None
    assert "the status of Ingress shop/bad is not cleared" in caplog.text
    desk.fake.refuse = lambda request: 500
    await writer.clear()
    assert "the status of Ingresses is not cleared" in caplog.text


async def test_what_changes_while_it_is_cleared_is_read_again(desk: Desk) -> None:
    web, changed, gone = (desk.ingress(name, ADDRESS) for name in ("web", "changed", "gone"))
    writer = desk.writer(AddressSource(addresses=(ADDRESS["ip"],)))
    take(writer, web, changed, gone)
    listed = asyncio.Event()
    desk.fake.slow = lambda request: listed if request.path.endswith("/ingresses") else None
    clearing = asyncio.gather(writer.clear())
    await desk.fake.until_asked("GET", "/ingresses")
    desk.ingress("web", ADDRESS)
    desk.ingress("changed", {"ip": "192.0.2.66"})
    del desk.fake.objects[ingress_path("gone")]
    listed.set()
    await clearing
    assert desk.status("web") is None
    assert desk.status("changed") == [{"ip": "192.0.2.66"}], "what others have written is theirs"
    assert writer.failures == 0


async def test_a_clearing_without_the_lead_writes_nothing(desk: Desk) -> None:
    desk.front(ADDRESS)
    web = desk.ingress("web")
    writer = desk.writer()
    take(writer, web)
    async with running(writer):
        await desk.until(lambda: desk.status("web") == [ADDRESS])
    desk.lead.take()
    await writer.clear()
    assert desk.status("web") == [ADDRESS]


async def test_other_replicas_are_read_from_the_slices_of_the_service(desk: Desk) -> None:
    slices = "/apis/discovery.k8s.io/v1/namespaces/ingress/endpointslices"
    labels = {"kubernetes.io/service-name": "front"}

    def put(name: str, *pods: str, of: Json = labels) -> None:
        endpoints = [{"targetRef": {"kind": "Pod", "name": pod}, "conditions": {}} for pod in pods]
        desk.fake.put(f"{slices}/{name}", endpoints=endpoints, metadata={"labels": of})

    objects = Objects(desk.api, 5.0)
    put("front-1", "me")
    put("elsewhere", "other", of={"kubernetes.io/service-name": "another"})
    assert await read_is_last(objects, "ingress", "front", "me")
    put("front-2", "other")
    assert not await read_is_last(objects, "ingress", "front", "me")
