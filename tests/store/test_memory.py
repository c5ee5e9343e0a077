"""The store in memory against a plain dictionary, through any history of puts, removals, scans and expiry."""

import inspect
from itertools import pairwise
from math import ceil
from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from gdht.core.crowds import PART_MAX
from gdht.core.digests import NOTHING, Digest, digest_of
from gdht.core.ident import in_open_closed, key_ident
from gdht.core.messages import Entry
from gdht.core.records import Record, Version
from gdht.errors import StoreError
from gdht.node.storage import Store
from gdht.store.memory import RECORD_OVERHEAD_BYTES, MemoryStore
from tests.store.disks import crowding

FIRST, LAST = bytes(32), b"\xff" * 32


def key(number: int) -> bytes:
    """Keys in few buckets, the ends of the circle among them, in order of their numbers."""
    return {0: FIRST, 9: LAST}.get(number, bytes([number // 4, 16 * (number % 3), number]) + bytes(29))


def record(number: int = 1, stamp: int = 1, value: bytes = b"", expires_at_s: float = 1000.0) -> Record:
    return Record(key(number), value, Version(stamp, 7), expires_at_s, 3)


keys = st.sampled_from(sorted(map(key, range(10))))
versions = st.builds(Version, st.integers(1, 5), st.integers(1, 2))
values = st.binary(max_size=3).map(lambda data: data * 100)
clocks = st.floats(0, 20)
records = st.builds(
    Record, keys, values, versions, clocks, st.integers(1, 4), st.just(0.0) | clocks, st.just(False)
) | st.builds(Record, keys, st.just(b""), versions, st.just(0.0), st.integers(1, 4), clocks, st.just(True))


def expected(held: Record | None, new: Record) -> Record:
    """What is kept, spelled out."""
    if held is None:
        return new
    if new.version < held.version:
        return held
    if new.version == held.version:
        return held._replace(
            replication=max(held.replication, new.replication),
            tombstone_until_s=max(held.tombstone_until_s, new.tombstone_until_s),
        )
    buried = max(new.tombstone_until_s, held.expires_at_s, held.tombstone_until_s)
    return new._replace(tombstone_until_s=buried) if buried > new.expires_at_s else new


class MemoryStoreAgainstADictionary(RuleBasedStateMachine):
    @initialize(records_max=st.integers(0, 8))
    def open(self, records_max):
        self.bytes_max = records_max * (RECORD_OVERHEAD_BYTES + 100)
        self.store: Store = MemoryStore(self.bytes_max)
        self.model: dict[bytes, Record] = {}

    def used(self, model) -> int:
        return sum(map(self.store.record_bytes, model.values()))

    def arc(self, start, end, replication) -> Digest:
        total = NOTHING
        for kept in self.model.values():
            if kept.replication >= replication and in_open_closed(key_ident(kept.key), start, end):
                total = total.plus(digest_of(kept, self.store.record_bytes(kept)))
        return total

    @rule(new=records)
    def put(self, new):
        kept = expected(self.model.get(new.key), new)
        grown = {**self.model, new.key: kept}
        if self.used(grown) > max(self.bytes_max, self.used(self.model)):
            with pytest.raises(StoreError) as error:
                self.store.put(new)
            assert error.value.reason == "full"
            return
        assert self.store.put(new) == kept
        self.model = grown

    @rule(number=keys, now_s=clocks)
    def get(self, number, now_s):
        held = self.model.get(number)
        assert self.store.held(number) == held
        alive = held is not None and not held.is_tombstone and held.expires_at_s > now_s
        assert self.store.get(number, now_s) == (held if alive else None)

    @rule(number=keys, version=versions)
    def remove(self, number, version):
        held = self.model.get(number)
        matches = held is not None and held.version == version
        assert self.store.remove(number, version) == matches
        if matches:
            del self.model[number]

    @rule(now_s=clocks, limit=st.integers(0, 12))
    def expire(self, now_s, limit):
        ends = {r.key: ceil(r.tombstone_until_s if r.is_tombstone else r.expires_at_s) for r in self.model.values()}
        assert self.store.expire(now_s, limit) == min(limit, sum(end <= now_s for end in ends.values()))
        done = []
        for held in list(self.model.values()):
            kept = self.store.held(held.key)
            if kept == held:
                continue
            done.append(ends[held.key])
            assert ends[held.key] <= now_s
            if held.is_tombstone or held.tombstone_until_s <= now_s:
                assert kept is None
                del self.model[held.key]
            else:
                assert kept == held._replace(value=b"", is_tombstone=True, expires_at_s=0.0)
                self.model[held.key] = kept
        left = [end for end in ends.values() if end <= now_s]
        assert sorted(done) == sorted(left)[: len(done)]  # the earliest first

    @rule(after=st.one_of(st.just(b""), keys), last=keys, limit=st.integers(0, 12))
    def scan(self, after, last, limit):
        found = [self.model[number] for number in sorted(self.model) if after < number <= last][:limit]
        assert self.store.scan(after, last, limit) == found
        assert self.store.entries(after, last, limit) == [Entry(r.key, r.version, r.replication) for r in found]

    @rule(start=keys.map(key_ident), end=keys.map(key_ident), replication=st.integers(1, 5))
    def digest(self, start, end, replication):
        assert self.store.digest(start, end, replication) == self.arc(start, end, replication)

    @invariant()
    def accounts_are_right(self):
        assert self.store.count == len(self.model)
        assert self.store.size_bytes == self.used(self.model)
        assert self.store.size_bytes <= self.store.size_bytes_max
        assert self.store.scan(b"", LAST, 100) == [self.model[number] for number in sorted(self.model)]
        assert self.store.digest(0, 0, 1) == self.arc(0, 0, 1)


class MemoryStoreWithCrowds(MemoryStoreAgainstADictionary):
    """Whose digests are divided wherever two records are in one leaf."""

    @initialize(records_max=st.integers(0, 8))
    def open(self, records_max):
        self.patched = crowding()
        super().open(records_max)

    def teardown(self):
        self.patched.undo()


TestMemoryStoreWithCrowds = MemoryStoreWithCrowds.TestCase
TestMemoryStoreWithCrowds.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestMemoryStoreAgainstADictionary = MemoryStoreAgainstADictionary.TestCase
TestMemoryStoreAgainstADictionary.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_it_has_every_part_of_the_protocol_in_its_shape():
    store: Store = MemoryStore(1)
    for name, part in vars(Store).items():
        if name.startswith("_"):
            continue
        assert hasattr(store, name), name
        if callable(part):
            assert inspect.signature(getattr(MemoryStore, name)) == inspect.signature(part), name


def test_a_full_store_refuses_and_changes_nothing():
    store = MemoryStore(2 * RECORD_OVERHEAD_BYTES + 10)
    store.put(record(1, value=b"12345"))
    store.put(record(2))
    before = (store.count, store.size_bytes, store.scan(b"", LAST, 10))
    for refused in (record(3, value=b"123456"), record(1, stamp=2, value=b"12345678901")):
        with pytest.raises(StoreError):
            store.put(refused)
    assert (store.count, store.size_bytes, store.scan(b"", LAST, 10)) == before


def test_a_full_store_takes_what_needs_no_more_room():
    store = MemoryStore(RECORD_OVERHEAD_BYTES + 5)
    store.put(record(value=b"12345"))
    assert store.put(record(stamp=2, value=b"1234")).value == b"1234"
    assert store.size_bytes == RECORD_OVERHEAD_BYTES + 4


def test_a_newer_version_that_has_expired_still_keeps_an_older_one_out():
    store = MemoryStore(10_000)
    store.put(record(stamp=2, value=b"new", expires_at_s=10.0))
    assert store.put(record(stamp=1, value=b"old", expires_at_s=100.0)).value == b"new"
    assert store.get(key(1), 50.0) is None


def test_a_life_that_was_renewed_does_not_end_at_its_first_end():
    store = MemoryStore(10_000)
    store.put(record(stamp=1, expires_at_s=10.0))
    store.put(record(stamp=2, expires_at_s=20.0))
    assert store.expire(15.0, 10) == 0
    assert store.get(key(1), 15.0) is not None
    assert store.expire(20.0, 10) == 1


def test_a_life_that_was_shortened_ends_at_its_new_end():
    store = MemoryStore(10_000)
    store.put(record(stamp=1, expires_at_s=20.0))
    store.put(record(stamp=2, value=b"new", expires_at_s=10.0))
    assert store.expire(10.0, 10) == 1
    assert store.get(key(1), 10.0) is None


def test_a_tombstone_keeps_older_versions_out_for_as_long_as_they_could_live_elsewhere():
    store = MemoryStore(10_000)
    old = record(stamp=1, value=b"old", expires_at_s=20.0)
    store.put(old)
    store.put(record(stamp=2, value=b"new", expires_at_s=10.0))
    assert store.expire(10.0, 10) == 1
    assert store.size_bytes == RECORD_OVERHEAD_BYTES
    assert store.put(old).is_tombstone
    assert store.get(key(1), 10.0) is None
    assert store.expire(19.9, 10) == 0
    assert store.expire(20.0, 10) == 1
    assert store.count == 0


def test_a_tombstone_passes_its_burden_on_to_the_next_shorter_life():
    store = MemoryStore(10_000)
    for stamp, end_s in ((1, 30.0), (2, 10.0)):
        store.put(record(stamp=stamp, expires_at_s=end_s))
    assert store.expire(10.0, 10) == 1
    assert store.put(record(stamp=3, expires_at_s=15.0)).tombstone_until_s == 30.0
    assert store.put(record(stamp=4, expires_at_s=40.0)).tombstone_until_s == 0.0


def test_a_late_copy_of_the_same_version_does_not_wake_a_tombstone():
    store = MemoryStore(10_000)
    late = record(stamp=2, value=b"new", expires_at_s=10.1)
    store.put(late._replace(tombstone_until_s=20.0))
    store.expire(11.0, 10)
    assert store.put(late).is_tombstone
    assert store.get(key(1), 5.0) is None


def test_overwriting_one_key_for_ever_does_not_grow_the_store():
    store = MemoryStore(10_000)
    for stamp in range(1, 10_000):
        store.put(record(stamp=stamp, expires_at_s=stamp))
    assert store.count == 1
    assert len(store._due) == len(store._seconds) == 1
    assert store.expire(1e9, 10) == 1
    left_over = (store._due, store._seconds, store._records._root, store._records.count)
    assert not any(left_over)


def test_a_record_is_unreadable_at_once_and_swept_within_a_second_but_never_early():
    store = MemoryStore(10_000)
    store.put(record(1, expires_at_s=10.25))
    store.put(record(2, expires_at_s=10.75))
    store.put(record(3, expires_at_s=11.0))
    store.put(record(4, expires_at_s=11.001))
    assert store.get(key(1), 10.5) is None
    assert store.get(key(2), 10.5) is not None
    assert store.expire(10.999, 10) == 0
    assert store.expire(11.0, 10) == 3
    assert [r.key for r in store.scan(b"", LAST, 10)] == [key(4)]
    assert store.expire(12.0, 10) == 1


def test_expiry_keeps_to_its_limit_within_a_second_and_across_seconds():
    store = MemoryStore(10_000)
    for number in range(9):
        store.put(record(number, expires_at_s=10.0 + number // 4))
    assert [store.expire(100.0, limit) for limit in (0, 3, 3, 3, 3)] == [0, 3, 3, 3, 0]
    assert (store.count, store.size_bytes) == (0, 0)


def test_stores_with_one_history_sweep_the_same_records():
    stores = [MemoryStore(100_000) for _ in range(2)]
    for store in stores:
        for number in Random(1).sample(range(1, 9), 8):
            store.put(record(number, expires_at_s=10.0))
        store.expire(10.0, 3)
    assert stores[0].scan(b"", LAST, 10) == stores[1].scan(b"", LAST, 10)
    assert stores[0].count == 5


def test_keys_chosen_to_share_one_bucket_are_scanned_in_order_and_resumed():
    store = MemoryStore(10_000_000)
    chosen = [b"\xab\xc0" + number.to_bytes(30, "big") for number in range(5000)]
    for number in Random(1).sample(chosen, len(chosen)):
        store.put(Record(number, b"", Version(1, 7), 10.0, 3))
    others = [record(0), record(9)]
    for other in others:
        store.put(other)
    scanned: list[bytes] = []
    while found := store.scan(scanned[-1] if scanned else b"", LAST, 500):
        assert len(found) <= 500
        scanned += [r.key for r in found]
    assert scanned == [FIRST, *chosen, LAST]
    assert [r.key for r in store.scan(chosen[9], chosen[12], 500)] == chosen[10:13]


def test_notes_are_kept_by_name():
    store = MemoryStore(10_000)
    store.write_note("identity", b"one")
    store.write_note("identity", b"two")
    assert (store.note("identity"), store.note("peers")) == (b"two", b"")


def test_nothing_in_memory_waits_for_a_disk():
    store = MemoryStore(10_000)
    store.put(record())
    assert (store.pending, store.error) == (None, "")


def test_both_ends_of_the_circle_can_be_scanned():
    store = MemoryStore(10_000)
    for number in (0, 5, 9):
        store.put(record(number))
    assert [r.key for r in store.scan(b"", LAST, 10)] == [FIRST, key(5), LAST]
    assert [r.key for r in store.scan(FIRST, LAST, 10)] == [key(5), LAST]
    assert [r.key for r in store.scan(b"", FIRST, 10)] == [FIRST]
    assert store.scan(LAST, FIRST, 10) == []


def test_keys_chosen_to_share_a_leaf_are_hardly_read_to_sum_up_an_arc(monkeypatch):
    store = MemoryStore(100_000_000)
    rng = Random(1)
    chosen = sorted(b"\xab\xcd" + rng.randbytes(30) for _ in range(5000))
    for number in rng.sample(chosen, len(chosen)):
        store.put(Record(number, b"", Version(1, 7), 10.0, 1 + number[2] % 3))
    read = []

    def watched(*where, scan=store._ledger._scan):
        found = scan(*where)
        read.extend(found)
        return found

    monkeypatch.setattr(store._ledger, "_scan", watched)
    whole = NOTHING
    for first, last in pairwise([chosen[0], *sorted(rng.sample(chosen, 30)), chosen[0]]):
        read.clear()
        whole = whole.plus(store.digest(key_ident(first), key_ident(last), 2))
        assert len(read) <= 2 * PART_MAX
    assert store.digest(0, 0, 2) == whole
    for number in chosen:
        assert store.remove(number, Version(1, 7))
    assert store._ledger._crowds == {}
    assert store.digest(0, 0, 1) == NOTHING
