"""Worker processes are started with their sockets, told what changes, heard to the last word, and never outlive us."""

import asyncio
import json
import os
import resource
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from ingressd.aio import spawn
from ingressd.control import workers as workers_module
from ingressd.control.sockets import Port, close, listen
from ingressd.control.workers import (
    CaughtUp,
    Due,
    Exited,
    Listeners,
    Said,
    WorkerEvent,
    Workers,
    describe_exit,
    restart_pause,
)
from ingressd.link import Drain, Report, Serving, TicketKeys, frame
from ingressd.model import Hidden, Snapshot, Update, VirtualHost, WorkerSettings
from tests.control.stand_in import LAST_WORDS

COMMAND = [sys.executable, str(Path(__file__).parent / "stand_in.py")]
DEADLINE = 20.0


class Events:
    """Collects what workers post; waits for what a test expects."""

    def __init__(self) -> None:
        self.seen: list[WorkerEvent] = []
        self._more = asyncio.Event()

    def post(self, event: WorkerEvent) -> None:
        self.seen.append(event)
        self._more.set()

    async def until(self, wanted: Callable[[WorkerEvent], bool]) -> WorkerEvent:
        async with asyncio.timeout(DEADLINE):
            while not (found := [event for event in self.seen if wanted(event)]):
                self._more.clear()
                await self._more.wait()
        return found[0]

    async def serving(self, worker: int, generation: int) -> None:
        await self.until(lambda event: event == Said(worker, Serving(generation)))

    async def exited(self, worker: int) -> Exited:
        event = await self.until(lambda event: isinstance(event, Exited) and event.worker == worker)
        assert isinstance(event, Exited)
        return event


