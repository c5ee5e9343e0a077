"""Client requests that did not succeed, and why: the last few, for people who ask what became of theirs.

A get that finds nothing is no failure of the ring, but often what people ask about. Those are kept apart, so that no
number of them drives the real failures out.
"""

from collections import deque
from heapq import merge
from typing import NamedTuple

FAILURES_MAX = 256
"""How many requests that failed are remembered; older ones are forgotten."""

NOT_FOUND_MAX = 256
"""How many gets that found nothing are."""


class FailedRequest(NamedTuple):
    """One request of a client of this node.

    number: 1 for the first of this process, then one more each. wall_s: when it ended, seconds since the epoch.
    operation: get or put. result: as metrics count it, never success. detail: why, in words; may be empty.
    acknowledged of wanted: how many replicas stored what was put; 0 of 0 for gets. seconds: how long it took.
    """

    number: int
    wall_s: float
    operation: str
    key: bytes
    result: str
    detail: str
    acknowledged: int
    wanted: int
    seconds: float


class Failures:
    """The last requests of one node that did not succeed."""

    def __init__(self) -> None:
        self._failed: deque[FailedRequest] = deque(maxlen=FAILURES_MAX)
        self._not_found: deque[FailedRequest] = deque(maxlen=NOT_FOUND_MAX)
        self._number = 0

    def note(
        self,
        wall_s: float,
        operation: str,
        key: bytes,
        result: str,
        detail: str,
        seconds: float,
        acknowledged: int = 0,
        wanted: int = 0,
    ) -> None:
        """Remember one; what each argument means says `FailedRequest`. Switches: no."""
        self._number += 1
        kept = self._not_found if result == "not_found" else self._failed
        kept.append(FailedRequest(self._number, wall_s, operation, key, result, detail, acknowledged, wanted, seconds))

    def all(self) -> tuple[FailedRequest, ...]:
        """All that are remembered, newest last. Switches: no."""
        return tuple(merge(self._failed, self._not_found))

    def of(self, key: bytes) -> tuple[FailedRequest, ...]:
        """Those for one key, newest last. Switches: no."""
        return tuple(request for request in self.all() if request.key == key)
