"""The successor list: the nearest nodes clockwise, nearest first.

Only pure functions on tuples of peers. Whatever comes out of `successor_list` is ordered, has no node twice and never
holds the node itself; the ring's safety rests on that. Source: Zave 2017, sections 3 and 4.
"""

from collections.abc import Iterable

from gdht.core.ident import distance
from gdht.core.peer import Peer


def successor_list(me: int, peers: Iterable[Peer], length: int) -> tuple[Peer, ...]:
    """The longest proper successor list of node `me` that `peers` begin with, at most `length` long.

    peers: a first successor followed by its own list. The list ends where it comes round to `me` again, and before
    the first peer that is no further clockwise than the one before it (a stale or false entry).
    """
    chosen: list[Peer] = []
    reached = 0
    for peer in peers:
        step = distance(me, peer.ident)
        if step <= reached or len(chosen) == length:
            break
        chosen.append(peer)
        reached = step
    return tuple(chosen)


def covering(start: int, peers: tuple[Peer, ...], ident: int) -> int | None:
    """The index of the first of `peers` at or after `ident`, walking clockwise from `start`; None beyond the last."""
    wanted = distance(start, ident)
    if wanted == 0:
        return None
    for index, peer in enumerate(peers):
        if wanted <= distance(start, peer.ident):
            return index
    return None
