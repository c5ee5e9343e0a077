"""LMDB's files: what is refused at their opening and why, what fails while they are written, and what stays whole."""

import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import lmdb
import pytest

from gdht.core.digests import Digest
from gdht.core.records import Record, Version
from gdht.errors import StoreError
from gdht.store import layout, lmdb_disk
from gdht.store.disk import Batch
from gdht.store.lmdb_disk import LmdbDisk
from tests.store.disks import LAST, as_it_is

BYTES_MAX = 1 << 20
NOBODY = 65534


def key(number: int) -> bytes:
    return number.to_bytes(32, "big")


def record(number: int = 1, stamp: int = 1, value: bytes = b"", expires_at_s: float = 1000.0) -> Record:
    return Record(key(number), value, Version(stamp, 7), expires_at_s, 3)


def batch(*records: Record) -> Batch:
    return Batch({one.key: one for one in records}, {(3, 0): Digest(len(records), 5, 0, 100)}, {})


@pytest.fixture
def open_disk(tmp_path: Path) -> Iterator[Callable[[], LmdbDisk]]:
    """`open_disk()`: the disk of this test, closed and opened once more."""
    opened: list[LmdbDisk] = []

    def run(path: Path = tmp_path / "data") -> LmdbDisk:
        for disk in opened:
            disk.close()
        opened.append(LmdbDisk(path, BYTES_MAX))
        return opened[-1]

    yield run
    for disk in opened:
        disk.close()


def refused(path: Path) -> str:
    """Why a directory is not opened, without its name."""
    with pytest.raises(StoreError) as error:
        LmdbDisk(path, BYTES_MAX)
    before = f"data_dir {path}: "
    assert str(error.value).startswith(before)
    return str(error.value).removeprefix(before)


# Opening --------------------------------------------------------------------------------------------------------------


def test_a_directory_is_made_for_its_owner_alone(open_disk, tmp_path):
    open_disk(tmp_path / "some" / "where")
    place = tmp_path / "some" / "where"
    assert place.stat().st_mode & 0o777 == 0o700
    assert {path.name: oct(path.stat().st_mode & 0o777) for path in place.iterdir()} == {
        "data.mdb": "0o600",
        "lock.mdb": "0o600",
        "gdht.lock": "0o600",
    }


def test_what_was_applied_is_there_when_it_is_opened_again(open_disk):
    disk = open_disk()
    kept = record(2, value=bytes(65495), expires_at_s=1e9)
    disk.applying(batch(record(1), kept)._replace(notes={"identity": b"me"}))()
    disk = open_disk()
    assert disk.scan(b"", LAST, 9) == [record(1), kept]
    assert (disk.note("identity"), disk.note("peers")) == (b"me", b"")
    assert list(disk.leaves()) == [(3, 0, Digest(2, 5, 0, 100))]
    assert disk.expiring(1000.0, 9) == [key(1)]
    assert disk.expiring(999.999, 9) == []


def test_a_second_process_is_told_who_uses_the_directory(open_disk, tmp_path):
    open_disk()
    told = refused(tmp_path / "data")
    assert told == f"is in use by process {os.getpid()}: stop that, or give each node its own data_dir"


def test_a_directory_is_free_again_when_its_process_was_killed(open_disk, tmp_path):
    code = f"""
from pathlib import Path
from gdht.store.lmdb_disk import LmdbDisk
disk = LmdbDisk(Path({str(tmp_path / "data")!r}), 1 << 20)
print("open", flush=True)
input()
"""
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout
        assert other.stdout.readline() == b"open\n"
        assert f"process {other.pid}" in refused(tmp_path / "data")
        other.kill()
        other.wait()
    open_disk()


def test_a_file_where_the_directory_should_be_is_refused(tmp_path):
    (tmp_path / "data").write_text("")
    assert refused(tmp_path / "data") == "is no directory: choose another"


def set_format(path: Path, content: bytes) -> None:
    with lmdb.open(str(path), max_dbs=4) as env, env.begin(write=True) as txn:
        txn.put(b"format", content, db=env.open_db(b"notes", txn=txn))


