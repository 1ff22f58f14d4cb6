"""Addresses of the names that Services of type ExternalName point to.

Each name in use is looked up for A and AAAA, again when the shorter of the two TTLs is over, and sooner, with a growing
pause, while that fails. Addresses once found stay until DNS gives others: neither silence nor an error of a nameserver
takes traffic away from endpoints that may well work. Nor does the answer that the name does not exist; it is a problem
to show, as its cause is as often a mistake in a zone.
"""

import asyncio
import os
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import dns.asyncresolver
import dns.exception
import dns.inet
import dns.name
import dns.nameserver
import dns.rdatatype
import dns.resolver
import msgspec

from ingressd.aio import spawn
from ingressd.model import Cluster, ClusterKey, Endpoint, Snapshot
from ingressd.translate.addresses import canonical, is_loopback

Addresses = Callable[[str], tuple[str, ...]]
"""Name -> IP addresses, none while they are not known."""

MIN_TTL, MAX_TTL = 1.0, 3600.0
"""Seconds. Nobody's TTL of 0 makes us ask without end, and a mistaken week ends after an hour."""
MIN_PAUSE, MAX_PAUSE = 1.0, 30.0
"""Seconds before a look-up that failed is tried again; doubles with each failure."""
CONCURRENT = 16
"""Look-ups at one time."""
ATTEMPT = 2.0
"""Seconds until a nameserver that does not answer is asked again, or the next one is. glibc: 5."""
LIFETIME = 10.0
"""Seconds until a look-up is given up, with all its nameservers and the suffixes of the search list."""
MAX_ALIASES = 8
"""CNAMEs that a nameserver leaves to us to follow. BIND follows 16 for its clients."""
RESOLV_CONF = "/etc/resolv.conf"
DNS_PORT = 53

_NAMESERVER = re.compile(
    r"(?:\[(?P<bracketed>[0-9A-Fa-f:.]+)\]|(?P<four>[0-9.]+))(?::(?P<port>[0-9]{1,5}))?|(?P<six>[0-9A-Fa-f:.]+)"
)
_FAMILIES = (dns.rdatatype.A, dns.rdatatype.AAAA)


class _Unconfigured(Exception):
    """resolv.conf cannot be used."""


class _Answer(NamedTuple):
    """Of one address family. `error` is empty if there are addresses. `final` tells that an error is the answer of DNS
    (there is no such name, or no address of the family) and not a failure to get one."""

    addresses: tuple[str, ...] = ()
    ttl: float = MAX_TTL
    error: str = ""
    final: bool = False


class _Name:
    """What is known about a name: addresses by family (as last found), and what is wrong now."""

    __slots__ = ("addresses", "by_family", "error", "failures", "task")

    def __init__(self) -> None:
        self.by_family: dict[dns.rdatatype.RdataType, tuple[str, ...]] = {}
        self.addresses: tuple[str, ...] = ()
        self.error = ""
        self.failures = 0
        self.task: asyncio.Task[None] | None = None

    def take(self, answers: Mapping[dns.rdatatype.RdataType, _Answer]) -> float:
        """Notes the answers; gives the seconds until the next look-up."""
        found = [answer for answer in answers.values() if answer.addresses]
        if found:
            for family, answer in answers.items():
                if answer.addresses or answer.final:
                    self.by_family[family] = answer.addresses
            self.addresses = tuple(sorted(address for family in self.by_family.values() for address in family))
            self.error = ""
            self.failures = 0
            return min(max(min(answer.ttl for answer in found), MIN_TTL), MAX_TTL)
        errors = sorted(answers.values(), key=lambda answer: answer.final)
        self.error = errors[0].error
        self.failures += 1
        return min(MIN_PAUSE * 2.0 ** min(self.failures - 1, 16), MAX_PAUSE)


