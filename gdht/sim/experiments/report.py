"""What experiments hand over: spreads of many measurements, rows for tables and JSON, series for plots."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

Progress = Callable[[str, int, int], None]
"""Told what is under way, how much of it is done, and how much there is in all."""


class Spread(NamedTuple):
    """Many measurements in three numbers, as the paper gives them. p1, p99: the 1st and 99th percentile."""

    mean: float
    p1: float
    p99: float

    def __str__(self) -> str:
        return f"{self.mean:.2f} ({self.p1:g}, {self.p99:g})"


def spread(values: Sequence[float]) -> Spread:
    """Mean and percentiles of at least one value.

    >>> print(spread(range(101)))
    50.00 (1, 99)
    """
    ordered = sorted(values)
    return Spread(sum(ordered) / len(ordered), percentile(ordered, 1), percentile(ordered, 99))


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The smallest value that at least so many per cent of all do not exceed. ordered: ascending, not empty.

    >>> percentile([1, 2, 3, 4], 50), percentile([1, 2, 3, 4], 99), percentile([7], 1)
    (2, 4, 7)
    """
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(int(rank), 1) - 1]


class Series(NamedTuple):
    """One line of a plot. spreads: bars from the 1st to the 99th percentile; empty: none. dashed: not ours."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    spreads: Sequence[Spread] = ()
    dashed: bool = False


class Panel(NamedTuple):
    """One set of axes. doubling: each step to the right is twice the one before."""

    title: str
    x_label: str
    y_label: str
    series: Sequence[Series]
    doubling: bool = False


class Table(NamedTuple):
    """One table. columns: a heading that ends in `>` is of numbers. rows: cells by column; None: nothing to say."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]


@dataclass(frozen=True)
class Report:
    """What one experiment brought.

    parameters: what decided it, by name. results: one value per row, the same numbers as in the tables, for programs.
    counted: what the numbers mean, and what was assumed.
    """

    experiment: str
    parameters: dict[str, Any]
    results: Sequence[dict[str, Any]]
    tables: Sequence[Table]
    panels: Sequence[Panel]
    counted: str


def compare(x: Sequence[float], ours: Sequence[Spread], paper: Mapping[float, Spread | None]) -> list[Series]:
    """Two lines: ours with its percentiles, and the paper's means."""
    theirs = {at: value.mean for at, value in paper.items() if value is not None}
    return [
        Series("gdht", x, [one.mean for one in ours], ours),
        Series("paper", list(theirs), list(theirs.values()), dashed=True),
    ]
