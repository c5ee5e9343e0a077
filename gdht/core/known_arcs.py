"""Who owns what elsewhere on the circle, as far as a node has heard: so that most requests need no lookup.

Only hints live here. Whoever is named decides itself whether it is the owner; a wrong hint costs one call and is
forgotten. Any list of nodes in the order of the ring teaches an arc for each of them.
"""

from bisect import bisect_left, bisect_right, insort
from typing import NamedTuple

from gdht.core.ident import IDENTS, distance, in_open_closed
from gdht.core.peer import Peer

ARCS_MAX = 4096
"""How many arcs a node remembers; the one that was learned first is the first to go. Some 1 KB each."""

PEERS_MAX = 32
"""How many nodes of one list are taken in."""


class KnownArc(NamedTuple):
    """The places of (start, owner.ident], which `owner` owns; start = owner.ident: the whole circle.

    successors: the nodes after the owner, nearest first, as far as they are known.
    """

    start: int
    owner: Peer
    successors: tuple[Peer, ...]


class KnownArcs:
    """The arcs that nodes other than `me` own; no two of them overlap. arcs_max: how many are kept; 0: none."""

    def __init__(self, me: int, arcs_max: int = ARCS_MAX) -> None:
        self._me = me
        self._arcs_max = arcs_max
        self._arcs: dict[int, KnownArc] = {}  # by owner, those learned first in front
        self._owners: list[int] = []  # in order

    def __len__(self) -> int:
        return len(self._owners)

    def find(self, ident: int) -> KnownArc | None:
        """The arc that a place lies in; None when no known one does."""
        owners = self._owners
        if not owners:
            return None
        index = bisect_left(owners, ident)
        arc = self._arcs[owners[index if index < len(owners) else 0]]
        width = (arc.owner.ident - arc.start - 1) % IDENTS  # `in_open_closed`, spelled out: every request does this
        return arc if (arc.owner.ident - ident) % IDENTS <= width else None

    def learn(self, start: int, peers: tuple[Peer, ...]) -> None:
        """Take in that these nodes follow each other, and that no node lies between `start` and the first of them.

        The list counts as far as it is proper: clockwise, and not beyond `start`. What it contradicts is forgotten.
        """
        if not peers or not self._arcs_max:
            return
        known = self._arcs.get(peers[0].ident)
        if known is not None and known == (start, peers[0], peers[1:]):
            return  # and so we have heard the rest, too
        chain = _proper(start, peers[:PEERS_MAX])
        closed = chain[-1].ident == start
        for index, owner in enumerate(chain):
            successors = chain[index + 1 :] + (chain[:index] if closed else ())
            if owner.ident != self._me:
                self._learn_arc(KnownArc(start, owner, successors))
            start = owner.ident

    def forget(self, peer: Peer) -> None:
        """A node is no owner any more, and nothing is known of those that follow others beyond it."""
        owners = self._owners
        index = bisect_left(owners, peer.ident)
        for back in range(1, min(PEERS_MAX, len(owners)) + 1):
            arc = self._arcs[owners[index - back]]
            if peer in arc.successors:
                known = arc.successors[: arc.successors.index(peer)]
                self._arcs[arc.owner.ident] = arc._replace(successors=known)
        if self._arcs.pop(peer.ident, None) is not None:
            del owners[index]

    def clear(self) -> None:
        """Forget everything."""
        self._arcs.clear()
        self._owners.clear()

    def _learn_arc(self, arc: KnownArc) -> None:
        ident = arc.owner.ident
        known = self._arcs.get(ident)
        if known is not None and known[:2] == arc[:2] and known.successors[: len(arc.successors)] == arc.successors:
            return  # nothing new, or less than we know
        self._drop_owners_in(arc.start, ident)
        if len(self._owners) >= self._arcs_max:
            oldest = next(iter(self._arcs))
            del self._arcs[oldest], self._owners[bisect_left(self._owners, oldest)]
        insort(self._owners, ident)
        self._arcs[ident] = arc
        self._trim_after(ident)

    def _drop_owners_in(self, start: int, end: int) -> None:
        """Forget the arcs of all owners in (start, end]."""
        owners = self._owners
        first, last = bisect_right(owners, start), bisect_right(owners, end)
        if start < end:
            gone = owners[first:last]
            del owners[first:last]
        else:
            gone = owners[first:] + owners[:last]
            del owners[first:], owners[:last]
        for ident in gone:
            del self._arcs[ident]

    def _trim_after(self, ident: int) -> None:
        """Let the arc after the one of this owner begin no sooner than that ends."""
        index = bisect_right(self._owners, ident)
        after = self._arcs[self._owners[index if index < len(self._owners) else 0]]
        if after.owner.ident != ident and in_open_closed(ident, after.start, after.owner.ident):
            self._arcs[after.owner.ident] = after._replace(start=ident)


def _proper(start: int, peers: tuple[Peer, ...]) -> tuple[Peer, ...]:
    """The longest list that `peers` begin with whose every node lies further from `start`, clockwise.

    Its last may lie at `start` itself: then it names the whole ring.
    """
    reached = 0
    for index, peer in enumerate(peers):
        step = distance(start, peer.ident) or IDENTS
        if step <= reached:
            return peers[:index]
        reached = step
    return peers
