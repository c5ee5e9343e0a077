"""The finger table: shortcuts across the ring. Finger i of node n is the first node at or after n + 2^i.

Kept without repeats: one entry per distinct node, with the lowest index it serves, nearest first. Fingers only make
lookups faster; nothing breaks when they are missing or wrong. Source: the 2003 paper, section IV-D.
"""

from typing import NamedTuple

from gdht.core.ident import IDENT_BITS, distance
from gdht.core.peer import Peer


class Finger(NamedTuple):
    """number: 0 to 255, the lowest finger that this peer serves."""

    number: int
    peer: Peer


Fingers = tuple[Finger, ...]


def index_after(me: int, peer: Peer) -> int:
    """The first finger index whose start lies beyond a peer; 256 when there is none."""
    return distance(me, peer.ident).bit_length()


def fingers_from_successors(me: int, successors: tuple[Peer, ...]) -> Fingers:
    """The fingers that the successor list alone decides, without asking anybody."""
    fingers: list[Finger] = []
    index = 0
    for peer in successors:
        after = index_after(me, peer)
        if after > index:
            fingers.append(Finger(index, peer))
            index = after
    return tuple(fingers)


def with_local_fingers(fingers: Fingers, me: int, successors: tuple[Peer, ...]) -> Fingers:
    """The table with everything up to the last successor replaced by what the successor list says."""
    if not successors:
        return ()
    local = fingers_from_successors(me, successors)
    reach = index_after(me, successors[-1])
    known = {finger.peer.ident for finger in local}
    return local + tuple(f for f in fingers if f.number >= reach and f.peer.ident not in known)


def with_finger(fingers: Fingers, me: int, index: int, peer: Peer) -> Fingers:
    """The table with the node found for finger `index`, which serves every finger up to its own place."""
    after = index_after(me, peer)
    kept = [f for f in fingers if not index <= f.number < after and f.peer.ident != peer.ident]
    if after > index:
        kept.append(Finger(index, peer))
    return tuple(sorted(kept))


def fingers_before(fingers: Fingers, index: int) -> Fingers:
    """The table without finger `index` and those beyond it: no node lies there before the circle comes round."""
    return tuple(finger for finger in fingers if finger.number < index)


def without_peer(fingers: Fingers, peer: Peer) -> Fingers:
    """The table without a node that turned out dead; the same object when it was not in it."""
    if all(finger.peer.ident != peer.ident for finger in fingers):
        return fingers
    return tuple(finger for finger in fingers if finger.peer.ident != peer.ident)


def next_index(me: int, index: int, successors: tuple[Peer, ...]) -> int:
    """The finger to fix when `index` was next: those within the successor list need no lookup, 256 ends a round."""
    reach = index_after(me, successors[-1]) if successors else IDENT_BITS
    return index if reach <= index < IDENT_BITS else reach
