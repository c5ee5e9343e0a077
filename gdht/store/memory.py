"""A store in memory: gone with the process.

A record lies there as its key and bytes: small, and nothing that Python's garbage collector has to look at, which would
stop a node with a million records again and again.
"""

from bisect import bisect_left, insort
from math import ceil
from struct import Struct

from gdht.core.digests import Digest
from gdht.core.ident import IDENT_BYTES
from gdht.core.messages import Entry
from gdht.core.records import Record, Version
from gdht.core.values import make
from gdht.store.buckets import Buckets
from gdht.store.ledger import Ledger
from gdht.store.merging import after_due, due_s, merged

RECORD_OVERHEAD_BYTES = 360
"""What a record costs beside its value, digests and all: measured (`benchmarks/memory.md`)."""

HEADER = Struct(">Q32sBBdd")
"""Stamp, coordinator, replication, is_tombstone, expires_at_s, tombstone_until_s; the value follows."""

LIFE = Struct(">Bd")
LIFE_AT = 8 + IDENT_BYTES + 1
"""is_tombstone and expires_at_s, and where in the header they stand."""


class MemoryStore:
    """Records by key, and keys by the second in which they, or their tombstones, are due.

    No method looks at many more records than it returns or drops.
    """

    is_durable = False
    error = ""
    failures = 0
    pending = None

    def __init__(self, bytes_max: int) -> None:
        self.size_bytes_max = bytes_max
        self._records = Buckets()
        self._due: dict[int, Buckets] = {}  # keys without anything
        self._seconds: list[int] = []  # in which something is due, in order
        self._ledger = Ledger(RECORD_OVERHEAD_BYTES, self.scan)
        self._notes: dict[str, bytes] = {}

    @property
    def size_bytes(self) -> int:
        return self._ledger.size_bytes

    @property
    def count(self) -> int:
        return self._ledger.count

    def record_bytes(self, record: Record) -> int:
        return len(record.value) + RECORD_OVERHEAD_BYTES

    def get(self, key: bytes, now_s: float) -> Record | None:
        data = self._records.get(key)
        if data is None:
            return None
        record = _unpacked(key, data)
        return record if record.expires_at_s > now_s and not record.is_tombstone else None

    def value(self, key: bytes, now_s: float) -> bytes | None:
        data = self._records.get(key)
        if data is None:
            return None
        is_tombstone, expires_at_s = LIFE.unpack_from(data, LIFE_AT)
        return data[HEADER.size :] if expires_at_s > now_s and not is_tombstone else None

    def held(self, key: bytes) -> Record | None:
        data = self._records.get(key)
        return None if data is None else _unpacked(key, data)

    def put(self, record: Record) -> Record:
        return self.put_over(self.held(record.key), record)

    def put_over(self, held: Record | None, record: Record) -> Record:
        kept = record if held is None else merged(held, record)
        if kept is not held:
            self._ledger.require_room(held, kept, self.size_bytes_max)
            self._replace(held, kept)
        return kept

    def remove(self, key: bytes, version: Version) -> bool:
        held = self.held(key)
        if held is None or held.version != version:
            return False
        self._replace(held, None)
        return True

    def scan(self, after: bytes, last: bytes, limit: int) -> list[Record]:
        return [_unpacked(key, data) for key, data in self._records.between(after, last, limit)]

    def entries(self, after: bytes, last: bytes, limit: int) -> list[Entry]:
        return [_entry(key, data) for key, data in self._records.between(after, last, limit)]

    def digest(self, start: int, end: int, replication: int) -> Digest:
        return self._ledger.digest(start, end, replication)

    def expire(self, now_s: float, limit: int) -> int:
        """Drop, or turn into tombstones, at most `limit` records whose time has come; returns how many.

        One goes when the second in which it is due is over, so that those of one second need no order.
        """
        gone = 0
        while self._seconds and self._seconds[0] <= now_s and gone < limit:
            held = self.held(self._due[self._seconds[0]].any_key())
            assert held is not None, "what is due is held"
            self._replace(held, after_due(held, now_s))
            gone += 1
        return gone

    def note(self, name: str) -> bytes:
        return self._notes.get(name, b"")

    def write_note(self, name: str, content: bytes) -> None:
        self._notes[name] = content

    def note_late(self, seconds: float) -> None:
        """There is no disk."""

    def close(self) -> None:
        """Nothing to let go of."""

    def _replace(self, held: Record | None, new: Record | None) -> None:
        """One record takes the place of another of the same key, or of none; None: nothing does."""
        ledger = self._ledger
        ledger.replace(held, new)
        old_s = 0 if held is None else ceil(due_s(held))
        new_s = 0 if new is None else ceil(due_s(new))
        if held is not None and (new is None or old_s != new_s):
            self._forget_due(held.key, old_s)
        if new is not None:
            self._records.set(new.key, _packed(new))
            if held is None or old_s != new_s:
                self._note_due(new.key, new_s)
        elif held is not None:
            self._records.pop(held.key)
        if ledger.unsettled:
            ledger.settle()

    def _note_due(self, key: bytes, second: int) -> None:
        keys = self._due.get(second)
        if keys is None:
            keys = self._due[second] = Buckets()
            insort(self._seconds, second)
        keys.set(key, b"")

    def _forget_due(self, key: bytes, second: int) -> None:
        keys = self._due[second]
        keys.pop(key)
        if not keys.count:
            del self._due[second]
            del self._seconds[bisect_left(self._seconds, second)]


def _packed(record: Record) -> bytes:
    _, value, (stamp, coordinator), expires_at_s, replication, tombstone_until_s, is_tombstone = record
    by = coordinator.to_bytes(IDENT_BYTES, "big")
    return HEADER.pack(stamp, by, replication, is_tombstone, expires_at_s, tombstone_until_s) + value


def _unpacked(key: bytes, data: bytes) -> Record:
    stamp, by, replication, is_tombstone, expires_at_s, tombstone_until_s = HEADER.unpack_from(data)
    version = make(Version, (stamp, int.from_bytes(by, "big")))
    value = data[HEADER.size :]
    return make(Record, (key, value, version, expires_at_s, replication, tombstone_until_s, is_tombstone == 1))


def _entry(key: bytes, data: bytes) -> Entry:
    record = _unpacked(key, data)
    return Entry(key, record.version, record.replication)
