"""What a store holds in all, kept up to date with every record that comes and goes: records, bytes, digests of arcs."""

from collections.abc import Iterable, Mapping

from gdht.core.digests import Digest, DigestTree, leaf_of, pack, packed_of
from gdht.core.records import Record
from gdht.errors import StoreError

Place = tuple[int, int]
"""A leaf of the digests: replication and leaf."""


class Ledger:
    """Sums over the records of a store. overhead_bytes: what each counts beside its value.

    before: the leaves that changed, packed and as they were when it was last set to a new dictionary; None: not wanted.
    """

    def __init__(self, overhead_bytes: int) -> None:
        self.tree = DigestTree()
        self.size_bytes = self.count = 0
        self.before: dict[Place, int] | None = None
        self._overhead_bytes = overhead_bytes

    def recall(self, leaves: Iterable[tuple[int, int, Digest]]) -> None:
        """Begin with what was counted before: replication, leaf, digest."""
        for replication, leaf, digest in leaves:
            self.tree.add(replication, leaf, pack(digest))
            self.size_bytes += digest.size_bytes
            self.count += digest.records

    def record_bytes(self, record: Record) -> int:
        """What a record counts."""
        return len(record.value) + self._overhead_bytes

    def require_room(self, held: Record | None, new: Record, size_bytes_max: int) -> None:
        """See that a record may take the place of another, or of none: what makes a store smaller always may.

        Raises: StoreError.
        """
        grown_bytes = len(new.value) + self._overhead_bytes if held is None else len(new.value) - len(held.value)
        if self.size_bytes + grown_bytes > size_bytes_max and grown_bytes > 0:
            raise StoreError("full", f"the store is at its limit of {size_bytes_max} bytes")

    def replace(self, held: Record | None, new: Record | None) -> None:
        """One record takes the place of another of the same key, or of none; None: nothing does."""
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
        if held is None or new is None or held.replication != new.replication:
            if held is not None:
                self._add(held, -gone)
            if new is not None:
                self._add(new, come)
        else:
            self._add(new, come - gone)

    def _add(self, record: Record, difference: int) -> None:
        leaf, replication = leaf_of(record.key), record.replication
        before = self.tree.add(replication, leaf, difference)
        if self.before is not None:
            self.before.setdefault((replication, leaf), before)

    def recount(self, replication: int, leaf: int, right: Digest) -> None:
        """Correct what was counted in a leaf."""
        counted = self.tree.leaf(replication, leaf)
        if counted != right:
            before = self.tree.add(replication, leaf, pack(right) - pack(counted))
            if self.before is not None:
                self.before.setdefault((replication, leaf), before)
            self.size_bytes += right.size_bytes - counted.size_bytes
            self.count += right.records - counted.records

    def take_back(self, leaves: Mapping[Place, int], size_bytes: int, count: int) -> None:
        """Have it all as it was before; leaves: those that changed since, packed and as they were."""
        for (replication, leaf), before in leaves.items():
            self.tree.add(replication, leaf, before - self.tree.packed_leaf(replication, leaf))
        self.size_bytes, self.count = size_bytes, count
