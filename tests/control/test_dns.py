"""Resolver against a real nameserver on loopback. Pauses between look-ups end when the test says so."""

import asyncio
import time
from collections.abc import AsyncIterator

import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest

from ingressd.control import dns as control_dns
from ingressd.control.dns import Resolver, with_addresses
from ingressd.model import Cluster, ClusterKey, Endpoint, Snapshot
from tests.control.dns_server import DnsServer, dns_server, silence
from tests.control.resolving import DEADLINE, Watch, resolving


@pytest.fixture
async def server() -> AsyncIterator[DnsServer]:
    async with dns_server() as running:
        yield running


async def test_both_families_sorted(server: DnsServer) -> None:
    server.records("a.example", "A 192.0.2.2", "A 192.0.2.1", "AAAA 2001:db8::1")
    async with resolving("a.example", nameservers=[server.address]) as (resolver, watch):
        assert resolver.addresses("a.example") == ("192.0.2.1", "192.0.2.2", "2001:db8::1")
        assert resolver.problems() == {}
        assert watch.changes == 1
        assert resolver.addresses("other.example") == ()


async def test_one_family_alone(server: DnsServer) -> None:
    server.records("six.example", "AAAA 2001:db8::1")
    server.records("four.example", "A 192.0.2.1")
    async with resolving("six.example", "four.example", nameservers=[server.address]) as (resolver, _):
        assert resolver.addresses("six.example") == ("2001:db8::1",)
        assert resolver.addresses("four.example") == ("192.0.2.1",)


@pytest.mark.parametrize(("ttl", "pause"), [(0, 1.0), (30, 30.0), (3600, 3600.0), (604800, 3600.0)])
async def test_ttl_within_bounds(server: DnsServer, ttl: int, pause: float) -> None:
    server.records("a.example", "A 192.0.2.1", ttl=ttl)
    async with resolving("a.example", nameservers=[server.address]) as (_, watch):
        assert watch.pauses == [pause]


async def test_the_shortest_ttl_counts(server: DnsServer) -> None:
    server.raw("a.example", _different_ttls)
    async with resolving("a.example", nameservers=[server.address]) as (_, watch):
        assert watch.pauses == [20.0]


def _different_ttls(query: dns.message.Message, tcp: bool) -> bytes:
    response = dns.message.make_response(query)
    ttl, kind, value = (50, "A", "192.0.2.1") if query.question[0].rdtype == 1 else (40, "AAAA", "2001:db8::1")
    response.answer.append(dns.rrset.from_text("a.example.", 20 if kind == "A" else 60, "IN", "CNAME", "b.example."))
    response.answer.append(dns.rrset.from_text("b.example.", ttl, "IN", kind, value))
    return response.to_wire()


async def test_a_real_pause_ends_by_itself(server: DnsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_dns, "MIN_TTL", 0.01)
    server.records("a.example", "A 192.0.2.1", ttl=0)
    changed = asyncio.Event()
    resolver = Resolver(changed.set, [server.address])
    resolver.set_names(["a.example"])
    try:
        async with asyncio.timeout(DEADLINE):
            await changed.wait()
            changed.clear()
            server.records("a.example", "A 192.0.2.9", ttl=0)
            await changed.wait()
        assert resolver.addresses("a.example") == ("192.0.2.9",)
    finally:
        await resolver.close()


async def test_answers_that_change_are_reported_and_those_that_do_not_are_not(server: DnsServer) -> None:
    server.records("a.example", "A 192.0.2.1", "A 192.0.2.2")
    async with resolving("a.example", nameservers=[server.address]) as (resolver, watch):
        server.records("a.example", "A 192.0.2.2", "A 192.0.2.1")
        await watch.next_round()
        assert watch.changes == 1
        server.records("a.example", "A 192.0.2.3")
        await watch.next_round()
        assert watch.changes == 2
        assert resolver.addresses("a.example") == ("192.0.2.3",)