class Resolver:
    """Keeps the addresses of a set of names. For one event loop, which it never blocks."""

    def __init__(
        self,
        on_change: Callable[[], None],
        nameservers: Sequence[str] = (),
        *,
        resolv_conf: str = RESOLV_CONF,
        lifetime: float = LIFETIME,
        loopback: bool = False,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """`on_change` is called when addresses() or problems() of a name in use have changed.

        `nameservers` are `ip`, `ip:port` or `[ipv6]:port`, and names are then absolute; without them those of
        `resolv_conf` are used with its search list, and the file is read again when it changes. Raises ValueError for
        a nameserver that is none. `loopback`: whether this host itself may be an endpoint, as on a developer's machine.
        """
        self._on_change = on_change
        self._resolv_conf = "" if nameservers else resolv_conf
        self._resolv_conf_read: tuple[int, ...] | None = None
        self._resolver = dns.asyncresolver.Resolver(configure=False)
        self._resolver.nameservers = [nameserver(text) for text in nameservers]
        self._lifetime = lifetime
        self._loopback = loopback
        self._sleep = sleep
        self._turns = asyncio.Semaphore(CONCURRENT)
        self._names: dict[str, _Name] = {}

    def set_names(self, names: Iterable[str]) -> None:
        """From now on these are in use. New ones are looked up at once, others are forgotten."""
        wanted = set(names)
        for name in self._names.keys() - wanted:
            self._stop(self._names.pop(name))
        for name in sorted(wanted - self._names.keys()):
            known = self._names[name] = _Name()
            known.task = spawn(self._follow(name, known), f"resolve {name}")

    def addresses(self, name: str) -> tuple[str, ...]:
        """Sorted; none if the name is not in use or was never resolved."""
        known = self._names.get(name)
        return known.addresses if known is not None else ()

    def problems(self) -> dict[str, str]:
        """What the last look-up of a name met, for those where it failed."""
        return {name: known.error for name, known in sorted(self._names.items()) if known.error}

    async def close(self) -> None:
        """Forgets all names and waits until their look-ups have ended."""
        tasks = [known.task for known in self._names.values() if known.task is not None]
        self.set_names(())
        if tasks:
            await asyncio.wait(tasks)

    def _stop(self, known: _Name) -> None:
        if known.task is not None:
            known.task.cancel()

    async def _follow(self, name: str, known: _Name) -> None:
        while True:
            async with self._turns:
                found = await asyncio.gather(*(self._look_up(name, family) for family in _FAMILIES))
            before = (known.addresses, known.error)
            pause = known.take(dict(zip(_FAMILIES, found, strict=True)))
            if (known.addresses, known.error) != before:
                self._on_change()
            await self._sleep(pause)

    async def _look_up(self, name: str, family: dns.rdatatype.RdataType) -> _Answer:
        try:
            self._configure()
            return await self._ask(name, family)
        except dns.resolver.NXDOMAIN:
            return _Answer(error="the name does not exist (NXDOMAIN)", final=True)
        except _Unconfigured as error:
            return _Answer(error=f"{self._resolv_conf}: {error}")
        except (dns.resolver.LifetimeTimeout, dns.resolver.NoNameservers) as error:
            return _Answer(error=_failure(error.kwargs.get("errors", ()), self._lifetime))
        except Exception as error:  # whatever it is that an answer makes the library raise, the name is asked for again
            return _Answer(error=str(error) or type(error).__name__)

    async def _ask(self, name: str, family: dns.rdatatype.RdataType) -> _Answer:
        """One family. Most nameservers follow CNAMEs for their clients; where one does not, the next is asked for."""
        asked: str | dns.name.Name = name
        search = bool(self._resolv_conf)
        ttl = MAX_TTL
        for _ in range(MAX_ALIASES):
            answer = await self._resolver.resolve(
                asked, family, search=search, raise_on_no_answer=False, lifetime=self._lifetime
            )
            ttl = min(ttl, answer.chaining_result.minimum_ttl)
            if answer.rrset is not None:
                return self._usable([str(record) for record in answer.rrset], ttl)
            if answer.canonical_name == answer.qname:
                return _Answer(error="the name has no address (no A or AAAA record)", final=True)
            asked, search = answer.canonical_name, False
        return _Answer(error=f"more than {MAX_ALIASES} aliases (CNAME) one after the other")

    def _usable(self, found: list[str], ttl: float) -> _Answer:
        """Without what no endpoint may be, so that a name leads nowhere that an address written down could not."""
        plain = {canonical(address) for address in found} - {""}
        usable = tuple(sorted(address for address in plain if self._loopback or not is_loopback(address)))
        if usable:
            return _Answer(usable, ttl)
        return _Answer(error=f"the name leads to {', '.join(sorted(found)[:3])}, which no endpoint may be", final=True)

    def _configure(self) -> None:
        """Reads resolv.conf if it is new."""
        if not self._resolv_conf:
            return
        try:
            status = os.stat(self._resolv_conf)
        except OSError as error:
            raise _Unconfigured(error.strerror) from None
        version = (status.st_ino, status.st_size, status.st_mtime_ns)
        if version != self._resolv_conf_read:
            resolver = dns.asyncresolver.Resolver(configure=False)
            resolver.port = DNS_PORT
            try:
                resolver.read_resolv_conf(self._resolv_conf)
            except (dns.exception.DNSException, ValueError) as error:
                raise _Unconfigured(str(error)) from None
            resolver.timeout = min(resolver.timeout, ATTEMPT)
            self._resolver, self._resolv_conf_read = resolver, version


def nameserver(text: str) -> dns.nameserver.Nameserver:
    """`ip`, `ip:port` or `[ipv6]:port`. Raises ValueError with one line for the user."""
    match = _NAMESERVER.fullmatch(text)
    address = (match["bracketed"] or match["four"] or match["six"]) if match else ""
    port = int(match["port"] or DNS_PORT) if match else 0
    if not dns.inet.is_address(address) or not 0 < port < 65536:
        raise ValueError(f"{text!r} is no nameserver: write an IP address, or address:port, or [IPv6 address]:port")
    return dns.nameserver.Do53Nameserver(address, port)


def with_addresses(
    snapshot: Snapshot,
    addresses: Addresses,
    meanwhile: Mapping[ClusterKey, tuple[Endpoint, ...]],
) -> Snapshot:
    """The snapshot with the endpoints of the clusters that have a `dns_name`; `meanwhile` has those of the clusters for
    which DNS has not answered yet."""
    if not any(cluster.dns_name for cluster in snapshot.clusters):
        return snapshot
    clusters = tuple(
        _with_endpoints(cluster, addresses, meanwhile) if cluster.dns_name else cluster for cluster in snapshot.clusters
    )
    return msgspec.structs.replace(snapshot, clusters=clusters)


def _with_endpoints(
    cluster: Cluster, addresses: Addresses, meanwhile: Mapping[ClusterKey, tuple[Endpoint, ...]]
) -> Cluster:
    endpoints = {Endpoint(address, cluster.dns_port) for address in addresses(cluster.dns_name)}
    return msgspec.structs.replace(cluster, endpoints=tuple(sorted(endpoints)) or meanwhile.get(cluster.key, ()))


def _failure(errors: Iterable[Sequence[object]], lifetime: float) -> str:
    """What the nameservers did, each once: `SERVFAIL from Do53:10.96.0.10@53`."""
    seen: dict[str, None] = {}
    for server, _, _, error, *_ in errors:
        what = "no answer" if isinstance(error, dns.exception.Timeout) else str(error)
        seen[f"{what} from {str(server).removeprefix('Do53:')}"] = None
    return "; ".join(seen) or f"no answer within {lifetime:g} s"
