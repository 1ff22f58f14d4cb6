"""Candidates on a small API: what they write into the Lease, and what they make of an API that refuses or is slow."""

import asyncio
import contextlib
import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio

from ingressd.aio import spawn
from ingressd.control.api import NotAllowedNow, Object, Objects
from ingressd.control.election import Times
from ingressd.control.leader import Leader, identity_of
from ingressd.source.cluster.api import Api
from tests.control.fake_api import FakeApi, Request, api_at, fake_api
from tests.kit.stream import DEADLINE, eventually

LEASES = "/apis/coordination.k8s.io/v1/namespaces/ingress/leases"
LEASE = f"{LEASES}/ingressd-leader"
QUICK = Times(lease=1)
STEADY = Times(lease=3)
"""For a lead that must not be lost because the machine is busy."""
MICRO_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


@pytest_asyncio.fixture
async def fake() -> AsyncIterator[FakeApi]:
    async with fake_api() as made:
        yield made


@pytest_asyncio.fixture
async def api(fake: FakeApi) -> AsyncIterator[Api]:
    async with api_at(fake.url) as made:
        yield made


def candidate(api: Api, name: str = "pod-a", times: Times = QUICK) -> Leader:
    return Leader(Objects(api, times.ask), "ingress", "ingressd-leader", identity_of(name), times)


@asynccontextmanager
async def running(*candidates: Leader) -> AsyncIterator[None]:
    tasks = [spawn(each.run(), "candidate") for each in candidates]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def led(leader: Leader) -> None:
    await asyncio.wait_for(leader.led(), DEADLINE)


def spec(fake: FakeApi) -> dict[str, object]:
    found: dict[str, object] = fake.objects[LEASE]["spec"]
    return found


async def test_it_creates_the_lease_and_leads(fake: FakeApi, api: Api) -> None:
    leader = candidate(api, times=Times(15))
    assert not leader.leads
    async with running(leader):
        await led(leader)
    assert str(spec(fake)["holderIdentity"]).startswith("pod-a_")
    assert spec(fake)["leaseDurationSeconds"] == 15
    assert spec(fake)["leaseTransitions"] == 0
    for name in ("acquireTime", "renewTime"):
        assert MICRO_TIME.fullmatch(str(spec(fake)[name]))
    (created,) = fake.asked("POST")
    assert (created.path, created.body["kind"]) == (LEASES, "Lease")


async def test_it_renews_in_place(fake: FakeApi, api: Api) -> None:
    leader = candidate(api, times=STEADY)
    async with running(leader):
        await led(leader)
        first = dict(spec(fake))
        fake.objects[LEASE]["metadata"]["labels"] = {"of": "somebody"}
        await fake.until_asked("PATCH", count=3)
        assert leader.leads
    assert spec(fake)["renewTime"] != first["renewTime"]
    assert spec(fake) | {"renewTime": ""} == first | {"renewTime": ""}
    assert fake.objects[LEASE]["metadata"]["labels"] == {"of": "somebody"}
    assert all(request.body["metadata"]["resourceVersion"] for request in fake.asked("PATCH"))


async def test_a_released_lease_is_taken_within_a_pause(fake: FakeApi, api: Api) -> None:
    first, second = candidate(api, "pod-a", STEADY), candidate(api, "pod-b", STEADY)
    async with running(first):
        await led(first)
    async with running(second):
        await fake.until_asked("GET", count=2)
        await first.release()
        async with asyncio.timeout(STEADY.retry * 1.5):
            await led(second)
    assert spec(fake)["leaseTransitions"] == 1


async def test_a_killed_leader_is_replaced_when_its_lease_has_run_out(fake: FakeApi, api: Api) -> None:
    first, second = candidate(api, "pod-a"), candidate(api, "pod-b")
    async with running(first):
        await led(first)
    async with running(second):
        await led(second)
    assert not first.leads
    assert str(spec(fake)["holderIdentity"]).startswith("pod-b_")


async def test_a_lease_of_somebody_else_is_not_released(fake: FakeApi, api: Api) -> None:
    leader = candidate(api)
    async with running(leader):
        await led(leader)
    spec(fake)["holderIdentity"] = "other"
    await leader.release()
    assert spec(fake)["holderIdentity"] == "other"


