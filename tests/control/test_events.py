"""Events on a small API: what they say, series instead of repetition, and an API that refuses or fails."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio

from ingressd.aio import spawn
from ingressd.control import event_ledger, events, pacing
from ingressd.control.api import FORBIDDEN, Objects
from ingressd.control.events import EventWriter
from ingressd.model import ObjectRef, Problem
from ingressd.source.cluster.api import Api
from tests.control.fake_api import FakeApi, Json, Lead, api_at, fake_api
from tests.kit.stream import eventually

EVENTS = "/apis/events.k8s.io/v1/namespaces/shop/events"
WEB = ObjectRef("Ingress", "shop", "web")
PROBLEM = Problem(
    WEB, "ServiceNotFound", 'there is no Service "api"', "spec.rules[0].http.paths[0].backend.service.name"
)
MICRO_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


class Desk:
    """Writers and the API they write to."""

    def __init__(self, fake: FakeApi, api: Api) -> None:
        self.fake = fake
        self.lead = Lead()
        self._api = api
        self.ingress()

    def writer(self, instance: str = "pod-a") -> EventWriter:
        return EventWriter(Objects(self._api, 5.0, lambda: self.lead.leads), self.lead, instance)

    def ingress(self, name: str = "web", namespace: str = "shop") -> Json:
        return self.fake.put(f"/apis/networking.k8s.io/v1/namespaces/{namespace}/ingresses/{name}", spec={})

    @property
    def events(self) -> list[Json]:
        return [value for path, value in self.fake.objects.items() if "/events.k8s.io/" in path]

    async def until_events(self, count: int = 1) -> list[Json]:
        await eventually(lambda: len(self.events) >= count)
        return self.events

    async def until_times(self, times: int) -> Json:
        """The one Event, once it says that it has happened so many times."""
        await eventually(lambda: self.events and self.events[0].get("series", {}).get("count") == times)
        (event,) = self.events
        return event


@pytest_asyncio.fixture
async def desk() -> AsyncIterator[Desk]:
    async with fake_api() as fake, api_at(fake.url) as api:
        yield Desk(fake, api)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """How long a problem has to last is tested with the ledger."""
    monkeypatch.setattr(event_ledger, "PATIENCE", 0.0)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes and goes is told each time, and rights are tried again soon."""
    monkeypatch.setattr(event_ledger, "REPEAT", 0.0)
    monkeypatch.setattr(pacing, "SHORTEST_PAUSE", 0.05)


@asynccontextmanager
async def running(writer: EventWriter) -> AsyncIterator[None]:
    task = spawn(writer.run(), "events")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_a_problem_becomes_a_warning_on_its_object(desk: Desk) -> None:
    uid = desk.ingress()["metadata"]["uid"]
    writer = desk.writer()
    async with running(writer):
        writer.problems([PROBLEM])
        (event,) = await desk.until_events()
    assert MICRO_TIME.fullmatch(event.pop("eventTime"))
    metadata = event.pop("metadata")
    assert metadata["namespace"] == "shop"
    assert re.fullmatch(r"web\.[0-9a-f]{16}", metadata["name"])
    assert event == {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "type": "Warning",
        "reason": "ServiceNotFound",
        "action": "Translate",
        "note": 'spec.rules[0].http.paths[0].backend.service.name: there is no Service "api"',
        "reportingController": "ingressd.dev/ingress-controller",
        "reportingInstance": "pod-a",
        "regarding": {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "Ingress",
            "namespace": "shop",
            "name": "web",
            "uid": uid,  # kubectl describe shows only Events that have it
        },
    }
    assert writer.writes == 1


async def test_a_sync_is_a_normal_event(desk: Desk) -> None:
    writer = desk.writer()
    async with running(writer):
        writer.served([WEB], first=True)
        (event,) = await desk.until_events()
    said = {key: event[key] for key in ("type", "reason", "action", "note")}
    assert said == {"type": "Normal", "reason": "Sync", "action": "Sync", "note": "Scheduled for sync"}


@pytest.mark.usefixtures("impatient")
async def test_what_happens_again_is_counted_in_the_series(desk: Desk) -> None:
    writer = desk.writer()
    async with running(writer):
        for _ in range(3):
            writer.problems([PROBLEM])
            await eventually(lambda: len(desk.fake.asked("POST")) + len(desk.fake.asked("PATCH")) == writer.writes > 0)
            before = writer.writes
            writer.problems([])
            writer.problems([PROBLEM])
            await eventually(lambda before=before: writer.writes > before)  # type: ignore[misc]
            writer.problems([])
        event = await desk.until_times(6)
    assert MICRO_TIME.fullmatch(event["series"]["lastObservedTime"])
    assert len(desk.fake.asked("POST")) == 1