FAILURES = {
    "SERVFAIL": "SERVFAIL from 127.0.0.1@",
    "REFUSED": "REFUSED from 127.0.0.1@",
    "NXDOMAIN": "the name does not exist (NXDOMAIN)",
    "no data": "the name has no address (no A or AAAA record)",
    "silence": "no answer from 127.0.0.1@",
    "garbage": "no answer from 127.0.0.1@",
    "only this host": "the name leads to 127.0.0.1, ::1, which no endpoint may be",
    "metadata service": "the name leads to 169.254.169.254, which no endpoint may be",
    "endless aliases": "aliases (CNAME) one after the other",
}


def fail(server: DnsServer, name: str, how: str) -> None:
    match how:
        case "no data":
            server.records(name, "TXT nothing")
        case "silence":
            server.silent(name)
        case "garbage":
            server.raw(name, lambda query, tcp: query.to_wire()[:2] + b"garbage")
        case "only this host":
            server.records(name, "A 127.0.0.1", "AAAA ::1")
        case "metadata service":
            server.records(name, "A 169.254.169.254")
        case "endless aliases":
            server.records(name, f"CNAME x.{name}.")
            for number in range(20):
                server.records(f"{'x.' * (number + 1)}{name}", f"CNAME {'x.' * (number + 2)}{name}.")
        case _:
            server.rcode(name, dns.rcode.from_text(how))


@pytest.mark.parametrize("how", FAILURES)
async def test_failures_keep_the_last_good_answer_and_are_retried_with_growing_pauses(
    server: DnsServer, how: str
) -> None:
    server.records("a.example", "A 192.0.2.1", "AAAA 2001:db8::1", ttl=60)
    async with resolving("a.example", nameservers=[server.address]) as (resolver, watch):
        fail(server, "a.example", how)
        await watch.next_round()
        assert resolver.addresses("a.example") == ("192.0.2.1", "2001:db8::1")
        assert FAILURES[how].split(",")[0] in resolver.problems()["a.example"]
        assert watch.changes == 2
        for _ in range(2):
            await watch.next_round()
        assert watch.pauses == [60.0, 1.0, 2.0, 4.0]
        server.records("a.example", "A 192.0.2.1", "AAAA 2001:db8::1", ttl=60)
        await watch.next_round()
        assert resolver.problems() == {}
        assert watch.pauses[-1] == 60.0
        fail(server, "a.example", how)
        await watch.next_round()
        assert watch.pauses[-1] == 1.0


@pytest.mark.parametrize("how", FAILURES)
async def test_a_name_that_was_never_resolved_has_no_addresses(server: DnsServer, how: str) -> None:
    fail(server, "a.example", how)
    async with resolving("a.example", nameservers=[server.address]) as (resolver, watch):
        assert resolver.addresses("a.example") == ()
        assert watch.changes == 1
        server.records("a.example", "A 192.0.2.1")
        await watch.next_round()
        assert resolver.addresses("a.example") == ("192.0.2.1",)


async def test_pauses_do_not_grow_beyond_their_bound(server: DnsServer) -> None:
    async with resolving("a.example", nameservers=[server.address]) as (_, watch):
        for _ in range(20):
            await watch.next_round()
        assert watch.pauses[:6] == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0]
        assert watch.pauses[-1] == 30.0


async def test_a_family_that_fails_keeps_its_addresses_while_the_other_changes(server: DnsServer) -> None:
    server.records("a.example", "A 192.0.2.1", "AAAA 2001:db8::1")
    async with resolving("a.example", nameservers=[server.address]) as (resolver, watch):

        def only_a(query: dns.message.Message, tcp: bool) -> bytes:
            response = dns.message.make_response(query)
            if query.question[0].rdtype == dns.rdatatype.A:
                response.answer.append(dns.rrset.from_text("a.example.", 60, "IN", "A", "192.0.2.2"))
            else:
                response.set_rcode(dns.rcode.SERVFAIL)
            return response.to_wire()

        server.raw("a.example", only_a)
        await watch.next_round()
        assert resolver.addresses("a.example") == ("192.0.2.2", "2001:db8::1")
        server.records("a.example", "A 192.0.2.2")
        await watch.next_round()
        assert resolver.addresses("a.example") == ("192.0.2.2",)


