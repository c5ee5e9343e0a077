"""Run one random history; `python -m gdht.sim.scenario --family rough --seed 7` does it from a command line.

A history is decided by its `Plan` alone: the same plan gives the same events, under any PYTHONHASHSEED.
"""

import sys
from argparse import ArgumentParser
from dataclasses import replace

from gdht.errors import GdhtError
from gdht.sim.cluster import Cluster
from gdht.sim.delays import exponential
from gdht.sim.families import FAMILIES
from gdht.sim.history import ideal_bound_s
from gdht.sim.plan import Plan, Summary, draw, option_names, option_type

__all__ = ["Plan", "Summary", "draw", "ideal_bound_s", "run_history"]


def run_history(plan: Plan) -> Summary:
    """Run a history to its end. Raises: SimulationFailed, naming what is wrong and the command that repeats it."""
    family = FAMILIES[plan.family]
    with Cluster(
        plan.seed,
        plan.config,
        plan.network,
        skew_s=plan.skew_s,
        safe=family.demands_safety,
        replay=plan.command,
        sync=exponential(plan.sync_s) if plan.disks else None,
    ) as cluster:
        return family(plan, cluster).run()


def main() -> int:
    """Run the history that the command line tells; 0 when all was well, 1 when not."""
    parser = ArgumentParser(prog="python -m gdht.sim.scenario", description="Run one random history.")
    parser.add_argument("--family", choices=FAMILIES, default="safe")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    for name in option_names():
        parser.add_argument(f"--{name.replace('_', '-')}", type=option_type(name), metavar="N")
    given = {name: value for name, value in vars(parser.parse_args()).items() if value is not None}
    try:
        summary = run_history(replace(draw(given["family"], given["seed"]), **given))
    except GdhtError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    for name, value in summary._asdict().items():
        sys.stdout.write(f"{name:18} {value}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
