"""Each step of ring maintenance alone: what it asks, what it assigns, and what it does not."""

from contextlib import suppress

import pytest

from gdht.core.fingers import Finger
from gdht.core.ident import IDENT_BITS, IDENTS, finger_start
from gdht.core.messages import (
    ErrorReason,
    P2pAck,
    P2pError,
    P2pGetNeighbours,
    P2pGetSuccessor,
    P2pLeave,
    P2pNotify,
    P2pPing,
    P2pReplyNeighbours,
    P2pReplySuccessor,
)
from gdht.errors import CallTimeout, JoinFailed, LookupFailed, PeerUnreachable, RemoteError, RemoteProtocolError
from gdht.node.express import own_records
from gdht.node.journal import Cause
from gdht.node.membership import (
    check_predecessor,
    fix_fingers,
    found_ring,
    isolate,
    join,
    rectify,
    say_goodbye,
    stabilize,
)
from gdht.node.state import LEFT_CALLS
from gdht.node.status import State

TOP = IDENTS - 1


def idents(peers):
    return [peer.ident for peer in peers]


def pointers(actor):
    """(predecessor, successors) by identifier."""
    ring = actor.node.ring
    return ring.predecessor and ring.predecessor.ident, idents(ring.successors)


def neighbours(at, predecessors, successors):
    """A scripted member with these pointers."""

    def answer(request):
        if isinstance(request, P2pGetNeighbours):
            return P2pReplyNeighbours(tuple(map(at, predecessors)), tuple(map(at, successors)))
        return P2pAck()

    return answer


# Join -----------------------------------------------------------------------------------------------------------------


def test_a_newcomer_takes_the_list_of_the_node_before_it_in_one_assignment(world, at):
    world.ideal(10, 20, 30, 40)
    newcomer = world.add(25)
    join(newcomer, newcomer.node, at(40))
    assert pointers(newcomer) == (20, [30, 40, 10])
    assert newcomer.node.state is State.ACTIVE
    assert newcomer.node.arc.receiving
    assert newcomer.node.stats.ring_pointer_changes["successor"] == 1
    assert newcomer.node.stats.lookups == {("join", "ok"): 1}


def test_a_join_changes_nobody_else(world, at):
    ring = world.ideal(10, 20, 30, 40)
    before = [actor.node.ring for actor in ring]
    newcomer = world.add(25)
    join(newcomer, newcomer.node, at(40))
    assert [actor.node.ring for actor in ring] == before
    assert not world.asked(P2pNotify)


def test_only_the_node_before_the_newcomer_may_answer_it(world, at):
    world.ideal(10, 20, 30, 40)
    newcomer = world.add(25)
    join(newcomer, newcomer.node, at(30))
    assert world.asked(P2pGetSuccessor)[-1] == 20
    lookups = [request for _, _, request in world.calls if isinstance(request, P2pGetSuccessor)]
    assert lookups
    assert all(request.strict for request in lookups)


def test_the_second_node_takes_the_first_for_both_neighbours(world, at):
    world.ideal(10)
    newcomer = world.add(25)
    join(newcomer, newcomer.node, at(10))
    assert pointers(newcomer) == (10, [10])


def test_a_node_that_comes_back_before_it_was_missed_does_not_list_itself(world, at):
    world.ideal(10, 20, 30)
    again = world.add(20)
    join(again, again.node, at(30))
    assert pointers(again) == (10, [30])


def test_the_second_of_two_comes_back_before_it_was_missed(world, at):
    world.ideal(10, 20)
    again = world.add(20)
    join(again, again.node, at(10))
    assert pointers(again) == (10, [10])


def test_nobody_joins_through_a_node_that_is_no_member(world, at):
    world.add(10)
    newcomer = world.add(25)
    with pytest.raises(LookupFailed) as error:
        join(newcomer, newcomer.node, at(10))
    assert error.value.result == "no_route"
    assert not newcomer.node.is_member
    assert newcomer.node.ring.alone


