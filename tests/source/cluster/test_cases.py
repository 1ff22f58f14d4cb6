"""The cases that any API server must give, on the fake one."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ingressd.source.cluster.access import Access, Kubeconfig
from tests.source.cluster.cases import CASES, Case
from tests.source.cluster.fake import FakeApi, Object, fake_api, namespace


class FakeWorld:
    """See World."""

    namespace = "shop"

    def __init__(self, api: FakeApi, kubeconfig: Path) -> None:
        self.api = api
        kubeconfig.write_text(api.kubeconfig())
        self.access: Access = Kubeconfig(str(kubeconfig), "")

    async def put(self, value: Object) -> None:
        self.api.put(value)

    async def delete(self, kind: str, name: str) -> None:
        self.api.delete(kind, self.namespace, name)

    async def label(self, **labels: str) -> None:
        self.api.put(namespace(self.namespace, **labels))

    async def cut(self) -> None:
        self.api.cut()

    async def expire(self) -> None:
        self.api.compact()
        self.api.cut()

    async def down(self) -> None:
        await self.api.stop()

    async def up(self) -> None:
        await self.api.start()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[FakeWorld]:
    async with fake_api() as api:
        yield FakeWorld(api, tmp_path / "config")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
async def test_case(case: Case, world: FakeWorld) -> None:
    await case(world)
