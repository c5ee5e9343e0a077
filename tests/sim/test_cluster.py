"""Rings of real nodes on virtual time: how they form, what they survive, and small ones in every order."""

from itertools import permutations

import pytest

from gdht.config import DhtConfig
from gdht.core.ident import hash_ident, ident_bytes
from gdht.core.messages import P2pFailure, P2pPut, P2pSuccess
from gdht.core.records import Version
from gdht.errors import StoreError
from gdht.node.express import Intake
from gdht.node.status import State
from gdht.sim import express
from gdht.sim.cluster import Cluster
from gdht.sim.delays import constant
from gdht.sim.host import Host
from gdht.sim.network import NetworkOptions
from gdht.sim.scheduler import SimulationFailed

LENGTH = 3
SMALL = DhtConfig(successor_list_length=LENGTH, max_replication=LENGTH + 1)
IDEAL_BOUND_S = 60.0
REPLICATED_BOUND_S = 160.0


def keys(count: int) -> list[bytes]:
    return [ident_bytes(hash_ident(f"key {number}".encode())) for number in range(count)]


def around(cluster: Cluster, host: Host) -> list[Host]:
    """The live hosts clockwise from the one after `host`."""
    order = sorted(cluster.live(), key=lambda other: other.peer.ident)
    index = order.index(host)
    return order[index + 1 :] + order[:index]


# Forming --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("nodes", [1, 2, 3, 4, 5, 8, 16, 64])
def test_a_ring_of_any_size_forms_and_becomes_ideal(nodes):
    with Cluster(nodes) as cluster:
        cluster.grow(nodes)
        cluster.wait_until_ideal(3.0 * nodes + IDEAL_BOUND_S)
        assert len(cluster.members()) == nodes


@pytest.mark.parametrize("nodes", [2, 8, 24])
def test_nodes_that_all_start_at_once_become_one_ring(nodes):
    with Cluster(nodes, SMALL) as cluster:
        first = cluster.add()
        for _ in range(nodes - 1):
            cluster.add([first])
        cluster.wait_until_joined()
        cluster.wait_until_ideal(3.0 * nodes + IDEAL_BOUND_S)


def test_a_node_waits_for_its_bootstrap_for_as_long_as_it_takes():
    with Cluster(1) as cluster:
        first = cluster.add()
        cluster.crash(first)
        waiting = cluster.add([first])
        cluster.run_for(60.0)
        assert waiting.node.state is State.JOINING
        cluster.restart(first, [])
        cluster.wait_until_joined()
        cluster.wait_until_ideal(IDEAL_BOUND_S)


def test_a_newcomer_founds_no_ring_while_all_others_are_away():
    """Its operator names the first node, as all do; else there would be two rings."""
    with Cluster(1) as cluster:
        first = cluster.add()
        cluster.crash(first)
        newcomer = cluster.add()
        cluster.run_for(60.0)
        assert newcomer.node.state is State.JOINING
        cluster.restart(first)
        cluster.wait_until_joined()
        cluster.wait_until_ideal(IDEAL_BOUND_S)


# Small rings, in every order ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", list(permutations(range(LENGTH + 1))))
def test_small_rings_form_whatever_the_order_of_idents(order):
    with Cluster(1, SMALL, NetworkOptions(delay=constant(0.01))) as cluster:
        hosts = [cluster.add([]) for _ in order]
        for host in hosts:
            cluster.crash(host)
        by_ident = sorted(hosts, key=lambda host: host.peer.ident)
        first = by_ident[order[0]]
        cluster.restart(first, [])
        for index in order[1:]:
            cluster.restart(by_ident[index], [first])
        cluster.wait_until_joined()
        cluster.wait_until_ideal(IDEAL_BOUND_S)


