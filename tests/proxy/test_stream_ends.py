"""How a connection of the data plane ends, over real sockets."""

import asyncio
import contextlib
import os
import select
import signal
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.faults.kernel import incoming, outgoing
from tests.kit import Client, Upstream, Worker, eventually, request, serving
from tests.kit.upstream import Connection
from tests.proxy.stream_stage import MODULES, Recorder, Stage, drain, pieces, read_to_end, reset


@pytest_asyncio.fixture(params=MODULES)
async def stage(request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    made = Stage(MODULES[request.param])
    yield made
    await made.end()


@pytest.mark.parametrize("stays", [False, True])
async def test_the_end_comes_behind_the_bytes(stage: Stage, stays: bool) -> None:
    recorder = Recorder(stays)
    stream, peer = stage.stream(recorder)
    peer.send(b"last")
    peer.shutdown(socket.SHUT_WR)
    await eventually(lambda: "eof" in recorder.told and (stays or recorder.lost))
    assert recorder.received == b"last"
    assert recorder.told == (["made", "data", "eof"] if stays else ["made", "data", "eof", "lost"])
    if stays:
        stream.pause_reading()
        stream.resume_reading()
        stream.write(b"still here")
        await stage.looked()
        assert recorder.ends == ["eof"]
        stream.close()
        assert await read_to_end(peer) == b"still here"
        await eventually(lambda: recorder.lost)
    assert recorder.error is None


@pytest.mark.parametrize("ours_first", [False, True])
async def test_both_directions_end_for_themselves(stage: Stage, ours_first: bool) -> None:
    recorder = Recorder(stays=True)
    stream, peer = stage.stream(recorder)

    async def ours() -> None:
        stream.write_eof()
        stream.write_eof()
        assert await read_to_end(peer) == b""

    async def theirs() -> None:
        peer.setblocking(True)
        peer.send(b"bye")
        peer.shutdown(socket.SHUT_WR)
        await eventually(lambda: "eof" in recorder.told)
        assert recorder.received == b"bye"

    for end in (ours, theirs) if ours_first else (theirs, ours):
        await end()
    await stage.looked()
    assert recorder.ends == ["eof"]
    stream.close()
    await eventually(lambda: recorder.lost)
    assert recorder.error is None


@pytest.mark.parametrize("read", [True, False])
async def test_nothing_is_heard_again_and_again_while_the_other_direction_goes_on(stage: Stage, read: bool) -> None:
    recorder = Recorder(stays=True)
    stream, peer = stage.stream(recorder)
    if not read:
        stream.pause_reading()
        peer.send(b"unread")
    peer.shutdown(socket.SHUT_WR)
    if read:
        await eventually(lambda: "eof" in recorder.told)
    await stage.looked()
    turns = stage.poller.turns
    for _ in range(50):
        await asyncio.sleep(0)
    assert stage.poller.turns == turns, "nothing is there to be handed out"
    stream.write(b"still")
    assert peer.recv(10) == b"still"


async def test_write_eof_goes_behind_what_waits(stage: Stage) -> None:
    recorder = Recorder(stays=True)
    stream, peer = stage.stream(recorder, small=True)
    count = await stage.fill(stream)
    stream.write_eof()
    # It is not said yet, so there may be more before it.
    stream.write(b"more")
    assert await read_to_end(peer) == b"f" * count + b"more"
    peer.send(b"heard")
    await eventually(lambda: recorder.received == b"heard")
    assert not recorder.lost


async def test_write_behind_the_end_of_our_direction_is_no_silent_loss(stage: Stage) -> None:
    recorder = Recorder()
    stream, _ = stage.stream(recorder)
    stream.write_eof()
    stream.write(b"x")
    assert not recorder.lost
    await eventually(lambda: recorder.lost)
    assert isinstance(recorder.error, BrokenPipeError)


async def test_nothing_is_heard_while_closing(stage: Stage) -> None:
    recorder = Recorder()
    stream, peer = stage.stream(recorder, small=True)
    await stage.fill(stream)
    stream.close()
    stream.close()
    stream.write_eof()
    stream.resume_reading()
    peer.send(b"too late")
    peer.shutdown(socket.SHUT_WR)
    await stage.looked()
    assert "lost" not in recorder.told
    while not recorder.lost:
        # The kernel makes it a reset, with bytes of the peer's unread.
        with contextlib.suppress(ConnectionResetError):
            drain(peer)
        await stage.looked()
    assert recorder.error is None
    assert recorder.received == b""
    assert "eof" not in recorder.told


async def test_abort_ends_later_and_without_what_waits(stage: Stage) -> None:
    recorder = Recorder()
    stream, peer = stage.stream(recorder, small=True)
    count = await stage.fill(stream)
    stream.abort()
    assert not recorder.lost
    assert stream.is_closing()
    stream.abort()
    stream.close()
    stream.write_eof()
    stream.pause_reading()
    stream.resume_reading()
    stream.write(b"never")
    assert stream.get_write_buffer_size() == 0
    await eventually(lambda: recorder.lost)
    assert recorder.error is None
    assert len(await read_to_end(peer)) < count
    stream.write(b"never")
    stream.write_eof()
    stream.close()
    stream.abort()
    assert stream.get_extra_info("socket").fileno() == -1
    await stage.looked()
    assert recorder.told.count("lost") == 1


async def test_a_reset_is_told_behind_the_bytes_before_it(stage: Stage) -> None:
    recorder = Recorder()
    _, peer = stage.stream(recorder)
    peer.send(b"last words")
    reset(peer)
    await eventually(lambda: recorder.lost)
    assert recorder.received == b"last words"
    assert recorder.ends == ["lost"]
    assert isinstance(recorder.error, ConnectionResetError)


@pytest.mark.parametrize("how", ["reset", "end"])
async def test_a_peer_that_goes_while_nobody_reads_is_heard_of_later(stage: Stage, how: str) -> None:
    recorder = Recorder()
    stream, peer = stage.stream(recorder)
    stream.pause_reading()
    peer.send(b"last words")
    reset(peer) if how == "reset" else peer.close()
    await stage.looked()
    assert recorder.told == ["made"]
    stream.resume_reading()
    await eventually(lambda: recorder.lost)
    assert recorder.received == b"last words"
    assert isinstance(recorder.error, ConnectionResetError) if how == "reset" else recorder.error is None


@pytest.mark.parametrize("method", ["close", "abort"])
async def test_a_connection_whose_peer_went_while_nobody_reads_can_be_ended(stage: Stage, method: str) -> None:
    recorder = Recorder()
    stream, peer = stage.stream(recorder)
    stream.pause_reading()
    reset(peer)
    getattr(stream, method)()
    await eventually(lambda: recorder.lost)
    assert recorder.error is None


# --- bytes that cannot be sent any more


async def gone(stage: Stage, recorder: Recorder, waiting: bool) -> Any:
    """A stream whose peer has said b"no, thanks" and reset the connection; the poller has not looked since. `waiting`:
    bytes to it wait."""
    stream, peer = stage.stream(recorder, small=waiting)
    if waiting:
        await stage.fill(stream)
    ours = stream.get_extra_info("socket")
    peer.send(b"no, thanks")
    reset(peer)
    # Blocks until both have come, which the kernel may do a moment later.
    reset_comes = select.poll()
    reset_comes.register(ours, select.POLLRDHUP)
    assert reset_comes.poll(10_000)
    return stream


@pytest.mark.parametrize("found", ["event", "write", "write_eof"])
async def test_what_the_peer_said_is_heard_though_it_takes_nothing_any_more(stage: Stage, found: str) -> None:
    recorder = Recorder()
    stream = await gone(stage, recorder, waiting=found == "event")
    if found == "write":
        stream.write(b"x")
    elif found == "write_eof":
        stream.write_eof()
    assert recorder.received == b""
    await eventually(lambda: recorder.lost)
    assert recorder.received == b"no, thanks"
    assert isinstance(recorder.error, OSError)
    assert [what for what in recorder.ends if what != "pause"] == ["lost"]


async def test_an_end_in_order_is_told_though_a_reset_follows_it(stage: Stage) -> None:
    """A response that goes on to the end of the connection was complete, whatever the peer did not read."""
    recorder = Recorder()
    stream, peer = stage.stream(recorder)
    ours = stream.get_extra_info("socket")
    peer.send(b"all of it")
    peer.shutdown(socket.SHUT_WR)
    reset(peer)
    reset_comes = select.poll()
    reset_comes.register(ours, 0)  # POLLERR is always told
    assert reset_comes.poll(10_000)
    stream.write(b"x")
    await eventually(lambda: recorder.lost)
    assert recorder.received == b"all of it"
    assert recorder.ends == ["eof", "lost"]


@pytest.mark.parametrize("method", ["pause_reading", "close", "abort"])
async def test_it_is_not_heard_by_who_does_not_listen(stage: Stage, method: str) -> None:
    recorder = Recorder()
    stream = await gone(stage, recorder, waiting=False)
    if method == "pause_reading":
        stream.pause_reading()
    stream.write(b"x")
    getattr(stream, method)()
    await eventually(lambda: recorder.lost)
    assert recorder.received == b""
    assert isinstance(recorder.error, OSError)


@pytest.mark.parametrize("stop", ["", "pause_reading", "close", "abort"])
async def test_all_of_it_is_heard_unless_a_callback_ends_that(stage: Stage, stop: str) -> None:
    """More than is read at a time."""
    [said] = pieces(1_500_000)
    recorder = Recorder()
    stream, peer = stage.stream(recorder)
    stream.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
    stream.pause_reading()
    peer.setblocking(False)
    said = said[: peer.send(said)]
    await eventually(lambda: outgoing(peer) == 0 or incoming(stream.get_extra_info("socket")) == len(said))
    reset(peer)
    if stop:
        recorder.then["data"] = getattr(stream, stop)
    stream.resume_reading()
    stream.write(b"x")
    await eventually(lambda: recorder.lost)
    assert said.startswith(recorder.received)
    if stop:
        assert recorder.told.count("data") == 1
    else:
        assert len(recorder.received) == len(said)


async def test_the_response_of_an_endpoint_that_reads_no_further_reaches_the_client() -> None:
    """Its answer and its reset are there before the worker looks, which has bytes of the request to send."""
    stopped = asyncio.Event()

    async def script(connection: Connection) -> None:
        await connection.request_head()
        await stopped.wait()
        await connection.send(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig")
        connection.reset()

    async with (
        Upstream(script, receive_buffer=4096) as upstream,
        Worker(serving(upstream)) as worker,
        Client(worker.port) as client,
    ):
        await client.send(request("POST", "/", "Content-Length: 1099511627776"))
        await client.fill(b"x" * 65536)
        os.kill(worker.pid, signal.SIGSTOP)
        try:
            stopped.set()
            await upstream.all_closed()
        finally:
            os.kill(worker.pid, signal.SIGCONT)
        response = await client.response()
        assert (response.status, response.body) == (413, b"big")
