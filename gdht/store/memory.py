"""A store in memory: gone with the process."""

from bisect import bisect_left, bisect_right, insort
from math import ceil

from gdht.core.digests import NOTHING, Digest, DigestTree, digest_of, leaf_of
from gdht.core.ident import ident_bytes
from gdht.core.messages import Entry
from gdht.core.records import Record, Version
from gdht.errors import StoreError
from gdht.store.merging import after_due, due_s, key_before, merged

RECORD_OVERHEAD_BYTES = 540
"""What a record costs beside its value: key, version, dictionary and list entries, measured on 64-bit CPython."""


def bucket_index(key: bytes) -> int:
    """Which bucket a key belongs to: its first 12 bits."""
    return key[0] << 4 | key[1] >> 4


class Bucket:
    """The records whose keys begin with the same 12 bits, and these keys in order."""

    __slots__ = ("keys", "records")

    def __init__(self) -> None:
        self.records: dict[bytes, Record] = {}
        self.keys: list[bytes] = []


class MemoryStore:
    """Records in buckets by key, so that a bucket is large only when keys were chosen to make it so.

    Their keys are kept a second time by the second in which they, or their tombstones, expire. What is in order stays
    in order: no method sorts, or looks at more records than it returns or drops.
    """

    is_durable = False
    error = ""
    failures = 0
    pending = None

    def __init__(self, bytes_max: int) -> None:
        self.size_bytes_max = bytes_max
        self.size_bytes = 0
        self.count = 0
        self._buckets: dict[int, Bucket] = {}
        self._indexes: list[int] = []  # of the buckets, in order
        self._due: dict[int, dict[bytes, None]] = {}  # dictionaries for sets: their order is that of insertion
        self._seconds: list[int] = []  # in which something is due, in order
        self._tree = DigestTree()
        self._notes: dict[str, bytes] = {}

    def record_bytes(self, record: Record) -> int:
        return len(record.value) + RECORD_OVERHEAD_BYTES

    def get(self, key: bytes, now_s: float) -> Record | None:
        record = self.held(key)
        return record if record and record.lives(now_s) else None

    def held(self, key: bytes) -> Record | None:
        bucket = self._buckets.get(bucket_index(key))
        return bucket.records.get(key) if bucket else None

    def put(self, record: Record) -> Record:
        held = self.held(record.key)
        kept = merged(held, record)
        if kept is held:
            return kept
        grown_bytes = self.record_bytes(kept) - (self.record_bytes(held) if held else 0)
        if grown_bytes > 0 and self.size_bytes + grown_bytes > self.size_bytes_max:
            raise StoreError("full", f"the store is at its limit of {self.size_bytes_max} bytes")
        self._replace(held, kept)
        return kept

    def remove(self, key: bytes, version: Version) -> bool:
        held = self.held(key)
        if held is None or held.version != version:
            return False
        self._replace(held, None)
        return True

    def scan(self, after: bytes, last: bytes, limit: int) -> list[Record]:
        found: list[Record] = []
        begin = bisect_left(self._indexes, bucket_index(after)) if after else 0
        end = bisect_right(self._indexes, bucket_index(last))
        for index in self._indexes[begin:end]:
            bucket = self._buckets[index]
            first = bisect_right(bucket.keys, after)
            stop = min(bisect_right(bucket.keys, last), first + limit - len(found))
            found += [bucket.records[key] for key in bucket.keys[first:stop]]
            if len(found) == limit:
                break
        return found

    def entries(self, after: bytes, last: bytes, limit: int) -> list[Entry]:
        return [Entry(record.key, record.version, record.replication) for record in self.scan(after, last, limit)]

    def digest(self, start: int, end: int, replication: int) -> Digest:
        digest, edges = self._tree.cover(start, end, replication)
        for first, last in edges:
            for record in self.scan(key_before(ident_bytes(first)), ident_bytes(last), self.count):
                if record.replication >= replication:
                    digest = digest.plus(digest_of(record, self.record_bytes(record)))
        return digest

    def expire(self, now_s: float, limit: int) -> int:
        """Drop, or turn into tombstones, at most `limit` records whose time has come; returns how many.

        One goes when the second in which it is due is over, so that those of one second need no order.
        """
        gone = 0
        while self._seconds and self._seconds[0] <= now_s and gone < limit:
            keys = self._due[self._seconds[0]]
            held = self.held(next(reversed(keys)))
            assert held is not None, "what is due is held"
            self._replace(held, after_due(held, now_s))
            gone += 1
        return gone

    def note(self, name: str) -> bytes:
        return self._notes.get(name, b"")

    def write_note(self, name: str, content: bytes) -> None:
        self._notes[name] = content

    def close(self) -> None:
        """Nothing to let go of."""

    def _replace(self, held: Record | None, new: Record | None) -> None:
        """One record takes the place of another of the same key, or of none; None: nothing does."""
        for record, sign in ((held, -1), (new, 1)):
            if record is not None:
                size_bytes = self.record_bytes(record)
                digest = digest_of(record, size_bytes)
                gone, come = (digest, NOTHING) if sign < 0 else (NOTHING, digest)
                self._tree.change(record.replication, leaf_of(record.key), gone, come)
                self.size_bytes += sign * size_bytes
                self.count += sign
        if held is not None:
            self._forget_due(held)
        if held is not None and new is None:
            self._drop(held.key)
        if new is not None:
            self._keep(new)
            self._note_due(new)

    def _keep(self, record: Record) -> None:
        index = bucket_index(record.key)
        bucket = self._buckets.get(index)
        if bucket is None:
            bucket = self._buckets[index] = Bucket()
            insort(self._indexes, index)
        if record.key not in bucket.records:
            insort(bucket.keys, record.key)
        bucket.records[record.key] = record

    def _drop(self, key: bytes) -> None:
        index = bucket_index(key)
        bucket = self._buckets[index]
        del bucket.records[key]
        del bucket.keys[bisect_left(bucket.keys, key)]
        if not bucket.keys:
            del self._buckets[index]
            del self._indexes[bisect_left(self._indexes, index)]

    def _note_due(self, record: Record) -> None:
        second = ceil(due_s(record))
        keys = self._due.get(second)
        if keys is None:
            keys = self._due[second] = {}
            insort(self._seconds, second)
        keys[record.key] = None

    def _forget_due(self, held: Record) -> None:
        second = ceil(due_s(held))
        keys = self._due[second]
        del keys[held.key]
        if not keys:
            del self._due[second]
            del self._seconds[bisect_left(self._seconds, second)]
