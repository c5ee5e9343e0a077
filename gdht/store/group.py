"""Changes on their way to a disk together."""

from bisect import bisect_right, insort
from collections.abc import Callable
from typing import NamedTuple

from gdht.core.digests import Digest
from gdht.core.records import Record
from gdht.errors import StoreError
from gdht.store.disk import Batch

GROUP_RECORDS_MAX = 1000
GROUP_BYTES_MAX = 8 << 20
"""What one commit takes: preparing it, and telling those who wait for it, holds the event loop."""


class Accounts(NamedTuple):
    """How much a store holds."""

    size_bytes: int
    records: int


class Group:
    """Changes that become durable together: the Commit that those who made them wait for. batch: once it is sealed."""

    def __init__(self, before: Accounts) -> None:
        self.before = before
        self.batch: Batch | None = None
        self.records: dict[bytes, Record | None] = {}
        self.keys: list[bytes] = []  # of these records, in order
        self.notes: dict[str, bytes] = {}
        self.leaves: dict[tuple[int, int], Digest] = {}  # those changed, as they were before
        self.size_bytes = 0
        self._waiting: list[Callable[[StoreError | None], None]] = []
        self._has_ended = False
        self._error: StoreError | None = None

    def when_ended(self, run: Callable[[StoreError | None], None]) -> None:
        """Have `run` called with the outcome: later, or at once when there is one."""
        if self._has_ended:
            run(self._error)
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
        return len(self.records) >= GROUP_RECORDS_MAX or self.size_bytes >= GROUP_BYTES_MAX

    def set(self, key: bytes, record: Record | None) -> None:
        """Note what becomes of a key."""
        if key not in self.records:
            insort(self.keys, key)
        replaced = self.records.get(key)
        self.size_bytes += (len(record.value) if record else 0) - (len(replaced.value) if replaced else 0)
        self.records[key] = record

    def keys_between(self, after: bytes, last: bytes, limit: int) -> list[bytes]:
        """The first `limit` keys with after < key <= last."""
        begin = bisect_right(self.keys, after)
        return self.keys[begin : min(bisect_right(self.keys, last), begin + limit)]
