"""Accepting connections, over real sockets."""

import asyncio
import errno
import logging
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager

import pytest
import pytest_asyncio

from ingressd.proxy.stream import ACCEPT_AGAIN, ACCEPTED
from tests.kit import DEADLINE, eventually
from tests.proxy.stream_stage import MODULES, Recorder, Stage, drain, no_descriptors, reset


@pytest_asyncio.fixture(params=MODULES)
async def stage(request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    made = Stage(MODULES[request.param])
    yield made
    await made.end()


class Listening:
    """A listener of a stage whose protocols are Recorders."""

    def __init__(self, stage: Stage, make: Callable[[], Recorder] = Recorder) -> None:
        self._stage = stage
        self._make = make
        self.recorders: list[Recorder] = []
        self.exhausted = asyncio.Event()
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.socket.setblocking(False)
        self.address = self.socket.getsockname()
        self.listener = stage.module.Listener(stage.poller, self.socket, self._connection, self.exhausted.set)

    def _connection(self) -> Recorder:
        recorder = self._make()
        self.recorders.append(recorder)
        self._stage.remember(recorder)
        return recorder

    def connect(self) -> socket.socket:
        """A client."""
        return self._stage.keep(socket.create_connection(self.address))


@contextmanager
def listening(stage: Stage, make: Callable[[], Recorder] = Recorder) -> Iterator[Listening]:
    made = Listening(stage, make)
    try:
        yield made
    finally:
        made.listener.close()


async def test_all_who_wait_are_accepted(stage: Stage) -> None:
    with listening(stage) as place:
        clients = [place.connect() for _ in range(2 * ACCEPTED + 1)]
        for client in clients:
            client.send(b"x")
        await eventually(lambda: [recorder.received for recorder in place.recorders] == [b"x"] * len(clients))
        names = [recorder.transport and recorder.transport.get_extra_info("peername") for recorder in place.recorders]
        assert names == [client.getsockname() for client in clients]
        ours = place.recorders[0].transport
        assert ours is not None
        assert ours.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def test_those_that_are_open_have_their_turn_between_so_many_accepted(stage: Stage) -> None:
    accepted: list[int] = []
    open_one = Recorder(data=lambda: accepted.append(len(place.recorders)))
    _, peer = stage.stream(open_one)
    with listening(stage) as place:
        clients = [place.connect() for _ in range(3 * ACCEPTED)]
        peer.send(b"x")
        await eventually(lambda: len(place.recorders) == len(clients) and accepted)
    assert accepted[0] <= ACCEPTED


async def test_one_that_was_reset_before_it_was_accepted_hinders_nobody(stage: Stage) -> None:
    with listening(stage) as place:
        clients = [place.connect() for _ in range(3)]
        reset(clients[0])
        reset(clients[2])
        clients[1].send(b"x")
        await eventually(lambda: any(recorder.received for recorder in place.recorders))
        last = place.connect()
        last.send(b"y")
        await eventually(lambda: any(recorder.received == b"y" for recorder in place.recorders))
        await eventually(lambda: sum(not recorder.lost for recorder in place.recorders) == 2)


async def test_without_descriptors_it_waits_and_accepts_again(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    loop = asyncio.get_running_loop()
    with listening(stage) as place:
        clients = [place.connect() for _ in range(3)]
        start = loop.time()
        with no_descriptors():
            await asyncio.wait_for(place.exhausted.wait(), DEADLINE)
        await eventually(lambda: len(place.recorders) == len(clients))
        # The loop rounds its timers to the resolution of its clock.
        assert loop.time() - start >= ACCEPT_AGAIN - 0.01
    assert [(record.levelno, record.message) for record in caplog.records] == [
        (logging.ERROR, "no connection can be accepted for 0.5 s: Too many open files")
    ]


async def test_closed_while_it_waits_for_descriptors(stage: Stage) -> None:
    with listening(stage) as place:
        client = place.connect()
        with no_descriptors():
            await asyncio.wait_for(place.exhausted.wait(), DEADLINE)
        place.listener.close()
        # Closing the socket resets who waits in its queue.
        client.settimeout(10)
        with pytest.raises(ConnectionResetError):
            await asyncio.get_running_loop().run_in_executor(None, client.recv, 1)
        assert place.recorders == []


async def test_without_memory_for_the_poller_it_tries_again(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    refusals = 1

    class Poor(stage.module.Poller):  # type: ignore[misc, name-defined]
        def change(self, pollable: object, events: int) -> None:
            nonlocal refusals
            if events and refusals:
                refusals -= 1
                raise OSError(errno.ENOMEM, "Cannot allocate memory")
            super().change(pollable, events)

    before, stage.poller = stage.poller, Poor(asyncio.get_running_loop())
    try:
        with listening(stage) as place:
            place.connect()
            await eventually(lambda: place.recorders)
            place.recorders[0].end("abort")
            await eventually(lambda: place.recorders[0].lost)
    finally:
        stage.poller.close()
        stage.poller = before
    assert [record.message for record in caplog.records] == [
        "no connection can be accepted for 0.5 s: Cannot allocate memory"
    ]


async def test_a_defect_of_one_protocol_keeps_no_other_out(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    numbers = iter(range(10))

    def fail() -> None:
        raise ZeroDivisionError("a defect")

    with listening(stage, lambda: Recorder(made=fail) if next(numbers) == 1 else Recorder()) as place:
        clients = [place.connect() for _ in range(4)]
        for client in clients:
            client.send(b"x")
        await eventually(lambda: sum(recorder.received == b"x" for recorder in place.recorders) == 3)
        await eventually(lambda: place.recorders[1].lost)
        with pytest.raises(ConnectionResetError):
            drain(clients[1])
    assert [record.message for record in caplog.records] == ["a connection is given up for a defect of ours"]


async def test_closed_it_accepts_nobody_more(stage: Stage) -> None:
    with listening(stage) as place:
        first = place.connect()
        await eventually(lambda: place.recorders)
        place.connect()
        place.listener.close()
        place.listener.close()
        await stage.looked()
        assert place.socket.fileno() == -1
        assert len(place.recorders) == 1
        first.send(b"x")
        await eventually(lambda: place.recorders[0].received == b"x")


async def test_closed_by_the_first_of_many_it_accepts_no_second(stage: Stage) -> None:
    with listening(stage, lambda: Recorder(made=lambda: place.listener.close())) as place:
        for _ in range(3):
            place.connect()
        await eventually(lambda: place.recorders)
        await stage.looked()
        assert len(place.recorders) == 1
