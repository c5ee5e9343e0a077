"""How many calls a get costs: where a node remembers who owns what, and where each get begins with a lookup.

The second is plain Chord. Rings that stand still have ideal tables, put in place by hand; rings in motion have grown by
real joins, with all their maintenance, and hold real records.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from random import Random
from typing import NamedTuple

from gdht.config import DhtConfig
from gdht.core.ident import IDENT_BITS, hash_ident, ident_bytes
from gdht.core.known_arcs import ARCS_MAX, KnownArcs
from gdht.core.records import NO_VERSION, Record
from gdht.node.replication.get import get
from gdht.sim.cluster import Cluster
from gdht.sim.experiments import paper
from gdht.sim.experiments.moving_ring import MovingRing, Rates
from gdht.sim.experiments.path_length import NEVER_LATE
from gdht.sim.experiments.report import Panel, Progress, Report, Series, Spread, Table, spread
from gdht.sim.experiments.still_ring import StillNode, StillRing, place_of
from gdht.sim.host import Host
from gdht.sim.network import NetworkOptions

SIZES = (8, 64, 1000, 4096)
RINGS_NODES = 128
"""In motion, rings are grown anew until they have had so many nodes together; in every second one the two nodes that
are asked change parts. In a small ring much depends on what a node owns itself, which costs no call."""

ASKERS = 8
"""Through how many nodes a still ring is asked; each remembers for itself."""

WARM_UP_GETS = 2
"""Before a node counts as one that has been asked for a while: so many gets for each node of the ring."""

KEYS = 1000
"""How many records a ring in motion holds."""

GETS_PER_S = 20.0
"""How often a ring in motion is asked, through each of two nodes in turn."""

SETTLE_ROUNDS = 10
GET_S_MAX = 600.0
FOREVER_S = 1e12

COUNTED = """\
calls: requests to other nodes per get, until the client has its answer; 0 where the asked node is the owner. Replicas
that are asked while an owner is late count, too: up to 5 calls more, in at most one get of ten.
plain Chord: each get begins with a lookup; the memory of arcs holds none.
at first: the first gets through a node. later: after two gets through it for each node of the ring. plain Chord beside
each: of a ring in motion at the same time, of one that stands still the same.
Still rings: ideal tables put in place by hand; random keys, which their owners hold.
In motion: grown by real joins, 1,000 records; then nodes join and as many crash, at the given rate per 1,000 nodes and
second; the two nodes that are asked stay. Small rings are measured several times, and each of the two remembers in half
of them. failed: gets that did not bring the value."""


@dataclass(frozen=True)
class Options:
    """What decides it.

    nodes: the largest ring. lookups: gets per cell, in each ring. rates: joins per second in 1,000 nodes.
    """

    seed: int = 1
    nodes: int = 1000
    lookups: int = 2000
    successors: int = 8
    rates: Sequence[float] = (max(paper.CHURN),)


class Counts(NamedTuple):
    """The calls of each get, by what the node that was asked knew; plain Chord's at the same time."""

    plain: list[int]
    first: list[int]
    plain_later: list[int]
    later: list[int]

    @classmethod
    def none(cls) -> "Counts":
        """Nothing is counted yet."""
        return cls([], [], [], [])


class Row(NamedTuple):
    """Calls per get in one ring. churn: joins per second in 1,000 nodes. failed: of all gets that were counted."""

    nodes: int
    churn: float
    plain: Spread
    first: Spread
    plain_later: Spread
    later: Spread
    failed: int

    @classmethod
    def of(cls, nodes: int, churn: float, counts: Counts, failed: int) -> "Row":
        """What the counts come to; a ring that stands still is asked in the plain way once."""
        plain, later = spread(counts.plain), spread(counts.later)
        return cls(nodes, churn, plain, spread(counts.first), spread(counts.plain_later or counts.plain), later, failed)


def run(options: Options, progress: Progress) -> Report:
    """Measure every size, still and in motion."""
    sizes = [nodes for nodes in SIZES if nodes <= options.nodes] or [options.nodes]
    rows = [measure_still(options, nodes, progress) for nodes in sizes]
    for rate in options.rates:
        rows += [measure_moving(options, nodes, rate, progress) for nodes in sizes]
    return make_report(options, rows)


# Still ----------------------------------------------------------------------------------------------------------------


