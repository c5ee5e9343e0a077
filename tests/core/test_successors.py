"""The successor list: whatever a peer says, what we make of it is ordered, without repeats and without us."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from gdht.core.ident import IDENTS, distance, in_open_closed
from gdht.core.peer import Peer
from gdht.core.ring import predecessor_list
from gdht.core.successors import covering, successor_list

# Few places, so that repeats and the node itself are common; the largest ones wrap.
places = st.one_of(st.integers(0, 12), st.integers(IDENTS - 5, IDENTS - 1), st.integers(0, IDENTS - 1))
peers = st.builds(Peer, places, st.sampled_from(["10.0.0.1:1", "10.0.0.2:2"]))
claims = st.lists(peers, max_size=12).map(tuple)
lengths = st.integers(1, 8)


@st.composite
def ordered_claims(draw):
    """A place, and peers in clockwise order from it, as an honest node would list them."""
    me = draw(places)
    found = draw(st.lists(peers, max_size=12, unique_by=lambda peer: peer.ident))
    return me, tuple(sorted((p for p in found if p.ident != me), key=lambda peer: distance(me, peer.ident)))


@given(places, claims, lengths)
def test_the_list_is_ordered_without_repeats_and_without_the_node(me, claimed, length):
    steps = [distance(me, peer.ident) for peer in successor_list(me, claimed, length)]
    assert 0 not in steps
    assert all(near < far for near, far in pairwise(steps))


@given(places, claims, lengths)
def test_the_list_is_a_prefix_of_what_was_said_and_no_longer_than_allowed(me, claimed, length):
    chosen = successor_list(me, claimed, length)
    assert chosen == claimed[: len(chosen)]
    assert len(chosen) <= length


@given(places, claims, lengths)
def test_making_a_list_of_a_list_changes_nothing(me, claimed, length):
    chosen = successor_list(me, claimed, length)
    assert successor_list(me, chosen, length) == chosen


@given(places, claims, lengths)
def test_the_list_ends_only_where_it_must(me, claimed, length):
    chosen = successor_list(me, claimed, length)
    if len(chosen) < min(length, len(claimed)):
        reached = distance(me, chosen[-1].ident) if chosen else 0
        assert distance(me, claimed[len(chosen)].ident) <= reached


@given(ordered_claims(), lengths)
def test_an_honest_list_is_taken_up_to_its_length(honest, length):
    me, listed = honest
    assert successor_list(me, listed, length) == listed[:length]


@given(ordered_claims(), lengths)
def test_a_list_that_comes_round_ends_before_the_node_itself(honest, length):
    me, listed = honest
    round_again = (*listed, Peer(me, "10.0.0.9:9"), *listed)
    assert successor_list(me, round_again, length) == listed[:length]


def test_no_claims_make_no_list():
    assert successor_list(5, (), 8) == ()


@given(places, claims, lengths)
def test_the_predecessor_list_is_the_mirror_image(me, claimed, length):
    mirrored = tuple(Peer(-peer.ident % IDENTS, peer.address) for peer in claimed)
    expected = successor_list(-me % IDENTS, mirrored, length)
    chosen = predecessor_list(me, claimed, length)
    assert tuple(-peer.ident % IDENTS for peer in chosen) == tuple(peer.ident for peer in expected)


@given(ordered_claims(), places)
def test_covering_names_the_first_peer_at_or_after_a_place(honest, ident):
    me, listed = honest
    index = covering(me, listed, ident)
    at_or_after = [i for i, peer in enumerate(listed) if in_open_closed(ident, me, peer.ident)]
    assert index == (at_or_after[0] if at_or_after and ident != me else None)
