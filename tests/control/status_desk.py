"""A status writer on a small API, with a Service in front and Ingresses."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import pytest_asyncio

from ingressd.aio import spawn
from ingressd.control.api import Objects
from ingressd.control.status import AddressSource, StatusWriter, Timing
from ingressd.source.cluster.api import Api
from tests.control.fake_api import FakeApi, Json, Lead, api_at, fake_api
from tests.kit.stream import eventually

SERVICE = "/api/v1/namespaces/ingress/services/front"
ADDRESS = {"ip": "203.0.113.9"}
QUICK = Timing(look=0.05, compare=1000.0, clear=5.0)
OF_SERVICE = AddressSource(service=("ingress", "front"))


def ingress_path(name: str, namespace: str = "shop") -> str:
    return f"/apis/networking.k8s.io/v1/namespaces/{namespace}/ingresses/{name}"


class Desk:
    """A writer and the API it writes to."""

    def __init__(self, fake: FakeApi, api: Api) -> None:
        self.fake = fake
        self.api = api
        self.lead = Lead()

    def writer(self, published: AddressSource = OF_SERVICE, **more: Any) -> StatusWriter:
        objects = Objects(self.api, 5.0, lambda: self.lead.leads)
        return StatusWriter(objects, self.lead, published, **{"timing": QUICK, **more})

    def front(self, *ingress: Json, **spec: object) -> None:
        """Puts the Service in front, of type LoadBalancer, with what its load balancer says."""
        status = {"loadBalancer": {"ingress": list(ingress)}} if ingress else {}
        self.fake.put(SERVICE, spec={"type": "LoadBalancer", **spec}, status=status)

    def ingress(self, name: str, *addresses: Json, namespace: str = "shop") -> tuple[str, str]:
        """Puts an Ingress."""
        status = {"loadBalancer": {"ingress": list(addresses)}} if addresses else {}
        self.fake.put(ingress_path(name, namespace), spec={}, status=status)
        return (namespace, name)

    def status(self, name: str, namespace: str = "shop") -> object:
        return self.fake.objects[ingress_path(name, namespace)].get("status", {}).get("loadBalancer", {}).get("ingress")

    async def until(self, condition: Callable[[], bool]) -> None:
        await eventually(condition, explain=lambda: "\n".join(map(str, self.fake.requests[-20:])))

    async def looked(self, times: int = 2) -> None:
        """Waits until it has begun so many further rounds: what it would have written, it has."""
        before = len(self.fake.asked("GET", SERVICE))
        await self.fake.until_asked("GET", SERVICE, before + times)


@pytest_asyncio.fixture
async def desk() -> AsyncIterator[Desk]:
    async with fake_api() as fake, api_at(fake.url) as api:
        yield Desk(fake, api)


@asynccontextmanager
async def running(writer: StatusWriter) -> AsyncIterator[None]:
    task = spawn(writer.run(), "status")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


def take(writer: StatusWriter, *ours: tuple[str, str], changed: Iterable[tuple[str, str]] | None = None) -> None:
    writer.take(ours, ours if changed is None else changed)
