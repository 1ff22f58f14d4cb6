"""Candidates in a simulated world: clocks that differ and drift, messages that are late or lost."""

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from random import Random

from ingressd.control.api import Metadata
from ingressd.control.election import Election, Lease, LeaseSpec, Read, Times, Wait, Write

TIMES = Times()


@dataclass
class Server:
    """The API server: one record, changed only by who names its version."""

    lease: Lease | None = None
    versions: "count[int]" = field(default_factory=lambda: count(1))

    def write(self, name: str, step: Write, renewed: str, duration: int) -> Lease | None:
        """The new record, None for a conflict."""
        version = self.lease.metadata.resource_version if self.lease else ""
        if step.version != version:
            return None
        spec = LeaseSpec(name, duration, step.acquired or renewed, renewed, step.transitions)
        self.lease = Lease(Metadata(resource_version=str(next(self.versions))), spec)
        return self.lease


@dataclass
class Node:
    """A candidate with a clock of its own: it began anywhere, and runs up to a tenth faster or slower than the true."""

    name: str
    offset: float
    rate: float
    election: Election
    alive: bool = True
    cut_off: bool = False

    def clock(self, true: float) -> float:
        return self.offset + self.rate * true

    def leads(self, true: float) -> bool:
        return self.alive and self.election.leads(self.clock(true))


class World:
    """Runs candidates. Requests are lost, answers are lost, both are late; `latency` is of one direction."""

    def __init__(
        self, random: Random, latency: float, drift: float, lost: Callable[[str], bool] = lambda name: False
    ) -> None:
        self.random = random
        self.latency = latency
        self.lost = lost
        self.drift = drift
        self.server = Server()
        self.nodes: list[Node] = []
        self.now = 0.0
        self._order = count()
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []

    def start(self, name: str) -> Node:
        rate = 1 + self.random.uniform(-self.drift, self.drift)
        election = Election(name, TIMES, self.random.random)
        node = Node(name, self.random.uniform(-1e6, 1e6), rate, election)
        self.nodes.append(node)
        self.after(0.0, lambda: self.turn(node))
        return node

    def after(self, seconds: float, do: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (self.now + seconds, next(self._order), do))

    def run(self, until: float) -> None:
        while self._agenda and self._agenda[0][0] <= until:
            self.now, _, do = heapq.heappop(self._agenda)
            do()
            self.check()
        self.now = until
        self.check()

    def check(self) -> None:
        leaders = [node.name for node in self.nodes if node.leads(self.now)]
        assert len(leaders) <= 1, f"at {self.now} lead {leaders}"

    @property
    def leader(self) -> Node | None:
        return next((node for node in self.nodes if node.leads(self.now)), None)

    def turn(self, node: Node) -> None:
        """A candidate does the next thing."""
        if not node.alive:
            return
        step = node.election.decide(node.clock(self.now))
        if isinstance(step, Wait):
            assert step.seconds >= 0
            self.after(step.seconds / node.rate + 1e-6, lambda: self.turn(node))
            return
        self.ask(node, step)

    def ask(self, node: Node, step: Read | Write) -> None:
        started = node.clock(self.now)
        answered = False

        def give_up() -> None:
            nonlocal answered
            if not answered:
                answered = True
                node.election.failed(node.clock(self.now))
                self.turn(node)

        def arrive() -> None:
            if node.cut_off or self.lost(node.name):
                return
            if isinstance(step, Read):
                result = self.server.lease
            else:
                # What a clock with hands says is no help: it may say anything.
                result = self.server.write(node.name, step, str(self.random.random()), TIMES.lease)
            if not node.cut_off and not self.lost(node.name):
                self.after(self.random.uniform(0, self.latency), lambda: answer(result))

        def answer(result: Lease | None) -> None:
            nonlocal answered
            if answered or not node.alive:
                return
            answered = True
            now = node.clock(self.now)
            if isinstance(step, Read):
                node.election.found(result, now)
            elif result is None:
                node.election.refused(now)
            else:
                node.election.written(result, started, now)
            self.turn(node)

        self.after(TIMES.ask / node.rate, give_up)
        self.after(self.random.uniform(0, self.latency), arrive)
