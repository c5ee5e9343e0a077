"""Rounds of kill -9 on a ring of five real processes under write load, and a table of what came of them.

Usage: python -m tests.e2e.soak [--rounds 100] [--seed N]

Ends with exit code 1, and keeps the logs and the data, when an acknowledged value was lost or a wrong one was read.
"""

import argparse
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.e2e.durable import SIZE, DurableRing
from tests.e2e.harness import CRASH, Fleet
from tests.e2e.ledger import Ledger
from tests.e2e.load import Load
from tests.e2e.rounds import HEAD, Round, kill_rounds


def soak(place: Path, rounds: int, seed: int) -> list[Round]:
    """Run the rounds and print each. Raises: AssertionError."""
    rng = random.Random(seed)
    done = []
    with Fleet(place) as fleet:
        ring = DurableRing(fleet, place)
        ring.start(range(SIZE))
        ring.settle()
        load = Load(ring.apis, Ledger(), rng)
        print(HEAD)
        for told in kill_rounds(ring, load, rng, rounds):
            print(told, flush=True)
            done.append(told)
        load.close()
        crashes = [f"{node!r}: {match[0]}" for node in fleet.nodes for match in CRASH.finditer(node.log)]
        assert not crashes, "\n".join(crashes)
    return done


def table(done: list[Round], seconds: float) -> str:
    """What all rounds together came to."""
    rows = {
        "rounds": len(done),
        "processes killed": sum(len(one.killed.split()) for one in done),
        "puts acknowledged": sum(one.acknowledged for one in done),
        "puts refused": sum(one.refused for one in done),
        "puts in doubt, connection broken": sum(one.broken for one in done),
        "values read through every node": sum(one.verified for one in done),
        "acknowledged values lost": 0,
        "seconds": round(seconds),
    }
    return "\n".join(f"{name:<34} {count:>10,}" for name, count in rows.items())


def main() -> None:
    """Run, print the summary, clean up when all went well."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    options = parser.parse_args()
    place = Path(tempfile.mkdtemp(prefix="gdht-soak-"))
    print(f"seed {options.seed}, logs and data in {place}", flush=True)
    started_s = time.monotonic()
    try:
        done = soak(place, options.rounds, options.seed)
    except AssertionError as error:
        print(f"FAILED: {error}\nThe logs and the data are kept in {place}", file=sys.stderr)
        raise SystemExit(1) from None
    print(f"\n{table(done, time.monotonic() - started_s)}")
    shutil.rmtree(place)


if __name__ == "__main__":
    main()
