"""What the controller does of its own accord for TLS: keys of session tickets, and the time of certificates."""

import asyncio
import json
import socket
from datetime import UTC, datetime, timedelta

import pytest

from ingressd.control import sockets
from ingressd.control.controller import TicketsDue
from ingressd.control.sockets import Port
from ingressd.source.base import Changes
from tests.control.test_controller import metric, running
from tests.kit.stream import eventually
from tests.translate.test_keyring import CA, ingress, secret


@pytest.fixture
def listening(monkeypatch: pytest.MonkeyPatch) -> list[socket.socket]:
    """The sockets that the workers listen on."""
    found: list[socket.socket] = []
    listen = sockets.listen

    def noted(port: Port, sets: int) -> list[list[socket.socket]]:
        made = listen(port, sets)
        found.extend(made[0])
        return made

    monkeypatch.setattr(sockets, "listen", noted)
    return found


async def tickets(sock: socket.socket) -> list[str]:
    """Digests of the keys that the stand-in for a worker was told last, the current one first."""
    reader, writer = await asyncio.open_connection(*sock.getsockname())
    writer.write(b"GET /state HTTP/1.1\r\n\r\n")
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    found: list[str] = json.loads(answer.partition(b"\r\n\r\n")[2])["tickets"]
    return found


async def test_workers_have_keys_from_the_start_and_each_new_one(
    monkeypatch: pytest.MonkeyPatch, listening: list[socket.socket]
) -> None:
    async with running(monkeypatch, Changes()) as made:
        await metric(made, "ingressd_workers_ready", 1.0)
        first = await tickets(listening[0])
        assert len(first) == 1
        made.post(TicketsDue())
        while len(second := await tickets(listening[0])) == 1:
            pass
        assert second[1:] == first
        assert second[0] not in first


async def test_pages_read_at_the_same_time_have_all_certificates(monkeypatch: pytest.MonkeyPatch) -> None:
    objects = (ingress("tls"), secret("tls", CA.issue("a.example")))
    async with running(monkeypatch, Changes(objects)) as made:
        await eventually(lambda: bool(made.snapshot.certificates))
        for page in map(b"".join, zip(*zip(made.metrics(), made.metrics(), strict=True), strict=True)):
            assert page.count(b"\nnginx_ingress_controller_ssl_expire_time_seconds{") == 1


async def test_the_end_of_a_certificate_is_noticed_when_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    end = datetime.now(UTC) + timedelta(seconds=2)
    objects = (ingress("tls"), secret("tls", CA.issue("a.example", end=end)))
    async with running(monkeypatch, Changes(objects)) as made:
        await eventually(lambda: "CertificateExpired" in [problem.reason for problem in made.problems])
        assert [str(one.name) for one in made.snapshot.certificates] == ["shop/tls"]
