"""Which of two versions of one record is kept, and when something has to happen to it."""

from gdht.core.ident import ident_bytes, key_ident
from gdht.core.records import Record


def merged(held: Record | None, new: Record) -> Record:
    """What to keep under a key: `held` itself when `new` changes nothing.

    A newer version wins, and remembers how long a copy of the older one can live elsewhere when that is longer than its
    own life. Of the same version, the larger replication and the later tombstone count.
    """
    if held is None:
        return new
    if new.version > held.version:
        ends_at_s = new.expires_at_s
        if held.expires_at_s <= ends_at_s and held.tombstone_until_s <= ends_at_s >= new.tombstone_until_s:
            return new
        return new._replace(tombstone_until_s=max(new.tombstone_until_s, held.kept_until_s))
    if new.version < held.version:
        return held
    replication = max(held.replication, new.replication)
    until_s = max(held.tombstone_until_s, new.tombstone_until_s)
    if (replication, until_s) == (held.replication, held.tombstone_until_s):
        return held
    return held._replace(replication=replication, tombstone_until_s=until_s)


def due_s(record: Record) -> float:
    """When a record's life ends, or that of a tombstone: seconds since the epoch."""
    return record.tombstone_until_s if record.is_tombstone else record.expires_at_s


def after_due(record: Record, now_s: float) -> Record | None:
    """What stays of a record whose time has come: a tombstone, or nothing."""
    return record.buried() if not record.is_tombstone and record.tombstone_until_s > now_s else None


def key_before(key: bytes) -> bytes:
    """Where a scan begins that shall find this key first."""
    ident = key_ident(key)
    return ident_bytes(ident - 1) if ident else b""
