"""The controller's loop with a source of our own: what a defect in translation may and may not do."""

import asyncio
import os
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from signal import SIGKILL, SIGTERM
from typing import Any

import pytest

from ingressd.control import controller as controller_module
from ingressd.control import reconcile, sockets
from ingressd.control.controller import Controller, HealthChanged, SourceChanged, Stop
from ingressd.control.options import Options
from ingressd.control.sockets import Port
from ingressd.control.workers import Listeners, Said
from ingressd.control.writing import NoWriters, Writers
from ingressd.link import Report, Sample
from ingressd.model import ObjectRef, Problem, WorkerSettings
from ingressd.resources import Ingress, Store
from ingressd.source.base import Changes, WatchFigures
from ingressd.telemetry.exposition import Identity
from ingressd.translate import Options as TranslateOptions
from ingressd.translate import Translator
from tests.control.test_reconcile import CLASS, FAR, changes, ingress
from tests.kit.stream import DEADLINE, eventually

LOOPBACK = ("127.0.0.1",)
OPTIONS = Options(
    http=Port("--http-port", 0, LOOPBACK),
    https=None,
    admin=Port("--healthz-port", 0, LOOPBACK),
    settings=WorkerSettings(worker=0, workers=1),
    translation=TranslateOptions(),
    identity=Identity("ingress", "ingressd.dev/ingress-controller", "pod"),
    nameservers=("127.0.0.1:1",),
)


class NoSource:
    """Gives nothing by itself: the test posts the changes. `lacks` is what is missing."""

    def __init__(self) -> None:
        self.needed: Collection[ObjectRef] = ()
        self.lacks: Sequence[str] = ()

    def load(self) -> Changes:
        return Changes()

    async def watch(self) -> AsyncGenerator[Changes, None]:
        yield Changes()

    def locate(self, problem: Problem) -> Problem:
        return problem

    def need(self, refs: Collection[ObjectRef]) -> None:
        self.needed = refs

    def missing(self) -> Sequence[str]:
        return self.lacks

    def figures(self) -> Mapping[str, WatchFigures]:
        return {"Ingress": WatchFigures(3, 1.5), "Secret": WatchFigures(0, None)}


@asynccontextmanager
async def running(
    monkeypatch: pytest.MonkeyPatch, first: Changes, source: NoSource | None = None, writers: Writers | None = None
) -> AsyncIterator[Controller]:
    stand_in = str(Path(__file__).with_name("stand_in.py"))
    monkeypatch.setattr(controller_module, "WORKER_COMMAND", (sys.executable, stand_in))
    http = sockets.listen(OPTIONS.http, 1)
    made = Controller(OPTIONS, source or NoSource(), [Listeners(http[0])], writers or NoWriters())
    run = asyncio.get_running_loop().create_task(made.run(first))
    try:
        yield made
        made.post(Stop(SIGTERM))
        await asyncio.wait_for(run, DEADLINE)
    finally:
        made.kill()
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
    class Poisoned(Translator):
        def __init__(self, store: Store, options: TranslateOptions, *former: Any) -> None:
            if any(ingress.name == "poison" for ingress in store.ingresses):
                raise ZeroDivisionError
            super().__init__(store, options, *former)

    monkeypatch.setattr(reconcile, "Translator", Poisoned)
    async with running(monkeypatch, changes(CLASS, FAR, ingress("web", "a.example"))) as made:
        await metric(made, "ingressd_workers_ready", 1.0)
        assert value(made, "nginx_ingress_controller_config_last_reload_successful") == 1
        poison = changes(ingress("poison", "b.example"))
        made.post(SourceChanged(poison))
        await eventually(lambda: value(made, "nginx_ingress_controller_errors") == 1)
        assert value(made, "nginx_ingress_controller_config_last_reload_successful") == 0
        assert [host.host for host in made.snapshot.virtual_hosts] == ["a.example"]
        assert not made.missing(), "what is in force is served, so this is ready"
        made.post(HealthChanged())
        made.post(Said(0, Report(counters=(Sample("ejections", "", 1.0),))))
        await metric(made, "ingressd_ejections_total", 1.0)
        assert value(made, "nginx_ingress_controller_config_last_reload_successful") == 0, "nobody has mended it"
        made.post(SourceChanged(changes(ingress("more", "c.example"), removals=(poison.upserts[0].ref,))))
        await metric(made, "ingressd_snapshot_generation", 2.0)
        assert value(made, "nginx_ingress_controller_config_last_reload_successful") == 1
        assert [host.host for host in made.snapshot.virtual_hosts] == ["a.example", "c.example"]


