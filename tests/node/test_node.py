"""Whole lives of nodes in simulated rings: joining, data through churn, leaving, and what a node tells of itself."""

from dataclasses import replace

import pytest

from gdht.core.ident import hash_ident, ident_bytes
from gdht.core.messages import ErrorReason, P2pFailure, P2pGet, P2pPing, P2pPut, P2pStat, P2pSuccess, P2pTransfer
from gdht.node.node import Node
from gdht.node.replication import handover
from gdht.node.replication.get import GetOutcome
from gdht.node.replication.put import PutOutcome
from gdht.node.status import State
from gdht.sim.network import NetworkOptions, constant

IDEAL_S = 60.0
SETTLED_S = 20.0
KEYS = [ident_bytes(hash_ident(f"key {number}".encode())) for number in range(40)]


def put_all(cluster, replication=0, keys=KEYS):
    for index, key in enumerate(keys):
        host = cluster.members()[index % len(cluster.members())]
        assert cluster.put(host, key, key[:5], 3600, replication).result == "success"


def unreadable(cluster, keys=KEYS):
    """The keys that cannot be read, each through another node."""
    members = cluster.members()
    return [k for i, k in enumerate(keys) if cluster.get(members[i % len(members)], k).value != k[:5]]


def holders(cluster, key):
    return [host for host in cluster.live() if host.node.store.get(key, 0.0) is not None]


def by_place(cluster):
    return sorted(cluster.live(), key=lambda host: host.peer.ident)


def owner_of(cluster, key):
    ident = int.from_bytes(key, "big")
    return next((host for host in by_place(cluster) if host.peer.ident >= ident), by_place(cluster)[0])


# Joining --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("nodes", [1, 2, 3, 5, 9, 10])
def test_a_ring_of_any_small_size_becomes_ideal_and_stays_so(cluster, nodes):
    ring = cluster(nodes)
    before = [host.node.ring for host in ring.hosts]
    ring.run_for(30.0)
    assert ring.violations() == []
    assert [host.node.ring.successors for host in ring.hosts] == [pointers.successors for pointers in before]


def test_nodes_that_join_all_at_once_become_one_ring(cluster):
    ring = cluster(1)
    for _ in range(12):
        ring.add([ring.hosts[0]])
    ring.wait_until_joined()
    ring.wait_until_ideal(IDEAL_S)


def test_two_founders_with_each_other_on_their_lists_become_one_ring(cluster):
    ring = cluster(2, safe=False)
    first, second = ring.hosts
    for host in ring.hosts:
        ring.crash(host)
    ring.network.partition([first.address], [second.address])
    ring.restart(first, [first, second])
    ring.restart(second, [second, first])
    ring.run_for(10.0)
    assert first.node.state is second.node.state is State.ACTIVE
    assert first.node.ring.alone
    assert second.node.ring.alone
    ring.network.heal()
    ring.wait_until_ideal(IDEAL_S)


def test_every_key_is_on_its_owner_and_the_nodes_after_it(cluster):
    ring = cluster(8)
    put_all(ring)
    order = by_place(ring)
    for key in KEYS:
        first = order.index(owner_of(ring, key))
        assert set(holders(ring, key)) == {order[(first + step) % 8] for step in range(3)}


def test_a_joiner_gets_its_share_and_nobody_keeps_too_much(cluster):
    ring = cluster(6)
    put_all(ring)
    ring.grow(6)
    ring.wait_until_ideal(IDEAL_S)
    ring.run_for(2 * SETTLED_S)
    order = by_place(ring)
    for key in KEYS:
        first = order.index(owner_of(ring, key))
        assert set(holders(ring, key)) == {order[(first + step) % 12] for step in range(3)}
    assert all(host.node.status().keys.misplaced == 0 for host in ring.hosts)
    assert sum(host.node.stats.handoff_keys["received", "join"] for host in ring.hosts) > 0


