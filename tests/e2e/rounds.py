"""Rounds of kill -9 on a ring under write load: kill, look, start again, look, and now and then look at everything."""

import random
from collections.abc import Iterator
from typing import NamedTuple

from tests.e2e.durable import DurableRing, sample, verify
from tests.e2e.load import Load

RUN_S_MAX = 2.0
"""The kill comes at a random moment within so many seconds of load, which goes on for up to so long after it."""

DOWN_S_MAX = 3.0
"""A node is down for up to so long: for less and for more than the others take to notice."""

OLD_KEYS = 200
"""How many of the older keys each round reads besides those that it wrote."""

ALL_EVERY = 10
"""Every so many rounds every key is read through every node."""

KINDS = ("one", "one", "two", "one", "all", "one", "one", "two", "one", "one")
"""What is killed, in turn."""


class Round(NamedTuple):
    """What happened in one round. reading_s: until the last value was there, through all nodes one after another."""

    number: int
    killed: str
    down_s: float
    acknowledged: int
    refused: int
    broken: int
    verified: int
    reading_s: float

    def __str__(self) -> str:
        return (
            f"{self.number:>5}  {self.killed:<12} {self.down_s:>5.1f}  {self.acknowledged:>12} {self.refused:>8} "
            f"{self.broken:>8} {self.verified:>9} {self.reading_s:>8.1f}"
        )


HEAD = "round  killed       down s  acknowledged  refused   broken  verified reading s"


def kill_rounds(
    ring: DurableRing, load: Load, rng: random.Random, rounds: int, run_s_max: float = RUN_S_MAX
) -> Iterator[Round]:
    """So many rounds, each told when it is over. Fails when an acknowledged value is lost or a wrong one is read."""
    for number in range(1, rounds + 1):
        kind = KINDS[(number - 1) % len(KINDS)]
        before = load.ledger.acknowledged, load.ledger.refused, load.ledger.broken
        victims = rng.sample(range(len(ring.nodes)), {"one": 1, "two": 2, "all": len(ring.nodes)}[kind])
        load.run(rng.uniform(0, run_s_max))
        ring.kill(victims)
        down_s = rng.choice((0.0, rng.uniform(0, DOWN_S_MAX)))
        load.run(down_s)
        if kind == "one":
            load.finish()
            verify(load.ledger, sample(rng, load.ledger.accounts, OLD_KEYS), ring.alive)
        ring.start(victims, load)
        load.run(rng.uniform(0, run_s_max))
        load.finish()
        keys = [*load.ledger.accounts]
        if number % ALL_EVERY and number != rounds:
            keys = [*{*load.ledger.take_touched(), *sample(rng, keys, OLD_KEYS)}]
        reading_s = verify(load.ledger, keys, ring.nodes)
        after = load.ledger.acknowledged, load.ledger.refused, load.ledger.broken
        counts = (now - then for now, then in zip(after, before, strict=True))
        places = " ".join(str(place + 1) for place in sorted(victims))
        yield Round(number, places, down_s, *counts, len(keys), reading_s)
