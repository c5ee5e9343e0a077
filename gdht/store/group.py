"""Changes on their way to a disk together."""

from bisect import bisect_right
from collections.abc import Callable
from typing import NamedTuple

from gdht.core.records import Record
from gdht.errors import StoreError
from gdht.store.disk import Batch
from gdht.store.ledger import Change

GROUP_WRITES_MAX = 500
GROUP_BYTES_MAX = 8 << 20
"""What one commit takes: preparing it, and telling those who wait for it, holds the event loop. A write in place of
another one of the same commit counts, too: somebody waits for each."""

GROUP_WAITING_MAX = 1000
"""So many wait for one commit: those of its writes, and as many of what had been written before."""


class Accounts(NamedTuple):
    """How much a store holds."""

    size_bytes: int
    records: int


class Group:
    """Changes that become durable together: the Commit that those who made them wait for.

    accounts: before them. writes: how many, also those in place of each other. changes: what they did to the digests.
    replaced: what they take the place of, by key; not of keys under which the disk has something damaged. batch: once
    it is sealed.
    """

    __slots__ = (
        "_error",
        "_has_ended",
        "_keys",
        "_waiting",
        "accounts",
        "batch",
        "changes",
        "notes",
        "records",
        "replaced",
        "size_bytes",
        "writes",
    )

    def __init__(self, accounts: Accounts) -> None:
        self.accounts = accounts
        self.batch: Batch | None = None
        self.records: dict[bytes, Record | None] = {}
        self.replaced: dict[bytes, Record | None] = {}
        self.notes: dict[str, bytes] = {}
        self.changes: list[Change] = []
        self.size_bytes = self.writes = 0
        self._keys: list[bytes] = []  # in order, of the records that were there when they were asked for
        self._waiting: list[Callable[[StoreError | None], None]] = []
        self._has_ended = False
        self._error: StoreError | None = None

    def when_ended(self, run: Callable[[StoreError | None], None]) -> None:
        """Have `run` called with the outcome: later, or at once when there is one, or when too many wait for it."""
        if self._has_ended:
            run(self._error)
        elif len(self._waiting) >= GROUP_WAITING_MAX:
            run(StoreError("overload", "too many wait for the disk"))
        else:
            self._waiting.append(run)

    def end(self, error: StoreError | None) -> None:
        """Tell everybody who waits."""
        self._has_ended, self._error = True, error
        waiting, self._waiting = self._waiting, []
        for run in waiting:
            run(error)

    @property
    def is_empty(self) -> bool:
        """Whether nothing changes."""
        return not self.records and not self.notes

    @property
    def is_full(self) -> bool:
        """Whether more would take the loop too long at once."""
        return self.writes >= GROUP_WRITES_MAX or self.size_bytes >= GROUP_BYTES_MAX

    def set(self, key: bytes, held: Record | None, new: Record | None) -> None:
        """Have one record take the place of another under a key; None: of none, or nothing does."""
        records = self.records
        if key in records:
            self.size_bytes -= len(held.value) if held is not None else 0
        else:
            self.replaced[key] = held
        if new is not None:
            self.size_bytes += len(new.value)
        records[key] = new
        self.writes += 1

    def set_damaged(self, key: bytes) -> None:
        """Have nothing take the place of something damaged."""
        self.records[key] = None
        self.writes += 1

    def keys_between(self, after: bytes, last: bytes, limit: int) -> list[bytes]:
        """The first `limit` keys with after < key <= last."""
        if len(self._keys) != len(self.records):
            self._keys = sorted(self.records)
        begin = bisect_right(self._keys, after)
        return self._keys[begin : min(bisect_right(self._keys, last), begin + limit)]
