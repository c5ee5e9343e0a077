"""How records, times and digests lie in the tables of a disk: bytes there and back. Numbers are big-endian.

What is written here is read by later versions: a change needs a new `FORMAT`.
"""

import struct
import zlib
from math import ceil

from gdht.core.digests import TOTAL_BYTES, Digest
from gdht.core.ident import IDENT_BYTES
from gdht.core.messages import Entry
from gdht.core.records import Record, Version
from gdht.core.values import make
from gdht.store.merging import due_s

FORMAT = 2
"""What a store is from its first change on: since 2 the last changes may be in a journal beside the tables."""

FORMATS_READ = (1, 2)
"""The tables are the same in both."""

RECORD_OVERHEAD_BYTES = 400
"""What a record counts beside its value, also in the digests: about what LMDB needs for key, header and index."""

KEY_BYTES = IDENT_BYTES
CHECKED = struct.Struct(">Q32sddBB")
"""Stamp, coordinator, expires_at_s, tombstone_until_s, replication, is_tombstone."""

HEADER = struct.Struct(CHECKED.format + "I")
"""The same and a checksum, of the key, all that comes before it, and the value that follows."""

DUE_AT = struct.Struct(">Q")
LEAF = struct.Struct(">BH")
DIGEST = struct.Struct(f">QQQ{TOTAL_BYTES}s")


Buffer = bytes | memoryview


class Damaged(Exception):
    """Bytes are not those that were written. key: under which they lie."""

    def __init__(self, key: bytes, why: str) -> None:
        super().__init__(why)
        self.key = key


def pack_record(record: Record) -> bytes:
    """A record without its key."""
    key, value, (stamp, coordinator), expires_at_s, replication, tombstone_until_s, is_tombstone = record
    by = coordinator.to_bytes(IDENT_BYTES, "big")
    checked = CHECKED.pack(stamp, by, expires_at_s, tombstone_until_s, replication, is_tombstone)
    return checked + _checksum(key, checked, value) + value


def _checksum(key: bytes, checked: bytes, value: bytes) -> bytes:
    return zlib.crc32(value, zlib.crc32(key + checked)).to_bytes(4, "big")


def unpack_record(key: bytes, data: Buffer) -> Record:
    """The record again; its checksum is not looked at."""
    return _unpacked(key, data, bytes(data[HEADER.size :]))


def _unpacked(key: bytes, data: Buffer, value: bytes) -> Record:
    stamp, by, expires_at_s, tombstone_until_s, replication, is_tombstone, _ = HEADER.unpack_from(data)
    version = make(Version, (stamp, int.from_bytes(by, "big")))
    return make(Record, (key, value, version, expires_at_s, replication, tombstone_until_s, is_tombstone != 0))


def unpack_entry(key: bytes, data: Buffer) -> Entry:
    """The record without its value."""
    stamp, coordinator, _, _, replication, _, _ = HEADER.unpack_from(data)
    return Entry(key, Version(stamp, int.from_bytes(coordinator, "big")), replication)


def checked_record(key: bytes, data: Buffer) -> Record:
    """The record, if it is what was written. Raises: Damaged."""
    if len(key) != KEY_BYTES or len(data) < HEADER.size:
        raise Damaged(key, f"{len(data)} bytes under a key of {len(key)} bytes")
    value = bytes(data[HEADER.size :])
    if data[CHECKED.size : HEADER.size] != _checksum(key, bytes(data[: CHECKED.size]), value):
        raise Damaged(key, "its checksum is wrong")
    return _unpacked(key, data, value)


def due_key(record: Record) -> bytes:
    """Where a record stands in the order of what is due: the millisecond after which it is, and its key."""
    due_ms = ceil(due_s(record) * 1000)
    return DUE_AT.pack(due_ms if due_ms > 0 else 0) + record.key


def due_bound(now_s: float) -> bytes:
    """What is due at a time stands before this."""
    return DUE_AT.pack(max(int(now_s * 1000) + 1, 0))


def pack_leaf(replication: int, leaf: int) -> bytes:
    """The key of a leaf's digest."""
    return LEAF.pack(replication, leaf)


def pack_digest(digest: Digest) -> bytes:
    """A digest as it is kept."""
    return DIGEST.pack(digest.records, digest.tombstones, digest.size_bytes, digest.total_bytes)


def unpack_digest(place: bytes, data: bytes) -> tuple[int, int, Digest]:
    """Replication, leaf, digest."""
    replication, leaf = LEAF.unpack(place)
    records, tombstones, size_bytes, total = DIGEST.unpack(data)
    return replication, leaf, Digest(records, int.from_bytes(total, "big"), tombstones, size_bytes)
