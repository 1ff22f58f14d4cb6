"""The source runs on uvloop, as it does in production; and a small API server with a kubeconfig for it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import uvloop
import yaml

from ingressd.source.cluster.access import Kubeconfig
from tests.source.cluster.fake import TOKEN, FakeApi, fake_api


@pytest.hookimpl(optionalhook=True)
def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}


class ConfigFile:
    """A kubeconfig that leads to the fake, and what tests do to it."""

    def __init__(self, path: Path, fake: FakeApi) -> None:
        self._path = path
        self._fake = fake
        self.path = str(path)
        self.write()

    def write(self, token: str = TOKEN) -> None:
        self._path.write_text(self._fake.kubeconfig(token))

    def edit(self, change: Callable[[Any], object]) -> None:
        config = yaml.safe_load(self._path.read_text())
        change(config)
        self._path.write_text(yaml.safe_dump(config))

    def remove(self) -> None:
        self._path.unlink()

    def beside(self, name: str) -> Path:
        """Another file in its folder."""
        return self._path.with_name(name)


@pytest.fixture
async def fake() -> AsyncIterator[FakeApi]:
    async with fake_api() as api:
        yield api


@pytest.fixture
def kubeconfig(fake: FakeApi, tmp_path: Path) -> ConfigFile:
    return ConfigFile(tmp_path / "kubeconfig", fake)


@pytest.fixture
def access(kubeconfig: ConfigFile) -> Kubeconfig:
    return Kubeconfig(kubeconfig.path, "")
