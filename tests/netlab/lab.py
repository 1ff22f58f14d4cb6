"""Network namespaces on a bridge.

All names begin with `igd` and the id of this process. That is how a lab finds what a killed one has left: names with
the id of a process that is no more.
"""

import asyncio
import fcntl
import ipaddress
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from tests.cluster.program import Program
from tests.kit import DEADLINE, eventually

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

SPACE_4 = (ipaddress.IPv4Network("10.244.0.0/16"), ipaddress.IPv4Network("198.18.0.0/15"))
SPACE_6 = ipaddress.IPv6Network("fd00:10:244::/48")
"""A lab takes the first /19 and the first /64 of these that this machine has no route into. 10.244.0.0/16 is what
clusters often give their pods, 198.18.0.0/15 is set aside for tests of networks (RFC 2544), and fd00::/8 is for
anybody's own use (RFC 4193). The first address of each network is the bridge's."""

PORT = 8080
LOCK = Path("/run/ingressd-netlab.lock")
SERVER = Path(__file__).with_name("server.py")

_numbers = itertools.count()
_OURS = re.compile(r"igd(\d+)[bpv]\d+")


class LabError(Exception):
    """The lab cannot be built, or is asked for what it cannot do."""


def why_not(user: int | None = None) -> str:
    """Why there can be no lab here for a user (by number; else the one of this process), or empty."""
    if sys.platform != "linux":
        return "network namespaces are of Linux, and this is another system"
    if (os.geteuid() if user is None else user) != 0:
        return "only root may make network namespaces: run this as root"
    return ""


class Pod:
    """A namespace with one address, and an HTTP server in it that answers with `name`."""

    def __init__(
        self, lab: "Lab", address: str, prefix: int, port: int, name: str, server: Sequence[str | Path]
    ) -> None:
        self.address = address
        self.port = port
        self._lab = lab
        self._prefix = prefix
        number = next(_numbers)
        self.name = name or f"pod-{number}"
        self.namespace = _name("p", number)
        self._link = _name("v", number)
        command: list[str | Path] = [
            "ip",
            "netns",
            "exec",
            self.namespace,
            sys.executable,
            "-I",
            "-S",
            server[0],
            self.name,
            str(port),
            *server[1:],
        ]
        self._server = Program(command, lab.folder / f"{self.namespace}.log")
        self._starts = 0

    async def start(self) -> None:
        """Starts its server, and waits until it listens."""
        self._starts += 1
        self._server.start()

        def listening() -> bool:
            if not self._server.running:
                raise LabError(f"the server of {self.name} has ended by itself: {self._server.tail(5)}")
            return self._server.log.read_text().count("ready\n") == self._starts

        await eventually(listening, f"{self.name} listens on {self.address}:{self.port}")

    async def stop(self) -> None:
        """Its server ends as on SIGTERM: exchanges under way are finished. Connections are refused from then on."""
        self._server.signal(signal.SIGTERM)
        await self._server.ended(DEADLINE)

    def kill(self) -> None:
        """Its server is gone at once, its connections are closed in mid-exchange, and new ones refused."""
        self._server.kill()

    async def cut(self) -> None:
        """Nothing reaches it and nothing comes from it, and nobody is told."""
        await asyncio.to_thread(_ip, f"link set {self._link} down")

    async def mend(self) -> None:
        """Ends `cut`."""
        await asyncio.to_thread(_ip, f"link set {self._link} up")

    async def filter(self, *rules: str) -> None:
        """Packets that come to it are subject to these rules of nftables, in place of those before (nft(8)). Those that
        it sends are, too, if they begin with `out `."""
        chains: dict[str, list[str]] = {"input": [], "output": []}
        for rule in rules:
            chains["output" if rule.startswith("out ") else "input"].append(rule.removeprefix("out "))
        lines = ["table inet lab", "delete table inet lab"]
        for hook, found in chains.items():
            lines += ["table inet lab {", f"chain {hook} {{", f"type filter hook {hook} priority 0", *found, "}", "}"]
        await asyncio.to_thread(_nft, self.namespace, "\n".join(lines) + "\n")

    async def remove(self) -> None:
        """Its server is killed, and its address is gone: new connections hang, then fail as unreachable."""
        await asyncio.to_thread(self.close)

    def close(self) -> None:
        """As `remove`, at once. Once is enough, but twice does no harm."""
        self._server.kill()
        if self in self._lab.pods:
            self._lab.pods.remove(self)
            _ip(f"netns delete {self.namespace}", f"link delete {self._link}", force=True)

    def build(self) -> None:
        """Makes its namespace, with a link to the bridge."""
        bridge, inside = self._lab.bridge, self.namespace
        self._lab.pods.append(self)
        _ip(
            f"netns add {inside}",
            f"link add {self._link} type veth peer name eth0 netns {inside}",
            f"link set {self._link} master {bridge} up",
            # What this machine knows of a pod that had the address before.
            f"neigh flush to {self.address} dev {bridge}",
        )
        nodad = " nodad" if ":" in self.address else ""
        _ip(
            "link set lo up",
            f"address add {self.address}/{self._prefix} dev eth0{nodad}",
            "link set eth0 up",
            namespace=inside,
        )


