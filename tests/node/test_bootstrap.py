"""Finding the ring: through whom, in which order, and who may start one."""

import pytest

from gdht.core.messages import P2pGetSuccessor
from gdht.errors import CallTimeout, PeerUnreachable
from gdht.node.acquaintances import NOTE, write_memory
from gdht.node.bootstrap import (
    AWAIT_INTERVALS,
    HOLD_INTERVALS,
    REFOUND_INTERVALS,
    RETRY_S_MAX,
    enter_ring,
    refound,
    try_to_enter,
)
from gdht.node.membership import found_ring, isolate, stabilize
from gdht.node.status import State
from gdht.node.unify import look_for_others, merge


def address(ident):
    return f"10.0.0.1:{ident + 1}"


def test_an_empty_list_starts_a_ring(world):
    lone = world.add(10)
    enter_ring(lone, lone.node)
    assert lone.node.state is State.ACTIVE
    assert lone.node.founder
    assert lone.node.ring.alone
    assert not lone.node.arc.receiving
    assert world.clock_s == 0.0


def test_a_listed_member_lets_us_in(world):
    world.ideal(10, 20)
    newcomer = world.add(15, [address(20)])
    enter_ring(newcomer, newcomer.node)
    assert newcomer.node.ring.predecessor.ident == 10
    assert not newcomer.node.founder
    assert newcomer.node.arc.receiving


def test_the_list_is_tried_in_order_until_one_is_a_member(world):
    world.ideal(10, 20)
    world.add(70)
    newcomer = world.add(15, [address(90), address(70), address(20), address(10)])
    enter_ring(newcomer, newcomer.node)
    assert newcomer.node.is_member
    assert world.asked(P2pGetSuccessor)[:2] == [70, 20]
    assert newcomer.node.join_error == ""


def test_the_first_of_the_list_starts_the_ring_when_none_of_the_others_is_a_member(world):
    world.add(20)
    first = world.add(10, [address(10), address(20), address(30)])
    enter_ring(first, first.node)
    assert first.node.founder
    assert world.asked(P2pGetSuccessor) == [20]


def test_the_first_of_the_list_joins_when_another_is_a_member(world):
    world.ideal(20)
    first = world.add(10, [address(10), address(20)])
    enter_ring(first, first.node)
    assert not first.node.founder
    assert first.node.ring.predecessor.ident == 20


def test_a_later_one_of_the_list_waits_for_the_first(world):
    second = world.add(20, [address(10), address(20)])
    try_to_enter(second, second.node)
    assert not second.node.is_member
    assert "10.0.0.1:11: " in second.node.join_error
    assert not world.calls


def test_the_first_may_be_listed_under_another_name(world):
    """The list says a name, the node advertises a number: whoever answers there is the node itself."""
    first = world.add(10, ["first.example.org:11", address(20)])
    world.addresses["first.example.org:11"] = first.me
    enter_ring(first, first.node)
    assert first.node.founder


def test_a_round_without_success_is_repeated_with_growing_pauses(world):
    waiting = world.add(20, [address(10)])
    pauses = []
    last_s = 0.0

    def look():
        nonlocal last_s
        pauses.append(world.clock_s - last_s)
        last_s = world.clock_s
        if len(pauses) == 40:
            world.ideal(10)

    world.on_sleep = look
    enter_ring(waiting, waiting.node)
    assert waiting.node.is_member
    assert 0.15 < pauses[0] < 0.25
    assert pauses[:3] == sorted(pauses[:3])
    assert max(pauses[:10]) <= 1.2 * waiting.node.config.stabilize_interval
    assert 0.8 * RETRY_S_MAX <= pauses[-1] <= 1.2 * RETRY_S_MAX


def test_the_state_tells_that_the_node_is_on_its_way(world):
    waiting = world.add(20, [address(10)])
    states = []

    def look():
        states.append(waiting.node.state)
        world.ideal(10)

    world.on_sleep = look
    enter_ring(waiting, waiting.node)
    assert states == [State.JOINING]
    assert waiting.node.state is State.ACTIVE


def test_a_twin_is_refused_and_says_why(world, at):
    world.ideal(10, 20)
    twin = world.add(20, [address(10)])
    world.actors[20].me = twin.node.me = twin.me = at(20)._replace(address="10.9.9.9:1")
    try_to_enter(twin, twin.node)
    assert not twin.node.is_member
    assert "already in the ring" in twin.node.join_error