async def test_what_a_worker_had_open_is_gone_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(monkeypatch, changes(CLASS)) as made:
        await metric(made, "ingressd_workers_ready", 1.0)
        made.post(Said(0, Report(gauges=(Sample("tls_handshakes_open", "", 5.0),))))
        await metric(made, "ingressd_tls_handshakes_open", 5.0)
        os.kill(made.workers()[0].pid, SIGKILL)
        await metric(made, "ingressd_tls_handshakes_open", 0.0)
        await metric(made, "ingressd_worker_restarts_total", 1.0)


async def test_changes_that_wait_together_are_published_together(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(monkeypatch, changes(CLASS, FAR)) as made:
        await metric(made, "ingressd_workers_ready", 1.0)
        for number in range(10):
            made.post(SourceChanged(changes(ingress(f"web{number}", f"h{number}.example"))))
        await metric(made, "ingressd_snapshot_generation", 2.0)
        assert len(made.snapshot.virtual_hosts) == 10
        await metric(made, "ingressd_propagation_seconds_count", 1.0)


async def test_nothing_translated_yet_is_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> Translator:
        raise ZeroDivisionError

    monkeypatch.setattr(reconcile, "Translator", broken)
    async with running(monkeypatch, changes(CLASS)) as made:
        await eventually(lambda: made.workers()[0].generation is not None)
        assert made.missing() == ["the objects could not be translated yet: see the log"]


async def test_nothing_is_served_before_the_source_is_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    source = NoSource()
    source.lacks = ["Ingress objects are not listed yet"]
    problem = Problem(ObjectRef("Service", "", "*"), "Forbidden", "the verb is missing")
    async with running(monkeypatch, Changes(), source) as made:
        await eventually(lambda: made.missing() == source.lacks)
        made.post(SourceChanged(Changes(problems=(problem,))))
        await eventually(lambda: made.problems == (problem,), "problems are shown at once")
        source.lacks = ["Secret shop/tls is not read yet"]
        made.post(SourceChanged(changes(CLASS, FAR, ingress("web", "a.example", tls="tls"))))
        await eventually(lambda: source.needed == (ObjectRef("Secret", "shop", "tls"),))
        assert made.missing() == source.lacks
        assert made.generation == 0
        assert not any(status.pid for status in made.workers()), "connections wait for all of it"
        source.lacks = []
        made.post(SourceChanged(Changes()))
        await metric(made, "ingressd_workers_ready", 1.0)
        assert not made.missing()
        assert [host.host for host in made.snapshot.virtual_hosts] == ["a.example"]
        assert made.generation == 1
        source.lacks = ["Secret shop/other is not read yet"]
        made.post(SourceChanged(changes(ingress("more", "b.example", tls="other"))))
        await metric(made, "ingressd_snapshot_generation", 2.0)
        assert not made.missing(), "what is missing later keeps nobody from being served"


class Told(NoWriters):
    """Remembers the Ingresses it was given last."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def take(self, ours: Mapping[ObjectRef, Ingress], problems: Sequence[Problem]) -> None:
        self.names = {ref.name for ref in ours}


async def test_writers_wait_for_a_complete_source_once_and_not_for_what_is_missing_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source, writers = NoSource(), Told()
    source.lacks = ["Secret shop/tls is not read yet"]
    async with running(monkeypatch, changes(CLASS, FAR, ingress("web", "a.example")), source, writers) as made:
        await eventually(lambda: made.missing() == source.lacks)
        assert not writers.names
        source.lacks = []
        made.post(SourceChanged(Changes()))
        await eventually(lambda: writers.names == {"web"})
        source.lacks = ["Secret shop/other is not read yet"]
        made.post(SourceChanged(changes(ingress("more", "b.example"))))
        await eventually(lambda: writers.names == {"web", "more"})


async def test_a_storm_is_published_in_a_few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(monkeypatch, changes(CLASS, FAR)) as made:
        await metric(made, "ingressd_workers_ready", 1.0)
        for number in range(100):
            made.post(SourceChanged(changes(ingress(f"web{number}", f"h{number}.example"))))
            await asyncio.sleep(0)
        await eventually(lambda: len(made.snapshot.virtual_hosts) == 100)
        assert made.generation <= 6


async def test_the_metrics_say_how_old_the_state_is(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(monkeypatch, changes(CLASS)) as made:
        page = b"".join(made.metrics()).decode().splitlines()
        assert 'ingressd_watch_restarts_total{kind="Ingress"} 3.0' in page
        assert 'ingressd_sync_age_seconds{kind="Ingress"} 1.5' in page
        assert not [line for line in page if "sync_age" in line and "Secret" in line]
