"""One node's answers about the ring: on an ideal ring every step leads on, and the last one is right."""

from bisect import bisect_left
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdht.core.fingers import fingers_from_successors
from gdht.core.ident import IDENTS, distance, in_open, in_open_closed
from gdht.core.peer import Peer
from gdht.core.ring import CLOSER_PEERS_MAX, Ring

near = st.integers(0, 30)
anywhere = st.one_of(near, st.integers(IDENTS - 30, IDENTS - 1), st.integers(0, IDENTS - 1))
idents = st.sets(anywhere, min_size=1, max_size=20).map(sorted)
lengths = st.integers(2, 8)


def owner_index(order, ident):
    return bisect_left(order, ident) % len(order)


def onward(order, index):
    """All idents, from one on, clockwise."""
    return order[index:] + order[:index]


def follow(rings, start, ident, strict):
    """Ask the best peer named until an answer is final; returns the answer, who gave it and how many were asked."""
    node, asked = start, 0
    while True:
        step = rings[node].find_successor_step(ident, strict)
        if step.final:
            return [peer.ident for peer in step.peers], node, asked
        assert step.peers, "nobody to go on with"
        assert distance(step.peers[0].ident, ident) < (distance(node, ident) or IDENTS), "no progress"
        node, asked = step.peers[0].ident, asked + 1


# find_successor -------------------------------------------------------------------------------------------------------


@given(idents, lengths, anywhere, st.booleans())
def test_every_lookup_on_an_ideal_ring_ends_at_the_owner_and_its_true_successors(
    ideal_rings, order, length, ident, strict
):
    rings = ideal_rings(order, length)
    truth = onward(order, owner_index(order, ident))
    for start in order:
        found, _, _ = follow(rings, start, ident, strict)
        assert found == truth[: len(found)]


@pytest.mark.parametrize("length", range(2, 9))
def test_lookups_end_at_the_owner_with_fingers_too(ideal_rings, random_idents, length):
    order = random_idents(length, 60)
    rings = ideal_rings(order, length)
    for node, ring in rings.items():
        others = tuple(rings[ident].me for ident in onward(order, order.index(node))[1:])
        rings[node] = ring.with_fingers(fingers_from_successors(node, others))
    rng = Random(length)
    for start in order:
        ident = rng.choice((rng.randrange(IDENTS), rng.choice(order)))
        found, _, asked = follow(rings, start, ident, strict=False)
        assert found == onward(order, owner_index(order, ident))[: len(found)]
        assert asked <= 8


@given(idents, lengths, anywhere)
def test_strict_answers_come_from_the_predecessor_of_the_owner_alone(ideal_rings, order, length, ident):
    rings = ideal_rings(order, length)
    before_owner = order[owner_index(order, ident) - 1]
    for node, ring in rings.items():
        assert ring.find_successor_step(ident, strict=True).final == (node == before_owner)


@given(idents, lengths)
def test_a_strict_answer_is_the_list_a_joining_node_takes_over(ideal_rings, order, length):
    rings = ideal_rings(order, length)
    for node, ring in rings.items():
        step = ring.find_successor_step((node + 1) % IDENTS, strict=True)
        assert step.peers == (ring.successors or (ring.me,))


@given(idents, lengths, anywhere)
def test_a_final_answer_names_nobody_twice(ideal_rings, order, length, ident):
    for ring in ideal_rings(order, length).values():
        step = ring.find_successor_step(ident, strict=False)
        assert len({peer.ident for peer in step.peers}) == len(step.peers)


@given(idents, lengths, anywhere)
def test_an_answer_that_is_not_final_names_the_closest_before_the_goal_first(ideal_rings, order, length, ident):
    for node, ring in ideal_rings(order, length).items():
        step = ring.find_successor_step(ident, strict=False)
        if not step.final:
            left = [distance(peer.ident, ident) for peer in step.peers]
            assert left == sorted(left)
            assert len(left) <= CLOSER_PEERS_MAX
            assert all(in_open(peer.ident, node, ident) for peer in step.peers)


@given(st.sets(anywhere, min_size=3, max_size=9).map(sorted), anywhere)
def test_a_node_that_knows_the_whole_ring_answers_with_all_of_it(ideal_rings, order, ident):
    truth = onward(order, owner_index(order, ident))
    for ring in ideal_rings(order, 8).values():
        step = ring.find_successor_step(ident, strict=False)
        assert step.final
        assert [peer.ident for peer in step.peers] == truth


def test_a_lone_node_is_the_answer_to_everything(peer):
    ring = Ring(peer(7), 4)
    for strict in (False, True):
        assert ring.find_successor_step(99, strict) == (True, (ring.me,), 7)


def test_without_a_predecessor_the_own_place_is_left_to_others(peer):
    ring = Ring(peer(50), 4).with_successors(peer(60), peer(70))
    assert not ring.find_successor_step(45, strict=False).final
    assert ring.find_successor_step(55, strict=False).final


# Ownership ------------------------------------------------------------------------------------------------------------


@given(idents, lengths, anywhere)
def test_every_place_has_exactly_one_owner(ideal_rings, order, length, ident):
    owners = [node for node, ring in ideal_rings(order, length).items() if ring.owns(ident)]
    assert owners == [order[owner_index(order, ident)]]


