"""Arcs: which ones a node sees, how they are cut, which keys lie in them."""

from hypothesis import given
from hypothesis import strategies as st

from gdht.core.arcs import LEAF_WIDTH, Arc, arcs_of, key_ranges, split
from gdht.core.ident import IDENTS, ident_bytes, in_open_closed
from gdht.core.peer import Peer
from gdht.core.placement import position
from gdht.core.ring import Ring

idents = st.one_of(
    st.integers(0, IDENTS - 1), st.integers(0, 40), st.integers(0, 65535).map(lambda leaf: leaf * LEAF_WIDTH)
)


def ring_at(me: int, *predecessors: int) -> Ring:
    return Ring(Peer(me, "me:1"), 8).with_predecessors(*(Peer(ident, f"{ident}:1") for ident in predecessors))


def test_the_arcs_of_a_node_begin_with_its_own_and_end_with_the_rest():
    assert arcs_of(ring_at(50, 40, 30)) == [Arc(40, 50), Arc(30, 40), Arc(50, 30)]


def test_a_node_without_predecessor_takes_the_whole_circle_for_its_own():
    assert arcs_of(ring_at(50)) == [Arc(50, 50)]
    assert Arc(50, 50).width == IDENTS


@given(st.lists(st.integers(0, 99), min_size=1, max_size=6, unique=True), st.integers(0, 99))
def test_the_index_of_an_arc_is_the_position_of_its_places(nodes, ident):
    me, *others = nodes
    ring = ring_at(me, *sorted(others, key=lambda other: (me - other) % IDENTS))
    (index,) = [index for index, arc in enumerate(arcs_of(ring)) if arc.holds(ident)]
    assert index == position(ring, ident)


@given(idents, idents, st.integers(2, 16), idents)
def test_each_place_of_an_arc_is_in_one_of_its_parts(start, end, parts, ident):
    arc = Arc(start, end)
    if arc.width < 2:
        return
    cut = split(arc, parts)
    assert 2 <= len(cut) <= parts
    assert all(part.width < arc.width for part in cut)
    assert sum(part.width for part in cut) == arc.width
    assert sum(part.holds(ident) for part in cut) == arc.holds(ident)


def test_parts_end_where_branches_of_the_tree_do():
    bounds = [part.end + 1 for part in split(Arc(5, 5), 16)[:-1]]
    assert all(bound % (LEAF_WIDTH << 12) == 0 for bound in bounds)


@given(idents, idents, idents, idents)
def test_an_arc_covers_another_when_no_place_of_that_one_lies_outside(start, end, other_start, other_end):
    arc, other = Arc(start, end), Arc(other_start, other_end)
    ends = [other.end, (other.start + 1) % IDENTS, start, (end + 1) % IDENTS]
    if arc.covers(other):
        assert all(arc.holds(ident) for ident in ends if other.holds(ident))
    else:
        assert any(other.holds(ident) and not arc.holds(ident) for ident in ends)


@given(idents, idents, idents)
def test_a_key_lies_in_one_of_the_ranges_of_the_arc_it_belongs_to(start, end, ident):
    key = ident_bytes(ident)
    found = [after for after, last in key_ranges(Arc(start, end)) if (not after or after < key) and key <= last]
    assert len(found) == in_open_closed(ident, start, end)