# Crashes --------------------------------------------------------------------------------------------------------------


def test_two_crashes_at_once_lose_nothing_and_the_copies_are_made_anew(cluster):
    ring = cluster(12)
    put_all(ring)
    order = by_place(ring)
    ring.crash(order[3])
    ring.crash(order[4])
    assert unreadable(ring) == []
    ring.wait_until_ideal(IDEAL_S)
    ring.run_for(2 * SETTLED_S)
    assert all(len(holders(ring, key)) == 3 for key in KEYS)
    assert all(host.node.stats.keys_under_replicated == 0 for host in ring.live())


@pytest.mark.parametrize("seed", range(4))
def test_right_after_a_crash_an_acknowledged_put_is_on_a_majority(cluster, seed):
    ring = cluster(12, seed=seed)
    victim = by_place(ring)[seed]
    key = ident_bytes(victim.peer.ident - 5)
    ring.crash(victim)
    for host in by_place(ring):
        outcome = ring.put(host, key, b"value", 3600, 3)
        assert outcome.result == "success"
        assert outcome.acknowledged >= 2
        assert ring.get(host, key) == GetOutcome("success", b"value")


@pytest.mark.parametrize("ttl_s", [1, 2, 3])
def test_a_short_life_and_a_silent_owner_never_break_a_put(cluster, ttl_s):
    ring = cluster(6, network=NetworkOptions(refusal=0.0))
    victim = by_place(ring)[2]
    ring.crash(victim)
    outcome = ring.put(by_place(ring)[0], ident_bytes(victim.peer.ident - 5), b"value", ttl_s, 1)
    assert outcome.result in ("success", "timeout", "quorum")


def test_a_crashed_node_comes_back_empty_and_is_filled_again(cluster):
    ring = cluster(6)
    put_all(ring)
    victim = ring.hosts[2]
    ring.crash(victim)
    ring.run_for(SETTLED_S)
    ring.restart(victim)
    ring.wait_until_joined()
    ring.wait_until_ideal(IDEAL_S)
    ring.run_for(2 * SETTLED_S)
    assert unreadable(ring) == []
    assert all(len(holders(ring, key)) == 3 for key in KEYS)


def test_the_last_node_alive_finds_its_ring_again_when_the_founder_returns(cluster):
    ring = cluster(2, safe=False)
    put_all(ring)
    founder, other = ring.hosts
    ring.crash(founder)
    ring.run_for(SETTLED_S)
    assert other.node.state is State.ISOLATED
    assert not other.node.status().ready_checks[0].ok
    ring.restart(founder, [])
    ring.wait_until_joined()
    ring.wait_until_ideal(IDEAL_S)
    ring.run_for(SETTLED_S)
    assert unreadable(ring) == []


def test_the_survivors_of_a_young_ring_start_it_again(cluster):
    """Three nodes, the first dies right after the third has joined: more than any ring is promised to survive."""
    ring = cluster(2, safe=False)
    first, second = ring.hosts
    third = ring.add([first])
    ring.wait_until_joined()
    ring.crash(first)
    ring.wait_until_joined()
    ring.wait_until_ideal(IDEAL_S)
    assert second.node.ring.predecessor == third.peer
    ring.restart(first, [first, second])
    ring.wait_until_joined()
    ring.wait_until_ideal(IDEAL_S)


# Leaving --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("replication", [1, 3])
def test_nothing_is_lost_when_nodes_leave_one_after_the_other(cluster, replication):
    ring = cluster(6)
    put_all(ring, replication)
    for host in ring.hosts[:5]:
        ring.leave(host)
        ring.wait_until_left()
        assert unreadable(ring) == []
    (last,) = ring.live()
    assert last.node.ring.alone
    assert last.node.is_member
    assert {check.name: check.ok for check in last.node.status().ready_checks}["successor"]