@given(anywhere, anywhere, anywhere)
def test_without_a_predecessor_a_node_owns_what_no_successor_covers(peer, me, successor, ident):
    ring = Ring(peer(me), 4).with_successors(peer(successor))
    assert ring.owns(ident) == (ident == me or me == successor or not in_open_closed(ident, me, successor))


@given(idents, lengths)
def test_the_shares_of_the_nodes_add_up_to_the_circle(ideal_rings, order, length):
    assert sum(ring.owned_ratio for ring in ideal_rings(order, length).values()) == pytest.approx(1.0)


def test_a_share_is_unknown_while_the_predecessor_is(peer):
    assert Ring(peer(5), 4).with_successors(peer(9)).owned_ratio == 0.0
    assert Ring(peer(5), 4).owned_ratio == 1.0


@given(idents, lengths)
def test_a_list_spans_a_ring_of_at_most_one_node_more_than_it_is_long(ideal_rings, order, length):
    for ring in ideal_rings(order, length).values():
        assert ring.spans == (len(order) <= length + 1)


@given(idents, lengths)
def test_the_number_of_nodes_is_exact_while_the_list_spans_the_ring(ideal_rings, order, length):
    for ring in ideal_rings(order, length).values():
        if ring.spans:
            assert ring.estimated_nodes == len(order)


@pytest.mark.parametrize("count", [20, 100, 500])
def test_the_number_of_nodes_is_about_right_on_average(ideal_rings, random_idents, count):
    rings = ideal_rings(random_idents(count, count), 8).values()
    shares = [1 / ring.estimated_nodes for ring in rings]
    assert 1 / (sum(shares) / len(shares)) == pytest.approx(count, rel=0.02)


# New rings from old ---------------------------------------------------------------------------------------------------


def ids(peers: tuple[Peer, ...]) -> list[int]:
    return [peer.ident for peer in peers]


@pytest.fixture
def ring(peer):
    """Node 50 of a ring of tens, with three on either side."""
    return Ring(peer(50), 3).with_predecessors(*map(peer, (40, 30, 20))).with_successors(*map(peer, (60, 70, 80)))


def test_a_node_that_is_gone_leaves_every_list(ring, peer):
    assert ids(ring.without(peer(70)).successors) == [60, 80]
    assert 70 not in [finger.peer.ident for finger in ring.without(peer(70)).fingers]
    assert ids(ring.without(peer(30)).predecessors) == [40, 20]


def test_without_its_predecessor_a_node_trusts_no_hearsay_either(ring, peer):
    gone = ring.without(peer(40))
    assert gone.predecessor is None
    assert gone.predecessors == ()
    assert ids(gone.successors) == [60, 70, 80]


def test_removing_a_stranger_changes_nothing(ring, peer):
    assert ring.without(peer(99)) == ring


def test_a_ring_is_never_changed_in_place(ring, peer):
    before = (ring.predecessors, ring.successors, ring.fingers)
    ring.without(peer(60)).with_predecessors(peer(45)).with_successors(peer(55))
    assert (ring.predecessors, ring.successors, ring.fingers) == before


def test_lists_are_cut_to_their_length(ring, peer):
    assert ids(ring.with_successors(*map(peer, (55, 60, 70, 80))).successors) == [55, 60, 70]


def test_one_predecessor_more_is_kept_to_tell_replicas_from_misplaced_copies(ring, peer):
    """A record may have r + 1 holders; a node that comes after all of them must know that it does."""
    assert ids(ring.with_predecessors(*map(peer, (45, 40, 30, 20, 10))).predecessors) == [45, 40, 30, 20]


def test_known_predecessors_answer_for_the_arcs_between_them(ring):
    step = ring.find_successor_step(25, strict=False)
    assert step.final
    assert ids(step.peers) == [30, 40, 50, 60]


@given(idents, lengths, anywhere)
def test_closest_preceding_never_names_the_node_the_goal_or_anything_beyond(ideal_rings, order, length, ident):
    for node, ring in ideal_rings(order, length).items():
        for peer in ring.closest_preceding(ident):
            assert in_open(peer.ident, node, ident)


# What an answer says of the arc ---------------------------------------------------------------------------------------


@given(idents, lengths, anywhere, st.booleans())
def test_a_final_answer_says_where_the_arc_of_the_owner_begins(ideal_rings, order, length, ident, strict):
    """On an ideal ring, just behind the node before it."""
    index = owner_index(order, ident)
    for ring in ideal_rings(order, length).values():
        step = ring.find_successor_step(ident, strict)
        assert step.start == (order[index - 1] if step.final else 0)


def test_of_a_newcomer_nobody_knows_where_the_arc_begins(peer):
    ring = Ring(peer(50), 4).with_predecessors(peer(60))
    assert ring.find_successor_step(55, strict=True) == (True, (peer(50),), 54)
    assert ring.find_successor_step(55, strict=False) == (True, (peer(60), peer(50)), 50)
    assert ring.find_successor_step(45, strict=False) == (True, (peer(50),), 60)


@given(idents, lengths, anywhere, st.integers(1, 9))
def test_who_knows_owner_and_replicas_can_name_them_all(ideal_rings, order, length, ident, nodes):
    for ring in ideal_rings(order, length).values():
        if ring.knows(ident, nodes):
            step = ring.find_successor_step(ident, strict=False)
            assert step.final
            assert len(step.peers) >= min(nodes, length + 1, len(order))
