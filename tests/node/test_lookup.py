"""find_successor over the network: what it asks, how it goes round the dead, how it ends, what it counts."""

import pytest

from gdht.core.messages import ErrorReason, P2pError, P2pGetSuccessor, P2pReplySuccessor
from gdht.errors import LookupFailed
from gdht.node.journal import Cause
from gdht.node.lookup import BUDGET_CALLS, HOPS_MAX, find_successor, trail_of
from gdht.node.status import State

IDENTS = list(range(100, 3300, 100))


@pytest.fixture
def ring(world):
    """32 members, 100 to 3200, that know three successors each and no fingers."""
    return world.ideal(*IDENTS)


def find(actor, ident, **options):
    return find_successor(actor, actor.node, ident, purpose="test", **options)


@pytest.mark.parametrize("ident", [50, 100, 101, 1650, 3200, 3201])
def test_the_owner_is_found_from_everywhere(ring, ident):
    owner = next((place for place in IDENTS if place >= ident), 100)
    for actor in ring[::5]:
        assert find(actor, ident).owner.ident == owner


def test_what_the_own_list_covers_needs_no_call(world, ring):
    found = find(ring[0], 150)
    assert found.owner.ident == 200
    assert found.responder == ring[0].me
    assert not world.calls


def test_every_hop_comes_closer(world, ring):
    find(ring[0], 3150)
    asked = world.asked(P2pGetSuccessor)
    assert asked == sorted(asked)
    assert len(set(asked)) == len(asked)


def test_a_dead_hop_is_routed_around_and_counted(world, ring):
    world.kill(400, 700)
    found = find(ring[0], 1550)
    assert found.owner.ident == 1600
    assert [hop.peer.ident for hop in found.trail if hop.dead] == [400]
    assert ring[0].node.stats.lookup_dead_hops == 1


def test_a_dead_owner_is_not_given_as_the_answer_once_it_is_known(ring):
    found = find(ring[0], 1550, dead={1600})
    assert found.owner.ident == 1700


def test_a_peer_that_refuses_is_passed_by_but_not_called_dead(world, ring):
    world.script(400, P2pError(ErrorReason.OVERLOAD, "busy"))
    dead = set()
    found = find(ring[0], 1550, dead=dead)
    assert found.owner.ident == 1600
    assert dead == set()
    assert found.trail[0].error == "overload: busy"


def test_an_answer_to_another_question_is_no_answer(world, ring, at):
    world.script(400, P2pReplySuccessor(7, True, (at(666),)))
    assert find(ring[0], 1550).owner.ident == 1600


def test_a_peer_that_points_backwards_or_to_itself_is_not_followed(world, ring, at):
    world.script(400, P2pReplySuccessor(1550, False, (at(400), at(50), at(1600))))
    assert find(ring[0], 1550).owner.ident == 1600
    assert 50 not in world.asked(P2pGetSuccessor)
    assert world.asked(P2pGetSuccessor).count(400) == 1


def test_a_lookup_nobody_can_help_with_ends_without_a_route(world, ring):
    world.kill(200, 300, 400)
    with pytest.raises(LookupFailed) as error:
        find(ring[0], 1550)
    assert error.value.result == "no_route"
    assert error.value.retriable
    assert [hop.peer.ident for hop in trail_of(error.value)] == [400, 300, 200]
    assert ring[0].node.stats.lookups == {("test", "no_route"): 1}


def test_a_lookup_has_a_budget_of_time(world, ring, at):
    timeout_s = ring[0].node.config.call_timeout
    silent = range(500, 1400, 20)
    world.script(400, lambda request: P2pReplySuccessor(request.ident, False, tuple(map(at, silent))))
    world.kill(*silent, 200, 300)
    with pytest.raises(LookupFailed) as error:
        find(ring[0], 1550)
    assert error.value.result == "timeout"
    assert world.clock_s <= (BUDGET_CALLS + 1) * timeout_s


def test_a_lookup_has_a_budget_of_hops(world, at):
    """Everybody names one who is a single step closer."""
    (lone,) = world.ideal(1)
    lone.node.set_ring(lone.node.ring.with_successors(at(2)), Cause.JOINED)
    for ident in range(2, 500):
        world.script(ident, P2pReplySuccessor(1000, False, (at(ident + 1),)))
    with pytest.raises(LookupFailed) as error:
        find(lone, 1000)
    assert error.value.result == "loop"
    assert len(world.calls) == HOPS_MAX


