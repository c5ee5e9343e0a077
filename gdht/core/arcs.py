"""Arcs of the circle: which of them a node holds records of, how they are cut, and which keys lie in them."""

from itertools import pairwise
from typing import NamedTuple

from gdht.core.digests import BRANCH_BITS, LEAF_SHIFT, plain_ranges
from gdht.core.ident import IDENTS, distance, ident_bytes, in_open_closed
from gdht.core.ring import Ring

LEAF_WIDTH = 1 << LEAF_SHIFT
"""How many identifiers one leaf of a digest tree covers."""


class Arc(NamedTuple):
    """The places of (start, end], clockwise; the whole circle when both are the same."""

    start: int
    end: int

    @property
    def width(self) -> int:
        """How many identifiers lie in it."""
        return distance(self.start, self.end) or IDENTS

    def holds(self, ident: int) -> bool:
        """Whether a place lies in it."""
        return in_open_closed(ident, self.start, self.end)

    def covers(self, other: "Arc") -> bool:
        """Whether all of another arc lies in it."""
        return self.start == self.end or distance(self.start, other.start) + other.width <= self.width


def arcs_of(ring: Ring) -> list[Arc]:
    """The whole circle as a node sees it: first its own arc, then that of each known predecessor, then the rest.

    The index of an arc is what `gdht.core.placement.position` says of its places. While no predecessor is known, all
    of it is the own arc.
    """
    bounds = [ring.me.ident, *(peer.ident for peer in ring.predecessors), ring.me.ident]
    if len(bounds) == 2:
        return [Arc(ring.me.ident, ring.me.ident)]
    return [Arc(start, end) for end, start in pairwise(bounds)]


def split(arc: Arc, parts: int) -> list[Arc]:
    """Cut an arc of at least two places into at most so many parts of about the same width, in order.

    The cuts lie where branches of a digest tree begin, as far as there are any that wide: those are cheap to sum up.

    >>> split(Arc(3, 9), 3)
    [Arc(start=3, end=5), Arc(start=5, end=7), Arc(start=7, end=9)]
    """
    width, cuts = arc.width, [arc.start]
    unit = _branch_width(width // parts)
    for index in range(1, parts):
        cut = (arc.start + width * index // parts) % IDENTS
        if unit:
            cut = (cut // unit * unit - 1) % IDENTS
        if distance(arc.start, cuts[-1]) < distance(arc.start, cut) < width:
            cuts.append(cut)
    if len(cuts) == 1:
        cuts.append((arc.start + width // 2) % IDENTS)
    return [Arc(start, end) for start, end in zip(cuts, [*cuts[1:], arc.end], strict=True)]


def _branch_width(width: int) -> int:
    """The widest branch of a digest tree that is no wider than this; 0 when even a leaf is."""
    if width < LEAF_WIDTH:
        return 0
    levels = (width.bit_length() - 1 - LEAF_SHIFT) // BRANCH_BITS
    return LEAF_WIDTH << levels * BRANCH_BITS


def key_ranges(arc: Arc) -> list[tuple[bytes, bytes]]:
    """An arc as ranges (after, last] of keys in plain order, clockwise; an empty `after`: from the first key on."""
    ranges = plain_ranges(arc.start, arc.end)
    return [(ident_bytes(first - 1) if first else b"", ident_bytes(last)) for first, last in ranges]
