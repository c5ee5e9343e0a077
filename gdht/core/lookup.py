"""The memory of one lookup: who was heard of, who was asked, who was dead, and the trail that it leaves.

Pure bookkeeping; `gdht.node.lookup` asks the peers. Source: the 2003 paper, section IV-C, in its iterative form.
"""

from collections.abc import Callable
from math import log2
from typing import NamedTuple

from gdht.core.ident import IDENT_BITS, distance, in_open
from gdht.core.peer import Peer


class Hop(NamedTuple):
    """One node asked. seconds: how long it took. error: empty, or why it gave no usable answer."""

    peer: Peer
    seconds: float
    dead: bool
    error: str


class Found(NamedTuple):
    """The end of a lookup.

    peers: the owner and its successors, nearest first, without those found dead. responder: the node that knew, the
    asking node itself when it needed nobody. trail: everybody asked, in order. start: the owner owns (start, owner].
    guessed: nobody was asked, the node has only heard so before.
    """

    peers: tuple[Peer, ...]
    responder: Peer
    trail: tuple[Hop, ...]
    start: int = 0
    guessed: bool = False

    @property
    def owner(self) -> Peer:
        """The successor of the identifier."""
        return self.peers[0]


HALF_COST = 1.0
"""What half of the way is worth, in average answers: how much later a peer may answer that brings us twice as near.

It costs half of one on average. More than that keeps paths short where some peers only seem to be faster.
"""


def _alike(_peer: Peer | None) -> float:
    return 0.0


class Lookup:
    """The candidates of one lookup for `ident`, the best first, each asked at most once.

    The best is the closest before the goal, or one that is not as close but answers so much sooner that the way takes
    less time all the same. seconds_of: how long a peer is expected to take; of None: peers on average.
    """

    def __init__(
        self,
        me: Peer,
        ident: int,
        hops_max: int,
        dead: set[int],
        seconds_of: Callable[[Peer | None], float] = _alike,
    ) -> None:
        self.ident = ident
        self.trail: list[Hop] = []
        self._seconds_of = seconds_of
        self._hops_max = hops_max
        self._bits = IDENT_BITS + 1  # of what was left of the way for the last who answered
        self._dead = dead
        self._asked = {me.ident}
        self._first: list[Peer] = []
        self._heard: dict[int, Peer] = {}

    def ask_first(self, peers: tuple[Peer, ...]) -> None:
        """Ask these before all others, wherever they lie on the circle."""
        self._first.extend(peers)

    def hear(self, peers: tuple[Peer, ...]) -> None:
        """Remember candidates of our own."""
        for peer in peers:
            self._heard.setdefault(peer.ident, peer)

    def hear_from(self, source: Peer, peers: tuple[Peer, ...]) -> None:
        """Remember the candidates a peer named, but only those that lie between it and the goal."""
        self.hear(tuple(p for p in peers if in_open(p.ident, source.ident, self.ident)))

    def next_peer(self) -> Peer | None:
        """The best candidate not yet asked and not dead; None when there is none or the budget of hops is used up."""
        if len(self.trail) >= self._hops_max:
            return None
        while self._first:
            peer = self._first.pop(0)
            if self._fresh(peer):
                return peer
        return self._best([peer for peer in self._heard.values() if self._fresh(peer)])

    def may_ask(self, peer: Peer) -> bool:
        """Whether a peer was not asked yet, is not dead, and the budget of hops is not used up."""
        return len(self.trail) < self._hops_max and self._fresh(peer)

    def asked(self, peer: Peer, seconds: float, *, dead: bool = False, error: str = "") -> None:
        """Write down what asking a peer brought; a dead one is not asked again and not accepted as an owner."""
        self._asked.add(peer.ident)
        self.trail.append(Hop(peer, seconds, dead, error))
        if dead:
            self._dead.add(peer.ident)
        elif not error:
            self._bits = min(self._bits, distance(peer.ident, self.ident).bit_length())

    def living(self, peers: tuple[Peer, ...]) -> tuple[Peer, ...]:
        """An answer's peers without those found dead."""
        return tuple(peer for peer in peers if peer.ident not in self._dead)

    @property
    def dead_hops(self) -> int:
        """How many of those asked were dead."""
        return sum(hop.dead for hop in self.trail)

    def _best(self, peers: list[Peer]) -> Peer | None:
        """Whom to ask next.

        What is left of the way gets shorter by a bit with every answer, as it does when the closest is asked each time;
        so the bound on hops, one for each bit, is the same.
        """
        left = {peer: distance(peer.ident, self.ident) for peer in peers}
        nearer = [peer for peer in peers if left[peer].bit_length() < self._bits]
        half_s = HALF_COST * self._seconds_of(None)
        if not nearer or not half_s:
            return min(peers, key=lambda peer: left[peer], default=None)
        return min(nearer, key=lambda peer: (self._seconds_of(peer) + half_s * log2(left[peer]), left[peer]))

    def _fresh(self, peer: Peer) -> bool:
        return peer.ident not in self._asked and peer.ident not in self._dead
