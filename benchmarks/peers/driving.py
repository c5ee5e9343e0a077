"""What the nodes of other systems share: commands on standard input, and a tally of what was answered and how soon.

A command is a line of JSON: `{"do": "put" or "get", "seconds": 1.0, "in_flight": 64, "once": false}`. The keys are gone
through in turn, by all runs of a kind together; `once` puts or gets each of them once. The answer is a line
in the form of load.c's.
"""

import json
import sys
import time
from collections.abc import Iterator
from typing import Any

from records import RECORDS

WARMUP_S = 0.2
"""What is answered in this time is not counted."""


def commands() -> Iterator[dict[str, Any]]:
    """The commands, until standard input ends."""
    for line in sys.stdin:
        yield json.loads(line)


def say(answer: str) -> None:
    """Answer a command."""
    print(answer, flush=True)


class Tally:
    """Which record is next, and what became of those before."""

    def __init__(self, command: dict[str, Any]) -> None:
        self._once = command.get("once", False)
        warmup_s = 0.0 if self._once else WARMUP_S
        self.in_flight: int = command["in_flight"]
        self.began_s = time.perf_counter() + warmup_s
        self._until_s = self.began_s + command["seconds"]
        self._cpu_s = time.process_time()
        self._asked = 0
        self.all_answers = 0
        self._latencies_s: list[float] = []
        self._results = {"successes": 0, "failures": 0, "mismatches": 0}

    def next(self) -> int | None:
        """The record to put or get now; None when it is over."""
        if self._asked >= RECORDS if self._once else time.perf_counter() >= self._until_s:
            return None
        self._asked += 1
        return (self._asked - 1) % RECORDS

    def count(self, started_s: float, success: bool, right: bool = True) -> None:
        """A request was answered. right: whether with the value it should be."""
        now_s = time.perf_counter()
        self.all_answers += 1
        if not self._once and not self.began_s <= now_s < self._until_s:
            return
        self._latencies_s.append(now_s - started_s)
        self._results["successes" if success else "failures"] += 1
        self._results["mismatches"] += not right

    def seconds_left(self) -> float:
        """Until nothing more is asked; without a meaning for `once`."""
        return max(self._until_s - time.perf_counter(), 0.0)

    def result(self) -> str:
        """The line that says it all."""
        seconds = (time.perf_counter() if self._once else self._until_s) - self.began_s
        answers = len(self._latencies_s)
        fields = {"requests_per_s": self._results["successes"] / seconds, "answers": answers, **self._results}
        fields |= {"all_answers": self.all_answers, "seconds": seconds, "latency_us": self._percentiles()}
        return json.dumps({**fields, "cpu_seconds": time.process_time() - self._cpu_s})

    def _percentiles(self) -> dict[str, float]:
        ordered = sorted(self._latencies_s) or [0.0]
        shares = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999, "max": 1.0}
        return {name: ordered[min(int(share * len(ordered)), len(ordered) - 1)] * 1e6 for name, share in shares.items()}