async def test_a_new_leader_goes_on_with_the_series_of_the_one_before(desk: Desk) -> None:
    first, second = desk.writer("pod-a"), desk.writer("pod-b")
    async with running(first):
        first.problems([PROBLEM])
        first.served([WEB], first=True)
        await desk.until_events(2)
    async with running(second):
        second.problems([PROBLEM])
        second.served([WEB], first=True)
        await eventually(lambda: len(desk.fake.asked("GET", "/events/")) == 2)
        await eventually(lambda: second.writes == 1)
    warning, sync = sorted(desk.events, key=lambda event: str(event["type"]), reverse=True)
    assert warning["series"]["count"] == 2
    assert "series" not in sync, "that it was served before is known"


async def test_an_object_made_anew_has_events_of_its_own(desk: Desk) -> None:
    first, second = desk.writer(), desk.writer()
    async with running(first):
        first.problems([PROBLEM])
        await desk.until_events()
    desk.ingress()
    async with running(second):
        second.problems([PROBLEM])
        await desk.until_events(2)


@pytest.mark.usefixtures("impatient")
async def test_an_event_that_has_expired_is_written_anew(desk: Desk) -> None:
    writer = desk.writer()
    async with running(writer):
        writer.problems([PROBLEM])
        (event,) = await desk.until_events()
        await eventually(lambda: writer.writes == 1)
        del desk.fake.objects[f"{EVENTS}/{event['metadata']['name']}"]
        writer.problems([])
        writer.problems([PROBLEM])
        (event,) = await desk.until_events()
    assert "series" not in event


async def test_objects_without_a_namespace_have_their_events_in_default(desk: Desk) -> None:
    desk.fake.put("/apis/networking.k8s.io/v1/ingressclasses/ingressd", spec={})
    writer = desk.writer()
    async with running(writer):
        writer.problems([Problem(ObjectRef("IngressClass", "", "ingressd"), "InvalidValue", "no")])
        (event,) = await desk.until_events()
    assert event["metadata"]["namespace"] == "default"
    assert event["regarding"]["namespace"] == ""


@pytest.mark.parametrize(
    ("ref", "path", "version"),
    [
        (ObjectRef("Service", "shop", "api"), "/api/v1/namespaces/shop/services/api", "v1"),
        (
            ObjectRef("EndpointSlice", "shop", "api-1"),
            "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices/api-1",
            "discovery.k8s.io/v1",
        ),
        (ObjectRef("Secret", "shop", "tls"), "/api/v1/namespaces/shop/secrets/tls", "v1"),
    ],
)
async def test_other_kinds_have_events_too(desk: Desk, ref: ObjectRef, path: str, version: str) -> None:
    desk.fake.put(path)
    writer = desk.writer()
    async with running(writer):
        writer.problems([Problem(ref, "InvalidValue", "no")])
        (event,) = await desk.until_events()
    assert (event["regarding"]["apiVersion"], event["regarding"]["kind"]) == (version, ref.kind)


async def test_an_object_that_may_not_be_read_gets_its_event_without_uid(desk: Desk) -> None:
    desk.fake.refuse = lambda request: FORBIDDEN if "/secrets/" in request.path else 0
    writer = desk.writer()
    async with running(writer):
        writer.problems([Problem(ObjectRef("Secret", "shop", "tls"), "Forbidden", "no")])
        (event,) = await desk.until_events()
    assert event["regarding"]["uid"] == ""


async def test_objects_that_are_not_there_get_none(desk: Desk) -> None:
    writer = desk.writer()
    none = [
        Problem(ObjectRef("Ingress", "shop", "gone"), "InvalidValue", "no"),
        Problem(ObjectRef("Ingress", "shop", "*"), "Forbidden", "no"),
        Problem(ObjectRef("Object", "", ""), "NotAnObject", "no"),
        Problem(ObjectRef("Service", "", "a/b/c"), "InvalidValue", "no"),
    ]
    async with running(writer):
        writer.problems([*none, PROBLEM])
        await desk.until_events()
        await eventually(lambda: writer.dropped == 1)
    assert len(desk.events) == 1
    assert {request.path.split("/")[-1] for request in desk.fake.asked("GET")} == {"gone", "web"}


async def test_long_names_and_notes_fit(desk: Desk) -> None:
    name = "a" * 230 + "." + "-".join("bcdefghijkl")
    assert len(name) == 252
    desk.ingress(name)
    writer = desk.writer("p" * 200)
    async with running(writer):
        writer.problems([Problem(ObjectRef("Ingress", "shop", name), "InvalidValue", "é" * 2000)])
        (event,) = await desk.until_events()
    assert len(event["metadata"]["name"]) <= 253
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*", event["metadata"]["name"])
    assert len(event["note"].encode()) <= 1024
    assert len(event["reportingInstance"]) <= 128


