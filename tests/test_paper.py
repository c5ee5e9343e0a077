"""What the papers claim, claim by claim, in our words.

2003: Stoica et al., "Chord: A Scalable Peer-to-Peer Lookup Protocol for Internet Applications", IEEE/ACM ToN 11(1).
Zave: "Reasoning about Identifier Spaces: How to Make Chord Correct", IEEE TSE 2017.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from math import log2
from random import Random
from statistics import fmean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gdht.config import DhtConfig
from gdht.core.fingers import Fingers, with_finger
from gdht.core.ident import IDENT_BITS, IDENTS, distance, finger_start, hash_ident, ident_bytes, in_open_closed
from gdht.core.messages import P2pAck, P2pGetNeighbours, P2pNotify, P2pPing, P2pReplyNeighbours, Request
from gdht.core.peer import Peer
from gdht.core.ring import Ring
from gdht.errors import CallTimeout
from gdht.node.journal import Cause
from gdht.node.membership import rectify, stabilize
from gdht.node.state import NodeState
from gdht.node.status import State
from gdht.sim.cluster import Cluster
from gdht.store.memory import MemoryStore

WHOLE_RINGS = settings(max_examples=40)
"""For tests whose every example builds a ring with all its fingers."""

idents = st.sets(st.integers(0, IDENTS - 1), min_size=1, max_size=20).map(sorted)
anywhere = st.integers(0, IDENTS - 1)


def peer(ident: int) -> Peer:
    return Peer(ident, f"10.0.0.1:{ident % 65521 + 1}")


def places(peers) -> list[int]:
    return [one.ident for one in peers]


def onward(order: list[int], ident: int) -> list[int]:
    """All nodes clockwise, from the successor of an identifier on."""
    first = next((index for index, node in enumerate(order) if node >= ident), 0)
    return order[first:] + order[:first]


def all_fingers(order: list[int], me: int) -> Fingers:
    """The finger table of a node by its definition."""
    fingers: Fingers = ()
    for index in range(IDENT_BITS):
        owner = onward(order, finger_start(me, index))[0]
        if distance(me, owner) >= 1 << index:
            fingers = with_finger(fingers, me, index, peer(owner))
    return fingers


def ideal(order: list[int], length: int) -> dict[int, Ring]:
    rings = {}
    for me in order:
        others = [peer(ident) for ident in onward(order, me)[1:]]
        ring = Ring(peer(me), length).with_successors(*others).with_predecessors(*reversed(others))
        rings[me] = ring.with_fingers(all_fingers(order, me))
    return rings


def nodes(seed: int, count: int) -> list[int]:
    rng = Random(seed)
    return sorted(rng.randrange(IDENTS) for _ in range(count))


# 2003, section IV-B: consistent hashing -------------------------------------------------------------------------------


def test_identifiers_come_from_a_hash_of_the_address_or_the_key():
    """2003, IV-B: A node's identifier is chosen by hashing the node's IP address. (Here with its port.)"""
    with Cluster(1) as cluster:
        host = cluster.add()
        assert host.node.me.ident == hash_ident(host.address.encode())


@given(idents, anywhere)
@WHOLE_RINGS
def test_a_key_belongs_to_the_first_node_at_or_after_it(order, key):
    """2003, IV-B: Key k is assigned to the first node whose identifier is equal to or follows k."""
    rings = ideal(order, 3)
    assert [node for node, ring in rings.items() if ring.owns(key)] == [onward(order, key)[0]]


@given(idents, anywhere, anywhere)
def test_a_newcomer_takes_keys_from_its_successor_and_from_nobody_else(order, newcomer, key):
    """2003, IV-B: when a node n joins the network, certain keys previously assigned to n's successor now become
    assigned to n; no other assignment changes."""
    before, after = onward(order, key)[0], onward(sorted({*order, newcomer}), key)[0]
    assert after in (before, newcomer)
    if after != before:
        assert before == onward(order, newcomer)[0]


@given(idents, anywhere, st.data())
def test_the_keys_of_a_leaver_go_to_its_successor(order, key, data):
    """2003, IV-B: When node n leaves the network, all of its assigned keys are reassigned to n's successor."""
    leaver = data.draw(st.sampled_from(order))
    rest = [node for node in order if node != leaver]
    if rest:
        before, after = onward(order, key)[0], onward(rest, key)[0]
        assert after == (onward(rest, leaver)[0] if before == leaver else before)


