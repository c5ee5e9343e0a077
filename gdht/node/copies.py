"""Copies of records on their way between nodes: taking them in, and cutting arcs of the ring into bounded batches."""

from collections.abc import Iterator

from gdht.core.ident import IDENTS, ident_bytes, in_open_closed, key_ident
from gdht.core.messages import RECORDS_PER_MESSAGE_MAX, VALUE_BYTES_MAX, RecordCopy
from gdht.core.records import CLOCK_AHEAD_S_MAX, TTL_S_MAX, Record, is_ahead
from gdht.errors import StoreError
from gdht.node.state import NodeState
from gdht.node.storage import Store

BATCH_BYTES_MAX = 512 * 1024
BATCH_RECORDS_MAX = RECORDS_PER_MESSAGE_MAX
"""One batch of records in a transfer ends at whichever comes first."""

SCAN_RECORDS = 500
"""How many records are read from the store at a time."""


def accept_copy(node: NodeState, copy: RecordCopy, wall_s: float) -> Record:
    """Store a copy unless a newer one is here; returns what is held now. Switches: no.

    A record's replication never shrinks while an older copy lives: the nodes that hold that one must get this one too,
    or the old value would be back when the new one's life is over.

    Raises: StoreError with reason ttl, too_large, version or full.
    """
    try:
        _check_copy(copy, wall_s)
        expires_at_s = wall_s + min(copy.ttl_ms / 1000, TTL_S_MAX)
        older = node.store.get(copy.key, wall_s)
        replication = min(max(copy.replication, older.replication if older else 1), node.config.max_replication)
        held = node.store.put(Record(copy.key, copy.value, copy.version, expires_at_s, replication))
    except StoreError as error:
        node.stats.store_rejected_writes[error.reason] += 1
        raise
    node.observe(held.version, wall_s)
    return held


def _check_copy(copy: RecordCopy, wall_s: float) -> None:
    if copy.ttl_ms <= 0:
        raise StoreError("ttl", "nothing is left of its life")
    if len(copy.value) > VALUE_BYTES_MAX:
        raise StoreError("too_large", f"{len(copy.value)} bytes are more than {VALUE_BYTES_MAX}")
    if is_ahead(copy.version, wall_s):
        raise StoreError("version", f"its stamp is more than {CLOCK_AHEAD_S_MAX:.0f} s ahead of our clock")


def to_copy(record: Record, wall_s: float) -> RecordCopy:
    """A record as it travels, with what is left of its life."""
    return RecordCopy(record.key, record.ttl_ms(wall_s), record.replication, record.version, record.value)


def scan_all(store: Store) -> Iterator[Record]:
    """Every record in order of keys, as the store holds it while the iteration goes on; the caller may switch."""
    return _scan(store, b"", ident_bytes(IDENTS - 1))


def arc_batch(store: Store, start: int, end: int, cursor: bytes, wall_s: float) -> tuple[list[RecordCopy], bool]:
    """The next batch of living records in (start, end], clockwise, after `cursor`; and whether there may be more."""
    batch: list[RecordCopy] = []
    size = 0
    for after, last in _ranges(start, end, cursor):
        for record in _scan(store, after, last):
            if record.ttl_ms(wall_s) <= 0:
                continue
            batch.append(to_copy(record, wall_s))
            size += len(record.value)
            if len(batch) >= BATCH_RECORDS_MAX or size >= BATCH_BYTES_MAX:
                return batch, True
    return batch, False


def batches(copies: list[RecordCopy]) -> Iterator[tuple[RecordCopy, ...]]:
    """Cut a list of copies into batches for one message each."""
    batch: list[RecordCopy] = []
    size = 0
    for copy in copies:
        batch.append(copy)
        size += len(copy.value)
        if len(batch) >= BATCH_RECORDS_MAX or size >= BATCH_BYTES_MAX:
            yield tuple(batch)
            batch, size = [], 0
    if batch:
        yield tuple(batch)


def _ranges(start: int, end: int, cursor: bytes) -> list[tuple[bytes, bytes]]:
    """The arc (start, end] without what lies before the cursor, as ranges (after, last] of keys in plain order."""
    if cursor and in_open_closed(key_ident(cursor), start, end):
        start = key_ident(cursor)
        if start == end:
            return []
    if start < end:
        return [(ident_bytes(start), ident_bytes(end))]
    return [(ident_bytes(start), ident_bytes(IDENTS - 1)), (b"", ident_bytes(end))]


def _scan(store: Store, after: bytes, last: bytes) -> Iterator[Record]:
    while True:
        records = store.scan(after, last, SCAN_RECORDS)
        yield from records
        if len(records) < SCAN_RECORDS:
            return
        after = records[-1].key