@pytest.mark.parametrize("replicas", [1, 2, 3, 4])
def test_as_many_replicas_are_named_as_were_wanted(ring, replicas):
    for actor in ring[::3]:
        found = find(actor, 1550, replicas=replicas)
        assert [peer.ident for peer in found.peers][:replicas] == [1600, 1700, 1800, 1900][:replicas]


def test_replicas_are_named_also_when_the_owner_is_dead(world, ring):
    """The node that answers knows the dead owner and one node more; that one knows those after it."""
    world.kill(1600)
    found = find(ring[13], 1550, replicas=3)
    assert [peer.ident for peer in found.peers][:3] == [1700, 1800, 1900]


def test_a_strict_answer_comes_from_the_predecessor_of_the_owner(ring):
    assert find(ring[0], 1550, strict=True, via=(ring[3].me,)).responder.ident == 1500


def test_a_lookup_is_counted_by_its_purpose(ring):
    find(ring[0], 1550)
    find(ring[0], 150)
    stats = ring[0].node.stats
    assert stats.lookups == {("test", "ok"): 2}
    assert stats.lookup_hops["test"].count == 2
    assert stats.lookup_hops["test"].counts[0] == 1
    assert stats.lookup_duration["test"].count == 2


def test_a_dead_finger_is_forgotten_by_any_lookup(world, ring):
    world.kill(400)
    assert 400 in [finger.peer.ident for finger in ring[0].node.ring.fingers]
    find(ring[0], 1550)
    assert 400 not in [finger.peer.ident for finger in ring[0].node.ring.fingers]
    assert 400 in [peer.ident for peer in ring[0].node.ring.successors]


def test_a_confirmed_owner_has_been_asked_itself(world, ring):
    found = find(ring[0], 250, confirmed=True)
    assert found.owner.ident == 300
    assert [hop.peer.ident for hop in found.trail] == [300]
    assert find(ring[0], 250).trail == (), "its own list knows"


def test_a_lookup_goes_on_past_an_owner_that_is_dead_and_the_last_of_a_list(world, ring):
    """100 knows 200, 300 and 400; asked for 350 it names 400 and nobody after it, and 400 is dead."""
    world.kill(400)
    found = find(ring[0], 350, replicas=3)
    assert [peer.ident for peer in found.peers] == [500, 600, 700]


def test_a_confirmed_owner_is_followed_to_a_newcomer_before_it(world, ring, at):
    """270 has joined before 300; 300 knows, nobody else does."""
    newcomer = world.add(270)
    newcomer.node.state = State.ACTIVE
    joined = newcomer.node.ring.with_successors(at(300), at(400)).with_predecessors(at(200))
    newcomer.node.set_ring(joined, Cause.JOINED)
    ring[2].node.set_ring(ring[2].node.ring.with_predecessors(at(270), at(200)), Cause.NOTIFIED)
    assert find(ring[0], 250).owner.ident == 300
    assert find(ring[0], 250, confirmed=True).owner.ident == 270


def test_a_supposed_owner_that_only_says_no_is_asked_who_is_before_it(world, ring, at):
    newcomer = world.add(270)
    newcomer.node.state = State.ACTIVE
    joined = newcomer.node.ring.with_successors(at(300), at(400)).with_predecessors(at(200))
    newcomer.node.set_ring(joined, Cause.JOINED)
    ring[2].node.set_ring(ring[2].node.ring.with_predecessors(at(270)), Cause.NOTIFIED)
    assert find(ring[0], 250, confirmed=True).owner.ident == 270


def test_the_heir_of_a_dead_owner_finds_itself_though_its_own_list_ends_with_the_dead(world):
    """Everybody names 400 and then 500 for 350; 500 itself, which has lost its predecessor, knows only 400."""
    heir = world.ideal(100, 200, 300, 400, 500, successor_list_length=4)[-1]
    heir.node.set_ring(heir.node.ring.with_predecessors(), Cause.PREDECESSOR_LOST)
    world.kill(400)
    assert [peer.ident for peer in find(heir, 350, replicas=3).peers] == [500, 100, 200, 300]
