"""A disk of LMDB: one file of pages, in which a transaction counts as a whole once it has been synced, or not at all.

Four tables. `records`: a header and the value, by key. `due`: nothing, by the time when a record is due and its key.
`digests`: by replication and leaf. `notes`: by name; the one called `format` says how all are written.

A small batch changes as many pages as it has records, and more, so it goes to a journal: one short write. When enough
is there, all of it goes to the tables together, with a new mark for the journal in the note `journal`: what is in there
with the old one has come to count no more in the same moment as it was in the tables. Whenever a write fails, the next
one goes to the tables, for until then it is open what is in the journal. Reads lay over the tables what is only there.
"""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

import lmdb

from gdht.core.digests import Digest
from gdht.core.messages import Entry
from gdht.core.records import Record
from gdht.errors import StoreError
from gdht.store import layout
from gdht.store.directory import ADVICE, Directory
from gdht.store.disk import Batch, Work
from gdht.store.journal import MARK_BYTES, Journal, JournalDamaged
from gdht.store.rows import Rows, Table, laid_over, no_rows, unpacked

TABLES = Rows._fields
FORMAT_NOTE, JOURNAL_NOTE = b"format", b"journal"

JOURNAL_FILE = "journal"
JOURNAL_RECORDS_MAX = 500
"""What is in the journal at most. The more go to the tables together, the more of them share a page; the event loop
stands still for a part of that, and each read of a range looks through the journal."""

JOURNAL_ADVICE = "Move it away to go on without the last writes; the other replicas give back what they hold."

BEYOND = b"\xff" * 64
"""After every key of every table."""

SLACK = 3
SLACK_BYTES = 1 << 30
"""The file may grow to so many times the records and so much more: pages half full, or not yet free again."""

FULL_CODES = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
FULL = "the disk is full: make room on it"


class Tables(NamedTuple):
    """LMDB's handles."""

    records: Any
    due: Any
    digests: Any
    notes: Any


