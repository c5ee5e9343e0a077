"""How large a ring of real nodes one process can hold, how long it takes and what it costs."""

import resource
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

from gdht.config import DhtConfig
from gdht.sim.cluster import Cluster
from gdht.sim.experiments import paper
from gdht.sim.experiments.lookups import Tally, tally
from gdht.sim.experiments.moving_ring import MovingRing, Rates
from gdht.sim.experiments.report import Panel, Progress, Report, Series, Table

SETTLE_ROUNDS = 16
"""So many rounds of maintenance after the ring is in order: each finds a finger."""

QUIET_ROUNDS = 4
"""So many rounds of maintenance are then counted, while nothing happens."""

CHURN_PER_ROUND = 0.012
"""The share of the nodes that joins, and as large a share that crashes, per round: the paper's largest rate."""

COUNTED = """\
Real nodes with all their maintenance, each message through the codec, grown by real joins; in every round as many
join as there are.
calls: of maintenance, per node and virtual minute, while nothing happens.
path, timeouts, failed: of lookups while, per round of maintenance, 1.2 % of the nodes join and as many crash.
memory: of the whole process, once the ring was in motion."""


@dataclass(frozen=True)
class Options:
    """What decides it. stabilize_s: seconds between two rounds of maintenance, on average; a ring for each."""

    seed: int = 1
    nodes: int = 1 << 14
    lookups: int = 1000
    successors: int = 8
    stabilize_s: Sequence[float] = (30.0, 1.0)


class Row(NamedTuple):
    """What one ring took. Seconds that end in wall_s are real ones, the others virtual."""

    stabilize_s: float
    growth_s: float
    growth_wall_s: float
    calls: float
    quiet_wall_s: float
    ours: Tally
    churn_s: float
    churn_wall_s: float
    memory_bytes: int


def run(options: Options, progress: Progress) -> Report:
    """Grow a ring for each interval."""
    return make_report(options, [measure(options, interval_s, progress) for interval_s in options.stabilize_s])


def measure(options: Options, interval_s: float, progress: Progress) -> Row:
    """Grow a ring, count its maintenance, set it in motion and look up random keys."""
    config = DhtConfig(
        successor_list_length=options.successors, stabilize_interval=interval_s, call_timeout=paper.TIMEOUT_S
    )
    network = paper.network(late=False)
    rates = Rates(CHURN_PER_ROUND * options.nodes / interval_s, options.lookups / (QUIET_ROUNDS * interval_s))
    with Cluster(options.seed, config, network, safe=False) as cluster:
        ring = MovingRing(cluster, rates, cluster.crash)

        def tell(what: str, done: int, total: int) -> None:
            progress(f"every {interval_s:g} s: {what}", done, total)

        grown = Watch(cluster)
        ring.grow(options.nodes, tell)
        ring.settle(SETTLE_ROUNDS, tell)
        growth_s, growth_wall_s = grown.read()
        messages, quiet = cluster.network.messages, Watch(cluster)
        ring.settle(QUIET_ROUNDS, tell)
        quiet_s, quiet_wall_s = quiet.read()
        calls = (cluster.network.messages - messages) / 2 / options.nodes / (quiet_s / 60)
        moved = Watch(cluster)
        ring.run_lookups(options.lookups, tell)
        churn_s, churn_wall_s = moved.read()
        return Row(
            interval_s,
            growth_s,
            growth_wall_s,
            calls,
            quiet_wall_s / quiet_s,
            tally(ring.samples),
            churn_s,
            churn_wall_s,
            memory_bytes(),
        )


class Watch:
    """A stopwatch of both clocks."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._began = cluster.now, time.perf_counter()

    def read(self) -> tuple[float, float]:
        """Virtual and real seconds since its making."""
        return self._cluster.now - self._began[0], time.perf_counter() - self._began[1]


def memory_bytes() -> int:
    """How much memory this process takes up now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def make_report(options: Options, rows: Sequence[Row]) -> Report:
    """What it took, and what the ring does for it."""
    took = Table(
        f"{options.nodes} nodes in one process",
        ("round every>", "growth, virtual>", "wall>", "wall per virtual s>", "calls>", "memory>"),
        [
            (
                f"{row.stabilize_s:g} s",
                f"{row.growth_s:.0f} s",
                f"{row.growth_wall_s:.0f} s",
                f"{row.quiet_wall_s:.2f} s",
                f"{row.calls:.1f}",
                f"{row.memory_bytes / 2**20:.0f} MiB",
            )
            for row in rows
        ],
    )
    churned = Table(
        "Lookups under churn there: mean (1st, 99th percentile)",
        ("round every>", "lookups>", "path>", "timeouts>", "failed>", "out of budget>"),
        [
            (
                f"{row.stabilize_s:g} s",
                row.ours.lookups,
                row.ours.path,
                row.ours.timeouts,
                row.ours.failed,
                row.ours.out_of_budget,
            )
            for row in rows
        ],
    )
    x = [row.stabilize_s for row in rows]
    calls = Panel(
        "Maintenance",
        "seconds between two rounds",
        "calls per node and minute",
        [Series("gdht", x, [row.calls for row in rows])],
    )
    return Report(
        "scale",
        asdict(options),
        [{**row._asdict(), "ours": row.ours.as_json()} for row in rows],
        [took, churned],
        [calls],
        COUNTED,
    )
