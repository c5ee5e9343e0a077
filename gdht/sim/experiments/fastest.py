"""How much time it saves to choose the fastest: replicas in place of a late owner, near peers on the way to an owner.

Rings that stand still, with ideal tables, in which some messages take much longer than others.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from random import Random
from typing import NamedTuple

from gdht.core.ident import IDENT_BITS, IDENTS, distance, hash_ident, ident_bytes
from gdht.core.records import NO_VERSION, Record
from gdht.node.budget import Budget
from gdht.node.latency import Latency
from gdht.node.replication.get import get
from gdht.sim.experiments.report import Panel, Progress, Report, Series, Spread, Table, percentile, spread
from gdht.sim.experiments.still_ring import StillNode, StillRing, place_of
from gdht.sim.network import Link, NetworkOptions

COPIES = 3
TIMEOUT_S = 2.0
GET_S_MAX = 600.0
FOREVER_S = 1e12
TELL_EVERY = 100
JITTER = (0.9, 1.1)
"""Each message takes its usual time, times a number from this range."""

USUAL_S, SLOW_S = 0.02, 0.3
"""There and back: between nodes, and to the slow one."""

RING_NODES = 16
NEAR_S, FAR_S = 0.005, 0.08
"""There and back: within a site, and to the other one."""

WARM_UP = 4
"""So many lookups for each node of the ring come first: answer times must be known."""

COUNTED = """\
Ideal tables put in place by hand, no failures; milliseconds, until the answer; each message takes up to 10 % more or
less than said. Everything is asked through one node.
slow owner: 16 nodes, 20 ms there and back, but 300 ms to one node, whose arc is of average size; records with 3
copies, random keys. waiting: no budget to ask replicas. share: of the gets, those in which replicas were asked.
two sites: each node in one of two by chance, 5 ms there and back within a site, 80 ms between them; lookups of random
identifiers to the owner's own word. by distance: no answer times are remembered."""


@dataclass(frozen=True)
class Options:
    """What decides it. nodes: of the ring with two sites. lookups: per row; gets too."""

    seed: int = 1
    nodes: int = 1000
    lookups: int = 2000
    successors: int = 8


class Row(NamedTuple):
    """One ring. what: what was done in it. times: milliseconds. share: of gets with replicas. path: nodes visited."""

    what: str
    times: Spread
    median_ms: float
    share: float | None = None
    path: Spread | None = None


def run(options: Options, progress: Progress) -> Report:
    """Measure gets from a ring with a slow owner, and lookups over two sites, each with and without."""
    gets = [measure_slow_owner(options, hedged, progress) for hedged in (False, True)]
    lookups = [measure_two_sites(options, fast, progress) for fast in (False, True)]
    return make_report(options, gets, lookups)


def _row(what: str, seconds: Sequence[float], **more: object) -> Row:
    times_ms = [1000 * one for one in seconds]
    return Row(what, spread(times_ms), percentile(sorted(times_ms), 50), **more)  # type: ignore[arg-type]


# A slow owner ---------------------------------------------------------------------------------------------------------


