"""The peers that this node lost: kept for a while and asked now and then, so that a partition can be noticed to end."""

from typing import NamedTuple

from gdht.core.peer import Peer

LOST_MAX = 32
"""How many lost peers are remembered; the one lost first makes room."""

REMEMBERED_S = 86_400.0
"""A peer that has been gone for so long is forgotten."""


class Lost(NamedTuple):
    """A lost peer. since_s: by the node's monotonic clock. elsewhere: it answers, from a ring that has not got us."""

    peer: Peer
    since_s: float
    elsewhere: bool = False


class LostPeers:
    """At most LOST_MAX peers, in the order in which they are to be asked; every other turn is a second ring's."""

    def __init__(self) -> None:
        self._lost: dict[int, Lost] = {}
        self._turns = 0

    @property
    def peers(self) -> tuple[Peer, ...]:
        """All of them, the next to be asked first."""
        return tuple(lost.peer for lost in self._lost.values())

    @property
    def second_ring(self) -> tuple[Peer, ...]:
        """Those that, when last asked, were in another ring of our name."""
        return tuple(lost.peer for lost in self._lost.values() if lost.elsewhere)

    def add(self, peer: Peer, now_s: float) -> None:
        """Remember a peer; one that is known already keeps its turn."""
        known = self._lost.get(peer.ident)
        if known is None or known.peer != peer:
            self._make_room(peer)
            self._lost[peer.ident] = Lost(peer, now_s)

    def suspect(self, peer: Peer, now_s: float) -> None:
        """Remember that a peer is in a ring that has not got us."""
        self.add(peer, now_s)
        self._lost[peer.ident] = self._lost[peer.ident]._replace(elsewhere=True)

    def acquit(self, peer: Peer) -> None:
        """It does not answer any more: nobody knows where it is."""
        if peer.ident in self._lost:
            self._lost[peer.ident] = self._lost[peer.ident]._replace(elsewhere=False)

    def forget(self, peer: Peer) -> None:
        """It is found, or not worth asking any more."""
        self._lost.pop(peer.ident, None)

    def take_turn(self, now_s: float) -> Peer | None:
        """The peer to ask now; it goes to the end of the queue. None when there is none."""
        self._lost = {ident: lost for ident, lost in self._lost.items() if now_s - lost.since_s < REMEMBERED_S}
        if not self._lost:
            return None
        self._turns += 1
        elsewhere = [ident for ident, lost in self._lost.items() if lost.elsewhere and self._turns % 2]
        ident = next(iter(elsewhere or self._lost))
        lost = self._lost[ident] = self._lost.pop(ident)
        return lost.peer

    def _make_room(self, peer: Peer) -> None:
        if peer.ident not in self._lost and len(self._lost) >= LOST_MAX:
            del self._lost[min(self._lost.values(), key=lambda lost: lost.since_s).peer.ident]