@pytest.mark.parametrize(
    ("nodes", "way"), [(2, "leave"), *((nodes, way) for nodes in range(3, LENGTH + 3) for way in ("leave", "crash"))]
)
def test_a_small_ring_survives_the_end_of_any_one_node(nodes, way):
    for victim in range(nodes):
        with Cluster(victim, SMALL, safe=nodes != LENGTH + 1) as cluster:  # r + 1 nodes must not become fewer
            hosts = cluster.grow(nodes)
            cluster.wait_until_ideal(IDEAL_BOUND_S)
            getattr(cluster, way)(hosts[victim])
            cluster.wait_until_left()
            cluster.run_for(cluster.config.call_timeout)
            cluster.wait_until_joined()
            cluster.wait_until_ideal(IDEAL_BOUND_S)
            assert len(cluster.members()) == nodes - 1


@pytest.mark.parametrize("victim", [0, 1])
def test_one_of_two_waits_for_the_other_to_come_back(victim):
    with Cluster(victim, SMALL, safe=False) as cluster:
        hosts = cluster.grow(2)
        cluster.wait_until_ideal(IDEAL_BOUND_S)
        cluster.crash(hosts[victim])
        cluster.run_for(30.0)
        cluster.restart(hosts[victim])
        cluster.wait_until_joined()
        cluster.wait_until_ideal(IDEAL_BOUND_S)


@pytest.mark.parametrize("seed", range(4))
def test_the_last_of_a_ring_keeps_what_the_others_handed_over(seed):
    with Cluster(seed, SMALL, safe=False) as cluster:  # on purpose below r + 1 nodes
        hosts = cluster.grow(LENGTH + 2)
        cluster.wait_until_ideal(IDEAL_BOUND_S)
        cluster.put(hosts[0], keys(1)[0], b"kept")
        for host in hosts[:-1]:
            cluster.leave(host)
            cluster.wait_until_left()
            cluster.wait_until_ideal(IDEAL_BOUND_S)
        assert cluster.get(hosts[-1], keys(1)[0]).value == b"kept"


# Faults ---------------------------------------------------------------------------------------------------------------


def test_as_many_neighbours_as_the_list_is_long_less_one_may_die_at_once():
    with Cluster(3, SMALL) as cluster:
        hosts = cluster.grow(12)
        cluster.wait_until_ideal(IDEAL_BOUND_S)
        for victim in around(cluster, hosts[0])[: LENGTH - 1]:
            cluster.crash(victim)
        cluster.wait_until_ideal(IDEAL_BOUND_S)


def test_a_node_that_lost_every_successor_comes_back():
    """Its predecessor still names the same dead nodes; taking its list as it is would lose it again."""
    with Cluster(3, SMALL, safe=False) as cluster:
        hosts = cluster.grow(12)
        cluster.wait_until_ideal(IDEAL_BOUND_S)
        for victim in around(cluster, hosts[0])[:LENGTH]:
            cluster.crash(victim)
        cluster.run_for(2 * cluster.config.call_timeout)
        cluster.wait_until_joined()
        cluster.wait_until_ideal(2 * IDEAL_BOUND_S)


def test_a_node_restarted_at_once_finds_its_place_again():
    with Cluster(5, SMALL, safe=False) as cluster:
        hosts = cluster.grow(8)
        cluster.wait_until_ideal(IDEAL_BOUND_S)
        for host in hosts[1:4]:
            cluster.crash(host)
            cluster.restart(host)
            cluster.wait_until_joined()
        cluster.wait_until_ideal(IDEAL_BOUND_S)


def test_a_node_that_stood_still_for_long_takes_part_again():
    with Cluster(6, SMALL, safe=False) as cluster:
        hosts = cluster.grow(8)
        cluster.wait_until_ideal(IDEAL_BOUND_S)
        cluster.pause(hosts[3])
        cluster.run_for(20.0)
        assert hosts[3].peer.ident not in {ident for view in cluster.views().values() for ident in view.successors}
        cluster.unpause(hosts[3])
        cluster.run_for(5.0)
        cluster.wait_until_joined()
        cluster.wait_until_ideal(IDEAL_BOUND_S)


