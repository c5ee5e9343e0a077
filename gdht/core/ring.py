"""What one node knows of the ring, as an immutable value, and the answers that follow from it alone.

A node's whole ring state is one `Ring`; each maintenance step computes a new one and assigns it once.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

from gdht.core.fingers import Fingers, with_local_fingers, without_peer
from gdht.core.ident import IDENTS, distance, in_open, in_open_closed
from gdht.core.peer import Peer
from gdht.core.successors import covering, successor_list

CLOSER_PEERS_MAX = 16
"""How many peers a node names when it does not know the owner: the best, and some in case that one is dead. When half
of the ring fails at once, 4 were too few in 13 lookups of 100, 8 in 1 of 1,000, 16 in none.
"""


class Step(NamedTuple):
    """One step of find_successor. final: peers are the owner and its successors. Else: whom to ask, best first.

    start: of a final step, where an arc begins that is all the owner's; 0 of others.
    """

    final: bool
    peers: tuple[Peer, ...]
    start: int = 0


@dataclass(frozen=True, slots=True)
class Ring:
    """A node's pointers.

    length: how long the successor list may be (r). predecessors: nearest first; the first is the predecessor of the
    protocol, the others are hearsay that helps to place records. successors: nearest first, never `me`.
    """

    me: Peer
    length: int
    predecessors: tuple[Peer, ...] = ()
    successors: tuple[Peer, ...] = ()
    fingers: Fingers = ()

    @property
    def predecessor(self) -> Peer | None:
        """The nearest node counter-clockwise; None when unknown."""
        return self.predecessors[0] if self.predecessors else None

    @property
    def first_successor(self) -> Peer:
        """The nearest node clockwise; the node itself when it is alone."""
        return self.successors[0] if self.successors else self.me

    @property
    def alone(self) -> bool:
        """Whether this node knows nobody else in the ring."""
        return not self.successors and not self.predecessors

    @property
    def spans(self) -> bool:
        """Whether the successor list comes round to the predecessor, so that it names the whole ring."""
        if not self.successors or not self.predecessors:
            return self.alone
        return self.successors[-1].ident == self.predecessors[0].ident

    # New rings from old ----------------------------------------------------------------------------------------------

    def with_successors(self, *peers: Peer) -> "Ring":
        """The ring with the list that `peers` begin with: a first successor followed by its own list."""
        successors = successor_list(self.me.ident, peers, self.length)
        return replace(self, successors=successors, fingers=with_local_fingers(self.fingers, self.me.ident, successors))

    def with_predecessors(self, *peers: Peer) -> "Ring":
        """The ring with a predecessor, followed by what it says of its own; none to forget them."""
        return replace(self, predecessors=predecessor_list(self.me.ident, peers, self.length + 1))

    def without(self, peer: Peer) -> "Ring":
        """The ring without a node that is dead or gone; the lists shift, the next pull refills their ends."""
        predecessors = self.predecessors
        if peer.ident in (p.ident for p in predecessors):
            first_gone = predecessors[0].ident == peer.ident
            predecessors = () if first_gone else tuple(p for p in predecessors if p.ident != peer.ident)
        return replace(
            self,
            predecessors=predecessors,
            successors=tuple(s for s in self.successors if s.ident != peer.ident),
            fingers=without_peer(self.fingers, peer),
        )

    def with_fingers(self, fingers: Fingers) -> "Ring":
        """The ring with another finger table."""
        return replace(self, fingers=fingers)

    # Answers ---------------------------------------------------------------------------------------------------------

    def owns(self, ident: int) -> bool:
        """Whether this node is the owner (the successor) of an identifier, as far as it knows.

        While the predecessor is unknown, everything that no known successor covers counts as its own.
        """
        if self.predecessors:
            return in_open_closed(ident, self.predecessors[0].ident, self.me.ident)
        return covering(self.me.ident, self.successors, ident) is None

    def knows(self, ident: int, nodes: int) -> bool:
        """Whether our lists surely name the owner of a place and those after it, `nodes` in all, or the whole ring."""
        if self.spans:
            return True
        line = (*reversed(self.predecessors), self.me, *self.successors)
        if len(line) <= nodes or in_open(line[0].ident, self.me.ident, line[-1].ident):  # too few, or they overlap
            return False
        return in_open_closed(ident, line[0].ident, line[-nodes].ident)

    def find_successor_step(self, ident: int, strict: bool) -> Step:
        """What this node answers when asked for the owner of `ident`. Source: the 2003 paper, section IV-C.

        strict: only answer `final` when the owner is our first successor, as a joining node needs it.
        """
        if not self.successors:
            return self._step_without_successors(ident, strict)
        if strict:
            if in_open_closed(ident, self.me.ident, self.successors[0].ident):
                return Step(True, self.successors, self.me.ident)
            return Step(False, self.closest_preceding(ident))
        if self.predecessors and self.owns(ident):
            return Step(True, (self.me, *self.successors), self.predecessors[0].ident)
        index = covering(self.me.ident, self.successors, ident)
        if index is not None:
            wrapped = (self.me, *self.successors[:index]) if self.spans else ()
            before = self.successors[index - 1] if index else self.me
            return Step(True, (*self.successors[index:], *wrapped), before.ident)
        return self._predecessor_step(ident) or Step(False, self.closest_preceding(ident))

    def _step_without_successors(self, ident: int, strict: bool) -> Step:
        """The answer of a node that is alone, or that only knows who notified it."""
        if self.owns(ident):
            return Step(True, (self.me,), (self.predecessor or self.me).ident)
        if strict:
            return Step(True, (self.me,), (ident - 1) % IDENTS)
        return Step(True, (*self.predecessors[:1], self.me), self.me.ident)

    def _predecessor_step(self, ident: int) -> Step | None:
        """The answer when `ident` lies among the known predecessors."""
        chain = self.predecessors
        for index in range(len(chain) - 1):
            if in_open_closed(ident, chain[index + 1].ident, chain[index].ident):
                onward = (*reversed(chain[: index + 1]), self.me, *self.successors)
                owners = successor_list((ident - 1) % IDENTS, onward, self.length + 1)
                return Step(True, owners, chain[index + 1].ident)
        return None

    def closest_preceding(self, ident: int, peers_max: int | None = CLOSER_PEERS_MAX) -> tuple[Peer, ...]:
        """The known nodes strictly between us and `ident`, the closest to it first. (The 2003 paper's figure 5.)

        peers_max: how many at most, None: all.
        """
        me = self.me.ident
        known = {peer.ident: peer for peer in self.successors}
        known.update((finger.peer.ident, finger.peer) for finger in self.fingers)
        before = [peer for peer in known.values() if in_open(peer.ident, me, ident)]
        before.sort(key=lambda peer: distance(peer.ident, ident))
        return tuple(before[:peers_max])

    @property
    def owned_ratio(self) -> float:
        """The share of the circle this node owns, 0 to 1; 0 while its predecessor is unknown."""
        if self.predecessors:
            return distance(self.predecessors[0].ident, self.me.ident) / IDENTS
        return 0.0 if self.successors else 1.0

    @property
    def estimated_nodes(self) -> float:
        """How many nodes the ring has, from the spacing of the successors; exact while the list spans the ring."""
        if self.spans or not self.successors:
            return float(len(self.successors) + 1)
        return len(self.successors) * IDENTS / distance(self.me.ident, self.successors[-1].ident)


def predecessor_list(me: int, peers: tuple[Peer, ...], length: int) -> tuple[Peer, ...]:
    """The longest proper counter-clockwise list that `peers` begin with: a predecessor followed by its own."""
    chosen: list[Peer] = []
    reached = 0
    for peer in peers:
        step = distance(peer.ident, me)
        if step <= reached or len(chosen) == length:
            break
        chosen.append(peer)
        reached = step
    return tuple(chosen)
