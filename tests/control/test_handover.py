"""Sockets handed from one process to the next, both played by this one."""

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from ingressd.control.handover import IN_ONE, MORE, Offer, take
from ingressd.control.sockets import ListenError


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


@pytest.mark.parametrize("count", [1, IN_ONE, IN_ONE + 1, 3 * IN_ONE])
async def test_as_many_sockets_arrive_as_are_given(tmp_path: Path, listening: socket.socket, count: int) -> None:
    """More than one message holds, where a machine has many cores."""
    path = str(tmp_path / "handover")
    over = asyncio.Event()
    given = [listening.dup() for _ in range(count)]
    offer = Offer(path, given, over.set)
    offer.open()
    taken = await asyncio.to_thread(take, path)
    try:
        assert len(taken.sockets) == count
        assert {sock.getsockname() for sock in taken.sockets} == {listening.getsockname()}
        assert not over.is_set()
        taken.ready()
        await asyncio.wait_for(over.wait(), 10)
    finally:
        for sock in [*given, *taken.sockets]:
            sock.close()
        await offer.close()


async def test_who_gives_a_part_of_its_sockets_has_given_none(tmp_path: Path, listening: socket.socket) -> None:
    path = str(tmp_path / "handover")
    with socket.socket(socket.AF_UNIX) as giver:
        giver.bind(path)
        giver.listen()
        taking = asyncio.to_thread(take, path)

        def give() -> None:
            connection, _ = giver.accept()
            with connection:
                socket.send_fds(connection, [MORE], [listening.fileno()])

        with pytest.raises(ListenError, match="gives nothing"):
            await asyncio.gather(taking, asyncio.to_thread(give))


def test_a_file_that_is_no_socket_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "hello.yaml"
    path.write_text("kept")
    with pytest.raises(ListenError, match="something else than a socket: write another path"):
        take(str(path))
    assert path.read_text() == "kept"
    path.unlink()
    assert take(str(path)).sockets == []
