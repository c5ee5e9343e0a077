"""How things are compared: all of them in turn, round by round, so that a slow moment of the machine hits all alike.

A ratio is made within one round; what is reported is the median over the rounds, and the least and the most.
"""

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from generator import Result, Shape, load
from rings import Served
from workload import Requests


class Case(NamedTuple):
    """One row of a table: what was asked of whom."""

    operation: str
    server: str


class Spread(NamedTuple):
    """A median, and the least and the most it was made of."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: list[float]) -> "Spread":
        """Of the values of all rounds."""
        return cls(statistics.median(values), min(values), max(values))


@dataclass(frozen=True)
class Sample:
    """One case in one round. server_us: CPU time of all server processes for each request."""

    result: Result
    server_us: float

    @property
    def generator_share(self) -> float:
        """How much of one core the generator needed."""
        return self.result.cpu_s / self.result.seconds


@dataclass(frozen=True)
class Comparison:
    """What was measured side by side. Every case has one sample of each round."""

    name: str
    title: str
    samples: Mapping[Case, list[Sample]]

    def find(self, operation: str, server: str) -> Case | None:
        """The case of that operation whose server's name begins so."""
        found = (case for case in self.samples if case.operation == operation and case.server.startswith(server))
        return next(found, None)

    def ratio(self, case: Case, base: Case) -> Spread:
        """The rate of one case divided by that of another."""
        pairs = zip(self.samples[case], self.samples[base], strict=True)
        return Spread.of([one.result.requests_per_s / (other.result.requests_per_s or 1.0) for one, other in pairs])

    def rate(self, case: Case) -> float:
        """Its requests per second."""
        return self.median(case, lambda sample: sample.result.requests_per_s)

    def server_us(self, case: Case) -> float:
        """What its servers need for a request."""
        return self.median(case, lambda sample: sample.server_us)

    def median(self, case: Case, figure: Callable[[Sample], float]) -> float:
        """Any figure of its samples."""
        return statistics.median(figure(sample) for sample in self.samples[case])

    def faults(self, case: Case) -> tuple[int, int]:
        """How many answers were failures, and how many were wrong."""
        results = [sample.result for sample in self.samples[case]]
        return sum(result.failures for result in results), sum(result.mismatches for result in results)


Measured = Callable[[], Sample]


def compare(name: str, title: str, cases: Mapping[Case, Measured], rounds: int) -> Comparison:
    """Measure all cases in turn, each round beginning with another one."""
    samples: dict[Case, list[Sample]] = {case: [] for case in cases}
    order = list(cases)
    for number in range(rounds):
        first = number % len(order)
        for case in order[first:] + order[:first]:
            samples[case].append(cases[case]())
    comparison = Comparison(name, title, samples)
    for case in cases:
        print(f"{title}: {case.operation}, {case.server}: {comparison.rate(case):,.0f}/s", flush=True)
    return comparison


def loaded(served: Served, requests: Requests, shape: Shape, seconds: float, spread: bool = False) -> Measured:
    """A case that the generator plays. spread: over all addresses; else all goes through the first."""
    addresses = served.addresses if spread else served.addresses[:1]

    def measured() -> Sample:
        before_us = served.cpu_us()
        result = load(requests.file, addresses, shape, seconds, "--warmup", f"{seconds / 4:g}", *requests.options)
        return Sample(result, (served.cpu_us() - before_us) / max(result.all_answers, 1))

    return measured