def test_a_twin_of_another_address_is_refused(world, at):
    world.ideal(10, 20)
    twin = world.add(20)
    twin.node.me = twin.me = at(20)._replace(address="10.9.9.9:1")
    with pytest.raises(JoinFailed, match=r"already in the ring, at 10\.0\.0\.1:21"):
        join(twin, twin.node, at(10))
    assert not twin.node.is_member


def test_a_join_takes_the_list_as_its_owner_says_it_last(world, at):
    """Between the first answer and the end of the join, 40 is taken in after 20: an older list would skip it."""
    world.ideal(10, 20, 50, 60)
    newcomer = world.add(30)

    def takes_40_in(request):
        world.script(20, neighbours(at, [10], [40, 50, 60]))
        return P2pReplySuccessor(30, True, (at(50), at(60), at(10)))

    world.script(20, takes_40_in)
    join(newcomer, newcomer.node, at(20))
    assert pointers(newcomer) == (20, [40, 50, 60])


def test_a_join_gives_way_to_a_node_that_came_in_between(world, at):
    world.ideal(10, 20, 50, 60)
    newcomer = world.add(30)

    def takes_25_in(request):
        world.script(20, neighbours(at, [10], [25, 50, 60]))
        return P2pReplySuccessor(30, True, (at(50), at(60), at(10)))

    world.script(20, takes_25_in)
    with pytest.raises(JoinFailed, match="another node has just joined"):
        join(newcomer, newcomer.node, at(20))
    assert not newcomer.node.is_member


def test_a_join_leaves_the_dead_at_the_head_of_the_list_out(world, at):
    world.ideal(10, 20, 50, 60)
    world.kill(50)
    newcomer = world.add(30)
    join(newcomer, newcomer.node, at(20))
    assert pointers(newcomer) == (20, [60, 10])


def test_nobody_joins_with_a_list_of_the_dead(world, at):
    """The only member dies between its answer and the end of our join."""
    newcomer = world.add(25)
    world.ideal(10)

    def dies(request):
        world.kill(10)
        del world.scripts[10]  # from now on it is silent
        return P2pReplySuccessor(25, True, (at(10),))

    world.script(10, dies)
    with pytest.raises(JoinFailed, match="nobody lives"):
        join(newcomer, newcomer.node, at(10))
    assert not newcomer.node.is_member


def test_a_contact_that_answers_with_ourselves_is_no_way_in(world, at):
    newcomer = world.add(25)
    world.script(10, lambda request: P2pReplySuccessor(25, False, (at(25),)))
    with pytest.raises((JoinFailed, LookupFailed)):
        join(newcomer, newcomer.node, at(10))


def test_a_join_that_was_overtaken_by_somebody_joining_us_changes_nothing(world, at):
    world.ideal(10)
    lone = world.add(25)
    found_ring(lone.node)

    def somebody_joins(request):
        if isinstance(request, P2pGetSuccessor):
            return P2pReplySuccessor(25, True, (at(30),))
        lone.node.set_ring(lone.node.ring.with_predecessors(at(5)), Cause.JOINED)
        return neighbours(at, [10], [30, 10])(request)

    world.script(20, somebody_joins)
    world.script(30, neighbours(at, [20], [10]))
    with pytest.raises(JoinFailed, match="meanwhile"):
        join(lone, lone.node, at(20))
    assert pointers(lone) == (5, [])
    assert lone.node.founder


# Stabilize, part 1 ----------------------------------------------------------------------------------------------------


def test_a_living_successor_gives_its_list_and_is_notified(world, at):
    node = world.ideal(10, 20, 30, 40, 50)[0]
    world.script(20, neighbours(at, [10], [30, 35, 40]))
    stabilize(node, node.node)
    assert pointers(node) == (50, [20, 30, 35])
    assert world.asked(P2pNotify) == [20]
    assert node.node.stabilized_at_s == world.clock_s


def test_a_dead_successor_is_dropped_and_the_next_one_pulled(world, at):
    node = world.ideal(10, 20, 30, 40, 50)[0]
    world.kill(20)
    stabilize(node, node.node)
    assert pointers(node) == (50, [30, 40, 50])
    assert world.asked(P2pGetNeighbours)[:3] == [20, 20, 30]
    assert world.asked(P2pNotify) == [30]


