"""Whole rings in which records move while nodes join, leave and crash in the middle of it."""

from hashlib import sha256

import pytest

from gdht.sim.cluster import Cluster
from gdht.sim.delays import exponential

KEYS = [sha256(b"%d" % number).digest() for number in range(60)]
MOVED_S = 60.0
"""How long at most everything may take to be in its place: two rounds of repair."""


def value_of(key):
    return b"value of " + key


@pytest.fixture
def filled(cluster):
    """`filled(nodes, replication, **options)`: a ring that holds all keys."""

    def make(nodes, replication=3, **options):
        ring = cluster(nodes, safe=False, **options)
        fill(ring, replication)
        return ring

    return make


def fill(ring, replication=3):
    for index, key in enumerate(KEYS):
        host = ring.hosts[index % len(ring.hosts)]
        outcome = ring.put(host, key, value_of(key), replication=replication)
        assert outcome is not None
        assert outcome.result == "success"


def demand_all(ring):
    """Every value can be read, through any node."""
    for index, key in enumerate(KEYS):
        host = ring.members()[index % len(ring.members())]
        assert ring.get(host, key).value == value_of(key)


def under_replicated(ring):
    return sum(host.node.stats.keys_under_replicated for host in ring.live())


def test_a_crash_is_made_good_soon_after_it_is_noticed(filled):
    ring = filled(6)
    ring.run_for(5.0)
    ring.crash(ring.hosts[2])
    ring.wait_until_ideal(30.0)
    assert ring.wait_until_replicated(10.0) < 10.0
    ring.run_for(10.0)
    assert under_replicated(ring) == 0


@pytest.mark.parametrize("after_s", [0.0, 0.1, 0.2, 0.4, 0.8, 1.6])
def test_a_leaver_that_crashes_in_the_middle_loses_nothing(filled, after_s):
    ring = filled(6)
    leaver = ring.hosts[1]
    ring.leave(leaver)
    ring.run_for(after_s)
    if leaver.live:
        ring.crash(leaver)
    ring.wait_until_ideal(60.0)
    ring.wait_until_replicated(MOVED_S)
    demand_all(ring)


@pytest.mark.parametrize("after_s", [0.1, 0.3, 0.6, 1.2])
def test_a_receiver_that_crashes_in_the_middle_loses_nothing(filled, after_s):
    ring = filled(6)
    leaver = ring.hosts[1]
    receiver = next(host for host in ring.hosts if host.peer == leaver.node.ring.successors[2])
    ring.leave(leaver)
    ring.run_for(after_s)
    ring.crash(receiver)
    ring.wait_until_left()
    ring.wait_until_ideal(60.0)
    ring.wait_until_replicated(MOVED_S)
    demand_all(ring)


def test_what_has_a_single_copy_survives_its_owners_departure_and_is_served_all_the_time(filled):
    ring = filled(6, replication=1)
    for leaver in ring.hosts[1:4]:
        ring.leave(leaver)
        while leaver.live:
            ring.run_for(0.1)
            demand_some(ring, leaver)
    ring.wait_until_ideal(60.0)
    ring.wait_until_replicated(MOVED_S)
    demand_all(ring)


def demand_some(ring, leaver):
    host = next(host for host in ring.members() if host is not leaver)
    for key in KEYS[::20]:
        assert ring.get(host, key).value == value_of(key)


@pytest.mark.parametrize("after_s", [0.1, 0.5, 1.0, 1.5, 2.0])
def test_a_newcomer_that_crashes_in_the_middle_loses_nothing_and_leaves_nothing_behind(filled, after_s):
    ring = filled(5)
    ring.add()
    ring.run_for(after_s)
    ring.crash(ring.hosts[-1])
    ring.wait_until_ideal(60.0)
    ring.wait_until_replicated(MOVED_S)
    demand_all(ring)


def test_records_with_a_single_copy_follow_newcomers(filled):
    ring = filled(3, replication=1)
    for _ in range(5):
        ring.add()
    ring.wait_until_joined()
    ring.wait_until_ideal(60.0)
    demand_all(ring)
    ring.wait_until_replicated(MOVED_S)
    assert all(not host.node.receiving for host in ring.live())
    demand_all(ring)


def test_a_newcomer_is_sure_of_its_arc_within_a_few_intervals(filled):
    ring = filled(6)
    ring.add()
    ring.wait_until_joined()
    began_s = ring.now
    while ring.hosts[-1].node.receiving:
        ring.run_for(0.1)
    assert ring.now - began_s < 5.0


def test_little_is_sent_twice_when_a_node_joins(filled):
    """The newcomer asks for its share while others offer it theirs."""
    ring = filled(8)
    before = received(ring)
    ring.add()
    ring.wait_until_joined()
    ring.wait_until_replicated(MOVED_S)
    ring.run_for(40.0)
    held = ring.hosts[-1].node.store.count
    assert received(ring) - before <= 2 * held + 10


def received(ring):
    return sum(
        count for host in ring.live() for label, count in host.node.stats.handoff_keys.items() if label[0] == "received"
    )


def test_a_ring_at_rest_sends_nothing_but_comparisons(filled):
    ring = filled(6)
    ring.run_for(60.0)
    before = received(ring)
    ring.run_for(120.0)
    assert received(ring) == before


def test_a_node_that_comes_back_with_old_records_hands_them_on_and_keeps_none():
    """While it was away, others took its place, and some of its values were replaced."""
    with Cluster(3, safe=False, sync=exponential(0.01)) as ring:
        ring.grow(5)
        ring.wait_until_ideal(60.0)
        fill(ring)
        away = ring.hosts[2]
        ring.crash(away)
        ring.wait_until_ideal(60.0)
        for key in KEYS[::2]:
            assert ring.put(ring.members()[0], key, b"newer").result == "success"
        ring.grow(4)
        ring.restart(away)
        ring.wait_until_joined()
        ring.wait_until_ideal(60.0)
        ring.wait_until_replicated(MOVED_S)
        for index, key in enumerate(KEYS):
            expected = value_of(key) if index % 2 else b"newer"
            assert ring.get(away, key).value == expected


def test_counts_by_role_add_up_over_a_ring(filled):
    ring = filled(6)
    ring.run_for(40.0)
    keys = [host.node.status().keys for host in ring.live()]
    assert sum(counts.owned for counts in keys) == len(KEYS)
    assert sum(counts.replica for counts in keys) == 2 * len(KEYS)
    assert sum(counts.misplaced + counts.tombstones for counts in keys) == 0