def measure_still(options: Options, nodes: int, progress: Progress) -> Row:
    """Ask an ideal ring through some of its nodes, one after the other."""
    rng = Random(f"{options.seed}/calls/{nodes}")
    counts = Counts.none()
    gets = -(-options.lookups // ASKERS)
    network = NetworkOptions(delay=NEVER_LATE)
    with StillRing(options.seed, nodes, options.successors, network, paper.TIMEOUT_S) as ring:
        for done, node in enumerate(rng.sample(ring.nodes, min(ASKERS, nodes))):
            progress(f"{nodes} nodes, still", done, ASKERS)
            counts.first.extend(_get_still(ring, node, rng) for _ in range(gets))
            for _ in range(WARM_UP_GETS * nodes - gets):
                _get_still(ring, node, rng)
            counts.later.extend(_get_still(ring, node, rng) for _ in range(gets))
            node.state.known_arcs = KnownArcs(node.state.me.ident, 0)
            counts.plain.extend(_get_still(ring, node, rng) for _ in range(gets))
    return Row.of(nodes, 0.0, counts, failed=0)


def _get_still(ring: StillRing, node: StillNode, rng: Random) -> int:
    """The calls of one get of a random key, which is stored first."""
    ident = rng.getrandbits(IDENT_BITS)
    key = ident_bytes(ident)
    owner = ring.nodes[place_of(ring.peers, ident)].state
    owner.store.put(Record(key, b"value", NO_VERSION, FOREVER_S, 1))

    def run() -> int:
        assert get(node.rt, node.state, key).result == "success", "nothing is missing in a ring that stands still"
        return ring.scheduler.task.calls

    calls = ring.scheduler.run_task(node.process, run, GET_S_MAX)
    owner.store.remove(key, NO_VERSION)
    assert calls is not None, "no node of this ring dies"
    return calls


# In motion ------------------------------------------------------------------------------------------------------------


class Asker:
    """Makes one get after the other through one of two nodes. calls: by node, of each get; failed: by node."""

    def __init__(self, cluster: Cluster, keys: Sequence[bytes]) -> None:
        self.hosts: list[Host] = []
        self.calls: list[list[int]] = []
        self.failed = 0
        self._cluster = cluster
        self._keys = keys
        self._rng = Random(f"{cluster.seed}/gets")
        self._turn = 0

    def add(self, host: Host) -> None:
        """Ask through this node, too."""
        self.hosts.append(host)
        self.calls.append([])

    @property
    def done(self) -> int:
        """How many gets have ended through the node that has the fewest."""
        return min(map(len, self.calls))

    def ask(self) -> None:
        """Get some key through the node whose turn it is, soon."""
        self._turn = (self._turn + 1) % len(self.hosts)
        host, calls, key = self.hosts[self._turn], self.calls[self._turn], self._rng.choice(self._keys)

        def run() -> None:
            self.failed += host.node.get(key).result != "success"
            calls.append(self._cluster.scheduler.task.calls)

        host.process.spawn(run, "get")

    def begin(self) -> list[list[int]]:
        """What was counted so far; count from 0 again."""
        counted, self.calls = self.calls, [[] for _ in self.hosts]
        return counted


def measure_moving(options: Options, nodes: int, rate: float, progress: Progress) -> Row:
    """Ask as many rings as it takes, one after the other."""
    counts, failed = Counts.none(), 0
    rings = max(RINGS_NODES // nodes, 1)
    for number in range(rings):

        def tell(what: str, done: int, total: int, number: int = number) -> None:
            progress(f"{nodes} nodes, {rate:g} joins per s, ring {number + 1} of {rings}: {what}", done, total)

        failed += _ask_moving(options, number, nodes, rate, counts, tell)
    return Row.of(nodes, rate, counts, failed)


def _ask_moving(options: Options, number: int, nodes: int, rate: float, counts: Counts, progress: Progress) -> int:
    """Grow a ring with two nodes that are asked, one of which remembers; fill it; set it in motion and ask.

    Adds to the counts; returns how many gets failed.
    """
    config = DhtConfig(
        successor_list_length=options.successors, stabilize_interval=paper.STABILIZE_S, call_timeout=paper.TIMEOUT_S
    )
    forgetful, remembering = (0, 1) if number % 2 == 0 else (1, 0)
    keys = [ident_bytes(hash_ident(f"key {each}".encode())) for each in range(KEYS)]
    with Cluster(options.seed + number // 2, config, paper.network(late=False), safe=False) as cluster:
        asker = Asker(cluster, keys)
        rates = Rates(rate * nodes / 1000, GETS_PER_S)
        ring = MovingRing(cluster, rates, cluster.crash, lambda host: host not in asker.hosts, asker.ask)
        ring.grow(nodes - 2, progress)
        for place in range(2):
            asker.add(ring.add(0 if place == forgetful else ARCS_MAX))
            cluster.wait_until_joined()
        ring.settle(SETTLE_ROUNDS, progress)
        for key in keys:
            cluster.put(asker.hosts[0], key, b"value")
        ring.run_until("gets", lambda: asker.done, options.lookups, progress)
        calls = asker.begin()
        counts.plain.extend(calls[forgetful])
        counts.first.extend(calls[remembering])
        warm_up = max(WARM_UP_GETS * nodes - options.lookups, 0)
        ring.run_until("gets to warm up", lambda: asker.done, warm_up, progress)
        asker.begin()
        ring.run_until("later gets", lambda: asker.done, options.lookups, progress)
        calls = asker.begin()
        counts.plain_later.extend(calls[forgetful])
        counts.later.extend(calls[remembering])
        return asker.failed


# Report ---------------------------------------------------------------------------------------------------------------


SPREADS = ("plain", "first", "plain_later", "later")
"""The columns of a row, in order."""


def make_report(options: Options, rows: Sequence[Row]) -> Report:
    """Plain Chord beside nodes that remember."""
    columns = ("nodes>", "joins per s>", "plain Chord>", "at first>", "plain Chord>", "later>", "failed>")
    cells = [
        (row.nodes, f"{row.churn:g}" if row.churn else None, *(getattr(row, name) for name in SPREADS), row.failed)
        for row in rows
    ]
    return Report(
        "calls",
        asdict(options),
        [{**row._asdict(), **{name: getattr(row, name)._asdict() for name in SPREADS}} for row in rows],
        [Table("Calls per get: mean (1st, 99th percentile)", columns, cells)],
        [_panel("Still", [row for row in rows if not row.churn])],
        COUNTED,
    )


def _panel(title: str, rows: Sequence[Row]) -> Panel:
    x = [row.nodes for row in rows]
    lines = (("plain Chord", "plain"), ("at first", "first"), ("later", "later"))
    series = [Series(label, x, [getattr(row, name).mean for row in rows]) for label, name in lines]
    return Panel(title, "nodes", "calls per get", series, doubling=True)
