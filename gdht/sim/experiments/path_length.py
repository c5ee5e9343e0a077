"""How many nodes a lookup visits in rings of many sizes, beside (1/2) log2 of the size.

Source: the 2003 paper, section V-C, figure 10.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import log2
from random import Random
from typing import NamedTuple

from gdht.core.ident import IDENT_BITS
from gdht.core.lookup import Lookup
from gdht.core.peer import Peer
from gdht.core.ring import Ring
from gdht.node.lookup import HOPS_MAX
from gdht.sim.delays import uniform
from gdht.sim.experiments import paper
from gdht.sim.experiments.report import Panel, Progress, Report, Series, Spread, Table, spread
from gdht.sim.experiments.still_ring import StillRing, ideal_ring, make_peers, place_of
from gdht.sim.network import NetworkOptions

TELL_EVERY = 250
NODES_MIN = 1 << 3
MESSAGES_NODES_MAX = 1 << 14
"""Larger rings are walked through tables alone, without messages."""

FIGURE_NODES = 1 << 12
"""The size whose whole distribution is drawn."""

NEVER_LATE = uniform(0.5 * paper.MEAN_DELAY_S, 1.5 * paper.MEAN_DELAY_S)
"""Nobody is taken for dead here."""

COUNTED = """\
path: the nodes that a lookup visits, the owner included, the asking node not. The paper's figure ends at the
owner's predecessor, one node less.
The tables are ideal and put in place by hand, all fingers included; no node fails.
messages: real lookups and handlers, each message through the codec, virtual time. tables: the same decisions
(gdht.core) on ideal tables, without nodes or messages.
r: the length of the successor list; 1 is the bare protocol of the figure."""


@dataclass(frozen=True)
class Options:
    """What decides it. nodes: the largest ring; all powers of two from 8 to there. lookups: for each row and column.

    lengths: of the successor list.
    """

    seed: int = 1
    nodes: int = 1 << 20
    lookups: int = paper.LOOKUPS
    lengths: Sequence[int] = (1, 8, paper.SUCCESSORS)


class Row(NamedTuple):
    """One size. messages: whether there were any. paths: how many lookups visited how many nodes, for each r."""

    nodes: int
    messages: bool
    paths: dict[int, Counter[int]]


def run(options: Options, progress: Progress) -> Report:
    """Measure every size, with every length of the successor list."""
    rows = []
    for bits in range(NODES_MIN.bit_length() - 1, options.nodes.bit_length()):
        nodes = 1 << bits
        messages = nodes <= MESSAGES_NODES_MAX
        measured = measure if messages else walk_tables
        paths = {length: Counter(measured(options, nodes, length, progress)) for length in options.lengths}
        rows.append(Row(nodes, messages, paths))
    return make_report(options, rows)


def measure(options: Options, nodes: int, length: int, progress: Progress) -> list[int]:
    """The path of each lookup, by real nodes."""
    rng = _rng(options, nodes)
    paths = []
    with StillRing(options.seed, nodes, length, NetworkOptions(delay=NEVER_LATE), paper.TIMEOUT_S) as ring:
        for number in range(options.lookups):
            _tell(progress, nodes, length, number, options.lookups)
            place, ident = rng.randrange(nodes), rng.getrandbits(IDENT_BITS)
            sample = ring.look_up(ring.nodes[place], ident, forget=True)
            assert sample.owner == ring.peers[place_of(ring.peers, ident)], "an ideal ring knows every owner"
            paths.append(sample.path)
    return paths


def walk_tables(options: Options, nodes: int, length: int, progress: Progress) -> list[int]:
    """The path of each lookup, by the same decisions on ideal tables."""
    rng = _rng(options, nodes)
    peers = make_peers(nodes)
    paths = []
    for number in range(options.lookups):
        _tell(progress, nodes, length, number, options.lookups)
        place, ident = rng.randrange(nodes), rng.getrandbits(IDENT_BITS)
        paths.append(_walk(peers, length, place, ident))
    return paths


def _walk(peers: Sequence[Peer], length: int, place: int, ident: int) -> int:
    """How many nodes a lookup visits."""

    def ring_at(peer: Peer) -> Ring:
        return ideal_ring(peers, place_of(peers, peer.ident), length)

    me = peers[place]
    lookup = Lookup(me, ident, HOPS_MAX, set())
    responder, step = me, ring_at(me).find_successor_step(ident, strict=False)
    while not step.final:
        lookup.hear_from(responder, step.peers)
        peer = lookup.next_peer()
        assert peer is not None, "ideal tables always know a closer node"
        responder, step = peer, ring_at(peer).find_successor_step(ident, strict=False)
        lookup.asked(responder, 0.0)
    return len(lookup.trail) + (step.peers[0] != responder)


def _rng(options: Options, nodes: int) -> Random:
    return Random(f"{options.seed}/path-length/{nodes}")


def _tell(progress: Progress, nodes: int, length: int, number: int, lookups: int) -> None:
    if number % TELL_EVERY == 0:
        progress(f"{nodes} nodes, r = {length}", number, lookups)


# Report ---------------------------------------------------------------------------------------------------------------


def make_report(options: Options, rows: Sequence[Row]) -> Report:
    """Ours beside half the logarithm."""
    columns = ("nodes>", "by>", "log2 / 2>", *(f"r = {length}>" for length in options.lengths))
    cells = [
        (
            row.nodes,
            "messages" if row.messages else "tables",
            f"{log2(row.nodes) / 2:.1f}",
            *(_spread(paths) for paths in row.paths.values()),
        )
        for row in rows
    ]
    return Report(
        "path-length",
        asdict(options),
        [_as_json(row) for row in rows],
        [Table("Path length: mean (1st, 99th percentile) per lookup", columns, cells)],
        _panels(options, rows),
        COUNTED,
    )


def _spread(paths: Counter[int]) -> Spread:
    return spread(list(paths.elements()))


def _as_json(row: Row) -> dict[str, object]:
    return {
        "nodes": row.nodes,
        "messages": row.messages,
        "half_log2": log2(row.nodes) / 2,
        "paths": {
            str(length): {**_spread(paths)._asdict(), "lookups_by_path": dict(sorted(paths.items()))}
            for length, paths in row.paths.items()
        },
    }


def _panels(options: Options, rows: Sequence[Row]) -> list[Panel]:
    x = [row.nodes for row in rows]
    series = [
        Series(f"gdht, r = {length}", x, [_spread(row.paths[length]).mean for row in rows])
        for length in options.lengths
    ]
    panels = [
        Panel(
            "Path length",
            "nodes",
            "nodes visited",
            [*series, Series("log2(nodes) / 2", x, [log2(nodes) / 2 for nodes in x], dashed=True)],
            doubling=True,
        )
    ]
    drawn = [row for row in rows if row.nodes == FIGURE_NODES]
    return panels + [
        Panel(f"The same in {FIGURE_NODES} nodes", "nodes visited", "share", _shares(row)) for row in drawn
    ]


def _shares(row: Row) -> list[Series]:
    found = []
    for length, paths in row.paths.items():
        x = sorted(paths)
        found.append(Series(f"gdht, r = {length}", x, [paths[path] / paths.total() for path in x]))
    return found
