"""Secrets and ConfigMaps by name: how many connections they take, what is asked for, what is refused."""

import asyncio

import pytest

from ingressd.model import ObjectRef
from ingressd.resources import ConfigMap
from ingressd.source.cluster.access import CONNECTIONS, Access
from ingressd.source.cluster.named import CONCURRENT, WATCHED
from tests.source.cluster.fake import FakeApi, Refusal, Request, config_map, ingress, secret
from tests.source.cluster.followed import QUICK, following

TLS = ObjectRef("Secret", "shop", "tls")


def no_list(request: Request) -> Refusal | None:
    """As with a role that grants `get` alone."""
    refused = request.kind == "Secret" and request.verb != "get"
    return Refusal(403, "Forbidden", "no") if refused else None


async def test_only_what_is_referred_to_is_asked_for_by_name(fake: FakeApi, access: Access) -> None:
    fake.put(secret("tls"))
    fake.put(secret("other"))
    fake.put(ingress("web", tls="tls"))
    async with following(access) as followed:
        await followed.ready()
        assert followed.secret("tls") == "a"
        await fake.until(lambda: fake.asked("watch", "Secret"))
        asked = [request for request in fake.requests if request.kind == "Secret"]
        assert {(request.verb, request.namespace, request.name) for request in asked} == {
            ("list", "shop", "tls"),
            ("watch", "shop", "tls"),
        }
        assert {request.query["fieldSelector"] for request in asked} == {"metadata.name=tls"}


async def test_config_maps_are_read_in_the_same_way(fake: FakeApi, access: Access) -> None:
    fake.put(config_map("headers", "x"))
    ref = ObjectRef("ConfigMap", "shop", "headers")
    async with following(access) as followed:
        followed.needed = {ref}
        await followed.until(lambda: ref in followed.objects)
        found = followed.objects[ref]
        assert isinstance(found, ConfigMap)
        assert found.data == {"key": "x"}


async def test_many_references_are_not_one_connection_each(fake: FakeApi, access: Access) -> None:
    assert WATCHED < CONNECTIONS / 2
    for number in range(40):
        fake.put(secret(f"s{number}"))
        fake.put(ingress(f"web{number}", f"h{number}.example", tls=f"s{number}"))
    async with following(access, watched=10) as followed:
        await followed.ready()
        assert len(followed.of("Secret")) == 40
        await fake.until(lambda: len([watch for watch in fake.watches if watch.request.kind == "Secret"]) == 10)
        watched = {watch.request.name for watch in fake.watches if watch.request.kind == "Secret"}
        polled = {f"s{number}" for number in range(40)} - watched
        assert {request.name for request in fake.asked("get", "Secret")} == polled
        some = sorted(polled)[0]
        fake.put(secret(some, "b"))
        await followed.until(lambda: followed.secret(some) == "b")
        one = sorted(watched)[0]
        fake.delete("Ingress", "shop", f"web{one[1:]}")
        await followed.until(lambda: ObjectRef("Secret", "shop", one) not in followed.objects)
        await fake.until(
            lambda: {watch.request.name for watch in fake.watches if watch.request.kind == "Secret"} - watched
        )


async def test_no_more_than_a_few_are_read_at_a_time(fake: FakeApi, access: Access) -> None:
    for number in range(30):
        fake.put(ingress(f"web{number}", f"h{number}.example", tls=f"s{number}"))
    async with following(access, watched=0) as followed:
        await followed.ready()
        fake.held = asyncio.Event()
        await fake.until(lambda: fake.waiting == CONCURRENT)
        await asyncio.sleep(0.1)
        assert fake.waiting == CONCURRENT
        fake.held.set()


async def test_many_are_read_more_seldom(fake: FakeApi, access: Access) -> None:
    """20 objects at 2 reads a second: each is read every 10 seconds, although one alone would be every 0.25."""
    for number in range(20):
        fake.put(secret(f"s{number}"))
        fake.put(ingress(f"web{number}", f"h{number}.example", tls=f"s{number}"))
    async with following(access, timing=QUICK._replace(poll=0.25, reads=2.0), watched=0) as followed:
        await followed.ready()
        await asyncio.sleep(0.5)
        assert len(fake.asked("get", "Secret")) == 20


async def test_a_role_that_grants_get_alone_is_enough(fake: FakeApi, access: Access) -> None:
    fake.refuse = no_list
    fake.put(secret("tls"))
    fake.put(ingress("web", tls="tls"))
    async with following(access) as followed:
        await followed.ready()
        assert followed.secret("tls") == "a"
        fake.put(secret("tls", "b"))
        await followed.until(lambda: followed.secret("tls") == "b")
        assert not followed.problems
        assert len(fake.asked("list", "Secret")) == 1, "what is refused is not asked for again and again"


