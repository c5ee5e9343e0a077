"""What a node has heard of who owns what, against a model that lists every place of a small circle."""

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdht.core.ident import IDENTS
from gdht.core.known_arcs import PEERS_MAX, KnownArcs
from gdht.core.peer import Peer

PLACES = 12
"""The model's circle; place p stands for the identifier p * IDENTS / PLACES."""

places = st.integers(0, PLACES - 1)


def ident_of(place: int) -> int:
    return place * IDENTS // PLACES


def node(place: int) -> Peer:
    return Peer(ident_of(place), f"10.0.0.1:{place + 1}")


def onward(start: int, end: int) -> list[int]:
    """The places of (start, end], clockwise; all when they are the same."""
    steps = (end - start) % PLACES or PLACES
    return [(start + step) % PLACES for step in range(1, steps + 1)]


class Arc(NamedTuple):
    start: int
    successors: list[int]


class Model:
    """The same with lists and loops. arcs: by owner, in the order in which they were learned."""

    def __init__(self, me: int, arcs_max: int) -> None:
        self.me, self.arcs_max = me, arcs_max
        self.arcs: dict[int, Arc] = {}

    def find(self, place: int) -> int | None:
        return next((owner for owner, arc in self.arcs.items() if place in onward(arc.start, owner)), None)

    def learn(self, start: int, peers: list[int]) -> None:
        chain: list[int] = []
        walk = iter(onward(start, start))
        for peer in peers:
            if peer not in walk:  # walks on up to it
                break
            chain.append(peer)
        closed = bool(chain) and chain[-1] == start
        if peers and self.arcs.get(peers[0]) == (start, peers[1:]):
            return  # the very same was the last that was heard of its owner
        for index, owner in enumerate(chain):
            before = chain[index - 1] if index else start
            if owner != self.me:
                self.learn_arc(before, owner, chain[index + 1 :] + (chain[:index] if closed else []))

    def learn_arc(self, start: int, owner: int, successors: list[int]) -> None:
        known = self.arcs.get(owner)
        if known and known.start == start and known.successors[: len(successors)] == successors:
            return
        for gone in [other for other in self.arcs if other in onward(start, owner)]:
            del self.arcs[gone]
        if not self.arcs_max:
            return
        if len(self.arcs) == self.arcs_max:
            del self.arcs[next(iter(self.arcs))]
        for other, arc in self.arcs.items():
            if owner in onward(arc.start, other):
                self.arcs[other] = arc._replace(start=owner)
        self.arcs[owner] = Arc(start, successors)

    def forget(self, place: int) -> None:
        self.arcs.pop(place, None)
        for owner, arc in self.arcs.items():
            if place in arc.successors:
                self.arcs[owner] = arc._replace(successors=arc.successors[: arc.successors.index(place)])


learned = st.tuples(st.just("learn"), places, st.lists(places, max_size=6))
walked = st.tuples(places, st.lists(st.integers(1, 4), max_size=6)).map(
    lambda pair: ("learn", pair[0], [(pair[0] + sum(pair[1][: n + 1])) % PLACES for n in range(len(pair[1]))])
)
forgotten = st.tuples(st.just("forget"), places, st.just([]))


@given(places, st.integers(0, 6), st.lists(learned | walked | forgotten, max_size=20))
def test_it_knows_what_the_model_knows(me, arcs_max, steps):
    known, model = KnownArcs(ident_of(me), arcs_max), Model(me, arcs_max)
    for what, place, peers in steps:
        if what == "learn":
            known.learn(ident_of(place), tuple(map(node, peers)))
            model.learn(place, peers)
        else:
            known.forget(node(place))
            model.forget(place)
        assert len(known) == len(model.arcs) <= arcs_max
        for asked in range(PLACES):
            owner, found = model.find(asked), known.find(ident_of(asked))
            assert (found is None) == (owner is None)
            if owner is not None:
                arc = model.arcs[owner]
                assert found == (ident_of(arc.start), node(owner), tuple(map(node, arc.successors)))


@given(places, st.lists(learned | walked, max_size=10))
def test_what_lies_between_two_places_of_an_arc_has_its_owner_too(me, steps):
    known = KnownArcs(ident_of(me))
    for _, place, peers in steps:
        known.learn(ident_of(place), tuple(map(node, peers)))
    for place in range(PLACES):
        if (arc := known.find(ident_of(place))) is not None and arc.start != ident_of(place - 1):
            assert known.find(ident_of(place) - 1) == arc


def test_an_answer_teaches_the_arcs_of_all_it_names(peer):
    known = KnownArcs(1)
    known.learn(10, (peer(20), peer(30), peer(40)))
    assert known.find(10) is None
    assert known.find(11) == known.find(20) == (10, peer(20), (peer(30), peer(40)))
    assert known.find(35) == (30, peer(40), ())
    assert known.find(41) is None


def test_a_list_that_closes_teaches_the_whole_ring(peer):
    known = KnownArcs(1)
    known.learn(30, (peer(10), peer(20), peer(30)))
    assert known.find(25) == (20, peer(30), (peer(10), peer(20)))
    assert known.find(31) == known.find(5) == (30, peer(10), (peer(20), peer(30)))


def test_a_lone_node_owns_the_whole_circle(peer):
    known = KnownArcs(1)
    known.learn(30, (peer(30),))
    assert known.find(30) == known.find(31) == (30, peer(30), ())


def test_a_newcomer_cuts_the_arc_it_stands_in(peer):
    known = KnownArcs(1)
    known.learn(10, (peer(20), peer(30)))
    known.learn(20, (peer(25),))
    assert known.find(25) == (20, peer(25), ())
    assert known.find(26) == (25, peer(30), ())


def test_a_node_that_is_gone_has_no_arc_and_nobody_counts_on_it(peer):
    known = KnownArcs(1)
    known.learn(10, (peer(20), peer(30), peer(40), peer(50)))
    known.forget(peer(40))
    assert known.find(35) is None
    assert known.find(25) == (20, peer(30), ())
    assert known.find(15) == (10, peer(20), (peer(30),))
    assert known.find(45) == (40, peer(50), ())


def test_the_own_arc_is_not_remembered(peer):
    known = KnownArcs(20)
    known.learn(10, (peer(20), peer(30)))
    assert known.find(15) is None
    assert known.find(25) == (20, peer(30), ())


def test_more_is_not_forgotten_for_less(peer):
    known = KnownArcs(1)
    known.learn(10, (peer(20), peer(30), peer(40)))
    known.learn(10, (peer(20), peer(30)))
    assert known.find(15) == (10, peer(20), (peer(30), peer(40)))


def test_the_arc_learned_first_makes_room(peer):
    known = KnownArcs(1, arcs_max=2)
    for ident in (30, 10, 20):
        known.learn(ident - 1, (peer(ident),))
    assert [known.find(ident) is not None for ident in (10, 20, 30)] == [True, True, False]


def test_none_are_kept_where_none_may_be(peer):
    known = KnownArcs(1, arcs_max=0)
    known.learn(10, (peer(20),))
    assert known.find(15) is None


@pytest.mark.parametrize("peers", [PEERS_MAX, 255])
def test_of_a_long_list_only_so_many_are_taken_in(peer, peers):
    known = KnownArcs(1)
    known.learn(10, tuple(peer(20 + index) for index in range(peers)))
    assert len(known) == PEERS_MAX