class Fleet:
    def __init__(self, workers: Workers, events: Events, ports: list[int]) -> None:
        self.workers, self.events, self.ports = workers, events, ports

    async def ask(self, number: int, path: str = "/state") -> dict[str, Any]:
        """What one worker answers; in these tests each has a port of its own."""
        found: dict[str, Any] = json.loads((await self.tell(number, path)).partition(b"\r\n\r\n")[2])
        return found

    async def tell(self, number: int, path: str) -> bytes:
        """Sends a request and reads to the end, whatever comes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.ports[number])
        writer.write(f"GET {path} HTTP/1.1\r\n\r\n".encode())
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        return answer


TICKETS = frame(TicketKeys((Hidden(bytes(80)),)))


def whole(generation: int, *hosts: str) -> bytes:
    return frame(Update.of(Snapshot(tuple(VirtualHost(host) for host in hosts)), generation))


def change(generation: int, *hosts: str) -> bytes:
    return frame(Update(generation, virtual_hosts=tuple(VirtualHost(host) for host in hosts)))


@asynccontextmanager
async def fleet(count: int = 1) -> AsyncIterator[Fleet]:
    events = Events()
    groups = [listen(Port("--http-port", 0, ("127.0.0.1",)), 1)[0] for _ in range(count)]
    workers = Workers(COMMAND, WorkerSettings(worker=0, workers=count), list(map(Listeners, groups)), events.post)
    try:
        for number in range(count):
            await workers.start(number, TICKETS, whole(1, "a.example"))
        for number in range(count):
            await events.serving(number, 1)
        yield Fleet(workers, events, [group[0].getsockname()[1] for group in groups])
    finally:
        workers.kill()
        for number in range(count):
            await events.exited(number)
        close(groups)


async def test_a_new_worker_gets_its_number_and_the_whole_state() -> None:
    async with fleet(2) as made:
        for number in (0, 1):
            state = await made.ask(number)
            assert (state["worker"], state["workers"]) == (number, 2)
            assert (state["hosts"], state["fulls"], state["generation"]) == (["a.example"], 1, 1)
            assert state["pid"] == made.workers[number].pid


async def test_changes_reach_all_workers() -> None:
    async with fleet(2) as made:
        made.workers.publish(change(2, "b.example"))
        for number in (0, 1):
            await made.events.serving(number, 2)
            assert (await made.ask(number))["hosts"] == ["a.example", "b.example"]


async def test_a_worker_started_again_serves_the_same_socket() -> None:
    async with fleet() as made:
        first = (await made.ask(0))["pid"]
        os.kill(first, 9)
        exited = await made.events.exited(0)
        assert exited.how == "was killed by SIGKILL"
        # The socket still listens: this connection waits for the worker to come.
        waiting = asyncio.get_running_loop().create_task(made.ask(0))
        assert made.workers.replace_later(exited) == 0
        assert await made.events.until(lambda event: isinstance(event, Due)) == Due(0)
        made.events.seen.clear()
        await made.workers.start(0, TICKETS, whole(5, "c.example"))
        await made.events.serving(0, 5)
        state = await waiting
        assert state["pid"] != first
        assert state["hosts"] == ["c.example"]


async def test_a_worker_that_reads_slowly_gets_the_whole_state_instead_of_what_it_missed() -> None:
    async with fleet() as made:
        await made.ask(0, "/deaf")
        generation = 1
        many = [f"{'x' * 200}{number}.example" for number in range(5000)]
        for _ in range(10):
            generation += 1
            made.workers.publish(change(generation, *many))
        link = made.workers[0]._link
        assert link is not None
        assert link.get_write_buffer_size() < 5 * workers_module.MAX_UNREAD
        await made.ask(0, "/hear")
        await made.events.until(lambda event: event == CaughtUp(0))
        # Between the two, a change must not slip through: it would not fit what the worker has.
        generation += 1
        made.workers.publish(change(generation, "late.example"))
        made.workers[0].send_whole(whole(generation, "a.example", "late.example"))
        await made.events.serving(0, generation)
        state = await made.ask(0)
        assert (state["hosts"], state["fulls"]) == (["a.example", "late.example"], 2)


async def test_a_worker_is_heard_to_its_last_word() -> None:
    async with fleet() as made:
        made.workers.drain(Drain(listening=False))
        exited = await made.events.exited(0)
        assert exited.how == "exited with code 0"
        last = [event.message for event in made.events.seen if isinstance(event, Said)][-1]
        assert isinstance(last, Report)
        assert last.counters[0].value == LAST_WORDS
        assert made.events.seen[-1] == exited


async def test_a_worker_that_says_nothing_any_more_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers_module, "LOOK", 0.2)
    hung: list[int] = []
    async with fleet(2) as made:
        watching = spawn(made.workers.watch(lambda worker: hung.append(worker.number)), "look at the workers")
        await made.ask(1, "/mute")
        assert (await made.events.exited(1)).how == "was killed by SIGKILL"
        watching.cancel()
        assert hung == [1]
        assert made.workers[0].running


async def test_a_worker_has_time_for_its_first_word(monkeypatch: pytest.MonkeyPatch) -> None:
    worker = workers_module.Worker(0, lambda event: None)
    worker.silent = workers_module.BIRTH - 1
    assert not worker.hangs
    worker.silent += 1
    assert worker.hangs


async def test_a_worker_that_says_nonsense_is_killed() -> None:
    async with fleet() as made:
        await made.tell(0, "/garbage")
        assert (await made.events.exited(0)).how == "was killed by SIGKILL"


async def test_a_program_that_is_not_there_counts_as_an_exit() -> None:
    events = Events()
    made = Workers(["/nonexistent/worker"], WorkerSettings(worker=0, workers=1), [Listeners([])], events.post)
    await made.start(0, TICKETS, whole(1))
    assert "cannot be started" in (await events.exited(0)).how
    assert not made[0].running


async def test_a_worker_for_which_there_is_no_descriptor_counts_as_an_exit() -> None:
    events = Events()
    made = Workers(COMMAND, WorkerSettings(worker=0, workers=1), [Listeners([])], events.post)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
    try:
        await made.start(0, TICKETS, whole(1))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert (await events.exited(0)).how == "cannot be started: [Errno 24] Too many open files"
    assert not made[0].running


def test_pauses_grow_while_a_worker_keeps_failing() -> None:
    assert [restart_pause(failures) for failures in range(1, 9)] == [0, 1, 2, 4, 8, 16, 30, 30]
    assert restart_pause(10_000) == 30


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (0, "exited with code 0"),
        (3, "exited with code 3"),
        (-9, "was killed by SIGKILL"),
        (-99, "was killed by signal 99"),
    ],
)
def test_exits_in_words(code: int, said: str) -> None:
    assert describe_exit(code) == said
