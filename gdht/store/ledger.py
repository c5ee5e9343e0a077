"""What a store holds in all, kept up to date with every record that comes and goes: records, bytes, digests of arcs."""

from collections.abc import Callable, Iterable, Iterator, Sequence

from gdht.core import crowds
from gdht.core.crowds import Crowd
from gdht.core.digests import FIELD_MASK, LEAF_SHIFT, Digest, DigestTree, leaf_of, pack, packed_of, unpack
from gdht.core.ident import ident_bytes
from gdht.core.records import Record
from gdht.errors import StoreError
from gdht.store.merging import key_before

CROWD_MAX = 512
CROWD_MIN = 128
"""A leaf with more records is divided, unless most are like it; one with fewer is so no longer."""

CROWD_SHARE_BITS = 14
"""Nor is one with fewer than a 2^14th part of all records: four times what a leaf has by chance."""

CROWD_HINT = 50
"""Only in leaves that had so many records of one replication the others are counted, too."""

SCAN_RECORDS = 500

Change = tuple[bytes, int, int]
"""What one record did to a leaf: its key, its replication, the packed digest that was added."""

Scan = Callable[[bytes, bytes, int], Sequence[Record]]
"""At most `limit` records with after < key <= last, in order of keys."""


class Ledger:
    """Sums over the records of a store. overhead_bytes: what each counts beside its value; scan: reads the store.

    changes: all that was added since it was last set to a new list; None: not wanted. unsettled: keys in what has to be
    divided.
    """

    def __init__(self, overhead_bytes: int, scan: Scan) -> None:
        self.size_bytes = self.count = 0
        self.changes: list[Change] | None = None
        self.unsettled: list[bytes] = []
        self._overhead_bytes = overhead_bytes
        self._scan = scan
        self._tree = DigestTree()
        self._crowds: dict[int, Crowd] = {}

    def recall(self, leaves: Iterable[tuple[int, int, Digest]]) -> None:
        """Begin with what was counted before: replication, leaf, digest."""
        for replication, leaf, digest in leaves:
            self._tree.add(replication, leaf, pack(digest))
            self.size_bytes += digest.size_bytes
            self.count += digest.records

    def divide_crowds(self) -> None:
        """Divide what was too large from the beginning; reads all of it, which may take seconds."""
        for _, leaf, digest in list(self._tree.leaves()):
            if digest.records > CROWD_HINT and self._is_crowded(leaf):
                self._divide_leaf(leaf)

    # Changes -------------------------------------------------------------------------------------------------------

    def require_room(self, held: Record | None, new: Record, size_bytes_max: int) -> None:
        """See that a record may take the place of another, or of none: what makes a store smaller always may.

        Raises: StoreError.
        """
        grown_bytes = len(new.value) + self._overhead_bytes if held is None else len(new.value) - len(held.value)
        if self.size_bytes + grown_bytes > size_bytes_max and grown_bytes > 0:
            raise StoreError("full", f"the store is at its limit of {size_bytes_max} bytes")

    def replace(self, held: Record | None, new: Record | None) -> None:
        """One record takes the place of another of the same key, or of none; None: nothing does.

        When anything is `unsettled` then, the store is to have the record first, and to call `settle` next.
        """
        gone = come = 0
        if held is not None:
            size_bytes = len(held.value) + self._overhead_bytes
            gone = packed_of(held, size_bytes)
            self.size_bytes -= size_bytes
            self.count -= 1
        if new is not None:
            size_bytes = len(new.value) + self._overhead_bytes
            come = packed_of(new, size_bytes)
            self.size_bytes += size_bytes
            self.count += 1
        if held is not None and (new is None or held.replication != new.replication):
            self._add(held.key, held.replication, -gone)
            gone = 0
        if new is not None:
            self._add(new.key, new.replication, come - gone)

    def counted(self, record: Record) -> int:
        """The packed digest of a record."""
        return packed_of(record, len(record.value) + self._overhead_bytes)

    def _add(self, key: bytes, replication: int, difference: int) -> None:
        leaf = key[0] << 8 | key[1]  # `leaf_of`, spelled out: every put does this
        before = self._tree.add(replication, leaf, difference)
        if self.changes is not None:
            self.changes.append((key, replication, difference))
        if self._crowds and leaf in self._crowds:
            self._add_to_crowd(leaf, key, replication, difference)
        elif before & FIELD_MASK >= CROWD_HINT and self._is_crowded(leaf):
            self.unsettled.append(key)

    def _add_to_crowd(self, leaf: int, key: bytes, replication: int, difference: int) -> None:
        crowd = self._crowds[leaf]
        if crowd.add(key, replication, difference):
            self.unsettled.append(key)
        if crowd.records < CROWD_MIN:
            del self._crowds[leaf]

    def _is_crowded(self, leaf: int) -> bool:
        return self._tree.records(leaf) > max(CROWD_MAX, self.count >> CROWD_SHARE_BITS)

    def settle(self) -> None:
        """Divide what has become too large."""
        while self.unsettled:
            key = self.unsettled.pop()
            crowd = self._crowds.get(leaf_of(key))
            if crowd is None:
                self._divide_leaf(leaf_of(key))
                continue
            part = crowd.smallest(key)
            if sum(map(_records, crowd.sums(part).values())) > crowds.PART_MAX:
                crowd.divide(part, list(_read(self._scan, *crowd.bounds(part))), self.counted)

    def _divide_leaf(self, leaf: int) -> None:
        """Have a leaf be a crowd; only when all of it has been read, for that may find damage and recount."""
        crowd = Crowd(leaf)
        crowd.divide(crowds.WHOLE, _read(self._scan, *crowd.bounds(crowds.WHOLE)), self.counted)
        self._crowds[leaf] = crowd

    def take_back(self, changes: Sequence[Change]) -> None:
        """Undo the last changes."""
        self.changes = None
        for key, replication, difference in reversed(changes):
            self._add(key, replication, -difference)
        self.unsettled.clear()

    def recount(self, key: bytes, scan: Scan) -> None:
        """Count anew what is around a key, which went without being counted. scan: what is there now."""
        leaf = leaf_of(key)
        first, last, counted = leaf << LEAF_SHIFT, (leaf + 1 << LEAF_SHIFT) - 1, self._tree.sums(leaf)
        if leaf in self._crowds:
            crowd = self._crowds[leaf]
            part = crowd.smallest(key)
            (first, last), counted = crowd.bounds(part), crowd.sums(part)
        right: dict[int, int] = {}
        for record in _read(scan, first, last):
            right[record.replication] = right.get(record.replication, 0) + self.counted(record)
        for replication in sorted(counted.keys() | right.keys()):
            before, after = counted.get(replication, 0), right.get(replication, 0)
            if before != after:
                self._add(key, replication, after - before)
                self.size_bytes += unpack(after).size_bytes - unpack(before).size_bytes
                self.count += unpack(after).records - unpack(before).records

    # Digests -------------------------------------------------------------------------------------------------------

    def digest(self, start: int, end: int, replication: int) -> Digest:
        """The records of the arc (start, end] with at least so much replication; start = end: the whole circle."""
        cover = self._tree.cover(start, end, replication)
        packed = 0
        edges: list[tuple[int, int]] = []
        for leaf, first, last in _by_leaf(cover.edges):
            if leaf in self._crowds:
                packed += self._crowds[leaf].cover(first, last, replication, edges)
            else:
                edges.append((first, last))
        for first, last in edges:
            found = _read(self._scan, first, last)
            packed += sum(self.counted(record) for record in found if record.replication >= replication)
        return cover.digest.plus(unpack(packed))

    def leaves(self, changes: Iterable[Change]) -> dict[tuple[int, int], Digest]:
        """The digests of the leaves that were changed, by replication and leaf."""
        places = {(replication, leaf_of(key)) for key, replication, _ in changes}
        return {place: self._tree.leaf(*place) for place in places}


def _records(packed: int) -> int:
    return packed & FIELD_MASK


def _read(scan: Scan, first: int, last: int) -> Iterator[Record]:
    """All that lies in [first, last], in order."""
    after, last_key = key_before(ident_bytes(first)), ident_bytes(last)
    while found := scan(after, last_key, SCAN_RECORDS):
        yield from found
        if len(found) < SCAN_RECORDS:
            return
        after = found[-1].key


def _by_leaf(ranges: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int, int]]:
    """Ranges [first, last] cut where another leaf begins, with the leaf of each."""
    for first, last in ranges:
        for leaf in range(first >> LEAF_SHIFT, (last >> LEAF_SHIFT) + 1):
            yield leaf, max(first, leaf << LEAF_SHIFT), min(last, (leaf + 1 << LEAF_SHIFT) - 1)
