"""Expiry in bounded steps, and counting by role."""

import pytest

from gdht.node.journal import Cause
from gdht.node.replication.upkeep import Census, expire


@pytest.fixture
def forty(world):
    """The node at 40 of a ring of ten."""
    return world.ideal(*range(10, 101, 10))[3]


def test_what_has_expired_is_dropped_and_counted(world, forty, monkeypatch):
    monkeypatch.setattr("gdht.node.replication.upkeep.EXPIRE_RECORDS", 3)
    for number in range(10):
        forty.keep(number, ttl_s=1 + number % 2)
    world.clock_s += 1
    expire(forty, forty.node)
    assert forty.node.store.count == 5
    assert forty.node.stats.store_expired_keys == 5


def test_records_are_counted_by_their_role(forty):
    for number in (31, 40, 25, 15, 5, 75):
        forty.keep(number)
    Census(forty.node).take()
    keys = forty.node.keys
    assert (keys.owned, keys.replica, keys.misplaced) == (2, 2, 2)


@pytest.mark.parametrize(("copies", "roles"), [(1, (0, 0, 1)), (2, (0, 1, 0))])
def test_the_role_of_a_record_depends_on_its_replication(forty, copies, roles):
    forty.keep(25, copies=copies)
    Census(forty.node).take()
    assert (forty.node.keys.owned, forty.node.keys.replica, forty.node.keys.misplaced) == roles


def test_bytes_are_counted_as_the_store_counts_them(forty):
    """Or the share of the store that is used would be wrong on pages and in alerts."""
    records = [forty.keep(number, b"12345") for number in (31, 25, 75)]
    Census(forty.node).take()
    keys, store = forty.node.keys, forty.node.store
    assert [keys.owned_bytes, keys.replica_bytes, keys.misplaced_bytes] == list(map(store.record_bytes, records))
    assert keys.bytes == store.size_bytes


def test_tombstones_are_counted_apart(world, forty):
    for number in (35, 25, 75):
        record = forty.keep(number, ttl_s=1)
        forty.node.store.put(record._replace(tombstone_until_s=record.expires_at_s + 60))
    forty.keep(36)
    world.clock_s += 2
    expire(forty, forty.node)
    Census(forty.node).take()
    keys = forty.node.keys
    assert (keys.owned, keys.replica, keys.misplaced, keys.tombstones) == (1, 0, 0, 3)


def test_a_lone_node_owns_all_it_holds(world):
    (lone,) = world.ideal(10)
    for number in (5, 10, 15):
        lone.keep(number)
    Census(lone.node).take()
    assert (lone.node.keys.owned, lone.node.keys.replica, lone.node.keys.misplaced) == (3, 0, 0)


def test_counting_reads_no_records(forty, monkeypatch):
    """It is done every second, however many there are."""
    for number in (31, 25, 75):
        forty.keep(number << 246)
    reads = []
    monkeypatch.setattr(forty.node.store, "entries", lambda *_: reads.append(1))
    Census(forty.node).take()
    assert not reads


def test_what_has_not_changed_is_not_counted_again(forty, at, monkeypatch):
    """It is asked for every second."""
    census = Census(forty.node)
    forty.keep(35)
    census.take()
    digest, asked = forty.node.store.digest, []
    monkeypatch.setattr(forty.node.store, "digest", lambda *arc: asked.append(arc) or digest(*arc))
    census.take()
    assert len(asked) == 1
    forty.keep(36)
    census.take()
    assert forty.node.keys.owned == 2
    forty.node.set_ring(forty.node.ring.with_predecessors(at(35)), Cause.NOTIFIED)
    census.take()
    assert (forty.node.keys.owned, forty.node.keys.misplaced) == (1, 0)