def test_nothing_is_lost_when_three_leave_together(cluster):
    ring = cluster(8)
    put_all(ring, 1)
    for host in by_place(ring)[2:5]:
        ring.leave(host)
    ring.wait_until_left()
    ring.wait_until_ideal(IDEAL_S)
    ring.run_for(SETTLED_S)
    assert unreadable(ring) == []


def test_a_leaver_does_not_lose_its_time_to_a_successor_that_stands_still(cluster):
    ring = cluster(6)
    put_all(ring, 1)
    leaver, silent = by_place(ring)[2:4]
    ring.pause(silent)
    ring.leave(leaver)
    ring.wait_until_left()
    told = leaver.node.status().handover
    assert (told.kind, told.without_taker) == ("leave", 0)
    assert told.seconds < 2 * ring.config.call_timeout
    ring.unpause(silent)
    ring.wait_until_ideal(IDEAL_S)
    ring.run_for(SETTLED_S)
    assert unreadable(ring) == []


def test_when_a_whole_ring_is_stopped_each_node_tells_once_of_each_other_that_takes_nothing(cluster, caplog):
    caplog.set_level("INFO")
    ring = cluster(5, safe=False)
    put_all(ring, 1)
    for host in ring.hosts:
        ring.leave(host)
    ring.wait_until_left()
    lines = [record for record in caplog.records if record.name == handover.__name__]
    told = [record for record in lines if record.getMessage().startswith("hand-over failed")]
    assert 0 < len(told) <= 5 * 4
    assert {record.levelname for record in told} == {"INFO"}


def test_puts_during_a_leave_are_kept(cluster):
    ring = cluster(5)
    leaver = by_place(ring)[2]
    keys = [ident_bytes(leaver.peer.ident - number) for number in range(1, 15)]
    ring.leave(leaver)
    writer = by_place(ring)[0]
    outcomes = [ring.put(writer, key, key[:5], 3600, 1) for key in keys]
    assert all(outcome.result == "success" for outcome in outcomes)
    ring.wait_until_left()
    assert unreadable(ring, keys) == []


def test_a_leave_is_quick_and_needs_no_timeout_of_the_others(cluster):
    ring = cluster(6, network=NetworkOptions(delay=constant(0.02)))
    put_all(ring)
    start_s = ring.now
    ring.leave(ring.hosts[2])
    ring.wait_until_left()
    assert ring.now - start_s < 2.0
    ring.wait_until_ideal(5.0)
    assert sum(sum(host.node.stats.rpc_timeouts.values()) for host in ring.live()) == 0


def test_the_last_node_leaves_without_ado(cluster):
    ring = cluster(1)
    ring.leave(ring.hosts[0])
    ring.wait_until_left(5.0)


def test_a_node_outside_the_ring_leaves_without_ado(cluster):
    ring = cluster(1)
    ring.crash(ring.hosts[0])
    waiting = ring.add([ring.hosts[0]])
    ring.run_for(5.0)
    assert waiting.node.state is State.JOINING
    ring.leave(waiting)
    ring.wait_until_left(5.0)


def test_a_node_cut_off_from_its_ring_says_as_it_leaves_that_its_records_had_no_taker(cluster):
    ring = cluster(2, safe=False)
    put_all(ring, replication=2)
    ring.crash(ring.hosts[0])
    ring.run_for(SETTLED_S)
    last = ring.hosts[1]
    assert last.node.state is State.ISOLATED
    ring.leave(last)
    ring.wait_until_left(5.0)
    told = last.node.status().handover
    assert (told.keys_done, told.without_taker, told.ended) == (0, len(KEYS), True)


# Records --------------------------------------------------------------------------------------------------------------


