"""The controller's listening sockets: one per worker and address, and no port that somebody else listens on."""

import errno
import socket
from contextlib import closing

import pytest

from ingressd.control.sockets import ListenError, Port, close, explain, listen, url

LOOPBACK = ("127.0.0.1",)


def has_ipv6() -> bool:
    with closing(socket.socket(socket.AF_INET6)) as sock:
        try:
            sock.bind(("::1", 0))
        except OSError:
            return False
    return True


def test_all_workers_share_the_port_that_the_system_chose() -> None:
    groups = listen(Port("--http-port", 0, LOOPBACK), 3)
    try:
        assert len({sock.getsockname() for group in groups for sock in group}) == 1
        assert len({sock.fileno() for group in groups for sock in group}) == 3
    finally:
        close(groups)


@pytest.mark.parametrize(("had", "wanted"), [(2, 2), (3, 1), (5, 2), (1, 3)])
def test_sockets_that_were_taken_over_are_all_used_and_no_others(had: int, wanted: int) -> None:
    (*taken,) = (sock for group in listen(Port("--http-port", 0, LOOPBACK), had) for sock in group)
    other = listen(Port("--http-port", 0, LOOPBACK), 1)[0]
    try:
        port = Port("--http-port", taken[0].getsockname()[1], LOOPBACK)
        groups = listen(port, wanted, [*taken, *other])
        assert {sock.fileno() for group in groups for sock in group} == {sock.fileno() for sock in taken}
        assert len(groups) == wanted
        assert all(groups)
    finally:
        close([taken, other])


def test_several_addresses_share_the_port() -> None:
    groups = listen(Port("--http-port", 0, ("127.0.0.1", "127.0.0.2")), 2)
    try:
        names = [[sock.getsockname() for sock in group] for group in groups]
        assert names[0] == names[1]
        assert [name[0] for name in names[0]] == ["127.0.0.1", "127.0.0.2"]
        assert len({name[1] for name in names[0]}) == 1
    finally:
        close(groups)


def test_by_default_both_families_are_served_by_one_socket() -> None:
    groups = listen(Port("--http-port", 0), 1)
    try:
        (sock,) = groups[0]
        address, number = sock.getsockname()[:2]
        assert address == ("::" if has_ipv6() else "0.0.0.0")
        assert url(sock) == (f"http://[::]:{number}" if has_ipv6() else f"http://0.0.0.0:{number}")
        for client in ("127.0.0.1", "::1") if has_ipv6() else ("127.0.0.1",):
            socket.create_connection((client, number), timeout=5).close()
    finally:
        close(groups)


def test_an_ipv6_address_that_was_asked_for_takes_no_ipv4() -> None:
    asked = Port("--http-port", 0, ("::",))
    if not has_ipv6():
        with pytest.raises(ListenError):
            listen(asked, 1)
        return
    groups = listen(asked, 1)
    try:
        number = groups[0][0].getsockname()[1]
        socket.create_connection(("::1", number), timeout=5).close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", number), timeout=5)
    finally:
        close(groups)


@pytest.mark.parametrize("share", [False, True])
def test_a_port_that_somebody_listens_on_is_refused_even_if_they_would_share_it(share: bool) -> None:
    with closing(socket.socket()) as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if share:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        number = other.getsockname()[1]
        with pytest.raises(ListenError) as caught:
            listen(Port("--http-port", number, LOOPBACK), 1)
        assert str(caught.value) == (
            f"cannot listen on 127.0.0.1:{number} (--http-port): another process listens there: "
            "stop it or choose another port with --http-port"
        )
        with pytest.raises(ListenError):
            listen(Port("--http-port", number), 1)


def test_connections_still_closing_on_the_port_are_no_obstacle() -> None:
    groups = listen(Port("--http-port", 0, LOOPBACK), 1)
    address = groups[0][0].getsockname()
    with closing(socket.create_connection(address, timeout=5)) as client:
        groups[0][0].setblocking(True)
        accepted, _ = groups[0][0].accept()
        accepted.close()
        assert client.recv(1) == b""
        close(groups)
    again = listen(Port("--http-port", address[1], LOOPBACK), 2)
    close(again)


def test_an_address_of_another_machine() -> None:
    with pytest.raises(ListenError) as caught:
        listen(Port("--http-port", 0, ("192.0.2.1",)), 1)
    assert "this machine has no such address: change --bind-address" in str(caught.value)


def test_a_port_that_only_root_may_use() -> None:
    said = explain(Port("--http-port", 80), "0.0.0.0", 80, OSError(errno.EACCES, "Permission denied"))
    assert said.startswith("cannot listen on 0.0.0.0:80 (--http-port): permission denied")
    assert "NET_BIND_SERVICE" in said
