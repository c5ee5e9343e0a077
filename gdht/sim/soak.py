"""A long soak: many random histories of every family on all cores, for so many minutes; what it found at the end.

`python -m gdht.sim.soak --minutes 10` is `make simulate`. Every failure is printed with the command that repeats it.
"""

import logging
import os
import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from itertools import count
from multiprocessing import get_context
from time import monotonic
from typing import NamedTuple

from gdht.errors import GdhtError
from gdht.sim.families import FAMILIES
from gdht.sim.scenario import Plan, Summary, draw, run_history

HISTORIES_PER_WORKER = 200
"""A worker process is replaced after so many, so that nothing piles up."""

COLUMNS = ("histories", "events", "virtual h", "crashes", "leaves", "puts", "lost keys", "violations")


class Result(NamedTuple):
    """What became of one history. summary None: it failed, and `error` says how and how to repeat it."""

    family: str
    summary: Summary | None
    error: str = ""


class Row:
    """The sums over one family."""

    def __init__(self) -> None:
        self.sums = dict.fromkeys(COLUMNS, 0.0)
        self.ideal_s = 0.0

    def add(self, result: Result) -> None:
        """One history more."""
        summary, sums = result.summary, self.sums
        sums["histories"] += 1
        if summary is None:
            sums["violations"] += 1
            return
        sums["events"] += summary.events
        sums["virtual h"] += summary.virtual_s / 3600
        sums["crashes"] += summary.crashes
        sums["leaves"] += summary.leaves
        sums["puts"] += summary.puts
        sums["lost keys"] += summary.lost
        self.ideal_s = max(self.ideal_s, summary.ideal_s)

    def line(self, name: str) -> str:
        """The row of the table."""
        return f"{name:10}" + "".join(f"{self.sums[column]:12,.0f}" for column in COLUMNS) + f"{self.ideal_s:12.1f}"


def run_one(plan: Plan) -> Result:
    """Run one history in a worker process; whatever goes wrong is a result."""
    try:
        return Result(plan.family, run_history(plan))
    except GdhtError as error:
        return Result(plan.family, None, str(error))


def plans(first_seed: int, until_s: float) -> Iterator[Plan]:
    """One plan of each family in turn, until the time is up, by the monotonic clock."""
    for seed in count(first_seed):
        for family in FAMILIES:
            if monotonic() >= until_s:
                return
            yield draw(family, seed)


def soak(minutes: float, first_seed: int, processes: int) -> list[Result]:
    """Run histories for so long; their results in the order in which they ended."""
    until_s = monotonic() + 60.0 * minutes
    results = []
    with get_context("spawn").Pool(processes, _be_quiet, maxtasksperchild=HISTORIES_PER_WORKER) as pool:
        todo = plans(first_seed, until_s)
        waiting = [pool.apply_async(run_one, (plan,)) for plan in _some(todo, 2 * processes)]
        while waiting:
            result = waiting.pop(0).get()
            results.append(result)
            if result.summary is None:
                sys.stdout.write(f"{result.family}: {result.error}\n")
                sys.stdout.flush()
            waiting += [pool.apply_async(run_one, (plan,)) for plan in _some(todo, 1)]
    return results


def _some(todo: Iterator[Plan], number: int) -> Iterator[Plan]:
    return (plan for _, plan in zip(range(number), todo, strict=False))


def _be_quiet() -> None:
    """What nodes log of their troubles is of no interest here."""
    logging.getLogger("gdht").addHandler(logging.NullHandler())


def report(results: list[Result]) -> str:
    """The table: a row for each family and one for all."""
    rows = {name: Row() for name in (*FAMILIES, "all")}
    for result in results:
        rows[result.family].add(result)
        rows["all"].add(result)
    head = f"{'':10}" + "".join(f"{column:>12}" for column in (*COLUMNS, "ideal s max"))
    return "\n".join([head, *(row.line(name) for name, row in rows.items())])


def main() -> int:
    """Soak; 0 when all was well, 1 when a history failed."""
    parser = ArgumentParser(prog="python -m gdht.sim.soak", description="Run many random histories of every family.")
    parser.add_argument("--minutes", type=float, default=10.0, metavar="N")
    parser.add_argument("--first-seed", type=int, default=0, metavar="N")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, metavar="N")
    options = parser.parse_args()
    results = soak(options.minutes, options.first_seed, options.processes)
    sys.stdout.write(f"seeds from {options.first_seed}, {options.minutes:g} minutes\n{report(results)}\n")
    return 1 if any(result.summary is None for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