def test_a_record_lives_its_second_and_no_longer_wherever_it_is(cluster):
    ring = cluster(5, network=NetworkOptions(delay=constant(0.01)))
    assert ring.put(ring.hosts[0], KEYS[0], b"value", 1).result == "success"
    ring.run_for(0.4)
    assert all(ring.get(host, KEYS[0]).value == b"value" for host in ring.hosts[:2])
    ring.run_for(0.6)
    assert all(ring.get(host, KEYS[0]) == GetOutcome("not_found", None) for host in ring.hosts)
    ring.run_for(5.0)
    assert all(host.node.store.count == 0 for host in ring.hosts)
    assert sum(host.node.stats.store_expired_keys for host in ring.hosts) == 3


def test_joins_and_leaves_do_not_stretch_a_life(cluster):
    ring = cluster(3)
    born_s = ring.now
    for key in KEYS:
        assert ring.put(ring.hosts[0], key, key[:5], 30, 3).result == "success"
    ring.grow(3)
    ring.leave(ring.hosts[1])
    ring.wait_until_left()
    ring.run_for(born_s + 31.0 - ring.now)
    assert all(ring.get(ring.hosts[0], key).value is None for key in KEYS)


def test_the_later_of_two_puts_wins_through_whichever_nodes(cluster):
    ring = cluster(6)
    for number in range(12):
        value = f"value {number}".encode()
        assert ring.put(ring.hosts[number % 6], KEYS[0], value).result == "success"
        assert ring.get(ring.hosts[(number + 3) % 6], KEYS[0]).value == value


# What a node tells ----------------------------------------------------------------------------------------------------


def test_a_status_is_a_snapshot_of_everything(cluster):
    ring = cluster(4)
    put_all(ring)
    ring.run_for(5.0)
    statuses = [host.node.status() for host in ring.hosts]
    assert sum(status.keys.owned for status in statuses) == len(KEYS)
    assert sum(status.keys.replica for status in statuses) == 2 * len(KEYS)
    assert sum(status.owned_ratio for status in statuses) == pytest.approx(1.0)
    for status in statuses:
        assert status.estimated_nodes == 4
        assert status.state is State.ACTIVE
        assert all(check.ok for check in status.ready_checks)
        assert [check.name for check in status.ready_checks] == [
            "joined",
            "successor",
            "stabilize",
            "store_writable",
            "store_capacity",
            "not_draining",
        ]
        assert 0 < status.store_bytes < status.store_bytes_max
        assert status.predecessor in [host.peer for host in ring.hosts]


def test_a_status_counts_the_records_as_they_are_now(cluster):
    ring = cluster(1)
    put_all(ring)
    assert ring.hosts[0].node.status().keys.owned == len(KEYS)


def test_a_draining_node_serves_on_but_is_not_ready(cluster):
    ring = cluster(4)
    draining = ring.hosts[1]
    draining.node.drain()
    assert draining.node.state is State.DRAINING
    assert [check.name for check in draining.node.status().ready_checks if not check.ok] == ["not_draining"]
    put_all(ring)
    assert unreadable(ring) == []


def test_a_node_that_drains_before_it_has_joined_says_so(cluster):
    ring = cluster(1)
    ring.crash(ring.hosts[0])
    joining = ring.add([ring.hosts[0]])
    joining.node.drain()
    assert joining.node.state in (State.STARTING, State.JOINING)
    check = joining.node.status().ready_checks[-1]
    assert (check.name, check.ok) == ("not_draining", False)


def test_draining_outlasts_losing_the_ring(cluster):
    ring = cluster(2, safe=False)
    draining = ring.hosts[1]
    draining.node.drain()
    ring.crash(ring.hosts[0])
    ring.run_for(SETTLED_S)
    ring.restart(ring.hosts[0], [])
    ring.wait_until_joined()
    assert draining.node.state is State.DRAINING


def test_a_node_that_cannot_stabilize_any_more_is_not_ready(cluster):
    ring = cluster(3)
    host = ring.hosts[1]
    ring.network.partition([host.address])
    ring.run_for(30.0)
    failed = [check.name for check in host.node.status().ready_checks if not check.ok]
    assert failed == ["joined", "successor", "stabilize"]