def test_a_twin_that_answers_at_a_listed_address_is_refused(world, at):
    twin = world.add(20, [address(30)])
    world.addresses[address(30)] = at(20)._replace(address=address(30))
    try_to_enter(twin, twin.node)
    assert not twin.node.is_member
    assert "already in the ring" in twin.node.join_error


def test_an_isolated_node_tries_those_it_remembers_before_its_list(world):
    ring = world.ideal(10, 20, 30, 40)
    lost = ring[0]
    isolate(lost.node)
    enter_ring(lost, lost.node)
    assert lost.node.state is State.ACTIVE
    assert lost.node.ring.predecessor.ident == 40


def test_an_isolated_founder_with_nobody_left_is_a_ring_again(world):
    ring = world.ideal(10, 20)
    ring[0].keep(5)
    world.kill(20)
    isolate(ring[0].node)
    enter_ring(ring[0], ring[0].node)
    assert ring[0].node.founder
    assert ring[0].holds(5) == b"value"


def test_a_lone_founder_finds_the_ring_of_the_others_on_its_list(world):
    world.ideal(20, 30)
    lone = world.add(10, [address(10), address(20)])
    found_ring(lone.node)
    look_for_others(lone, lone.node)
    merge(lone, lone.node)
    assert lone.node.ring.predecessor.ident == 30
    assert not lone.node.founder
    assert lone.node.arc.receiving


@pytest.mark.parametrize("listed", [[], [10], [10, 90]])
def test_a_lone_founder_that_finds_nobody_stays_as_it_is(world, listed):
    lone = world.add(10, [address(ident) for ident in listed])
    found_ring(lone.node)
    before = lone.node.ring
    look_for_others(lone, lone.node)
    merge(lone, lone.node)
    assert lone.node.ring is before
    assert lone.node.founder


# Starting the ring again ----------------------------------------------------------------------------------------------


def isolated(world, *idents):
    """Nodes that have lost each other and remember it; none of them is listed first anywhere."""
    ring = world.ideal(*idents, bootstrap=[address(99)])
    for actor in ring:
        isolate(actor.node)
    return ring


def test_of_isolated_nodes_the_first_starts_the_ring_again(world):
    first, second, third = isolated(world, 10, 20, 30)
    for actor in (third, second):
        refound(actor, actor.node, actor.node.contacts)
        assert actor.node.state is State.ISOLATED
    refound(first, first.node, first.node.contacts)
    assert first.node.state is State.ACTIVE
    assert first.node.founder
    enter_ring(second, second.node)
    assert second.node.ring.predecessor == first.me


def test_an_isolated_node_that_hears_from_nobody_does_not_serve(world):
    first, *others = isolated(world, 10, 20, 30)
    world.kill(*(actor.me.ident for actor in others))
    refound(first, first.node, first.node.contacts)
    assert first.node.state is State.ISOLATED


def test_while_one_of_the_others_is_a_member_no_second_ring_is_started(world):
    first, _second, third = isolated(world, 10, 20, 30)
    found_ring(third.node)
    refound(first, first.node, first.node.contacts)
    assert first.node.state is State.ISOLATED


def test_newcomers_that_wait_do_not_keep_the_ring_from_being_started_again(world):
    first, _second = isolated(world, 10, 20)
    newcomer = world.add(5, [address(10)])
    newcomer.node.state = State.JOINING
    first.node.contacts = (*first.node.contacts, newcomer.me)
    refound(first, first.node, first.node.contacts)
    assert first.node.state is State.ACTIVE


def test_a_newcomer_never_starts_a_ring_again(world):
    isolated(world, 20, 30)
    newcomer = world.add(10, [address(20)])
    newcomer.node.contacts = (world.actors[20].me,)
    refound(newcomer, newcomer.node, newcomer.node.contacts)
    assert not newcomer.node.is_member


def test_others_are_asked_only_after_a_while(world):
    ring = isolated(world, 10, 20)
    enter_ring(ring[0], ring[0].node)
    assert world.clock_s >= REFOUND_INTERVALS * ring[0].node.config.stabilize_interval
    assert ring[0].node.founder
    assert ring[0].node.lost.peers == (ring[1].me,), "who may still be found"