async def test_aliases_in_one_answer(server: DnsServer) -> None:
    server.records("a.example", "CNAME b.example.", others=("b.example CNAME c.example.", "c.example A 192.0.2.1"))
    async with resolving("a.example", nameservers=[server.address]) as (resolver, _):
        assert resolver.addresses("a.example") == ("192.0.2.1",)
        assert server.queries == {"a.example A": 1, "a.example AAAA": 1, "c.example AAAA": 1}


async def test_aliases_that_are_left_to_the_client(server: DnsServer) -> None:
    server.records("a.example", "CNAME b.example.", ttl=40)
    server.records("b.example", "CNAME c.example.", ttl=30)
    server.records("c.example", "A 192.0.2.1", "AAAA 2001:db8::1", ttl=50)
    async with resolving("a.example", nameservers=[server.address]) as (resolver, watch):
        assert resolver.addresses("a.example") == ("192.0.2.1", "2001:db8::1")
        assert watch.pauses == [30.0]


async def test_a_truncated_answer_is_asked_for_again_by_tcp(server: DnsServer) -> None:
    addresses = tuple(f"192.0.2.{number}" for number in range(1, 101))
    server.truncated("a.example", *(f"A {address}" for address in addresses))
    async with resolving("a.example", nameservers=[server.address], lifetime=5.0) as (resolver, _):
        assert resolver.addresses("a.example") == tuple(sorted(addresses))
        assert server.tcp_queries == 2


async def test_addresses_have_one_way_of_being_written(server: DnsServer) -> None:
    server.records("a.example", "A 192.0.2.1", "AAAA 2001:DB8:0:0::1", "AAAA ::ffff:192.0.2.7", "AAAA fe80::1")
    async with resolving("a.example", nameservers=[server.address]) as (resolver, _):
        assert resolver.addresses("a.example") == ("192.0.2.1", "192.0.2.7", "2001:db8::1")


async def test_this_host_may_be_an_endpoint_where_that_is_wanted(server: DnsServer) -> None:
    server.records("a.example", "A 127.0.0.1")
    async with resolving("a.example", nameservers=[server.address], loopback=True) as (resolver, _):
        assert resolver.addresses("a.example") == ("127.0.0.1",)


async def test_the_next_nameserver_is_asked_where_one_fails(server: DnsServer) -> None:
    async with dns_server() as other:
        server.rcode("a.example", dns.rcode.SERVFAIL)
        other.records("a.example", "A 192.0.2.1")
        async with resolving("a.example", nameservers=[server.address, other.address]) as (resolver, _):
            assert resolver.addresses("a.example") == ("192.0.2.1",)
            assert resolver.problems() == {}


async def test_a_nameserver_with_an_ipv6_address() -> None:
    async with dns_server("::1") as server:
        server.records("a.example", "A 192.0.2.1")
        async with resolving("a.example", nameservers=[server.address]) as (resolver, _):
            assert resolver.addresses("a.example") == ("192.0.2.1",)


async def test_names_come_and_go(server: DnsServer) -> None:
    server.records("a.example", "A 192.0.2.1")
    server.records("b.example", "A 192.0.2.2")
    async with resolving("a.example", nameservers=[server.address]) as (resolver, watch):
        resolver.set_names(["a.example", "b.example"])
        await watch.until_paused(2)
        assert server.queries["a.example A"] == 1
        resolver.set_names(["b.example"])
        assert resolver.addresses("a.example") == ()
        assert resolver.addresses("b.example") == ("192.0.2.2",)
        await watch.next_round()
        assert server.queries["a.example A"] == 1
        assert server.queries["b.example A"] == 2


