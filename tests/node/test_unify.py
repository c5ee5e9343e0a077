"""How a node learns that there is a ring without it, and how it takes its place there."""

from contextlib import suppress

import pytest

from gdht.core.messages import ErrorReason, P2pError, P2pGetSuccessor, P2pNotify, P2pReplySuccessor
from gdht.errors import JoinFailed, LookupFailed
from gdht.node.journal import Cause
from gdht.node.membership import check_predecessor, found_ring, rectify, stabilize
from gdht.node.state import MEET_INTERVALS
from gdht.node.status import State
from gdht.node.unify import LISTED_EVERY, look_for_others, merge


def address(ident):
    return f"10.0.0.1:{ident + 1}"


def idents(peers):
    return [peer.ident for peer in peers]


def pointers(actor):
    ring = actor.node.ring
    return ring.predecessor and ring.predecessor.ident, idents(ring.successors)


def look(actor):
    look_for_others(actor, actor.node)
    with suppress(LookupFailed):
        merge(actor, actor.node)


@pytest.fixture
def two_rings(world):
    """10, 30, 50 know only each other, and so do 20, 40, 60."""
    return world.ideal(10, 30, 50), world.ideal(20, 40, 60)


def test_a_lost_peer_of_our_own_ring_is_found_and_forgotten(world, at):
    node = world.ideal(10, 20, 30, 40)[0]
    node.node.lost.add(at(30), 0.0)
    before = node.node.ring
    look(node)
    assert node.node.lost.peers == ()
    assert node.node.ring is before
    assert node.node.stats.ring_merges == 0


def test_a_lost_peer_that_is_still_silent_stays_lost(world, at):
    node = world.ideal(10, 20, 30)[0]
    node.node.lost.suspect(at(25), 0.0)
    look(node)
    assert node.node.lost.peers == (at(25),)
    assert node.node.lost.second_ring == ()


def test_a_ring_of_another_name_is_never_merged_with(world, at):
    """HELLO is refused, so a node of another ring counts as silent, wherever its address was learnt."""
    node = world.ideal(10, 20, 30)[0]
    before = node.node.ring
    node.node.lost.add(world.script(25, P2pError(ErrorReason.RING, "this is ring other, not default")), 0.0)
    node.node.meet(at(25))
    with suppress(LookupFailed):
        merge(node, node.node)
    look(node)
    assert node.node.ring is before
    assert node.node.lost.second_ring == ()


def test_one_that_is_no_member_yet_stays_lost(world, at):
    node = world.ideal(10, 20, 30)[0]
    node.node.lost.add(world.script(25, P2pError(ErrorReason.NOT_JOINED, "isolated")), 0.0)
    look(node)
    assert node.node.lost.peers == (at(25),)


def test_a_closer_successor_in_the_other_ring_is_adopted_and_told(two_rings, world, at):
    (ten, *_), _ = two_rings
    ten.node.lost.add(at(60), 0.0)
    look(ten)
    assert pointers(ten) == (60, [20, 30, 40]), "neither list is forgotten"
    assert 20 in world.asked(P2pNotify)
    assert ten.node.lost.second_ring == (at(60),)
    assert ten.node.stats.ring_merges == 1
    assert Cause.MERGED.value in {event.cause for event in ten.node.journal.since(0)}


def test_the_own_ring_is_not_asked_for_our_place_in_the_other(two_rings, world, at):
    (_, thirty, _), _ = two_rings
    thirty.node.lost.add(at(60), 0.0)
    look(thirty)
    assert not {10, 50} & set(world.asked(P2pGetSuccessor))


def test_a_farther_successor_in_the_other_ring_is_told_of_us(world, at):
    node = world.ideal(10, 12, 14)[1]
    world.ideal(20, 40)
    node.node.lost.add(at(40), 0.0)
    look(node)
    assert pointers(node) == (10, [14, 10]), "ours are closer on both sides"
    assert {20, 14} <= set(world.asked(P2pNotify))
    assert 12 in world.actors[20].node.notified


def test_an_answer_that_only_repeats_what_we_know_is_no_second_ring(world, at):
    """We have just joined: those before us have not taken us in yet."""
    ring = world.ideal(10, 30, 40)
    newcomer = world.add(20)
    newcomer.node.state = State.ACTIVE
    newcomer.node.set_ring(newcomer.node.ring.with_successors(at(30), at(40)).with_predecessors(at(10)), Cause.JOINED)
    newcomer.node.lost.add(ring[2].me, 0.0)
    look(newcomer)
    assert newcomer.node.lost.second_ring == ()