def measure_slow_owner(options: Options, hedged: bool, progress: Progress) -> Row:
    """Get random keys of a ring one of whose nodes is slow."""
    what = "replicas are asked" if hedged else "waiting"
    rng = Random(f"{options.seed}/slow owner")
    slow: list[str] = []

    def link_delay(link: Link, chance: Random) -> float:
        return (SLOW_S if slow[0] in link else USUAL_S) / 2 * chance.uniform(*JITTER)

    network = NetworkOptions(link_delay=link_delay)
    with StillRing(options.seed, RING_NODES, options.successors, network, TIMEOUT_S) as ring:
        place = _average_owner(ring)
        slow.append(ring.peers[place].address)
        asker = ring.nodes[place - RING_NODES // 2]
        if not hedged:
            asker.state.hedges = Budget(0, 0)
        for _ in range(WARM_UP * RING_NODES):
            _get(ring, asker, rng)
        counted = asker.state.stats.hedged_reads
        counted.clear()
        seconds = []
        for number in range(options.lookups):
            _tell(progress, f"slow owner, {what}", number, options.lookups)
            seconds.append(_get(ring, asker, rng))
    share = (counted["copies"] + counted["owner"]) / options.lookups
    return _row(what, seconds, share=share)


def _average_owner(ring: StillRing) -> int:
    """The place of the node whose arc is the closest to the average."""
    widths = [distance(ring.peers[place - 1].ident, peer.ident) for place, peer in enumerate(ring.peers)]
    off = [abs(width - IDENTS // len(widths)) for width in widths]
    return off.index(min(off))


def _get(ring: StillRing, asker: StillNode, rng: Random) -> float:
    """The seconds that it takes to get a random key, which is stored first."""
    ident = rng.getrandbits(IDENT_BITS)
    key, place = ident_bytes(ident), place_of(ring.peers, ident)
    holders = [ring.nodes[(place + step) % len(ring.nodes)].state for step in range(COPIES)]
    for holder in holders:
        holder.store.put(Record(key, b"value", NO_VERSION, FOREVER_S, COPIES))

    def run() -> float:
        started_s = asker.rt.now()
        assert get(asker.rt, asker.state, key).result == "success", "nothing is missing in a ring that stands still"
        return asker.rt.now() - started_s

    seconds = _finish(ring, asker, run)
    for holder in holders:
        holder.store.remove(key, NO_VERSION)
    return seconds


def _finish(ring: StillRing, asker: StillNode, run: Callable[[], float]) -> float:
    seconds = ring.scheduler.run_task(asker.process, run, GET_S_MAX)
    assert seconds is not None, "no node of this ring dies"
    return seconds


# Two sites ------------------------------------------------------------------------------------------------------------


def measure_two_sites(options: Options, fast: bool, progress: Progress) -> Row:
    """Look up random identifiers in a ring that lies in two places."""
    what = "by time" if fast else "by distance"
    rng = Random(f"{options.seed}/two sites")
    with StillRing(
        options.seed, options.nodes, options.successors, NetworkOptions(link_delay=_between_sites), TIMEOUT_S
    ) as ring:
        asker = rng.choice(ring.nodes)
        if not fast:
            asker.state.latency = Latency(peers_max=0)
        for number in range(WARM_UP * options.nodes):
            _tell(progress, f"two sites, {what}: first lookups", number, WARM_UP * options.nodes)
            ring.look_up(asker, rng.getrandbits(IDENT_BITS), forget=False)
        samples = []
        for number in range(options.lookups):
            _tell(progress, f"two sites, {what}", number, options.lookups)
            samples.append(ring.look_up(asker, rng.getrandbits(IDENT_BITS), forget=False))
    return _row(what, [one.seconds for one in samples], path=spread([one.path for one in samples]))


def _between_sites(link: Link, chance: Random) -> float:
    source, target = (hash_ident(f"site of {address}".encode()) & 1 for address in link)
    return (NEAR_S if source == target else FAR_S) / 2 * chance.uniform(*JITTER)


def _tell(progress: Progress, what: str, number: int, of: int) -> None:
    if number % TELL_EVERY == 0:
        progress(what, number, of)


# Report ---------------------------------------------------------------------------------------------------------------


def make_report(options: Options, gets: Sequence[Row], lookups: Sequence[Row]) -> Report:
    """Each beside what it would be without."""
    slow = Table(
        "Gets from a ring with a slow owner, ms: mean (1st, 99th percentile)",
        ("", "ms>", "median>", "share>"),
        [(row.what, _in_ms(row), f"{row.median_ms:.0f}", f"{row.share:.1%}") for row in gets],
    )
    sites = Table(
        f"Lookups in {options.nodes} nodes of two sites, ms: mean (1st, 99th percentile)",
        ("next hops", "ms>", "median>", "path>"),
        [(row.what, _in_ms(row), f"{row.median_ms:.0f}", row.path) for row in lookups],
    )
    return Report(
        "fastest",
        asdict(options),
        [
            {**row._asdict(), "times": row.times._asdict(), "path": row.path._asdict() if row.path else None}
            for row in (*gets, *lookups)
        ],
        [slow, sites],
        [_panel("A slow owner", gets), _panel("Two sites", lookups)],
        COUNTED,
    )


def _in_ms(row: Row) -> str:
    return f"{row.times.mean:.0f} ({row.times.p1:.0f}, {row.times.p99:.0f})"


def _panel(title: str, rows: Sequence[Row]) -> Panel:
    series = [Series(row.what, [1, 2], [row.median_ms, row.times.p99]) for row in rows]
    return Panel(title, "median and 99th percentile", "ms", series)
