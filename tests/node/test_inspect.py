"""Questions about the ring and its keys: a walk round it, the holders of a key, the keys here, the way of a lookup."""

import pytest

from gdht.core.ident import ident_bytes, key_ident
from gdht.core.messages import P2pGetNeighbours, P2pGetSuccessor, P2pStat
from gdht.core.placement import Role
from gdht.node import inspect
from gdht.node.inspect import keys, trace, walk, where
from gdht.node.journal import Cause
from gdht.node.status import State


@pytest.fixture
def ring(world):
    return world.ideal(*range(10, 101, 10))


def walked(result):
    return [met.peer.ident for met in result.nodes]


def test_a_walk_meets_every_node_clockwise_and_comes_back(ring):
    result = walk(ring[2], ring[2].node, 1024)
    assert walked(result) == [30, 40, 50, 60, 70, 80, 90, 100, 10, 20]
    assert result.complete
    assert [met.status.successors[0].ident for met in result.nodes[:2]] == [40, 50]


def test_a_walk_goes_past_the_dead_and_names_them(world, ring):
    world.kill(50)
    result = walk(ring[2], ring[2].node, 1024)
    assert walked(result) == [30, 40, 50, 60, 70, 80, 90, 100, 10, 20]
    assert [(met.peer.ident, met.status) for met in result.nodes if met.error] == [(50, None)]
    assert result.complete


def test_a_walk_that_can_go_no_further_is_not_complete(world, ring):
    world.kill(40, 50, 60)
    result = walk(ring[2], ring[2].node, 1024)
    assert walked(result) == [30, 40, 50, 60]
    assert not result.complete


@pytest.mark.parametrize("nodes_max", [1, 2, 9])
def test_a_walk_that_was_cut_short_is_not_complete(ring, nodes_max):
    result = walk(ring[2], ring[2].node, nodes_max)
    assert len(result.nodes) == nodes_max
    assert not result.complete


def test_a_lone_node_has_walked_its_whole_ring(world):
    (lone,) = world.ideal(10)
    assert walk(lone, lone.node, 1024).complete


def test_a_node_outside_the_ring_has_not(world):
    outside = world.add(10)
    assert not walk(outside, outside.node, 1024).complete


def test_a_walk_that_runs_in_a_circle_beside_us_ends(world, ring, at):
    world.actors[60].node.set_ring(world.actors[60].node.ring.with_successors(at(40)), Cause.JOINED)
    result = walk(ring[2], ring[2].node, 1024)
    assert walked(result) == [30, 40, 50, 60]
    assert not result.complete


def test_a_node_outside_the_ring_owns_nothing_of_it(world):
    outside = world.add(10)
    assert walk(outside, outside.node, 1024).nodes[0].status.owned_ratio == 0.0
    (lone,) = world.ideal(20)
    assert walk(lone, lone.node, 1024).nodes[0].status.owned_ratio == 1.0


# Where ----------------------------------------------------------------------------------------------------------------


def told(report):
    return [(holder.peer.ident, holder.role, holder.stat.present) for holder in report.holders]


def test_the_holders_of_a_key_are_named_owner_first(ring, key):
    for actor in ring[3:6]:
        actor.keep(35)
    report = where(ring[0], ring[0].node, key(35))
    assert told(report) == [(40, "owner", True), (50, "replica", True), (60, "replica", True)]
    assert report.error == ""


def test_who_should_hold_a_key_and_does_not_is_named_too(ring, key):
    ring[3].keep(35, copies=2)
    assert told(where(ring[0], ring[0].node, key(35))) == [(40, "owner", True), (50, "replica", False)]


def test_a_misplaced_copy_here_or_nearby_is_named(ring, key):
    ring[3].keep(35, copies=1)
    ring[5].keep(35, copies=1)
    ring[0].keep(35, copies=1)
    report = told(where(ring[0], ring[0].node, key(35)))
    assert report == [(40, "owner", True), (60, "misplaced", True), (10, "misplaced", True)]


def test_a_holder_that_does_not_answer_is_named_with_the_reason(world, ring, key):
    ring[3].keep(35)
    world.kill(50)
    report = where(ring[0], ring[0].node, key(35))
    silent = next(holder for holder in report.holders if holder.peer.ident == 50)
    assert silent.stat is None
    assert "did not answer" in silent.error


def test_no_value_is_moved_to_tell_where_it_is(world, ring, key):
    ring[3].keep(35, b"hello")
    report = where(ring[0], ring[0].node, key(35))
    assert {type(request) for _, _, request in world.calls} <= {P2pStat, P2pGetSuccessor, P2pGetNeighbours}
    assert report.holders[0].stat.value_bytes == 5


def test_the_nodes_around_the_owner_are_asked_too_but_not_the_whole_ring(world):
    ring = world.ideal(*range(10, 401, 10))
    report = where(ring[0], ring[0].node, ident_bytes(205))
    assert set(world.asked(P2pStat)) == {210, 220, 230, 240, 200, 190, 180, 170}
    assert report.asked == 9  # with ourselves


def test_a_copy_before_the_owner_is_misplaced(ring, key):
    ring[3].keep(35, copies=1)
    ring[2].keep(35, copies=1)
    assert told(where(ring[6], ring[6].node, key(35))) == [(40, "owner", True), (30, "misplaced", True)]


def test_an_older_version_and_what_is_left_of_a_dead_one_are_told_from_none(ring, key):
    ring[3].keep(35)
    ring[4].keep(35, age_ms=5000)
    report = where(ring[0], ring[0].node, key(35))
    assert [report.condition(holder) for holder in report.holders] == ["holds", "stale", "lacks"]


