"""A store in memory: gone with the process."""

from bisect import bisect_left, bisect_right, insort
from math import ceil

from gdht.core.records import Record, Version
from gdht.errors import StoreError

RECORD_OVERHEAD_BYTES = 425
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

    Their keys are kept a second time by the second in which they expire. What is in order stays in order: no method
    sorts, or looks at more records than it returns or drops.
    """

    def __init__(self, bytes_max: int) -> None:
        self.size_bytes_max = bytes_max
        self.size_bytes = 0
        self.count = 0
        self._buckets: dict[int, Bucket] = {}
        self._indexes: list[int] = []  # of the buckets, in order
        self._expiring: dict[int, dict[bytes, None]] = {}  # dictionaries for sets: their order is that of insertion
        self._seconds: list[int] = []  # of the expiries, in order

    def record_bytes(self, record: Record) -> int:
        return len(record.value) + RECORD_OVERHEAD_BYTES

    def get(self, key: bytes, now_s: float) -> Record | None:
        record = self._held(key)
        return record if record and record.expires_at_s > now_s else None

    def put(self, record: Record) -> Record:
        held = self._held(record.key)
        if held and held.version >= record.version:
            return held
        grown = self.size_bytes + self.record_bytes(record) - (self.record_bytes(held) if held else 0)
        if grown > self.size_bytes_max:
            raise StoreError("full", f"the store is at its limit of {self.size_bytes_max} bytes")
        if held:
            self._forget_expiry(held)
            self._buckets[bucket_index(record.key)].records[record.key] = record
        else:
            self._insert(record)
        self._note_expiry(record)
        self.size_bytes = grown
        return record

    def remove(self, key: bytes, version: Version) -> bool:
        held = self._held(key)
        if held is None or held.version != version:
            return False
        self._forget_expiry(held)
        self._drop(held)
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

    def expire(self, now_s: float, limit: int) -> int:
        """Drop at most `limit` records whose life is over; returns how many it dropped.

        A record goes when the second in which it expires is over, so that those of one second need no order.
        """
        dropped = 0
        while self._seconds and self._seconds[0] <= now_s and dropped < limit:
            keys = self._expiring[self._seconds[0]]
            while keys and dropped < limit:
                key, _ = keys.popitem()
                self._drop(self._buckets[bucket_index(key)].records[key])
                dropped += 1
            if not keys:
                del self._expiring[self._seconds.pop(0)]
        return dropped

    def _held(self, key: bytes) -> Record | None:
        bucket = self._buckets.get(bucket_index(key))
        return bucket.records.get(key) if bucket else None

    def _insert(self, record: Record) -> None:
        index = bucket_index(record.key)
        bucket = self._buckets.get(index)
        if bucket is None:
            bucket = self._buckets[index] = Bucket()
            insort(self._indexes, index)
        bucket.records[record.key] = record
        insort(bucket.keys, record.key)
        self.count += 1

    def _drop(self, held: Record) -> None:
        index = bucket_index(held.key)
        bucket = self._buckets[index]
        del bucket.records[held.key]
        del bucket.keys[bisect_left(bucket.keys, held.key)]
        if not bucket.keys:
            del self._buckets[index]
            del self._indexes[bisect_left(self._indexes, index)]
        self.size_bytes -= self.record_bytes(held)
        self.count -= 1

    def _note_expiry(self, record: Record) -> None:
        second = ceil(record.expires_at_s)
        keys = self._expiring.get(second)
        if keys is None:
            keys = self._expiring[second] = {}
            insort(self._seconds, second)
        keys[record.key] = None

    def _forget_expiry(self, held: Record) -> None:
        second = ceil(held.expires_at_s)
        keys = self._expiring[second]
        del keys[held.key]
        if not keys:
            del self._expiring[second]
            del self._seconds[bisect_left(self._seconds, second)]
