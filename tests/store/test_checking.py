"""Stores that nobody uses: every kind of damage is found and named, and a sound one is sound."""

from pathlib import Path

import lmdb
import pytest

from gdht.core.records import Record, Version
from gdht.errors import StoreError
from gdht.store import layout
from gdht.store.checking import check_pages, check_tables, open_existing, sound_records
from gdht.store.durable import DurableStore
from gdht.store.lmdb_disk import TABLES, LmdbDisk
from tests.store.disks import Aside

KEYS = [bytes([number]) * 32 for number in range(1, 21)]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A store of twenty records that have come, gone and expired."""
    path, aside = tmp_path / "data", Aside()
    store = DurableStore(LmdbDisk(path, 1 << 20), 1 << 20, aside)
    for key in KEYS:
        store.put(Record(key, key * 40, Version(1, 7), 1000.0, 3))
        store.put(Record(key, key * 40, Version(2, 7), 500.0 + key[0], 2 + key[0] % 2))
        aside.end_all()
    store.remove(KEYS[0], Version(2, 7))
    store.expire(505.0, 9)  # into tombstones
    store.close()
    return path


def problems_of(path: Path) -> list[str]:
    disk = open_existing(path)
    try:
        return check_tables(disk, lambda _number: None)
    finally:
        disk.close()


def write(path: Path, table: bytes, key: bytes, data: bytes | None) -> None:
    """Change a table behind the store's back; None: take the entry out."""
    with lmdb.open(str(path), max_dbs=len(TABLES)) as env:
        handle = env.open_db(table)
        with env.begin(write=True, db=handle) as txn:
            assert txn.put(key, data) if data is not None else txn.delete(key)


def first(path: Path, table: bytes) -> tuple[bytes, bytes]:
    with lmdb.open(str(path), max_dbs=len(TABLES)) as env:
        handle = env.open_db(table)
        with env.begin(db=handle) as txn:
            return next(iter(txn.cursor()))


def test_a_sound_store_is_sound(place):
    assert check_pages(place) == []
    assert problems_of(place) == []


def test_a_changed_record_is_named(place):
    key, data = first(place, b"records")
    write(place, b"records", key, data[:-1] + b"!")
    assert problems_of(place)[0] == f"record {key.hex()}: its checksum is wrong"
    disk = open_existing(place)
    damaged: list[str] = []
    assert [record.key for record in sound_records(disk, damaged.append)] == KEYS[2:]
    assert len(damaged) == 1
    disk.close()


def test_a_record_that_would_never_expire_is_named(place):
    due, _ = first(place, b"due")
    write(place, b"due", due, None)
    key = due[layout.DUE_AT.size :].hex()
    assert problems_of(place) == [
        f"record {key}: is not in the order of what is due",
        "18 entries are in the order of what is due, of 19 records",
    ]


def test_something_due_that_is_not_there_is_told(place):
    write(place, b"due", bytes(8) + KEYS[0], b"")
    assert problems_of(place) == ["20 entries are in the order of what is due, of 19 records"]


def test_a_wrong_digest_is_named(place):
    leaf, data = first(place, b"digests")
    write(place, b"digests", leaf, data[:-1] + bytes([data[-1] ^ 1]))
    write(place, b"digests", layout.pack_leaf(9, 0xFFFF), data)
    copies, number = layout.LEAF.unpack(leaf)
    assert problems_of(place) == [
        f"digest of leaf {number:04x} at {copies} copies: is not that of its records",
        "digest of leaf ffff at 9 copies: is not that of its records",
    ]


def test_a_torn_page_is_found_without_a_crash(place):
    data = place / "data.mdb"
    pages = [data.read_bytes()[at : at + 4096] for at in range(0, data.stat().st_size, 4096)]
    key, _ = first(place, b"records")
    assert any(key in page for page in pages)
    data.write_bytes(b"".join(bytes(4096) if key in page else page for page in pages))
    assert check_pages(place) != []


@pytest.mark.parametrize("content", [None, b"no store"])
def test_where_no_store_is_none_is_made(tmp_path, content):
    if content is not None:
        (tmp_path / "other").write_bytes(content)
    for look in (open_existing, check_pages):
        for path in (tmp_path, tmp_path / "nowhere"):
            with pytest.raises(StoreError, match="holds no store"):
                look(path)
    assert not (tmp_path / "nowhere").exists()
    assert not (tmp_path / "gdht.lock").exists()
