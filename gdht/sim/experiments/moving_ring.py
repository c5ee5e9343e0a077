"""A ring of real nodes in motion: joins, departures and lookups, each at random times of a given mean rate."""

import math
from collections.abc import Callable
from random import Random
from typing import NamedTuple

from gdht.core.ident import IDENT_BITS
from gdht.core.known_arcs import ARCS_MAX
from gdht.sim.cluster import Cluster
from gdht.sim.experiments.lookups import Sample, look_up, true_owner
from gdht.sim.experiments.report import Progress
from gdht.sim.host import Host

LOOKUP_S_MAX = 60.0
"""Every lookup has ended after so many virtual seconds."""

BOOTSTRAP_MEMBERS = 3
"""How many members a joining node is told of."""

TELL_EVERY_S = 10.0
"""How many virtual seconds there are between two words of progress."""

ROUNDS_MAX = 200
"""A ring that takes more rounds of maintenance to become ideal never will."""


class Rates(NamedTuple):
    """How often things happen, per virtual second, on average. churn: joins; and departures, as often."""

    churn: float
    lookups: float = 1.0


class MovingRing:
    """A cluster and what happens to it.

    depart: takes one member out. can_depart: whether it may go now. ask: what happens as often as lookups do; None:
    a lookup through some member.
    samples: every lookup that came to an end, as the asking node lived to see it, and whether it found the owner.
    """

    def __init__(
        self,
        cluster: Cluster,
        rates: Rates,
        depart: Callable[[Host], None],
        can_depart: Callable[[Host], bool] = lambda _host: True,
        ask: Callable[[], None] | None = None,
    ) -> None:
        self.cluster = cluster
        self.samples: list[tuple[Sample, bool]] = []
        self.joins = 0
        self.departures = 0
        self._depart = depart
        self._can_depart = can_depart
        self._hosts: dict[int, Host] = {}
        self._rng = Random(f"{cluster.seed}/moving ring/{rates}")
        self._rates = {self._join: rates.churn, self._take_out: rates.churn, ask or self._ask: rates.lookups}
        self._due = dict.fromkeys(self._rates, 0.0)

    # Before -----------------------------------------------------------------------------------------------------------

    def grow(self, nodes: int, progress: Progress) -> None:
        """Let so many nodes join, in every round of maintenance as many as there are; then wait for the ideal ring."""
        interval_s = self.cluster.config.stabilize_interval
        self._add([])
        while len(self._hosts) < nodes:
            present = list(self._hosts.values())
            joining = min(len(present), nodes - len(present))
            for _ in range(joining):
                self._add([self._rng.choice(present)])
                self.cluster.run_for(interval_s / joining)
            progress("nodes joined", len(self._hosts), nodes)
        self._wait_until_ideal(nodes, progress)

    def settle(self, rounds: int, progress: Progress) -> None:
        """Let maintenance go round so many times, so that fingers are found too."""
        for done in range(rounds):
            progress("rounds of maintenance", done, rounds)
            self.cluster.run_for(self.cluster.config.stabilize_interval)

    def _wait_until_ideal(self, nodes: int, progress: Progress) -> None:
        for _ in range(ROUNDS_MAX):
            violations = self.cluster.violations()
            if len(self.cluster.views()) == nodes and not violations:
                return
            progress("nodes in order", max(nodes - len(violations), 0), nodes)
            self.cluster.run_for(self.cluster.config.stabilize_interval)
        raise self.cluster.failure(f"not ideal after {ROUNDS_MAX} rounds")

    # In motion --------------------------------------------------------------------------------------------------------

    def run(self, seconds: float, progress: Progress) -> None:
        """Let things happen for so many virtual seconds, and wait for the last lookups."""
        self._begin()
        ends_at_s = self.cluster.now + seconds
        left_s = seconds
        while left_s > 0:
            progress("virtual seconds", round(seconds - left_s), round(seconds))
            self._advance(min(left_s, TELL_EVERY_S))
            left_s = ends_at_s - self.cluster.now
        self.cluster.run_for(LOOKUP_S_MAX)

    def run_lookups(self, lookups: int, progress: Progress) -> None:
        """Let things happen until so many lookups have ended."""
        self.run_until("lookups", lambda: len(self.samples), lookups, progress)

    def run_until(self, what: str, count: Callable[[], int], wanted: int, progress: Progress) -> None:
        """Let things happen until there are so many of something."""
        self._begin()
        while (done := count()) < wanted:
            progress(what, done, wanted)
            self._advance(TELL_EVERY_S)

    def _begin(self) -> None:
        """Everything happens for the first time from now on."""
        self._due = {action: self._next(action) for action in self._rates}

    def _advance(self, seconds: float) -> None:
        cluster = self.cluster
        ends_at_s = cluster.now + seconds
        while True:
            action = min(self._due, key=lambda one: self._due[one])
            cluster.run_for(min(self._due[action], ends_at_s) - cluster.now)
            if self._due[action] > ends_at_s:
                return
            action()
            self._due[action] = self._next(action)

    def _next(self, action: Callable[[], None]) -> float:
        """When something that happens at random times happens next."""
        rate = self._rates[action]
        return self.cluster.now + self._rng.expovariate(rate) if rate else math.inf

    # What happens -----------------------------------------------------------------------------------------------------

    def _join(self) -> None:
        members = self._members()
        self._add(self._rng.sample(members, min(len(members), BOOTSTRAP_MEMBERS)))
        self.joins += 1

    def _take_out(self) -> None:
        members = [host for host in self._members() if not host.leaving]
        host = self._rng.choice(members)
        if self._can_depart(host):
            self._depart(host)
            self.departures += 1

    def _ask(self) -> None:
        host, ident = self._rng.choice(self._members()), self._rng.getrandbits(IDENT_BITS)
        before = self._owner(ident)
        node = host.node

        def run() -> None:
            sample = look_up(lambda _dead: node.find_successor(ident), lambda: self.cluster.now)
            self.samples.append((sample, sample.found(before, self._owner(ident))))

        host.process.spawn(run, "lookup")

    # Who is there -----------------------------------------------------------------------------------------------------

    def add(self, arcs_max: int) -> Host:
        """One more node, that remembers so much of who owns what; it joins soon."""
        return self._add([self._rng.choice(self._members())], arcs_max)

    def _add(self, bootstrap: list[Host], arcs_max: int = ARCS_MAX) -> Host:
        host = self.cluster.add(bootstrap, arcs_max)
        self._hosts[host.peer.ident] = host
        return host

    def _members(self) -> list[Host]:
        return [self._hosts[ident] for ident in self.cluster.views()]

    def _owner(self, ident: int) -> int:
        """Whose an identifier is by right, at this moment."""
        return true_owner(sorted(self.cluster.views()), ident)
