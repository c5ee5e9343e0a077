"""Requests that go by what was heard before of who owns what: one call when it is right, one more when it is not."""

import pytest

from gdht.core.known_arcs import KnownArcs
from gdht.core.messages import P2pGet, P2pGetSuccessor, P2pLeave, P2pPut
from gdht.core.placement import view_of
from gdht.node.handlers import handle
from gdht.node.journal import Cause
from gdht.node.lookup import find_successor
from gdht.node.membership import isolate
from gdht.node.replication.get import GetOutcome, get
from gdht.node.replication.put import PutOutcome, put
from gdht.node.status import State

FOUND = GetOutcome("success", b"value")
SUCCESS_3 = PutOutcome("success", 3, 3)


@pytest.fixture
def ring(world):
    """Twenty members, 10 to 200; 115 is owned by 120, then 130 and 140 follow. 10 has lists of three."""
    return world.ideal(*range(10, 201, 10))


@pytest.fixture
def ten(ring):
    """The member at 10, which has put 115 before, and so has heard of its owner."""
    assert put_115(ring[0]) == SUCCESS_3
    ring[0].world.calls.clear()
    ring[0].node.stats.route_cache.clear()
    return ring[0]


def put_115(actor, value=b"value", replication=0):
    return put(actor, actor.node, (115).to_bytes(32, "big"), value, 60, replication)


def get_115(actor):
    return get(actor, actor.node, (115).to_bytes(32, "big"))


def holders(ring):
    return [actor.me.ident for actor in ring if actor.holds(115) is not None]


def join(world, at, ident, before, *after):
    """A newcomer that only the nodes around it know: those before it and after it, nearest first."""
    newcomer = world.add(ident)
    newcomer.node.state = State.ACTIVE
    newcomer.node.set_ring(
        newcomer.node.ring.with_successors(*map(at, after)).with_predecessors(*map(at, before)), Cause.JOINED
    )
    newcomer.node.arc.accepted = True
    newcomer.node.confirm_arc(at(before[0]), world.clock_s)
    newcomer.node.arc.make_sure(before[0])
    for place in before[:1]:
        node = world.actors[place].node
        node.set_ring(node.ring.with_successors(at(ident), *node.ring.successors), Cause.CLOSER_SUCCESSOR)
    node = world.actors[after[0]].node
    node.set_ring(node.ring.with_predecessors(at(ident), *node.ring.predecessors), Cause.NOTIFIED)
    return newcomer


# One hop --------------------------------------------------------------------------------------------------------------


def test_a_get_asks_the_owner_and_nobody_else(world, ten):
    assert get_115(ten) == FOUND
    assert world.calls == [(10, 120, P2pGet((115).to_bytes(32, "big"), True))]
    assert ten.node.stats.route_cache == {"hit": 1}


def test_a_put_writes_to_its_replicas_and_asks_nobody_else(world, ring, ten):
    assert put_115(ten, b"new") == SUCCESS_3
    assert [callee for _, callee, _ in world.calls] == world.asked(P2pPut) == [120, 130, 140]
    assert ring[11].holds(115) == ring[13].holds(115) == b"new"


def test_one_answer_teaches_the_arcs_after_it_too(world, ten):
    get(ten, ten.node, (125).to_bytes(32, "big"))
    assert not world.asked(P2pGetSuccessor)[1:]
    assert world.asked(P2pGet)[0] == 130


@pytest.mark.parametrize("number", [15, 25, 35])
def test_the_first_get_of_what_our_own_lists_name_is_one_call(world, ring, number):
    for actor in ring[1:4]:
        actor.keep(number)
    assert get(ring[0], ring[0].node, number.to_bytes(32, "big")) == FOUND
    assert len(world.calls) == 1
    assert ring[0].node.stats.route_cache["miss"] == 0


def test_a_lookup_is_counted_as_a_miss(world, ring):
    get_115(ring[0])
    assert world.asked(P2pGetSuccessor)
    assert ring[0].node.stats.route_cache == {"miss": 1}


def test_a_node_that_remembers_nothing_looks_up_each_time(world, ten):
    ten.node.known_arcs = KnownArcs(10, 0)
    for _ in range(2):
        world.calls.clear()
        assert get_115(ten) == FOUND
        assert world.asked(P2pGetSuccessor)


def test_where_too_few_copies_are_known_the_owner_is_asked_for_more(world, ring, ten):
    assert put_115(ten, replication=4) == PutOutcome("success", 4, 4)
    assert world.asked(P2pGetSuccessor) in ([], [120])
    assert holders(ring) == [120, 130, 140, 150]


# Old knowledge --------------------------------------------------------------------------------------------------------


def test_who_is_no_owner_any_more_says_who_is(world, ring, ten, at):
    newcomer = join(world, at, 117, (110, 100, 90), 120, 130, 140)
    newcomer.keep(115, b"newer", age_ms=-1)
    assert get_115(ten) == GetOutcome("success", b"newer")
    kinds = [(callee, type(request)) for _, callee, request in world.calls]
    assert kinds == [(120, P2pGet), (120, P2pGetSuccessor), (117, P2pGet)]
    assert ten.node.stats.route_cache == {"stale": 1}
    world.calls.clear()
    get_115(ten)
    assert world.asked(P2pGet) == [callee for _, callee, _ in world.calls] == [117]


