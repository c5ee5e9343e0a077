"""What a node asks of its store; `gdht.store` has the implementations."""

from typing import Protocol

from gdht.core.records import Record, Version


class Store(Protocol):
    """Records by key, at most one version each. No method switches."""

    @property
    def size_bytes_max(self) -> int:
        """How much it may hold."""

    @property
    def size_bytes(self) -> int:
        """What it holds: keys, values and a fixed overhead per record."""

    @property
    def count(self) -> int:
        """How many records it holds, expired ones that are not swept yet included."""

    def record_bytes(self, record: Record) -> int:
        """What a record counts against the limit."""

    def get(self, key: bytes, now_s: float) -> Record | None:
        """The record under a key, None when there is none or its life is over. now_s: seconds since the epoch."""

    def put(self, record: Record) -> Record:
        """Store a record unless a newer version is here; returns what is held now.

        Raises: StoreError with reason `full`; nothing has changed then.
        """

    def remove(self, key: bytes, version: Version) -> bool:
        """Drop a record if it still has this version; True when it was dropped."""

    def scan(self, after: bytes, last: bytes, limit: int) -> list[Record]:
        """At most `limit` records with after < key <= last, in order of keys; an empty `after` begins at the first."""

    def expire(self, now_s: float, limit: int) -> int:
        """Drop at most `limit` records whose life is over; returns how many it dropped."""