def test_a_link_that_is_cut_one_way_for_a_while_does_no_lasting_harm():
    with Cluster(7, SMALL, safe=False) as cluster:
        hosts = cluster.grow(8)
        cluster.wait_until_ideal(IDEAL_BOUND_S)
        near = around(cluster, hosts[0])[0]
        cluster.network.cut(hosts[0].address, near.address)
        cluster.run_for(10.0)
        cluster.network.heal()
        cluster.wait_until_joined()
        cluster.wait_until_ideal(IDEAL_BOUND_S)


@pytest.mark.timeout(240)  # 6 s on a machine that does nothing else
def test_two_hundred_nodes_that_start_at_once_become_one_ring():
    with Cluster(200) as cluster:
        for _ in range(200):
            cluster.add()
        cluster.wait_until_joined(2 * IDEAL_BOUND_S)
        cluster.wait_until_ideal(2 * IDEAL_BOUND_S)
        assert len(cluster.members()) == 200


def test_every_fourth_of_many_nodes_may_die_at_once():
    with Cluster(15) as cluster:
        hosts = cluster.grow(40)
        cluster.wait_until_ideal(3 * IDEAL_BOUND_S)
        victims = sorted(hosts, key=lambda host: host.peer.ident)[::4]
        assert cluster.can_go(*victims)
        cluster.crash(*victims)
        cluster.wait_until_ideal(IDEAL_BOUND_S)
        assert len(cluster.members()) == 30


@pytest.mark.parametrize("seed", range(5))
def test_a_node_that_dies_in_the_middle_of_its_join_does_no_harm(seed):
    with Cluster(seed, SMALL) as cluster:
        cluster.grow(6)
        cluster.wait_until_ideal(IDEAL_BOUND_S)
        newcomer = cluster.add()
        cluster.run_for(0.02 * seed)
        assert newcomer.node.state is State.JOINING
        cluster.crash(newcomer)
        cluster.run_for(3 * cluster.config.call_timeout)
        cluster.wait_until_ideal(IDEAL_BOUND_S)
        assert len(cluster.members()) == 6


@pytest.mark.parametrize("seed", range(5))
def test_a_node_that_dies_in_the_middle_of_leaving_takes_nothing_with_it(seed):
    with Cluster(seed, SMALL) as cluster:
        hosts = cluster.grow(8)
        cluster.wait_until_ideal(IDEAL_BOUND_S)
        for key in keys(20):
            assert cluster.put(hosts[0], key, key[:4]).acknowledged == 3
        cluster.leave(hosts[3])
        cluster.run_for(0.04 * (seed + 1))
        assert hosts[3].live
        cluster.crash(hosts[3])
        cluster.wait_until_ideal(IDEAL_BOUND_S)
        cluster.wait_until_replicated(REPLICATED_BOUND_S)
        assert [cluster.get(hosts[0], key).value for key in keys(20)] == [key[:4] for key in keys(20)]


@pytest.mark.parametrize("jump_s", [-600.0, 600.0])
def test_a_clock_that_jumps_neither_loses_a_record_nor_brings_an_old_one_back(jump_s):
    with Cluster(16, SMALL) as cluster:
        hosts = cluster.grow(5)
        cluster.wait_until_ideal(IDEAL_BOUND_S)
        cluster.put(hosts[0], keys(1)[0], b"before", ttl_s=3600)
        for host in hosts[::2]:
            cluster.set_clock(host, jump_s)
        assert cluster.put(hosts[1], keys(1)[0], b"after", ttl_s=3600).result == "success"
        cluster.run_for(60.0)
        assert [cluster.get(host, keys(1)[0]).value for host in hosts] == [b"after"] * 5


def test_a_slow_node_is_dropped_by_nobody_while_it_answers_in_time():
    with Cluster(17, SMALL) as cluster:
        hosts = cluster.grow(6)
        cluster.wait_until_ideal(IDEAL_BOUND_S)
        cluster.slow_down(hosts[2], 0.05)
        cluster.run_for(60.0)
        assert sum(cluster.observer.suspicions.values()) == 0
        assert cluster.violations() == []