async def test_a_release_that_fails_is_a_line_in_the_log(
    fake: FakeApi, api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    leader = candidate(api)
    async with running(leader):
        await led(leader)
    fake.refuse = lambda request: 500
    await leader.release()
    assert "is not released, it runs out by itself: GET of" in caplog.text
    assert not leader.leads


@pytest.mark.parametrize("status", [403, 500])
async def test_what_the_api_refuses_is_said_once_and_tried_again(
    fake: FakeApi, api: Api, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    caplog.set_level(logging.INFO)
    fake.refuse = lambda request: status if request.method == "POST" else 0
    leader = candidate(api, times=STEADY)
    async with running(leader):
        await fake.until_asked("POST", count=4)
        assert not leader.leads
        warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
        assert len(warnings) == 1
        assert "is refused by the test" in warnings[0].getMessage()
        fake.refuse = lambda request: 0
        await led(leader)
    assert "it works again" in caplog.text


async def test_an_api_that_does_not_answer_ends_the_lead_in_time(fake: FakeApi, api: Api) -> None:
    """And it begins again once the API answers."""
    leader = candidate(api)
    guarded = Objects(api, QUICK.write, lambda: leader.leads)
    blocked = asyncio.Event()
    async with running(leader):
        await led(leader)
        await guarded.create("/api/v1/namespaces/ingress/things", {"metadata": {"name": "a"}}, Object)
        fake.slow = lambda request: blocked
        await eventually(lambda: not leader.leads, within=QUICK.renew_deadline + 0.5)
        before = len(fake.requests)
        with pytest.raises(NotAllowedNow):
            await guarded.create("/api/v1/namespaces/ingress/things", {"metadata": {"name": "b"}}, Object)
        assert not fake.asked("POST", "things")[1:]
        assert len(fake.requests) >= before
        fake.slow = lambda request: None
        blocked.set()
        await led(leader)


async def test_conflicts_without_end_end_the_lead(fake: FakeApi, api: Api) -> None:
    leader = candidate(api)
    async with running(leader):
        await led(leader)
        fake.refuse = lambda request: 409 if request.method == "PATCH" else 0
        await eventually(lambda: not leader.leads)
        patches = len(fake.asked("PATCH"))
        assert patches < 20, "conflicts are answered with pauses"
        fake.refuse = lambda request: 0
        await led(leader)


async def test_a_conflict_does_not_end_the_lead(fake: FakeApi, api: Api) -> None:
    leader = candidate(api, times=STEADY)
    async with running(leader):
        await led(leader)
        fake.put(LEASE, spec=spec(fake), metadata={"annotations": {"touched": "1"}})
        asked = len(fake.asked("PATCH"))
        await fake.until_asked("PATCH", count=asked + 3)
        assert leader.leads
    assert fake.objects[LEASE]["metadata"]["annotations"] == {"touched": "1"}


async def test_a_lease_that_is_deleted_is_made_again(fake: FakeApi, api: Api) -> None:
    leader = candidate(api)
    async with running(leader):
        await led(leader)
        del fake.objects[LEASE]
        await eventually(lambda: LEASE in fake.objects)
        await led(leader)


async def test_who_holds_the_lease_is_said_once(fake: FakeApi, api: Api, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    fake.put(LEASE, spec={"holderIdentity": "pod-x", "leaseDurationSeconds": 3600, "renewTime": "2026-01-01T00:00:00Z"})
    async with running(candidate(api)):
        await fake.until_asked("GET", count=4)
    lines = [record.getMessage() for record in caplog.records if "pod-x" in record.getMessage()]
    assert lines == ["not leading: Lease ingress/ingressd-leader is held by pod-x"]


async def test_who_waits_for_the_lead_gets_it_each_time(fake: FakeApi, api: Api) -> None:
    leader = candidate(api)

    def refuse(request: Request) -> int:
        return 500 if request.method in ("PATCH", "GET") else 0

    async with running(leader):
        await led(leader)
        fake.refuse = refuse
        await eventually(lambda: not leader.leads)
        waiting = spawn(leader.led(), "wait")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(waiting), 0.1)
        assert not waiting.done()
        fake.refuse = lambda request: 0
        await asyncio.wait_for(waiting, DEADLINE)
        assert leader.leads
