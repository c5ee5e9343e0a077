"""What must hold of a ring, as functions over plain data: safety at every moment, the ideal ring after quiet.

Each returns the violations it finds, none when all is well. Source: Zave 2017, sections 4 and 5 (invariant, ideal
ring). Her proof begins with r + 1 members and full lists, so the count of principals is demanded only from the first
moment on at which a ring `is_grown`.
"""

from bisect import bisect_right
from collections.abc import Collection, Iterable, Mapping
from itertools import pairwise
from typing import NamedTuple

from gdht.core.ident import IDENTS, distance, ident_hex, in_open


class Member(NamedTuple):
    """The pointers of one live member, by identifiers. predecessor: None when unknown."""

    predecessor: int | None
    successors: tuple[int, ...]


Members = Mapping[int, Member]
"""Every live member of one ring by identifier."""


class Violation(NamedTuple):
    """One thing that is wrong. nodes: those it is seen on."""

    invariant: str
    nodes: tuple[int, ...]
    detail: str

    def __str__(self) -> str:
        return f"{self.invariant} [{short_names(self.nodes)}]: {self.detail}"


# Safety: at every moment ---------------------------------------------------------------------------------------------


def check_safety(members: Members, length: int) -> list[Violation]:
    """What must hold at every moment, and from the moment at which it `is_grown` also `principal_violations`."""
    return list_violations(members, length) + live_successor_violations(members) + ring_violations(members)


def list_violations(members: Members, length: int) -> list[Violation]:
    """Successor lists are ordered, without duplicates, without the node itself, and at most r long."""
    found = []
    for ident, member in members.items():
        steps = [distance(ident, successor) for successor in member.successors]
        if len(steps) > length:
            found.append(Violation("list_length", (ident,), f"{len(steps)} successors, at most {length} allowed"))
        if 0 in steps:
            found.append(Violation("list_self", (ident,), "a node is in its own successor list"))
        elif any(later <= earlier for earlier, later in pairwise(steps)):
            found.append(Violation("list_order", (ident,), f"not ordered: {short_names(member.successors)}"))
    return found


def live_successor_violations(members: Members) -> list[Violation]:
    """Every member that has successors has a live one: the first half of the invariant.

    A member without any is a ring of its own; `ring_violations` then demands that there is no other.
    """
    return [
        Violation("live_successor", (ident,), f"all gone: {short_names(member.successors)}")
        for ident, member in members.items()
        if member.successors and best_successor(members, ident) is None
    ]


def principals(members: Members) -> list[int]:
    """The members that no other member's extended successor list skips, in order of identifiers."""
    order = sorted(members)
    pairs: dict[tuple[int, int], None] = {}
    for ident, member in members.items():
        pairs.update(dict.fromkeys(pairwise((ident, *member.successors))))
    skipped: set[int] = set()
    for start, end in pairs:
        first = bisect_right(order, start)
        for index in range(first, first + len(order)):
            between = order[index % len(order)]
            if not in_open(between, start, end):
                break
            skipped.add(between)
    return [ident for ident in order if ident not in skipped]


def is_grown(members: Members, length: int) -> bool:
    """Whether a growing ring has reached the state that the proof begins with: full lists and r + 1 principals."""
    full = all(len(member.successors) == length for member in members.values())
    return full and len(principals(members)) > length


def principal_violations(members: Members, length: int, leaving: Collection[int] = ()) -> list[Violation]:
    """There are at least r + 1 principals: the second half of the invariant.

    leaving: members that are about to go. They do not count, but what their lists skip is skipped: others may still
    pull them.
    """
    unskipped = [ident for ident in principals(members) if ident not in leaving]
    if len(unskipped) > length:
        return []
    return [Violation("principals", tuple(unskipped), f"{len(unskipped)} of {len(members)} members, need {length + 1}")]


def ring_violations(members: Members) -> list[Violation]:
    """There is one ring, at most one, it goes round once, and every appendage leads to it."""
    rings = find_rings(members)
    found = []
    if members and not rings:
        found.append(Violation("at_least_one_ring", tuple(members), "following best successors never comes round"))
    if len(rings) > 1:
        sizes = ", ".join(str(len(ring)) for ring in rings)
        found.append(Violation("at_most_one_ring", tuple(ring[0] for ring in rings), f"rings of {sizes} members"))
    for ring in rings:
        turns = sum(map(distance, ring, ring[1:] + ring[:1])) // IDENTS
        if turns > 1:
            found.append(Violation("ordered_ring", tuple(ring), f"goes round {turns} times"))
    return found + _dangling(members, rings)


def best_successor(members: Members, ident: int) -> int | None:
    """The first live entry of a member's list, the member itself when the list is empty, None when all are gone."""
    successors = members[ident].successors
    if not successors:
        return ident
    return next((successor for successor in successors if successor in members), None)


def find_rings(members: Members) -> list[list[int]]:
    """The cycles of best successors, each from its first member found."""
    rings = []
    walked_from: dict[int, int] = {}
    for start in members:
        path: list[int] = []
        ident: int | None = start
        while ident is not None and ident not in walked_from:
            walked_from[ident] = start
            path.append(ident)
            ident = best_successor(members, ident)
        if ident is not None and walked_from[ident] == start:
            rings.append(path[path.index(ident) :])
    return rings


def _dangling(members: Members, rings: list[list[int]]) -> list[Violation]:
    reaching = {ident for ring in rings for ident in ring}
    found = []
    for start in members:
        path: list[int] = []
        ident: int | None = start
        while ident is not None and ident not in reaching:
            path.append(ident)
            reaching.add(ident)
            ident = best_successor(members, ident)
        if ident is None:
            found.append(Violation("connected_appendages", tuple(path), "leads to no ring"))
    return found


# Liveness: after quiet -----------------------------------------------------------------------------------------------


def check_ideal(members: Members, live: Collection[int], length: int) -> list[Violation]:
    """What the ring must reach once churn has stopped. live: every live node, members or not."""
    order = sorted(live)
    found = []
    for index, ident in enumerate(order):
        if ident not in members:
            found.append(Violation("ideal_member", (ident,), "a live node is not a member"))
            continue
        others = order[index + 1 :] + order[:index]
        successors = tuple(others[:length])
        predecessor = others[-1] if others else None
        if members[ident].successors != successors:
            detail = f"{short_names(members[ident].successors)} in place of {short_names(successors)}"
            found.append(Violation("ideal_successors", (ident,), detail))
        if members[ident].predecessor != predecessor:
            detail = f"{short_name(members[ident].predecessor)} in place of {short_name(predecessor)}"
            found.append(Violation("ideal_predecessor", (ident,), detail))
    return found


# The assumption of the proof -----------------------------------------------------------------------------------------


def may_fail(
    members: Members, gone: Collection[int], length: int, *, grown: bool, leaving: Collection[int] = ()
) -> bool:
    """Whether the proof allows these members to fail now: what is left must still fulfil the invariant.

    leaving: members that have begun to leave: when they are gone, too.
    """
    left = {ident: member for ident, member in members.items() if ident not in gone}
    rest = {ident: member for ident, member in left.items() if ident not in leaving}
    if len(rest) == len(members):
        return True
    return bool(rest) and not (check_safety(rest, length) or (grown and principal_violations(left, length, leaving)))


def short_name(ident: int | None) -> str:
    """The first 8 hex digits of an identifier."""
    return "none" if ident is None else ident_hex(ident)[:8]


def short_names(idents: Iterable[int]) -> str:
    """The first digits of some identifiers, for messages."""
    return " ".join(map(short_name, idents)) or "none"