def test_a_store_of_the_format_before_is_read_and_has_the_new_one_with_its_first_change(open_disk, tmp_path):
    disk = open_disk()
    disk.applying(batch(record(1)))()
    disk.close()
    set_format(tmp_path / "data", b"1")
    disk = open_disk()
    assert disk.get(key(1)) == record(1)
    assert disk.note("format") == b"1"
    disk.applying(batch(record(2)))()
    assert disk.note("format") == b"2"


def test_a_store_of_a_newer_format_is_refused(open_disk, tmp_path):
    open_disk().close()
    set_format(tmp_path / "data", b"3")
    told = refused(tmp_path / "data")
    assert told == "its store has format 3, this gdht knows 2: use the gdht that wrote it"


def test_a_file_of_another_program_is_refused(tmp_path):
    with lmdb.open(str(tmp_path), max_dbs=1) as env:
        env.open_db(b"theirs")
    assert refused(tmp_path).startswith(
        "holds an LMDB file that is no gdht store: choose another data_dir, or move it away"
    )


@pytest.mark.parametrize("content", [b"x", b"SQLite format 3\0" * 1000, bytes(8192)])
def test_a_file_that_is_none_of_lmdbs_is_refused(tmp_path, content):
    (tmp_path / "data.mdb").write_bytes(content)
    assert refused(tmp_path).startswith("data.mdb is damaged, or no store")


def test_a_file_that_was_made_and_never_written_is_an_empty_store(open_disk, tmp_path):
    place = tmp_path / "data"
    place.mkdir()
    (place / "data.mdb").write_bytes(b"")
    assert open_disk().scan(b"", LAST, 9) == []
    open_disk().close()
    shutil.rmtree(place)
    place.mkdir()
    lmdb.open(str(place)).close()  # killed after LMDB's first pages
    assert open_disk().scan(b"", LAST, 9) == []


