"""A store in memory: gone with the process."""

from heapq import heapify, heappop, heappush

from gdht.core.records import Record, Version
from gdht.errors import StoreError

RECORD_OVERHEAD_BYTES = 300
"""What a record costs beside its value: key, version, dictionary and heap entries, measured on 64-bit CPython."""

BUCKETS = 4096
"""Keys are kept in one dictionary per leading 12 bits, so that a scan in order sorts few keys at a time."""

STALE_EXPIRIES_MAX = 1000
"""The expiry heap is rebuilt when it holds this many more outdated entries than records."""


def bucket_index(key: bytes) -> int:
    """Which bucket a key belongs to: its first 12 bits."""
    return key[0] << 4 | key[1] >> 4


class MemoryStore:
    """Records in dictionaries, with a heap of expiry times."""

    def __init__(self, bytes_max: int) -> None:
        self.size_bytes_max = bytes_max
        self.size_bytes = 0
        self.count = 0
        self._buckets: dict[int, dict[bytes, Record]] = {}
        self._expiries: list[tuple[float, bytes]] = []

    def record_bytes(self, record: Record) -> int:
        return len(record.value) + RECORD_OVERHEAD_BYTES

    def get(self, key: bytes, now_s: float) -> Record | None:
        record = self._buckets.get(bucket_index(key), {}).get(key)
        return record if record and record.expires_at_s > now_s else None

    def put(self, record: Record) -> Record:
        index = bucket_index(record.key)
        held = self._buckets.get(index, {}).get(record.key)
        if held and held.version >= record.version:
            return held
        grown = self.size_bytes + self.record_bytes(record) - (self.record_bytes(held) if held else 0)
        if grown > self.size_bytes_max:
            raise StoreError("full", f"the store is at its limit of {self.size_bytes_max} bytes")
        self._buckets.setdefault(index, {})[record.key] = record
        self.size_bytes = grown
        self.count += 0 if held else 1
        self._note_expiry(record)
        return record

    def remove(self, key: bytes, version: Version) -> bool:
        bucket = self._buckets.get(bucket_index(key), {})
        held = bucket.get(key)
        if held is None or held.version != version:
            return False
        self._drop(bucket, held)
        return True

    def scan(self, after: bytes, last: bytes, limit: int) -> list[Record]:
        found: list[Record] = []
        begin = bucket_index(after) if after else 0
        end = bucket_index(last)
        for index in sorted(index for index in self._buckets if begin <= index <= end):
            bucket = self._buckets[index]
            found += [bucket[key] for key in sorted(key for key in bucket if after < key <= last)]
            if len(found) >= limit:
                break
        return found[:limit]

    def expire(self, now_s: float, limit: int) -> int:
        dropped = 0
        while self._expiries and self._expiries[0][0] <= now_s and dropped < limit:
            _, key = heappop(self._expiries)
            bucket = self._buckets.get(bucket_index(key), {})
            held = bucket.get(key)
            if held and held.expires_at_s <= now_s:
                self._drop(bucket, held)
                dropped += 1
        return dropped

    def _drop(self, bucket: dict[bytes, Record], held: Record) -> None:
        del bucket[held.key]
        if not bucket:
            del self._buckets[bucket_index(held.key)]
        self.size_bytes -= self.record_bytes(held)
        self.count -= 1

    def _note_expiry(self, record: Record) -> None:
        heappush(self._expiries, (record.expires_at_s, record.key))
        if len(self._expiries) > 2 * self.count + STALE_EXPIRIES_MAX:
            self._expiries = [(r.expires_at_s, r.key) for b in self._buckets.values() for r in b.values()]
            heapify(self._expiries)
