"""Digests of sets of records: sums by which two nodes find out where they differ without naming what they hold.

Each record counts as one hash of key, version and replication, and a set as the sum of them, so that one record comes
and goes in the same few steps however many there are. `DigestTree` keeps the sums of the arcs whose identifiers begin
alike, in a tree of 16 branches at each of four levels; an arc of any bounds is some of those, and what is left at its
two ends.
"""

from collections.abc import Iterator
from hashlib import blake2b
from struct import Struct
from typing import NamedTuple

from gdht.core.ident import IDENT_BYTES, IDENTS
from gdht.core.records import Record, Version
from gdht.core.values import make

TOTAL_BYTES = 16
TOTALS = 1 << 8 * TOTAL_BYTES
"""Sums are counted modulo this: two different sets of records have the same one by chance once in 2^128."""

LEAF_BITS = 16
"""The records whose identifiers begin with the same so many bits share a leaf."""

BRANCH_BITS = 4
BRANCH_MASK = (1 << BRANCH_BITS) - 1
LEAVES = 1 << LEAF_BITS
LEAF_SHIFT = 256 - LEAF_BITS


class Digest(NamedTuple):
    """A set of records in short. total: the sum of their hashes. tombstones: how many of `records` are ones."""

    records: int = 0
    total: int = 0
    tombstones: int = 0
    size_bytes: int = 0

    def plus(self, other: "Digest") -> "Digest":
        """The digest of both sets together, which have no record in common."""
        return Digest(
            self.records + other.records,
            (self.total + other.total) % TOTALS,
            self.tombstones + other.tombstones,
            self.size_bytes + other.size_bytes,
        )

    def minus(self, other: "Digest") -> "Digest":
        """The digest of this set without another one, all of which is in it."""
        return Digest(
            self.records - other.records,
            (self.total - other.total) % TOTALS,
            self.tombstones - other.tombstones,
            self.size_bytes - other.size_bytes,
        )

    @property
    def total_bytes(self) -> bytes:
        """The sum as it travels: 16 bytes."""
        return self.total.to_bytes(TOTAL_BYTES, "big")


NOTHING = Digest()

FIELD_BITS = 48
FIELD_MASK = (1 << FIELD_BITS) - 1
"""In the tree a digest is one number, so that one addition adds all its fields: the sum on top, where it may grow or
become negative without touching the others; then sizes, tombstones and records, in so many bits each."""


TOTAL_SHIFT, SIZE_SHIFT, TOMBSTONES_SHIFT = 3 * FIELD_BITS, 2 * FIELD_BITS, FIELD_BITS


def pack(digest: Digest) -> int:
    """A digest as one number, which may be added to others and subtracted from them."""
    count, total, tombstones, size_bytes = digest
    return total << TOTAL_SHIFT | size_bytes << SIZE_SHIFT | tombstones << TOMBSTONES_SHIFT | count


def unpack(packed: int) -> Digest:
    """The digest of a sum of such numbers."""
    fields = (
        packed & FIELD_MASK,
        (packed >> TOTAL_SHIFT) % TOTALS,
        packed >> TOMBSTONES_SHIFT & FIELD_MASK,
        packed >> SIZE_SHIFT & FIELD_MASK,
    )
    return make(Digest, fields)


HASHED = Struct(f">{IDENT_BYTES}sQ{IDENT_BYTES}sB")
"""What is hashed of a record: key, stamp, coordinator, replication."""

_hash = blake2b(digest_size=TOTAL_BYTES)  # to be copied: a new one costs more


def hash_bytes(hashed: bytes) -> int:
    """What one record adds to the sum, from the bytes of HASHED."""
    one = _hash.copy()
    one.update(hashed)
    return int.from_bytes(one.digest(), "big")


def entry_hash(key: bytes, version: Version, replication: int) -> int:
    """What one record adds to the sum. Its value is not looked at: one version has one value."""
    stamp, coordinator = version
    return hash_bytes(HASHED.pack(key, stamp, coordinator.to_bytes(IDENT_BYTES, "big"), replication))


def digest_of(record: Record, size_bytes: int) -> Digest:
    """The digest of one record. size_bytes: what it counts against the store's limit."""
    return Digest(1, entry_hash(record.key, record.version, record.replication), int(record.is_tombstone), size_bytes)


def packed_of(record: Record, size_bytes: int) -> int:
    """The same as one number."""
    key, _, (stamp, coordinator), _, replication, _, _ = record
    one = _hash.copy()  # `entry_hash`, spelled out: every put does this
    one.update(HASHED.pack(key, stamp, coordinator.to_bytes(IDENT_BYTES, "big"), replication))
    total = int.from_bytes(one.digest(), "big")
    return total << TOTAL_SHIFT | size_bytes << SIZE_SHIFT | record.is_tombstone << TOMBSTONES_SHIFT | 1


def leaf_of(key: bytes) -> int:
    """The leaf that a key belongs to: its first 16 bits."""
    return key[0] << 8 | key[1]


