"""What one record costs a store, in microseconds: put, get, digest; in memory and on a disk, in the loop and beside it.

Usage: python benchmarks/store_costs.py [--records 100000] [--place DIR] [--only NAME] [--profile NAME]

Each figure is the lowest of many short rounds, so that what else runs on the machine counts little; those of groups are
means, for now and then one of them takes along what is in the journal. `--profile` says which functions one of them
calls, and how often per operation.
"""

import argparse
import cProfile
import pstats
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from gdht.config import DhtConfig
from gdht.core.ident import IDENTS
from gdht.core.messages import RecordCopy
from gdht.core.records import Record, Version
from gdht.node.clock import Clock
from gdht.node.replication.copies import accept_copy
from gdht.store.durable import DurableStore
from gdht.store.lmdb_disk import LmdbDisk
from gdht.store.memory import MemoryStore

BYTES_MAX = 8 << 30
VALUE_BYTES = 100
TTL_MS = 3_600_000
ROUNDS = 100
AT_ONCE = 200
"""Operations in one round."""

FILL_AT_ONCE = 1000

GROUPS = (1, 8, 24, 256)
GROUP_COPIES = 4000
"""In so many copies there are some groups that fill the journal."""

COORDINATORS = 8

Measured = dict[str, float]


class Aside:
    """The thread of a store that works here and now, and how long that took."""

    def __init__(self) -> None:
        self.works: list[tuple[Callable[[], None], Callable[[Exception | None], None]]] = []
        self.put_off: list[Callable[[], None]] = []
        self.seconds = 0.0

    def __call__(self, work: Callable[[], None], done: Callable[[Exception | None], None]) -> None:
        self.works.append((work, done))

    def settle(self) -> None:
        """Do everything that waits."""
        while self.put_off or self.works:
            while self.put_off:
                self.put_off.pop(0)()
            work, done = self.works.pop(0)
            began_s = time.thread_time()
            work()
            self.seconds += time.thread_time() - began_s
            done(None)


class Bench:
    """A store of many records with the little of a node that taking in a copy needs."""

    def __init__(self, records: int, store: Any, aside: Aside | None = None) -> None:
        self.rng = random.Random(1)
        self.aside = aside or Aside()
        self.store = store
        runtime: Any = SimpleNamespace(now=time.monotonic, wall=time.time, boot="bench")
        self.clock = Clock(runtime, 7, self.store)
        stats = SimpleNamespace(store_rejected_writes=Counter())
        self.node: Any = SimpleNamespace(store=self.store, clock=self.clock, config=DhtConfig(), stats=stats)
        self.coordinators = [self.rng.randrange(IDENTS) for _ in range(COORDINATORS)]
        self.keys: list[bytes] = []
        for _ in range(0, records, FILL_AT_ONCE):
            copies = self.new_copies(FILL_AT_ONCE)
            for copy in copies:
                accept_copy(self.node, copy, self.clock.lives_s())
            self.aside.settle()
            self.keys += [copy.key for copy in copies]

    def copy_of(self, key: bytes) -> RecordCopy:
        """A copy of a key in a version of now, as it would come in from another node."""
        version = Version(self.clock.stamp().stamp, self.rng.choice(self.coordinators))
        return RecordCopy(key, TTL_MS, 3, version, self.rng.randbytes(VALUE_BYTES))

    def new_copies(self, count: int) -> list[RecordCopy]:
        """Copies of keys that nobody has put yet."""
        return [self.copy_of(self.rng.randbytes(32)) for _ in range(count)]

    def over_copies(self, count: int) -> list[RecordCopy]:
        """Newer copies of keys that are held."""
        return [self.copy_of(key) for key in self.held_keys(count)]

    def held_keys(self, count: int) -> list[bytes]:
        """Keys that are held, each at most once."""
        return self.rng.sample(self.keys, count)

    def to_record(self, copy: RecordCopy) -> Record:
        """The record that a copy becomes."""
        return Record(copy.key, copy.value, copy.version, self.clock.lives_s() + copy.ttl_ms / 1000, copy.replication)


def durable(place: Path, aside: Aside) -> DurableStore:
    """A store on a disk."""
    return DurableStore(LmdbDisk(place, BYTES_MAX), BYTES_MAX, aside, soon=aside.put_off.append)


def each(run: Callable[[Any], object], arguments: list[Any]) -> float:
    """Seconds for one call with each of these."""
    began_s = time.thread_time()
    for argument in arguments:
        run(argument)
    return time.thread_time() - began_s


