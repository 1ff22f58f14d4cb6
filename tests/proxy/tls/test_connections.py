"""TLS connections that carry HTTP: large, slow, cut in pieces, ended well and badly."""

import asyncio
import contextlib
import socket
import ssl

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from tests.kit import DEADLINE, Client, Upstream, Worker, always, each, eventually, get, ok, request, serving
from tests.kit.upstream import Connection
from tests.proxy.tls.conftest import Pki
from tests.proxy.tls.kit import connected, fetch, secured, settings, shaken, unverified
from tests.proxy.tls.test_client_hello import hello, records

MIB = 1 << 20
COUNTED = "tls_handshake_failures"
LARGE = bytes(range(256)) * (4 * MIB // 256)


class Raw:
    """A client whose every TCP segment the test decides. Blocking, for threads."""

    def __init__(self, port: int, name: str = "a.example", version: ssl.TLSVersion | None = None) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), DEADLINE)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = unverified(version).wrap_bio(self.incoming, self.outgoing, server_hostname=name)

    def step(self) -> bytes:
        """Goes on with the handshake; what is to be sent now."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()
        return self.outgoing.read()

    def receive(self) -> bool:
        data = self.sock.recv(65536)
        self.incoming.write(data)
        return bool(data)

    def shake(self) -> None:
        """The whole handshake."""
        self.sock.sendall(self.step())
        while not self._complete():
            assert self.receive()

    def _complete(self) -> bool:
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            self.sock.sendall(self.outgoing.read())
            return False
        self.sock.sendall(self.outgoing.read())
        return True

    def read(self, wanted: bytes) -> bytes:
        """Reads until `wanted` has come, or the end."""
        got = b""
        while wanted not in got:
            try:
                data = self.tls.read(65536)
            except ssl.SSLWantReadError:
                if not self.receive():
                    return got
                continue
            except ssl.SSLZeroReturnError:
                return got
            if not data:
                return got
            got += data
        return got

    def close(self) -> None:
        self.sock.close()


@pytest.fixture(params=[ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def version(request: pytest.FixtureRequest) -> ssl.TLSVersion:
    value: ssl.TLSVersion = request.param
    return value


async def test_large_bodies_both_ways(pki: Pki, version: ssl.TLSVersion) -> None:
    async with (
        Upstream(each(lambda message: ok(message.body))) as upstream,
        Worker(secured(serving(upstream), pki.web.model("web")), settings()) as worker,
        connected(worker.tls_port, unverified(version)) as client,
    ):
        sending = asyncio.create_task(client.send(request("POST", body=LARGE)))
        answer = await client.response()
        await sending
        assert answer.body == LARGE
        assert (await client.ask(request("POST", body=b"small"))).body == b"small"


async def test_a_client_that_reads_slowly_costs_no_memory(pki: Pki) -> None:
    body = bytes(64 * MIB)
    async with (
        Upstream(always(ok(body))) as upstream,
        Worker(secured(serving(upstream), pki.web.model("web")), settings()) as worker,
        connected(worker.tls_port, unverified()) as client,
    ):
        before = worker.resident()
        client.transport.pause_reading()
        await client.send(get("/"))
        await upstream.received(1)
        cpu = -1.0

        def still() -> bool:
            # It has stopped once it uses no more CPU time between two looks.
            nonlocal cpu
            before, cpu = cpu, worker.cpu_seconds()
            return before == cpu

        await eventually(still, "the worker waits for the client")
        assert worker.resident() - before < 8 * MIB
        client.transport.resume_reading()
        assert len((await client.response()).body) == len(body)


async def test_pipelined_requests_in_one_record_and_a_request_in_many(pki: Pki, version: ssl.TLSVersion) -> None:
    async with (
        Upstream(each(lambda message: ok(message.target))) as upstream,
        Worker(secured(serving(upstream), pki.web.model("web")), settings()) as worker,
        connected(worker.tls_port, unverified(version)) as client,
    ):
        await client.send(get("/1") + get("/2") + get("/3"))
        assert [(await client.response()).body for _ in range(3)] == [b"/1", b"/2", b"/3"]
        for byte in get("/4"):
            await client.send(bytes((byte,)))
        assert (await client.response()).body == b"/4"


async def test_a_hello_in_pieces_and_a_request_along_with_the_handshake(pki: Pki, version: ssl.TLSVersion) -> None:
    async with (
        Upstream(always(ok(b"hello"))) as upstream,
        Worker(secured(serving(upstream), pki.web.model("web")), settings()) as worker,
    ):

        def talk() -> bytes:
            raw = Raw(worker.tls_port, version=version)
            hello = records(raw.step()[5:], [1, 2, 50, 100])
            for at in range(len(hello)):
                raw.sock.sendall(hello[at : at + 1])
            while True:
                assert raw.receive()
                last = raw.step()
                if last:
                    break
            if version is ssl.TLSVersion.TLSv1_3:
                # The end of the handshake and the first request in one segment.
                raw.tls.write(get("/", "Connection: close"))
                raw.sock.sendall(last + raw.outgoing.read())
            else:
                raw.sock.sendall(last)
                while not raw._complete():
                    assert raw.receive()
                raw.tls.write(get("/", "Connection: close"))
                raw.sock.sendall(raw.outgoing.read())
            answer = raw.read(b"never")
            raw.close()
            return answer

        assert (await asyncio.to_thread(talk)).endswith(b"\r\n\r\nhello")


async def test_the_end_is_orderly(pki: Pki, version: ssl.TLSVersion) -> None:
    """close_notify comes with it: the client knows that nothing is missing."""
    async with (
        Upstream(always(ok(b"hello"))) as upstream,
        Worker(secured(serving(upstream), pki.web.model("web")), settings()) as worker,
    ):

        def talk() -> None:
            raw = Raw(worker.tls_port, version=version)
            raw.shake()
            raw.tls.write(get("/", "Connection: close"))
            raw.sock.sendall(raw.outgoing.read())
            assert raw.read(b"hello").endswith(b"hello")
            while True:
                try:
                    assert raw.tls.read(100) == b""
                    break
                except ssl.SSLWantReadError:
                    assert raw.receive(), "the connection ended without close_notify"
            raw.close()

        await asyncio.to_thread(talk)


async def test_a_client_may_end_without_close_notify(pki: Pki, version: ssl.TLSVersion) -> None:
    async with (
        Upstream(always(ok(b"hello"))) as upstream,
        Worker(secured(serving(upstream), pki.web.model("web")), settings()) as worker,
    ):
        for end in (socket.socket.close, lambda sock: sock.shutdown(socket.SHUT_WR)):
            raw = await asyncio.to_thread(Raw, worker.tls_port, version=version)
            await asyncio.to_thread(raw.shake)
            end(raw.sock)
            raw.close()
        await worker.reported(lambda: worker.counter("tls_handshakes", "full") == 2, "two handshakes")
        await worker.reported(lambda: worker.gauge("downstream_connections_open", "idle") == 0, "no connection is left")


async def test_rubbish_in_the_middle_ends_the_connection(pki: Pki) -> None:
    async with (
        Upstream(always(ok(b"hello"))) as upstream,
        Worker(secured(serving(upstream), pki.web.model("web")), settings()) as worker,
    ):

        def talk() -> None:
            raw = Raw(worker.tls_port)
            raw.shake()
            raw.sock.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))
            while raw.receive():
                pass
            raw.close()

        await asyncio.to_thread(talk)
        await worker.reported(lambda: worker.gauge("downstream_connections_open", "idle") == 0, "no connection is left")


async def test_a_handshake_that_is_refused_harms_nobody(pki: Pki) -> None:
    async with (
        Upstream(always(ok(b"hello"))) as upstream,
        Worker(secured(serving(upstream), pki.web.model("web")), settings()) as worker,
    ):
        with pytest.raises(ssl.SSLCertVerificationError):
            async with connected(worker.tls_port, ssl.create_default_context()):
                pass
        async with connected(worker.tls_port, pki.authority.client_context()) as client:
            assert (await client.ask(get("/"))).status == 200


async def test_handshakes_that_come_to_nothing_are_counted_by_what_became_of_them(pki: Pki) -> None:
    async with Worker(secured(serving(), pki.web.model("web")), settings()) as worker:
        async with Client(worker.tls_port):
            pass
        async with Client(worker.tls_port) as client:
            await client.send(hello())
            await client.read_some()
        async with Client(worker.tls_port) as client:
            await client.send(bytes(5))
            await client.read_some()
        foreign = unverified()
        foreign.set_alpn_protocols(["h2"])
        for context in (ssl.create_default_context(), foreign):
            # Not by asyncio, which sends no alert.
            with pytest.raises(ssl.SSLError):
                await asyncio.to_thread(shaken, worker.tls_port, context, None)
        wanted = {"closed": 2, "malformed": 1, "refused": 1, "no_protocol": 1}
        await worker.reported(
            lambda: {reason: worker.counter(COUNTED, reason) for reason in wanted} == wanted,
            f"each is counted once: {wanted}",
        )
        await worker.stop()
        assert worker.gauge("tls_handshakes_open") == 0
        assert worker.counter("tls_handshakes", "full") == 0
        total = sum(each.value for report in worker.reports for each in report.counters if each.name == COUNTED)
        assert total == sum(wanted.values())


async def test_keys_are_exchanged_over_the_groups_of_mozilla(pki: Pki, version: ssl.TLSVersion) -> None:
    async with Worker(secured(serving(), pki.other.model("rsa")), settings()) as worker:
        for group in ("prime256v1", "secp384r1"):
            client = unverified(version)
            client.set_ecdh_curve(group)
            assert (await fetch(worker.tls_port, client)).status == 503
        client = unverified(version)
        client.set_ecdh_curve("secp521r1")
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await fetch(worker.tls_port, client)


async def test_a_key_of_a_certificate_may_be_of_another_group(pki: Pki, version: ssl.TLSVersion) -> None:
    large = pki.authority.issue("a.example", key=ec.generate_private_key(ec.SECP521R1()))
    async with Worker(secured(serving(), large.model("large")), settings()) as worker:
        assert (await fetch(worker.tls_port, unverified(version))).status == 503


async def test_a_tunnel_ends_one_direction_after_the_other(pki: Pki) -> None:
    async def script(connection: Connection) -> None:
        await connection.request_head()
        await connection.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
        got = await connection.read_to_end()
        await connection.send(b"got " + got)

    async with (
        Upstream(script) as upstream,
        Worker(secured(serving(upstream), pki.web.model("web")), settings()) as worker,
    ):

        def talk() -> bytes:
            raw = Raw(worker.tls_port)
            raw.shake()
            raw.tls.write(get("/", "Connection: Upgrade", "Upgrade: x"))
            raw.sock.sendall(raw.outgoing.read())
            assert b"101" in raw.read(b"\r\n\r\n")
            raw.tls.write(b"hello")
            with pytest.raises(ssl.SSLWantReadError):
                raw.tls.unwrap()
            raw.sock.sendall(raw.outgoing.read())
            # SSL_read after SSL_shutdown: the other direction goes on.
            answer = raw.read(b"hello")
            raw.close()
            return answer

        assert await asyncio.to_thread(talk) == b"got hello"


async def test_what_a_client_sends_behind_the_end_of_the_endpoint_is_not_lost(
    pki: Pki, version: ssl.TLSVersion
) -> None:
    """Not even what the worker has and has not read when it passes that end on: the endpoint takes it later."""
    full, heard = asyncio.Event(), asyncio.Event()
    piece = bytes(range(250)) * 4
    got: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def script(connection: Connection) -> None:
        await connection.request_head()
        await connection.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
        await full.wait()
        connection.half_close()
        await heard.wait()
        got.set_result(await connection.read_to_end())

    async with (
        Upstream(script) as upstream,
        Worker(secured(serving(upstream), pki.web.model("web")), settings()) as worker,
    ):
        loop = asyncio.get_running_loop()

        def talk() -> int:
            """Sends until nobody takes more; then hears the end, and sends what is left."""
            raw = Raw(worker.tls_port, version=version)
            with raw.sock:
                raw.shake()
                raw.tls.write(get("/", "Connection: Upgrade", "Upgrade: x"))
                raw.sock.sendall(raw.outgoing.read())
                assert b"101" in raw.read(b"\r\n\r\n")
                raw.sock.settimeout(1)
                sent, waiting = 0, b""
                with contextlib.suppress(TimeoutError):
                    while True:
                        sent += raw.tls.write(piece)
                        waiting += raw.outgoing.read()
                        waiting = waiting[raw.sock.send(waiting) :]
                loop.call_soon_threadsafe(full.set)
                raw.sock.settimeout(DEADLINE)
                assert raw.read(b"more than nothing") == b""
                loop.call_soon_threadsafe(heard.set)
                with contextlib.suppress(ssl.SSLWantReadError):
                    raw.tls.unwrap()
                raw.sock.sendall(waiting + raw.outgoing.read())
                assert not raw.receive()
            return sent

        sent = await asyncio.to_thread(talk)
        async with asyncio.timeout(DEADLINE):
            assert await got == piece * (sent // len(piece))


async def test_a_client_that_reads_nothing_and_breaks_the_rules_keeps_nothing_open(pki: Pki) -> None:
    async with (
        Upstream(always(ok(bytes(16 << 20)))) as upstream,
        Worker(secured(serving(upstream), pki.web.model("web")), settings()) as worker,
    ):
        raw = await asyncio.to_thread(Raw, worker.tls_port)
        with raw.sock:
            await asyncio.to_thread(raw.shake)
            raw.tls.write(get("/"))
            raw.sock.sendall(raw.outgoing.read())
            await upstream.received(1)
            # What is written is not taken, so it waits in the worker.
            await worker.reported(lambda: worker.gauge("downstream_connections_open", "active") == 1, "it is served")
            open_meanwhile = worker.descriptors()
            raw.sock.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))
            # Its own and the endpoint's.
            await eventually(lambda: worker.descriptors() <= open_meanwhile - 2, "both connections are closed")
