"""`ingressd run` against an API server, as a process."""

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest

from tests.control.process import REAL, STAND_INS, Running, fetch, running, until
from tests.source.cluster.fake import FakeApi, Refusal, Request, endpoint_slice, ingress, ingress_class, secret, service


class Api:
    """A FakeApi in a thread of its own, for tests that wait for processes."""

    def __init__(self) -> None:
        self.fake = FakeApi()
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever)
        self._thread.start()

    def start(self) -> None:
        asyncio.run_coroutine_threadsafe(self.fake.start(), self._loop).result()

    def stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self.fake.stop(), self._loop).result()

    def do(self, what: Callable[[FakeApi], object]) -> None:
        async def done() -> None:
            what(self.fake)

        asyncio.run_coroutine_threadsafe(done(), self._loop).result()

    def close(self) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@pytest.fixture
def api() -> Iterator[Api]:
    made = Api()
    made.start()
    for value in (ingress_class(), ingress("web"), service(), endpoint_slice("192.0.2.1")):
        made.fake.put(value)
    yield made
    made.close()


@contextmanager
def ingressd(api: Api, folder: Path, *flags: str, module: tuple[str, ...] = STAND_INS) -> Iterator[Running]:
    kubeconfig = folder / "kubeconfig"
    kubeconfig.write_text(api.fake.kubeconfig())
    with running(module, "--kubeconfig", str(kubeconfig), "--workers=1", *flags) as started:
        yield started


def state(started: Running) -> dict[str, object]:
    """Of the worker."""
    found: dict[str, object] = json.loads(fetch(started.port, "/state")[1])
    return found


def test_it_serves_what_the_cluster_has_and_follows_it(api: Api, tmp_path: Path) -> None:
    with ingressd(api, tmp_path) as started:
        started.ready()
        assert state(started)["hosts"] == ["a.example"]
        assert state(started)["endpoints"] == {"shop-web-80": ["192.0.2.1:8080"]}
        api.do(lambda fake: fake.put(endpoint_slice("192.0.2.1", "192.0.2.2")))
        until(lambda: state(started)["endpoints"] == {"shop-web-80": ["192.0.2.1:8080", "192.0.2.2:8080"]})
        api.do(lambda fake: fake.put(ingress("more", "b.example")))
        until(lambda: state(started)["hosts"] == ["a.example", "b.example"])
        assert started.metric('ingressd_objects{kind="Ingress"}') == 2
        assert started.metric('ingressd_watch_restarts_total{kind="Ingress"}') == 0
        assert started.metric("ingressd_propagation_seconds_count") >= 2
        started.process.terminate()
        assert started.finish() == 0


def test_nobody_is_answered_from_a_part_of_the_cluster(api: Api, tmp_path: Path) -> None:
    def no_secrets(request: Request) -> Refusal | None:
        return Refusal(500, "InternalError", "etcd") if request.kind == "Secret" else None

    def break_secrets(fake: FakeApi) -> None:
        fake.refuse = no_secrets

    def mend(fake: FakeApi) -> None:
        fake.refuse = lambda request: None

    api.do(break_secrets)
    api.do(lambda fake: fake.put(ingress("web", tls="tls")))
    with ingressd(api, tmp_path) as started:
        missing = ["Secret shop/tls is not read yet"]
        until(lambda: started.admin("/readyz") == (503, {"ready": False, "missing": missing}))
        assert started.admin("/api/snapshot")[1]["workers"] == [{"worker": 0, "pid": None, "generation": None}]
        api.do(mend)
        started.ready()
        assert state(started)["hosts"] == ["a.example"]
        api.do(break_secrets)
        api.do(lambda fake: fake.put(ingress("more", "b.example", tls="other")))
        until(lambda: state(started)["hosts"] == ["a.example", "b.example"])
        assert started.admin("/readyz")[0] == 200


def test_traffic_goes_on_without_the_api_server(api: Api, tmp_path: Path) -> None:
    with ingressd(api, tmp_path) as started:
        started.ready()
        api.stop()
        started.line("no news from the API server")
        until(lambda: started.metric('ingressd_sync_age_seconds{kind="Ingress"}') > 1)
        assert started.admin("/readyz")[0] == 200
        assert state(started)["hosts"] == ["a.example"]
        api.do(lambda fake: fake.put(ingress("more", "b.example")))
        api.do(lambda fake: fake.compact())
        api.start()
        until(lambda: state(started)["hosts"] == ["a.example", "b.example"])
        started.line("news from the API server again")
        assert not started.lines("exited")


def test_what_must_not_be_read_is_said_once_with_what_to_grant(api: Api, tmp_path: Path) -> None:
    def refuse(fake: FakeApi) -> None:
        fake.refuse = lambda request: (
            Refusal(403, "Forbidden", "no") if request.kind in ("IngressClass", "Service") else None
        )

    api.do(refuse)
    with ingressd(api, tmp_path, "--watch-namespace=shop") as started:
        line = started.line('Service shop/*: the verb "list" on services in namespace shop is missing')
        assert "ERROR" in line
        assert "WARNING" in started.line(
            'IngressClass *: the verb "list" on ingressclasses.networking.k8s.io is missing'
        )
        until(lambda: [text.split(" objects")[0] for text in started.admin("/readyz")[1]["missing"]] == ["Service"])
        assert started.admin("/readyz")[0] == 503
        problems = started.admin("/api/problems")[1]["problems"]
        assert {problem["reason"] for problem in problems} == {"Forbidden"}
        api.do(lambda fake: setattr(fake, "refuse", lambda request: None))
        started.ready()
        started.line("resolved: Service shop/*")
        started.line("resolved: IngressClass *")
        assert len(started.lines("the verb")) == 4


def test_with_real_workers_connections_wait_until_the_cluster_is_read(api: Api, tmp_path: Path) -> None:
    held = asyncio.Event()
    api.do(lambda fake: setattr(fake, "held", held))
    with ingressd(api, tmp_path, module=REAL) as started:
        port = started.port
        answers: list[int] = []
        asking = Thread(target=lambda: answers.append(fetch(port, "/", "nobody.example")[0]))
        asking.start()
        until(lambda: started.admin("/readyz")[0] == 503)
        assert not answers
        api.do(lambda fake: held.set())
        asking.join()
        assert answers == [404]
        started.ready()


def test_a_secret_that_appears_makes_it_ready(api: Api, tmp_path: Path) -> None:
    api.do(lambda fake: fake.put(ingress("web", tls="tls")))
    with ingressd(api, tmp_path) as started:
        started.ready()
        api.do(lambda fake: fake.put(secret("tls")))
        until(lambda: 'ingressd_objects{kind="Secret"} 1.0' in fetch(started.admin_port, "/metrics")[1].decode())
