"""Health of endpoints end to end: manifests, a controller, workers, endpoints of the test's own."""

import asyncio
import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.control.process import REAL, Running, ingressd
from tests.control.test_run import CLASS, ingress, write
from tests.kit import DEADLINE, Client, Upstream, each, eventually, get, ok
from tests.kit.stream import Message
from tests.kit.upstream import Connection

HOST = "a.example"


def service(*annotations: str) -> str:
    lines = "".join(f"    ingressd.dev/{line}\n" for line in annotations)
    return f"""
apiVersion: v1
kind: Service
metadata:
  name: front
  namespace: shop
  annotations:
{lines}spec: {{ports: [{{port: 80}}]}}
"""


EAGER = service(
    'health-check-path: "/up"',
    'health-check-interval: "100ms"',
    'health-check-healthy-threshold: "1"',
    'health-check-unhealthy-threshold: "1"',
)


def slices(upstreams: Iterable[Upstream], terminating: Iterable[Upstream] = ()) -> list[str]:
    """A slice for each, since each has a port of its own."""
    documents = []
    for one in upstreams:
        conditions = "{ready: false, serving: true, terminating: true}" if one in terminating else "{ready: true}"
        documents.append(f"""
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: front-{one.endpoint.port}, namespace: shop, labels: {{kubernetes.io/service-name: front}}}}
addressType: IPv4
ports: [{{port: {one.endpoint.port}}}]
endpoints: [{{addresses: [127.0.0.1], conditions: {conditions}}}]
""")
    return documents


@pytest.fixture
def manifests(tmp_path: Path) -> Path:
    write(tmp_path / "base.yaml", CLASS, ingress("web", HOST))
    return tmp_path


def states(running: Running) -> dict[str, dict[str, Any]]:
    """/api/endpoints of the only cluster, by address."""
    (cluster,) = running.admin("/api/endpoints")[1]["clusters"]
    return {endpoint["address"]: endpoint for endpoint in cluster["endpoints"]}


def health(running: Running) -> dict[str, str]:
    return {address: state["health"] for address, state in states(running).items()}


async def all_serve(running: Running) -> None:
    """Waits until every worker serves what was published last."""

    def do() -> bool:
        found = running.admin("/api/snapshot")[1]
        return all(worker["generation"] == found["generation"] for worker in found["workers"])

    await eventually(do, "all workers serve the newest generation")


async def asked(running: Running, count: int) -> set[bytes]:
    """The answers to so many requests, each over a connection of its own, so that all workers get some."""
    found = set()
    for _ in range(count):
        async with Client(running.port) as client:
            response = await client.ask(get(host=HOST))
            assert response.status == 200
            found.add(response.body)
    return found


async def only(running: Running, *names: bytes) -> None:
    """Waits until these answer and nobody else: a transition is known a moment before it is in effect."""
    found: set[bytes] = set()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(DEADLINE):
            while found != set(names):
                found = await asked(running, 20)
    assert found == set(names)


class Patient:
    """An endpoint that answers with its name, and on /up with its state of health."""

    def __init__(self, name: bytes) -> None:
        self.name = name
        self.well = True
        self.upstream = Upstream(each(self.answer))

    def answer(self, message: Message) -> bytes:
        if message.target == b"/up" and not self.well:
            return b"HTTP/1.1 500 Ill\r\nContent-Length: 0\r\n\r\n"
        return ok(self.name)

    @property
    def address(self) -> str:
        return str(self.upstream.endpoint)


async def test_unhealthy_endpoints_get_no_requests_until_they_are_well_or_all_are_ill(manifests: Path) -> None:
    one, two = Patient(b"one"), Patient(b"two")
    async with one.upstream, two.upstream:
        write(manifests / "front.yaml", EAGER, *slices((one.upstream, two.upstream)))
        with ingressd(REAL, manifests, "--workers=2") as running:
            await eventually(lambda: bool(running.lines("ready: ")), "it is ready")
            await eventually(lambda: set(health(running).values()) == {"healthy"}, "both were asked")
            assert await asked(running, 20) == {b"one", b"two"}
            one.well = False
            await eventually(lambda: health(running)[one.address] == "unhealthy", "one is ill")
            await eventually(lambda: len(running.lines(f"{one.address} of shop-front-80 is unhealthy")) == 1)
            await only(running, b"two")
            assert states(running)[one.address]["last_failure"] == "answered 500"
            two.well = False
            await eventually(lambda: bool(running.lines("no endpoint of shop-front-80 is healthy")), "panic")
            await only(running, b"one", b"two")
            assert running.metric("ingressd_clusters_panicking") == 1
            assert running.metric('ingressd_endpoints_checked{state="unhealthy"}') == 2
            one.well = True
            await eventually(lambda: health(running)[one.address] == "healthy", "one is well")
            await only(running, b"one")
            await eventually(lambda: bool(running.lines("shop-front-80 has a healthy endpoint again")), "no more panic")


