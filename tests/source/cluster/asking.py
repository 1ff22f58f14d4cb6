"""Requests of tests, by the Api that the source has."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from ingressd.source.cluster.access import Access
from ingressd.source.cluster.api import Api, ApiError

INGRESSES = "/apis/networking.k8s.io/v1/ingresses"


@asynccontextmanager
async def using(access: Access) -> AsyncIterator[Api]:
    api = Api(access)
    try:
        yield api
    finally:
        await api.close()


async def failure(api: Api, path: str = INGRESSES) -> ApiError:
    with pytest.raises(ApiError) as caught:
        await api.request("GET", path)
    return caught.value
