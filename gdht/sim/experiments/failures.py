"""Many nodes fail at once and nothing is repaired: how long lookups get, and how many dead nodes they try.

Source: the 2003 paper, section V-D, table II.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from random import Random
from typing import NamedTuple

from gdht.core.ident import IDENT_BITS
from gdht.sim.experiments import paper
from gdht.sim.experiments.lookups import Tally, tally, true_owner
from gdht.sim.experiments.report import Panel, Progress, Report, Table, compare
from gdht.sim.experiments.still_ring import StillRing

TELL_EVERY = 250
"""How many lookups there are between two words of progress."""

COUNTED = """\
The tables are ideal and put in place by hand, all fingers included; then a share of the nodes falls silent. There
is no maintenance.
path: the nodes that a lookup visits, the owner included; not the asking node, not dead ones. Where none failed the
paper's 3.84 fits (log2 nodes - log2 r) / 2 + 1 = 3.82, so it counts the owner too.
timeouts: the dead nodes that a lookup tries. What it learns is forgotten after it; learning: the asking node keeps
it, as nodes do, and drops dead fingers.
failed: no owner found, or not the first live node at or after the key. The owner is asked itself.
out of budget: went on, with what it had learned, after the time that a node allows one lookup.
Messages take 50 ms on average, exponentially distributed; those that would take more than 250 ms (0.7 %) are drawn
anew, so that only the dead are silent for 500 ms. With --late they are not."""


@dataclass(frozen=True)
class Options:
    """What decides it. successors: the length of the successor lists. fractions: shares of the nodes that fail.

    late: messages may take longer than a node waits, so that living nodes look dead.
    """

    seed: int = 1
    nodes: int = paper.NODES
    lookups: int = paper.LOOKUPS
    successors: int = paper.SUCCESSORS
    fractions: Sequence[float] = tuple(paper.FAILURES)
    late: bool = False


class Row(NamedTuple):
    """What a share of failed nodes brought. learning: with asking nodes that drop the dead from their fingers."""

    fraction: float
    ours: Tally
    learning: Tally


def run(options: Options, progress: Progress) -> Report:
    """Measure every share, each on a ring of its own."""
    rows = []
    for fraction in options.fractions:
        ours = measure(options, fraction, progress, forget=True)
        learning = measure(options, fraction, progress, forget=False) if fraction else ours
        rows.append(Row(fraction, ours, learning))
    return make_report(options, rows)


def measure(options: Options, fraction: float, progress: Progress, *, forget: bool) -> Tally:
    """Let a share of the nodes fail, then look up random keys from random survivors."""
    rng = Random(f"{options.seed}/failures/{fraction}")
    network = paper.network(late=options.late)
    samples = []
    with StillRing(options.seed, options.nodes, options.successors, network, paper.TIMEOUT_S) as ring:
        dead = set(rng.sample(range(options.nodes), round(fraction * options.nodes)))
        for place in dead:
            ring.nodes[place].process.kill()
        living = [node for place, node in enumerate(ring.nodes) if place not in dead]
        idents = [node.state.me.ident for node in living]
        for number in range(options.lookups):
            if number % TELL_EVERY == 0:
                progress(f"{fraction:.0%} failed", number, options.lookups)
            ident = rng.getrandbits(IDENT_BITS)
            sample = ring.look_up(rng.choice(living), ident, forget=forget)
            samples.append((sample, sample.found(true_owner(idents, ident))))
    return tally(samples)


def make_report(options: Options, rows: Sequence[Row]) -> Report:
    """Ours beside the paper's."""
    cells = []
    for fraction, ours, learning in rows:
        path, timeouts, _ = paper.FAILURES.get(fraction, paper.Measured())
        cells.append(
            (
                fraction,
                ours.path,
                path,
                ours.timeouts,
                learning.timeouts,
                timeouts,
                ours.failed,
                learning.failed,
                ours.out_of_budget,
            )
        )
    columns = (
        "failed nodes>",
        "path>",
        "paper's>",
        "timeouts>",
        "learning>",
        "paper's>",
        "failed>",
        "learning>",
        "out of budget>",
    )
    return Report(
        "failures",
        asdict(options),
        [{"fraction": row.fraction, **row.ours.as_json(), "learning": row.learning.as_json()} for row in rows],
        [Table("Nodes fail at once: mean (1st, 99th percentile) per lookup", columns, cells)],
        [
            _panel(rows, "Path length", "nodes visited", "path"),
            _panel(rows, "Timeouts", "dead nodes tried", "timeouts"),
        ],
        COUNTED,
    )


def _panel(rows: Sequence[Row], title: str, y_label: str, column: str) -> Panel:
    x = [row.fraction for row in rows]
    ours = [getattr(row.ours, column) for row in rows]
    theirs = {fraction: getattr(measured, column) for fraction, measured in paper.FAILURES.items() if fraction in x}
    return Panel(title, "share of failed nodes", y_label, compare(x, ours, theirs))