async def test_after_close_nothing_is_left(server: DnsServer) -> None:
    server.all(silence)
    before = len(asyncio.all_tasks())
    resolver = Resolver(lambda: None, [server.address])
    resolver.set_names([f"n{number}.example" for number in range(40)])
    async with asyncio.timeout(DEADLINE):
        while not server.open:  # noqa: ASYNC110 - the server has nothing to wait on
            await asyncio.sleep(0)
    await resolver.close()
    assert len(asyncio.all_tasks()) == before
    assert resolver.problems() == {}


async def test_look_ups_at_one_time_are_bounded(server: DnsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_dns, "CONCURRENT", 4)
    server.all(silence)
    names = [f"n{number}.example" for number in range(20)]
    running = most = 0

    class Counted(Resolver):
        async def _look_up(self, name: str, family: dns.rdatatype.RdataType) -> control_dns._Answer:
            nonlocal running, most
            running += 1
            most = max(most, running)
            try:
                return await super()._look_up(name, family)
            finally:
                running -= 1

    watch = Watch()
    resolver = Counted(watch.on_change, [server.address], lifetime=0.05, sleep=watch.sleep)
    resolver.set_names(names)
    await watch.until_paused(len(names))
    await resolver.close()
    assert most == 8  # two families each
    assert len(server.queries) == 2 * len(names)


async def test_the_loop_is_never_blocked_while_dns_is_out(server: DnsServer) -> None:
    server.all(silence)
    loop = asyncio.get_running_loop()
    lags: list[float] = []
    last = loop.time()

    def tick() -> None:
        nonlocal last
        lags.append(loop.time() - last - 0.001)
        last = loop.time()
        if not over:
            loop.call_later(0.001, tick)

    over = False
    loop.call_later(0.001, tick)
    began = time.perf_counter()
    names = [f"n{number}.example" for number in range(32)]
    async with resolving(*names, nameservers=[server.address], lifetime=0.5) as (resolver, _):
        assert len(resolver.problems()) == len(names)
    over = True
    assert time.perf_counter() - began >= 0.9  # two rounds of look-ups, each waiting for answers all the time
    assert len(lags) > 100
    assert sorted(lags)[int(0.99 * len(lags))] < 0.05


@pytest.mark.parametrize("name", ["a..b", "x" * 64 + ".example", "\ud800.example", "." * 300])
async def test_names_that_cannot_be_are_problems(server: DnsServer, name: str) -> None:
    async with resolving(name, nameservers=[server.address]) as (resolver, _):
        assert list(resolver.problems()) == [name]
        assert not server.queries


def test_endpoints_of_clusters_with_a_name() -> None:
    plain = Cluster(ClusterKey("default", "plain", "80"), (Endpoint("10.0.0.1", 8080),))
    named = Cluster(ClusterKey("default", "named", "443"), dns_name="a.example", dns_port=8443)
    unknown = Cluster(ClusterKey("default", "unknown", "443"), dns_name="b.example", dns_port=8443)
    snapshot = Snapshot(clusters=(named, plain, unknown))
    known = {"a.example": ("2001:db8::1", "192.0.2.10", "192.0.2.9")}
    filled = with_addresses(snapshot, lambda name: known.get(name, ()), {})
    assert filled.clusters[1:] == (plain, unknown)
    assert filled.clusters[0] == Cluster(
        named.key,
        (Endpoint("192.0.2.10", 8443), Endpoint("192.0.2.9", 8443), Endpoint("2001:db8::1", 8443)),
        dns_name="a.example",
        dns_port=8443,
    )


def test_a_snapshot_without_names_stays_itself() -> None:
    snapshot = Snapshot(clusters=(Cluster(ClusterKey("default", "plain", "80"), (Endpoint("10.0.0.1", 8080),)),))
    assert with_addresses(snapshot, lambda name: (), {}) is snapshot
