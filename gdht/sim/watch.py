"""The safety checks of `gdht.core.invariant`, kept up to date change by change.

A ring of hundreds changes some pointer with every other event; to look at all of it each time would take longer than
the nodes themselves. So what a change cannot have broken is not looked at again, and in every doubtful case the whole
check runs. A test compares the two on random changes.
"""

from bisect import bisect_right, insort
from collections.abc import Iterable, Mapping
from itertools import pairwise

from gdht.core.ident import distance, in_open
from gdht.core.invariant import Member, Members, Violation, best_successor, check_safety, list_violations

DETOUR_MAX = 16
"""So many members may lie between a member and its former successor before the whole ring is looked at instead."""


class SafetyWatch:
    """Says after every change of one member whether the ring is still safe. members: kept by the caller."""

    def __init__(self, members: Members, length: int) -> None:
        self._members = members
        self._length = length
        self._best: dict[int, int | None] = {}
        self._namers: dict[int, dict[int, None]] = {}

    def changed(self, ident: int, before: Member | None, after: Member | None) -> list[Violation]:
        """What is wrong now that one member's pointers changed; None: it was, or is, no member."""
        self._note_names(ident, before, after)
        touched = dict.fromkeys([ident])
        if before is None or after is None:
            touched.update(self._namers.get(ident, {}))
        moved = self._note_best(touched)
        if self._is_harmless(ident, before, moved) and not (after and list_violations({ident: after}, self._length)):
            return []
        return check_safety(self._members, self._length)

    def _note_names(self, ident: int, before: Member | None, after: Member | None) -> None:
        for name in before.successors if before else ():
            del self._namers[name][ident]
        for name in after.successors if after else ():
            self._namers.setdefault(name, {})[ident] = None

    def _note_best(self, touched: Iterable[int]) -> dict[int, int | None]:
        """The members whose best successor changed, with the former one; a newcomer counts as its own."""
        moved = {}
        for ident in touched:
            former = self._best.pop(ident, ident)
            if ident in self._members:
                best = self._best[ident] = best_successor(self._members, ident)
                if best != former or best is None:
                    moved[ident] = former
        return moved

    def _is_harmless(self, ident: int, before: Member | None, moved: Mapping[int, int | None]) -> bool:
        """Whether one ordered ring to which everybody leads is sure to be one still."""
        if not moved:
            return before is not None
        ((mover, former),) = moved.items() if len(moved) == 1 else ((None, None),)
        if mover is None or former is None or self._best[mover] is None:
            return False
        return (before is None and mover == ident) or self._is_detour(mover, former)

    def _is_detour(self, mover: int, former: int) -> bool:
        """Whether a member's way leads, clockwise, to its former best successor, which it led to directly before."""
        span, reached = distance(mover, former), 0
        best = self._best[mover]
        for _ in range(DETOUR_MAX):
            if best is None or not reached < distance(mover, best) <= span:
                return False
            if best == former:
                return True
            reached = distance(mover, best)
            best = self._best.get(best)
        return False


class PrincipalCount:
    """How many members are principals, kept up to date change by change; and whether all lists are full.

    Who is leaving does not count; its list does, as long as it is there.
    """

    def __init__(self, length: int) -> None:
        self._length = length
        self._members: dict[int, Member] = {}
        self.leaving: set[int] = set()
        """The members that are about to go."""
        self._order: list[int] = []
        self._skips: dict[int, int] = {}
        self._skipped = 0
        self._short = 0
        self._pairs: dict[tuple[int, int], int] = {}

    @property
    def enough(self) -> bool:
        """Whether there are at least r + 1 principals."""
        return len(self._order) - self._skipped > self._length

    @property
    def grown(self) -> bool:
        """As `gdht.core.invariant.is_grown`."""
        return self._short == 0 and self.enough

    @property
    def members(self) -> Members:
        """All of them, by identifier."""
        return self._members

    def leaves(self, ident: int) -> None:
        """A member begins to leave."""
        if ident in self._members and ident not in self.leaving:
            self._stop_counting(ident)
        self.leaving.add(ident)

    def update(self, ident: int, member: Member | None) -> None:
        """A member's pointers changed; None: it is no member any more."""
        before = self._members.pop(ident, None)
        counts = ident not in self.leaving
        if before is None and member is not None and counts:
            insort(self._order, ident)
            self._skips[ident] = 0
            self._skip(ident, sum(in_open(ident, start, end) for start, end in self._pairs))
        if before is not None:
            self._short -= len(before.successors) != self._length
        if member is not None:
            self._members[ident] = member
            self._short += len(member.successors) != self._length
        self._replace_pairs(_pairs(ident, before), _pairs(ident, member))
        if before is not None and member is None and counts:
            self._stop_counting(ident)

    def gone(self, ident: int) -> None:
        """A node has left, or died: it is no member any more, and counts when it comes back."""
        self.update(ident, None)
        self.leaving.discard(ident)

    def _stop_counting(self, ident: int) -> None:
        self._skip(ident, -self._skips[ident])
        del self._skips[ident]
        del self._order[bisect_right(self._order, ident) - 1]

    def _replace_pairs(self, old: list[tuple[int, int]], new: list[tuple[int, int]]) -> None:
        if old == new:
            return
        for pair in new:
            count = self._pairs[pair] = self._pairs.get(pair, 0) + 1
            if count == 1:
                self._skip_between(pair, 1)
        for pair in old:
            count = self._pairs[pair] = self._pairs[pair] - 1
            if count == 0:
                del self._pairs[pair]
                self._skip_between(pair, -1)

    def _skip_between(self, pair: tuple[int, int], change: int) -> None:
        start, end = pair
        first = bisect_right(self._order, start)
        for index in range(first, first + len(self._order)):
            between = self._order[index % len(self._order)]
            if not in_open(between, start, end):
                break
            self._skip(between, change)

    def _skip(self, ident: int, change: int) -> None:
        before = self._skips[ident]
        self._skips[ident] = before + change
        self._skipped += (before + change > 0) - (before > 0)


def _pairs(ident: int, member: Member | None) -> list[tuple[int, int]]:
    return list(pairwise((ident, *member.successors))) if member else []
