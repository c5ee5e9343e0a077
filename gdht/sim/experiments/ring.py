"""One ring with churn, in the node's own default settings, its safety checked after every event."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial

from gdht.sim.cluster import Cluster
from gdht.sim.experiments.lookups import tally
from gdht.sim.experiments.moving_ring import LOOKUP_S_MAX, MovingRing, Rates
from gdht.sim.experiments.report import Progress, Report, Table
from gdht.sim.host import Host
from gdht.sim.scenario import ideal_bound_s

SETTLE_ROUNDS = 10

COUNTED = """\
Real nodes in their default settings, each message through the codec, virtual time. The ring's safety is checked
after every event; a violation ends the run.
Half of the departures are crashes; one that the ring need not survive (a node would lose all its successors, for
instance) is left out.
failed: no owner found, or one that, by an oracle, is the key's owner neither when the lookup starts nor when it
ends."""


@dataclass(frozen=True)
class Options:
    """What decides it. minutes: of virtual time, once the ring has grown. churn: joins and departures per second."""

    seed: int = 1
    nodes: int = 32
    minutes: float = 10.0
    churn: float = 0.05


def run(options: Options, progress: Progress) -> Report:
    """Grow a ring, set it in motion, and wait for its order. Raises: SimulationFailed."""
    replay = f"gdht simulate --nodes {options.nodes} --minutes {options.minutes:g} --churn {options.churn:g}"
    with Cluster(options.seed, replay=f"{replay} --seed {options.seed}") as cluster:
        ring = MovingRing(
            cluster, Rates(options.churn), _leave_or_crash(cluster), partial(cluster.can_go, leaving=True)
        )
        ring.grow(options.nodes, progress)
        ring.settle(SETTLE_ROUNDS, progress)
        messages = cluster.network.messages
        ring.run(options.minutes * 60, progress)
        minutes = options.minutes + LOOKUP_S_MAX / 60
        calls = (cluster.network.messages - messages) / 2 / options.nodes / minutes
        cluster.wait_until_left()
        cluster.wait_until_joined()
        ideal_s = cluster.wait_until_ideal(ideal_bound_s(cluster))
        return make_report(options, ring, calls, ideal_s)


def _leave_or_crash(cluster: Cluster) -> Callable[[Host], None]:
    def depart(host: Host) -> None:
        cluster.rng.choice((cluster.leave, cluster.crash))(host)

    return depart


def make_report(options: Options, ring: MovingRing, calls: float, ideal_s: float) -> Report:
    """A summary in words and numbers."""
    cluster = ring.cluster
    ours = tally(ring.samples)
    summary = {
        "joins": ring.joins,
        "departures": ring.departures,
        "nodes": len(cluster.views()),
        "lookups": ours.lookups,
        "failed": ours.failed,
        "path": str(ours.path),
        "timeouts": str(ours.timeouts),
        "lookup_seconds": round(ours.mean_s, 3),
        "calls_per_node_and_minute": round(calls, 1),
        "events": cluster.scheduler.events,
        "violations": 0,
        "ideal_after_seconds": round(ideal_s, 1),
        "digest": cluster.trace.digest,
    }
    rows = [(name.replace("_", " "), value) for name, value in summary.items()]
    title = f"{options.nodes} nodes, {options.minutes:g} virtual minutes, seed {options.seed}"
    return Report("ring", asdict(options), [summary], [Table(title, ("", ">"), rows)], (), COUNTED)