def test_suspicions_are_told_apart_by_who_was_suspected():
    with Cluster(18, SMALL, safe=False) as cluster:
        hosts = cluster.grow(8)
        cluster.wait_until_ideal(IDEAL_BOUND_S)
        suspicions = cluster.observer.suspicions
        cluster.crash(hosts[1])
        cluster.run_for(20.0)
        assert suspicions == {"dead": 2, "laggard": 0, "healthy": 0}
        cluster.pause(hosts[2])
        cluster.run_for(20.0)
        assert (suspicions["laggard"], suspicions["healthy"]) == (2, 0)
        cluster.unpause(hosts[2])
        cluster.wait_until_joined()
        cluster.wait_until_ideal(IDEAL_BOUND_S)
        cluster.run_for(10.0)
        before, after = around(cluster, hosts[4])[-1], around(cluster, hosts[4])[0]
        for other in (before, after):
            cluster.network.cut(hosts[4].address, other.address)
        cluster.run_for(20.0)
        assert suspicions["healthy"] >= 2


def test_one_who_has_said_goodbye_is_not_taken_back():
    with Cluster(8, SMALL) as cluster:
        hosts = cluster.grow(8)
        cluster.wait_until_ideal(IDEAL_BOUND_S)
        leaver = hosts[4]
        cluster.leave(leaver)
        cluster.scheduler.run_until(lambda: not leaver.node.is_member, 30.0)
        assert not leaver.node.is_member
        cluster.run_for(1.0)
        after = {ident for view in cluster.views().values() for ident in view.successors[:1]}
        assert leaver.peer.ident not in after


def test_the_watcher_stops_a_run_whose_ring_is_broken():
    with Cluster(9, SMALL, replay="python -m this") as cluster:
        hosts = cluster.grow(6)
        cluster.wait_until_ideal(IDEAL_BOUND_S)
        victims = around(cluster, hosts[0])[:LENGTH]
        for victim in victims[: LENGTH - 1]:
            cluster.crash(victim)
        assert not cluster.can_go(victims[-1])
        with pytest.raises(SimulationFailed, match=r"live_successor.*seed 9; replay: python -m this"):
            cluster.crash(victims[-1])


@pytest.mark.parametrize(("left", "broken"), [(0, True), (1, True), (2, False)])
def test_a_last_member_whose_list_is_of_the_dead_is_a_broken_ring(left, broken):
    with Cluster(9, SMALL, safe=False) as cluster:
        hosts = cluster.grow(4)
        cluster.wait_until_ideal(IDEAL_BOUND_S)
        cluster.crash(*hosts[left:])
        assert cluster.is_broken() == broken


def test_a_ring_of_one_by_right_is_not_broken():
    with Cluster(9, SMALL) as cluster:
        cluster.grow(1)
        assert not cluster.is_broken()


def test_whoever_only_knows_the_dead_or_others_like_it_is_stranded():
    with Cluster(9, SMALL, safe=False) as cluster:
        first, _, third = cluster.grow(3)
        cluster.wait_until_ideal(IDEAL_BOUND_S)
        cluster.crash(third)
        lost = cluster.add([third])
        follower = cluster.add([lost])
        found = cluster.add([third, first])
        assert cluster.stranded() == [lost, follower]
        cluster.scheduler.run_until(lambda: found.node.is_member, 30.0)
        assert cluster.stranded() == [lost, follower]


# Records --------------------------------------------------------------------------------------------------------------


def test_what_is_put_through_one_node_is_read_through_every_other():
    with Cluster(10) as cluster:
        hosts = cluster.grow(8)
        cluster.wait_until_ideal(IDEAL_BOUND_S)
        for number, key in enumerate(keys(20)):
            assert cluster.put(hosts[number % 8], key, key[:4]).result == "success"
        for host in hosts:
            assert [cluster.get(host, key).value for key in keys(20)] == [key[:4] for key in keys(20)]


