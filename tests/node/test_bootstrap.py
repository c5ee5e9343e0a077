"""Finding the ring: through whom, in which order, and who may start one."""

import pytest

from gdht.core.messages import P2pGetSuccessor
from gdht.node.bootstrap import REFOUND_INTERVALS, RETRY_S_MAX, enter_ring, refound, try_to_enter
from gdht.node.membership import found_ring, isolate
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
    assert not lone.node.receiving
    assert world.clock_s == 0.0


def test_a_listed_member_lets_us_in(world):
    world.ideal(10, 20)
    newcomer = world.add(15, [address(20)])
    enter_ring(newcomer, newcomer.node)
    assert newcomer.node.ring.predecessor.ident == 10
    assert not newcomer.node.founder
    assert newcomer.node.receiving


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
        if len(pauses) == 8:
            world.ideal(10)

    world.on_sleep = look
    enter_ring(waiting, waiting.node)
    assert waiting.node.is_member
    assert 0.15 < pauses[0] < 0.25
    assert pauses[:4] == sorted(pauses[:4])
    assert max(pauses) <= 1.2 * RETRY_S_MAX


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
    assert lost.node.contacts == ()


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
    assert lone.node.receiving


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
        refound(actor, actor.node)
        assert actor.node.state is State.ISOLATED
    refound(first, first.node)
    assert first.node.state is State.ACTIVE
    assert first.node.founder
    enter_ring(second, second.node)
    assert second.node.ring.predecessor == first.me


def test_an_isolated_node_that_hears_from_nobody_does_not_serve(world):
    first, *others = isolated(world, 10, 20, 30)
    world.kill(*(actor.me.ident for actor in others))
    refound(first, first.node)
    assert first.node.state is State.ISOLATED


def test_while_one_of_the_others_is_a_member_no_second_ring_is_started(world):
    first, _second, third = isolated(world, 10, 20, 30)
    found_ring(third.node)
    refound(first, first.node)
    assert first.node.state is State.ISOLATED


def test_newcomers_that_wait_do_not_keep_the_ring_from_being_started_again(world):
    first, _second = isolated(world, 10, 20)
    newcomer = world.add(5, [address(10)])
    newcomer.node.state = State.JOINING
    first.node.contacts = (*first.node.contacts, newcomer.me)
    refound(first, first.node)
    assert first.node.state is State.ACTIVE


def test_a_newcomer_never_starts_a_ring_again(world):
    isolated(world, 20, 30)
    newcomer = world.add(10, [address(20)])
    newcomer.node.contacts = (world.actors[20].me,)
    refound(newcomer, newcomer.node)
    assert not newcomer.node.is_member


def test_others_are_asked_only_after_a_while(world):
    ring = isolated(world, 10, 20)
    enter_ring(ring[0], ring[0].node)
    assert world.clock_s >= REFOUND_INTERVALS * ring[0].node.config.stabilize_interval
    assert ring[0].node.founder
    assert ring[0].node.lost.peers == (ring[1].me,), "who may still be found"
