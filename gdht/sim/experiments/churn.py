"""Nodes come and go without end: how long lookups get, how many dead nodes they try, how many fail.

Source: the 2003 paper, section V-E, table III.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

from gdht.config import DhtConfig
from gdht.sim.cluster import Cluster
from gdht.sim.experiments import paper
from gdht.sim.experiments.lookups import Tally, tally
from gdht.sim.experiments.moving_ring import MovingRing, Rates
from gdht.sim.experiments.report import Panel, Progress, Report, Table, compare

SETTLE_ROUNDS = 10
"""So many rounds of maintenance after the ring is in order: each finds a finger."""

COUNTED = """\
Real nodes with all their maintenance, grown by real joins; then joins, departures and lookups, each a Poisson
process. A lookup starts at a random member with a random key.
path: the nodes that a lookup visits, the owner included; not the asking node, not dead ones.
timeouts: the nodes that a lookup tries and that do not answer in time. The owner is asked itself.
failed: no owner found, or one that, by an oracle, is the key's owner neither when the lookup starts nor when it
ends. Lookups whose asking node dies over them are not counted.
out of budget: tried again after the time that a node allows one lookup.
calls: all calls of all nodes, those of lookups included, per node and virtual minute.
Messages take 50 ms on average, exponentially distributed; those that would take more than 250 ms (0.7 %) are drawn
anew, so that only the dead are silent for 500 ms. With --late they are not."""


@dataclass(frozen=True)
class Options:
    """What decides it. rates: joins, and as many departures, per second. leaves: departures are in good order.

    lookup_rate: per second, in the whole ring. stabilize_s: seconds between two rounds of maintenance, on average.
    late: messages may take longer than a node waits, so that living nodes look dead.
    """

    seed: int = 1
    nodes: int = paper.NODES
    lookups: int = paper.LOOKUPS
    lookup_rate: float = 1.0
    successors: int = paper.SUCCESSORS
    stabilize_s: float = paper.STABILIZE_S
    rates: Sequence[float] = tuple(paper.CHURN)
    leaves: bool = False
    late: bool = False


class Row(NamedTuple):
    """What one rate brought. nodes: members at the end. calls: per node and virtual minute."""

    rate: float
    ours: Tally
    joins: int
    departures: int
    nodes: int
    calls: float


def run(options: Options, progress: Progress) -> Report:
    """Measure every rate, each on a ring of its own."""
    return make_report(options, [measure(options, rate, progress) for rate in options.rates])


def measure(options: Options, rate: float, progress: Progress) -> Row:
    """Grow a ring, set it in motion and look up random keys."""
    config = DhtConfig(
        successor_list_length=options.successors,
        stabilize_interval=options.stabilize_s,
        call_timeout=paper.TIMEOUT_S,
    )
    network = paper.network(late=options.late)
    with Cluster(options.seed, config, network, safe=False) as cluster:
        depart = cluster.leave if options.leaves else cluster.crash
        ring = MovingRing(cluster, Rates(rate, options.lookup_rate), depart)

        def tell(what: str, done: int, total: int) -> None:
            progress(f"rate {rate:g}: {what}", done, total)

        ring.grow(options.nodes, tell)
        ring.settle(SETTLE_ROUNDS, tell)
        messages, start_s = cluster.network.messages, cluster.now
        ring.run_lookups(options.lookups, tell)
        minutes = (cluster.now - start_s) / 60
        calls = (cluster.network.messages - messages) / 2 / options.nodes / minutes
        return Row(rate, tally(ring.samples), ring.joins, ring.departures, len(cluster.views()), calls)


def make_report(options: Options, rows: Sequence[Row]) -> Report:
    """Ours beside the paper's."""
    columns = (
        "joins per s>",
        "path>",
        "paper's>",
        "timeouts>",
        "paper's>",
        "failed>",
        "paper's>",
        "out of budget>",
        "nodes>",
        "calls>",
    )
    return Report(
        "churn",
        asdict(options),
        [{**row._asdict(), "ours": row.ours.as_json()} for row in rows],
        [
            Table(
                "Nodes join and depart: mean (1st, 99th percentile) per lookup", columns, [_cells(row) for row in rows]
            )
        ],
        [
            _panel(rows, "Path length", "nodes visited", "path"),
            _panel(rows, "Timeouts", "dead nodes tried", "timeouts"),
        ],
        COUNTED,
    )


def _cells(row: Row) -> Sequence[object]:
    path, timeouts, failed = paper.CHURN.get(row.rate, paper.Measured())
    ours = row.ours
    return (
        f"{row.rate:g}",
        ours.path,
        path,
        ours.timeouts,
        timeouts,
        ours.failed,
        failed,
        ours.out_of_budget,
        row.nodes,
        f"{row.calls:.1f}",
    )


def _panel(rows: Sequence[Row], title: str, y_label: str, column: str) -> Panel:
    x = [row.rate for row in rows]
    ours = [getattr(row.ours, column) for row in rows]
    theirs = {rate: getattr(measured, column) for rate, measured in paper.CHURN.items() if rate in x}
    return Panel(title, "joins, and as many departures, per second", y_label, compare(x, ours, theirs))
