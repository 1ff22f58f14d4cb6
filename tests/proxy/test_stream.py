"""The transport of the data plane, over real sockets."""

import asyncio
import contextlib
import gc
import itertools
import socket
import weakref
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kit import eventually
from tests.proxy.stream_stage import MODULES, Recorder, Stage, drain, pieces, read_to_end, reset

HIGH = 64 * 1024
LOW = 16 * 1024


@pytest_asyncio.fixture(params=MODULES)
async def stage(request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    made = Stage(MODULES[request.param])
    yield made
    await made.end()


# --- reading and writing


async def test_bytes_go_both_ways(stage: Stage) -> None:
    recorder = Recorder()
    stream, peer = stage.stream(recorder)
    assert recorder.told == ["made"]
    assert stream.get_extra_info("peername") == peer.getpeername()
    assert stream.get_extra_info("socket").getsockname() == peer.getpeername()
    assert stream.get_extra_info("cipher", "none") == "none"
    stream.write(b"down")
    assert stream.get_write_buffer_size() == 0
    assert peer.recv(10) == b"down"
    peer.send(b"up")
    await eventually(lambda: recorder.received == b"up")
    assert not stream.is_closing()
    assert stream.can_write_eof()


async def test_pieces_that_wait_arrive_in_order_and_the_protocol_knows(stage: Stage) -> None:
    recorder = Recorder()
    stream, peer = stage.stream(recorder, small=True)
    written = pieces(*range(1, 400), 100_000, 0, 1, 70_000, *[1] * 500)
    for piece in written:
        stream.write(piece)
        assert 0 <= stream.get_write_buffer_size() <= sum(map(len, written))
    assert stream.get_write_buffer_size() > HIGH
    assert recorder.ends == ["pause"]
    stream.close()
    assert stream.is_closing()
    assert not recorder.lost
    assert await read_to_end(peer) == b"".join(written)
    await eventually(lambda: recorder.lost)
    assert recorder.ends == ["pause", "resume", "lost"]
    assert recorder.error is None
    assert stream.get_write_buffer_size() == 0


async def test_writing_pauses_above_one_bound_and_resumes_below_the_other(stage: Stage) -> None:
    sizes: list[int] = []
    recorder = Recorder(resume=lambda: sizes.append(stream.get_write_buffer_size()))
    stream, peer = stage.stream(recorder, small=True)
    await stage.fill(stream)
    stream.write(b"x" * (HIGH - stream.get_write_buffer_size()))
    assert recorder.ends == []
    stream.write(b"x")
    stream.write(b"x")
    assert recorder.ends == ["pause"]
    while not sizes:
        before = stream.get_write_buffer_size()
        drain(peer)
        await stage.looked()
        assert sizes or stream.get_write_buffer_size() > LOW or before == stream.get_write_buffer_size()
    assert 0 <= sizes[0] <= LOW
    assert recorder.ends == ["pause", "resume"]


async def test_other_bounds(stage: Stage) -> None:
    recorder = Recorder()
    stream, _ = stage.stream(recorder, small=True)
    stream.set_write_buffer_limits(high=0)
    await stage.fill(stream)
    assert recorder.ends[0] == "pause"


async def test_what_resume_writing_writes_goes_behind_the_rest(stage: Stage) -> None:
    recorder = Recorder(resume=lambda: (stream.write(b"last"), stream.close()))
    stream, peer = stage.stream(recorder, small=True)
    count = await stage.fill(stream)
    stream.write(b"x" * HIGH)
    assert await read_to_end(peer) == b"f" * count + b"x" * HIGH + b"last"
    await eventually(lambda: recorder.lost)


async def test_a_pause_from_within_a_callback_holds_at_once(stage: Stage) -> None:
    recorder = Recorder(data=lambda: stream.pause_reading())
    stream, peer = stage.stream(recorder)
    peer.send(b"a")
    await eventually(lambda: recorder.received == b"a")
    peer.send(b"b")
    await stage.looked()
    assert recorder.received == b"a"
    stream.resume_reading()
    stream.resume_reading()
    await eventually(lambda: recorder.received == b"ab")
    peer.send(b"c")
    await stage.looked()
    assert recorder.received == b"ab"


def test_any_order_of_writes_pauses_and_reads_keeps_the_bytes_in_order() -> None:
    sizes = st.integers(0, 30_000) | st.integers(0, 3)
    steps = st.lists(
        st.tuples(st.sampled_from(["write", "send", "read"]), sizes)
        | st.tuples(st.sampled_from(["pause", "resume", "turn"]), st.just(0)),
        max_size=60,
    )

    @settings(max_examples=60, deadline=None)
    @given(kind=st.sampled_from(sorted(MODULES)), steps=steps)
    def check(kind: str, steps: list[tuple[str, int]]) -> None:
        asyncio.run(_random(kind, steps))

    check()


async def _random(kind: str, steps: list[tuple[str, int]]) -> None:
    stage = Stage(MODULES[kind])
    recorder = Recorder(stays=True)
    stream, peer = stage.stream(recorder, small=True)
    peer.setblocking(False)
    down, up = (iter(pieces(*[size for step, size in steps if step == name])) for name in ("write", "send"))
    written = sent = read = b""
    paused = False
    for step, size in steps:
        held = len(recorder.received)
        if step == "write":
            piece = next(down)
            written += piece
            stream.write(piece)
        elif step == "send":
            piece = next(up)
            with contextlib.suppress(BlockingIOError):
                sent += piece[: peer.send(piece)]
        elif step == "read":
            with contextlib.suppress(BlockingIOError):
                read += peer.recv(size)
        elif step == "turn":
            await asyncio.sleep(0)
        else:
            paused = step == "pause"
            getattr(stream, f"{step}_reading")()
        assert not paused or len(recorder.received) == held
        assert written.startswith(read)
        assert sent.startswith(recorder.received)
    stream.write_eof()
    assert read + await read_to_end(peer) == written
    stream.resume_reading()
    await eventually(lambda: recorder.received == sent)
    assert recorder.ends == ["pause", "resume"] * (len(recorder.ends) // 2)
    await stage.end()


# --- defects of protocols


def fail() -> None:
    raise ZeroDivisionError("a defect")


@pytest.mark.parametrize("where", ["data", "eof", "resume"])
async def test_a_defect_ends_its_connection_alone(stage: Stage, where: str, caplog: pytest.LogCaptureFixture) -> None:
    broken = Recorder()
    broken.then[where] = fail
    stream, peer = stage.stream(broken, small=True)
    others = [Recorder() for _ in range(3)]
    peers = [stage.stream(other)[1] for other in others]
    for other in peers[:2]:
        other.send(b"x")
    if where == "data":
        peer.send(b"x")
    elif where == "eof":
        peer.shutdown(socket.SHUT_WR)
    else:
        await stage.fill(stream)
        stream.write(b"x" * HIGH)
        while not broken.lost:
            drain(peer)
            await stage.looked()
    peers[2].send(b"x")
    await eventually(lambda: broken.lost and all(other.received == b"x" for other in others))
    assert isinstance(broken.error, ConnectionAbortedError)
    with pytest.raises(ConnectionResetError):
        await read_to_end(peer)
    assert [record.message for record in caplog.records] == ["a connection is given up for a defect of ours"]


async def test_a_defect_at_the_start_ends_the_connection(stage: Stage) -> None:
    recorder = Recorder(made=fail)
    with pytest.raises(ZeroDivisionError):
        stage.stream(recorder)
    assert not recorder.lost
    await eventually(lambda: recorder.lost)
    assert isinstance(recorder.error, ConnectionAbortedError)


async def test_a_defect_at_the_end_leaves_no_descriptor(stage: Stage) -> None:
    contexts: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: contexts.append(context))
    recorder = Recorder(lost=fail)
    stream, peer = stage.stream(recorder)
    stream.close()
    assert await read_to_end(peer) == b""
    assert stream.get_extra_info("socket").fileno() == -1
    assert [str(context["exception"]) for context in contexts] == ["a defect"]


async def test_a_connection_closed_as_it_is_made(stage: Stage) -> None:
    recorder = Recorder(made=lambda: recorder.end("close"))
    _, peer = stage.stream(recorder)
    peer.send(b"x")
    await eventually(lambda: recorder.lost)
    assert recorder.received == b""


# --- several connections


@pytest.mark.parametrize("method", ["close", "abort", "pause_reading"])
async def test_an_event_of_the_same_batch_is_not_for_who_was_ended_before(stage: Stage, method: str) -> None:
    recorders = [Recorder(data=lambda: [getattr(stream, method)() for stream in streams]) for _ in range(5)]
    made = [stage.stream(recorder) for recorder in recorders]
    streams = [stream for stream, _ in made]
    for _, peer in made:
        peer.send(b"x")
    # No turn of the loop until all have come.
    for stream in streams:
        assert stream.get_extra_info("socket").recv(1, socket.MSG_PEEK) == b"x"
    await stage.looked()
    assert sorted(recorder.received for recorder in recorders) == [b"", b"", b"", b"", b"x"]


async def test_a_number_is_not_given_again_while_events_are_handed_out(stage: Stage) -> None:
    opened: list[int] = []

    def replace() -> None:
        for stream in (first, second):
            numbers.append(stream.get_extra_info("socket").fileno())
            stream.abort()
        new = [stage.keep(sock) for sock in socket.socketpair()]
        opened.extend(sock.fileno() for sock in new)

    numbers: list[int] = []
    first, first_peer = stage.stream(Recorder(data=replace))
    second, second_peer = stage.stream(Recorder(data=replace))
    for peer in (first_peer, second_peer):
        peer.send(b"x")
    await eventually(lambda: opened)
    assert len(opened) == 2
    assert not set(opened) & set(numbers)


async def test_who_gets_a_number_anew_gets_only_its_own_events(stage: Stage) -> None:
    old = Recorder(stays=True)
    stream, peer = stage.stream(old)
    number = stream.get_extra_info("socket").fileno()
    peer.send(b"of the old one")
    stream.abort()
    await eventually(lambda: old.lost)
    ours = None
    while ours is None:
        for one, other in itertools.permutations(map(stage.keep, socket.socketpair())):
            if one.fileno() == number:
                ours, theirs = one, other
    new = Recorder()
    stage.over(ours, new)
    theirs.send(b"of the new one")
    await eventually(lambda: new.received == b"of the new one")
    stream.abort()
    stream.write(b"x")
    stream.pause_reading()
    theirs.send(b", and more")
    await eventually(lambda: new.received == b"of the new one, and more")
    assert old.received == b""


async def test_another_protocol_takes_over_in_the_middle(stage: Stage) -> None:
    second = Recorder()
    first = Recorder(data=lambda: stream.set_protocol(second))
    stream, peer = stage.stream(first)
    stage.forget(first)
    peer.send(b"hello")
    await eventually(lambda: first.received == b"hello")
    peer.send(b"world")
    peer.close()
    await eventually(lambda: second.lost)
    assert second.told == ["data", "eof", "lost"]
    assert first.told == ["made", "data"]


@pytest.mark.parametrize("how", ["close", "abort", "peer ends", "peer resets", "reset found on sending"])
async def test_nothing_is_left_of_a_connection(stage: Stage, how: str) -> None:
    """Not even for the garbage collector."""
    gc.collect()
    before = stage.streams()
    gc.disable()
    try:
        recorder = Recorder()
        watched = weakref.ref(recorder)
        await lives_and_ends(stage, recorder, how)
        stage.forget(recorder)
        recorder.transport = None
        # Its traceback has the frames of this test.
        recorder.error = None
        del recorder
        assert stage.streams() == before
        assert watched() is None
    finally:
        gc.enable()


async def lives_and_ends(stage: Stage, recorder: Recorder, how: str) -> None:
    stream, peer = stage.stream(recorder)
    peer.send(b"x")
    await eventually(lambda: recorder.received)
    if how == "peer ends":
        peer.close()
    elif "reset" in how:
        reset(peer)
        if how != "peer resets":
            stream.write(b"x")
    else:
        getattr(stream, how)()
    await eventually(lambda: recorder.lost)
    await stage.looked()