def test_a_silent_successor_is_asked_twice_before_it_is_dropped(world, at):
    node = world.ideal(10, 20, 30, 40, 50)[0]
    answers = [CallTimeout("slow"), neighbours(at, [10], [30, 40])(P2pGetNeighbours())]
    world.script(20, lambda request: answers.pop(0) if isinstance(request, P2pGetNeighbours) else P2pAck())
    stabilize(node, node.node)
    assert pointers(node)[1] == [20, 30, 40]
    assert node.node.stats.suspicions == {"refuted": 1}
    assert node.node.health.score == 1, "it may be us who are slow"


def test_a_successor_that_refuses_the_connection_is_dropped_at_once(world, at):
    node = world.ideal(10, 20, 30, 40)[0]
    world.script(20, PeerUnreachable("refused"))
    stabilize(node, node.node)
    assert world.asked(P2pGetNeighbours)[:2] == [20, 30]
    assert node.node.lost.peers == (at(20),)


def test_all_dead_successors_are_passed_in_one_step(world, at):
    node = world.ideal(10, 20, 30, 40, 50)[0]
    world.kill(20, 30)
    stabilize(node, node.node)
    assert pointers(node) == (50, [40, 50])


@pytest.mark.parametrize(
    "error",
    [
        CallTimeout("late"),
        PeerUnreachable("refused"),
        RemoteProtocolError("type", "babble"),
        RemoteError(ErrorReason.NOT_JOINED, "gone"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_whoever_is_no_living_member_counts_as_dead(world, at, error):
    node = world.ideal(10, 20, 30)[0]
    world.script(20, error)
    stabilize(node, node.node)
    assert pointers(node) == (30, [30])


def test_a_successor_that_merely_refuses_is_kept(world, at):
    node = world.ideal(10, 20, 30)[0]
    world.script(20, P2pError(ErrorReason.OVERLOAD, "busy"))
    before = node.node.ring
    with pytest.raises(RemoteError):
        stabilize(node, node.node)
    assert node.node.ring is before


def test_a_false_list_is_cut_where_it_stops_being_one(world, at):
    node = world.ideal(10, 20, 30, 40)[0]
    world.script(20, neighbours(at, [10], [30, 25, 40]))
    stabilize(node, node.node)
    assert pointers(node)[1] == [20, 30]


def test_a_list_that_names_us_ends_there(world, at):
    node = world.ideal(10, 20)[0]
    world.script(20, neighbours(at, [10], [10, 20, 10]))
    stabilize(node, node.node)
    assert pointers(node)[1] == [20]


# Stabilize, part 2 ----------------------------------------------------------------------------------------------------


def test_a_candidate_is_adopted_with_its_own_list_and_notified(world, at):
    node = world.ideal(10, 30, 40)[0]
    world.script(30, neighbours(at, [20], [40, 10]))
    world.script(20, neighbours(at, [10], [30, 40, 10]))
    stabilize(node, node.node)
    assert pointers(node)[1] == [20, 30, 40]
    assert world.asked(P2pNotify) == [20]


def test_a_candidate_is_asked_before_it_is_adopted(world, at):
    node = world.ideal(10, 30, 40)[0]
    seen = []
    world.script(30, neighbours(at, [20], [40, 10]))

    def candidate(request):
        seen.append(idents(node.node.ring.successors))
        return neighbours(at, [10], [30, 40])(request)

    world.script(20, candidate)
    stabilize(node, node.node)
    assert seen[0] == [30, 40]


def test_a_dead_candidate_is_not_adopted_and_the_successor_is_notified(world, at):
    node = world.ideal(10, 30, 40)[0]
    world.script(30, neighbours(at, [20], [40, 10]))
    stabilize(node, node.node)
    assert pointers(node)[1] == [30, 40]
    assert world.asked(P2pGetNeighbours) == [30, 20]
    assert world.asked(P2pNotify) == [30]


@pytest.mark.parametrize("predecessor", [10, 30, 40, 5])
def test_only_a_node_between_us_and_the_successor_is_a_candidate(world, at, predecessor):
    node = world.ideal(10, 30, 40)[0]
    world.script(30, neighbours(at, [predecessor], [40, 10]))
    stabilize(node, node.node)
    assert world.asked(P2pGetNeighbours) == [30]
    assert pointers(node)[1] == [30, 40]


def test_the_first_node_learns_of_the_second_from_its_notification(world, at):
    first = world.add(10)
    found_ring(first.node)
    second = world.add(20)
    join(second, second.node, at(10))
    rectify(first, first.node, at(20))
    assert pointers(first) == (20, [])
    stabilize(first, first.node)
    assert pointers(first) == (20, [20])
    assert not first.node.ring.alone


def test_a_first_node_whose_newcomer_died_is_alone_again(world, at):
    first = world.add(10)
    found_ring(first.node)
    rectify(first, first.node, at(20))
    stabilize(first, first.node)
    assert first.node.ring.alone
    assert first.node.state is State.ACTIVE


def test_stabilizing_alone_asks_nobody(world):
    (lone,) = world.ideal(10)
    found_ring(lone.node)
    stabilize(lone, lone.node)
    assert not world.calls
    assert lone.node.is_member


# Rectify --------------------------------------------------------------------------------------------------------------


def test_a_closer_notifier_becomes_the_predecessor_without_a_question(world, at):
    node = world.ideal(10, 30)[1]
    rectify(node, node.node, at(20))
    assert idents(node.node.ring.predecessors) == [20, 10]
    assert not world.calls


def test_a_farther_notifier_is_ignored_while_the_predecessor_lives(world, at):
    node = world.ideal(10, 20, 30)[2]
    rectify(node, node.node, at(10))
    assert pointers(node)[0] == 20
    assert world.asked(P2pPing) == [20]


def test_a_farther_notifier_takes_over_from_a_dead_predecessor(world, at):
    node = world.ideal(10, 20, 30)[2]
    world.kill(20)
    rectify(node, node.node, at(10))
    assert idents(node.node.ring.predecessors) == [10]


def test_a_predecessor_that_merely_refuses_its_ping_lives(world, at):
    node = world.ideal(10, 20, 30)[2]
    world.script(20, P2pError(ErrorReason.OVERLOAD, "busy"))
    rectify(node, node.node, at(10))
    assert pointers(node)[0] == 20


def test_any_notifier_is_welcome_where_no_predecessor_is_known(world, at):
    node = world.ideal(10, 20, 30)[2]
    node.node.set_ring(node.node.ring.with_predecessors(), Cause.JOINED)
    rectify(node, node.node, at(10))
    assert pointers(node)[0] == 10
    assert not world.calls


# Check predecessor ----------------------------------------------------------------------------------------------------


def test_a_dead_predecessor_is_forgotten(world):
    node = world.ideal(10, 20, 30)[2]
    world.kill(20)
    check_predecessor(node, node.node)
    assert pointers(node) == (None, [10, 20])


def test_a_living_predecessor_tells_who_comes_before_it(world, at):
    node = world.ideal(10, 20, 30)[2]
    world.script(20, neighbours(at, [15, 10], [30]))
    check_predecessor(node, node.node)
    assert idents(node.node.ring.predecessors) == [20, 15, 10]


def test_without_a_predecessor_there_is_nobody_to_check(world):
    (lone,) = world.ideal(30)
    check_predecessor(lone, lone.node)
    assert not world.calls


# Fingers --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def far(world):
    """A ring of 24 nodes, each twice as far from 0 as the one before, and the node at 0."""
    return world.ideal(0, *(1 << power for power in range(233, 256)))[0]


def test_fingers_within_the_successor_list_need_no_lookup(world, far):
    assert [finger.number for finger in far.node.ring.fingers] == [0, 234, 235]
    fix_fingers(far, far.node)
    assert far.node.next_finger == 237
    assert far.node.ring.fingers[-1] == Finger(236, world.actors[1 << 236].me)


def test_a_round_of_lookups_finds_each_finger_once(world, far):
    for _ in range(20):
        fix_fingers(far, far.node)
    assert far.node.next_finger == IDENT_BITS
    numbers = [finger.number for finger in far.node.ring.fingers]
    assert numbers == [0, *range(234, 256)]
    assert all(finger.peer.ident == finger_start(0, finger.number) for finger in far.node.ring.fingers[1:])
    assert far.node.stats.lookups == {("fix_finger", "ok"): 20}


def test_after_a_round_the_next_one_begins_where_the_list_ends(world, far):
    far.node.next_finger = IDENT_BITS
    fix_fingers(far, far.node)
    assert far.node.next_finger == 237


def test_a_finger_that_comes_round_to_us_ends_the_round(world):
    node = world.ideal(0, *(1 << power for power in range(100, 110)))[0]
    while node.node.next_finger != IDENT_BITS:
        fix_fingers(node, node.node)
    assert all(finger.peer.ident != 0 for finger in node.node.ring.fingers)
    assert node.node.ring.fingers[-1].peer.ident == 1 << 109


def test_a_dead_finger_is_dropped_by_the_lookup_that_finds_it_dead(world, far):
    for _ in range(20):
        fix_fingers(far, far.node)
    world.kill(1 << 240)
    far.node.next_finger = 240
    with suppress(LookupFailed):
        fix_fingers(far, far.node)
    far.node.next_finger = 241
    fix_fingers(far, far.node)
    assert (1 << 240) not in [finger.peer.ident for finger in far.node.ring.fingers]
    assert far.node.stats.lookup_dead_hops == 1


# Leaving, and losing everybody ----------------------------------------------------------------------------------------


def test_a_node_that_said_goodbye_is_forgotten_at_once(world, at):
    node = world.ideal(10, 20, 30)[0]
    node.node.forget(at(20))
    assert pointers(node) == (30, [30])
    assert not world.calls


def test_who_said_goodbye_during_a_step_is_not_taken_back(world, at):
    """The successor still names the leaver as its predecessor, and the leaver still answers."""
    node = world.ideal(10, 20, 30, 40)[0]

    def leaves_meanwhile(request):
        node.node.forget(at(20))
        return neighbours(at, [20], [40, 10])(request)

    world.script(30, leaves_meanwhile)
    node.node.set_ring(node.node.ring.without(at(20)), Cause.SUCCESSOR_LOST)
    stabilize(node, node.node)
    assert pointers(node)[1] == [30, 40]
    assert 20 not in world.asked(P2pGetNeighbours)


def test_a_successor_that_says_goodbye_while_it_is_asked_is_not_kept(world, at):
    node = world.ideal(10, 20, 30, 40)[0]

    def leaves(request):
        node.node.forget(at(20))
        return neighbours(at, [10], [30, 40])(request)

    world.script(20, leaves)
    stabilize(node, node.node)
    assert pointers(node)[1] == [30, 40]
    assert not node.node.lost.peers, "who left is not lost"


def test_goodbyes_are_forgotten_after_a_while_or_when_the_node_is_back(world, at):
    node = world.ideal(10, 20, 30)[0]
    node.node.forget(at(20))
    assert node.node.has_left(at(20))
    world.clock_s += LEFT_CALLS * node.node.config.call_timeout
    assert not node.node.has_left(at(20))


def test_when_the_last_other_node_says_goodbye_we_are_alone_by_right(world, at):
    node = world.ideal(10, 20)[0]
    node.node.forget(at(20))
    assert node.node.ring.alone
    assert node.node.founder
    assert node.node.is_member


def test_goodbye_goes_to_those_before_us_and_to_our_successor(world):
    node = world.ideal(10, 20, 30, 40, 50)[2]
    say_goodbye(node, node.node)
    assert sorted(world.asked(P2pLeave)) == [10, 20, 40, 50]


def test_goodbye_also_goes_to_those_whom_we_forgot_with_the_predecessor_that_left(world, at):
    """Whoever was before it has us in its list still, and may have nobody else there."""
    node = world.ideal(10, 20, 30, 40, 50)[2]
    before = node.node.ring.predecessors
    node.node.forget(at(20))
    assert node.node.ring.predecessor is None
    say_goodbye(node, node.node, before)
    assert sorted(world.asked(P2pLeave)) == [10, 40, 50]


def test_who_hears_the_goodbyes_of_its_whole_list_goes_on_to_who_is_furthest_before_it(world, at):
    node = world.ideal(10, 20, 30, 40, 50, successor_list_length=2, replication=3, max_replication=3)[0]
    assert pointers(node) == (50, [20, 30])
    node.node.forget(at(20))
    node.node.forget(at(30))
    assert pointers(node)[1] == [40, 50]
    assert not node.node.founder


def test_who_says_goodbye_answers_for_nothing_while_a_dead_node_has_not_heard_it(world, at):
    """Those that heard it take its successor for the owner at once, and put there what it never sees."""
    node = world.ideal(10, 20, 30, 40, 50)[2]
    assert node.node.arc.is_sure_of(25)
    world.kill(10)
    owned = []
    world.script(20, lambda request: owned.append(node.node.arc.is_sure_of(25)) or P2pAck())
    say_goodbye(node, node.node)
    assert owned == [False]
    assert not node.node.arc.is_ours(25)
    assert own_records(node.node) is None


def test_a_stabilize_that_was_under_way_at_the_goodbye_notifies_nobody(world):
    """It would be taken for a node that has come back, and be a neighbour again after it has gone."""
    node = world.ideal(10, 20)[0]
    say_goodbye(node, node.node)
    stabilize(node, node.node)
    assert world.asked(P2pGetNeighbours) == [20]
    assert world.asked(P2pNotify) == []


def test_a_node_that_lost_every_successor_is_no_member_and_remembers_whom_to_ask(world):
    node = world.ideal(10, 20, 30, 40)[0]
    node.node.set_ring(node.node.ring.with_predecessors(node.node.ring.predecessors[0]), Cause.JOINED)
    world.kill(20, 30, 40)
    stabilize(node, node.node)
    assert node.node.state is State.ISOLATED
    assert not node.node.is_member
    assert node.node.ring.alone
    assert node.node.stabilized_at_s is None


def test_an_isolated_node_remembers_its_predecessors_and_fingers(world, at):
    node = world.ideal(10, 20, 30)[0]
    isolate(node.node)
    assert set(idents(node.node.contacts)) == {20, 30}


@pytest.mark.parametrize("reason", [ErrorReason.RING, ErrorReason.VERSION, ErrorReason.IDENT, ErrorReason.NOT_JOINED])
def test_a_successor_whose_address_another_program_took_is_passed_over(world, at, reason):
    ring = world.ideal(10, 20, 30)
    world.script(20, RemoteError(reason, "not the one you knew"))
    stabilize(ring[0], ring[0].node)
    assert ring[0].node.ring.first_successor == at(30)


def test_a_candidate_that_merely_refuses_does_not_keep_us_from_notifying_our_successor(world, at):
    ring = world.ideal(10, 30)
    world.script(20, RemoteError(ErrorReason.OVERLOAD, "busy", retriable=True))
    ring[1].node.set_ring(ring[1].node.ring.with_predecessors(at(20), at(10)), Cause.JOINED)
    stabilize(ring[0], ring[0].node)
    assert ring[0].node.ring.first_successor == at(30)
    assert world.asked(P2pNotify) == [30]


def test_who_joins_anew_forgets_the_goodbyes_of_before(world, at):
    """The other node left, came back as a ring of its own, and we join that."""
    world.ideal(10)
    node = world.add(20)
    found_ring(node.node)
    node.node.forget(at(10))
    join(node, node.node, at(10))
    assert not node.node.has_left(at(10))
    stabilize(node, node.node)
    assert pointers(node) == (10, [10])
    assert world.asked(P2pNotify) == [10]


def test_a_leaver_that_had_notified_us_is_no_predecessor(world, at):
    node = world.ideal(10, 20, 30)[2]
    node.node.forget(at(25))
    rectify(node, node.node, at(25))
    assert pointers(node)[0] == 20


def test_the_last_to_say_goodbye_is_looked_for(world, at):
    node = world.ideal(10, 20)[0]
    node.node.forget(at(20))
    assert node.node.lost.peers == (at(20),), "it may come back and start a ring of its own"
