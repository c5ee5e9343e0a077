"""Rings on disks that were killed and started again, in simulation: one ring, every member in it, nothing denied."""

from collections.abc import Iterator
from contextlib import contextmanager
from random import Random

import pytest

from gdht.config import DhtConfig
from gdht.core.ident import hash_ident, ident_bytes
from gdht.node.status import State
from gdht.sim.cluster import Cluster
from gdht.sim.network import NetworkOptions, constant

ONE_RING_S = 20.0
"""How soon after the last start everybody is in one ring; with the default `stabilize_interval`, 20 of these."""
IDEAL_S = 40.0
SPREAD_S_MAX = 20.0
"""How far apart nodes are started: less than AWAIT_INTERVALS, for which nobody denies what others may bring."""
KEYS = [ident_bytes(hash_ident(f"key {number}".encode())) for number in range(20)]


@contextmanager
def ring_on_disks(nodes: int, seed: int, refusal: float = 0.5) -> Iterator[Cluster]:
    """An ideal ring with a value under each key; every node has written down whom it knows."""
    network = NetworkOptions(refusal=refusal)
    with Cluster(seed, DhtConfig(), network, safe=False, sync=constant(0.002)) as ring:
        ring.grow(nodes)
        ring.wait_until_ideal(60.0)
        for number, key in enumerate(KEYS):
            assert ring.put(ring.hosts[number % nodes], key, key[:5], 3600, 3).result == "success"
        ring.run_for(15.0)
        yield ring


def restart(ring, host):
    """Start a node again with the list of a plain installation: the first node of all."""
    ring.restart(host, [ring.hosts[0]])


def denied(ring, rng):
    """Ask for some key through some member; whether the answer is wrong. That there is none now is no wrong answer."""
    members = ring.members()
    if not members:
        return False
    key = rng.choice(KEYS)
    outcome = ring.get(rng.choice(members), key)
    return outcome is not None and (outcome.result == "not_found" or outcome.value not in (None, key[:5]))


def unreadable(ring):
    return [key for number, key in enumerate(KEYS) if ring.get(ring.live()[number % 2], key).value != key[:5]]


def kill_all_and_restart(seed):
    """Kill a ring, start it again in any order, with or without its first node.

    Returns how long after the last start all were in one ring, and how long until that was ideal, in seconds.
    """
    rng = Random(seed)
    nodes = rng.choice([2, 3, 4, 5, 6, 8, 10])
    with ring_on_disks(nodes, seed, rng.choice([0.0, 0.5, 1.0])) as ring:
        order = rng.sample(ring.hosts, nodes)
        if nodes > 2 and rng.random() < 0.5:
            order.remove(ring.hosts[0])
        ring.crash(*ring.hosts)
        spread_s = rng.choice([0.0, 1.0, 5.0, SPREAD_S_MAX])
        for host in order:
            ring.scheduler.after(rng.uniform(0.0, spread_s), lambda _, host=host: restart(ring, host), None, None)
        wrong = 0
        until_s = ring.now + spread_s + ONE_RING_S
        started_s = ring.now
        while len(ring.members()) < len(order) and ring.now < until_s:
            if len(ring.live()) < len(order):
                started_s = ring.now
            ring.run_for(0.2)
            wrong += denied(ring, rng)
        assert len(ring.members()) == len(order)
        assert wrong == 0
        one_s = ring.now - started_s
        ideal_s = one_s + ring.wait_until_ideal(IDEAL_S)
        ring.run_for(15.0)
        assert unreadable(ring) == []
        return one_s, ideal_s


@pytest.mark.parametrize("seed", range(4))
def test_a_ring_that_was_killed_is_one_ring_again_soon_after_its_last_node_is_up(seed):
    kill_all_and_restart(seed)


@pytest.mark.parametrize("seed", range(3))
def test_a_node_started_again_at_once_is_back_at_once(seed):
    """The others have not noticed; so it is not missed, and nobody loses its way."""
    with ring_on_disks(6, seed) as ring:
        host = ring.hosts[seed]
        ring.crash(host)
        ring.run_for(0.2)
        restart(ring, host)
        ring.run_for(1.0)
        assert host.node.is_member
        assert host.node.state is State.ACTIVE
        ring.wait_until_ideal(15.0)
        assert unreadable(ring) == []


def test_parts_of_a_killed_ring_that_start_again_apart_become_one_ring():
    with ring_on_disks(9, 4) as ring:
        ring.crash(*ring.hosts)
        one, other = ring.hosts[1:5], ring.hosts[5:]
        ring.network.partition([host.address for host in one], [host.address for host in other])
        for host in (*one, *other):
            restart(ring, host)
        ring.wait_until_joined(ONE_RING_S)
        ring.run_for(5.0)
        assert ring.violations(), "two rings"
        ring.network.heal()
        ring.wait_until_ideal(60.0)
        ring.run_for(30.0)
        assert unreadable(ring) == []


@pytest.mark.parametrize("seed", [0, 1, 9])
def test_parts_that_could_not_hear_each_other_for_a_moment_merge_within_seconds(seed):
    """The cut ends before those in the one ring have asked whether those in the other are back."""
    with ring_on_disks(9, seed) as ring:
        ring.crash(*ring.hosts)
        one, other = ring.hosts[1:5], ring.hosts[5:]
        ring.network.partition([host.address for host in one], [host.address for host in other])
        for host in (*one, *other):
            restart(ring, host)
        while not any(host.node.is_member for host in one) or not any(host.node.is_member for host in other):
            ring.run_for(0.1)
        ring.network.heal()
        ring.wait_until_ideal(13.0)


def test_a_node_started_again_alone_does_not_serve_beside_the_ring_it_cannot_reach():
    with ring_on_disks(5, 6) as ring:
        host = ring.hosts[3]
        ring.crash(host)
        ring.network.partition([host.address])
        restart(ring, host)
        ring.run_for(60.0)
        assert host.node.state is State.ISOLATED
        assert ring.get(host, KEYS[0]).result == "error"
        ring.network.heal()
        ring.wait_until_joined(10.0)
        ring.wait_until_ideal(IDEAL_S)


def test_the_first_node_started_again_beside_the_ring_it_cannot_reach_merges_with_it():
    """It may start a ring, as it stands first in its list; but it denies nothing while others are awaited."""
    with ring_on_disks(5, 7) as ring:
        first = ring.hosts[0]
        ring.crash(first)
        ring.network.partition([first.address])
        restart(ring, first)
        ring.run_for(10.0)
        assert first.node.state is State.ACTIVE
        results = []
        for key in KEYS[:8]:  # all at once: others are awaited for AWAIT_INTERVALS only
            first.runtime.spawn(lambda key=key: results.append(first.node.get(key).result), "client")
        ring.run_for(15.0)
        assert len(results) == 8
        assert "not_found" not in results
        ring.network.heal()
        ring.wait_until_ideal(IDEAL_S)
        assert unreadable(ring) == []


def test_a_ring_of_one_serves_again_at_once():
    with ring_on_disks(1, 8) as ring:
        host = ring.hosts[0]
        ring.crash(host)
        ring.restart(host, [])
        ring.run_for(0.1)
        assert host.node.is_member
        assert ring.get(host, KEYS[0]).value == KEYS[0][:5]
        assert ring.get(host, bytes(32)).result == "not_found"
