"""Which node holds what: the owner of a key and the `replication - 1` nodes that follow it."""

import zlib
from enum import Enum
from functools import lru_cache

from gdht.core.ident import ident_bytes, in_open_closed
from gdht.core.peer import Peer
from gdht.core.ring import Ring


class Role(Enum):
    """What a record is to the node that holds it."""

    OWNED = "owned"
    REPLICA = "replica"
    MISPLACED = "misplaced"


def position(ring: Ring, ident: int) -> int:
    """How many nodes this one comes after the owner of `ident`: 0 is the owner, 1 its first replica, and so on.

    Counted along the known predecessors; beyond the last of them, the answer is a lower bound.
    """
    if not ring.predecessors:
        return 0
    for index, predecessor in enumerate(ring.predecessors):
        if in_open_closed(ident, predecessor.ident, ring.me.ident):
            return index
    return len(ring.predecessors)


def role(ring: Ring, ident: int, replication: int) -> Role:
    """What a record with this identifier and replication is to this node."""
    index = position(ring, ident)
    if index == 0:
        return Role.OWNED
    return Role.REPLICA if index < replication else Role.MISPLACED


def copies_in(ring: Ring, replication: int) -> int:
    """How many copies there are of a record: no more than nodes, where this node knows that there are no more."""
    return min(replication, len(ring.successors) + 1) if ring.spans else replication


def quorum(word: str, replicas: int) -> int:
    """How many of `replicas` must have stored a record before a put has succeeded. word: one, majority or all.

    >>> quorum("one", 3), quorum("majority", 3), quorum("all", 3), quorum("majority", 1)
    (1, 2, 3, 1)
    """
    return {"one": 1, "majority": replicas // 2 + 1, "all": replicas}[word]


@lru_cache(maxsize=1024)  # the same few owners stand before most of what is put
def view_of(peers: tuple[Peer, ...]) -> int:
    """A checksum of who holds the copies beside the owner, in order: CRC-32 of their identifiers; 0 of nobody."""
    return zlib.crc32(b"".join([ident_bytes(peer.ident) for peer in peers]))
