"""The durable store against two dictionaries, of what readers see and of what has reached the disk, in any order of
writes, commits that end well or fail, crashes and restarts; over a disk in memory, and over LMDB.
"""

import inspect
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gdht.core.digests import NOTHING, Digest, digest_of
from gdht.core.ident import in_open_closed, key_ident
from gdht.core.messages import Entry
from gdht.core.records import Record, Version
from gdht.errors import StoreError
from gdht.node.storage import Store
from gdht.store import durable, group, lmdb_disk
from gdht.store.checking import check_tables
from gdht.store.disk import Disk
from gdht.store.durable import DurableStore
from gdht.store.group import GROUP_WRITES_MAX
from gdht.store.layout import RECORD_OVERHEAD_BYTES
from gdht.store.lmdb_disk import LmdbDisk
from gdht.store.merging import after_due, due_s, merged
from tests.store.disks import FAILURE, LAST, Aside, DictDisk, as_it_is, crowding

BYTES_MAX = 1 << 20


def key(number: int) -> bytes:
    """Keys in few leaves, the ends of the circle among them, in order of their numbers."""
    return {0: bytes(32), 9: LAST}.get(number, bytes([number // 4, 16 * (number % 3), number]) + bytes(29))


def record(number: int = 1, stamp: int = 1, value: bytes = b"", expires_at_s: float = 1000.0) -> Record:
    return Record(key(number), value, Version(stamp, 7), expires_at_s, 3)


keys = st.sampled_from(sorted(map(key, range(10))))
versions = st.builds(Version, st.integers(1, 5), st.integers(1, 2))
clocks = st.integers(0, 20).map(float)
living = st.builds(
    Record,
    keys,
    st.binary(max_size=3),
    versions,
    clocks,
    st.integers(1, 4),
    st.just(0.0) | clocks,
    is_tombstone=st.just(value=False),
)
records = living | living.map(Record.buried)


class DurableStoreAgainstDictionaries(RuleBasedStateMachine):
    crowded = False

    def make_disk(self) -> Disk:
        return DictDisk()

    @initialize(group_max=st.sampled_from([1, 3, 1000]))
    def open(self, group_max):
        self.patched = crowding() if self.crowded else pytest.MonkeyPatch()
        self.group_max = group.GROUP_WRITES_MAX = group_max
        self.disk = self.make_disk()
        self.on_disk: dict[bytes, Record] = {}
        self.notes_on_disk: dict[str, bytes] = {}
        self.restart()

    def restart(self):
        self.aside = Aside()
        self.store = DurableStore(self.disk, BYTES_MAX, self.aside)
        self.seen, self.notes = dict(self.on_disk), dict(self.notes_on_disk)
        self.line = []  # what each commit will leave behind, and its outcome for those who wait for it
        self.outcomes: list[list] = []
        self.open_writes = 0

    def wrote(self, records=0):
        """A write, of so many records, begins a commit when none is under way, and waits for one in any case."""
        outcome: list = []
        self.store.pending.when_ended(outcome.append)
        self.outcomes.append(outcome)
        self.open_writes += records
        if not self.line or self.open_writes >= self.group_max:
            self.seal()

    def seal(self):
        self.line.append((dict(self.seen), dict(self.notes), self.outcomes))
        self.outcomes, self.open_writes = [], 0

    @rule(new=records)
    def put(self, new):
        kept = merged(self.seen.get(new.key), new)
        changes = kept is not self.seen.get(new.key)
        assert self.store.put(new) == kept
        self.seen[new.key] = kept
        if changes:
            self.wrote(1)

    @rule(number=keys, version=versions)
    def remove(self, number, version):
        held = self.seen.get(number)
        matches = held is not None and held.version == version
        assert self.store.remove(number, version) == matches
        if matches:
            del self.seen[number]
            self.wrote(1)

    @rule(now_s=clocks, limit=st.integers(0, 12))
    def expire(self, now_s, limit):
        settled = [key for key, held in self.seen.items() if self.store._disk.get(key) is not None]
        changing = {key for group in self.store._layers.groups() for key in group.records}
        due = [key for key in settled if key not in changing and due_s(self.seen[key]) <= now_s]
        due = sorted(due, key=lambda key: (due_s(self.seen[key]), key))[:limit]
        assert self.store.expire(now_s, limit) == len(due)
        for number in due:
            left = after_due(self.seen.pop(number), now_s)
            if left is not None:
                self.seen[number] = left
        if due:
            self.wrote(len(due))

    @rule(name=st.sampled_from(["identity", "peers"]), content=st.binary(max_size=3))
    def write_note(self, name, content):
        self.store.write_note(name, content)
        self.notes[name] = content
        self.wrote()

    @precondition(lambda self: self.aside.works and not self.aside.is_worked)
    @rule()
    def reach_the_disk(self):
        """The loop has not heard of it yet."""
        self.aside.work()
        self.on_disk, self.notes_on_disk, _ = self.line[0]

    @precondition(lambda self: self.aside.works)
    @rule()
    def commit(self):
        self.on_disk, self.notes_on_disk, outcomes = self.line.pop(0)
        self.aside.end()
        assert outcomes == [[None]] * len(outcomes)
        assert self.store.error == ""
        if not self.line and self.outcomes:
            self.seal()

    @precondition(lambda self: self.aside.works and not self.aside.is_worked)
    @rule()
    def fail(self):
        outcomes = [outcome for _, _, some in self.line for outcome in some] + self.outcomes
        self.line, self.outcomes, self.open_keys = [], [], set()
        self.seen, self.notes = dict(self.on_disk), dict(self.notes_on_disk)
        self.aside.end(FAILURE)
        assert outcomes == [[FAILURE]] * len(outcomes)
        assert self.store.error == str(FAILURE)
        assert self.store.pending is None

    @rule()
    def crash(self):
        self.restart()

    @rule(number=keys, now_s=clocks)
    def get(self, number, now_s):
        held = self.seen.get(number)
        alive = held is not None and held.lives(now_s)
        assert self.store.get(number, now_s) == (held if alive else None)
        assert self.store.value(number, now_s) == (held.value if alive else None)

    @rule(start=keys.map(key_ident), end=keys.map(key_ident), replication=st.integers(1, 5))
    def digest(self, start, end, replication):
        assert self.store.digest(start, end, replication) == self.arc(start, end, replication)

    def arc(self, start, end, replication) -> Digest:
        total = NOTHING
        for kept in self.seen.values():
            if kept.replication >= replication and in_open_closed(key_ident(kept.key), start, end):
                total = total.plus(digest_of(kept, self.store.record_bytes(kept)))
        return total

    @rule(after=st.just(b"") | keys, last=keys, limit=st.integers(0, 12))
    def scan(self, after, last, limit):
        found = [self.seen[number] for number in sorted(self.seen) if after < number <= last][:limit]
        assert self.store.scan(after, last, limit) == found
        assert self.store.entries(after, last, limit) == [Entry(r.key, r.version, r.replication) for r in found]

    @invariant()
    def readers_see_every_write_and_nothing_else(self):
        assert self.store.scan(b"", LAST, 100) == [self.seen[number] for number in sorted(self.seen)]
        assert [self.store.held(key(number)) for number in range(10)] == [self.seen.get(key(n)) for n in range(10)]
        assert all(self.store.note(name) == content for name, content in self.notes.items())

    @invariant()
    def accounts_are_right(self):
        assert self.store.count == len(self.seen)
        assert self.store.size_bytes == sum(map(self.store.record_bytes, self.seen.values()))
        assert self.store.digest(0, 0, 1) == self.arc(0, 0, 1)
        assert self.store.digest(0, 0, 3) == self.arc(0, 0, 3)

    @invariant()
    def one_commit_is_under_way_whenever_something_waits(self):
        assert len(self.aside.works) == (self.store.pending is not None)

    def teardown(self):
        group.GROUP_WRITES_MAX = GROUP_WRITES_MAX
        self.patched.undo()


class DurableStoreWithCrowds(DurableStoreAgainstDictionaries):
    """Whose digests are divided wherever two records are in one leaf."""

    crowded = True


class DurableStoreOverLmdb(DurableStoreAgainstDictionaries):
    def make_disk(self) -> Disk:
        self.path = Path(tempfile.mkdtemp())
        return LmdbDisk(self.path, BYTES_MAX)

    def restart(self):
        self.disk.close()
        self.disk = LmdbDisk(self.path, BYTES_MAX)
        super().restart()

    @rule()
    def close(self):
        self.on_disk, self.notes_on_disk = dict(self.seen), dict(self.notes)
        self.store.close()
        self.restart()
        assert check_tables(self.disk, lambda _number: None) == []

    def teardown(self):
        super().teardown()
        if hasattr(self, "disk"):
            self.disk.close()
            shutil.rmtree(self.path)


class DurableStoreThatCrashesOverLmdb(DurableStoreOverLmdb):
    """What it leaves is in its files as they are at that moment: the journal has what the tables have not."""

    @initialize(group_max=st.sampled_from([1, 3, 1000]), journaled_max=st.sampled_from([-1, 0, 2, 5, 500]))
    def open(self, group_max, journaled_max):
        self.journaled_max = lmdb_disk.JOURNAL_RECORDS_MAX
        lmdb_disk.JOURNAL_RECORDS_MAX = journaled_max
        super().open(group_max)

    def restart(self):
        left = as_it_is(self.path)
        self.disk.close()
        shutil.rmtree(self.path)
        left.rename(self.path)
        super().restart()
        assert check_tables(self.disk, lambda _number: None) == []

    def teardown(self):
        super().teardown()
        lmdb_disk.JOURNAL_RECORDS_MAX = self.journaled_max


TestDurableStoreAgainstDictionaries = DurableStoreAgainstDictionaries.TestCase
TestDurableStoreAgainstDictionaries.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
TestDurableStoreWithCrowds = DurableStoreWithCrowds.TestCase
TestDurableStoreWithCrowds.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
TestDurableStoreOverLmdb = DurableStoreOverLmdb.TestCase
TestDurableStoreOverLmdb.settings = settings(max_examples=20, stateful_step_count=30, deadline=None)

TestDurableStoreThatCrashesOverLmdb = DurableStoreThatCrashesOverLmdb.TestCase
TestDurableStoreThatCrashesOverLmdb.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@pytest.fixture
def aside() -> Aside:
    return Aside()


@pytest.fixture
def disk() -> DictDisk:
    return DictDisk()


@pytest.fixture
def store(disk: DictDisk, aside: Aside) -> DurableStore:
    return DurableStore(disk, BYTES_MAX, aside)


def test_it_has_every_part_of_the_protocol_in_its_shape(store):
    for name, part in vars(Store).items():
        if name.startswith("_"):
            continue
        assert hasattr(store, name), name
        if callable(part):
            assert inspect.signature(getattr(DurableStore, name)) == inspect.signature(part), name


def test_a_lone_put_costs_one_commit_and_a_storm_two(store, disk, aside):
    for number in range(1, 9):
        store.put(record(number))
    assert len(aside.works) == 1
    aside.end_all()
    assert [len(batch.records) for batch in disk.batches] == [1, 7]
    assert store.pending is None


def test_the_next_commit_has_begun_when_the_waiting_are_told_of_the_last(store, aside):
    store.put(record(1))
    under_way = []
    store.pending.when_ended(lambda _error: under_way.append(len(aside.works)))
    store.put(record(2))
    aside.end()
    assert under_way == [1]


@pytest.mark.parametrize("failure", [None, FAILURE])
def test_who_asks_after_a_commit_has_ended_is_told_at_once(store, aside, failure):
    store.put(record(1))
    commit = store.pending
    aside.end(failure)
    outcomes = []
    commit.when_ended(outcomes.append)
    assert outcomes == [failure]


def test_a_put_that_changes_nothing_waits_for_what_it_relies_on(store, aside):
    store.put(record(1, stamp=2))
    first = store.pending
    store.put(record(1, stamp=1))
    assert store.pending is first
    aside.end_all()
    store.put(record(1, stamp=1))
    assert store.pending is None


def test_a_full_store_refuses_and_changes_nothing(disk, aside):
    store = DurableStore(disk, RECORD_OVERHEAD_BYTES + 5, aside)
    store.put(record(1, value=b"12345"))
    for refused in (record(2), record(1, stamp=2, value=b"123456")):
        with pytest.raises(StoreError) as error:
            store.put(refused)
        assert error.value.reason == "full"
    assert store.scan(b"", LAST, 9) == [record(1, value=b"12345")]
    store.put(record(1, stamp=2, value=b"1234"))


def test_a_store_whose_limit_was_lowered_takes_what_makes_it_smaller(disk, aside):
    store = DurableStore(disk, BYTES_MAX, aside)
    store.put(record(1, value=b"12345"))
    store.close()
    store = DurableStore(disk, 10, aside)
    assert store.put(record(1, stamp=2, value=b"1")).value == b"1"


@pytest.mark.parametrize("numbers", [(1, 2, 3), (1, 1, 1)], ids=["beside each other", "in place of each other"])
def test_what_waits_for_the_disk_is_bounded_in_writes(store, aside, monkeypatch, numbers):
    monkeypatch.setattr(durable, "WAITING_WRITES_MAX", 3)
    for stamp, number in enumerate(numbers, start=1):
        store.put(record(number, stamp))
    with pytest.raises(StoreError) as error:
        store.put(record(4))
    assert error.value.reason == "overload"
    with pytest.raises(StoreError):
        store.remove(key(numbers[-1]), Version(3, 7))
    assert store.count == len(set(numbers))
    aside.end()
    store.put(record(4))


def test_who_waits_for_one_commit_is_bounded_and_all_others_are_told_so_at_once(store, aside, monkeypatch):
    monkeypatch.setattr(group, "GROUP_WAITING_MAX", 3)
    store.put(record(1))
    outcomes = [[] for _ in range(5)]
    for outcome in outcomes:
        store.put(record(1))  # changes nothing, so it cannot be refused
        store.pending.when_ended(outcome.append)
    assert [[error.reason for error in outcome] for outcome in outcomes] == [[], [], [], ["overload"], ["overload"]]
    aside.end()
    assert outcomes[:3] == [[None]] * 3
    assert {len(outcome) for outcome in outcomes} == {1}


def test_what_waits_for_the_disk_is_bounded_in_bytes(store, aside, monkeypatch):
    monkeypatch.setattr(durable, "WAITING_BYTES_MAX", 1000)
    store.put(record(1, value=bytes(600)))
    for stamp in range(1, 9):
        store.put(record(2, stamp=stamp, value=bytes(399)))  # in place of each other
    store.put(record(3, value=b"1"))
    with pytest.raises(StoreError) as error:
        store.put(record(4))
    assert error.value.reason == "overload"
    aside.end_all()
    store.put(record(4))


def test_a_disk_that_takes_nothing_is_read_and_every_write_is_refused(disk, aside):
    store = DurableStore(disk, BYTES_MAX, aside)
    store.put(record(1, value=b"one"))
    store.close()
    disk.refusal = "data_dir x is read-only"
    store = DurableStore(disk, BYTES_MAX, aside)
    assert store.error == "data_dir x is read-only"
    assert store.get(key(1), 0.0) == record(1, value=b"one")
    writes = [
        lambda: store.put(record(2)),
        lambda: store.remove(key(1), Version(1, 7)),
        lambda: store.expire(1e9, 10),
        lambda: store.write_note("identity", b""),
    ]
    for write in writes:
        with pytest.raises(StoreError) as error:
            write()
        assert error.value.reason == "read_only"
    assert store.put(record(1, value=b"one")).value == b"one"  # changes nothing
    assert store.count == 1


def test_an_error_that_nobody_foresaw_fails_the_commit_too(store, aside):
    store.put(record(1))
    outcomes = []
    store.pending.when_ended(outcomes.append)
    aside.end(ZeroDivisionError("a bug"))
    assert outcomes[0].reason == "disk"
    assert "a bug" in store.error
    assert store.count == 0


def test_after_a_failure_later_writes_are_tried_again(store, aside):
    store.put(record(1))
    aside.end(FAILURE)
    assert store.error == "it broke"
    store.put(record(2))
    aside.end()
    assert store.error == ""
    assert [found.key for found in store.scan(b"", LAST, 9)] == [key(2)]


def test_a_small_write_that_fits_on_a_full_disk_does_not_clear_the_error(disk, aside):
    has_room = False
    store = DurableStore(disk, BYTES_MAX, aside, lambda _bytes: has_room)
    store.put(record(1, value=bytes(100)))
    aside.end(FAILURE)
    store.put(record(2, value=b"small"))
    aside.end()
    assert store.held(key(2))
    assert store.error == "it broke"
    store.put(record(3, value=bytes(100)))
    aside.end()
    assert store.error == ""
    store.put(record(4, value=bytes(100)))
    aside.end(FAILURE)
    has_room = True
    store.put(record(2, stamp=2))
    aside.end()
    assert store.error == ""


def test_closing_makes_all_durable_and_tells_those_who_wait(store, disk, aside):
    outcomes = []
    for number in (1, 2):
        store.put(record(number))
        store.pending.when_ended(outcomes.append)
    store.close()
    assert sorted(disk.records) == [key(1), key(2)]
    assert outcomes == [None, None]
    aside.end()  # the thread was late
    assert outcomes == [None, None]


def test_a_storm_goes_to_the_disk_in_bounded_groups(store, disk, aside, monkeypatch):
    monkeypatch.setattr(group, "GROUP_WRITES_MAX", 3)
    for number in range(1, 9):
        store.put(record(number))
    assert len(aside.works) == 1
    aside.end_all()
    assert [len(batch.records) for batch in disk.batches] == [1, 3, 3, 1]


def test_as_many_wait_for_a_group_when_its_writes_are_in_place_of_each_other(store, disk, aside, monkeypatch):
    monkeypatch.setattr(group, "GROUP_WRITES_MAX", 3)
    told = []
    for stamp in range(1, 9):
        store.put(record(1, stamp))
        store.pending.when_ended(lambda _error, stamp=stamp: told.append(stamp))
    together = []
    while aside.works:
        before = len(told)
        aside.end()
        together.append(told[before:])
    assert together == [[1], [2, 3, 4], [5, 6, 7], [8]]
    assert [batch.records[key(1)].version.stamp for batch in disk.batches] == [1, 4, 7, 8]


def test_large_values_make_small_groups(store, disk, aside, monkeypatch):
    monkeypatch.setattr(group, "GROUP_BYTES_MAX", 1000)
    for number in range(1, 9):
        store.put(record(number, value=bytes(600)))
    aside.end_all()
    assert [len(batch.records) for batch in disk.batches] == [1, 2, 2, 2, 1]


def test_what_builds_on_a_group_that_is_lost_at_the_end_is_lost_too(store, disk, aside, monkeypatch):
    monkeypatch.setattr(group, "GROUP_WRITES_MAX", 1)
    failures = iter([FAILURE])

    def fail_once(batch, applying=disk.applying):
        for failure in failures:
            raise failure
        return applying(batch)

    outcomes = []
    for number in (1, 2):
        store.put(record(number))
        store.pending.when_ended(outcomes.append)
    monkeypatch.setattr(disk, "applying", fail_once)
    store.close()
    assert outcomes == [FAILURE, FAILURE]
    assert disk.records == {}


def test_closing_over_a_broken_disk_tells_that_writes_are_lost(store, disk, monkeypatch):
    def fail(_batch):
        raise FAILURE

    outcomes = []
    store.put(record(1))
    store.pending.when_ended(outcomes.append)
    monkeypatch.setattr(disk, "applying", fail)
    store.close()
    assert outcomes == [FAILURE]


def test_pages_over_many_changes_read_little_more_than_they_return(store, disk, aside):
    numbers = [number.to_bytes(32, "big") for number in range(3000)]
    for number in numbers[::3]:
        store.put(Record(number, b"", Version(1, 7), 10.0, 3))
    aside.end_all()
    for number in numbers[::3][::2]:
        store.remove(number, Version(1, 7))
    for number in numbers[1::3]:
        store.put(Record(number, b"", Version(1, 7), 10.0, 3))
    expected = sorted([*numbers[::3][1::2], *numbers[1::3]])
    scanned: list[bytes] = []
    while found := store.scan(scanned[-1] if scanned else b"", LAST, 100):
        assert len(found) <= 100
        scanned += [one.key for one in found]
    assert scanned == expected