async def test_only_the_leader_writes(desk: Desk) -> None:
    writer = desk.writer()
    desk.lead.take()
    writer.problems([PROBLEM])
    async with running(writer):
        await eventually(lambda: desk.lead.waits == 1)
        assert not desk.fake.requests
        desk.lead.give()
        await desk.until_events()


async def test_what_another_has_to_write_is_not_dropped(desk: Desk) -> None:
    writer = desk.writer()
    for lost in (True, False):
        desk.lead.take() if lost else desk.lead.give()
        writer.problems([PROBLEM])
        writer.problems([])
        assert writer.dropped == (not lost)


async def test_the_lead_lost_between_look_and_write_stops_the_write(desk: Desk) -> None:
    writer = desk.writer()
    held = asyncio.Event()
    desk.fake.slow = lambda request: held if request.path.endswith("/ingresses/web") else None
    async with running(writer):
        writer.problems([PROBLEM])
        await desk.fake.until_asked("GET", "/web")
        desk.lead.take()
        held.set()
        await eventually(lambda: desk.lead.waits == 2)
        assert not desk.fake.asked("POST")
        desk.lead.give()
        (event,) = await desk.until_events()
    assert "series" not in event, "it was not written before, so it happened once"


async def test_a_right_that_is_missing_is_one_line_and_no_more_requests_for_a_while(
    desk: Desk, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pacing, "SHORTEST_PAUSE", 0.05)
    monkeypatch.setattr(pacing, "LONGEST_PAUSE", 1000.0)
    desk.fake.refuse = lambda request: FORBIDDEN if request.method == "POST" and "/shop/" in request.path else 0
    desk.ingress("blog", "blog")
    writer = desk.writer()
    async with running(writer):
        writer.problems([PROBLEM, *(Problem(WEB, f"Reason{letter}", "no") for letter in "ABCDE")])
        await eventually(lambda: len(caplog.messages) == 1)
        blog = Problem(ObjectRef("Ingress", "blog", "blog"), "ReasonF", "no")
        writer.problems([PROBLEM, blog])
        (event,) = await desk.until_events()
        assert event["metadata"]["namespace"] == "blog"
        await desk.fake.until_asked("POST", "/shop/", 4)
    assert len(desk.fake.asked("POST", "/shop/")) < 8, "0.05, 0.1, 0.2 seconds and so on"
    (line,) = caplog.messages
    assert line.startswith("Events are not written in namespace shop: POST of")


@pytest.mark.usefixtures("impatient")
async def test_a_right_that_comes_late_is_used(desk: Desk) -> None:
    desk.fake.refuse = lambda request: FORBIDDEN if request.method == "POST" else 0
    writer = desk.writer()
    async with running(writer):
        writer.problems([PROBLEM])
        await desk.fake.until_asked("POST", count=2)
        desk.fake.refuse = lambda request: 0
        await desk.until_events()


async def test_a_broken_api_is_asked_again_with_pauses(
    desk: Desk, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "SHORTEST", 0.02)
    monkeypatch.setattr(events, "LONGEST", 0.1)
    desk.fake.refuse = lambda request: 500 if request.method == "POST" else 0
    writer = desk.writer()
    async with running(writer):
        writer.problems([PROBLEM])
        await desk.fake.until_asked("POST", count=4)
        desk.fake.refuse = lambda request: 0
        (event,) = await desk.until_events()
    assert "series" not in event
    assert len([line for line in caplog.messages if "Events are not written for now" in line]) == 1


async def test_what_the_api_never_takes_is_tried_once(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    desk.ingress("other")
    desk.fake.refuse = lambda request: 422 if "ServiceNotFound" in str(request.body) else 0
    writer = desk.writer()
    async with running(writer):
        writer.problems([PROBLEM, Problem(ObjectRef("Ingress", "shop", "other"), "InvalidValue", "no")])
        await desk.until_events()
        await eventually(lambda: writer.dropped == 1)
    assert "an Event about Ingress shop/web is not written" in caplog.text
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_a_storm_of_events_that_come_and_go_ends(desk: Desk) -> None:
    """An Event that is there when it is made, and gone when it is read."""

    def refuse(request: Any) -> int:
        if request.method == "POST":
            return 409
        return 404 if "/events/" in request.path else 0

    desk.fake.refuse = refuse
    writer = desk.writer()
    async with running(writer):
        writer.problems([PROBLEM])
        await eventually(lambda: writer.dropped == 1)
    assert len(desk.fake.asked("POST")) == events.TRIES
