"""One lookup as experiments count it: to the owner and by the owner's own word, right or wrong by an oracle."""

from bisect import bisect_left
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

from gdht.core.lookup import Found, Hop
from gdht.core.peer import Peer
from gdht.errors import LookupFailed
from gdht.node.lookup import find_successor, trail_of
from gdht.node.runtime import Runtime
from gdht.node.state import NodeState
from gdht.sim.experiments.report import Spread, spread

ATTEMPTS_MAX = 10
"""How often a lookup that ran out of its budget goes on, with what it has learned."""


class Sample(NamedTuple):
    """One lookup.

    owner: None when none was found. path: how many nodes were visited, the owner included and the asking node not.
    timeouts: how many dead nodes were tried. attempts: more than 1 when its budget was not enough.
    """

    owner: Peer | None
    path: int
    timeouts: int
    attempts: int
    seconds: float

    def found(self, *owners: int) -> bool:
        """Whether it found one of these."""
        return self.owner is not None and self.owner.ident in owners


class Tally(NamedTuple):
    """Many lookups of one setting. failed: how many found no owner, or a wrong one. out_of_budget: had to go on."""

    lookups: int
    path: Spread
    timeouts: Spread
    failed: int
    out_of_budget: int
    mean_s: float

    def as_json(self) -> dict[str, Any]:
        """The same by name."""
        return {**self._asdict(), "path": self.path._asdict(), "timeouts": self.timeouts._asdict()}


def look_up(find: Callable[[set[int]], Found], clock: Callable[[], float]) -> Sample:
    """Find an owner, going on where the budget of one lookup ends. Switches: yes.

    find: one lookup; given the peers known to be dead, it adds to them. clock: the time in seconds.
    """
    started_s = clock()
    dead: set[int] = set()
    trail: list[Hop] = []
    owner: Peer | None = None
    attempts = 0
    while owner is None and attempts < ATTEMPTS_MAX:
        attempts += 1
        try:
            found = find(dead)
        except LookupFailed as error:
            trail.extend(trail_of(error))
            if error.result != "timeout":
                break
        else:
            trail.extend(found.trail)
            owner = found.owner if _has_spoken(found) else None
    timeouts = sum(hop.dead for hop in trail)
    return Sample(owner, len(trail) - timeouts, timeouts, attempts, clock() - started_s)


def _has_spoken(found: Found) -> bool:
    """Whether the owner was reached; it was not when the budget ended while dead nodes before it were tried."""
    living = {hop.peer for hop in found.trail if not hop.dead}
    return found.owner in living or all(not hop.dead for hop in found.trail)


def find_confirmed(rt: Runtime, node: NodeState, ident: int, dead: set[int]) -> Found:
    """The owner of an identifier by its own word, or by that of the next should it be dead. Switches: yes.

    Raises: LookupFailed.
    """
    more_than_named = node.ring.length + 2  # so the owner itself is always asked for those that follow it
    return find_successor(rt, node, ident, purpose="trace", replicas=more_than_named, dead=dead)


def true_owner(idents: Sequence[int], ident: int) -> int:
    """The successor of an identifier among all members. idents: ascending, not empty."""
    return idents[bisect_left(idents, ident) % len(idents)]


def tally(samples: Collection[tuple[Sample, bool]]) -> Tally:
    """Many lookups, each with whether its owner was right."""
    taken = [sample for sample, _ in samples]
    return Tally(
        len(taken),
        spread([sample.path for sample in taken]),
        spread([sample.timeouts for sample in taken]),
        sum(not right for _, right in samples),
        sum(sample.attempts > 1 for sample in taken),
        sum(sample.seconds for sample in taken) / len(taken),
    )
