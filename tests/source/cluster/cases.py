"""What a source must do whatever API server there is: run on the fake here, on a real one by tests/cluster.

Each case is a function of a World, in which everything is in one namespace that is the test's own.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Protocol

import msgspec
import pytest

from ingressd.source.cluster.access import Access
from ingressd.source.cluster.api import NO_ANSWER, Api, ApiError, Status
from ingressd.source.cluster.kinds import LISTED, NAMED
from ingressd.source.cluster.named import WATCHED
from ingressd.source.cluster.source import Scope
from ingressd.source.cluster.wire import Page, decode_event, decode_object, decode_page
from tests.source.cluster.fake import Object, endpoint_slice, ingress, secret, service
from tests.source.cluster.followed import DEADLINE, QUICK, Followed, following


class World(Protocol):
    """An API server, and what tests do to it."""

    namespace: str

    @property
    def access(self) -> Access: ...

    @property
    def stranger(self) -> Access:
        """With a token that the API server does not know."""

    async def put(self, value: Object) -> None:
        """Creates or replaces an object, in `namespace`."""

    async def delete(self, kind: str, name: str) -> None: ...

    async def label(self, **labels: str) -> None:
        """Gives `namespace` these labels, and takes away those that tests gave it before."""

    async def cut(self) -> None:
        """All connections are reset, and new ones are served."""

    async def expire(self) -> None:
        """What watches need in order to go on is gone, and so are they."""

    async def down(self) -> None:
        """Nobody listens."""

    async def up(self) -> None:
        """The end of `down`."""


@asynccontextmanager
async def started(world: World, scope: Scope | None = None, watched: int = WATCHED) -> AsyncIterator[Followed]:
    """A source that is ready; without `scope` it reads the namespace of the test."""
    async with following(world.access, scope or Scope(namespace=world.namespace), QUICK, watched) as followed:
        await followed.ready()
        yield followed


async def objects_come_change_and_go(world: World) -> None:
    await world.put(ingress("web"))
    await world.put(endpoint_slice("192.0.2.1"))
    async with started(world) as followed:
        assert followed.hosts() == {"a.example"}
        assert followed.addresses() == ["192.0.2.1"]
        first = next(changes for changes in followed.history if changes.upserts)
        assert {type(one).KIND for one in first.upserts} >= {"Ingress", "EndpointSlice"}, "all kinds at once"
        await world.put(ingress("web", "b.example"))
        await followed.until(lambda: followed.hosts() == {"b.example"})
        await world.put(ingress("more", "c.example"))
        await world.put(service())
        await world.put(endpoint_slice("192.0.2.1", "192.0.2.2"))
        await followed.until(lambda: followed.hosts() == {"b.example", "c.example"})
        await followed.until(lambda: followed.addresses() == ["192.0.2.1", "192.0.2.2"])
        await followed.until(lambda: followed.has("Service", f"{world.namespace}/web"))
        await world.delete("Ingress", "web")
        await world.delete("Service", "web")
        await followed.until(lambda: followed.hosts() == {"c.example"} and not followed.of("Service"))


async def what_happened_while_connections_were_cut_is_seen(world: World) -> None:
    await world.put(ingress("web"))
    async with started(world) as followed:
        await world.cut()
        await world.put(ingress("more", "b.example"))
        await world.delete("Ingress", "web")
        await followed.until(lambda: followed.hosts() == {"b.example"})


async def what_happened_while_nobody_listened_is_seen(world: World) -> None:
    await world.put(ingress("web"))
    await world.put(ingress("old", "b.example"))
    async with started(world) as followed:
        await world.put(ingress("late", "c.example"))
        await followed.until(lambda: "c.example" in followed.hosts())
        await world.down()
        restarts = followed.source.figures()["Ingress"].restarts
        await followed.until(lambda: followed.source.figures()["Ingress"].restarts > restarts + 2)
        assert followed.hosts() == {"a.example", "b.example", "c.example"}
        assert not followed.source.missing(), "what is served goes on"
        assert not followed.removed
        await world.up()
        await world.delete("Ingress", "old")
        await world.put(ingress("web", "d.example"))
        await followed.until(lambda: followed.hosts() == {"c.example", "d.example"})


async def gone_leads_to_a_list_that_takes_nothing_away_before_it_is_complete(world: World) -> None:
    for name in ("a", "b", "c"):
        await world.put(ingress(name, f"{name}.example"))
    async with started(world) as followed:
        await world.delete("Ingress", "a")
        await followed.until(lambda: len(followed.hosts()) == 2)
        await world.expire()
        await world.delete("Ingress", "b")
        await world.put(ingress("d", "d.example"))
        await followed.until(lambda: followed.hosts() == {"c.example", "d.example"})
        assert sorted(ref.name for ref in followed.removed) == ["a", "b"]


async def named_objects_are_read_when_something_refers_to_them(world: World) -> None:
    await world.put(secret("other"))
    await world.put(secret("tls"))
    await world.put(ingress("web", tls="tls"))
    await world.put(ingress("late", "b.example", tls="late"))
    async with started(world) as followed:
        assert followed.secret("tls", world.namespace) == "a"
        assert followed.has("Secret", f"{world.namespace}/tls"), "what nothing refers to is not read"
        await world.put(secret("late", "c"))
        await followed.until(lambda: followed.secret("late", world.namespace) == "c")
        await world.put(secret("tls", "b"))
        await followed.until(lambda: followed.secret("tls", world.namespace) == "b")
        await world.delete("Secret", "tls")
        await followed.until(lambda: followed.secret("tls", world.namespace) is None)
        await world.delete("Ingress", "late")
        await followed.until(lambda: not followed.of("Secret"))


async def named_objects_beyond_the_watched_are_read_now_and_then(world: World) -> None:
    for name in ("one", "two", "three"):
        await world.put(secret(name))
        await world.put(ingress(name, f"{name}.example", tls=name))
    async with started(world, watched=1) as followed:
        assert len(followed.of("Secret")) == 3
        for name in ("one", "two", "three"):
            await world.put(secret(name, "b"))
        for name in ("one", "two", "three"):
            await followed.until(partial(_has_value, followed, world, name, "b"))
        await world.delete("Secret", "two")
        await followed.until(lambda: followed.secret("two", world.namespace) is None)


async def namespaces_are_selected_by_their_labels(world: World) -> None:
    await world.put(ingress("web"))
    async with started(world, Scope(selector=f"test={world.namespace}")) as followed:
        assert not followed.of("Ingress")
        await world.label(test=world.namespace)
        await followed.until(lambda: followed.has("Ingress", f"{world.namespace}/web"))
        await world.put(ingress("web", "b.example", tls="tls"))
        await world.put(secret("tls"))
        await followed.until(lambda: followed.hosts() == {"b.example"})
        await followed.until(lambda: followed.secret("tls", world.namespace))
        await world.label(test="other")
        await followed.until(lambda: not followed.objects.keys() - followed.of("IngressClass"))
        await world.put(ingress("more", "c.example"))
        await world.label(test=world.namespace)
        await followed.until(lambda: followed.hosts() == {"b.example", "c.example"})


async def lists_come_in_pages_of_one_moment(world: World) -> None:
    for name in ("a", "b", "c"):
        await world.put(ingress(name))
    async with _using(world.access) as api:
        first = await _page(api, world, limit="2")
        assert _names(first) == ["a", "b"]
        await world.put(ingress("late"))
        await world.delete("Ingress", "c")
        second = await _page(api, world, **{"limit": "2", "continue": first.metadata.more})
        assert _names(second) == ["c"]
        assert not second.metadata.more
        assert second.metadata.resource_version == first.metadata.resource_version
        lines = _watch(world, second.metadata.resource_version)
        async with api.lines(*lines, silence=DEADLINE, total=DEADLINE) as events:
            seen = [decode_event(await anext(events)) for _ in range(2)]
        names = [decode_object(event.object).metadata.name for event in seen]
        assert [(event.type, name) for event, name in zip(seen, names, strict=True)] == [
            ("ADDED", "late"),
            ("DELETED", "c"),
        ]


async def pages_and_watches_of_what_is_no_longer_kept_are_gone(world: World) -> None:
    for name in ("a", "b", "c"):
        await world.put(ingress(name))
    async with _using(world.access) as api:
        first = await _page(api, world, limit="2")
        await world.put(ingress("late"))
        await world.expire()
        with pytest.raises(ApiError) as caught:
            await _page(api, world, **{"limit": "2", "continue": first.metadata.more})
        assert (caught.value.status, caught.value.reason) == (410, "Expired")
        lines = _watch(world, first.metadata.resource_version)
        async with api.lines(*lines, silence=DEADLINE, total=DEADLINE) as events:
            event = decode_event(await anext(events))
        error = msgspec.json.decode(event.object, type=Status).error()
        assert (event.type, error.status, error.reason) == ("ERROR", 410, "Expired")


async def who_is_not_known_is_told_so(world: World) -> None:
    async with _using(world.stranger) as api:
        with pytest.raises(ApiError) as caught:
            await _page(api, world)
    assert (caught.value.status, caught.value.reason) == (401, "Unauthorized")


async def what_is_not_there_is_told_so(world: World) -> None:
    kind = NAMED["Secret"]
    async with _using(world.access) as api:
        with pytest.raises(ApiError) as caught:
            await api.request("GET", kind.path(world.namespace, "missing"))
    assert (caught.value.status, caught.value.reason) == (404, "NotFound")


@asynccontextmanager
async def _using(access: Access) -> AsyncIterator[Api]:
    api = Api(access)
    try:
        yield api
    finally:
        await api.close()


async def _page(api: Api, world: World, **query: str) -> Page:
    """Of Ingresses. The connection may have been cut before: then it is asked for again."""
    for last in (False, True):
        try:
            return decode_page(await api.request("GET", LISTED[0].path(world.namespace), query))
        except ApiError as error:
            if last or error.status != NO_ANSWER:
                raise
    raise AssertionError


def _names(page: Page) -> list[str]:
    return [decode_object(item).metadata.name for item in page.items or ()]


def _watch(world: World, version: str) -> tuple[str, dict[str, str]]:
    """Path and query of a watch of Ingresses."""
    return LISTED[0].path(world.namespace), {"watch": "true", "resourceVersion": version, "timeoutSeconds": "60"}


def _has_value(followed: Followed, world: World, name: str, value: str) -> bool:
    return followed.secret(name, world.namespace) == value


Case = Callable[[World], Awaitable[None]]
CASES: tuple[Case, ...] = (
    objects_come_change_and_go,
    what_happened_while_connections_were_cut_is_seen,
    what_happened_while_nobody_listened_is_seen,
    gone_leads_to_a_list_that_takes_nothing_away_before_it_is_complete,
    named_objects_are_read_when_something_refers_to_them,
    named_objects_beyond_the_watched_are_read_now_and_then,
    namespaces_are_selected_by_their_labels,
    lists_come_in_pages_of_one_moment,
    pages_and_watches_of_what_is_no_longer_kept_are_gone,
    who_is_not_known_is_told_so,
    what_is_not_there_is_told_so,
)
