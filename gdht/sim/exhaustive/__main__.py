"""The command: explore what it says, or the usual selection, and print a table."""

import logging
import sys
from argparse import ArgumentParser

from gdht.sim.exhaustive.node import Ending
from gdht.sim.exhaustive.search import DEPTH_MAX, Exploration, explore
from gdht.sim.exhaustive.world import Space

SELECTION = (
    (1, 2, 1, DEPTH_MAX),
    (2, 2, 1, DEPTH_MAX),
    (3, 2, 1, DEPTH_MAX),
    (3, 3, 1, DEPTH_MAX),
    (4, 2, 1, 12),
    (4, 2, 3, DEPTH_MAX),
    (4, 3, 1, 12),
    (5, 2, 3, 12),
    (5, 2, 4, DEPTH_MAX),
    (5, 3, 1, 9),
    (5, 3, 4, DEPTH_MAX),
)
"""What is explored when nothing else is asked for: (nodes, r, members at the start, depth)."""

COLUMNS = "nodes  r  start  depth     states  transitions  violations  rounds  seconds"


def row(found: Exploration) -> str:
    """One line of the table. The depth is marked when nothing lies beyond; rounds: to the ideal ring after quiet."""
    depth = f"{found.depth}{'*' if found.complete else ' '}"
    rounds = "never" if found.rounds_max is None else found.rounds_max
    return (
        f"{found.nodes:5} {found.length:2} {found.members:6} {depth:>6} {found.states:10} {found.transitions:12} "
        f"{found.violations:11} {rounds:>7} {found.seconds:8.1f}"
    )


def main() -> int:
    """Explore what the command line says and print a table; 1 when anything is violated."""
    parser = ArgumentParser(prog="python -m gdht.sim.exhaustive", description="Explore small rings in full.")
    parser.add_argument("--nodes", type=int, help="how many identifiers; all of the usual selection when not given")
    parser.add_argument("--successors", type=int, default=2, help="r, the length of successor lists")
    parser.add_argument("--members", type=int, default=1, help="how many of them are a ring at the start")
    parser.add_argument("--depth", type=int, default=DEPTH_MAX, help="how many moves; by default until nothing is new")
    parser.add_argument(
        "--silent", action="store_true", help="calls to the dead may also time out, not only be refused"
    )
    parser.add_argument("--late", action="store_true", help="answers may be read later than they are given")
    given = parser.parse_args()
    logging.getLogger("gdht").setLevel(logging.CRITICAL)
    chosen = SELECTION if given.nodes is None else ((given.nodes, given.successors, given.members, given.depth),)
    sys.stdout.write(f"{COLUMNS}\n")
    endings = tuple(Ending) if given.silent else (Ending.REFUSED,)
    well = True
    for nodes, length, members, depth in chosen:
        found = explore(Space(nodes, length, endings=endings, late=given.late), members, depth)
        sys.stdout.write("\n".join([row(found), *found.history, ""]))
        sys.stdout.flush()
        well &= found.well
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
