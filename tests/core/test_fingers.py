"""The finger table: finger i is the first node at or after n + 2^i, kept once per distinct node."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from gdht.core.fingers import (
    Finger,
    fingers_from_successors,
    index_after,
    next_index,
    with_finger,
    with_local_fingers,
    without_peer,
)
from gdht.core.ident import IDENT_BITS, IDENTS, distance, finger_start
from gdht.core.peer import Peer

# Places at all distances from 0 in powers of two, so that small tables have many distinct fingers.
places = st.one_of(
    st.integers(1, IDENTS - 1),
    st.builds(lambda power, more: (1 << power) + more, st.integers(1, 255), st.integers(-1, 1)),
)
ME = 0


def peers_at(idents):
    return tuple(Peer(ident, "10.0.0.1:1") for ident in sorted(idents, key=lambda ident: distance(ME, ident)))


rings = st.sets(places, min_size=1, max_size=12).map(peers_at)
"""All other nodes, nearest first, of a ring in which we are at 0."""


def true_finger(others, index):
    """The first node at or after our finger's start; None when that is ourselves again."""
    start = distance(ME, finger_start(ME, index))
    return next((peer for peer in others if distance(ME, peer.ident) >= start), None)


def true_fingers(others):
    """The whole table by its definition, without repeats, without ourselves."""
    table = []
    for index in range(IDENT_BITS):
        peer = true_finger(others, index)
        if peer is not None and (not table or table[-1].peer != peer):
            table.append(Finger(index, peer))
    return tuple(table)


def fixed(fingers, others, successors):
    """The table after a whole round of fix_fingers with true answers."""
    index = next_index(ME, 0, successors)
    while index < IDENT_BITS:
        owner = true_finger(others, index)
        if owner is None:
            break
        fingers = with_finger(fingers, ME, index, owner)
        index = index_after(ME, owner)
    return fingers


@given(rings)
def test_a_list_of_the_whole_ring_decides_every_finger(others):
    assert fingers_from_successors(ME, others) == true_fingers(others)


@given(rings, st.integers(1, 8))
def test_a_list_decides_the_fingers_up_to_its_end(others, length):
    listed = others[:length]
    reach = index_after(ME, listed[-1])
    expected = tuple(finger for finger in true_fingers(others) if finger.number < reach)
    assert fingers_from_successors(ME, listed) == expected


@given(rings, st.integers(1, 8))
def test_one_round_of_lookups_completes_the_table(others, length):
    listed = others[:length]
    local = with_local_fingers((), ME, listed)
    assert fixed(local, others, listed) == true_fingers(others)


@given(rings, rings, st.integers(1, 8))
def test_one_round_repairs_the_table_of_a_ring_that_has_grown(before, after, length):
    table = fixed(with_local_fingers((), ME, before[:length]), before, before[:length])
    grown = peers_at({peer.ident for peer in (*before, *after)})
    table = fixed(with_local_fingers(table, ME, grown[:length]), grown, grown[:length])
    assert table == true_fingers(grown)


@given(rings, rings, st.integers(1, 8))
def test_a_table_is_ordered_and_names_nobody_twice_whatever_came_before(before, after, length):
    table = fixed(with_local_fingers((), ME, before[:length]), before, before[:length])
    table = fixed(with_local_fingers(table, ME, after[:length]), after, after[:length])
    assert all(low.number < high.number for low, high in pairwise(table))
    assert len({finger.peer.ident for finger in table}) == len(table)


@given(rings)
def test_a_dead_peer_is_dropped_and_nobody_else(others):
    table = true_fingers(others)
    for finger in table:
        rest = without_peer(table, finger.peer)
        assert set(table) - set(rest) == {finger}
        assert without_peer(rest, finger.peer) is rest


@given(places)
def test_the_index_after_a_peer_is_the_first_that_starts_beyond_it(ident):
    index = index_after(ME, Peer(ident, "10.0.0.1:1"))
    assert index == IDENT_BITS or finger_start(ME, index) > ident
    assert finger_start(ME, index - 1) <= ident


def test_a_node_without_successors_has_no_fingers():
    assert with_local_fingers(true_fingers(peers_at({5, 500})), ME, ()) == ()
    assert next_index(ME, 7, ()) == IDENT_BITS


def test_the_next_index_skips_what_the_list_decides_and_begins_anew_after_the_last():
    listed = peers_at({1, 4, 16})
    assert next_index(ME, 0, listed) == 5
    assert next_index(ME, 9, listed) == 9
    assert next_index(ME, IDENT_BITS, listed) == 5
