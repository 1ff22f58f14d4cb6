"""The status of Ingresses on a small API: when it is written, when not, and what becomes of what goes wrong."""

import asyncio
import logging

import pytest

from ingressd.control import pacing
from ingressd.control import status as module
from ingressd.control.api import CONFLICT, FORBIDDEN
from ingressd.control.status import LIST_FROM, AddressSource
from tests.control.fake_api import Request
from tests.control.status_desk import ADDRESS, QUICK, SERVICE, Desk, ingress_path, running, take
from tests.control.status_desk import desk as desk
from tests.kit.stream import eventually


async def test_our_ingresses_get_the_address_of_the_service(desk: Desk) -> None:
    desk.front(ADDRESS)
    web, other = desk.ingress("web"), desk.ingress("other", {"ip": "192.0.2.1"})
    desk.ingress("not-ours")
    writer = desk.writer()
    take(writer, web, other)
    async with running(writer):
        await desk.until(lambda: desk.status("web") == [ADDRESS] == desk.status("other"))
        await desk.looked()
    assert desk.status("not-ours") is None
    assert writer.writes == 2
    assert {request.path for request in desk.fake.asked("PATCH")} == {
        f"{ingress_path('web')}/status",
        f"{ingress_path('other')}/status",
    }


async def test_ports_are_included(desk: Desk) -> None:
    address = {**ADDRESS, "ports": [{"port": 80, "protocol": "TCP"}, {"port": 443, "protocol": "TCP"}]}
    desk.front(address)
    web = desk.ingress("web", ADDRESS)
    writer = desk.writer()
    take(writer, web)
    async with running(writer):
        await desk.until(lambda: desk.status("web") == [address])


async def test_given_addresses_need_no_service(desk: Desk) -> None:
    web = desk.ingress("web")
    writer = desk.writer(AddressSource(("ingress", "front"), ("lb.example", "192.0.2.7")))
    take(writer, web)
    async with running(writer):
        await desk.until(lambda: desk.status("web") == [{"ip": "192.0.2.7"}, {"hostname": "lb.example"}])
    assert not desk.fake.asked("GET", "services")


async def test_what_is_right_is_not_written(desk: Desk) -> None:
    desk.front({"ip": "192.0.2.2"}, {"ip": "192.0.2.1"})
    web = desk.ingress("web", {"ip": "192.0.2.2"}, {"ip": "192.0.2.1"})
    writer = desk.writer()
    take(writer, web)
    async with running(writer):
        await desk.fake.until_asked("GET", "ingresses/web")
        await desk.looked()
    assert not desk.fake.asked("PATCH")
    assert len(desk.fake.asked("GET", "ingresses")) == 1, "an Ingress is not read again and again either"


async def test_a_new_address_reaches_every_ingress(desk: Desk) -> None:
    desk.front(ADDRESS)
    ours = [desk.ingress(f"web{number}") for number in range(3)]
    writer = desk.writer()
    take(writer, *ours)
    async with running(writer):
        await desk.until(lambda: all(desk.status(name) == [ADDRESS] for _, name in ours))
        desk.front({"hostname": "lb.example"})
        await desk.until(lambda: all(desk.status(name) == [{"hostname": "lb.example"}] for _, name in ours))


async def test_a_new_ingress_is_written_at_once_and_alone(desk: Desk) -> None:
    desk.front(ADDRESS)
    web = desk.ingress("web")
    writer = desk.writer(timing=QUICK._replace(look=1000.0))
    take(writer, web)
    async with running(writer):
        await desk.until(lambda: desk.status("web") == [ADDRESS])
        late = desk.ingress("late")
        take(writer, web, late, changed=[late])
        await desk.until(lambda: desk.status("late") == [ADDRESS])
    assert len(desk.fake.asked("GET", "ingresses/web")) == 1


