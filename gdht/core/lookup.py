"""The memory of one lookup: who was heard of, who was asked, who was dead, and the trail that it leaves.

Pure bookkeeping; `gdht.node.lookup` asks the peers. Source: the 2003 paper, section IV-C, in its iterative form.
"""

from typing import NamedTuple

from gdht.core.ident import distance, in_open
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


class Lookup:
    """The candidates of one lookup for `ident`, the closest before it first, each asked at most once."""

    def __init__(self, me: Peer, ident: int, hops_max: int, dead: set[int]) -> None:
        self.ident = ident
        self.trail: list[Hop] = []
        self._hops_max = hops_max
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
        fresh = [peer for peer in self._heard.values() if self._fresh(peer)]
        return min(fresh, key=lambda peer: distance(peer.ident, self.ident), default=None)

    def may_ask(self, peer: Peer) -> bool:
        """Whether a peer was not asked yet, is not dead, and the budget of hops is not used up."""
        return len(self.trail) < self._hops_max and self._fresh(peer)

    def asked(self, peer: Peer, seconds: float, *, dead: bool = False, error: str = "") -> None:
        """Write down what asking a peer brought; a dead one is not asked again and not accepted as an owner."""
        self._asked.add(peer.ident)
        self.trail.append(Hop(peer, seconds, dead, error))
        if dead:
            self._dead.add(peer.ident)

    def living(self, peers: tuple[Peer, ...]) -> tuple[Peer, ...]:
        """An answer's peers without those found dead."""
        return tuple(peer for peer in peers if peer.ident not in self._dead)

    @property
    def dead_hops(self) -> int:
        """How many of those asked were dead."""
        return sum(hop.dead for hop in self.trail)

    def _fresh(self, peer: Peer) -> bool:
        return peer.ident not in self._asked and peer.ident not in self._dead
