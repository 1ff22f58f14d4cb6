"""Lists and watches of one kind: pages, versions, what breaks off and what is gone."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from time import monotonic

import pytest

from ingressd.resources import Ingress, Resource, parse_json
from ingressd.resources.store import Name
from ingressd.source.cluster.access import Access
from ingressd.source.cluster.api import Api
from ingressd.source.cluster.kinds import LISTED
from ingressd.source.cluster.listwatch import STUMBLES, ListWatch, Timing
from ingressd.source.cluster.outage import Outage
from tests.kit import eventually
from tests.source.cluster.fake import FakeApi, Refusal, Request, ingress
from tests.source.cluster.followed import DEADLINE, QUICK

INGRESS = LISTED[0]


class Kept:
    """What a ListWatch of Ingresses tells: `hosts` by name, and all changes in their order."""

    def __init__(self, api: Api, timing: Timing, patient: bool) -> None:
        self.hosts: dict[str, str] = {}
        self.changes: list[tuple[str, str]] = []
        self.notes = 0
        self._news = asyncio.Event()
        outage = Outage(logging.getLogger("outage"), monotonic)
        read = partial(parse_json, INGRESS.name)
        self.watch: ListWatch[Resource] = ListWatch(
            api, INGRESS, read, self._changed, self._noted, outage, timing, patient=patient
        )

    def _changed(self, name: Name, resource: Resource | None) -> None:
        if resource is None:
            del self.hosts[name[1]]
        else:
            assert isinstance(resource, Ingress)
            self.hosts[name[1]] = resource.spec.rules[0].host
        self.changes.append((name[1], self.hosts.get(name[1], "")))
        self._news.set()

    def _noted(self) -> None:
        self.notes += 1
        self._news.set()

    async def until(self, condition: Callable[[], object]) -> None:
        """On what was told."""
        async with asyncio.timeout(DEADLINE):
            while not condition():
                self._news.clear()
                await self._news.wait()

    def problems(self) -> list[tuple[str, str]]:
        return [(str(problem.object), problem.field or problem.message) for problem in self.watch.problems()]


@asynccontextmanager
async def keeping(access: Access, timing: Timing = QUICK, patient: bool = True) -> AsyncIterator[Kept]:
    api = Api(access)
    kept = Kept(api, timing, patient)
    task = asyncio.get_running_loop().create_task(kept.watch.run())
    try:
        yield kept
        assert not task.done() or not patient, task.exception()
    finally:
        task.cancel()
        await asyncio.wait([task])
        await api.close()


def asked(fake: FakeApi, verb: str) -> Callable[[int], Callable[[], bool]]:
    return lambda count: lambda: len(fake.asked(verb)) >= count


async def settled() -> None:
    """What is not waiting for a pause has its turn: a request that is not made in this time waits for one."""
    await asyncio.sleep(0.1)


# --- lists


async def test_a_list_comes_in_pages_and_the_watch_begins_where_it_ends(fake: FakeApi, access: Access) -> None:
    for number in range(7):
        fake.put(ingress(f"web{number}", f"h{number}.example"))
    fake.page = 3
    async with keeping(access) as kept:
        await fake.until(lambda: fake.watches)
        assert len(kept.hosts) == 7
        assert [request.query.get("continue", "") == "" for request in fake.asked("list")] == [True, False, False]
        assert {request.query["limit"] for request in fake.asked("list")} == {"500"}
        query = fake.watches[0].request.query
        assert query["resourceVersion"] == "107"
        assert query["allowWatchBookmarks"] == "true"
        assert query["timeoutSeconds"] == "60"


async def test_410_in_the_middle_of_pages_begins_the_list_anew(fake: FakeApi, access: Access) -> None:
    for number in range(4):
        fake.put(ingress(f"web{number}"))
    fake.page = 2

    def compact_once(request: Request) -> Refusal | None:
        if "continue" in request.query and len(fake.asked("list")) == 2:
            fake.put(ingress("more"))
            fake.compact()
        return None

    fake.refuse = compact_once
    async with keeping(access) as kept:
        await fake.until(lambda: fake.watches)
        assert len(kept.hosts) == 5
        assert len(fake.asked("list")) == 5
        assert kept.notes == 1, "it counts only as a whole"


async def test_a_list_without_items_is_empty(fake: FakeApi, access: Access) -> None:
    fake.answer = lambda request: b'{"metadata":{"resourceVersion":"5"},"items":null}'
    async with keeping(access) as kept:
        await fake.until(lambda: fake.watches)
        assert kept.watch.listed


# --- watches


async def test_a_watch_goes_on_from_the_version_it_had_reached(fake: FakeApi, access: Access) -> None:
    async with keeping(access, QUICK._replace(steady=0.0)) as kept:
        await fake.until(lambda: fake.watches)
        fake.put(ingress("web"))
        await kept.until(lambda: kept.hosts)
        for end in (fake.cut, fake.end):
            opened = len(fake.asked("watch"))
            end()
            await fake.until(asked(fake, "watch")(opened + 1))
            assert fake.asked("watch")[-1].query["resourceVersion"] == "101"
        assert len(fake.asked("list")) == 1
        assert kept.changes == [("web", "a.example")], "nothing is told twice"
        assert kept.watch.restarts == 1, "a watch whose time is over has not broken off"


async def test_a_bookmark_moves_the_version(fake: FakeApi, access: Access) -> None:
    async with keeping(access) as kept:
        await fake.until(lambda: fake.watches)
        heard = kept.watch.heard
        fake.version = 250
        fake.bookmark()
        fake.end()
        await fake.until(asked(fake, "watch")(2))
        assert fake.asked("watch")[-1].query["resourceVersion"] == "250"
        assert heard is not None
        assert kept.watch.heard is not None
        assert kept.watch.heard >= heard


@pytest.mark.parametrize("in_watch", [True, False])
async def test_410_leads_to_a_new_list_that_takes_what_is_gone(fake: FakeApi, access: Access, in_watch: bool) -> None:
    fake.gone_in_watch = in_watch
    for name in ("a", "b", "c"):
        fake.put(ingress(name))
    async with keeping(access) as kept:
        await fake.until(lambda: fake.watches)
        fake.cut()
        fake.delete("Ingress", "shop", "b")
        fake.put(ingress("c", "other.example"))
        fake.compact()
        await kept.until(lambda: kept.hosts == {"a": "a.example", "c": "other.example"})
        assert kept.changes[3:] == [("b", ""), ("c", "other.example")]
        assert kept.watch.restarts >= 1


async def test_410_over_and_over_makes_pauses(fake: FakeApi, access: Access) -> None:
    timing = QUICK._replace(shortest=60.0, longest=60.0, steady=60.0)
    fake.gone_in_watch = False
    fake.refuse = lambda request: Refusal(410, "Expired", "gone") if request.verb == "watch" else None
    async with keeping(access, timing):
        await fake.until(asked(fake, "watch")(2))
        await settled()
        assert len(fake.asked("list")) == 2


async def test_an_error_in_a_watch_opens_it_again(fake: FakeApi, access: Access) -> None:
    async with keeping(access) as kept:
        await fake.until(lambda: fake.watches)
        fake.raw(b'{"type":"ERROR","object":{"kind":"Status","code":500,"reason":"InternalError","message":"etcd"}}')
        await fake.until(asked(fake, "watch")(2))
        assert len(fake.asked("list")) == 1
        assert kept.watch.restarts == 1


@pytest.mark.parametrize("line", [b"{", b"[]", b'{"type":"ADDED"}', b"\xff", b'{"type":3,"object":{}}', b""])
async def test_what_no_api_server_says_opens_it_again(fake: FakeApi, access: Access, line: bytes) -> None:
    async with keeping(access) as kept:
        await fake.until(lambda: fake.watches)
        fake.raw(line)
        await fake.until(asked(fake, "watch")(2))
        fake.put(ingress("web"))
        await kept.until(lambda: kept.hosts)
        assert len(fake.asked("list")) == 1


async def test_types_of_events_nobody_knows_are_passed_over(fake: FakeApi, access: Access) -> None:
    async with keeping(access) as kept:
        await fake.until(lambda: fake.watches)
        fake.raw(b'{"type":"TOMORROW","object":{"metadata":{"name":"x","namespace":"shop","resourceVersion":"101"}}}')
        fake.put(ingress("web"))
        await kept.until(lambda: kept.hosts)
        assert len(fake.asked("watch")) == 1


async def test_a_silent_watch_is_opened_again(fake: FakeApi, access: Access) -> None:
    async with keeping(access, QUICK._replace(silence=0.05)) as kept:
        await fake.until(lambda: fake.watches)

        def speak_in_the_next(request: Request) -> None:
            fake.silent = request.verb != "watch"

        fake.silent = True
        fake.refuse = speak_in_the_next
        fake.put(ingress("web"))
        await kept.until(lambda: kept.hosts)
        assert len(fake.asked("watch")) == 2
        assert len(fake.asked("list")) == 1


async def test_after_two_silent_watches_there_is_a_new_list(fake: FakeApi, access: Access) -> None:
    """The storage of the API server was put back to an earlier state: it has nothing to say to those who know more."""
    for name in ("old", "new"):
        fake.put(ingress(name))
    async with keeping(access, QUICK._replace(silence=0.05)) as kept:
        await fake.until(lambda: fake.watches)
        fake.silent = True
        del fake.objects["Ingress"]["shop", "new"]
        fake.version = 101
        await kept.until(lambda: set(kept.hosts) == {"old"})
        await fake.until(lambda: fake.asked("watch")[-1].query["resourceVersion"] == "101")


async def test_an_api_server_that_is_away_costs_no_new_list(fake: FakeApi, access: Access) -> None:
    async with keeping(access) as kept:
        await fake.until(lambda: fake.watches)
        await fake.stop()
        await eventually(lambda: kept.watch.restarts >= 2 * STUMBLES, "it was tried again and again")
        fake.put(ingress("web"))
        await fake.start()
        await kept.until(lambda: kept.hosts)
        assert len(fake.asked("list")) == 1


async def test_what_a_watch_cannot_get_over_a_new_list_does(fake: FakeApi, access: Access) -> None:
    """Not a version that is gone, but an API server that fails from this version on, and only in watches."""
    fake.refuse = lambda request: Refusal(500, "InternalError", "no") if request.verb == "watch" else None
    async with keeping(access) as kept:
        await fake.until(asked(fake, "watch")(1))
        fake.put(ingress("web"))
        await kept.until(lambda: kept.hosts)
        assert len(fake.asked("watch")) >= STUMBLES + 1, "first it is tried again"


async def test_a_watch_that_ends_at_once_over_and_over_makes_pauses(fake: FakeApi, access: Access) -> None:
    timing = QUICK._replace(shortest=60.0, longest=60.0, steady=60.0)
    async with keeping(access, timing):
        await fake.until(lambda: fake.watches)
        fake.end()
        await fake.until(lambda: len(fake.asked("watch")) == 2 and fake.watches)
        fake.end()
        await fake.until(lambda: not fake.watches)
        await settled()
        assert len(fake.asked("watch")) == 2


async def test_a_watch_that_is_never_opened_makes_pauses_however_long_it_took(fake: FakeApi, access: Access) -> None:
    fake.refuse = lambda request: Refusal(500, "InternalError", "no") if request.verb == "watch" else None
    async with keeping(access, QUICK._replace(shortest=60.0, longest=60.0, steady=0.0)):
        await fake.until(asked(fake, "watch")(2))
        await settled()
        assert len(fake.asked("watch")) == 2


async def test_the_api_server_says_how_long_to_wait(fake: FakeApi, access: Access) -> None:
    fake.refuse = lambda request: Refusal(429, "TooManyRequests", "later", after=60)
    async with keeping(access):
        await fake.until(asked(fake, "list")(1))
        await settled()
        assert len(fake.asked("list")) == 1


# --- objects that cannot be read


async def test_an_object_that_cannot_be_read_is_a_problem_and_the_others_are_there(
    fake: FakeApi, access: Access
) -> None:
    fake.put(ingress("bad", rules=3))
    fake.put(ingress("good"))
    async with keeping(access) as kept:
        await kept.until(lambda: kept.problems())
        assert set(kept.hosts) == {"good"}
        assert kept.problems() == [("Ingress shop/bad", "spec.rules")]
        fake.put(ingress("bad", "b.example"))
        await kept.until(lambda: "bad" in kept.hosts)
        assert kept.problems() == []


async def test_the_last_good_state_of_an_object_stays(fake: FakeApi, access: Access) -> None:
    fake.put(ingress("web"))
    async with keeping(access) as kept:
        await fake.until(lambda: fake.watches)
        fake.put(ingress("web", rules=3))
        await kept.until(lambda: kept.problems())
        assert kept.hosts == {"web": "a.example"}
        fake.compact()
        fake.put(ingress("other"))
        fake.compact()
        fake.cut()
        await kept.until(lambda: "other" in kept.hosts)
        assert kept.hosts["web"] == "a.example", "also when a list has it broken"
        fake.delete("Ingress", "shop", "web")
        await kept.until(lambda: "web" not in kept.hosts)
        await kept.until(lambda: not kept.problems())


# --- rights


def refusing(*verbs: str) -> Callable[[Request], Refusal | None]:
    return lambda request: Refusal(403, "Forbidden", "nobody may") if request.verb in verbs else None


async def test_a_right_that_is_missing_is_named_and_asked_for_again(fake: FakeApi, access: Access) -> None:
    fake.put(ingress("web"))
    fake.refuse = refusing("list")
    async with keeping(access) as kept:
        await kept.until(lambda: kept.problems())
        message = 'the verb "list" on ingresses.networking.k8s.io in all namespaces is missing in the role'
        assert kept.problems()[0][1].startswith(message)
        assert "nobody may" in kept.problems()[0][1]
        assert not kept.watch.listed
        fake.refuse = lambda request: None
        await kept.until(lambda: not kept.problems())
        assert set(kept.hosts) == {"web"}


async def test_without_the_right_to_watch_lists_have_to_do(fake: FakeApi, access: Access) -> None:
    fake.put(ingress("web"))
    fake.refuse = refusing("watch")
    async with keeping(access) as kept:
        await kept.until(lambda: kept.problems())
        assert 'the verb "watch"' in kept.problems()[0][1]
        fake.put(ingress("more"))
        await kept.until(lambda: set(kept.hosts) == {"web", "more"})
        assert kept.problems(), "the right is still missing"
        fake.refuse = lambda request: None
        await kept.until(lambda: not kept.problems())


async def test_an_api_server_that_has_just_started_may_refuse_for_a_moment(fake: FakeApi, access: Access) -> None:
    async with keeping(access) as kept:
        await fake.until(lambda: fake.watches)
        refused: list[Request] = []

        def first(request: Request) -> Refusal | None:
            if refused:
                return None
            refused.append(request)
            return Refusal(403, "Forbidden", "not synchronised yet")

        fake.refuse = first
        notes = kept.notes
        fake.cut()
        await fake.until(lambda: refused and fake.watches)
        fake.put(ingress("web"))
        await kept.until(lambda: kept.hosts)
        assert kept.notes == notes
        assert len(fake.asked("list")) == 1, "the version is kept"


async def test_a_kind_that_is_not_served_is_named(fake: FakeApi, access: Access) -> None:
    fake.refuse = lambda request: Refusal(404, "NotFound", "the server could not find the requested resource")
    async with keeping(access) as kept:
        await kept.until(lambda: kept.problems())
        assert kept.problems()[0][1].startswith("the API server has no ingresses.networking.k8s.io in version v1")


async def test_who_is_not_patient_ends_when_refused(fake: FakeApi, access: Access) -> None:
    fake.refuse = refusing("list")
    async with keeping(access, patient=False) as kept:
        await kept.until(lambda: kept.watch.refused)
        assert len(fake.asked("list")) == 1