def test_an_acknowledged_write_has_all_its_copies():
    with Cluster(11) as cluster:
        hosts = cluster.grow(16)
        cluster.wait_until_ideal(IDEAL_BOUND_S)
        for number, key in enumerate(keys(40)):
            outcome = cluster.put(hosts[number % 16], key, b"v")
            assert (outcome.result, outcome.acknowledged, outcome.wanted) == ("success", 3, 3)
        assert cluster.misplacements() == []


def test_of_the_writes_that_a_node_gets_every_second_is_taken_in_at_once(monkeypatch):
    receipts, take = [], Intake.take
    monkeypatch.setattr(Intake, "take", lambda *write: receipts.append(take(*write)) or receipts[-1])
    with Cluster(15) as cluster:
        hosts = cluster.grow(5)
        cluster.wait_until_ideal(IDEAL_BOUND_S)
        for key in keys(12):
            assert cluster.put(hosts[0], key, b"v").acknowledged == 3
        received = [host.node.stats.rpc_received_requests["p2p_put", "ok"] for host in hosts]
        assert len(receipts) == sum(count // 2 for count in received) > 6
        assert None not in receipts


@pytest.mark.parametrize(("trouble", "told"), [(None, P2pSuccess), (StoreError("disk", "gone"), P2pFailure)])
def test_a_write_is_answered_when_the_disk_has_ended_with_it_also_when_it_was_taken_in_at_once(trouble, told):
    with Cluster(16, sync=constant(1.0)) as cluster:
        (host,) = cluster.grow(1)
        cluster.run_for(5.0)
        host.disk.trouble = trouble
        answer, answers = express.serving(host.node), []
        for key in keys(2):
            answer(host.peer, P2pPut(key, 60_000, 1, Version(1, 1), True, b"v")).when_ready(answers.append)
        cluster.run_for(0.5)
        assert answers == []
        cluster.run_for(2.0)
        assert [(type(one), one.key) for one in answers] == [(told, key) for key in keys(2)]


@pytest.mark.parametrize("length", [2, 3, 8])
def test_records_follow_joins_leaves_and_crashes_and_no_copy_stays_behind(length):
    config = DhtConfig(successor_list_length=length, max_replication=length + 1)
    with Cluster(12, config) as cluster:
        hosts = cluster.grow(10)
        cluster.wait_until_ideal(IDEAL_BOUND_S)
        for key in keys(30):
            assert cluster.put(hosts[0], key, key[:4]).result == "success"
        cluster.grow(3)
        cluster.leave(hosts[3])
        cluster.wait_until_left()
        cluster.wait_until_ideal(IDEAL_BOUND_S)
        cluster.crash(hosts[5])
        cluster.wait_until_ideal(IDEAL_BOUND_S)
        cluster.wait_until_replicated(REPLICATED_BOUND_S)
        assert [cluster.get(hosts[1], key).value for key in keys(30)] == [key[:4] for key in keys(30)]


def test_an_expired_record_is_gone_from_every_node():
    with Cluster(13) as cluster:
        hosts = cluster.grow(5)
        cluster.wait_until_ideal(IDEAL_BOUND_S)
        cluster.put(hosts[0], keys(1)[0], b"short", ttl_s=1)
        cluster.run_for(0.5)
        assert cluster.get(hosts[1], keys(1)[0]).value == b"short"
        cluster.run_for(1.0)
        assert [cluster.get(host, keys(1)[0]).result for host in hosts] == ["not_found"] * 5
        cluster.run_for(10.0)
        assert [host.node.store.count for host in hosts] == [0] * 5


def test_clients_of_a_dead_node_hear_nothing():
    with Cluster(14) as cluster:
        hosts = cluster.grow(3)
        cluster.wait_until_ideal(IDEAL_BOUND_S)
        cluster.scheduler.after(0.001, lambda _: cluster.crash(hosts[2]), None, None)
        assert cluster.put(hosts[2], keys(1)[0], b"v") is None
