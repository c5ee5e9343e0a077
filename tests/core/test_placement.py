"""Who holds what: positions and roles against the true ring."""

import zlib
from bisect import bisect_left

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdht.core.ident import IDENTS
from gdht.core.placement import Role, copies_in, position, quorum, role, view_of

idents = st.sets(st.integers(0, IDENTS - 1), min_size=1, max_size=12).map(sorted)
anywhere = st.integers(0, IDENTS - 1)
lengths = st.integers(2, 8)


def true_position(order, node, ident):
    """How many nodes `node` comes after the successor of `ident`."""
    owner = bisect_left(order, ident) % len(order)
    return (order.index(node) - owner) % len(order)


@given(idents, anywhere, lengths)
def test_a_position_is_true_as_far_as_the_known_predecessors_reach(ideal_rings, order, ident, length):
    for node, ring in ideal_rings(order, length).items():
        assert position(ring, ident) == min(true_position(order, node, ident), len(ring.predecessors))


@given(idents, anywhere, lengths, st.data())
def test_every_record_has_exactly_its_holders(ideal_rings, order, ident, length, data):
    replication = data.draw(st.integers(1, length + 1))  # as many as the configuration allows
    roles = [role(ring, ident, replication) for ring in ideal_rings(order, length).values()]
    holders = min(replication, len(order))
    assert roles.count(Role.OWNED) == 1
    assert roles.count(Role.REPLICA) == holders - 1
    assert roles.count(Role.MISPLACED) == len(order) - holders


@given(idents, lengths, st.integers(1, 9))
def test_there_are_as_many_copies_as_nodes_once_a_node_knows_all(ideal_rings, order, length, replication):
    for ring in ideal_rings(order, length).values():
        all_known = len(order) <= length + 1
        assert copies_in(ring, replication) == (min(replication, len(order)) if all_known else replication)


@given(idents, lengths)
def test_a_node_owns_its_own_place(ideal_rings, order, length):
    for node, ring in ideal_rings(order, length).items():
        assert role(ring, node, 1) is Role.OWNED


@pytest.mark.parametrize("replicas", range(1, 9))
def test_two_majorities_always_share_a_replica(replicas):
    assert 2 * quorum("majority", replicas) > replicas
    assert quorum("one", replicas) == 1
    assert quorum("all", replicas) == replicas
    assert 1 <= quorum("majority", replicas) <= replicas


# Views ----------------------------------------------------------------------------------------------------------------


def test_a_view_is_the_checksum_of_the_identifiers_in_order(peer):
    assert view_of(()) == 0
    assert view_of((peer(1), peer(2))) == zlib.crc32((1).to_bytes(32, "big") + (2).to_bytes(32, "big"))
    assert view_of((peer(2), peer(1))) != view_of((peer(1), peer(2)))