# Started again --------------------------------------------------------------------------------------------------------


def restarted(world, actor, bootstrap=()):
    """A new run of a node: all that is left of the old one is what it wrote down."""
    write_memory(actor.node)
    again = world.add(actor.me.ident, bootstrap)
    again.node.store.write_note(NOTE, actor.node.store.note(NOTE))
    world.dead.discard(actor.me.ident)
    return again


def all_restarted(world, *idents, bootstrap=()):
    """A ring that was killed as a whole, all of it started again; no node has looked for the ring yet."""
    again = [restarted(world, actor, bootstrap) for actor in world.ideal(*idents)]
    for actor in again:
        actor.node.state = State.JOINING
    return again


class Enough(Exception):
    """Ends the life of a node that would look for the ring for ever."""


def give_up_after(world, seconds):
    def look():
        if world.clock_s > seconds:
            raise Enough

    world.on_sleep = look


@pytest.mark.parametrize("bootstrap", [[], [15], [90]])
def test_a_restarted_node_finds_its_ring_without_the_list(world, bootstrap):
    ring = world.ideal(10, 20, 30, 40)
    again = restarted(world, ring[1], [address(ident) for ident in bootstrap])
    world.addresses.pop(address(90), None)
    enter_ring(again, again.node)
    assert again.node.ring.predecessor.ident == 10
    assert not again.node.founder
    assert world.clock_s == 0.0


@pytest.mark.parametrize("idents", [(10, 20), (10, 20, 30), (10, 20, 30, 40)])
def test_a_node_started_again_at_once_takes_its_old_place(world, idents):
    """The others have not noticed that it was away, so they name it to itself."""
    ring = world.ideal(*idents)
    before = ring[1].node.ring
    again = restarted(world, ring[1])
    enter_ring(again, again.node)
    stabilize(again, again.node)
    assert again.node.ring.successors == before.successors
    assert again.node.ring.predecessor == before.predecessor
    assert again.node.arc.receiving, "others may have taken its place meanwhile"


def test_a_node_started_again_at_another_address_waits_for_its_old_self_to_be_forgotten(world, at):
    ring = world.ideal(10, 20, 30)
    again = restarted(world, ring[1])
    again.node.me = again.me = at(20)._replace(address="10.9.9.9:1")
    world.actors[20] = ring[1]
    world.kill(20)
    try_to_enter_with(again)
    assert "already in the ring" in again.node.join_error
    stabilize(ring[0], ring[0].node)
    try_to_enter_with(again)
    assert again.node.is_member


def try_to_enter_with(actor):
    actor.node.contacts = (peer_of(actor, 10), peer_of(actor, 30))
    try_to_enter(actor, actor.node)


def peer_of(actor, ident):
    return actor.world.actors[ident].me


def test_a_silent_peer_does_not_keep_a_node_from_joining_through_another(world):
    ring = world.ideal(10, 20, 30, 40)
    world.kill(10)
    again = restarted(world, ring[1])
    world.ideal(30, 40)
    enter_ring(again, again.node)
    assert again.node.is_member
    assert world.clock_s == 0.0


def test_a_listed_node_that_was_silent_a_moment_ago_is_not_waited_for_again(world):
    ring = world.ideal(10, 20)
    world.kill(10)
    again = restarted(world, ring[1], [address(10)])
    again.node.contacts = (ring[0].me,)
    again.identify = lambda address, timeout_s: pytest.fail("asked again")
    try_to_enter(again, again.node)
    assert "silent" in again.node.join_error


def test_a_ring_of_one_starts_again_at_once_though_others_are_listed_first(world):
    lone = world.add(10, [address(90)])
    found_ring(lone.node)
    again = restarted(world, lone, [address(90)])
    enter_ring(again, again.node)
    assert again.node.founder
    assert not again.node.arc.receiving
    assert world.clock_s == 0.0


def test_who_was_the_last_to_stay_starts_again_though_those_who_left_are_remembered(world):
    first, second = world.ideal(10, 20)
    second.node.forget(first.me)
    world.kill(10)
    again = restarted(world, second, [address(10)])
    enter_ring(again, again.node)
    assert again.node.founder
    assert again.node.lost.peers == (first.me,), "who may come back and start a ring of its own"