class Lab:
    """The bridge, while its block lasts. `networks` are those of IPv4 and IPv6 that its pods are in, `pods` those there
    are. It belongs to no event loop."""

    def __init__(self) -> None:
        self.pods: list[Pod] = []
        self.bridge = _name("b", next(_numbers))
        self.networks: tuple[ipaddress.IPv4Network, ipaddress.IPv6Network]
        self._addresses: dict[Literal[4, 6], Iterator[ipaddress.IPv4Address | ipaddress.IPv6Address]]

    async def __aenter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory(prefix="ingressd-netlab-")
        self.folder = Path(self._folder.name)
        try:
            await asyncio.to_thread(self._build)
        except BaseException:
            self._close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self._close)

    async def pod(
        self, address: str = "", *, port: int = PORT, name: str = "", server: Sequence[str | Path] = (SERVER,)
    ) -> Pod:
        """A new pod whose server listens. Without an address it gets one of IPv4; `name` is what it answers with.
        `server` is another program in place of server.py, with what is to follow name and port on its command line.
        Raises LabError if the address is taken or not of the lab."""
        address = address or self.free_address()
        network = self._network_of(address)
        if address in {pod.address for pod in self.pods}:
            raise LabError(f"there is a pod with the address {address}")
        pod = Pod(self, address, network.prefixlen, port, name, server)
        try:
            await asyncio.to_thread(pod.build)
            await pod.start()
        except BaseException:
            pod.close()
            raise
        return pod

    def free_address(self, version: Literal[4, 6] = 4) -> str:
        """An address that no pod has and none had before, but after all others."""
        return str(next(self._addresses[version]))

    def _network_of(self, address: str) -> Network:
        for network in self.networks:
            if ipaddress.ip_address(address) in network:
                return network
        raise LabError(f"{address} is not in {' or '.join(map(str, self.networks))}, the networks of this lab")

    def _build(self) -> None:
        if reason := why_not():
            raise LabError(reason)
        if shutil.which("ip") is None:
            raise LabError("there is no `ip` in PATH: install iproute2")
        # One at a time, so that no two labs choose the same network.
        with LOCK.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            _remove_leftovers()
            self.networks = four, six = _free_networks()
            self._addresses = {4: _pods_of(four), 6: _pods_of(six)}
            _ip(
                f"link add {self.bridge} type bridge",
                f"address add {four[1]}/{four.prefixlen} dev {self.bridge}",
                f"address add {six[1]}/{six.prefixlen} dev {self.bridge} nodad",
                f"link set {self.bridge} up",
            )

    def _close(self) -> None:
        for pod in list(self.pods):
            pod.close()
        if shutil.which("ip"):
            _ip(f"link delete {self.bridge}", force=True)
        self._folder.cleanup()


def _name(letter: str, number: int) -> str:
    """At most 15 characters, as for all names of links."""
    return f"igd{os.getpid()}{letter}{number}"


def _pods_of(network: Network) -> Iterator[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    """Again and again from the 256th on: those before are for tests that choose."""
    return itertools.cycle(itertools.islice(network, 256, 8000))


def _free_networks() -> tuple[ipaddress.IPv4Network, ipaddress.IPv6Network]:
    taken_4 = [ipaddress.IPv4Network(route) for route in _routes("-4")]
    taken_6 = [ipaddress.IPv6Network(route) for route in _routes("-6")]
    nets_4 = (net for space in SPACE_4 for net in space.subnets(new_prefix=19) if not any(map(net.overlaps, taken_4)))
    nets_6 = (net for net in SPACE_6.subnets(new_prefix=64) if not any(map(net.overlaps, taken_6)))
    four, six = next(nets_4, None), next(nets_6, None)
    if four is None or six is None:
        spaces = ", ".join(map(str, (*SPACE_4, SPACE_6)))
        raise LabError(f"this machine has routes into all of {spaces}: no network is left for a lab")
    return four, six


def _routes(family: str) -> list[str]:
    found = _query(family, "route", "show", "table", "all")
    return [route["dst"] for route in found if route["dst"] != "default" and "type" not in route]


def _remove_leftovers() -> None:
    """Removes what labs of processes that are no more have left."""
    for space in _query("netns", "list"):
        if _is_left(space["name"]):
            _ip(f"netns delete {space['name']}", force=True)
    for link in _query("link", "show"):
        if _is_left(link["ifname"]):
            _ip(f"link delete {link['ifname']}", force=True)


def _is_left(name: str) -> bool:
    found = _OURS.fullmatch(name)
    return found is not None and not Path(f"/proc/{found[1]}").exists()


def _query(*arguments: str) -> list[dict[str, Any]]:
    text = subprocess.run(["ip", "-json", *arguments], check=True, capture_output=True, text=True).stdout
    answer: list[dict[str, Any]] = json.loads(text or "[]")
    return answer


def _ip(*commands: str, namespace: str = "", force: bool = False) -> None:
    """Runs commands of `ip` in one go, up to the first that fails unless `force`. Raises LabError unless `force`."""
    options = [*(("-netns", namespace) if namespace else ()), *(("-force",) if force else ())]
    done = subprocess.run(
        ["ip", *options, "-batch", "-"], input="\n".join(commands) + "\n", capture_output=True, text=True
    )
    if done.returncode and not force:
        raise LabError(f"ip: {done.stderr.strip()}; of: {'; '.join(commands)}")


def _nft(namespace: str, script: str) -> None:
    if shutil.which("nft") is None:
        raise LabError("there is no `nft` in PATH: install nftables")
    done = subprocess.run(
        ["ip", "netns", "exec", namespace, "nft", "-f", "-"], input=script, capture_output=True, text=True
    )
    if done.returncode:
        raise LabError(f"nft: {done.stderr.strip()}; of: {script}")
