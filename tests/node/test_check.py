"""The check of a ring: silent on a right one, and each wrong one told by its first violated invariant and its nodes."""

import pytest

from gdht.core.messages import P2pGetNeighbours, P2pGetStatus
from gdht.errors import CallNotSent
from gdht.node import check as check_module
from gdht.node.check import NAMED_MAX, PAUSE_S_MAX, check, check_nearby
from gdht.node.crawl import CRAWL_S_MAX
from gdht.node.journal import Cause
from gdht.node.status import State

NODES_MAX = 1024


@pytest.fixture
def ring(world):
    """Ten nodes, 10 to 100, that each know three successors."""
    return world.ideal(*range(10, 101, 10))


def set_pointers(actor, successors=None, predecessors=None):
    """Give a node other pointers."""
    ring = actor.node.ring
    if successors is not None:
        ring = ring.with_successors(*successors)
    if predecessors is not None:
        ring = ring.with_predecessors(*predecessors)
    actor.node.set_ring(ring, Cause.JOINED)


def look(actor, nodes_max=NODES_MAX):
    return check(actor, actor.node, nodes_max)


def told(result):
    """Invariants with the nodes involved."""
    return [(violation.invariant, violation.nodes) for violation in result.violations]


# Right rings ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("nodes", [1, 2, 3, 4, 5, 30])
def test_an_ideal_ring_is_consistent_and_each_node_is_asked_once(world, nodes):
    first, *_ = world.ideal(*range(10, 10 * nodes + 1, 10))
    result = look(first)
    assert (result.consistent, result.complete, result.nodes, result.violations) == (True, True, nodes, ())
    assert sorted(world.asked(P2pGetStatus)) == list(range(20, 10 * nodes + 1, 10))


def test_what_is_wrong_for_a_moment_only_is_not_reported(world, ring):
    right = ring[4].node.ring
    set_pointers(ring[4], predecessors=())
    world.on_sleep = lambda: ring[4].node.set_ring(right, Cause.NOTIFIED)
    result = look(ring[0])
    assert result.consistent
    assert result.seconds >= ring[0].node.config.stabilize_interval


def test_what_was_right_in_the_first_look_is_not_reported_either(world, ring):
    right = ring[4].node.ring
    set_pointers(ring[4], predecessors=())

    def heal_here_and_break_there():
        ring[4].node.set_ring(right, Cause.NOTIFIED)
        set_pointers(ring[7], predecessors=())

    world.on_sleep = heal_here_and_break_there
    assert look(ring[0]).violations == ()


def test_between_two_looks_nobody_waits_for_a_long_interval(world):
    first, second = world.ideal(10, 20, stabilize_interval=30.0)
    set_pointers(second, predecessors=())
    assert look(first).seconds == PAUSE_S_MAX


# Wrong ones -----------------------------------------------------------------------------------------------------------


def test_a_predecessor_that_is_not_whose_successor_it_is(ring, at):
    set_pointers(ring[4], predecessors=[at(30)])
    result = look(ring[0])
    assert told(result) == [("ideal_predecessor", (50,))]
    assert result.violations[0].detail == f"{at(50).address}: 00000000 in place of 00000000"
    assert not result.consistent
    assert result.complete


def test_a_successor_list_with_a_hole(ring, at):
    set_pointers(ring[4], successors=[at(60), at(80), at(90)])
    assert ("ideal_successors", (50,)) in told(look(ring[0]))


def test_a_ring_with_too_few_principals_names_those_left(world, at):
    first, *rest = world.ideal(10, 20, 30, 40, 50)
    set_pointers(rest[0], successors=[at(40), at(50), at(10)])
    set_pointers(rest[2], successors=[at(10), at(20), at(30)])
    result = look(first)
    assert told(result)[0] == ("principals", (10, 20, 40))
    assert "3 of 5 members, need 4" in result.violations[0].detail


def test_lists_out_of_order_come_first(world, ring):
    status = ring[4].node.ring
    object.__setattr__(status, "successors", tuple(reversed(status.successors)))
    assert told(look(ring[0]))[0] == ("list_order", (50,))


def test_a_member_all_of_whose_successors_are_gone(world, ring):
    world.kill(50, 60, 70)
    result = look(ring[0])
    assert told(result)[0] == ("live_successor", (40,))
    assert ("all_answer", (50, 20, 30, 40)) in told(result)
    assert any(invariant == "walk_closes" and nodes == (10, 70) for invariant, nodes in told(result))
    assert not result.complete


def test_a_silent_node_is_named_with_those_that_point_at_it(world, ring, at):
    world.kill(50)
    result = look(ring[0])
    assert told(result)[0] == ("all_answer", (50, 20, 30, 40, 60))
    detail = result.violations[0].detail
    assert detail.startswith(", ".join(at(ident).address for ident in (50, 20, 30)) + " and 2 more: ")
    assert "did not answer" in detail
    assert NAMED_MAX == 3


def test_a_node_that_answers_but_is_no_member_is_named_with_its_state(world, ring):
    ring[4].node.state = State.ISOLATED
    result = look(ring[0])
    (violation,) = [one for one in result.violations if one.invariant == "ideal_member"]
    assert violation.nodes[0] == 50
    assert violation.detail.endswith("the node is isolated")
    assert result.complete