def test_a_file_that_has_lost_its_end_is_refused_before_anybody_reads_there(open_disk, tmp_path):
    disk = open_disk()
    disk.applying(batch(*(record(number, value=bytes(1000)) for number in range(200))))()
    disk.close()
    data = tmp_path / "data" / "data.mdb"
    whole = data.read_bytes()
    for length in (5000, 8192, len(whole) // 2 + 1, len(whole) - 4096, len(whole) - 1):
        data.write_bytes(whole[:length])
        assert "Move it away" in refused(tmp_path / "data"), length
    data.write_bytes(whole)
    assert len(open_disk().scan(b"", LAST, 999)) == 200


def test_a_file_without_pages_that_nobody_reads_is_whole(open_disk, tmp_path):
    """LMDB need not write the last pages of a file while they are free."""
    disk = open_disk()
    disk.applying(batch(*(record(number, value=bytes(4000)) for number in range(100))))()
    disk.applying(Batch({key(number): None for number in range(20, 100)}, {}, {}))()
    for content in (b"a", b"b"):
        disk = open_disk()  # what is in the journal goes to the tables
        disk.applying(Batch({}, {}, {"a": content}))()
    disk.close()
    data = tmp_path / "data" / "data.mdb"
    size = data.stat().st_size
    os.truncate(data, size - 4096)
    assert len(open_disk().scan(b"", LAST, 999)) == 20


# Disks that take nothing ----------------------------------------------------------------------------------------------


@pytest.fixture
def stranger() -> Iterator[Callable[[], None]]:
    """`stranger()`: from now on this process has no more rights than anybody."""

    def run() -> None:
        if os.geteuid() == 0:
            os.seteuid(NOBODY)

    us = os.geteuid()
    yield run
    os.seteuid(us)


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that everybody can reach."""
    path = Path(tempfile.mkdtemp())
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def seal(place: Path) -> None:
    for path in place.iterdir():
        path.chmod(0o444)
    place.chmod(0o555)


@pytest.mark.parametrize("without", [(), ("lock.mdb", "gdht.lock")])
def test_a_store_that_cannot_be_written_to_is_read(open_disk, place, stranger, without):
    disk = open_disk(place)
    disk.applying(batch(record(1, value=b"one")))()
    disk.close()
    for name in without:
        (place / name).unlink()
    seal(place)
    stranger()
    disk = open_disk(place)
    assert disk.refusal == f"data_dir {place} is read-only"
    assert disk.get(key(1)) == record(1, value=b"one")
    assert disk.entries(b"", LAST, 9)[0].key == key(1)
    with pytest.raises(StoreError):
        disk.applying(batch(record(2)))()
    disk.close()


def test_an_empty_directory_that_cannot_be_written_to_is_refused(place, stranger):
    seal(place)
    stranger()
    assert refused(place) == "cannot be written to (Permission denied): choose another, or mend its rights"
    assert refused(place / "below") == "cannot be made (Permission denied): choose another"


def test_a_file_that_cannot_be_read_is_refused(open_disk, place, stranger):
    open_disk(place).close()
    (place / "data.mdb").chmod(0)
    seal_less = (place / "gdht.lock", place / "lock.mdb")
    for path in seal_less:
        path.chmod(0o666)
    stranger()
    assert refused(place) == "data.mdb cannot be read (Permission denied)"


@pytest.fixture
def limit_files() -> Iterator[Callable[[int], None]]:
    """`limit_files(bytes)`: no file may grow beyond that."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_write_that_fails_changes_nothing_and_the_next_one_is_tried(open_disk, tmp_path, limit_files):
    disk = open_disk()
    disk.applying(batch(record(1, value=b"one")))()
    limit_files((tmp_path / "data" / "data.mdb").stat().st_size)
    for _ in range(3):
        with pytest.raises(StoreError) as error:
            disk.applying(batch(*(record(number, value=bytes(4000)) for number in range(100))))()
        assert error.value.reason == "disk"
    assert disk.scan(b"", LAST, 9) == [record(1, value=b"one")]
    limit_files(resource.RLIM_INFINITY)
    disk.applying(batch(record(2)))()
    assert open_disk().scan(b"", LAST, 9) == [record(1, value=b"one"), record(2)]


def test_a_file_at_its_limit_refuses_and_is_read(open_disk, monkeypatch):
    monkeypatch.setattr(lmdb_disk, "SLACK_BYTES", 0)
    disk = open_disk()
    with pytest.raises(StoreError) as error:
        disk.applying(batch(*(record(number, value=bytes(4000)) for number in range(1000))))()
    assert error.value.reason == "full"
    assert disk.scan(b"", LAST, 9) == []
    disk.applying(batch(record(1)))()


def test_after_a_failure_that_lmdb_does_not_get_over_the_file_is_opened_once_more(open_disk):
    disk = open_disk()
    disk.applying(batch(record(1)))()
    healthy = disk._env

    class Panicking:
        """An environment after a failed write of its first pages."""

        def begin(self, **_how):
            raise lmdb.PanicError("mdb_txn_begin")

        def close(self):
            healthy.close()

    disk._env = Panicking()
    with pytest.raises(StoreError) as error:
        disk.applying(batch(record(2)))()
    assert error.value.reason == "disk"
    assert disk.get(key(1)) == record(1)
    disk.applying(batch(record(2)))()
    assert len(disk.scan(b"", LAST, 9)) == 2


def test_nothing_is_written_after_the_end(open_disk):
    disk = open_disk()
    disk.close()
    with pytest.raises(StoreError):
        disk.applying(batch(record(1)))()


# Tables ---------------------------------------------------------------------------------------------------------------


def test_what_is_due_follows_its_record(open_disk):
    disk = open_disk()
    disk.applying(batch(record(1, expires_at_s=10.0), record(2, expires_at_s=20.0)))()
    disk.applying(batch(record(1, stamp=2, expires_at_s=30.0)))()
    assert disk.expiring(25.0, 9) == [key(2)]
    disk.applying(batch(record(2, stamp=2, expires_at_s=25.0)._replace(tombstone_until_s=40.0).buried()))()
    assert disk.expiring(35.0, 9) == [key(1)]
    assert disk.expiring(40.0, 9) == [key(1), key(2)]
    assert disk.expiring(40.0, 1) == [key(1)]
    disk.applying(Batch({key(1): None, key(2): None, key(3): None}, {(3, 0): Digest()}, {}))()
    assert disk.expiring(1e12, 9) == []
    assert list(disk.leaves()) == []


def test_a_batch_of_thousands_is_whole(open_disk):
    disk = open_disk()
    numbers = Random(1).sample(range(100_000), 3000)
    disk.applying(batch(*(record(number, expires_at_s=float(number)) for number in numbers)))()
    assert [one.key for one in disk.scan(b"", LAST, 9999)] == [key(number) for number in sorted(numbers)]
    assert disk.expiring(1e9, 9999) == [key(number) for number in sorted(numbers)]
    disk.applying(Batch({key(number): None for number in numbers}, {}, {}))()
    assert disk.scan(b"", LAST, 9) == []
    assert disk.expiring(1e9, 9) == []


def test_what_a_batch_says_it_replaces_is_not_looked_up(open_disk):
    disk = open_disk()
    old = record(1, expires_at_s=10.0)
    disk.applying(batch(old))()
    new = record(1, stamp=2, expires_at_s=20.0)
    for _ in range(2):  # the second time changes nothing
        disk.applying(batch(new)._replace(replaced={key(1): old}))()
        assert disk.expiring(99.0, 9) == [key(1)]
        assert disk.counts()["due"] == 1
    disk.applying(Batch({key(1): None, key(2): None}, {}, {}, {key(1): new, key(2): None}))()
    assert disk.counts() == {"records": 0, "due": 0, "digests": 1, "notes": 2}


def test_each_read_sees_what_was_applied_before_it(open_disk):
    disk = open_disk()
    for number in range(1, 9):
        disk.applying(batch(record(1, stamp=number)))()
        assert disk.get(key(1)) == record(1, stamp=number)
        disk.applying(batch(record(2, stamp=number)))()
        assert disk.scan(b"", LAST, 9)[1] == record(2, stamp=number)


def test_the_file_does_not_grow_though_reads_see_one_state_for_long(open_disk, tmp_path):
    disk = open_disk()
    data = tmp_path / "data" / "data.mdb"
    sizes = []
    for _ in range(2):
        assert disk.get(key(1)) is None
        for number in range(50):
            disk.expect_work(lambda: None)
            disk.applying(Batch({}, {}, {"clock": bytes([number]) * 3000}))()
        sizes.append(data.stat().st_size)
    assert sizes[0] == sizes[1] < 20 * 4096


def test_who_expects_a_batch_is_told_when_only_the_disk_is_waited_for(open_disk):
    disk = open_disk()
    told = []
    disk.expect_work(lambda: told.append(disk.get(key(1))))
    disk.applying(batch(record(1)))()
    disk.applying(batch(record(2)))()
    assert told == [None]


def test_scans_keep_to_their_ends_and_their_limit(open_disk):
    disk = open_disk()
    disk.applying(batch(*(record(number) for number in range(5)), Record(LAST, b"", Version(1, 7), 10.0, 3)))()
    for read in (disk.scan, disk.entries):
        assert [one.key for one in read(b"", LAST, 9)] == [*map(key, range(5)), LAST]
        assert [one.key for one in read(key(0), key(3), 9)] == [key(1), key(2), key(3)]
        assert [one.key for one in read(key(0), key(3), 2)] == [key(1), key(2)]
        assert read(LAST, LAST, 9) == read(key(7), key(9), 9) == read(b"", LAST, 0) == []


def test_the_bytes_of_a_record_are_those_that_other_versions_read():
    one = Record(bytes(range(32)), b"hello", Version(1 << 40, 7), 1234.5, 3, 2345.5, is_tombstone=False)
    packed = layout.pack_record(one)
    assert packed.hex() == (f"0000010000000000{7:064x}40934a000000000040a253000000000003000cec5e54" + b"hello".hex())
    assert layout.unpack_record(one.key, packed) == layout.checked_record(one.key, packed) == one
    assert layout.due_key(one) == (1234500).to_bytes(8, "big") + one.key
    assert layout.due_key(one.buried())[:8] == (2345500).to_bytes(8, "big")
    digest = Digest(1, 2, 3, 4)
    assert layout.pack_leaf(3, 258).hex() == "030102"
    assert layout.pack_digest(digest).hex() == f"{1:016x}{3:016x}{4:016x}{2:032x}"
    assert layout.unpack_digest(layout.pack_leaf(3, 258), layout.pack_digest(digest)) == (3, 258, digest)


def test_any_changed_byte_of_a_record_is_noticed():
    one = Record(bytes(range(32)), b"hello", Version(1 << 40, 7), 1234.5, 3)
    packed = layout.pack_record(one)
    for place in range(len(packed)):
        with pytest.raises(layout.Damaged):
            layout.checked_record(one.key, packed[:place] + bytes([packed[place] ^ 1]) + packed[place + 1 :])
    for other, data in ((key(1), packed), (one.key[:-1], packed), (one.key, packed[:40])):
        with pytest.raises(layout.Damaged):
            layout.checked_record(other, data)


# The journal ----------------------------------------------------------------------------------------------------------


def told(*records: Record, replaced: Record | None = None) -> Batch:
    """A batch that says what it replaces."""
    return batch(*records)._replace(replaced={one.key: replaced for one in records})


@pytest.fixture
def journaling(open_disk) -> LmdbDisk:
    """A disk whose next batches go to its journal; it has record 1."""
    disk = open_disk()
    disk.applying(told(record(1, value=b"table")))()
    return disk


def table_entries(path: Path) -> int:
    """How many records are in the tables themselves."""
    with lmdb.open(str(path), max_dbs=4, readonly=True, lock=False) as env, env.begin() as txn:
        entries: int = txn.stat(env.open_db(b"records", txn=txn, create=False))["entries"]
        return entries


def test_small_batches_go_to_the_journal_and_are_there_after_a_crash(journaling, open_disk, tmp_path):
    for number in range(2, 30):
        journaling.applying(told(record(number, value=b"%d" % number)))()
    journaling.applying(told(record(1, stamp=2, value=b"new"), replaced=record(1, value=b"table")))()
    copy = as_it_is(tmp_path / "data")
    assert table_entries(copy) == 1
    disk = open_disk(copy)
    assert [one.value for one in disk.scan(b"", LAST, 99)] == [b"new", *(b"%d" % number for number in range(2, 30))]
    assert disk.counts()["due"] == disk.counts()["records"] == 29


def test_a_crash_while_the_journal_is_written_costs_that_batch_alone(journaling, open_disk, tmp_path):
    for number in (2, 3):
        journaling.applying(told(record(number)))()
    copy = as_it_is(tmp_path / "data")
    file = copy / "journal"
    os.truncate(file, file.stat().st_size - 10)
    assert [one.key for one in open_disk(copy).scan(b"", LAST, 9)] == [key(1), key(2)]


def test_a_journal_that_is_damaged_is_refused_with_what_to_do(journaling, open_disk, tmp_path):
    for number in (2, 3):
        journaling.applying(told(record(number)))()
    copy = as_it_is(tmp_path / "data")
    file = copy / "journal"
    content = bytearray(file.read_bytes())
    content[100] ^= 1
    file.write_bytes(content)
    assert refused(copy).startswith("journal is damaged (entry 0 at byte 0 is wrong, though a later one is right)")
    file.unlink()
    assert [one.key for one in open_disk(copy).scan(b"", LAST, 9)] == [key(1)]


def test_reads_see_tables_and_journal_together(journaling):
    journaling.applying(told(record(3, expires_at_s=5.0)))()
    journaling.applying(told(record(2, expires_at_s=7.0)))()
    assert [one.key for one in journaling.scan(key(1), LAST, 1)] == [key(2)]
    assert [one.key for one in journaling.entries(b"", LAST, 9)] == [key(1), key(2), key(3)]
    assert journaling.expiring(6.0, 9) == [key(3)]
    journaling.applying(Batch({key(3): None}, {}, {"name": b"x"}, {key(3): record(3, expires_at_s=5.0)}))()
    assert journaling.get(key(3)) is None
    assert journaling.expiring(9.0, 9) == [key(2)]
    assert journaling.note("name") == b"x"
    assert journaling.is_due(layout.due_key(record(2, expires_at_s=7.0)))
    assert not journaling.is_due(layout.due_key(record(3, expires_at_s=5.0)))


def test_when_the_journal_has_enough_all_of_it_goes_to_the_tables(journaling, open_disk, tmp_path, monkeypatch):
    monkeypatch.setattr(lmdb_disk, "JOURNAL_RECORDS_MAX", 10)
    for number in range(2, 14):
        journaling.applying(told(record(number)))()
        assert journaling.get(key(number)) == record(number)
    copy = as_it_is(tmp_path / "data")
    assert table_entries(copy) == 12
    assert len(open_disk(copy).scan(b"", LAST, 99)) == 13


def test_after_a_write_to_the_journal_failed_the_next_one_goes_to_the_tables(journaling, tmp_path, monkeypatch):
    journaling.applying(told(record(2)))()

    def fail(_file, _data, _at):
        raise OSError(28, "no room")

    with monkeypatch.context() as broken:
        broken.setattr(os, "pwrite", fail)
        with pytest.raises(StoreError, match="full"):
            journaling.applying(told(record(3)))()
    assert journaling.get(key(3)) is None
    journaling.applying(told(record(4)))()
    assert table_entries(as_it_is(tmp_path / "data")) == 3
    assert [one.key for one in journaling.scan(b"", LAST, 9)] == [key(1), key(2), key(4)]


def test_what_is_closed_in_good_order_is_in_the_tables(journaling, tmp_path):
    journaling.applying(told(record(2)))()
    journaling.close()
    assert table_entries(tmp_path / "data") == 2


def test_what_is_written_after_a_crash_follows_what_was_in_the_journal(journaling, open_disk, tmp_path):
    journaling.applying(told(record(2)))()
    disk = open_disk(as_it_is(tmp_path / "data"))
    disk.applying(told(record(3)))()
    assert len(open_disk(as_it_is(tmp_path / "data left")).scan(b"", LAST, 9)) == 3


def test_work_that_was_made_ready_before_the_journal_failed_goes_to_the_tables(journaling, open_disk, tmp_path):
    """As when a store is closed while the same changes are on their way already."""
    work = journaling.applying(told(record(2)))
    with pytest.MonkeyPatch.context() as failing:
        failing.setattr(os, "pwrite", lambda *_what: os.close(-1))
        with pytest.raises(StoreError):
            journaling.applying(told(record(3)))()
    work()
    assert [one.key for one in open_disk(as_it_is(tmp_path / "data")).scan(b"", LAST, 9)] == [key(1), key(2)]


def test_a_journal_that_cannot_be_read_is_refused(journaling, tmp_path):
    copy = as_it_is(tmp_path / "data")
    (copy / "journal").mkdir()
    assert refused(copy) == "journal cannot be read (Is a directory)"


def test_in_a_directory_that_takes_nothing_the_journal_is_read(open_disk, place, stranger):
    disk = open_disk(place / "data")
    for number in (1, 2):
        disk.applying(told(record(number)))()
    copy = as_it_is(place / "data")
    seal(copy)
    stranger()
    disk = open_disk(copy)
    assert disk.refusal == f"data_dir {copy} is read-only"
    assert disk.scan(b"", LAST, 9) == [record(1), record(2)]
    disk.close()
    assert (copy / "journal").stat().st_size > 0


def test_a_store_of_the_first_format_is_read_and_has_a_journal_from_its_first_write_on(journaling, open_disk, tmp_path):
    journaling.close()
    with lmdb.open(str(tmp_path / "data"), max_dbs=4) as env:
        notes = env.open_db(b"notes")
        with env.begin(write=True, db=notes) as txn:
            txn.put(b"format", b"1")
            txn.delete(b"journal")
    disk = open_disk()
    assert len(disk.scan(b"", LAST, 9)) == 1
    for number in (2, 3):
        disk.applying(told(record(number)))()
    assert disk.note("format") == b"2"
    copy = as_it_is(tmp_path / "data")
    assert table_entries(copy) == 2
    assert len(open_disk(copy).scan(b"", LAST, 9)) == 3