class LmdbDisk:
    """A directory's tables. Reads are for the loop's thread, and never wait for work in another.

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
        self._is_long = True  # the next work is
        self._view: Any = None  # the transaction of the reads
        self._is_view_old = False
        self._env: Any = None  # lmdb's own declarations of `begin` allow for no wrapper
        self._journal = Journal(path / JOURNAL_FILE)
        self._journaled = no_rows()  # what is in the journal alone; a reader asks for it before it asks for a view
        try:
            is_new = not self._directory.look_over()
            self._open()
            self._tables = self._open_tables(is_new)
            self._recall()
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

    def _open_tables(self, is_new: bool) -> Any:
        env = self._opened()
        if not self._directory.may_write:
            tables = [env.open_db(name.encode(), create=False) for name in TABLES]
            with env.begin() as txn:
                self._check_format(txn.get(FORMAT_NOTE, db=tables[-1]))
            return Tables(*tables)
        with env.begin(write=True) as txn:
            is_empty = is_new or txn.stat()["entries"] == 0  # made and killed before anything was in it
            tables = [env.open_db(name.encode(), txn=txn, create=is_empty) for name in TABLES]
            if is_empty:
                txn.put(FORMAT_NOTE, str(layout.FORMAT).encode(), db=tables[-1])
            self._check_format(txn.get(FORMAT_NOTE, db=tables[-1]))
        return Tables(*tables)

    def _check_format(self, note: bytes | None) -> None:
        if note is None or not note.isdigit():
            raise self._directory.refuse(f"its store says nothing of its format. {ADVICE}")
        if int(note) not in layout.FORMATS_READ:
            raise self._directory.refuse(
                f"its store has format {int(note)}, this gdht knows {layout.FORMAT}: use the gdht that wrote it"
            )

    def _recall(self) -> None:
        """Find what is in the journal. Raises: StoreError."""
        try:
            for body in self._journal.recall(self._note(JOURNAL_NOTE)):
                self._journaled.add(unpacked(body))
        except JournalDamaged as error:
            raise self._directory.refuse(f"{JOURNAL_FILE} is damaged ({error}). {JOURNAL_ADVICE}") from error
        except OSError as error:
            raise self._directory.refuse(f"{JOURNAL_FILE} cannot be read ({error.strerror})") from error

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
                self._tables = self._open_tables(is_new=False)
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
        data = self._journaled.records.get(key, b"")
        if data == b"":
            view = self._view
            if view is None or self._is_view_old:
                view = self._look()
            data = view.get(key, None, self._tables.records)
        return None if data is None else layout.checked_record(key, data)

    def scan(self, after: bytes, last: bytes, limit: int) -> list[Record]:
        found = islice(self._range("records", after, last), limit)
        return [layout.checked_record(key, data) for key, data in found]

    def entries(self, after: bytes, last: bytes, limit: int) -> list[Entry]:
        found = islice(self._range("records", after, last), limit)
        return [layout.unpack_entry(key, data) for key, data in found]

    def expiring(self, now_s: float, limit: int) -> list[bytes]:
        found = self._range("due", b"", layout.due_bound(now_s))
        return [place[layout.DUE_AT.size :] for place, _ in islice(found, limit)]

    def leaves(self) -> Iterator[tuple[int, int, Digest]]:
        return (layout.unpack_digest(place, data) for place, data in self._all("digests"))

    def note(self, name: str) -> bytes:
        return self._note(name.encode())

    def _note(self, name: bytes) -> bytes:
        content = self._journaled.notes.get(name)
        if content is None:
            with self._begin() as txn:
                content = txn.get(name, b"", db=self._tables.notes)
        return content

    def _range(self, table: str, after: bytes, last: bytes) -> Iterator[tuple[bytes, bytes]]:
        """What lies in after < key <= last; an empty `after`: from the first on."""
        changes: Table = getattr(self._journaled, table)
        found = _between(self._look().cursor(getattr(self._tables, table)), after, last)
        return laid_over(found, changes, after, last)

    # Looking after it ----------------------------------------------------------------------------------------------

    def records(self) -> Iterator[tuple[bytes, bytes]]:
        """Every key with the bytes that lie under it, in order; for a store that nobody writes to."""
        return self._all("records")

    def _all(self, table: str) -> Iterator[tuple[bytes, bytes]]:
        """A whole table, which others may read meanwhile, though not write to."""
        changes: Table = getattr(self._journaled, table)
        with self._begin() as txn:
            yield from laid_over(txn.cursor(getattr(self._tables, table)), changes, b"", BEYOND)

    def is_due(self, place: bytes) -> bool:
        """Whether something stands at this place in the order of time."""
        data = self._journaled.due.get(place, BEYOND)
        if data != BEYOND:
            return data is not None
        with self._begin() as txn:
            return txn.get(place, db=self._tables.due) is not None

    def has_room(self, size_bytes: int) -> bool:
        """Whether the disk could take so much at once, twice over."""
        return self._directory.has_room(2 * size_bytes)

    def counts(self) -> dict[str, int]:
        """How many entries each table has."""
        with self._begin() as txn:
            return {
                name: txn.stat(table)["entries"] + sum(_added(txn, table, changes))
                for name, table, changes in zip(TABLES, self._tables, self._journaled, strict=True)
            }

    # Writing -------------------------------------------------------------------------------------------------------

    def expect_work(self, at_sync: Callable[[], None]) -> bool:
        """Called in the loop's thread before the next work is done in another: whether that takes a while.

        at_sync: called there when nothing is left but to wait for the disk, if it comes to that.
        """
        self._at_sync = at_sync
        if self._is_view_old:
            self._forget_view()  # what it has seen could not be written over for as long as nobody reads
        return self._is_long

    def applying(self, batch: Batch) -> Work:
        """See `Disk`. Bytes are made here: in another thread, on another processor, that takes far longer."""
        self._is_long = True
        if not _is_told_all(batch):
            return partial(self._apply, self._apply_unknown, batch)
        rows = self._rows(batch, [])
        if len(self._journaled.records) + len(rows.records) <= JOURNAL_RECORDS_MAX:
            body = rows.packed()
            if self._journal.has_room(body):
                self._is_long = False
                return partial(self._apply, self._write_journal, rows, body)
        return partial(self._apply, self._write_tables, rows)

    def _apply(self, write: Callable[..., None], *what: Any) -> None:
        """Make changes durable in one of the ways. Raises: StoreError."""
        with self._lock:
            try:
                write(*what)
            except lmdb.MapFullError as error:
                raise StoreError("full", f"data_dir {self._directory.path}: its file has grown to its limit") from error
            except (lmdb.Error, OSError) as error:
                raise self._writing_error(error) from error
            finally:
                self._at_sync = _nothing

    def _write_journal(self, rows: Rows, body: bytes) -> None:
        """Have changes be in the journal alone. Raises: OSError, StoreError."""
        self._opened()
        if not self._journal.has_room(body):  # work that was asked for twice at the end has stopped or filled it since
            self._write_tables(rows)
            return
        try:
            self._journal.append(body)
        except OSError:
            self._journal.stop()
            raise
        self._journaled.add(rows)

    def _apply_unknown(self, batch: Batch) -> None:
        """Make changes to records of which it is not told what they are by now. Raises: lmdb.Error."""
        self._write_tables(self._rows(batch, self._standing(batch)))

    def _write_tables(self, rows: Rows) -> None:
        """Put changes into the tables after those of the journal, and begin that anew. Raises: lmdb.Error."""
        rows = self._journaled.plus(rows)
        mark = os.urandom(MARK_BYTES)
        rows.notes[FORMAT_NOTE], rows.notes[JOURNAL_NOTE] = str(layout.FORMAT).encode(), mark
        self._journal.stop()
        with self._opened().begin(write=True) as txn:
            for table, changes in zip(self._tables, rows, strict=True):
                _put(txn, table, changes)
            self._at_sync()
        self._journal.begin(mark)
        self._is_view_old = True
        self._journaled = no_rows()  # only now: a reader who no longer finds a change here looks at the tables anew

    def _writing_error(self, error: lmdb.Error | OSError) -> StoreError:
        code = _code(error)
        if code in FULL_CODES or (code == errno.EIO and not self._directory.has_room(0)):
            return self._directory.refuse(FULL)
        return self._directory.refuse(f"cannot be written to ({error})")

    def _rows(self, batch: Batch, standing: list[bytes]) -> Rows:
        """What a batch comes to. standing: in order of time, for what it does not say it replaces."""
        places = [layout.due_key(held) for held in batch.replaced.values() if held is not None]
        due: Table = dict.fromkeys(places + standing)
        records: Table = {}
        for key, record in batch.records.items():
            records[key] = None if record is None else layout.pack_record(record)
            if record is not None:
                due[layout.due_key(record)] = b""
        digests: Table = {
            layout.pack_leaf(*place): layout.pack_digest(digest) if digest.records else None
            for place, digest in batch.leaves.items()
        }
        return Rows(records, due, digests, {name.encode(): content for name, content in batch.notes.items()})

    def _standing(self, batch: Batch) -> list[bytes]:
        """Where the records stand in order of time that a batch takes the place of without saying which they are."""
        places: list[bytes] = []
        damaged: set[bytes] = set()
        with self._opened().begin() as txn:
            for key in batch.records.keys() - batch.replaced.keys():
                data = self._journaled.records.get(key, b"")
                data = txn.get(key, db=self._tables.records) if data == b"" else data
                try:
                    places += [] if data is None else [layout.due_key(layout.checked_record(key, data))]
                except layout.Damaged:
                    damaged.add(key)  # nothing of it can be relied on
            if damaged:
                due = laid_over(txn.cursor(self._tables.due), self._journaled.due, b"", BEYOND)
                places += [place for place, _ in due if place[layout.DUE_AT.size :] in damaged]
        return places

    def close(self) -> None:
        """Let go of the files; what is in the journal is put into the tables, if it can be."""
        with self._lock, suppress(lmdb.Error):
            self._forget_view()
            if self._env is not None:
                if self._journaled != no_rows() and not self.refusal:
                    with suppress(lmdb.Error):
                        self._write_tables(no_rows())
                self._env.close()
            self._env = None
        self._journal.close()
        self._directory.close()


def _is_told_all(batch: Batch) -> bool:
    """Whether a batch says of all records what it replaces."""
    return len(batch.replaced) == len(batch.records)


def _code(error: lmdb.Error | OSError) -> int:
    """The system's number; 0 when the error is LMDB's own."""
    return getattr(error, "code", 0) or getattr(error, "errno", 0) or 0


def _put(txn: Any, table: Any, changes: Table) -> None:
    """Change a table, in order of keys: what is close is on one page."""
    kept: list[tuple[bytes, bytes]] = []
    for key, data in sorted(changes.items()):
        if data is None:
            txn.delete(key, db=table)
        else:
            kept.append((key, data))
    txn.cursor(table).putmulti(kept)


def _added(txn: Any, table: Any, changes: Table) -> Iterator[int]:
    """How many more entries a table has with each change."""
    for key, data in changes.items():
        yield (data is not None) - (txn.get(key, db=table) is not None)


def _nothing() -> None:
    """Do nothing."""


def _between(cursor: Any, after: bytes, last: bytes) -> Iterator[tuple[bytes, bytes]]:
    """What lies in after < key <= last; an empty `after`: from the first on."""
    if not cursor.set_range(after):
        return
    for key, data in cursor:
        if key > last:
            return
        if key != after:
            yield key, data
