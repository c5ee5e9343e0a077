"""Of which part of its arc a node surely holds the newest versions, as its predecessor comes and goes."""

import pytest

from gdht.core.messages import FailureReason, P2pGet, P2pPut, P2pSuccess
from gdht.core.ring import Ring
from gdht.node.journal import Cause
from gdht.node.membership import found_ring, stabilize


@pytest.fixture
def forty(world):
    """The node at 40 of an ideal ring of ten: its arc is (30, 40]."""
    return world.ideal(*range(10, 101, 10))[3].node


def with_predecessor(node, at, *idents):
    node.set_ring(node.ring.with_predecessors(*map(at, idents)), Cause.NOTIFIED)


def test_a_founder_is_sure_of_the_whole_circle(world):
    lone = world.add(40).node
    assert lone.arc.receiving
    found_ring(lone)
    assert not lone.arc.receiving
    assert all(lone.arc.is_sure_of(ident) for ident in (0, 39, 40, 41, (1 << 256) - 1))


def test_a_founder_that_gets_a_predecessor_is_sure_of_what_is_left(world, at):
    lone = world.add(40).node
    found_ring(lone)
    with_predecessor(lone, at, 20)
    assert not lone.arc.receiving
    assert lone.arc.is_sure_of(21)
    assert not lone.arc.is_sure_of(20)


def test_whoever_joined_is_sure_of_nothing_until_it_is_told(world, at):
    newcomer = world.add(40).node
    newcomer.set_ring(Ring(at(40), 3).with_successors(at(50)).with_predecessors(at(30)), Cause.JOINED)
    assert newcomer.arc.receiving
    assert not newcomer.arc.is_sure_of(35)
    newcomer.arc.make_sure(30)
    assert not newcomer.arc.is_sure_of(35), "nobody has said that it is ours"
    newcomer.arc.accepted = True
    newcomer.arc.confirm(30, 0.0)
    newcomer.arc.make_sure(30)
    assert not newcomer.arc.receiving
    assert newcomer.arc.is_sure_of(35)


def test_an_arc_that_grew_is_sure_where_it_was_before(forty, at):
    with_predecessor(forty, at, 20)
    assert forty.arc.receiving
    assert forty.arc.is_sure_of(31)
    assert not forty.arc.is_sure_of(30)


def test_what_a_newcomer_took_over_is_not_sure_again_when_it_is_gone(forty, at):
    """Meanwhile clients may have put something there that we have not got."""
    with_predecessor(forty, at, 35, 30)
    assert not forty.arc.receiving
    with_predecessor(forty, at, 30)
    assert forty.arc.receiving
    assert not forty.arc.is_sure_of(33)
    assert forty.arc.is_sure_of(36)


def test_while_the_predecessor_is_unknown_nothing_more_becomes_sure(forty):
    forty.set_ring(forty.ring.with_predecessors(), Cause.PREDECESSOR_LOST)
    assert forty.arc.receiving
    assert forty.arc.is_sure_of(31)
    assert not forty.arc.is_sure_of(30)


def test_made_sure_of_an_arc_that_has_shrunk_meanwhile_a_node_is_sure_of_the_rest(forty, at):
    forty.arc.doubt()
    with_predecessor(forty, at, 35, 30)
    forty.arc.make_sure(30)
    assert not forty.arc.receiving
    assert not forty.arc.is_sure_of(33)


def test_a_successor_that_took_the_arc_for_its_own_may_have_newer_versions(forty):
    forty.arc.accept(False)
    assert not forty.arc.is_sure_of(35)
    forty.arc.accept(True)
    assert forty.arc.receiving, "not before it has caught up"


def test_a_lease_that_ran_out_is_not_simply_renewed(forty, at, world):
    """Who stood still for so long may have been replaced and taken back."""
    forty.arc.lease_s = 4.0
    forty.confirm_arc(at(30), 0.0)
    world.clock_s = 3.9
    assert forty.arc.is_sure_of(35)
    world.clock_s = 4.1
    assert not forty.arc.is_ours(35)
    forty.repair_wanted.is_set = False
    forty.confirm_arc(at(30), 4.1)
    assert forty.arc.is_ours(35)
    assert not forty.arc.is_sure_of(35)
    assert forty.repair_wanted.is_set, "it catches up"


def test_a_lease_that_is_renewed_in_time_keeps_the_arc_sure(forty, at, world):
    forty.arc.lease_s = 4.0
    for second in range(0, 30, 3):
        forty.confirm_arc(at(30), float(second))
        world.clock_s = float(second) + 3
        assert forty.arc.is_sure_of(35)


def test_while_no_predecessor_answers_the_successor_can_vouch_for_what_we_had(forty, at, world):
    forty.arc.lease_s = 4.0
    forty.confirm_arc(at(30), 0.0)
    forty.set_ring(forty.ring.with_predecessors(), Cause.PREDECESSOR_LOST)
    world.clock_s = 5.0
    assert not forty.arc.is_ours(35)
    stabilize(world.actors[40], forty)
    assert forty.arc.is_ours(35)
    assert not forty.arc.is_ours(29), "what was the predecessor's is not ours yet"


def test_whoever_may_not_be_the_owner_takes_no_put_as_one(world, at, key):
    forty = world.ideal(*range(10, 101, 10))[3]
    forty.node.arc.leased_until_s = -1.0
    put = P2pPut(**world.copy(35)._asdict(), as_owner=True)
    assert world.ask(at(50), at(40), put).reason == FailureReason.NOT_HERE_YET
    assert isinstance(world.ask(at(50), at(40), put._replace(as_owner=False)), P2pSuccess)


def test_only_asked_as_the_owner_a_node_holds_back_a_copy_that_it_is_not_sure_of(world, at, key):
    forty = world.ideal(*range(10, 101, 10))[3]
    with_predecessor(forty.node, at, 20)
    forty.keep(25)
    forty.keep(35)
    ask = lambda number, as_owner: world.ask(at(50), at(40), P2pGet(key(number), as_owner))  # noqa: E731
    assert ask(25, True).reason == FailureReason.NOT_HERE_YET
    assert isinstance(ask(25, False), P2pSuccess)
    assert isinstance(ask(35, True), P2pSuccess)
