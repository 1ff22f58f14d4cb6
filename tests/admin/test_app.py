"""The admin API: what it says, with which status, and that large answers come in pieces."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import msgspec
import pytest

from ingressd.admin.app import ENDPOINTS, serving
from ingressd.admin.view import ClusterHealth, EndpointHealth, View, WorkerEjection, WorkerStatus
from ingressd.control.sockets import Port, listen, url
from ingressd.model import (
    SELF_SIGNED,
    Certificate,
    CheckType,
    ClientAuth,
    ClientAuthMode,
    Cluster,
    ClusterKey,
    Endpoint,
    HealthCheck,
    Hidden,
    ObjectRef,
    PathKind,
    PathMatch,
    Problem,
    Route,
    SecretName,
    Severity,
    Snapshot,
    TlsHost,
    VirtualHost,
)

WEB = ObjectRef("Ingress", "shop", "web")
FRONT = ClusterKey("shop", "front", "http")
ROUTE = Route(PathMatch(PathKind.EXACT, "/a"), WEB, FRONT, "spec.rules[0].http.paths[0]")
DEFAULT = Route(PathMatch(PathKind.PREFIX, "/"), WEB, None, "spec.defaultBackend")
SNAPSHOT = Snapshot(
    (VirtualHost("shop.example", (ROUTE,), DEFAULT),),
    (
        Cluster(FRONT, (Endpoint("10.0.0.1", 80), Endpoint("fd00::1", 80))),
        Cluster(ClusterKey("shop", "far", "443"), dns_name="far.example", dns_port=443),
    ),
    certificates=(
        Certificate(
            SecretName("shop", "web"), b"chain", Hidden(b"KEY"), ("shop.example",), 1, 2, "17", "Org", "CA", "ECDSA"
        ),
    ),
    tls_hosts=(TlsHost("shop.example", SecretName("shop", "web"), ClientAuth(ClientAuthMode.OPTIONAL)),),
    default_certificate=SELF_SIGNED,
)
PROBLEM = Problem(WEB, "InvalidPath", "write /", "spec.rules[0]", Severity.ERROR, "a.yaml", 7)


@dataclass
class FakeController:
    generation: int = 3
    snapshot: Snapshot = SNAPSHOT
    problems: Sequence[Problem] = (PROBLEM,)
    passed_over: Sequence[ObjectRef] = (ObjectRef("Ingress", "other", "theirs"),)
    lacking: list[str] = field(default_factory=list)

    def endpoints(self) -> Iterator[ClusterHealth]:
        check = HealthCheck(CheckType.TCP, interval=5.0)
        yield ClusterHealth(
            FRONT,
            check,
            30.0,
            False,
            [
                EndpointHealth(Endpoint("10.0.0.1", 80), True, False, "healthy", "", [WorkerEjection(1, 2, 99.5)]),
                EndpointHealth(Endpoint("fd00::1", 80), False, True, "unchecked", "answered 500", []),
            ],
        )

    def workers(self) -> Sequence[WorkerStatus]:
        return [WorkerStatus(0, 41, 3), WorkerStatus(1, 0, None)]

    def missing(self) -> Sequence[str]:
        return self.lacking

    def metrics(self) -> Iterator[bytes]:
        yield b"first 1\n"
        yield b"second 2\n"


@asynccontextmanager
async def api(view: View) -> AsyncIterator[aiohttp.ClientSession]:
    (sockets,) = listen(Port("--healthz-port", 0, ("127.0.0.1",)), 1)
    async with serving(view, sockets), aiohttp.ClientSession(url(sockets[0])) as session:
        yield session


async def fetched(view: View, path: str) -> Any:
    async with api(view) as session, session.get(path) as response:
        assert response.status == 200
        assert response.content_type == "application/json"
        return await response.json()


async def test_health() -> None:
    async with api(FakeController()) as session, session.get("/healthz") as response:
        assert (response.status, await response.text()) == (200, "ok")


@pytest.mark.parametrize(
    ("lacking", "status"), [([], 200), (["worker 1 (pid 41) does not serve yet", "worker 2 does not run"], 503)]
)
async def test_readiness_says_what_is_missing(lacking: list[str], status: int) -> None:
    async with api(FakeController(lacking=lacking)) as session, session.get("/readyz") as response:
        assert response.status == status
        assert await response.json() == {"ready": not lacking, "missing": lacking}


async def test_snapshot() -> None:
    policy = {
        "connect_timeout": 5.0,
        "send_timeout": 60.0,
        "read_timeout": 60.0,
        "tries": 3,
        "https_redirect": None,
        "upstream_tls": None,
    }
    source = {"kind": "Ingress", "namespace": "shop", "name": "web"}
    assert await fetched(FakeController(), "/api/snapshot") == {
        "generation": 3,
        "workers": [{"worker": 0, "pid": 41, "generation": 3}, {"worker": 1, "pid": None, "generation": None}],
        "default": None,
        "default_certificate": "self-signed",
        "virtual_hosts": [
            {
                "host": "shop.example",
                "routes": [
                    {
                        "path": "/a",
                        "path_type": "Exact",
                        "cluster": {"namespace": "shop", "service": "front", "port": "http"},
                        "source": source,
                        "field": "spec.rules[0].http.paths[0]",
                        "policy": policy,
                    }
                ],
                "default": {
                    "path": "/",
                    "path_type": "Prefix",
                    "cluster": None,
                    "source": source,
                    "field": "spec.defaultBackend",
                    "policy": policy,
                },
            }
        ],
        "clusters": [
            {
                "namespace": "shop",
                "service": "front",
                "port": "http",
                "dns_name": None,
                "endpoints": ["10.0.0.1:80", "[fd00::1]:80"],
            },
            {"namespace": "shop", "service": "far", "port": "443", "dns_name": "far.example", "endpoints": []},
        ],
        "tls_hosts": [
            {"host": "shop.example", "certificate": "shop/web", "client_auth": "optional", "passthrough": None},
        ],
        "certificates": [
            {
                "name": "shop/web",
                "names": ["shop.example"],
                "not_before": 1,
                "not_after": 2,
                "serial_number": "17",
                "issuer": "CA",
            },
        ],
    }


async def test_nothing_shows_a_key() -> None:
    """Also of what is added to a snapshot one day: an encoder that was not made for keys refuses them."""
    async with api(FakeController()) as session, session.get("/api/snapshot") as response:
        assert "KEY" not in await response.text()
    assert "KEY" not in repr(SNAPSHOT) + str(SNAPSHOT)
    for encode in (msgspec.json.encode, msgspec.msgpack.encode, msgspec.to_builtins):
        with pytest.raises(TypeError):
            encode(SNAPSHOT)


@pytest.mark.parametrize("count", [0, 1, 100, 101, 250])
async def test_a_snapshot_of_any_size_is_one_document(count: int) -> None:
    hosts = tuple(VirtualHost(f"h{number}.example") for number in range(count))
    found = await fetched(FakeController(snapshot=Snapshot(hosts)), "/api/snapshot")
    assert [host["host"] for host in found["virtual_hosts"]] == [host.host for host in hosts]
    assert found["clusters"] == []


async def test_endpoints() -> None:
    (cluster,) = (await fetched(FakeController(), "/api/endpoints"))["clusters"]
    assert (cluster["namespace"], cluster["service"], cluster["port"]) == ("shop", "front", "http")
    assert (cluster["slow_start"], cluster["panicking"]) == (30.0, False)
    assert cluster["check"] == {
        "type": "tcp",
        "path": "/",
        "host": "",
        "port": 0,
        "interval": 5.0,
        "timeout": 2.0,
        "healthy_threshold": 2,
        "unhealthy_threshold": 3,
        "expected_status": [[200, 399]],
    }
    assert cluster["endpoints"] == [
        {
            "address": "10.0.0.1:80",
            "serving": True,
            "terminating": False,
            "health": "healthy",
            "last_failure": None,
            "ejected": [{"worker": 1, "ejections": 2, "until": 99.5}],
        },
        {
            "address": "[fd00::1]:80",
            "serving": False,
            "terminating": True,
            "health": "unchecked",
            "last_failure": "answered 500",
            "ejected": [],
        },
    ]


async def test_problems() -> None:
    assert await fetched(FakeController(), "/api/problems") == {
        "problems": [
            {
                "object": {"kind": "Ingress", "namespace": "shop", "name": "web"},
                "reason": "InvalidPath",
                "message": "write /",
                "field": "spec.rules[0]",
                "severity": "error",
                "file": "a.yaml",
                "line": 7,
            }
        ],
        "passed_over": [{"kind": "Ingress", "namespace": "other", "name": "theirs"}],
    }
    nothing = FakeController(problems=(), passed_over=())
    assert await fetched(nothing, "/api/problems") == {"problems": [], "passed_over": []}


async def test_a_file_name_that_is_no_text_is_escaped() -> None:
    odd = Problem(ObjectRef("File", "", "m/\udcff.yaml"), "NotYAML", "m/\udcff.yaml: x", file="m/\udcff.yaml")
    (found,) = (await fetched(FakeController(problems=[odd]), "/api/problems"))["problems"]
    assert (found["file"], found["message"]) == ("m/\\udcff.yaml", "m/\\udcff.yaml: x")
    assert found["object"]["name"] == "m/\\udcff.yaml"


async def test_metrics_are_text_of_the_version_that_prometheus_reads() -> None:
    async with api(FakeController()) as session, session.get("/metrics") as response:
        assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert await response.text() == "first 1\nsecond 2\n"


@pytest.mark.parametrize("path", ENDPOINTS)
async def test_head_has_no_body(path: str) -> None:
    (sockets,) = listen(Port("--healthz-port", 0, ("127.0.0.1",)), 1)
    async with serving(FakeController(), sockets):
        reader, writer = await asyncio.open_connection(*sockets[0].getsockname())
        head = f"HEAD {path} HTTP/1.1\r\nHost: a\r\n"
        writer.write(f"{head}\r\n{head}Connection: close\r\n\r\n".encode())
        answers = (await reader.read()).split(b"\r\n\r\n")
        writer.close()
        await writer.wait_closed()
    assert [answer.partition(b"\r\n")[0] for answer in answers] == [b"HTTP/1.1 200 OK", b"HTTP/1.1 200 OK", b""]


async def test_the_index_lists_every_endpoint() -> None:
    async with api(FakeController()) as session:
        async with session.get("/") as response:
            assert (await response.json())["endpoints"] == ENDPOINTS
        for path in ENDPOINTS:
            async with session.get(path) as response:
                assert response.status == 200, path


async def test_nothing_can_be_changed() -> None:
    async with api(FakeController()) as session:
        for path in ENDPOINTS:
            async with session.post(path, data=b"{}") as response:
                assert response.status == 405, path
        async with session.get("/nowhere") as response:
            assert response.status == 404