def test_a_node_outside_the_ring_says_so_of_itself(world):
    outside = world.add(10)
    result = look(outside)
    assert told(result) == [("ideal_member", (10,)), ("walk_closes", (10,))]
    assert result.violations[-1].detail.endswith(": the walk ends after 1 node")
    assert not result.consistent


def test_a_member_that_only_a_predecessor_pointer_leads_to_is_found(world, ring, at):
    late = world.add(45)
    late.node.state = State.ACTIVE
    set_pointers(late, successors=[at(50), at(60), at(70)], predecessors=[at(40)])
    set_pointers(ring[4], predecessors=[at(45), at(40)])
    assert ("ideal_successors", (40,)) in told(look(ring[0]))


def test_a_walk_that_runs_in_a_circle_beside_us_is_told(world, ring, at):
    set_pointers(ring[5], successors=[at(40), at(50)])
    result = look(ring[2])
    assert told(result)[0][0] == "principals"
    assert ("walk_closes", (30, 60)) in told(result)


def test_two_circles_among_the_nodes_met_are_two_rings(world, ring, at):
    world.ideal(45, 55)
    set_pointers(ring[4], predecessors=[at(45), at(40)])
    result = look(ring[0])
    assert told(result)[0] == ("at_most_one_ring", (10, 45))


# A second ring --------------------------------------------------------------------------------------------------------


def test_a_lost_node_that_is_a_member_of_another_ring_is_told_with_both_sides(world, ring, at):
    world.ideal(44, 55, 66)
    ring[0].node.lost.add(at(55), 0.0)
    result = look(ring[0])
    assert told(result) == [("one_ring", (10, 55))]
    assert "not met from the first; its successors are 0" in result.violations[0].detail
    assert at(55).address in result.violations[0].detail


def test_lost_nodes_that_are_dead_or_no_members_or_back_are_not_told(world, ring, at):
    world.add(44)
    for ident in (44, 45, 50):
        ring[0].node.lost.add(at(ident), 0.0)
    result = look(ring[0])
    assert result.consistent
    assert result.seconds <= 2 * check_module.LOST_S_MAX


# Bounds ---------------------------------------------------------------------------------------------------------------


def test_of_a_large_ring_a_part_is_looked_at_and_no_more_is_claimed(world):
    first, *rest = world.ideal(*range(10, 1001, 10))
    result = look(first, 20)
    assert (result.nodes, result.complete, result.consistent, result.violations) == (20, False, False, ())
    set_pointers(rest[3], predecessors=[])
    assert told(look(first, 20)) == [("ideal_predecessor", (50, 40))]
    assert told(look(first, NODES_MAX)) == [("ideal_predecessor", (50,))]


def test_many_dead_nodes_do_not_take_longer_than_allowed(world):
    first, *_ = world.ideal(*range(10, 1001, 10))
    world.kill(*range(30, 1000, 20))
    result = look(first)
    assert result.seconds <= 2 * (CRAWL_S_MAX + check_module.LOST_S_MAX) + PAUSE_S_MAX
    assert not result.consistent


def test_a_real_ring_is_right_from_everywhere_in_a_moment_and_wrong_while_a_dead_node_is_in_its_lists(cluster):
    ring = cluster(25, safe=False)
    for host in ring.live():
        result = ring.visit(host, host.node.check)
        assert (result.consistent, result.nodes) == (True, 25)
        assert result.seconds < 1.0
    gone = ring.hosts[7]
    ring.crash(gone)
    result = ring.visit(ring.hosts[0], ring.hosts[0].node.check)
    assert ("all_answer", gone.peer.ident) in [(one.invariant, one.nodes[0]) for one in result.violations]
    ring.wait_until_ideal(60.0)
    result = ring.visit(ring.hosts[0], ring.hosts[0].node.check)
    assert (result.consistent, result.nodes) == (True, 24)


# Nearby ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("nodes", [1, 2, 3, 4, 5, 30])
def test_neighbours_that_agree_are_consistent_for_few_calls(world, nodes):
    first, *_ = world.ideal(*range(10, 10 * nodes + 1, 10))
    assert check_nearby(first, first.node)
    assert len(world.asked(P2pGetNeighbours)) == len(world.calls) <= first.node.ring.length + 1


BREAKS = {
    "the successor has another predecessor": lambda world, at: set_pointers(world.actors[20], predecessors=[at(100)]),
    "so has one further on": lambda world, at: set_pointers(world.actors[40], predecessors=[at(20)]),
    "a list has a hole": lambda world, at: set_pointers(world.actors[20], successors=[at(40), at(50), at(60)]),
    "the predecessor has another successor": lambda world, at: set_pointers(world.actors[100], [at(20), at(30)]),
    "a successor is silent": lambda world, at: world.kill(30),
    "a second ring is suspected": lambda world, at: world.actors[10].node.lost.suspect(at(45), 0.0),
    "we are no member": lambda world, at: setattr(world.actors[10].node, "state", State.ISOLATED),
}


@pytest.mark.parametrize("what", BREAKS)
def test_neighbours_that_disagree_are_not_consistent(world, ring, at, what):
    BREAKS[what](world, at)
    assert not check_nearby(ring[0], ring[0].node)


def test_a_neighbour_that_could_not_be_asked_does_not_count_as_agreeing(world, ring):
    world.script(30, CallNotSent("too much is under way"))
    assert not check_nearby(ring[0], ring[0].node)
