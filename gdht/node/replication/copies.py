"""Copies of records on their way between nodes: taking them in, and cutting arcs of the ring into bounded batches."""

from collections.abc import Iterable, Iterator

from gdht.core.ident import IDENTS, ident_bytes
from gdht.core.messages import (
    RECORDS_PER_MESSAGE_MAX,
    VALUE_BYTES_MAX,
    Entry,
    FailureReason,
    P2pFailure,
    RecordCopy,
)
from gdht.core.records import CLOCK_AHEAD_S_MAX, TTL_MS_MAX, TTL_S_MAX, Record, left_ms
from gdht.core.values import make
from gdht.errors import StoreError
from gdht.node.state import NodeState
from gdht.node.storage import Store

BATCH_BYTES_MAX = 512 * 1024
BATCH_RECORDS_MAX = RECORDS_PER_MESSAGE_MAX
"""One batch of records in a transfer ends at whichever comes first."""

SCAN_RECORDS = 500
"""How many records are read from the store at a time."""


STORE_REASONS = {
    "full": FailureReason.STORE_FULL,
    "ttl": FailureReason.INVALID,
    "too_large": FailureReason.INVALID,
    "version": FailureReason.INVALID,
}
"""How a StoreError's reason is told to others; all else is STORE_FAILED."""


def accept_copy(node: NodeState, copy: RecordCopy, now_s: float) -> Record:
    """Store a copy unless a newer one is here; returns what is held now. Switches: no.

    A record's replication never shrinks while an older copy, or its tombstone, is kept: the nodes that hold that one
    must get this one too, or what is old would be back when the new one's life is over, or count more than this one
    where the owner does not answer. now_s: by the clock of lives.

    Raises: StoreError with reason ttl, too_large, version, or one of the store's own.
    """
    store = node.store
    try:
        record = _to_record(node, copy, now_s)
        held = store.held(copy.key)
        if held is None:
            return store.put_over(None, record)
        if held.replication > record.replication and held.kept_until_s > now_s:
            record = record._replace(replication=min(held.replication, node.config.max_replication))
        kept = store.put_over(held, record)
    except StoreError as error:
        node.stats.store_rejected_writes[error.reason] += 1
        raise
    if kept is held:
        node.clock.observe(kept.version)
    return kept


def _to_record(node: NodeState, copy: RecordCopy, now_s: float) -> Record:
    """A copy as it is kept from now on; one without any life left is a tombstone. Raises: StoreError."""
    key, ttl_ms, copies, version, value, tombstone_ms = copy
    if ttl_ms <= 0 and tombstone_ms <= 0:
        raise StoreError("ttl", "nothing is left of its life")
    if len(value) > VALUE_BYTES_MAX:
        raise StoreError("too_large", f"{len(value)} bytes are more than {VALUE_BYTES_MAX}")
    if not node.clock.observe(version):
        raise StoreError("version", f"its stamp is more than {CLOCK_AHEAD_S_MAX:.0f} s ahead of our clock")
    copies_max = node.config.max_replication
    replication = copies if 1 <= copies <= copies_max else min(max(copies, 1), copies_max)
    expires_at_s = now_s + (ttl_ms / 1000 if ttl_ms < TTL_MS_MAX else TTL_S_MAX)
    if tombstone_ms <= 0:
        return make(Record, (key, value, version, expires_at_s, replication, 0.0, False))
    record = Record(key, value, version, expires_at_s, replication, now_s + min(tombstone_ms / 1000, TTL_S_MAX))
    return record if ttl_ms > 0 else record.buried()


def refused(key: bytes, error: StoreError) -> P2pFailure:
    """Why a record is not stored, as others are told."""
    reason = STORE_REASONS.get(error.reason, FailureReason.STORE_FAILED)
    return P2pFailure(key, reason, str(error))


def not_durable(node: NodeState, key: bytes, error: StoreError) -> P2pFailure:
    """The same of what was stored, but the disk did not take it."""
    node.stats.store_rejected_writes[error.reason] += 1
    return refused(key, error)


def to_copy(record: Record, now_s: float) -> RecordCopy:
    """A record as it travels, with what is left of its life, or as the tombstone that it is or should be by now."""
    ttl_ms, tombstone_ms = left_ms(record.expires_at_s, now_s), left_ms(record.tombstone_until_s, now_s)
    value = record.value if ttl_ms else b""
    return RecordCopy(record.key, ttl_ms, record.replication, record.version, value, tombstone_ms)


def is_needed(copy: RecordCopy) -> bool:
    """Whether a copy is still worth sending: it lives, or older ones might."""
    return copy.ttl_ms > 0 or copy.tombstone_ms > 0


def lacks(store: Store, entry: Entry) -> bool:
    """Whether a store would keep more of a record than it has: a newer version, or wider replication."""
    held = store.held(entry.key)
    if held is None or held.version < entry.version:
        return True
    return held.version == entry.version and held.replication < entry.replication


def scan_all(store: Store) -> Iterator[Record]:
    """Every record in order of keys, as the store holds it while the iteration goes on; the caller may switch."""
    return _scan(store, b"", ident_bytes(IDENTS - 1))


def batches(copies: Iterable[RecordCopy]) -> Iterator[tuple[RecordCopy, ...]]:
    """Cut copies into batches for one message each; no more are taken than go into the next one."""
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


def _scan(store: Store, after: bytes, last: bytes) -> Iterator[Record]:
    while True:
        records = store.scan(after, last, SCAN_RECORDS)
        yield from records
        if len(records) < SCAN_RECORDS:
            return
        after = records[-1].key