def lowest(prepare: Callable[[], tuple[Callable[[Any], object], list[Any]]], settle: Callable[[], None]) -> float:
    """Microseconds of one call: the lowest over all rounds."""
    best = float("inf")
    for _ in range(ROUNDS):
        run, arguments = prepare()
        best = min(best, each(run, arguments) / len(arguments))
        settle()
    return best * 1e6


def calls(bench: Bench) -> Iterator[tuple[str, Callable[[], tuple[Callable[[Any], object], list[Any]]]]]:
    """Each thing that is measured, by its name: what prepares one round of it."""
    store, clock, node = bench.store, bench.clock, bench.node
    now_s = clock.lives_s()

    def accept(copy: RecordCopy) -> object:
        return accept_copy(node, copy, now_s)

    def arcs() -> list[tuple[int, int]]:
        idents = [bench.rng.randrange(IDENTS) for _ in range(50)]
        return list(pairwise(idents))

    n = AT_ONCE
    yield "accept_copy, new", lambda: (accept, bench.new_copies(n))
    yield "accept_copy, over", lambda: (accept, bench.over_copies(n))
    yield "put, new", lambda: (store.put, [bench.to_record(copy) for copy in bench.new_copies(n)])
    yield "put, over", lambda: (store.put, [bench.to_record(copy) for copy in bench.over_copies(n)])
    yield "get", lambda: (lambda key: store.get(key, now_s), bench.held_keys(n))
    yield "get, absent", lambda: (lambda key: store.get(key, now_s), [bench.rng.randbytes(32) for _ in range(n)])
    yield "value", lambda: (lambda key: store.value(key, now_s), bench.held_keys(n))
    yield "held", lambda: (store.held, bench.held_keys(n))
    yield "digest of an arc", lambda: (lambda arc: store.digest(*arc, 1), arcs())
    yield "stamp", lambda: (lambda _: clock.stamp(), list(range(n)))
    yield "reserve", lambda: (lambda _: clock.reserve(), list(range(n)))
    yield "observe", lambda: (clock.observe, [Version(1, 1)] * n)


def in_groups(bench: Bench, size: int) -> Measured:
    """Copies that become durable in groups of one size: the loop's share and the thread's, per copy."""
    now_s = bench.clock.lives_s()
    rounds = max(GROUP_COPIES // size, 1)
    bench.aside.seconds = loop_s = 0.0
    for _ in range(rounds):
        copies = bench.new_copies(size)
        began_s = time.thread_time()
        for copy in copies:
            accept_copy(bench.node, copy, now_s)
        bench.aside.settle()
        loop_s += time.thread_time() - began_s
    count = rounds * size
    return {"aside": bench.aside.seconds / count * 1e6, "loop": (loop_s - bench.aside.seconds) / count * 1e6}


def report(bench: Bench, only: str) -> None:
    """Print all figures of one store."""
    for name, prepare in calls(bench):
        if only in name:
            print(f"  {name:24}{lowest(prepare, bench.aside.settle):10.2f}")
    if bench.store.is_durable and only in "group":
        for size in GROUPS:
            measured = in_groups(bench, size)
            print(f"  in groups of {size:3}, loop {measured['loop']:12.2f}, thread {measured['aside']:.2f}")


def profile(bench: Bench, name: str) -> None:
    """Print the functions that one of the calls consists of."""
    prepare = dict(calls(bench))[name]
    run, arguments = prepare()
    profiler = cProfile.Profile()
    profiler.enable()
    for argument in arguments:
        run(argument)
    bench.aside.settle()
    profiler.disable()
    stats = pstats.Stats(profiler)
    print(f"{stats.total_calls / len(arguments):.1f} calls per operation")  # type: ignore[attr-defined]
    stats.sort_stats("tottime").print_stats(25)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--place", type=Path, default=None, help="where the disk's files are made")
    parser.add_argument("--only", default="", help="a part of the names of what is measured")
    parser.add_argument("--profile", default="", help="the name of one that is looked into")
    arguments = parser.parse_args()
    for kind in ("memory", "disk"):
        with tempfile.TemporaryDirectory(dir=arguments.place) as place:
            aside = Aside()
            store = MemoryStore(BYTES_MAX) if kind == "memory" else durable(Path(place) / "data", aside)
            bench = Bench(arguments.records, store, aside)
            print(f"{kind}, {arguments.records} records, microseconds each")
            if arguments.profile:
                profile(bench, arguments.profile)
            else:
                report(bench, arguments.only)
            bench.store.close()


if __name__ == "__main__":
    main()
