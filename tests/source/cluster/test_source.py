"""What is particular to a whole cluster: when it is complete, what it lacks, how old it is."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import aclosing

import pytest

from ingressd.model import ObjectRef, Problem
from ingressd.resources import Resource
from ingressd.source.base import Changes
from ingressd.source.cluster import listwatch
from ingressd.source.cluster.access import Access
from ingressd.source.cluster.source import ClusterSource, Scope
from tests.source.cluster.fake import (
    FakeApi,
    Refusal,
    Request,
    endpoint_slice,
    ingress,
    ingress_class,
    namespace,
    secret,
    service,
)
from tests.source.cluster.followed import QUICK, following


def refusing(*kinds: str) -> Callable[[Request], Refusal | None]:
    return lambda request: Refusal(403, "Forbidden", "no") if request.kind in kinds else None


async def test_nothing_is_given_before_every_kind_was_listed(fake: FakeApi, access: Access) -> None:
    for value in (ingress("web"), ingress_class(), service(), endpoint_slice("192.0.2.1")):
        fake.put(value)
    fake.refuse = refusing("EndpointSlice")
    async with following(access) as followed:
        await followed.until(lambda: followed.problems)
        await followed.until(lambda: len(followed.source.missing()) == 1)
        (missing,) = followed.source.missing()
        assert missing.startswith('EndpointSlice objects are not listed yet: the verb "list" on endpointslices')
        assert not followed.objects
        fake.refuse = lambda request: None
        await followed.ready()
        (changes,) = [changes for changes in followed.history if changes.upserts]
        assert {type(one).KIND for one in changes.upserts} == {"Ingress", "IngressClass", "Service", "EndpointSlice"}


async def test_it_says_what_is_missing_and_why(fake: FakeApi, access: Access) -> None:
    await fake.stop()
    async with following(access) as followed:
        await followed.until(lambda: len(followed.source.missing()) == 4 and "connect" in followed.source.missing()[0])
        assert followed.source.missing()[0].startswith("Ingress objects are not listed yet: ")
        fake.put(ingress("web", tls="tls"))
        fake.held = asyncio.Event()
        fake.held.set()
        fake.refuse = lambda request: Refusal(500, "InternalError", "etcd") if request.kind == "Secret" else None
        await fake.start()
        await followed.until(lambda: followed.source.missing() == ["Secret shop/tls is not read yet"])
        fake.refuse = lambda request: None
        await followed.ready()


async def test_of_many_that_are_not_read_some_are_named(fake: FakeApi, access: Access) -> None:
    fake.refuse = lambda request: Refusal(500, "InternalError", "etcd") if request.kind == "Secret" else None
    async with following(access) as followed:
        followed.needed = {ObjectRef("Secret", "shop", f"s{number:02}") for number in range(25)}
        await followed.until(lambda: len(followed.source.missing()) == 11)
        assert followed.source.missing()[0] == "Secret shop/s00 is not read yet"
        assert followed.source.missing()[-1] == "15 more objects that are referred to are not read yet"


async def test_a_missing_secret_completes_it(fake: FakeApi, access: Access) -> None:
    fake.put(ingress("web", tls="tls"))
    async with following(access) as followed:
        await followed.ready()
        await followed.until(lambda: followed.history[-1] == Changes())


async def test_without_the_right_to_ingress_classes_the_rest_goes_on(fake: FakeApi, access: Access) -> None:
    fake.put(ingress("web"))
    fake.refuse = refusing("IngressClass")
    async with following(access, Scope(namespace="shop")) as followed:
        await followed.ready()
        assert followed.hosts() == {"a.example"}
        (problem,) = followed.problems
        assert (str(problem.object), problem.severity) == ("IngressClass *", "warning")
        assert "if they name the class of --ingress-class" in problem.message
        listed = {request.kind: request.namespace for request in fake.asked("list")}
        assert listed == {"Ingress": "shop", "IngressClass": "", "Service": "shop", "EndpointSlice": "shop"}


async def test_what_is_refused_for_a_moment_is_waited_for(fake: FakeApi, access: Access) -> None:
    """An API server that has just started refuses what it allows; ready without it would be ready too soon."""
    fake.put(ingress("web", tls="tls"))
    fake.put(ingress_class())
    fake.put(secret("tls"))

    def refuse_twice(request: Request) -> Refusal | None:
        first = request.kind in ("IngressClass", "Secret") and len(fake.asked(request.verb, request.kind)) <= 2
        return Refusal(403, "Forbidden", "not synchronised yet") if first else None

    fake.refuse = refuse_twice
    async with following(access, watched=0) as followed:
        await followed.ready()
        assert followed.has("IngressClass", "ingressd")
        assert followed.secret("tls") == "a"
        await followed.until(lambda: not followed.problems)


async def test_what_is_deleted_in_a_namespace_that_is_dropped_at_once_is_gone(fake: FakeApi, access: Access) -> None:
    fake.put(namespace("shop", stage="live"))
    fake.put(ingress("web"))
    fake.put(ingress("more", "b.example"))
    async with following(access, Scope(selector="stage=live")) as followed:
        await followed.ready()
        for _ in range(3):
            fake.put(namespace("shop"))
            fake.delete("Ingress", "shop", "web")
            await followed.until(lambda: not followed.objects)
            fake.put(ingress("web", "c.example"))
            fake.put(namespace("shop", stage="live"))
            await followed.until(lambda: followed.hosts() == {"b.example", "c.example"})


async def test_a_right_that_is_taken_away_takes_no_object_away(fake: FakeApi, access: Access) -> None:
    fake.put(ingress("web"))
    async with following(access) as followed:
        await followed.ready()
        fake.refuse = refusing("Ingress")
        fake.cut()
        await followed.until(lambda: followed.reasons() == {("Ingress *", "Forbidden")})
        assert followed.hosts() == {"a.example"}
        assert not followed.source.missing()
        assert not followed.removed


async def test_problems_of_other_namespaces_are_nobody_s(fake: FakeApi, access: Access) -> None:
    fake.put(namespace("shop", stage="live"))
    fake.put(ingress("bad", rules=3))
    fake.put(ingress("bad", namespace="other", rules=3))
    async with following(access, Scope(selector="stage=live")) as followed:
        await followed.ready()
        assert followed.reasons() == {("Ingress shop/bad", "InvalidType")}
        fake.put(namespace("other", stage="live"))
        await followed.until(lambda: len(followed.problems) == 2)


async def test_without_the_right_to_namespaces_none_is_selected(fake: FakeApi, access: Access) -> None:
    fake.put(ingress("web"))
    fake.refuse = refusing("Namespace")
    async with following(access, Scope(selector="stage=live")) as followed:
        await followed.until(lambda: len(followed.source.missing()) == 1 and followed.problems)
        assert 'the verb "list" on namespaces' in followed.source.missing()[0]
        assert not followed.objects


async def test_an_outage_is_in_the_log_once_and_its_end(
    fake: FakeApi, access: Access, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with following(access) as followed:
        await followed.ready()
        await fake.stop()
        await followed.until(lambda: all(one.restarts > 3 for one in followed.source.figures().values()))
        lines = [record.getMessage() for record in caplog.records]
        (line,) = [line for line in lines if line.startswith("no news from the API server")]
        assert "Cannot connect" in line or "Connect call failed" in line
        age = followed.source.figures()["Ingress"].age
        assert age is not None
        assert age > 0
        await fake.start()
        await followed.until(lambda: any("news from the API server again" in line for line in caplog.messages))


async def test_a_connection_that_is_cut_is_not_worth_a_line(
    fake: FakeApi, access: Access, caplog: pytest.LogCaptureFixture
) -> None:
    async with following(access) as followed:
        await followed.ready()
        await fake.until(lambda: len(fake.watches) == 4)
        fake.cut()
        await followed.until(lambda: all(one.restarts == 1 for one in followed.source.figures().values()))
        await fake.until(lambda: len(fake.watches) == 4)
    assert caplog.messages == []


async def test_changes_of_one_object_before_they_are_taken_are_one(fake: FakeApi, access: Access) -> None:
    source = ClusterSource(access, timing=QUICK)
    async with aclosing(source.watch()) as stream:
        await anext(stream)
        await fake.until(lambda: len(fake.watches) == 4)
        for number in range(5):
            fake.put(ingress("web", f"h{number}.example"))
        fake.put(ingress("short"))
        fake.delete("Ingress", "shop", "short")
        upserts: list[Resource] = []
        removals: list[ObjectRef] = []
        while not removals:
            changes = await anext(stream)
            upserts += changes.upserts
            removals += changes.removals
            assert not {one.ref for one in changes.upserts} & set(changes.removals)
        assert removals == [ObjectRef("Ingress", "shop", "short")]
        assert len(upserts) <= 6


async def test_a_defect_ends_it_and_the_next_watch_goes_on(
    fake: FakeApi, access: Access, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.put(ingress("web"))
    source = ClusterSource(access, timing=QUICK)
    stream = source.watch()
    given = await anext(stream)
    assert [one.ref.name for one in given.upserts] == ["web"]
    await fake.until(lambda: len(fake.watches) == 4)
    with monkeypatch.context() as patch:
        patch.setattr(listwatch, "decode_event", lambda line: 1 / 0)
        fake.put(ingress("more", "b.example"))
        with pytest.raises(ZeroDivisionError):
            await anext(stream)
    async with aclosing(source.watch()) as again:
        changes = await anext(again)
        assert [one.ref.name for one in changes.upserts] == ["more"], "what was given is not given again"


async def test_places_are_not_known(access: Access) -> None:
    problem = Problem(ObjectRef("Ingress", "shop", "web"), "Reason", "message")
    source = ClusterSource(access)
    assert source.locate(problem) is problem
    assert source.load() == Changes()
    assert {one.age for one in source.figures().values()} == {None}
    assert set(source.figures()) == {"Ingress", "IngressClass", "Service", "EndpointSlice"}


async def test_a_secret_is_taken_back_when_its_ingress_is_no_longer_selected(fake: FakeApi, access: Access) -> None:
    fake.put(namespace("shop", stage="live"))
    fake.put(ingress("web", tls="tls"))
    fake.put(secret("tls"))
    async with following(access, Scope(selector="stage=live")) as followed:
        await followed.ready()
        assert followed.secret("tls") == "a"
        fake.delete("Namespace", "", "shop")
        await followed.until(lambda: not followed.objects)
