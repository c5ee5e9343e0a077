"""A disk of LMDB: one file of pages, in which a transaction counts as a whole once it has been synced, or not at all.

Four tables. `records`: a header and the value, by key. `due`: nothing, by the time when a record is due and its key.
`digests`: by replication and leaf. `notes`: by name; the one called `format` says how all are written.
"""

import errno
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import Any

import lmdb

from gdht.core.digests import Digest
from gdht.core.messages import Entry
from gdht.core.records import Record
from gdht.errors import StoreError
from gdht.store import layout
from gdht.store.directory import ADVICE, Directory
from gdht.store.disk import Batch

TABLES = (b"records", b"due", b"digests", b"notes")
FORMAT_NOTE = b"format"

SLACK = 3
SLACK_BYTES = 1 << 30
"""The file may grow to so many times the records and so much more: pages half full, or not yet free again."""

FULL_CODES = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
FULL = "the disk is full: make room on it"


class LmdbDisk:
    """A directory's tables. Reads are for the loop's thread, and never wait for an `apply` in another.

    They see one state of the tables for as long as nothing is applied: it costs less than a look for each read.
    """

    def __init__(self, path: Path, bytes_max: int) -> None:
        """Open the store in a directory, or make one. bytes_max: of records.

        Raises: StoreError: no directory, in use, not ours, of a newer format, damaged.
        """
        self.refusal = ""
        self._directory = Directory(path)
        self._map_bytes = SLACK * bytes_max + SLACK_BYTES
        self._lock = Lock()
        self._at_sync = _nothing
        self._view: Any = None  # the transaction of the reads
        self._is_view_old = False
        self._env: Any = None  # lmdb's own declarations of `begin` allow for no wrapper
        try:
            is_new = not self._directory.look_over()
            self._open()
            self._records, self._due, self._digests, self._notes = self._open_tables(is_new)
        except lmdb.Error as error:
            self.close()
            raise self._opening_error(error) from error
        except StoreError:
            self.close()
            raise
        if not self._directory.may_write:
            self.refusal = f"data_dir {path} is read-only"

    # Opening -------------------------------------------------------------------------------------------------------

    def _open(self) -> None:
        self._env = lmdb.open(
            str(self._directory.path),
            map_size=self._map_bytes,
            max_dbs=len(TABLES),
            max_spare_txns=1,
            mode=0o700,
            create=False,
            readonly=not self._directory.may_write,
            lock=self._directory.may_write,
        )

    def _open_tables(self, is_new: bool) -> list[Any]:
        env = self._opened()
        if not self._directory.may_write:
            tables = [env.open_db(name, create=False) for name in TABLES]
            with env.begin() as txn:
                self._check_format(txn.get(FORMAT_NOTE, db=tables[-1]))
            return tables
        with env.begin(write=True) as txn:
            is_empty = is_new or txn.stat()["entries"] == 0  # made and killed before anything was in it
            tables = [env.open_db(name, txn=txn, create=is_empty) for name in TABLES]
            if is_empty:
                txn.put(FORMAT_NOTE, str(layout.FORMAT).encode(), db=tables[-1])
            self._check_format(txn.get(FORMAT_NOTE, db=tables[-1]))
        return tables

    def _check_format(self, note: bytes | None) -> None:
        if note is None or not note.isdigit():
            raise self._directory.refuse(f"its store says nothing of its format. {ADVICE}")
        if int(note) != layout.FORMAT:
            raise self._directory.refuse(
                f"its store has format {int(note)}, this gdht knows {layout.FORMAT}: use the gdht that wrote it"
            )

    def _opening_error(self, error: lmdb.Error) -> StoreError:
        if isinstance(error, lmdb.NotFoundError | lmdb.IncompatibleError):
            return self._directory.refuse(
                "holds an LMDB file that is no gdht store: choose another data_dir, or move it away"
            )
        if isinstance(error, lmdb.MemoryError):
            return self._directory.refuse(
                f"{self._map_bytes} bytes of addresses cannot be had: raise `ulimit -v`, or lower max_store_bytes"
            )
        if _code(error) in FULL_CODES:
            return self._directory.refuse(FULL)
        return self._directory.refuse(f"cannot be opened ({error}). {ADVICE}")

    # Reading -------------------------------------------------------------------------------------------------------

    def _opened(self) -> Any:
        if self._env is None:
            raise StoreError("disk", "the store is closed")
        return self._env

    def _begin(self) -> Any:
        """A transaction; after a failure that LMDB itself does not get over, on the file opened once more."""
        try:
            return self._opened().begin()
        except lmdb.PanicError:
            with self._lock:
                self._view = None
                self._opened().close()
                self._open()
                self._records, self._due, self._digests, self._notes = self._open_tables(is_new=False)
            return self._opened().begin()

    def _look(self) -> Any:
        """A transaction that reads what was applied last."""
        if self._view is None or self._is_view_old:
            self._forget_view()
            self._view = self._begin()
        return self._view

    def _forget_view(self) -> None:
        self._is_view_old = False
        if self._view is not None:
            self._view.abort()
            self._view = None

    def get(self, key: bytes) -> Record | None:
        view = self._view
        if view is None or self._is_view_old:
            view = self._look()
        data = view.get(key, None, self._records)
        return None if data is None else layout.checked_record(key, data)

    def scan(self, after: bytes, last: bytes, limit: int) -> list[Record]:
        found = islice(_range(self._look().cursor(self._records), after, last), limit)
        return [layout.checked_record(key, data) for key, data in found]

    def entries(self, after: bytes, last: bytes, limit: int) -> list[Entry]:
        found = islice(_range(self._look().cursor(self._records), after, last), limit)
        return [layout.unpack_entry(key, data) for key, data in found]

    def expiring(self, now_s: float, limit: int) -> list[bytes]:
        found = _range(self._look().cursor(self._due), b"", layout.due_bound(now_s))
        return [place[layout.DUE_AT.size :] for place, _ in islice(found, limit)]

    def leaves(self) -> Iterator[tuple[int, int, Digest]]:
        with self._begin() as txn:
            for place, data in txn.cursor(self._digests):
                yield layout.unpack_digest(place, data)

    def note(self, name: str) -> bytes:
        with self._begin() as txn:
            content: bytes = txn.get(name.encode(), b"", db=self._notes)
        return content

    # Looking after it ----------------------------------------------------------------------------------------------

    def records(self) -> Iterator[tuple[bytes, bytes]]:
        """Every key with the bytes that lie under it, in order; for a store that nobody writes to."""
        with self._begin() as txn:
            yield from txn.cursor(self._records)

    def is_due(self, place: bytes) -> bool:
        """Whether something stands at this place in the order of time."""
        with self._begin() as txn:
            return txn.get(place, db=self._due) is not None

    def has_room(self, size_bytes: int) -> bool:
        """Whether the disk could take so much at once, twice over."""
        return self._directory.has_room(2 * size_bytes)

    def counts(self) -> dict[str, int]:
        """How many entries each table has."""
        tables = zip(TABLES, (self._records, self._due, self._digests, self._notes), strict=True)
        with self._begin() as txn:
            return {name.decode(): txn.stat(table)["entries"] for name, table in tables}

    # Writing -------------------------------------------------------------------------------------------------------

    def expect_apply(self, at_sync: Callable[[], None]) -> None:
        """Called in the loop's thread before the next `apply` in another.

        at_sync: called there when nothing is left but to wait for the disk, if it comes to that.
        """
        self._at_sync = at_sync
        self._forget_view()  # what it has seen could not be written over for as long as nobody reads

    def apply(self, batch: Batch) -> None:
        with self._lock:
            try:
                with self._opened().begin(write=True, buffers=True) as txn:
                    self._put_records(txn, batch)
                    self._put_leaves(txn, batch.leaves)
                    for name, content in batch.notes.items():
                        txn.put(name.encode(), content, db=self._notes)
                    self._at_sync()
            except lmdb.MapFullError as error:
                raise StoreError("full", f"data_dir {self._directory.path}: its file has grown to its limit") from error
            except lmdb.Error as error:
                raise self._writing_error(error) from error
            finally:
                self._is_view_old = True
                self._at_sync = _nothing

    def _writing_error(self, error: lmdb.Error) -> StoreError:
        code = _code(error)
        if code in FULL_CODES or (code == errno.EIO and not self._directory.has_room(0)):
            return self._directory.refuse(FULL)
        return self._directory.refuse(f"cannot be written to ({error})")

    def _put_records(self, txn: lmdb.Transaction, batch: Batch) -> None:
        """Put records and what stands in order of time for them. Each in order: what is close is on one page."""
        places = self._standing(txn, batch)
        kept: list[tuple[bytes, bytes]] = []
        due: list[tuple[bytes, bytes]] = []
        for key, record in sorted(batch.records.items()):
            if record is None:
                txn.delete(key, db=self._records)
            else:
                kept.append((key, layout.pack_record(record)))
                due.append((layout.due_key(record), b""))
        due.sort()
        staying = {place for place, _ in due} if places else ()
        for place in sorted(places):
            if place not in staying:
                txn.delete(place, db=self._due)
        txn.cursor(self._records).putmulti(kept)
        txn.cursor(self._due).putmulti(due)

    def _standing(self, txn: lmdb.Transaction, batch: Batch) -> list[bytes]:
        """Where the records stand in order of time that a batch takes the place of."""
        places = [layout.due_key(held) for held in batch.replaced.values() if held is not None]
        if len(batch.replaced) == len(batch.records):
            return places
        damaged: set[bytes] = set()
        for key, data in txn.cursor(self._records).getmulti(sorted(batch.records.keys() - batch.replaced.keys())):
            try:
                places.append(layout.due_key(layout.checked_record(bytes(key), data)))
            except layout.Damaged as damage:
                damaged.add(damage.key)  # nothing of it can be relied on
        return places + (_places_of(txn.cursor(self._due), damaged) if damaged else [])

    def _put_leaves(self, txn: lmdb.Transaction, leaves: dict[tuple[int, int], Digest]) -> None:
        kept: list[tuple[bytes, bytes]] = []
        for place, digest in sorted(leaves.items()):
            if digest.records:
                kept.append((layout.pack_leaf(*place), layout.pack_digest(digest)))
            else:
                txn.delete(layout.pack_leaf(*place), db=self._digests)
        txn.cursor(self._digests).putmulti(kept)

    def close(self) -> None:
        with self._lock, suppress(lmdb.Error):
            self._forget_view()
            if self._env is not None:
                self._env.close()
            self._env = None
        self._directory.close()


def _code(error: lmdb.Error) -> int:
    """The system's number; 0 when the error is LMDB's own."""
    return getattr(error, "code", 0)


def _places_of(due: Any, keys: set[bytes]) -> list[bytes]:
    """Where keys stand in order of time, found by reading all of it."""
    at = layout.DUE_AT.size
    return [bytes(place) for place in due.iternext(values=False) if bytes(place[at:]) in keys]


def _nothing() -> None:
    """Do nothing."""


def _range(cursor: Any, after: bytes, last: bytes) -> Iterator[tuple[bytes, layout.Buffer]]:
    """What lies in after < key <= last; an empty `after`: from the first on."""
    if not cursor.set_range(after):
        return
    for place, data in cursor:
        key = bytes(place)
        if key > last:
            return
        if key != after:
            yield key, data