def test_maintenance_is_counted_by_task(cluster):
    ring = cluster(3)
    ring.run_for(20.0)
    stats = ring.hosts[0].node.stats
    for task in ("stabilize", "check_predecessor", "fix_fingers", "repair", "expire", "rectify"):
        assert stats.maintenance_runs[task, "ok"] > 0, task
    assert stats.maintenance_runs["stabilize", "ok"] == pytest.approx(20, abs=15)
    assert set(stats.maintenance_last_success) >= {"stabilize", "repair"}
    assert stats.ring_pointer_changes["predecessor"] >= 1


def test_a_quiet_ring_changes_no_pointer(cluster):
    ring = cluster(6)
    ring.run_for(30.0)
    before = [host.node.stats.ring_pointer_changes.copy() for host in ring.hosts]
    ring.run_for(30.0)
    assert [host.node.stats.ring_pointer_changes for host in ring.hosts] == before


def test_a_stopped_node_does_nothing_more(cluster):
    ring = cluster(3, safe=False)
    stopped = ring.hosts[1]
    stopped.node.stop()
    ring.run_for(0.5)
    sent = ring.network.messages
    ring.crash(ring.hosts[0])
    ring.crash(ring.hosts[2])
    ring.run_for(10.0)
    assert ring.network.messages - sent <= 6


def test_the_questions_work_through_a_node(cluster):
    ring = cluster(5)
    put_all(ring, keys=KEYS[:1])
    host = ring.hosts[0]
    walk = ring.visit(host, host.node.walk)
    assert walk.complete
    assert len(walk.nodes) == 5
    report = ring.visit(host, lambda: host.node.where(KEYS[0]))
    assert [holder.role for holder in report.holders] == ["owner", "replica", "replica"]
    assert ring.visit(host, lambda: host.node.trace(7)).owner == by_place(ring)[0].peer


def test_a_node_that_is_no_member_yet_answers_for_itself_only(world):
    actor = world.add(10)
    node = Node(actor, actor.me, replace(actor.node.config), actor.node.store)
    assert node.handle(actor.me, P2pPing()).reason
    assert not node.handle(actor.me, P2pStat(bytes(32))).present
    assert node.try_get(bytes(32)) is None
    assert node.try_put(bytes(32), b"", 0, 0) is None
    assert node.put(bytes(32), b"", 0, 0) == PutOutcome("error", 0, 0, "this node is starting")
    assert node.status().owned_ratio == 0.0
    assert node.status().state is State.STARTING


def test_after_standing_still_a_node_takes_no_copies_that_waited_for_it(world):
    """They tell what was left of their lives when they were sent, which may be over."""
    (actor,) = world.ideal(10)
    node = Node(actor, actor.me, actor.node.config, actor.node.store)
    node._node.state = State.ACTIVE
    put = P2pPut(**world.copy(5)._asdict(), as_owner=False)
    assert isinstance(node.handle(actor.me, put), P2pSuccess)
    assert node.intake() is not None
    world.clock_s += 20.0
    assert node.intake() is None
    assert node.handle(actor.me, put).reason == ErrorReason.OVERLOAD
    assert node.handle(actor.me, P2pTransfer((world.copy(6),))).reason == ErrorReason.OVERLOAD
    assert isinstance(node.handle(actor.me, P2pGet(bytes(32), as_owner=False)), P2pFailure)


def test_a_value_that_waited_at_a_node_that_stood_still_does_not_come_back(cluster):
    ring = cluster(4)
    key = ident_bytes(by_place(ring)[0].peer.ident - 5)
    coordinator, sleeper = by_place(ring)[3], by_place(ring)[1]
    ring.pause(sleeper)
    coordinator.process.spawn(lambda: coordinator.node.put(key, b"value", 12, 3), "put")
    ring.run_for(20.0)
    ring.unpause(sleeper)
    for _ in range(10):
        ring.run_for(1.0)
        assert ring.get(coordinator, key).result != "success"
