"""How long requests took, counted in buckets: any number of them in a few kilobytes, and sums of several processes."""

from collections.abc import Iterable

UNIT_S = 1e-6
HALF = 128
"""Buckets per doubling: a quantile is too high by less than 1 %, and below 0.3 ms by one unit."""

MICROSECONDS_MAX = (1 << 36) - 1
"""Longer times are counted as this one, some 19 hours."""


class Latencies:
    """A histogram. max_s: the longest time, exactly. buckets: number of each to how often."""

    def __init__(self) -> None:
        self.max_s = 0.0
        self.buckets: dict[int, int] = {}

    def add(self, seconds: float) -> None:
        """Count one request."""
        microseconds = min(int(seconds / UNIT_S), MICROSECONDS_MAX)
        shift = max(microseconds.bit_length() - HALF.bit_length(), 0)
        bucket = shift * HALF + (microseconds >> shift)
        self.buckets[bucket] = self.buckets.get(bucket, 0) + 1
        self.max_s = max(self.max_s, seconds)

    @property
    def count(self) -> int:
        """How many requests were counted."""
        return sum(self.buckets.values())

    def quantile_s(self, share: float) -> float | None:
        """The time within which this share of the requests, above 0, was done; None when there are none.

        >>> latencies = Latencies()
        >>> for milliseconds in range(1, 101):
        ...     latencies.add(milliseconds / 1000)
        >>> round(latencies.quantile_s(0.5), 3), latencies.quantile_s(1.0)
        (0.05, 0.1)
        """
        wanted = share * self.count
        passed = 0
        for bucket in sorted(self.buckets):
            passed += self.buckets[bucket]
            if passed >= wanted:
                return min(_end_s(bucket), self.max_s)
        return None

    def merge(self, other: "Latencies") -> None:
        """Count all that the other one has counted."""
        for bucket, times in other.buckets.items():
            self.buckets[bucket] = self.buckets.get(bucket, 0) + times
        self.max_s = max(self.max_s, other.max_s)

    def to_json(self) -> dict[str, object]:
        """As JSON has it."""
        return {"max_s": self.max_s, "buckets": sorted(self.buckets.items())}

    @classmethod
    def from_json(cls, max_s: float, buckets: Iterable[tuple[int, int]]) -> "Latencies":
        """What `to_json` wrote."""
        made = cls()
        made.max_s = max_s
        made.buckets = dict(buckets)
        return made


def _end_s(bucket: int) -> float:
    """Where a bucket ends."""
    shift = max(bucket // HALF - 1, 0)
    return ((bucket - shift * HALF + 1) << shift) * UNIT_S
