"""How late a node's loop runs while durable puts come in as fast as they are acknowledged.

Usage: python benchmarks/store_lag.py [--window 64] [--seconds 5] [--place DIR]

`--window` puts wait for the disk at any time, each followed by some microseconds of other work, as for the messages of
a real one. Beside them a greenlet sleeps for a millisecond, again and again: how much later it wakes is the lag.
"""

import argparse
import gc
import itertools
import os
import tempfile
import time
from pathlib import Path

import gevent
from gevent.event import Event
from store_costs import BYTES_MAX, Bench

from gdht.core.messages import RecordCopy
from gdht.errors import StoreError
from gdht.net.disk import DiskThread
from gdht.net.runtime import YIELD_S
from gdht.node.replication.copies import accept_copy
from gdht.store.opening import open_store

WORK_S = 40e-6
TURN = 32
"""Puts that come in at once, as in one read of a socket."""

COPIES = 100_000
WARM_UP_S = 1.0
NAP_S = 0.001


class Storm:
    """Copies that are put in a circle."""

    def __init__(self, bench: Bench, window: int) -> None:
        self.acknowledged = 0
        self._bench = bench
        self._copies = itertools.cycle(bench.new_copies(COPIES))
        self._left = window
        self._room = Event()

    def rage(self) -> None:
        """Put for ever."""
        while True:
            for copy in itertools.islice(self._copies, min(TURN, self._left)):
                self._put(copy)
            if not self._left:
                self._room.clear()
                self._room.wait()
            gevent.sleep(YIELD_S)

    def _put(self, copy: RecordCopy) -> None:
        accept_copy(self._bench.node, copy, self._bench.clock.lives_s())
        work_until_s = time.perf_counter() + WORK_S
        while time.perf_counter() < work_until_s:
            pass
        self._left -= 1
        commit = self._bench.store.pending
        if commit is None:
            self._end(None)
        else:
            commit.when_ended(self._end)

    def _end(self, error: StoreError | None) -> None:
        if error is not None:
            raise SystemExit(str(error))
        self._left += 1
        self.acknowledged += 1
        self._room.set()


def nap(lags_s: list[float]) -> None:
    """Sleep again and again, and note how much too long."""
    while True:
        began_s = time.perf_counter()
        gevent.sleep(NAP_S)
        lags_s.append(time.perf_counter() - began_s - NAP_S)


def measure(place: Path, window: int, seconds: float) -> str:
    """One storm, in short."""
    thread = DiskThread()
    storm = Storm(Bench(0, open_store(str(place), BYTES_MAX, thread.run_aside, thread.soon)), window)
    gc.collect()
    gc.freeze()  # the copies are no part of a node
    lags_s: list[float] = []
    gevent.spawn(storm.rage)
    gevent.spawn(nap, lags_s)
    gevent.sleep(WARM_UP_S)
    lags_s.clear()
    before, cpu_s, began_s = storm.acknowledged, time.process_time(), time.perf_counter()
    gevent.sleep(seconds)
    puts, took_s = storm.acknowledged - before, time.perf_counter() - began_s
    cpu_us = (time.process_time() - cpu_s) / puts * 1e6
    lags_s.sort()
    middle, high, most = (lags_s[int(len(lags_s) * share)] * 1000 for share in (0.5, 0.99, 0.9999))
    return (
        f"{window} at a time: {puts / took_s:,.0f} puts per second, {cpu_us:.0f} us of CPU each; "
        f"lag {middle:.1f} ms, p99 {high:.1f} ms, at most {most:.1f} ms"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--window", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--place", type=Path, default=None, help="where the disk's files are made")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.place) as place:
        print(measure(Path(place) / "data", arguments.window, arguments.seconds), flush=True)
    os._exit(0)  # what is under way has nowhere to go


if __name__ == "__main__":
    main()