def test_recent_failures_of_this_key_come_with_the_report(ring, key):
    for number in (35, 36):
        ring[0].node.failures.note(1.0, "put", key(number), "quorum", "1 of 3", 0.1, 1, 3)
    report = where(ring[0], ring[0].node, key(35))
    assert [(one.key, one.detail) for one in report.failures] == [(key(35), "1 of 3")]


def test_also_when_the_owner_cannot_be_found(world, ring, key):
    ring[0].node.failures.note(1.0, "get", key(65), "timeout", "", 0.1)
    world.kill(20, 30, 40)
    report = where(ring[0], ring[0].node, key(65))
    assert report.error
    assert len(report.failures) == 1


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (State.JOINING, "this node is joining the ring and cannot look keys up yet"),
        (State.ISOLATED, "this node is isolated and cannot look keys up yet"),
    ],
)
def test_a_node_outside_the_ring_says_that_it_cannot_look_keys_up(ring, key, state, words):
    ring[0].node.state = state
    assert where(ring[0], ring[0].node, key(65)).error == words
    traced = trace(ring[0], ring[0].node, 65)
    assert (traced.owner, traced.hops, traced.error) == (None, (), words)


def test_an_owner_that_cannot_be_found_is_said_so(world, ring, key):
    world.kill(20, 30, 40)
    report = where(ring[0], ring[0].node, key(65))
    assert report.holders == ()
    assert "nobody left to ask" in report.error


# Keys -----------------------------------------------------------------------------------------------------------------


def numbers(page):
    return [key_ident(held.key) for held in page.keys]


@pytest.fixture
def holder(ring):
    """The node at 40 with records that it owns, replicates, and should not have."""
    for number in (31, 35, 40, 25, 95):
        ring[3].keep(number, b"x" * number, ttl_s=100, copies=2)
    return ring[3]


def listed(actor, role=None, after=b"", limit=100):
    return keys(actor, actor.node, role, after, limit)


def test_a_node_lists_its_keys_in_order_with_their_roles(holder):
    page = listed(holder)
    assert numbers(page) == [25, 31, 35, 40, 95]
    assert [held.role.value for held in page.keys] == ["replica", "owned", "owned", "owned", "misplaced"]
    assert (page.keys[1].value_bytes, page.keys[1].ttl_s, page.keys[1].replication) == (31, 100, 2)
    assert page.after is None


@pytest.mark.parametrize(("role", "expected"), [(Role.OWNED, [31, 35, 40]), (Role.MISPLACED, [95])])
def test_keys_of_one_role_are_listed_alone(holder, role, expected):
    assert numbers(listed(holder, role)) == expected


def test_a_list_of_keys_is_read_on_from_where_it_ended(holder, key):
    first = listed(holder, limit=2)
    assert (numbers(first), first.after) == ([25, 31], key(31))
    second = listed(holder, after=first.after, limit=2)
    assert (numbers(second), second.after) == ([35, 40], key(40))
    assert listed(holder, after=key(95)).keys == ()


def test_records_whose_life_is_over_are_not_listed(world, holder):
    world.clock_s += 101
    assert listed(holder).keys == ()


def test_a_page_of_keys_ends_after_so_many_records_however_few_fit(world, monkeypatch, key):
    monkeypatch.setattr(inspect, "SCANNED_MAX", 2 * inspect.SCAN_AT_ONCE)
    (lone,) = world.ideal(10)
    for number in range(1, 3 * inspect.SCAN_AT_ONCE):
        lone.keep(number)
    page = listed(lone, Role.MISPLACED)
    assert (page.keys, page.after) == ((), key(2 * inspect.SCAN_AT_ONCE))
    assert listed(lone, Role.MISPLACED, page.after).after is None


# Trace ----------------------------------------------------------------------------------------------------------------


def test_a_trace_tells_every_hop_and_ends_with_the_word_of_the_owner(ring):
    result = trace(ring[0], ring[0].node, 65)
    assert result.owner.ident == 70
    assert [hop.peer.ident for hop in result.hops] == [40, 70]
    assert not any(hop.dead or hop.error for hop in result.hops)
    assert result.error == ""


def test_an_owner_that_does_not_agree_is_found_out(ring, at):
    ring[6].node.set_ring(ring[6].node.ring.with_predecessors(at(67), at(60)), Cause.JOINED)
    result = trace(ring[0], ring[0].node, 65)
    assert result.owner.ident == 70
    assert result.hops[-1].error == "says that it is not the owner"


def test_a_trace_tells_the_finger_a_hop_came_from(world, ring):
    fingers = {finger.peer.ident: finger.number for finger in ring[0].node.ring.fingers}
    world.kill(40)
    result = trace(ring[0], ring[0].node, 65)
    assert [hop.peer.ident for hop in result.hops] == [40, 30, 60, 70]
    assert [hop.finger for hop in result.hops] == [None, fingers[30], None, None]


def test_a_trace_tells_who_was_dead_and_how_long_it_took(world, ring):
    world.kill(40)
    result = trace(ring[0], ring[0].node, 65)
    assert result.hops[0].dead
    assert result.hops[0].seconds == ring[0].node.config.call_timeout
    assert result.seconds >= result.hops[0].seconds
    assert result.owner.ident == 70


def test_a_failed_trace_still_tells_whom_it_asked(world, ring):
    world.kill(20, 30, 40)
    result = trace(ring[0], ring[0].node, 65)
    assert result.owner is None
    assert [hop.peer.ident for hop in result.hops] == [40, 30, 20]
    assert result.error
    assert ring[0].node.stats.lookups == {("trace", "no_route"): 1}
