"""Digests below the leaves of a digest tree, for where keys were chosen to share one: that must not slow a node down.

A crowded leaf is divided by four bits at a time into parts of few records each. All of it is kept in numbers, which
Python's garbage collector does not look at.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

from gdht.core.digests import FIELD_MASK, LEAF_SHIFT
from gdht.core.ident import ident_bytes, key_ident
from gdht.core.records import Record

PART_MAX = 32
"""Records of a part that is not divided: so many may have to be read where an arc ends."""

STEP_BITS = 4
STEPS = 1 << STEP_BITS

REPLICATION_BITS = 8
LOW_MASK = (1 << LEAF_SHIFT) - 1

WHOLE = 1
"""A part is a number: a 1, and the bits below those of the leaf that all identifiers in it share."""

Count = Callable[[Record], int]
"""The packed digest of one record."""


class Crowd:
    """The packed digests (`gdht.core.digests`) of one leaf and its parts, by replication. first: where it begins."""

    def __init__(self, leaf: int) -> None:
        self.first = leaf << LEAF_SHIFT
        self._sums: dict[int, int] = {}  # by part and replication
        self._divided: set[int] = set()  # the parts that are
        self._copies: dict[int, None] = {}  # the replications that there have been

    @property
    def records(self) -> int:
        """How many records it has."""
        return self._records(WHOLE)

    def bounds(self, part: int) -> tuple[int, int]:
        """The first and the last identifier of a part."""
        bits = LEAF_SHIFT - part.bit_length() + 1
        first = self.first | part << bits & LOW_MASK
        return first, first | (1 << bits) - 1

    def smallest(self, key: bytes) -> int:
        """The undivided part in which a key lies."""
        *_, part = self._path(key)
        return part

    def sums(self, part: int) -> dict[int, int]:
        """What a part holds, by replication."""
        found = ((copies, self._sums.get(part << REPLICATION_BITS | copies, 0)) for copies in self._copies)
        return {copies: packed for copies, packed in found if packed}

    def add(self, key: bytes, replication: int, difference: int) -> bool:
        """Add packed digests to all parts in which a key lies, or take such away; whether one has become too large."""
        self._copies[replication] = None
        part = WHOLE
        for part in self._path(key):
            self._add(part, replication, difference)
            if part in self._divided and self._records(part) <= PART_MAX // 2:
                self._unite(part)
        return self._records(part) > PART_MAX

    def divide(self, part: int, records: Iterable[Record], count: Count) -> None:
        """Divide a part as far as is needed. records: all that it has, in order of their keys."""
        self._divide(part, Ahead(records), count)

    def cover(self, first: int, last: int, replication: int, edges: list[tuple[int, int]], part: int = WHOLE) -> int:
        """The digest of the parts that lie in [first, last] as a whole; appends what is left of it to `edges`.

        Of records with at least so much replication.
        """
        begin, end = self.bounds(part)
        sums = self.sums(part) if first <= end and begin <= last else {}
        if not sums:
            return 0
        if first <= begin and end <= last:
            return sum(packed for copies, packed in sums.items() if copies >= replication)
        if part not in self._divided:
            edges.append((max(first, begin), min(last, end)))
            return 0
        return sum(self.cover(first, last, replication, edges, child) for child in _children(part))

    def _path(self, key: bytes) -> Iterator[int]:
        """The parts in which a key lies, from the whole leaf to an undivided one."""
        low, bits = key_ident(key) & LOW_MASK | 1 << LEAF_SHIFT, LEAF_SHIFT
        part = WHOLE
        yield part
        while part in self._divided:
            bits -= STEP_BITS
            part = low >> bits
            yield part

    def _records(self, part: int) -> int:
        return sum(packed & FIELD_MASK for packed in self.sums(part).values())

    def _add(self, part: int, replication: int, difference: int) -> None:
        self._set(part, replication, self._sums.get(part << REPLICATION_BITS | replication, 0) + difference)

    def _set(self, part: int, replication: int, packed: int) -> None:
        if packed & FIELD_MASK:
            self._sums[part << REPLICATION_BITS | replication] = packed
        else:
            self._sums.pop(part << REPLICATION_BITS | replication, None)

    def _divide(self, part: int, ahead: "Ahead", count: Count) -> None:
        first, last = self.bounds(part)
        records = ahead.up_to(ident_bytes(last), PART_MAX + 1)
        sums: dict[int, int] = {}
        if len(records) <= PART_MAX or first == last:
            for record in records:
                sums[record.replication] = sums.get(record.replication, 0) + count(record)
            ahead.skip(len(records))
        else:
            self._divided.add(part)
            for child in _children(part):
                self._divide(child, ahead, count)
                for copies, packed in self.sums(child).items():
                    sums[copies] = sums.get(copies, 0) + packed
        self._copies.update(dict.fromkeys(sums))
        for copies in self._copies:
            self._set(part, copies, sums.get(copies, 0))

    def _unite(self, part: int) -> None:
        """Have a part no longer be divided."""
        self._divided.discard(part)
        for child in _children(part):
            if child in self._divided:
                self._unite(child)
            for copies in self._copies:
                self._sums.pop(child << REPLICATION_BITS | copies, None)


def _children(part: int) -> range:
    return range(part << STEP_BITS, (part << STEP_BITS) + STEPS)


class Ahead:
    """Records in order, of which some are looked at before they are taken."""

    def __init__(self, records: Iterable[Record]) -> None:
        self._left = iter(records)
        self._seen: deque[Record] = deque()

    def up_to(self, last: bytes, limit: int) -> list[Record]:
        """The next ones with keys up to `last`, at most `limit`; none is taken."""
        self._seen.extend(islice(self._left, limit - len(self._seen)) if len(self._seen) < limit else ())
        return [record for record in islice(self._seen, limit) if record.key <= last]

    def skip(self, count: int) -> None:
        """Take so many."""
        for _ in range(count):
            self._seen.popleft()