@pytest.mark.parametrize("count", [16, 64, 256])
def test_a_join_moves_about_one_share_of_the_keys(count):
    """2003, theorem 1: when an (N+1)st node joins, responsibility for O(K/N) keys changes hands."""
    shares = []
    for seed in range(50):
        order = nodes(seed, count)
        newcomer = Random(seed + 1000).randrange(IDENTS)
        before = onward(order, newcomer)[-1]
        shares.append(distance(before, newcomer) / IDENTS)
    assert fmean(shares) == pytest.approx(1 / count, rel=0.4)


# 2003, sections IV-C and IV-D: lookups --------------------------------------------------------------------------------


def test_each_node_needs_only_its_successor_for_a_right_answer():
    """2003, IV-C: each node need only know how to contact its current successor node - slow, but right."""
    order = nodes(1, 20)
    rings = {me: Ring(peer(me), 1).with_successors(peer(onward(order, me)[1])) for me in order}
    for key in nodes(2, 20):
        assert follow(rings, order[0], key)[0] == onward(order, key)[0]


@given(idents)
@WHOLE_RINGS
def test_finger_i_is_the_first_node_that_succeeds_n_by_at_least_2_to_the_i(order):
    """2003, IV-D: The ith entry in the table at node n contains the identity of the first node s that succeeds n by at
    least 2^(i-1); counted from 0 here."""
    for me, ring in ideal(order, 3).items():
        for finger in ring.fingers:
            assert finger.peer.ident == onward(order, finger_start(me, finger.number))[0]


@given(idents)
@WHOLE_RINGS
def test_the_first_finger_is_the_successor(order):
    """2003, IV-D: the first finger of n is the immediate successor of n on the circle."""
    for ring in ideal(order, 3).values():
        if ring.successors:
            assert ring.fingers[0].peer == ring.successors[0]


@pytest.mark.parametrize("count", [8, 32, 128])
def test_a_node_stores_few_other_nodes(count):
    """2003, IV-D: each node stores information about only a small number of other nodes: about log2 N fingers."""
    sizes = [len(ring.fingers) for ring in ideal(nodes(count, count), 1).values()]
    assert fmean(sizes) == pytest.approx(log2(count), abs=1.0)


def follow(rings: dict[int, Ring], start: int, key: int) -> tuple[int, int]:
    """Ask the closest preceding node until the owner's predecessor answers: (owner, how many others were asked)."""
    node, asked = start, 0
    while True:
        step = rings[node].find_successor_step(key, strict=True)
        if step.final:
            return step.peers[0].ident, asked
        node, asked = step.peers[0].ident, asked + 1


@pytest.mark.parametrize("power", range(3, 8))
def test_a_lookup_takes_about_half_of_log_n_hops(power):
    """2003, V-C (figure 10): the path length is about 1/2 log2 N, on rings of 2^3 to 2^7 nodes with fingers alone."""
    hops = []
    rng = Random(power)
    for seed in range(2):
        order = nodes(seed, 1 << power)
        rings = ideal(order, 1)
        for _ in range(200):
            key = rng.randrange(IDENTS)
            owner, asked = follow(rings, rng.choice(order), key)
            assert owner == onward(order, key)[0]
            hops.append(asked)
    assert fmean(hops) == pytest.approx(power / 2, abs=0.5)


@pytest.mark.parametrize("power", range(3, 8))
def test_no_lookup_takes_many_more_hops_than_log_n(power):
    """2003, theorem 2: with high probability, the number of nodes that must be contacted is O(log N)."""
    order = nodes(power, 1 << power)
    rings = ideal(order, 1)
    assert max(follow(rings, order[0], key)[1] for key in nodes(99, 200)) <= 2 * power


@given(idents, anywhere)
@WHOLE_RINGS
def test_each_hop_at_least_halves_the_way(order, key):
    """2003, theorem 2, proof: each step at least halves the distance to the predecessor of the key."""
    rings = ideal(order, 1)
    before_key = onward(order, key)[-1]
    node = order[0]
    while not (step := rings[node].find_successor_step(key, strict=True)).final:
        following = step.peers[0].ident
        assert distance(following, before_key) <= distance(node, before_key) // 2
        node = following


