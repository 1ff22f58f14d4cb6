"""The controller's loop with a source of our own: what a defect in translation may and may not do."""

import asyncio
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from signal import SIGTERM

import pytest

from ingressd.control import controller as controller_module
from ingressd.control import reconcile, sockets
from ingressd.control.controller import Controller, SourceChanged, Stop
from ingressd.control.options import Options
from ingressd.control.sockets import Port
from ingressd.model import Problem, WorkerSettings
from ingressd.resources import Store
from ingressd.source.base import Changes
from ingressd.telemetry.exposition import Identity
from ingressd.translate import Options as TranslateOptions
from ingressd.translate import Translation
from ingressd.translate import translate as real_translate
from tests.control.test_reconcile import CLASS, FAR, changes, ingress
from tests.kit.stream import DEADLINE, eventually

LOOPBACK = ("127.0.0.1",)
OPTIONS = Options(
    http=Port("--http-port", 0, LOOPBACK),
    admin=Port("--healthz-port", 0, LOOPBACK),
    settings=WorkerSettings(worker=0, workers=1),
    translation=TranslateOptions(),
    identity=Identity("ingress", "ingressd.dev/ingress-controller", "pod"),
    nameservers=("127.0.0.1:1",),
)


class NoSource:
    """Gives nothing by itself: the test posts the changes."""

    def load(self) -> Changes:
        return Changes()

    async def watch(self) -> AsyncGenerator[Changes, None]:
        yield Changes()

    def locate(self, problem: Problem) -> Problem:
        return problem


@asynccontextmanager
async def running(monkeypatch: pytest.MonkeyPatch, first: Changes) -> AsyncIterator[Controller]:
    stand_in = str(Path(__file__).with_name("stand_in.py"))
    monkeypatch.setattr(controller_module, "WORKER_COMMAND", (sys.executable, stand_in))
    http = sockets.listen(OPTIONS.http, 1)
    made = Controller(OPTIONS, NoSource(), http)
    run = asyncio.get_running_loop().create_task(made.run(first))
    try:
        yield made
        made.post(Stop(SIGTERM))
        await asyncio.wait_for(run, DEADLINE)
    finally:
        await made.stop()
        sockets.close(http)


async def metric(made: Controller, name: str, wanted: float) -> None:
    """Waits until the metrics page says so."""
    line = f"{name} {wanted}"
    await eventually(lambda: line in b"".join(made.metrics()).decode().splitlines(), line)


def value(made: Controller, name: str) -> float:
    page = b"".join(made.metrics()).decode()
    (found,) = [line.split()[-1] for line in page.splitlines() if line.startswith(f"{name}{{")]
    return float(found)


async def test_a_defect_in_translation_leaves_in_force_what_was_published(monkeypatch: pytest.MonkeyPatch) -> None:
    def translate(store: Store, options: TranslateOptions) -> Translation:
        if any(ingress.name == "poison" for ingress in store.ingresses):
            raise ZeroDivisionError
        return real_translate(store, options)

    monkeypatch.setattr(reconcile, "translate", translate)
    async with running(monkeypatch, changes(CLASS, FAR, ingress("web", "a.example"))) as made:
        await metric(made, "ingressd_workers_ready", 1.0)
        assert value(made, "nginx_ingress_controller_config_last_reload_successful") == 1
        poison = changes(ingress("poison", "b.example"))
        made.post(SourceChanged(poison))
        await eventually(lambda: value(made, "nginx_ingress_controller_errors") == 1)
        assert value(made, "nginx_ingress_controller_config_last_reload_successful") == 0
        assert [host.host for host in made.snapshot.virtual_hosts] == ["a.example"]
        assert not made.missing(), "what is in force is served, so this is ready"
        made.post(SourceChanged(changes(ingress("more", "c.example"), removals=(poison.upserts[0].ref,))))
        await metric(made, "ingressd_snapshot_generation", 2.0)
        assert value(made, "nginx_ingress_controller_config_last_reload_successful") == 1
        assert [host.host for host in made.snapshot.virtual_hosts] == ["a.example", "c.example"]


async def test_changes_that_wait_together_are_published_together(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(monkeypatch, changes(CLASS, FAR)) as made:
        await metric(made, "ingressd_workers_ready", 1.0)
        for number in range(10):
            made.post(SourceChanged(changes(ingress(f"web{number}", f"h{number}.example"))))
        await metric(made, "ingressd_snapshot_generation", 2.0)
        assert len(made.snapshot.virtual_hosts) == 10
        await metric(made, "ingressd_propagation_seconds_count", 1.0)


async def test_nothing_translated_yet_is_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    def translate(store: Store, options: TranslateOptions) -> Translation:
        raise ZeroDivisionError

    monkeypatch.setattr(reconcile, "translate", translate)
    async with running(monkeypatch, changes(CLASS)) as made:
        await eventually(lambda: made.workers()[0].generation is not None)
        assert made.missing() == ["the objects could not be translated yet: see the log"]
