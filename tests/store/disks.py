"""What the tests of durable stores stand on: a disk in memory, and a thread that works when it is told to."""

import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from gdht.core import crowds
from gdht.core.digests import Digest
from gdht.core.messages import Entry
from gdht.core.records import Record
from gdht.errors import StoreError
from gdht.store import ledger
from gdht.store.directory import DATA_FILE
from gdht.store.disk import Batch, Work
from gdht.store.lmdb_disk import JOURNAL_FILE
from gdht.store.merging import due_s

LAST = b"\xff" * 32


def crowding() -> pytest.MonkeyPatch:
    """Have two records make a crowd, until it is undone."""
    patch = pytest.MonkeyPatch()
    patch.setattr(crowds, "PART_MAX", 1)
    patch.setattr(ledger, "CROWD_MAX", 1)
    patch.setattr(ledger, "CROWD_MIN", 1)
    patch.setattr(ledger, "CROWD_HINT", 0)
    return patch


def as_it_is(place: Path) -> Path:
    """A directory beside another, with the files of its store as they are while that is open: what a crash leaves."""
    left = place.with_name(f"{place.name} left")
    left.mkdir()
    for name in (DATA_FILE, JOURNAL_FILE):
        if (place / name).exists():
            shutil.copy(place / name, left / name)
    return left


class DictDisk:
    """A disk of dictionaries; it outlives the stores over it."""

    def __init__(self) -> None:
        self.refusal = ""
        self.records: dict[bytes, Record] = {}
        self.digests: dict[tuple[int, int], Digest] = {}
        self.notes: dict[str, bytes] = {}
        self.batches: list[Batch] = []

    def get(self, key: bytes) -> Record | None:
        return self.records.get(key)

    def scan(self, after: bytes, last: bytes, limit: int) -> list[Record]:
        return [self.records[key] for key in sorted(self.records) if after < key <= last][:limit]

    def entries(self, after: bytes, last: bytes, limit: int) -> list[Entry]:
        return [Entry(record.key, record.version, record.replication) for record in self.scan(after, last, limit)]

    def expiring(self, now_s: float, limit: int) -> list[bytes]:
        due = sorted((due_s(record), record.key) for record in self.records.values() if due_s(record) <= now_s)
        return [key for _, key in due[:limit]]

    def leaves(self) -> Iterator[tuple[int, int, Digest]]:
        return ((*place, digest) for place, digest in self.digests.items())

    def note(self, name: str) -> bytes:
        return self.notes.get(name, b"")

    def applying(self, batch: Batch) -> Work:
        return partial(self._apply, batch)

    def _apply(self, batch: Batch) -> None:
        self.batches.append(batch)
        for key, record in batch.records.items():
            if record is None:
                self.records.pop(key, None)
            else:
                self.records[key] = record
        self.digests.update(batch.leaves)
        self.notes.update(batch.notes)

    def close(self) -> None:
        """Nothing to let go of."""


class Aside:
    """The other thread, one step at a time: `run_aside` for a store."""

    def __init__(self) -> None:
        self.works: list[tuple[Callable[[], None], Callable[[Exception | None], None]]] = []
        self.is_worked = False  # the first one is, but nobody has been told

    def __call__(self, work: Callable[[], None], done: Callable[[Exception | None], None]) -> None:
        self.works.append((work, done))

    def work(self) -> None:
        """Do the first work, and tell nobody yet."""
        self.works[0][0]()
        self.is_worked = True

    def end(self, failure: Exception | None = None) -> None:
        """Tell that the first work is done, or has failed before it changed anything."""
        work, done = self.works.pop(0)
        if failure is None and not self.is_worked:
            work()
        self.is_worked = False
        done(failure)

    def end_all(self) -> None:
        while self.works:
            self.end()


FAILURE = StoreError("disk", "it broke")