def test_a_twin_in_the_other_ring_is_refused(two_rings, world, at):
    (ten, *_), _ = two_rings
    ten.node.lost.add(at(10)._replace(address="10.9.9.9:1"), 0.0)
    with pytest.raises(JoinFailed, match="already in the ring"):
        look(ten)
    assert pointers(ten) == (50, [30, 50])


def test_a_lone_founder_joins_the_ring_of_a_lost_peer(world, at):
    world.ideal(20, 30)
    lone = world.add(10)
    found_ring(lone.node)
    lone.node.lost.add(at(20), 0.0)
    look(lone)
    assert lone.node.ring.predecessor.ident == 30
    assert lone.node.arc.receiving, "its share of the records is over there"
    assert not lone.node.founder


def test_the_bootstrap_list_is_asked_now_and_then(world, at):
    world.ideal(20, 40)
    node = world.ideal(10, 30, bootstrap=[address(30), address(20)])[0]
    for turn in range(1, LISTED_EVERY + 1):
        assert not world.asked(P2pGetSuccessor), turn
        look(node)
    assert set(world.asked(P2pGetSuccessor)) <= {20, 40}, "30 is known already"
    assert node.node.ring.first_successor == at(20)


def test_who_is_passed_over_by_its_predecessor_asks_the_one_between(world, at):
    """10 has merged into the ring of 20 and 40; 30, its successor until then, is skipped."""
    ten, thirty, _ = world.ideal(10, 30, 50)
    world.ideal(20, 40)
    ten.node.set_ring(ten.node.ring.with_successors(at(20), at(40)), Cause.MERGED)
    check_predecessor(thirty, thirty.node)
    assert thirty.node.met == at(20)
    merge(thirty, thirty.node)
    assert pointers(thirty) == (20, [40, 50, 10])


def test_a_node_that_has_just_joined_before_us_passes_nobody_over(world, at):
    _, thirty, _ = world.ideal(10, 30, 50)
    twenty = world.add(20)
    twenty.node.state = State.ACTIVE
    twenty.node.set_ring(twenty.node.ring.with_successors(at(30), at(50)).with_predecessors(at(10)), Cause.JOINED)
    thirty.node.set_ring(thirty.node.ring.with_predecessors(at(20), at(10)), Cause.NOTIFIED)
    check_predecessor(thirty, thirty.node)
    assert thirty.node.met is None


def test_one_lost_peer_on_one_side_is_enough_to_make_one_ring(two_rings, world, at):
    """Only 10 remembers somebody; the others notice by themselves, step by step."""
    everybody = [*two_rings[0], *two_rings[1]]
    two_rings[0][0].node.lost.add(at(40), 0.0)
    for _ in range(6):
        for actor in everybody:
            look(actor)
            stabilize(actor, actor.node)
            for notifier in [*actor.node.notified.values()]:
                rectify(actor, actor.node, notifier)
            actor.node.notified.clear()
            check_predecessor(actor, actor.node)
    assert {actor.me.ident: pointers(actor) for actor in everybody} == {
        10: (60, [20, 30, 40]),
        20: (10, [30, 40, 50]),
        30: (20, [40, 50, 60]),
        40: (30, [50, 60, 10]),
        50: (40, [60, 10, 20]),
        60: (50, [10, 20, 30]),
    }


def test_a_lone_node_that_a_ring_takes_in_knows_that_its_share_is_there(world, at):
    """It came back empty and started a ring of its own; the ring found it first."""
    ring = world.ideal(10, 20, 40, 50)
    lone = world.add(30)
    found_ring(lone.node)
    ring[1].node.set_ring(ring[1].node.ring.with_successors(at(30), at(40), at(50)), Cause.MERGED)
    lone.node.set_ring(lone.node.ring.with_predecessors(at(20)), Cause.NOTIFIED)
    stabilize(lone, lone.node)
    assert pointers(lone) == (20, [40, 50, 10])
    assert lone.node.arc.receiving


def test_a_ring_whose_list_is_only_behind_is_no_second_ring(world, at):
    """While many join, a newcomer names our second successor as what follows us."""
    node = world.ideal(10, 20, 30, 40)[0]
    world.script(15, lambda request: P2pReplySuccessor(10, True, (at(30), at(40))))
    node.node.meet(at(15))
    with suppress(LookupFailed):
        merge(node, node.node)
    assert node.node.lost.second_ring == ()
    assert node.node.stats.ring_merges == 0


def test_the_same_peer_is_met_only_now_and_then(world, at):
    node = world.ideal(10, 20, 30)[0]
    node.node.meet(at(20))
    node.node.met = None
    node.node.meet(at(20))
    assert node.node.met is None
    world.clock_s += MEET_INTERVALS * node.node.config.stabilize_interval
    node.node.meet(at(20))
    assert node.node.met == at(20)