async def test_each_endpoint_is_asked_by_the_controller_alone(manifests: Path) -> None:
    """However many workers there are."""
    one = Patient(b"one")
    async with one.upstream:
        write(manifests / "front.yaml", EAGER, *slices((one.upstream,)))
        with ingressd(REAL, manifests, "--workers=2") as running:
            await eventually(lambda: len(one.upstream.requests) >= 5, "it is asked")
            passed = running.metric('ingressd_health_checks_total{result="passed"}')
            assert abs(len(one.upstream.requests) - passed) <= 1
            assert {message.target for message in one.upstream.requests} == {b"/up"}


async def test_a_terminating_endpoint_finishes_what_it_has_and_gets_nothing_new(manifests: Path) -> None:
    async def old(connection: Connection) -> None:
        """Begins a response and ends it when it is told to."""
        while await connection.request():
            await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf")
            await connection.request()

    async with Upstream(old) as terminating, Upstream(each(lambda message: ok(b"new"))) as other:
        write(manifests / "front.yaml", service('slow-start: "off"'), *slices((terminating,)))
        with ingressd(REAL, manifests, "--workers=2") as running:
            await eventually(lambda: bool(running.lines("ready: ")), "it is ready")
            async with Client(running.port) as client:
                await client.send(get(host=HOST))
                await terminating.received(1)
                write(
                    manifests / "front.yaml",
                    service('slow-start: "off"'),
                    *slices((terminating, other), terminating=(terminating,)),
                )
                address = str(terminating.endpoint)
                await eventually(lambda: states(running)[address]["terminating"], "it is known to terminate")
                assert not states(running)[address]["serving"]
                await all_serve(running)
                assert await asked(running, 20) == {b"new"}
                assert len(terminating.requests) == 1
                assert len(terminating.connections) == 1
                await terminating.connections[0].send(b"done")
                assert (await client.response()).body == b"halfdone"
                # The same client goes on, with the other endpoint.
                assert (await client.ask(get(host=HOST))).body == b"new"
                await terminating.all_closed()


async def test_when_only_terminating_endpoints_serve_they_are_used(manifests: Path) -> None:
    answers = each(lambda message: ok(b"old"))
    async with Upstream(answers) as old, Upstream(each(lambda message: ok(b"new"))) as new:
        quiet = service('slow-start: "off"')
        write(manifests / "front.yaml", quiet, *slices((old, new)))
        with ingressd(REAL, manifests, "--workers=2") as running:
            await eventually(lambda: bool(running.lines("ready: ")), "it is ready")
            assert await asked(running, 20) == {b"old", b"new"}
            write(manifests / "front.yaml", quiet, *slices((old,), terminating=(old,)))
            address = str(old.endpoint)
            await eventually(lambda: set(states(running)) == {address}, "the other is gone")
            state = states(running)[address]
            assert (state["serving"], state["terminating"]) == (True, True)
            await all_serve(running)
            assert await asked(running, 10) == {b"old"}
            write(manifests / "front.yaml", quiet, *slices((old, new), terminating=(old,)))
            await eventually(lambda: not states(running)[address]["serving"], "there is a ready one again")
            await all_serve(running)
            assert await asked(running, 10) == {b"new"}


async def test_an_ejected_endpoint_is_seen_with_its_workers(manifests: Path) -> None:
    busy = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"
    async with Upstream(each(lambda message: busy)) as sick, Upstream(each(lambda message: ok())) as good:
        write(manifests / "front.yaml", service('slow-start: "30s"'), *slices((sick, good)))
        with ingressd(REAL, manifests, "--workers=1", "--eject-time=10m", "--eject-max-time=10m") as running:
            await eventually(lambda: bool(running.lines("ready: ")), "it is ready")
            for _ in range(20):
                async with Client(running.port) as client:
                    await client.ask(get(host=HOST))
            address = str(sick.endpoint)
            await eventually(lambda: bool(states(running)[address]["ejected"]), "it is ejected")
            (ejection,) = states(running)[address]["ejected"]
            assert (ejection["worker"], ejection["ejections"]) == (0, 1)
            assert states(running)[str(good.endpoint)]["ejected"] == []
            assert await asked(running, 10) == {b"ok"}
            await eventually(lambda: running.metric("ingressd_endpoints_ejected") == 1, "the metric follows")
            assert running.metric("ingressd_ejections_total") == 1
            assert running.lines(f"worker 0 ejects endpoint {address}: 5 failures in a row, ejection 1")