@pytest.mark.parametrize("power", [3, 4])
def test_simulated_rings_look_up_as_fast(power):
    """2003, V-C, on running nodes: fingers were found by lookups of their own, and lists of 2 shorten the end."""
    config = DhtConfig(successor_list_length=2, replication=1, max_replication=1)
    with Cluster(power, config, safe=False) as cluster:
        cluster.grow(1 << power)
        cluster.wait_until_ideal(60.0)
        cluster.run_for(10.0 * power)
        order = sorted(host.peer.ident for host in cluster.hosts)
        hops = []
        for host in cluster.hosts[:8]:
            for number in range(10):
                key = hash_ident(f"{power} {number}".encode())
                found = cluster.visit(host, lambda host=host, key=key: host.node.trace(key))
                assert found.owner.ident == onward(order, key)[0]
                hops.append(sum(hop.peer != found.owner for hop in found.hops))
        assert fmean(hops) <= power / 2 + 0.5


# 2003, section IV-E: joins, failures, replication ---------------------------------------------------------------------


def test_a_join_transfers_the_keys_of_the_newcomer_and_none_else():
    """2003, IV-E.1: n can become the successor only for keys that were previously the responsibility of the node
    immediately following n, so n only needs to contact that one node to transfer responsibility."""
    config = DhtConfig(replication=1, max_replication=1)
    keys = [ident_bytes(hash_ident(f"key {number}".encode())) for number in range(60)]
    with Cluster(3, config) as cluster:
        cluster.grow(6)
        cluster.wait_until_ideal(60.0)
        for key in keys:
            assert cluster.put(cluster.hosts[0], key, b"value", 3600, 1).result == "success"
        cluster.run_for(60.0)
        before = holders(cluster, keys)
        (newcomer,) = cluster.grow(1)
        cluster.wait_until_ideal(60.0)
        cluster.run_for(60.0)
        after = holders(cluster, keys)
        order = sorted(host.peer.ident for host in cluster.hosts)
        successor = onward(order, newcomer.peer.ident)[1]
        moved = [key for key in keys if before[key] != after[key]]
        assert moved
        assert all(before[key] == [successor] and after[key] == [newcomer.peer.ident] for key in moved)


def holders(cluster: Cluster, keys: list[bytes]) -> dict[bytes, list[int]]:
    return {key: [host.peer.ident for host in cluster.live() if host.node.store.get(key, 0.0)] for key in keys}


def test_stabilization_lets_everybody_learn_of_newcomers():
    """2003, IV-E.1, theorem 3: if any sequence of join operations is executed interleaved with stabilizations, then at
    some time after the last join the successor pointers will form a cycle on all the nodes."""
    with Cluster(5) as cluster:
        rng = Random(5)
        for _ in range(16):
            cluster.add()
            cluster.run_for(rng.uniform(0.0, 2.0))
        cluster.wait_until_joined()
        cluster.wait_until_ideal(60.0)
        order = sorted(host.peer.ident for host in cluster.hosts)
        for host in cluster.hosts:
            assert host.node.ring.first_successor.ident == onward(order, host.peer.ident)[1]


@pytest.mark.parametrize("seed", range(2))
def test_lookups_survive_the_failure_of_half_the_nodes(seed):
    """2003, IV-E.3, theorem 5: with a successor list of O(log N), if every node fails with probability 1/2, then with
    high probability find_successor returns the closest living successor to the query key."""
    config = DhtConfig(successor_list_length=16)
    with Cluster(seed, config, safe=False) as cluster:
        cluster.grow(32)
        cluster.wait_until_ideal(60.0)
        rng = Random(seed)
        for host in rng.sample(cluster.hosts, 16):
            cluster.crash(host)
        cluster.wait_until_ideal(60.0)
        order = sorted(host.peer.ident for host in cluster.live())
        for host in cluster.live():
            key = rng.randrange(IDENTS)
            found = cluster.visit(host, lambda host=host, key=key: host.node.trace(key))
            assert found.owner.ident == onward(order, key)[0]


def test_replicas_are_on_the_nodes_that_follow_the_owner():
    """2003, IV-E.3: replicas of the data associated with a key at the k nodes succeeding the key."""
    with Cluster(6) as cluster:
        cluster.grow(8)
        cluster.wait_until_ideal(60.0)
        order = sorted(host.peer.ident for host in cluster.hosts)
        keys = [ident_bytes(key) for key in nodes(7, 20)]
        for key in keys:
            cluster.put(cluster.hosts[0], key, b"value", 3600, 4)
        for key, holding in holders(cluster, keys).items():
            assert set(holding) == set(onward(order, int.from_bytes(key, "big"))[:4])


