"""How evenly keys fall on nodes, with one identifier per process and with several.

Pure computation with the hashes of real nodes and keys. Source: the 2003 paper, section V-B, figures 8 and 9.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

from gdht.core.ident import hash_ident
from gdht.sim.experiments import paper
from gdht.sim.experiments.report import Panel, Progress, Report, Series, Spread, Table, spread

STEPS = 10
"""Into how many equal parts the keys are divided for the first table."""

COUNTED = """\
held: keys per process; a key belongs to the first identifier at or after its hash. SHA-256, as nodes use it.
All repetitions, each with other nodes and other keys, are counted together. The paper's figures are quoted from
memory.
gdht runs one identifier per process; the second table says what several would bring."""


@dataclass(frozen=True)
class Options:
    """What decides it. nodes: processes; keys: at the most; virtual: identifiers per process of the second table."""

    seed: int = 1
    nodes: int = 10_000
    keys: int = 1_000_000
    virtual: Sequence[int] = (1, 2, 5, 10, 20)
    repetitions: int = 5


class Row(NamedTuple):
    """How many keys processes hold. largest: the most of any."""

    keys: int
    virtual: int
    held: Spread
    largest: int

    @property
    def mean(self) -> float:
        """What everything is compared with; never 0."""
        return self.held.mean or 1.0


def run(options: Options, progress: Progress) -> Report:
    """Spread keys over processes, again and again."""
    step = max(options.keys // STEPS, 1)
    sizes = list(range(step, options.keys + 1, step))
    by_keys: dict[int, list[int]] = {keys: [] for keys in sizes}
    by_virtual: dict[int, list[int]] = {virtual: [] for virtual in options.virtual}
    for repetition in range(options.repetitions):
        progress("keys spread", repetition, options.repetitions)
        keys = [hash_ident(f"{options.seed}/{repetition}/key {number}".encode()) for number in range(options.keys)]
        owners = make_owners(options, repetition, 1)
        counts = [0] * options.nodes
        for size in sizes:
            spread_keys(keys[size - step : size], owners, counts)
            by_keys[size] += counts
        for virtual in options.virtual:
            counts = [0] * options.nodes
            spread_keys(keys, make_owners(options, repetition, virtual), counts)
            by_virtual[virtual] += counts
    return make_report(
        options,
        [Row(keys, 1, spread(counts), max(counts)) for keys, counts in by_keys.items()],
        [Row(options.keys, virtual, spread(counts), max(counts)) for virtual, counts in by_virtual.items()],
    )


def make_owners(options: Options, repetition: int, virtual: int) -> tuple[list[int], list[int]]:
    """All identifiers, ascending, and whose each is: the number of a process."""
    pairs = sorted(
        (hash_ident(f"{options.seed}/{repetition}/node {node}/{number}".encode()), node)
        for node in range(options.nodes)
        for number in range(virtual)
    )
    return [ident for ident, _ in pairs], [node for _, node in pairs]


def spread_keys(keys: Sequence[int], owners: tuple[Sequence[int], Sequence[int]], counts: list[int]) -> None:
    """Count each key at the process that owns it."""
    idents, nodes = owners
    nodes = [*nodes, nodes[0]]  # beyond the last identifier the circle begins again
    for key in keys:
        counts[nodes[bisect_left(idents, key)]] += 1


# Report ---------------------------------------------------------------------------------------------------------------


def make_report(options: Options, by_keys: Sequence[Row], by_virtual: Sequence[Row]) -> Report:
    """Ours beside the paper's where it says."""
    more_keys = Table(
        f"Keys per process, {options.nodes} processes: mean (1st, 99th percentile)",
        ("keys>", "held>", "99th / mean>", "largest / mean>"),
        [(row.keys, row.held, f"{row.held.p99 / row.mean:.2f}", f"{row.largest / row.mean:.2f}") for row in by_keys],
    )
    more_idents = Table(
        f"Keys per process with several identifiers each, {options.keys} keys",
        ("identifiers>", "held>", "1st / mean>", "paper's>", "99th / mean>", "paper's>"),
        [_virtual_cells(row) for row in by_virtual],
    )
    rows = [("keys", row) for row in by_keys] + [("identifiers", row) for row in by_virtual]
    return Report(
        "load",
        asdict(options),
        [{"varied": varied, **row._asdict(), "held": row.held._asdict()} for varied, row in rows],
        [more_keys, more_idents],
        [_panel(by_keys, "keys", "keys"), _panel(by_virtual, "virtual", "identifiers per process")],
        COUNTED,
    )


def _virtual_cells(row: Row) -> Sequence[object]:
    p1, p99 = paper.VIRTUAL.get(row.virtual, (None, None))
    return (row.virtual, row.held, f"{row.held.p1 / row.mean:.2f}", p1, f"{row.held.p99 / row.mean:.2f}", p99)


def _panel(rows: Sequence[Row], varied: str, x_label: str) -> Panel:
    x = [getattr(row, varied) for row in rows]
    series = Series("gdht", x, [row.held.mean for row in rows], [row.held for row in rows])
    return Panel("Keys per process", x_label, "keys: mean, 1st to 99th percentile", [series])