async def test_many_ingresses_are_listed_instead_of_read(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RATE", 10_000.0)
    desk.front(ADDRESS)
    ours = [desk.ingress(f"web{number:03}", *([ADDRESS] if number % 2 else [])) for number in range(600)]
    writer = desk.writer()
    take(writer, *ours)
    async with running(writer):
        await desk.until(lambda: all(desk.status(name) == [ADDRESS] for _, name in ours))
        await desk.looked()
    assert [request.path for request in desk.fake.asked("GET", "ingresses")] == 2 * [
        "/apis/networking.k8s.io/v1/ingresses"
    ]
    assert len(desk.fake.asked("PATCH")) == 300


async def test_only_watched_namespaces_are_listed(desk: Desk) -> None:
    desk.front(ADDRESS)
    ours = [desk.ingress(f"web{number}", namespace=f"n{number % 2}") for number in range(LIST_FROM)]
    writer = desk.writer(namespaces=["n0", "n1"])
    take(writer, *ours)
    async with running(writer):
        await desk.until(lambda: all(desk.status(name, namespace) == [ADDRESS] for namespace, name in ours))
    assert [request.path for request in desk.fake.asked("GET", "ingresses")] == [
        "/apis/networking.k8s.io/v1/namespaces/n0/ingresses",
        "/apis/networking.k8s.io/v1/namespaces/n1/ingresses",
    ]


async def test_writes_are_bounded_in_rate(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RATE", 100.0)
    monkeypatch.setattr(module, "BURST", 1)
    desk.front(ADDRESS)
    ours = [desk.ingress(f"web{number:02}") for number in range(30)]
    writer = desk.writer()
    take(writer, *ours)
    loop = asyncio.get_running_loop()
    begun = loop.time()
    async with running(writer):
        await desk.until(lambda: all(desk.status(name) == [ADDRESS] for _, name in ours))
    assert loop.time() - begun >= 0.29


# --- never taken away


@pytest.mark.parametrize("trouble", ["gone", "forbidden", "broken", "pending"])
async def test_an_address_that_is_not_known_for_the_moment_stays(
    desk: Desk, caplog: pytest.LogCaptureFixture, trouble: str
) -> None:
    desk.front(ADDRESS)
    web = desk.ingress("web")
    writer = desk.writer()
    take(writer, web)
    async with running(writer):
        await desk.until(lambda: desk.status("web") == [ADDRESS])
        match trouble:
            case "gone":
                del desk.fake.objects[SERVICE]
            case "pending":
                desk.front()
            case _:
                status = FORBIDDEN if trouble == "forbidden" else 500
                desk.fake.refuse = lambda request: status if request.path == SERVICE else 0
        late = desk.ingress("late")
        take(writer, web, late, changed=[web, late])
        await desk.until(lambda: desk.status("late") == [ADDRESS])
        await desk.looked(3)
        assert desk.status("web") == [ADDRESS]
    assert len([line for line in caplog.messages if "the Service ingress/front" in line]) == 1


async def test_nothing_is_written_before_the_first_address_is_known(desk: Desk) -> None:
    desk.front()
    web = desk.ingress("web", {"ip": "192.0.2.1"})
    writer = desk.writer()
    take(writer, web)
    async with running(writer):
        await desk.looked(3)
        assert desk.status("web") == [{"ip": "192.0.2.1"}]
        assert not desk.fake.asked("GET", "ingresses")
        desk.front(ADDRESS)
        await desk.until(lambda: desk.status("web") == [ADDRESS])


# --- what goes wrong


async def test_a_conflict_is_read_again_and_decided_anew(desk: Desk) -> None:
    """Somebody writes the right address between our look and our write, so there is nothing left to do."""
    desk.front(ADDRESS)
    web = desk.ingress("web")

    def refuse(request: Request) -> int:
        if request.method == "PATCH":
            desk.ingress("web", ADDRESS)
        return 0

    desk.fake.refuse = refuse
    writer = desk.writer()
    take(writer, web)
    async with running(writer):
        await desk.fake.until_asked("GET", "ingresses/web", 2)
        await desk.looked()
    assert len(desk.fake.asked("PATCH")) == 1
    assert (writer.writes, writer.failures) == (0, 0)


async def test_conflicts_without_end_are_left_for_later(desk: Desk) -> None:
    desk.front(ADDRESS)
    web, other = desk.ingress("web"), desk.ingress("other")
    desk.fake.refuse = lambda request: CONFLICT if request.method == "PATCH" and "/web/" in request.path else 0
    writer = desk.writer()
    take(writer, web, other)
    async with running(writer):
        await desk.until(lambda: desk.status("other") == [ADDRESS])
        await desk.looked()
        desk.fake.refuse = lambda request: 0
        await desk.until(lambda: desk.status("web") == [ADDRESS])
    assert len(desk.fake.asked("PATCH", "web")) < 20


async def test_an_ingress_that_is_gone_is_no_failure(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    desk.front(ADDRESS)
    web = desk.ingress("web")
    writer = desk.writer()
    take(writer, web, ("shop", "gone"))
    async with running(writer):
        await desk.until(lambda: desk.status("web") == [ADDRESS])
        await desk.looked()
    assert writer.failures == 0
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(desk.fake.asked("GET", "gone")) == 1


async def test_a_right_that_is_missing_in_one_namespace_stops_nothing_elsewhere(
    desk: Desk, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pacing, "SHORTEST_PAUSE", 0.1)
    monkeypatch.setattr(pacing, "LONGEST_PAUSE", 1000.0)
    desk.front(ADDRESS)
    closed = [desk.ingress(f"web{number}", namespace="closed") for number in range(5)]
    web = desk.ingress("web")
    desk.fake.refuse = lambda request: FORBIDDEN if request.method == "PATCH" and "/closed/" in request.path else 0
    writer = desk.writer()
    take(writer, *closed, web)
    async with running(writer):
        await desk.until(lambda: desk.status("web") == [ADDRESS])
        await eventually(lambda: "is not written in namespace closed" in caplog.text)
        await desk.looked(3)
        assert len(caplog.messages) == 1
        assert writer.failures == len(desk.fake.asked("PATCH", "/closed/")) <= 4 * len(closed)
        desk.fake.refuse = lambda request: 0
        await desk.until(lambda: all(desk.status(name, "closed") == [ADDRESS] for _, name in closed))


async def test_a_broken_api_is_not_asked_for_every_ingress(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    desk.front(ADDRESS)
    ours = [desk.ingress(f"web{number:02}") for number in range(100)]
    desk.fake.refuse = lambda request: 503 if request.method == "PATCH" else 0
    writer = desk.writer(timing=QUICK._replace(look=0.5))
    take(writer, *ours)
    async with running(writer):
        await desk.fake.until_asked("PATCH")
        await desk.looked(1)
        assert len(desk.fake.asked("PATCH")) <= 2 * module.CONCURRENCY
        desk.fake.refuse = lambda request: 0
        await desk.until(lambda: all(desk.status(name) == [ADDRESS] for _, name in ours))
    assert "the status of Ingresses is not written for now" in caplog.text


@pytest.mark.parametrize("status", [401, 503])
async def test_each_time_that_nothing_can_be_written_is_said(
    desk: Desk, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    desk.front(ADDRESS)
    ours = desk.ingress("web")
    writer = desk.writer()
    take(writer, ours)
    async with running(writer):
        for _ in range(2):
            caplog.clear()
            desk.fake.refuse = lambda request: status if request.method == "PATCH" else 0
            desk.ingress("web")
            take(writer, ours)
            writer.failures = 0
            await desk.until(lambda: writer.failures >= 2)
            assert caplog.text.count("the status of Ingresses is not written for now") == 1
            desk.fake.refuse = lambda request: 0
            await desk.until(lambda: desk.status("web") == [ADDRESS])
            await desk.looked()


@pytest.mark.parametrize("refused", [0, 2 * module.LIST_FROM], ids=["one by one", "listed"])
async def test_an_api_that_asks_to_wait_is_not_asked_before(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, refused: int
) -> None:
    """Neither at the next look, nor for an Ingress that changes."""
    now = 1000.0
    desk.front(ADDRESS)
    ours = [desk.ingress(f"web{number:02}") for number in range(max(1, refused))]
    desk.fake.refuse = lambda request: 429 if "/ingresses" in request.path else 0
    desk.fake.retry_after = 60
    writer = desk.writer()
    monkeypatch.setattr(writer, "_clock", lambda: now)
    take(writer, *ours)
    async with running(writer):
        await desk.until(lambda: writer.failures > 0 and len(writer._later) == len(ours))
        before = len(desk.fake.requests)
        take(writer, *ours, changed=ours[:1])
        await desk.until(lambda: len(writer._later) == len(ours) + 1)
        assert len(desk.fake.requests) == before
        desk.fake.refuse = lambda request: 0
        now += 60
        take(writer, *ours, changed=ours[:1])
        await desk.until(lambda: all(desk.status(name) == [ADDRESS] for _, name in ours))


async def test_an_ingress_that_cannot_be_written_does_not_stop_the_others(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    desk.front(ADDRESS)
    bad, web = desk.ingress("bad"), desk.ingress("web")
    desk.fake.refuse = lambda request: 422 if request.method == "PATCH" and "/bad/" in request.path else 0
    writer = desk.writer()
    take(writer, bad, web)
    async with running(writer):
        await desk.until(lambda: desk.status("web") == [ADDRESS])
        await desk.looked(3)
        assert len(desk.fake.asked("PATCH", "/bad/")) == 1, "it is the same as long as nothing changes"
        take(writer, bad, web, changed=[bad])
        await desk.fake.until_asked("PATCH", "/bad/", 2)
    assert "the status of Ingress shop/bad is not written" in caplog.text


# --- the lead


async def test_only_the_leader_writes(desk: Desk) -> None:
    desk.front(ADDRESS)
    web = desk.ingress("web")
    writer = desk.writer()
    desk.lead.take()
    take(writer, web)
    async with running(writer):
        await eventually(lambda: desk.lead.waits == 1)
        assert not desk.fake.requests
        desk.lead.give()
        await desk.until(lambda: desk.status("web") == [ADDRESS])


async def test_the_lead_lost_between_look_and_write_stops_the_write(desk: Desk) -> None:
    desk.front(ADDRESS)
    web = desk.ingress("web")
    writer = desk.writer()
    held = asyncio.Event()
    desk.fake.slow = lambda request: held if request.path == ingress_path("web") else None
    take(writer, web)
    async with running(writer):
        await desk.fake.until_asked("GET", "ingresses/web")
        desk.lead.take()
        held.set()
        before = len(desk.fake.requests)
        for _ in range(50):
            await asyncio.sleep(0)
    assert len(desk.fake.requests) == before
    assert desk.status("web") is None


async def test_a_new_leader_compares_all(desk: Desk) -> None:
    desk.front(ADDRESS)
    web = desk.ingress("web")
    writer = desk.writer()
    take(writer, web)
    async with running(writer):
        await desk.until(lambda: desk.status("web") == [ADDRESS])
        desk.lead.take()
        await eventually(lambda: desk.lead.waits == 2)
        desk.ingress("web", {"ip": "192.0.2.66"})
        desk.lead.give()
        await desk.until(lambda: desk.status("web") == [ADDRESS])


async def test_what_others_write_is_put_right_at_the_next_comparison(desk: Desk) -> None:
    desk.front(ADDRESS)
    web = desk.ingress("web")
    writer = desk.writer(timing=QUICK._replace(compare=0.2))
    take(writer, web)
    async with running(writer):
        await desk.until(lambda: desk.status("web") == [ADDRESS])
        desk.ingress("web", {"ip": "192.0.2.66"})
        await desk.until(lambda: desk.status("web") == [ADDRESS])