class Cover(NamedTuple):
    """An arc: the digest of the whole leaves in it, and the ranges [first, last] of identifiers left at its ends."""

    digest: Digest
    edges: tuple[tuple[int, int], ...]


Levels = tuple[dict[int, int], dict[int, int], dict[int, int], dict[int, int]]
"""Packed digests by prefix, of one level after the other; the last one has the leaves."""


class DigestTree:
    """Digests by replication and by leading bits of the identifier.

    Records of different replication are kept apart, since the nodes of one arc share only those with enough copies.
    """

    def __init__(self) -> None:
        self._levels: dict[int, Levels] = {}  # by replication

    def change(self, replication: int, leaf: int, gone: Digest, new: Digest) -> None:
        """Replace part of what a leaf holds: `gone` must be in it."""
        self.add(replication, leaf, pack(new) - pack(gone))

    def add(self, replication: int, leaf: int, difference: int) -> int:
        """Add packed digests to what a leaf holds, or take such away; returns what it held before, packed."""
        levels = self._levels.get(replication)
        if levels is None:
            levels = self._levels[replication] = ({}, {}, {}, {})
        one, two, three, leaves = levels
        before = leaves.get(leaf, 0)
        after = before + difference
        if not after & FIELD_MASK:
            _take_out(levels, leaf, difference)
            return before
        leaves[leaf] = after  # what follows is a loop over the levels, spelled out: every put does this
        prefix = leaf >> BRANCH_BITS
        three[prefix] = three.get(prefix, 0) + difference
        prefix >>= BRANCH_BITS
        two[prefix] = two.get(prefix, 0) + difference
        prefix >>= BRANCH_BITS
        one[prefix] = one.get(prefix, 0) + difference
        return before

    def leaf(self, replication: int, leaf: int) -> Digest:
        """What one leaf holds."""
        levels = self._levels.get(replication)
        return unpack(levels[-1].get(leaf, 0)) if levels else NOTHING

    def sums(self, leaf: int) -> dict[int, int]:
        """What one leaf holds, packed, by replication."""
        found = ((replication, levels[-1].get(leaf, 0)) for replication, levels in self._levels.items())
        return {replication: packed for replication, packed in found if packed}

    def records(self, leaf: int) -> int:
        """How many records one leaf holds, of any replication."""
        return sum(packed & FIELD_MASK for packed in self.sums(leaf).values())

    def leaves(self) -> Iterator[tuple[int, int, Digest]]:
        """Every leaf that holds something: replication, leaf, digest."""
        for replication, levels in self._levels.items():
            for leaf, packed in levels[-1].items():
                yield replication, leaf, unpack(packed)

    def cover(self, start: int, end: int, replication: int = 1) -> Cover:
        """The arc (start, end] of records with at least so much replication; start = end: the whole circle."""
        chosen = [levels for copies, levels in self._levels.items() if copies >= replication]
        if start == end:
            start = end = IDENTS - 1  # where the whole circle cuts no leaf
        packed = 0
        edges: list[tuple[int, int]] = []
        for first, last in plain_ranges(start, end):
            begin, stop = -(-first >> LEAF_SHIFT), last + 1 >> LEAF_SHIFT
            if begin >= stop:
                edges += _cut(first, last)
                continue
            edges += _cut(first, (begin << LEAF_SHIFT) - 1) + _cut(stop << LEAF_SHIFT, last)
            packed += sum(_sum(levels, begin, stop) for levels in chosen)
        return Cover(unpack(packed), tuple(edges) if chosen else ())


def plain_ranges(start: int, end: int) -> list[tuple[int, int]]:
    """The arc (start, end] as ranges [first, last] that do not cross zero; start = end: the whole circle.

    >>> plain_ranges(3, 9), plain_ranges(9, 3) == [(10, IDENTS - 1), (0, 3)]
    ([(4, 9)], True)
    """
    if start < end:
        return [(start + 1, end)]
    return [*_cut(start + 1, IDENTS - 1), (0, end)]


def _cut(first: int, last: int) -> list[tuple[int, int]]:
    return [(first, last)] if first <= last else []


def _take_out(levels: Levels, leaf: int, difference: int) -> None:
    """Have a change leave nothing in a leaf, nor in the branches that held only that."""
    prefix = leaf
    for digests in reversed(levels):
        packed = digests.get(prefix, 0) + difference
        if packed & FIELD_MASK:
            digests[prefix] = packed
        else:
            digests.pop(prefix, None)
        prefix >>= BRANCH_BITS


def _sum(levels: Levels, begin: int, stop: int) -> int:
    """The packed digest of the leaves from `begin` to before `stop`: whole branches, and what is left of them at both
    ends, from the leaves up.
    """
    packed = 0
    top, *below = levels
    for digests in reversed(below):
        while begin & BRANCH_MASK and begin < stop:
            packed += digests.get(begin, 0)
            begin += 1
        while stop & BRANCH_MASK and begin < stop:
            stop -= 1
            packed += digests.get(stop, 0)
        begin >>= BRANCH_BITS
        stop >>= BRANCH_BITS
    return packed + sum(top.get(prefix, 0) for prefix in range(begin, stop))
