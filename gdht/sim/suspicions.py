"""What a node's patience is worth: the same history with it and without, and how often the living were dropped as dead.

`python -m gdht.sim.suspicions --seeds 10` prints both counts. See `gdht.node.health` for what is switched off.
"""

import logging
import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from math import inf
from typing import NamedTuple

from gdht.node import health
from gdht.sim.scenario import Plan, Summary, draw, run_history

FAMILY = "laggards"


class Comparison(NamedTuple):
    """One plan, run twice. patient: with local health; hasty: without."""

    patient: Summary
    hasty: Summary


def compare(plan: Plan) -> Comparison:
    """Run a history with nodes that take their own lag into account, and with nodes that do not."""
    patient = run_history(plan)
    with _haste():
        return Comparison(patient, run_history(plan))


def false_suspicions(summary: Summary) -> int:
    """How often a node dropped a neighbour that was alive and a member."""
    return summary.dropped_laggards + summary.dropped_healthy


@contextmanager
def _haste() -> Iterator[None]:
    """Within, no timer counts as late and no timeout is stretched."""
    before = health.SCORE_MAX, health.LATE_RATIO
    health.SCORE_MAX, health.LATE_RATIO = 0, inf
    try:
        yield
    finally:
        health.SCORE_MAX, health.LATE_RATIO = before


def main() -> int:
    """Compare over some seeds and print a table."""
    parser = ArgumentParser(prog="python -m gdht.sim.suspicions", description="False suspicions with and without.")
    parser.add_argument("--seeds", type=int, default=5, metavar="N")
    logging.getLogger("gdht").addHandler(logging.NullHandler())
    comparisons = [compare(draw(FAMILY, seed)) for seed in range(parser.parse_args().seeds)]
    sys.stdout.write(f"{'':10}{'dropped: laggards':>20}{'healthy':>10}{'dead':>10}\n")
    for name in Comparison._fields:
        runs: list[Summary] = [getattr(comparison, name) for comparison in comparisons]
        laggards, healthy = sum(run.dropped_laggards for run in runs), sum(run.dropped_healthy for run in runs)
        sys.stdout.write(f"{name:10}{laggards:20}{healthy:10}{sum(run.dropped_dead for run in runs):10}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
