"""A disk of LMDB: one file of pages, in which a transaction counts as a whole once it has been synced, or not at all.

Four tables. `records`: a header and the value, by key. `due`: nothing, by the time when a record is due and its key.
`digests`: by replication and leaf. `notes`: by name; the one called `format` says how all are written.
"""

import errno
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

import lmdb

from gdht.core.digests import Digest
from gdht.core.messages import Entry
from gdht.core.records import Record
from gdht.errors import StoreError
from gdht.store import layout
from gdht.store.directory import ADVICE, Directory
from gdht.store.disk import Batch

T = TypeVar("T")

TABLES = (b"records", b"due", b"digests", b"notes")
FORMAT_NOTE = b"format"

SLACK = 3
SLACK_BYTES = 1 << 30
"""The file may grow to so many times the records and so much more: pages half full, or not yet free again."""

PUT_AT_ONCE = 64
"""Records per call into LMDB, during which the loop's thread cannot run."""

FULL_CODES = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
FULL = "the disk is full: make room on it"


class LmdbDisk:
    """A directory's tables. Reads are for the loop's thread, and never wait for an `apply` in another."""

    def __init__(self, path: Path, bytes_max: int) -> None:
        """Open the store in a directory, or make one. bytes_max: of records.

        Raises: StoreError: no directory, in use, not ours, of a newer format, damaged.
        """
        self.refusal = ""
        self._directory = Directory(path)
        self._map_bytes = SLACK * bytes_max + SLACK_BYTES
        self._lock = Lock()
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

    def _begin(self, **how: bool) -> Any:
        """A transaction; after a failure that LMDB itself does not get over, on the file opened once more."""
        try:
            return self._opened().begin(**how)
        except lmdb.PanicError:
            with self._lock:
                self._opened().close()
                self._open()
                self._records, self._due, self._digests, self._notes = self._open_tables(is_new=False)
            return self._opened().begin(**how)

    def get(self, key: bytes) -> Record | None:
        with self._begin() as txn:
            data = txn.get(key, db=self._records)
        return None if data is None else layout.checked_record(key, data)

    def scan(self, after: bytes, last: bytes, limit: int) -> list[Record]:
        with self._begin() as txn:
            found = islice(_range(txn.cursor(self._records), after, last), limit)
            return [layout.checked_record(key, data) for key, data in found]

    def entries(self, after: bytes, last: bytes, limit: int) -> list[Entry]:
        with self._begin(buffers=True) as txn:
            found = islice(_range(txn.cursor(self._records), after, last), limit)
            return [layout.unpack_entry(key, data) for key, data in found]

    def expiring(self, now_s: float, limit: int) -> list[bytes]:
        bound = layout.due_bound(now_s)
        with self._begin() as txn:
            found = _range(txn.cursor(self._due), b"", bound)
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

    def apply(self, batch: Batch) -> None:
        with self._lock:
            try:
                with self._opened().begin(write=True, buffers=True) as txn:
                    self._put_records(txn, batch.records)
                    self._put_leaves(txn, batch.leaves)
                    for name, content in batch.notes.items():
                        txn.put(name.encode(), content, db=self._notes)
            except lmdb.MapFullError as error:
                raise StoreError("full", f"data_dir {self._directory.path}: its file has grown to its limit") from error
            except lmdb.Error as error:
                raise self._writing_error(error) from error

    def _writing_error(self, error: lmdb.Error) -> StoreError:
        code = _code(error)
        if code in FULL_CODES or (code == errno.EIO and not self._directory.has_room(0)):
            return self._directory.refuse(FULL)
        return self._directory.refuse(f"cannot be written to ({error})")

    def _put_records(self, txn: lmdb.Transaction, records: dict[bytes, Record | None]) -> None:
        """Put records and what stands in order of time for them."""
        cursor, due = txn.cursor(self._records), txn.cursor(self._due)
        for part in _parts(sorted(records.items())):
            held = [(bytes(key), data) for key, data in cursor.getmulti([key for key, _ in part])]
            before = {key: _standing(key, data) for key, data in held}
            after = {key: layout.due_key(record) for key, record in part if record is not None}
            cursor.putmulti([(key, layout.pack_record(record)) for key, record in part if record is not None])
            for key in before.keys() - after.keys():
                txn.delete(key, db=self._records)
            if None in before.values():
                _forget(due, {key for key, place in before.items() if place is None})
            for key, place in before.items():
                if place is not None and after.get(key) != place:
                    txn.delete(place, db=self._due)
            due.putmulti([(place, b"") for place in sorted(after.values())])

    def _put_leaves(self, txn: lmdb.Transaction, leaves: dict[tuple[int, int], Digest]) -> None:
        packed = sorted((layout.pack_leaf(*place), digest) for place, digest in leaves.items())
        for part in _parts(packed):
            txn.cursor(self._digests).putmulti(
                [(place, layout.pack_digest(digest)) for place, digest in part if digest.records]
            )
            for place in (place for place, digest in part if not digest.records):
                txn.delete(place, db=self._digests)

    def close(self) -> None:
        with self._lock, suppress(lmdb.Error):
            if self._env is not None:
                self._env.close()
            self._env = None
        self._directory.close()


def _code(error: lmdb.Error) -> int:
    """The system's number; 0 when the error is LMDB's own."""
    return getattr(error, "code", 0)


def _standing(key: bytes, data: layout.Buffer) -> bytes | None:
    """Where a record stands in order of time; None when it is damaged, for then nothing of it can be relied on."""
    try:
        layout.checked_record(key, data)
    except layout.Damaged:
        return None
    return layout.due_key_of(key, data)


def _forget(due: Any, keys: set[bytes]) -> None:
    """Take keys out of the order of time, wherever they stand in it; reads all of it."""
    places = [bytes(place) for place in due.iternext(values=False) if bytes(place[layout.DUE_AT.size :]) in keys]
    for place in places:
        due.pop(place)


def _parts(items: list[T]) -> Iterator[list[T]]:
    for begin in range(0, len(items), PUT_AT_ONCE):
        yield items[begin : begin + PUT_AT_ONCE]


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