def test_a_put_that_went_to_a_former_owner_goes_to_the_new_one(world, ring, ten, at):
    newcomer = join(world, at, 117, (110, 100, 90), 120, 130, 140)
    assert put_115(ten, b"new") == SUCCESS_3
    assert newcomer.holds(115) == b"new"
    assert world.asked(P2pPut)[-3:] == [117, 120, 130]
    assert world.clock_s == 0.0  # at once


def test_a_put_whose_owner_counts_on_other_replicas_is_written_to_those_too(world, ring, ten, at):
    """The owner alone would have been enough for a majority, but the promise is about all replicas."""
    newcomer = join(world, at, 125, (120, 110, 100), 130, 140, 150)
    assert put_115(ten, b"new") == SUCCESS_3
    assert newcomer.holds(115) == b"new"
    versions = {request.version for _, _, request in world.calls if isinstance(request, P2pPut)}
    assert len(versions) == 1
    assert world.asked(P2pGetSuccessor) == [120]
    assert ten.node.stats.route_cache == {"stale": 1}


def test_a_put_does_not_wait_for_dead_replicas_that_the_owner_no_longer_counts_on(world, ring, ten):
    world.kill(130)
    twelve = ring[11].node
    twelve.set_ring(twelve.ring.without(ring[12].me), Cause.SUCCESSOR_LOST)
    assert put_115(ten, b"new") == SUCCESS_3
    assert world.asked(P2pPut)[3:] == [120, 140, 150]
    assert world.clock_s == 0.0


def test_a_dead_owner_costs_one_call_and_is_forgotten(world, ring, ten):
    world.kill(120)
    get_115(ten)
    assert world.asked(P2pGet)[0] == 120
    assert ten.node.stats.route_cache == {"stale": 1}
    assert ten.node.known_arcs.find(115) is None or ten.node.known_arcs.find(115).owner.ident != 120


def test_an_owner_that_died_long_ago_is_passed_over(world, ring, ten, at):
    world.kill(120)
    for actor in ring:
        actor.node.set_ring(actor.node.ring.without(at(120)), Cause.SUCCESSOR_LOST)
    heir = ring[12].node
    heir.set_ring(heir.ring.with_predecessors(at(110), at(100)), Cause.NOTIFIED)
    heir.confirm_arc(at(110), world.clock_s)
    heir.arc.make_sure(110)
    ten.node.known_arcs.learn(110, (at(120), at(130), at(140)))  # nobody has told it
    assert get_115(ten) == FOUND
    assert world.asked(P2pGet) == [120, 130]


def test_an_owner_that_leaves_is_forgotten(world, ring, ten):
    ring[11].node.sealed = True
    put_115(ten)
    arc = ten.node.known_arcs.find(115)
    assert world.asked(P2pPut)[0] == 120
    assert ten.node.stats.route_cache == {"stale": 1}
    assert arc is None or arc.owner.ident != 120 or world.asked(P2pGetSuccessor)


def test_who_says_goodbye_is_forgotten(ring, ten, at):
    handle(ten.node, at(120), P2pLeave(), 0.0)
    assert ten.node.known_arcs.find(115) is None


def test_an_owner_that_has_nothing_is_asked_who_else_may(world, ring, ten):
    """That there is nothing is only said when all who should have it were asked, by the owner's word."""
    assert get(ten, ten.node, (116).to_bytes(32, "big")).result == "not_found"
    assert world.asked(P2pGet)[0] == 120
    assert set(world.asked(P2pGet)) >= {120, 130, 140, 150}
    assert ten.node.stats.route_cache == {"hit": 1}


# Learning -------------------------------------------------------------------------------------------------------------


def test_our_own_lists_count_more_than_what_was_heard(ring, at):
    node = ring[0].node
    node.known_arcs.learn(10, (at(12), at(14)))
    assert node.known_arcs.find(11).owner == at(12)
    node.set_ring(node.ring.without(at(40)), Cause.SUCCESSOR_LOST)
    assert node.known_arcs.find(11).owner == at(20)


def test_an_answer_out_of_another_ring_teaches_nothing(ring, at):
    ring[0].node.known_arcs.clear()
    find_successor(ring[0], ring[0].node, 115, purpose="unify", via=(at(110),), elsewhere=True)
    assert ring[0].node.known_arcs.find(115) is None


def test_a_node_that_lost_the_ring_forgets_who_owned_what(ten):
    isolate(ten.node)
    assert len(ten.node.known_arcs) == 0


# What a receipt says of the replicas ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("replication", "names"), [(0, []), (1, []), (2, [130]), (3, [130, 140]), (9, [130, 140, 150])]
)
def test_an_owner_tells_whom_it_counts_on(ring, at, world, replication, names):
    copy = world.copy(115, copies=replication)
    receipt = handle(ring[11].node, ring[0].me, P2pPut(**copy._asdict(), as_owner=True), ring[11].node.clock.lives_s())
    assert receipt.view == view_of(tuple(map(at, names)))


def test_a_replica_says_nothing_of_others(ring, world):
    copy = world.copy(115)
    receipt = handle(ring[12].node, ring[0].me, P2pPut(**copy._asdict(), as_owner=False), ring[12].node.clock.lives_s())
    assert receipt.view == 0


def test_it_counts_on_those_that_it_knows_now(ring, at):
    node = ring[11].node
    before = node.view(3)
    node.set_ring(node.ring.without(at(130)), Cause.SUCCESSOR_LOST)
    assert (before, node.view(3)) == (view_of((at(130), at(140))), view_of((at(140), at(150))))