def test_who_was_the_last_to_stay_joins_those_who_came_back_meanwhile(world):
    first, second = world.ideal(10, 20)
    second.node.forget(first.me)
    again = restarted(world, second)
    found_ring(restarted(world, first).node)
    enter_ring(again, again.node)
    assert not again.node.founder
    assert again.node.ring.predecessor.ident == 10


@pytest.mark.parametrize("bootstrap", [[], [10]])
def test_an_appointed_node_that_remembers_a_ring_starts_it_when_all_others_look_for_it_too(world, bootstrap):
    first, *_ = all_restarted(world, 10, 20, 30, bootstrap=[address(ident) for ident in bootstrap])
    first.node.state = State.STARTING
    enter_ring(first, first.node)
    assert first.node.founder
    assert world.clock_s == 0.0


def test_an_appointed_node_waits_a_little_for_those_it_remembers(world):
    first, *_ = all_restarted(world, 10, 20, 30)
    first.node.state = State.STARTING
    world.kill(30)
    enter_ring(first, first.node)
    assert first.node.founder
    interval_s = first.node.config.stabilize_interval
    assert HOLD_INTERVALS <= world.clock_s / interval_s < HOLD_INTERVALS + 3 * first.node.config.call_timeout


def test_a_node_that_hears_from_nobody_never_serves_unless_it_is_appointed(world):
    first, *_ = all_restarted(world, 10, 20, 30, bootstrap=[address(90)])
    first.node.state = State.STARTING
    world.kill(20, 30)
    give_up_after(world, 600.0)
    with pytest.raises(Enough):
        enter_ring(first, first.node)
    assert first.node.state is State.ISOLATED, "it says so"


def test_a_ring_that_was_killed_starts_again_without_the_first_of_all_lists(world):
    first, second, third = all_restarted(world, 10, 20, 30, bootstrap=[address(90)])
    for actor in (second, third):
        actor.node.state = State.ISOLATED
    first.node.state = State.STARTING
    enter_ring(first, first.node)
    assert first.node.founder
    assert REFOUND_INTERVALS <= world.clock_s / first.node.config.stabilize_interval < REFOUND_INTERVALS + 2
    enter_ring(second, second.node)
    assert second.node.ring.predecessor == first.me
    assert not second.node.founder


def test_beside_a_ring_that_it_could_not_get_into_a_node_starts_none(world):
    ring = world.ideal(10, 20, 30)
    again = restarted(world, ring[0])
    world.kill(30)  # whom it should come after
    give_up_after(world, 60.0)
    with pytest.raises(Enough):
        enter_ring(again, again.node)
    assert not again.node.is_member


def test_a_node_that_answers_as_no_member_and_one_that_is_silent_are_told_apart(world, at):
    again = world.add(10)
    world.add(20)
    again.node.contacts = (at(20), at(30), world.script(40, PeerUnreachable("connection refused")))
    attempt = try_to_enter(again, again.node)
    assert (attempt.outside, attempt.silent) == ([at(20)], [at(30).address])


def test_who_starts_a_ring_again_is_not_sure_of_its_records_until_those_near_it_are_back(world):
    first, second, third = all_restarted(world, 10, 20, 30)
    first.node.state = State.STARTING
    enter_ring(first, first.node)
    assert first.node.arc.receiving
    assert first.node.awaits_others
    present = first.node.ring.with_successors(second.me, third.me)
    first.node.ring = present
    assert not first.node.awaits_others


def test_it_does_not_wait_for_them_for_ever(world):
    first, *_ = all_restarted(world, 10, 20, 30)
    first.node.state = State.STARTING
    enter_ring(first, first.node)
    world.clock_s += AWAIT_INTERVALS * first.node.config.stabilize_interval
    assert not first.node.awaits_others


def test_a_new_node_that_starts_a_ring_for_others_that_lost_theirs_waits_for_their_records(world):
    first = world.add(10)
    first.node.state = State.JOINING
    first.node.hear_of(world.add(20).me)
    enter_ring(first, first.node)
    assert first.node.founder
    assert first.node.arc.receiving


def test_a_timeout_is_not_an_answer_from_outside(world, at):
    again = world.add(10)
    again.node.contacts = (world.script(20, CallTimeout("no answer")),)
    assert try_to_enter(again, again.node).outside == []
