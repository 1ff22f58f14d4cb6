"""Single objects at the API: what is sent, what comes back, and what is made of answers that are none."""

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest
import pytest_asyncio

from ingressd.control import api as module
from ingressd.control.api import CONFLICT, FORBIDDEN, NotAllowedNow, Object, Objects, Page, is_passing
from ingressd.source.cluster.api import NO_ANSWER, ApiError
from tests.control.fake_api import FakeApi, api_at, fake_api
from tests.kit.stream import DEADLINE

THINGS = "/apis/example.dev/v1/namespaces/default/ingresses"
THING = f"{THINGS}/web"


class Thing(msgspec.Struct, frozen=True):
    colour: str


@pytest_asyncio.fixture
async def fake() -> AsyncIterator[FakeApi]:
    async with fake_api() as made:
        yield made


@pytest_asyncio.fixture
async def objects(fake: FakeApi) -> AsyncIterator[Objects]:
    async with api_at(fake.url) as api:
        yield Objects(api, timeout=5)


async def test_an_object_is_decoded_into_the_type_asked_for(fake: FakeApi, objects: Objects) -> None:
    fake.put(THING, colour="red")
    assert await objects.get(THING, Thing) == Thing("red")
    assert (await objects.get(THING, Object)).metadata.name == "web"


async def test_a_patch_merges(fake: FakeApi, objects: Objects) -> None:
    made = fake.put(THING, colour="red", size=1)
    version = made["metadata"]["resourceVersion"]
    await objects.patch(THING, {"metadata": {"resourceVersion": version}, "colour": "blue"}, Thing)
    assert (fake.objects[THING]["colour"], fake.objects[THING]["size"]) == ("blue", 1)
    with pytest.raises(ApiError) as caught:
        await objects.patch(THING, {"metadata": {"resourceVersion": version}, "colour": "green"}, Thing)
    assert caught.value.status == CONFLICT
    assert fake.objects[THING]["colour"] == "blue"


async def test_what_exists_is_not_created(fake: FakeApi, objects: Objects) -> None:
    await objects.create(THINGS, {"metadata": {"name": "web"}, "colour": "red"}, Thing)
    with pytest.raises(ApiError) as caught:
        await objects.create(THINGS, {"metadata": {"name": "web"}, "colour": "blue"}, Thing)
    assert caught.value.status == CONFLICT
    assert fake.objects[THING]["colour"] == "red"


async def test_a_list_comes_in_pages(fake: FakeApi, objects: Objects, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAGE", 2)
    for number in range(5):
        fake.put(f"{THINGS}/web{number}", colour="red", metadata={"labels": {"odd": str(number % 2)}})
    pages = [page async for page in objects.pages(THINGS, Page[Object])]
    assert [[each.metadata.name for each in page] for page in pages] == [["web0", "web1"], ["web2", "web3"], ["web4"]]
    odd = [
        each.metadata.name async for page in objects.pages(THINGS, Page[Object], labelSelector="odd=1") for each in page
    ]
    assert odd == ["web1", "web3"]


async def test_an_empty_list_may_be_null(fake: FakeApi, objects: Objects) -> None:
    fake.put(THINGS, items=None)
    assert [page async for page in objects.pages(THINGS, Page[Object])] == [()]


async def test_a_refusal_carries_what_the_api_says(fake: FakeApi, objects: Objects) -> None:
    fake.refuse = lambda request: FORBIDDEN
    with pytest.raises(ApiError, match="is refused by the test") as caught:
        await objects.get(THING, Thing)
    assert caught.value.status == FORBIDDEN
    assert not is_passing(caught.value)


@pytest.mark.parametrize("status", [401, 429, 500, 503])
async def test_an_api_that_is_not_itself_is_a_passing_fault(fake: FakeApi, objects: Objects, status: int) -> None:
    fake.refuse = lambda request: status
    with pytest.raises(ApiError) as caught:
        await objects.get(THING, Thing)
    assert is_passing(caught.value)


async def test_a_slow_api_is_given_up(fake: FakeApi) -> None:
    forever = asyncio.Event()
    fake.slow = lambda request: forever
    async with api_at(fake.url) as api:
        with pytest.raises(ApiError, match=r"no answer to GET \S+/web within 0.1 s") as caught:
            await Objects(api, timeout=0.1).get(THING, Thing)
    assert is_passing(caught.value)


async def test_an_answer_of_another_shape_is_no_answer(fake: FakeApi, objects: Objects) -> None:
    fake.put(THING, colour=7)
    with pytest.raises(ApiError, match="not what an API server says") as caught:
        await objects.get(THING, Thing)
    assert caught.value.status == NO_ANSWER


async def test_nobody_there_is_no_answer() -> None:
    async with fake_api() as gone:
        url = gone.url
    async with api_at(url) as api:
        with pytest.raises(ApiError) as caught:
            await Objects(api, timeout=5).get(THING, Thing)
    assert is_passing(caught.value)


async def test_no_write_starts_without_leave(fake: FakeApi) -> None:
    fake.put(THING, colour="red")
    async with api_at(fake.url) as api:
        objects = Objects(api, 5, may_write=lambda: False)
        with pytest.raises(NotAllowedNow):
            await objects.patch(THING, {"colour": "blue"}, Thing)
        with pytest.raises(NotAllowedNow):
            await objects.create(THINGS, {"metadata": {"name": "other"}}, Object)
        assert await objects.get(THING, Thing) == Thing("red"), "reading needs none"
    assert [request.method for request in fake.requests] == ["GET"]


async def test_writes_under_way_can_be_abandoned_and_others_go_on(fake: FakeApi) -> None:
    fake.put(THING, colour="red")
    held = asyncio.Event()
    fake.slow = lambda request: held
    async with api_at(fake.url) as api:
        objects = Objects(api, timeout=DEADLINE)
        writes = asyncio.gather(
            *(objects.patch(THING, {"colour": "blue"}, Thing) for _ in range(2)), return_exceptions=True
        )
        reading = asyncio.gather(objects.get(THING, Thing))
        await fake.until_asked("PATCH", count=2)
        await fake.until_asked("GET")
        objects.abandon()
        found = await asyncio.wait_for(writes, DEADLINE / 2)
        assert [type(each) for each in found] == [NotAllowedNow, NotAllowedNow]
        held.set()
        assert len(await reading) == 1, "reading goes on"
        assert fake.objects[THING]["colour"] == "blue", "what was abandoned may have been done"
        assert await objects.patch(THING, {"colour": "green"}, Thing) == Thing("green")
