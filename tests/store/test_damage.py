"""Records whose bytes have changed on the disk: none is served, and replicas can put each back."""

import itertools
from pathlib import Path

import lmdb
import pytest

from gdht.core.ident import key_ident
from gdht.core.records import Record, Version
from gdht.store import layout
from gdht.store.checking import check_tables
from gdht.store.durable import DurableStore
from gdht.store.lmdb_disk import TABLES, LmdbDisk
from tests.store.disks import FAILURE, LAST, Aside, crowding

BYTES_MAX = 1 << 20
KEYS = [bytes([7, 7, number]) + bytes(29) for number in range(10)]  # in one leaf
BAD = KEYS[4]
CHANGED = {"stamp": 0, "time": 41, "replication": 56, "value": layout.HEADER.size}


def record(key: bytes) -> Record:
    return Record(key, b"value", Version(1, 7), 1000.0, 3)


class Damaged:
    """A store of ten records, some of which are damaged."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.aside = Aside()
        self.disk = LmdbDisk(path, BYTES_MAX)
        self.store = DurableStore(self.disk, BYTES_MAX, self.aside)
        for key in KEYS:
            self.store.put(record(key))
        self.aside.end_all()

    def damage(self, key: bytes, at: int) -> None:
        """Flip bits of one byte behind the store's back, and open it again."""
        self.store.close()
        with lmdb.open(str(self.path), max_dbs=len(TABLES)) as env:
            table = env.open_db(b"records")
            with env.begin(write=True, db=table) as txn:
                data = bytearray(txn.get(key))
                data[at] ^= 0x7F
                txn.put(key, bytes(data))
        self.aside = Aside()
        self.disk = LmdbDisk(self.path, BYTES_MAX)
        self.store = DurableStore(self.disk, BYTES_MAX, self.aside)

    def require_sound(self, keys: list[bytes]) -> None:
        """Everything that is derived from the records is right, in memory and on the disk."""
        self.aside.end_all()
        assert [one.key for one in self.store.scan(b"", LAST, 99)] == keys
        assert [one.key for one in self.store.entries(b"", LAST, 99)] == keys
        assert self.store.count == len(keys)
        assert self.store.size_bytes == sum(self.store.record_bytes(record(key)) for key in keys)
        assert check_tables(self.disk, lambda _number: None) == []
        fresh = DurableStore(self.disk, BYTES_MAX, self.aside)
        assert fresh.digest(0, 0, 1) == self.store.digest(0, 0, 1)
        for arc in itertools.permutations(map(key_ident, KEYS[2:9:2]), 2):
            assert fresh.digest(*arc, 1) == self.store.digest(*arc, 1)


@pytest.fixture(params=["a leaf", "a crowd"])
def damaged(request, tmp_path):
    patched = crowding() if request.param == "a crowd" else pytest.MonkeyPatch()
    made = Damaged(tmp_path / "data")
    yield made
    made.store.close()
    patched.undo()


@pytest.mark.parametrize("at", CHANGED.values(), ids=CHANGED)
def test_a_damaged_record_is_absent_and_can_be_put_back(damaged, at):
    whole = damaged.store.digest(0, 0, 1)
    damaged.damage(BAD, at)
    assert damaged.store.get(BAD, 0.0) is None
    damaged.require_sound([key for key in KEYS if key != BAD])
    assert damaged.store.digest(0, 0, 1) != whole
    damaged.store.put(record(BAD))
    damaged.require_sound(KEYS)
    assert damaged.store.digest(0, 0, 1) == whole


@pytest.mark.parametrize("at", CHANGED.values(), ids=CHANGED)
def test_a_put_over_a_damaged_record_that_nobody_read_counts_once(damaged, at):
    damaged.damage(BAD, at)
    damaged.store.put(record(BAD))
    damaged.require_sound(KEYS)


@pytest.mark.parametrize("limit", [1, 2, 3, 99])
def test_scans_leave_damaged_records_out_and_go_on_behind_them(damaged, limit):
    for key in (KEYS[0], KEYS[4], KEYS[5], KEYS[9]):
        damaged.damage(key, CHANGED["value"])
    sound = [key for number, key in enumerate(KEYS) if number not in {0, 4, 5, 9}]
    scanned: list[bytes] = []
    while found := damaged.store.scan(scanned[-1] if scanned else b"", LAST, limit):
        assert len(found) <= limit
        scanned += [one.key for one in found]
    assert scanned == sound
    damaged.store.scan(b"", LAST, 99)
    damaged.require_sound(sound)


@pytest.mark.parametrize("at", CHANGED.values(), ids=CHANGED)
def test_a_damaged_record_whose_time_has_come_goes_for_good(damaged, at):
    damaged.damage(BAD, at)
    damaged.store.expire(1000.0, 99)
    damaged.aside.end_all()
    damaged.store.expire(1000.0, 99)
    damaged.store.get(BAD, 0.0)
    damaged.require_sound([])


@pytest.mark.parametrize("damaged", ["a leaf"], indirect=True)  # a crowd is read at once
def test_a_drop_that_fails_is_made_good_by_the_next_read_and_told_once(damaged, caplog):
    damaged.damage(BAD, CHANGED["value"])
    counted = damaged.store.digest(0, 0, 1)
    assert damaged.store.held(BAD) is None
    damaged.aside.end(FAILURE)
    assert damaged.store.digest(0, 0, 1) == counted
    assert damaged.store.held(BAD) is None
    damaged.require_sound([key for key in KEYS if key != BAD])
    assert caplog.text.count(BAD.hex()) == 1


@pytest.mark.parametrize("damaged", ["a leaf"], indirect=True)  # a crowd is read at once
def test_on_a_disk_that_takes_nothing_it_is_absent_too(damaged):
    damaged.damage(BAD, CHANGED["value"])
    damaged.disk.refusal = "read-only"
    assert damaged.store.held(BAD) is None
    assert [one.key for one in damaged.store.scan(b"", LAST, 99)] == [key for key in KEYS if key != BAD]
    assert damaged.store.pending is None
