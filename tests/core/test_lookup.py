"""The memory of a lookup: nobody is asked twice, the dead are not accepted, every hop comes closer, the end is near."""

from hypothesis import given
from hypothesis import strategies as st

from gdht.core.ident import IDENTS, distance, in_open
from gdht.core.lookup import Lookup
from gdht.core.peer import Peer

ME = Peer(IDENTS - 1, "10.0.0.9:9")
places = st.integers(0, 40).map(lambda place: place * (IDENTS // 41))
ME = Peer(1, "10.0.0.1:2")  # not one of `places`
peers = places.map(lambda ident: Peer(ident, "10.0.0.1:1"))
lists = st.lists(peers, max_size=6).map(tuple)
answers = st.lists(st.tuples(lists, st.booleans()), max_size=60)
"""What each peer asked in turn names, and whether it is dead instead."""


def run(lookup, goal, first, own, script):
    """Ask until there is nobody left; returns the peers asked."""
    asked = []
    lookup.ask_first(first)
    lookup.hear(own)
    for named, dead in script:
        peer = lookup.next_peer()
        if peer is None:
            break
        asked.append(peer)
        lookup.asked(peer, 0.1, dead=dead)
        if not dead:
            lookup.hear_from(peer, named)
    return asked


@given(places, lists, lists, answers)
def test_nobody_is_asked_twice(goal, first, own, script):
    asked = run(Lookup(ME, goal, 64, set()), goal, first, own, script)
    assert len({peer.ident for peer in asked}) == len(asked)


@given(places, lists, lists, answers)
def test_the_asking_node_is_not_asked_whoever_names_it(goal, first, own, script):
    lookup = Lookup(ME, goal, 64, set())
    assert ME not in run(lookup, goal, (ME, *first), (*own, ME), [((*named, ME), dead) for named, dead in script])
    assert not lookup.may_ask(ME)


@given(places, lists, lists, answers, st.sets(places, max_size=5))
def test_a_peer_known_to_be_dead_is_neither_asked_nor_accepted(goal, first, own, script, dead):
    known = set(dead)
    lookup = Lookup(ME, goal, 64, known)
    asked = run(lookup, goal, first, own, script)
    assert not {peer.ident for peer in asked} & dead
    died = {hop.peer.ident for hop in lookup.trail if hop.dead}
    assert known == dead | died
    assert all(peer.ident not in known for peer in lookup.living((*first, *own)))


@given(places, lists, lists, answers, st.integers(0, 5))
def test_the_budget_of_hops_is_kept(goal, first, own, script, hops_max):
    lookup = Lookup(ME, goal, hops_max, set())
    assert len(run(lookup, goal, first, own, script)) <= hops_max
    assert len(lookup.trail) <= hops_max


@given(places, peers, lists)
def test_a_peer_is_believed_only_about_those_between_it_and_the_goal(goal, source, named):
    lookup = Lookup(ME, goal, 64, set())
    lookup.hear_from(source, named)
    while peer := lookup.next_peer():
        assert in_open(peer.ident, source.ident, goal)
        assert distance(peer.ident, goal) < (distance(source.ident, goal) or IDENTS)
        lookup.asked(peer, 0.0)


@given(places, lists)
def test_the_closest_before_the_goal_is_asked_first(goal, own):
    lookup = Lookup(ME, goal, 64, set())
    lookup.hear(own)
    left = []
    while peer := lookup.next_peer():
        left.append(distance(peer.ident, goal))
        lookup.asked(peer, 0.0)
    assert left == sorted(left)


@given(places, lists, lists)
def test_those_given_to_be_asked_first_come_first_in_their_order(goal, first, own):
    lookup = Lookup(ME, goal, 64, set())
    asked = run(lookup, goal, first, own, [((), False)] * 60)
    unrepeated = tuple(dict.fromkeys(first))
    assert tuple(asked[: len(unrepeated)]) == unrepeated


def test_the_trail_tells_everybody_asked_in_order():
    lookup = Lookup(ME, 9, 64, set())
    lookup.asked(Peer(1, "10.0.0.1:1"), 0.5)
    lookup.asked(Peer(2, "10.0.0.1:2"), 2.0, dead=True, error="no answer")
    lookup.asked(Peer(3, "10.0.0.1:3"), 0.1, error="overload")
    assert [hop.peer.ident for hop in lookup.trail] == [1, 2, 3]
    assert [hop.error for hop in lookup.trail] == ["", "no answer", "overload"]
    assert lookup.dead_hops == 1
