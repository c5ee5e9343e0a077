"""How much is asked of a node at once, and when it says no: early, so that what it admits is answered in time.

What a node does in a second differs by a factor of a hundred: it reads what a neighbour has in memory, or writes three
copies on slow disks. So the bound is on time. Now and then an admitted request is looked at again `LATE_S` later.
When most of those are not answered yet, the bound becomes what is answered in that time; else it rises. Most, not some:
one node that stands still must not have the requests for all others refused. (Controlled delay, Nichols and Jacobson
2012, looks at the least wait in a queue for the same reason.)
"""

from collections import deque
from typing import Protocol

UNDER_WAY_MAX = 2048
"""Requests of all clients that wait for other nodes or the disk; what comes beyond is answered with FAILURE at once.
With four times as many, calls to other nodes time out on a busy machine, and each that does makes more work."""
UNDER_WAY_LEAST = 512
"""So many may be under way however long they take, all that eight clients can have under way; but not all for one other
node that says nothing."""
LATE_S = 0.1
"""A request that is not answered after so long is late."""
LOOK_S = LATE_S / 16
"""Of the requests of so much time one is looked at."""
WEIGHT = 1 / 8
"""What the newest of those counts."""
LATE_SHARE_MAX = 0.75
"""When more than this share of them is late, more is under way than is answered in time."""
RISE = 1.1
"""By so much the bound rises in each `LATE_S` in which not so many are."""
ONE_PEER_SHARE = 0.75
"""So much of the bound may be for one other node that says nothing: there must be room for what others are asked."""
PERIODS_MAX = 100.0
"""Rises at once, after a pause: enough from any bound to the highest."""


class Admitted(Protocol):
    """A request. started_s: when it came; frame: its answer, None: not known yet."""

    started_s: float
    frame: bytes | None


class Admission:
    """The requests of all clients of one node.

    under_way: how many are admitted and not answered; who answers one takes it off. under_way_max: how many there may
    be, at present; one_peer_max: of them for one other node that says nothing. Instants are those of `perf_counter()`.
    """

    def __init__(self, under_way_max: int = UNDER_WAY_MAX, under_way_least: int = UNDER_WAY_LEAST) -> None:
        self.under_way = 0
        self.under_way_max: float = under_way_max
        self.one_peer_max = ONE_PEER_SHARE * under_way_max
        self._most = under_way_max
        self._least = min(under_way_least, under_way_max)
        self._admitted = 0
        self._looked_at: deque[Admitted] = deque()  # what is to be looked at: about LATE_S / LOOK_S of them
        self._late_share = 0.0
        self._looks = 0  # in this period
        self._look_s = 0.0  # when to look next
        self._began_s = 0.0  # when this period of counting did
        self._answered_before = 0

    @property
    def is_pressed(self) -> bool:
        """Whether so much is asked that what is not needed, as hedged reads, is to be left out."""
        return self.under_way > self._least or self.under_way_max < self._most

    def admit(self, request: Admitted) -> bool:
        """A request that comes now is under way, or, False, to be refused. Switches: no."""
        now_s = request.started_s
        if now_s >= self._look_s:
            self._look_s = now_s + LOOK_S
            self._look(now_s)
        if self.under_way >= self.under_way_max:
            return False
        self.under_way += 1
        self._admitted += 1
        if not self._looked_at or now_s - self._looked_at[-1].started_s >= LOOK_S:
            self._looked_at.append(request)
        return True

    def discount(self, request: Admitted) -> None:
        """The request just admitted will be refused: that says nothing of what is answered in time. Switches: no."""
        self._admitted -= 1
        if self._looked_at and self._looked_at[-1] is request:
            self._looked_at.pop()

    def _look(self, now_s: float) -> None:
        looked_at = self._looked_at
        while looked_at and looked_at[0].started_s + LATE_S <= now_s:
            is_late = looked_at.popleft().frame is None
            self._late_share += WEIGHT * (is_late - self._late_share)
            self._looks += 1
        passed_s = now_s - self._began_s
        if passed_s >= LATE_S:
            answered = self._admitted - self.under_way
            self._adjust(passed_s, answered - self._answered_before)
            self._began_s, self._answered_before, self._looks = now_s, answered, 0

    def _adjust(self, passed_s: float, answered: int) -> None:
        """Set the bound by what was answered in a period. Source: Little 1961: under way = rate x time."""
        periods = passed_s / LATE_S
        if self._late_share > LATE_SHARE_MAX:
            self.under_way_max = max(min(answered / periods, self.under_way_max), self._least)
            self._late_share = 0.0  # what was admitted until now says nothing of how it goes from here
            self._looked_at.clear()
        elif self._looks or periods > 2:  # else nothing has been admitted since the bound was lowered
            self.under_way_max = min(self.under_way_max * RISE ** min(periods, PERIODS_MAX), self._most)
        self.one_peer_max = ONE_PEER_SHARE * self.under_way_max
