"""What more cores would bring: worked out from what requests cost here, on rings of different sizes."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import ringed
import single
from measure import Case, Comparison

WAY = "spread 64x1"
NODES = (1, 2, 4)
CORES, CORES_NODES = 4, 4
"""What is worked out: so many cores, and so many nodes on them."""


@dataclass(frozen=True)
class Cost:
    """What requests of one kind cost. nodes_us, generator_us: CPU time for each, of all nodes together and of the load.

    copies: that are asked for; there are no more than nodes.
    """

    operation: str
    copies: int
    nodes: int
    per_s: float
    nodes_us: float
    generator_us: float

    @property
    def busy_cores(self) -> float:
        """How many cores worked, all processes together."""
        return self.per_s * (self.nodes_us + self.generator_us) / 1e6

    @property
    def busy_share(self) -> float:
        """Of the cores that nodes and generator could use."""
        return min(self.busy_cores / min(os.cpu_count() or 1, self.nodes + 1), 1.0)


def costs(comparisons: Iterable[Comparison]) -> list[Cost]:
    """What was measured of it: GETs and PUTs, each number of copies, each size of the ring."""
    named = {comparison.name: comparison for comparison in comparisons}
    found = []
    for operation in ("GET", "PUT"):
        for copies in ringed.COPIES:
            for nodes in NODES:
                if nodes == 1 < copies:
                    continue
                name, server = (
                    ("node 64x1", single.GDHT) if nodes == 1 else (f"ring {nodes} {WAY}", ringed.gdht(copies))
                )
                case = named[name].find(operation, server) if name in named else None
                if case is not None:
                    found.append(cost(named[name], case, copies, nodes))
    return found


def cost(comparison: Comparison, case: Case, copies: int, nodes: int) -> Cost:
    """One of them, from the medians of its rounds."""
    generator_us = comparison.median(case, lambda sample: sample.result.cpu_s * 1e6 / max(sample.result.answers, 1))
    return Cost(case.operation, copies, nodes, comparison.rate(case), comparison.server_us(case), generator_us)


@dataclass(frozen=True)
class Expected:
    """What a machine with more cores would serve per second, with the generator on it too and with none.

    times_one_node: the latter as a multiple of what one node serves here, which has one copy; None: not measured.
    """

    operation: str
    copies: int
    with_generator_per_s: float
    alone_per_s: float
    times_one_node: float | None


def expected(found: Sequence[Cost]) -> list[Expected]:
    """Worked out for `CORES` cores, where a ring of two here and one of `CORES_NODES` were both measured."""
    by = {(each.operation, each.copies, each.nodes): each for each in found}
    rows = []
    for (operation, copies, nodes), each in by.items():
        two = by.get((operation, copies, 2))
        if nodes != CORES_NODES or two is None:
            continue
        cores_us = CORES * 1e6 * two.busy_share
        with_generator, alone = cores_us / (each.nodes_us + each.generator_us), cores_us / each.nodes_us
        one = by.get((operation, 1, 1))
        rows.append(Expected(operation, copies, with_generator, alone, alone / one.per_s if one else None))
    return rows
