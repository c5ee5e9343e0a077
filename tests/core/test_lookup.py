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


# Fast peers -----------------------------------------------------------------------------------------------------------

GOAL = 1 << 20


def hurried(peer, seconds, hops_max=64):
    """A lookup whose peers take so long, by distance from the goal; all others 40 ms, as peers do on average."""
    times = {GOAL - left: taken for left, taken in seconds.items()}
    return Lookup(peer(0), GOAL, hops_max, set(), lambda one: times.get(one.ident, 0.04) if one else 0.04)


def heard(lookup, peer, *left):
    lookup.hear(tuple(peer(GOAL - distance) for distance in left))
    return GOAL - lookup.next_peer().ident


def test_of_peers_that_bring_us_as_far_a_fast_one_is_asked(peer):
    assert heard(hurried(peer, {900: 0.08, 1000: 0.005}), peer, 900, 1000) == 1000


def test_one_that_is_a_little_faster_is_no_reason_for_a_detour(peer):
    assert heard(hurried(peer, {600: 0.04, 1000: 0.03}), peer, 600, 1000) == 600


def test_an_answer_that_is_later_by_an_average_one_is_worth_half_of_the_way(peer):
    assert heard(hurried(peer, {500: 0.079, 1000: 0.04}), peer, 500, 1000) == 500
    assert heard(hurried(peer, {500: 0.081, 1000: 0.04}), peer, 500, 1000) == 1000


def test_each_answer_brings_us_nearer_by_a_bit_as_far_as_anybody_can(peer):
    lookup = hurried(peer, {500: 0.08, 1000: 0.001, 1001: 0.001, 1002: 0.001})
    lookup.hear(tuple(peer(GOAL - left) for left in (500, 1000, 1001, 1002)))
    first = lookup.next_peer()
    assert GOAL - first.ident in (1000, 1001, 1002)
    lookup.asked(first, 0.001)
    assert GOAL - lookup.next_peer().ident == 500


def test_one_that_did_not_answer_has_brought_us_nowhere(peer):
    lookup = hurried(peer, {})
    lookup.hear(tuple(peer(GOAL - left) for left in (10, 12, 500)))
    lookup.asked(lookup.next_peer(), 0.5, dead=True)
    assert GOAL - lookup.next_peer().ident == 12


def test_who_is_no_nearer_is_asked_when_there_is_nobody_else(peer):
    lookup = hurried(peer, {})
    lookup.hear((peer(GOAL - 10), peer(GOAL - 900)))
    lookup.asked(lookup.next_peer(), 0.04)
    assert GOAL - lookup.next_peer().ident == 900
