"""Which nameservers a Resolver asks, and for which names."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ingressd.control import dns as control_dns
from ingressd.control.dns import nameserver
from tests.control.dns_server import DnsServer, dns_server
from tests.control.resolving import resolving


@pytest.fixture
async def server() -> AsyncIterator[DnsServer]:
    async with dns_server() as running:
        yield running


@pytest.fixture
def conf(tmp_path: Path, server: DnsServer, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A resolv.conf, for nameservers on the port of `server`."""
    monkeypatch.setattr(control_dns, "DNS_PORT", int(server.address.rpartition(":")[2]))
    return tmp_path / "resolv.conf"


def write(path: Path, text: str | bytes) -> None:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())


async def test_resolv_conf_with_its_search_list(conf: Path, server: DnsServer) -> None:
    server.records("db.shop.svc.example", "A 192.0.2.1")
    write(conf, "search other.example shop.svc.example\nnameserver 127.0.0.1\noptions ndots:2\n")
    async with resolving("db", "db.shop.svc.example", resolv_conf=str(conf)) as (resolver, _):
        assert resolver.addresses("db") == ("192.0.2.1",)
        assert resolver.addresses("db.shop.svc.example") == ("192.0.2.1",)
        assert server.queries["db.other.example A"] == 1
        assert server.queries["db A"] == 0
        assert server.queries["db.shop.svc.example.other.example A"] == 0


async def test_names_are_absolute_where_nameservers_are_given(server: DnsServer) -> None:
    async with resolving("db", nameservers=[server.address]):
        assert server.queries == {"db A": 1, "db AAAA": 1}


async def test_resolv_conf_that_changes_is_read_again(conf: Path, server: DnsServer) -> None:
    server.records("db.one.example", "A 192.0.2.1")
    server.records("db.two.example", "A 192.0.2.2")
    write(conf, "search one.example\nnameserver 127.0.0.1\n")
    async with resolving("db", resolv_conf=str(conf)) as (resolver, watch):
        assert resolver.addresses("db") == ("192.0.2.1",)
        write(conf, "search two.example\nnameserver 127.0.0.1\n#\n")
        await watch.next_round()
        assert resolver.addresses("db") == ("192.0.2.2",)


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (None, "No such file or directory"),
        ("# nothing\n", "no nameservers"),
        ("nameserver dns.example\n", "nameserver dns.example is not a"),
        ("nameserver 127.0.0.1\nsearch a..b\n", "A DNS label is empty."),
        (b"nameserver \xff\n", "can't decode"),
    ],
)
async def test_resolv_conf_that_cannot_be_used_is_a_problem_until_it_can(
    conf: Path, server: DnsServer, content: str | bytes | None, error: str
) -> None:
    server.records("a.example", "A 192.0.2.1")
    if content is not None:
        write(conf, content)
    async with resolving("a.example", resolv_conf=str(conf)) as (resolver, watch):
        assert resolver.problems()["a.example"].startswith(f"{conf}: ")
        assert error in resolver.problems()["a.example"]
        write(conf, "nameserver 127.0.0.1\nsearch example\n")
        await watch.next_round()
        assert resolver.addresses("a.example") == ("192.0.2.1",)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("10.96.0.10", "Do53:10.96.0.10@53"),
        ("10.96.0.10:5353", "Do53:10.96.0.10@5353"),
        ("fd00::a", "Do53:fd00::a@53"),
        ("[fd00::a]", "Do53:fd00::a@53"),
        ("[fd00::a]:5353", "Do53:fd00::a@5353"),
    ],
)
def test_nameservers(text: str, shown: str) -> None:
    assert str(nameserver(text)) == shown


@pytest.mark.parametrize(
    "text",
    [
        "",
        "dns.example",
        "10.0.0",
        "10.96.0.10:",
        "10.96.0.10:0",
        "10.96.0.10:65536",
        "[fd00::a",
        "[fd00::a]53",
        "[]:53",
    ],
)
def test_what_is_no_nameserver(text: str) -> None:
    with pytest.raises(ValueError, match="is no nameserver: write an IP address, or address:port"):
        nameserver(text)