async def test_what_is_refused_for_a_moment_is_watched_again(fake: FakeApi, access: Access) -> None:
    """As by an API server that has just started."""
    fake.put(secret("tls"))
    fake.put(ingress("web", tls="tls"))
    async with following(access, timing=QUICK._replace(again=0.2)) as followed:
        await followed.ready()
        await fake.until(lambda: fake.asked("watch", "Secret"))
        fake.refuse = no_list
        fake.cut()
        await fake.until(lambda: fake.asked("get", "Secret"))
        fake.refuse = lambda request: None
        await fake.until(lambda: [watch for watch in fake.watches if watch.request.kind == "Secret"])
        fake.put(secret("tls", "b"))
        await followed.until(lambda: followed.secret("tls") == "b")


async def test_what_must_not_be_read_is_a_problem_and_keeps_nobody_waiting(fake: FakeApi, access: Access) -> None:
    fake.refuse = lambda request: Refusal(403, "Forbidden", "no") if request.kind == "Secret" else None
    fake.put(ingress("web", tls="tls"))
    async with following(access) as followed:
        await followed.ready()
        (problem,) = followed.problems
        assert (problem.object, problem.reason) == (TLS, "Forbidden")
        assert problem.message.startswith('the verb "get" on secrets tls in namespace shop is missing in the role')
        fake.refuse = lambda request: None
        fake.put(secret("tls"))
        await followed.until(lambda: followed.secret("tls") == "a" and not followed.problems)


@pytest.mark.parametrize("watched", [0, 1])
async def test_a_secret_that_cannot_be_read_is_a_problem_without_its_content(
    fake: FakeApi, access: Access, watched: int
) -> None:
    fake.put({**secret("tls"), "data": {"key": "not base64!"}})
    fake.put(ingress("web", tls="tls"))
    async with following(access, watched=watched) as followed:
        await followed.ready()
        (problem,) = followed.problems
        assert (problem.object, problem.field) == (TLS, "data[key]")
        assert "not base64!" not in problem.message
        fake.put(secret("tls"))
        await followed.until(lambda: followed.secret("tls") == "a")
        await followed.until(lambda: not followed.problems)
        fake.put({**secret("tls"), "data": {"key": "not base64!"}})
        await followed.until(lambda: followed.problems)
        assert followed.secret("tls") == "a", "the last good state stays"


async def test_what_is_missing_is_looked_for_sooner(fake: FakeApi, access: Access) -> None:
    fake.put(ingress("web", tls="tls"))
    async with following(access, timing=QUICK._replace(poll=3600.0), watched=0) as followed:
        await followed.ready()
        await fake.until(lambda: len(fake.asked("get", "Secret")) >= 3)
        fake.put(secret("tls"))
        await followed.until(lambda: followed.secret("tls") == "a")


async def test_one_that_is_gone_when_it_is_watched_at_last_is_taken_back(fake: FakeApi, access: Access) -> None:
    for name in ("one", "two"):
        fake.put(secret(name))
        fake.put(ingress(name, f"{name}.example", tls=name))
    async with following(access, timing=QUICK._replace(poll=0.2), watched=1) as followed:
        await followed.ready()
        await fake.until(lambda: [watch for watch in fake.watches if watch.request.kind == "Secret"])
        (watched,) = [watch.request.name for watch in fake.watches if watch.request.kind == "Secret"]
        other = "two" if watched == "one" else "one"
        fake.refuse = lambda request: Refusal(500, "InternalError", "no") if request.verb == "get" else None
        fake.delete("Secret", "shop", other)
        fake.delete("Ingress", "shop", watched)
        await followed.until(lambda: not followed.of("Secret"))


async def test_the_figures_are_of_all_of_a_kind(fake: FakeApi, access: Access) -> None:
    for name in ("one", "two"):
        fake.put(ingress(name, f"{name}.example", tls=name))
    async with following(access, watched=1) as followed:
        await followed.ready()
        await fake.until(lambda: [watch for watch in fake.watches if watch.request.kind == "Secret"])
        fake.cut()
        await followed.until(lambda: followed.source.figures()["Secret"].restarts == 1)
        age = followed.source.figures()["Secret"].age
        assert age is not None
        assert 0 <= age < 60


async def test_restarts_count_though_their_object_is_no_longer_referred_to(fake: FakeApi, access: Access) -> None:
    """They are a counter, which goes up only."""
    fake.put(secret("a"))
    async with following(access) as followed:
        refs = followed.needed = [ObjectRef("Secret", "shop", "a")]
        followed.source.need(refs)
        await fake.until(lambda: [watch for watch in fake.watches if watch.request.kind == "Secret"])
        fake.cut()
        await followed.until(lambda: followed.source.figures()["Secret"].restarts == 1)
        followed.source.need([])
        assert followed.source.figures()["Secret"].restarts == 1
        followed.source.need(refs)
        assert followed.source.figures()["Secret"].restarts == 1


async def test_what_is_referred_to_again_is_read_again(fake: FakeApi, access: Access) -> None:
    fake.put(secret("tls"))
    async with following(access) as followed:
        await followed.ready()
        fake.put(ingress("web", tls="tls"))
        await followed.until(lambda: followed.secret("tls") == "a")
        fake.put(ingress("web"))
        await followed.until(lambda: followed.secret("tls") is None)
        fake.put(secret("tls", "b"))
        fake.put(ingress("web", tls="tls"))
        await followed.until(lambda: followed.secret("tls") == "b")
