"""The cases that any API server must give, on the fake one."""

import pytest

from ingressd.source.cluster.access import Access, Kubeconfig
from tests.source.cluster.cases import CASES, Case
from tests.source.cluster.conftest import ConfigFile
from tests.source.cluster.fake import FakeApi, Object, namespace


class FakeWorld:
    """See World."""

    namespace = "shop"

    def __init__(self, api: FakeApi, access: Access, stranger: Access) -> None:
        self.api = api
        self.access = access
        self.stranger = stranger

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
def world(fake: FakeApi, access: Access, kubeconfig: ConfigFile) -> FakeWorld:
    path = kubeconfig.beside("stranger")
    path.write_text(fake.kubeconfig("nobody knows this one"))
    return FakeWorld(fake, access, Kubeconfig(str(path), ""))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
async def test_case(case: Case, world: FakeWorld) -> None:
    await case(world)