def test_a_leaver_transfers_its_keys_before_it_departs():
    """2003, IV-E.4: a node n that leaves may transfer its keys to its successor before it departs, and may notify its
    predecessor p and successor s before leaving."""
    with Cluster(7) as cluster:
        cluster.grow(4)
        cluster.wait_until_ideal(60.0)
        keys = [ident_bytes(key) for key in nodes(8, 20)]
        for key in keys:
            cluster.put(cluster.hosts[0], key, b"value", 3600, 1)
        cluster.leave(cluster.hosts[2])
        cluster.wait_until_left()
        assert cluster.wait_until_ideal(60.0) < 5.0
        assert all(cluster.get(cluster.hosts[0], key).value == b"value" for key in keys)
        assert sum(sum(host.node.stats.rpc_timeouts.values()) for host in cluster.live()) == 0


# Zave, section 4: the corrected operations ----------------------------------------------------------------------------


class Script:
    """A Runtime whose peers are Rings: living members with these pointers; whoever is missing is dead.

    seen: before each call, (peer asked, request, the pointers of the node at that moment)."""

    def __init__(self, me: int, *members: Ring) -> None:
        self.members = {ring.me.ident: ring for ring in members}
        self.rng = Random(1)
        self.boot = ""
        self.seen: list[tuple[int, Request, Ring]] = []
        config = replace(DhtConfig(), successor_list_length=3, max_replication=3)
        self.node = NodeState(self, peer(me), config, MemoryStore(1000))
        self.node.state = State.ACTIVE

    def now(self) -> float:
        return 0.0

    wall = now

    def signal(self) -> "Script":
        return self

    def set(self) -> None:
        """Nobody waits."""

    def call(self, asked: Peer, request: Request, timeout_s: float):
        self.seen.append((asked.ident, request, self.node.ring))
        ring = self.members.get(asked.ident)
        if ring is None:
            raise CallTimeout(f"{asked} is dead")
        match request:
            case P2pGetNeighbours():
                return P2pReplyNeighbours(ring.predecessors, ring.successors)
            case P2pPing() | P2pNotify():
                return P2pAck()
        raise AssertionError(f"{request} was not expected")

    def asked(self, kind: type) -> list[int]:
        return [ident for ident, request, _ in self.seen if isinstance(request, kind)]


def member(me: int, predecessor: int | None, *successors: int) -> Ring:
    ring = Ring(peer(me), 3).with_successors(*map(peer, successors))
    return ring.with_predecessors(peer(predecessor)) if predecessor is not None else ring


def stabilized(script: Script, before: Ring) -> Ring:
    script.node.set_ring(before, Cause.JOINED)
    stabilize(script, script.node)
    return script.node.ring


def test_a_joining_node_takes_the_whole_list_of_the_member_before_it():
    """Zave, 4 (join): the newcomer gets the successor list of the member m with between(m, newcomer, m's successor)."""
    with Cluster(9, DhtConfig(successor_list_length=4)) as cluster:
        cluster.grow(6)
        cluster.wait_until_ideal(60.0)
        lists = {host.peer.ident: host.node.ring.successors for host in cluster.hosts}
        host = cluster.add()
        cluster.scheduler.run_until(lambda: host.node.is_member, 10.0)
        before = onward(sorted(lists), host.peer.ident)[-1]
        assert host.node.ring.successors == lists[before]
        assert host.node.ring.predecessor.ident == before


def test_a_join_asks_before_it_assigns_and_assigns_once():
    """Zave, 4 (join): a member from one assignment on, with a predecessor and a full list."""
    with Cluster(10) as cluster:
        cluster.grow(3)
        host = cluster.add()
        states = set()

        def joined() -> bool:
            ring = host.node.ring
            states.add((host.node.is_member, ring.predecessor is not None, len(ring.successors) > 0))
            return host.node.is_member

        assert cluster.scheduler.run_until(joined, 10.0)
        assert states == {(False, False, False), (True, True, True)}


def test_the_list_becomes_the_successor_followed_by_its_own_list():
    """Zave, 4 (stabilize, first part): the successor's list replaces all but the first entry."""
    ring = stabilized(Script(10, member(20, 10, 30, 40, 50)), member(10, 5, 20, 25, 60))
    assert places(ring.successors) == [20, 30, 40]


def test_a_dead_successor_is_dropped_for_the_next_one():
    """Zave, 4 (stabilize, first part): if the first successor is dead, the node drops it and takes the second."""
    script = Script(10, member(30, 20, 40, 50))
    ring = stabilized(script, member(10, 5, 20, 30))
    assert places(ring.successors) == [30, 40, 50]
    assert script.asked(P2pNotify) == [30]


def test_a_better_successor_is_adopted_only_after_it_has_answered():
    """Zave, 4 (stabilize, second part): 2001 adopted the candidate without checking that it lives."""
    script = Script(10, member(30, 20, 40, 50), member(20, 10, 30, 40))
    ring = stabilized(script, member(10, 5, 30, 40))
    when_asked = next(ring for ident, _, ring in script.seen if ident == 20)
    assert places(when_asked.successors) == [30, 40, 50]
    assert places(ring.successors) == [20, 30, 40]
    assert script.asked(P2pNotify) == [20]


def test_a_dead_candidate_is_never_adopted():
    """Zave, 4 (stabilize, second part)."""
    script = Script(10, member(30, 20, 40, 50))
    ring = stabilized(script, member(10, 5, 30, 40))
    assert places(ring.successors) == [30, 40, 50]
    assert script.asked(P2pNotify) == [30]


def test_the_successor_is_notified_after_every_stabilization():
    """Zave, 4: at the end of stabilization, the node notifies its successor."""
    script = Script(10, member(20, 10, 30))
    stabilized(script, member(10, 5, 20))
    assert isinstance(script.seen[-1][1], P2pNotify)


def test_a_closer_notifier_replaces_the_predecessor():
    """Zave, 4 (rectify), first case: no question is asked."""
    script = Script(30)
    script.node.set_ring(member(30, 10, 40), Cause.JOINED)
    rectify(script, script.node, peer(20))
    assert script.node.ring.predecessor.ident == 20
    assert not script.seen


def test_rectify_pings_the_predecessor_before_it_takes_a_farther_notifier():
    """Zave, 4 (rectify), second case: only if the present predecessor is dead."""
    alive, dead = Script(30, member(20, 10, 30)), Script(30)
    for script in (alive, dead):
        script.node.set_ring(member(30, 20, 40), Cause.JOINED)
        rectify(script, script.node, peer(10))
    assert alive.asked(P2pPing) == [20]
    assert dead.asked(P2pPing) == [20, 20]
    assert alive.node.ring.predecessor.ident == 20
    assert dead.node.ring.predecessor.ident == 10


@given(st.lists(st.integers(0, 40), max_size=8), st.lists(st.integers(0, 40), max_size=8), st.integers(0, 40))
def test_whatever_peers_say_lists_stay_ordered_without_repeats_and_without_the_node(mine, theirs, candidate):
    """Zave, 5: ordered successor lists and no duplicates are part of the invariant at every moment."""
    successor = mine[0] if mine else 7
    script = Script(20, member(successor, candidate, *theirs), member(candidate, None, *reversed(theirs)))
    ring = stabilized(script, member(20, 3, successor, *mine)) if successor != 20 else member(20, 3)
    for seen in [*(before for _, _, before in script.seen), ring]:
        steps = [distance(20, ident) for ident in places(seen.successors)]
        assert 0 not in steps
        assert all(near < far for near, far in pairwise(steps))


@contextmanager
def churned(seed: int) -> Iterator[Cluster]:
    """A ring under joins and crashes that the operating assumption allows; the checkers look after every event."""
    with Cluster(seed, DhtConfig(successor_list_length=3, replication=3, max_replication=4)) as cluster:
        cluster.grow(6)
        rng = Random(seed)
        for _ in range(12):
            cluster.run_for(rng.uniform(0.2, 2.0))
            host = rng.choice(cluster.live())
            if rng.random() < 0.5 and cluster.can_go(host):
                cluster.crash(host)
            else:
                cluster.add()
        yield cluster


@pytest.mark.parametrize("seed", range(3))
def test_the_invariant_holds_through_joins_and_failures_and_the_ring_becomes_ideal(seed):
    """Zave, 5 and 6: the invariant is inductive, and if there are no more joins or failures, the network becomes
    ideal."""
    with churned(seed) as cluster:
        cluster.wait_until_joined()
        cluster.wait_until_ideal(120.0)


@given(idents, anywhere)
def test_successive_arcs_of_an_ideal_ring_cover_the_circle_once(order, key):
    """Zave, 3: identifiers as a space, not a line: between() has no privileged zero."""
    arcs = list(zip(order[-1:] + order[:-1], order, strict=True))
    assert sum(in_open_closed(key, start, end) for start, end in arcs) == 1
