"""Reads whose owner is late: when replicas are asked, and when their word is enough."""

import pytest

from gdht.core.messages import P2pGet, P2pGetSuccessor, P2pReplySuccessor
from gdht.node.budget import Budget
from gdht.node.journal import Cause
from gdht.node.latency import ANSWERS_MIN
from gdht.node.replication.get import GetOutcome, get
from gdht.node.replication.hedge import HEDGE_S_MIN
from gdht.node.replication.put import put
from gdht.node.state import HEDGES_MAX
from tests.node.replication.test_one_hop import join

NUMBER = 115
KEY = NUMBER.to_bytes(32, "big")
FOUND = GetOutcome("success", b"value")
SLOW_S = 0.3


@pytest.fixture
def ring(world):
    """Twenty members, 10 to 200; 115 is owned by 120, then 130 and 140 follow."""
    return world.ideal(*range(10, 201, 10))


def heard_of(world, ring, at):
    """The member at 10: it has put 115 and 105, so it has heard of their owners, and it knows how fast all are."""
    world.slow.update({actor.me.ident: 0.001 for actor in ring})
    ten = ring[0]
    for number in (NUMBER, NUMBER - 10):
        assert put(ten, ten.node, number.to_bytes(32, "big"), b"value", 60, 3).result == "success"
    for ident in range(20, 201, 10):
        for _ in range(ANSWERS_MIN):
            ten.node.latency.note(at(ident), 0.001)
    world.calls.clear()
    return ten


@pytest.fixture
def ten(world, ring, at):
    """The same member, while the owner of 115 is late."""
    ten = heard_of(world, ring, at)
    world.slow[120] = SLOW_S
    return ten


def timed_get(actor):
    started_s = actor.now()
    outcome = get(actor, actor.node, KEY)
    return outcome, actor.now() - started_s


def test_a_read_does_not_wait_for_a_late_owner(ten):
    outcome, seconds = timed_get(ten)
    assert outcome == FOUND
    assert seconds == pytest.approx(HEDGE_S_MIN + 0.001)
    assert ten.node.stats.hedged_reads == {"copies": 1}
    assert ten.node.stats.route_cache["hit"] == 1


def test_the_node_before_the_owner_is_asked_who_comes_after_it(world, ten):
    timed_get(ten)
    assert [(callee, request.strict) for _, callee, request in world.calls if isinstance(request, P2pGetSuccessor)] == [
        (110, True)
    ]
    asked = {callee: request.as_owner for _, callee, request in world.calls if isinstance(request, P2pGet)}
    assert asked == {120: True, 130: False, 140: False}


def test_an_owner_that_is_in_time_is_asked_alone(world, ten):
    world.slow[120] = HEDGE_S_MIN
    assert timed_get(ten)[0] == FOUND
    assert len(world.calls) == 1
    assert not ten.node.stats.hedged_reads


def test_while_nothing_is_known_of_answer_times_no_owner_is_late(world, ring, at):
    ring[0].node.known_arcs.learn(100, (at(110), at(120), at(130), at(140), at(150)))
    for actor in ring[11:14]:
        actor.keep(NUMBER)
    world.slow[120] = SLOW_S
    assert timed_get(ring[0]) == (FOUND, pytest.approx(SLOW_S))


def test_the_owner_may_be_first_all_the_same(world, ten):
    world.slow.update({120: HEDGE_S_MIN + 0.001, 130: 0.1, 140: 0.1})
    assert timed_get(ten) == (FOUND, pytest.approx(HEDGE_S_MIN + 0.001))
    assert ten.node.stats.hedged_reads == {"owner": 1}


def test_it_is_found_out_how_late_the_owner_was(ten, at):
    timed_get(ten)
    ten.run_spawned()
    assert ten.node.latency.mean_s(at(120)) > 0.01


def test_an_owner_that_is_dead_is_forgotten_then(world, ten):
    world.kill(120)
    assert timed_get(ten)[0] == FOUND
    ten.run_spawned()
    arc = ten.node.known_arcs.find(NUMBER)
    assert arc is None or arc.owner.ident != 120


# When copies are not enough -------------------------------------------------------------------------------------------


def test_of_an_acknowledged_write_that_one_replica_missed_nobody_reads_the_version_before(world, ring, ten):
    world.kill(130)
    assert put(ten, ten.node, KEY, b"newer", 60, 3).result == "success"
    world.dead.clear()
    assert ring[12].holds(NUMBER) == b"value"
    assert timed_get(ten)[0] == GetOutcome("success", b"newer")


def test_one_copy_of_three_is_not_enough(world, ring, ten):
    world.kill(140)
    outcome, seconds = timed_get(ten)
    assert (outcome, seconds) == (FOUND, pytest.approx(SLOW_S))
    assert ten.node.stats.hedged_reads == {"owner": 1}


def test_that_there_is_nothing_only_the_owner_says(world, ten):
    started_s = world.clock_s
    assert get(ten, ten.node, (NUMBER + 1).to_bytes(32, "big")).result == "not_found"
    assert world.clock_s - started_s >= SLOW_S


def test_a_newcomer_between_is_not_passed_over(world, ring, ten, at):
    """What we remember is old: 117 owns the key now, and has a newer value than the replicas of 120."""
    newcomer = join(world, at, 117, (110, 100, 90), 120, 130, 140)
    newcomer.keep(NUMBER, b"newer", age_ms=-10)
    assert timed_get(ten)[0] == GetOutcome("success", b"newer")
    assert ten.node.stats.hedged_reads == {"owner": 1}


def test_a_newcomer_among_the_replicas_is_asked_too(world, ring, ten, at):
    newcomer = join(world, at, 125, (120, 110, 100), 130, 140, 150)
    newcomer.keep(NUMBER)
    ring[10].node.set_ring(ring[10].node.ring.with_successors(at(120), at(125), at(130)), Cause.PULLED)
    outcome, seconds = timed_get(ten)
    assert (outcome, seconds < SLOW_S) == (FOUND, True)
    assert 125 in world.asked(P2pGet)


@pytest.mark.parametrize(("word", "missed"), [("all", ()), ("majority", (130,))])
def test_a_newcomer_that_only_the_owner_knows_is_not_passed_over(world, at, word, missed):
    """The list of the node before the owner is behind: 140 holds what was replaced, as it is no replica any more."""
    ring = world.ideal(*range(10, 201, 10), write_quorum=word)
    ten = heard_of(world, ring, at)
    join(world, at, 125, (120, 110, 100), 130, 140, 150)
    world.kill(*missed)
    assert put(ring[11], ring[11].node, KEY, b"newer", 60, 3).result == "success"
    world.dead.clear()
    world.slow.update({120: SLOW_S, 130: 0.01})
    assert timed_get(ten)[0] == GetOutcome("success", b"newer")


@pytest.mark.parametrize("word", ["all", "majority"])
def test_by_a_lookup_the_node_before_the_owner_is_asked_too(world, at, word):
    """Who answered it knew nothing of a newcomer that is the owner now."""
    ring = world.ideal(*range(10, 201, 10), write_quorum=word, successor_list_length=8)
    ten = heard_of(world, ring, at)
    newcomer = join(world, at, 117, (110, 100, 90), 120, 130, 140)
    if word == "majority":
        world.kill(130)
    assert put(newcomer, newcomer.node, KEY, b"newer", 60, 3).result == "success"
    world.dead.clear()
    world.slow.update({120: SLOW_S, 130: 0.01})
    ten.node.known_arcs.clear()
    assert timed_get(ten)[0] == GetOutcome("success", b"newer")


def test_what_nobody_can_confirm_is_not_asked_for(world, ten, at):
    ten.node.known_arcs.clear()
    ten.node.known_arcs.learn(110, (at(120), at(130), at(140)))
    assert timed_get(ten) == (FOUND, pytest.approx(SLOW_S))
    assert len(world.calls) == 1


def test_a_node_before_the_owner_that_names_another_voids_the_copies(world, ten, at):
    world.script(110, lambda request: P2pReplySuccessor(request.ident, True, (at(130), at(140))))
    assert timed_get(ten) == (FOUND, pytest.approx(SLOW_S))


def test_a_late_refusal_counts_as_any(world, ring, ten, at):
    """Two of three may have lost what they had: one copy is no answer, as without haste."""
    ring[11].node.arc.doubt()
    ring[12].node.store.remove(KEY, ring[12].node.store.held(KEY).version)
    outcome, seconds = timed_get(ten)
    assert (outcome, seconds >= SLOW_S) == (FOUND, True)
    assert ten.node.stats.hedged_reads == {"owner": 1}


@pytest.mark.parametrize(("word", "enough"), [("one", False), ("majority", True), ("all", True)])
def test_how_many_copies_count_depends_on_the_write_quorum(world, word, enough, at):
    ring = world.ideal(*range(10, 201, 10), write_quorum=word)
    ten = ring[0]
    for number in (NUMBER, NUMBER - 10):
        put(ten, ten.node, number.to_bytes(32, "big"), b"value", 60, 3)
    for _ in range(ANSWERS_MIN):
        ten.node.latency.note(at(50), 0.001)
    world.slow[120] = SLOW_S
    outcome, seconds = timed_get(ten)
    assert (outcome, seconds < SLOW_S) == (FOUND, enough)


# Our own place --------------------------------------------------------------------------------------------------------


def test_the_node_before_the_owner_needs_nobody_to_confirm(world, ring, ten, at):
    eleven = ring[10]
    for _ in range(ANSWERS_MIN):
        eleven.node.latency.note(at(50), 0.001)
    outcome, seconds = timed_get(eleven)
    assert (outcome, seconds < SLOW_S) == (FOUND, True)
    assert not world.asked(P2pGetSuccessor)


def test_a_replica_has_a_copy_itself(world, ring, ten, at):
    thirteen = ring[12]
    for _ in range(ANSWERS_MIN):
        thirteen.node.latency.note(at(50), 0.001)
    outcome, seconds = timed_get(thirteen)
    assert (outcome, seconds < SLOW_S) == (FOUND, True)
    assert 130 not in world.asked(P2pGet)


# Load -----------------------------------------------------------------------------------------------------------------


def test_who_finds_most_answers_late_is_slow_itself_and_asks_nobody_else(world, ten, at):
    peers = [at(ident) for ident in (50, 60, 70, 80)]
    for peer in peers * 20:
        ten.node.latency.note(peer, 0.001)
    for peer in peers * 2:
        ten.node.latency.note(peer, 1.0)
    before = ten.node.stats.hedged_reads["copies"]
    timed_get(ten)
    assert ten.node.stats.hedged_reads["copies"] == before
    assert ten.node.latency.are_most_late
    for peer in peers * 20:
        ten.node.latency.note(peer, 0.001)
    assert not ten.node.latency.are_most_late


def test_no_more_than_a_share_of_the_reads_asks_replicas(world, ten):
    for _ in range(100):
        timed_get(ten)
    counted = ten.node.stats.hedged_reads
    assert HEDGES_MAX <= counted["copies"] <= HEDGES_MAX + 10
    assert counted["copies"] + counted["refused"] == 100


def test_without_a_budget_every_owner_is_waited_for(ten):
    ten.node.hedges = Budget(0, 0)
    assert timed_get(ten) == (FOUND, pytest.approx(SLOW_S))


def test_a_stale_copy_is_repaired_beside_the_answer(world, ring, ten):
    held = ring[12].node.store.held(KEY)
    ring[12].node.store.remove(KEY, held.version)
    ring[12].keep(NUMBER, b"before", age_ms=5000)
    outcome, seconds = timed_get(ten)
    assert (outcome, seconds < SLOW_S) == (FOUND, True)
    ten.run_spawned()
    assert ring[12].holds(NUMBER) == b"value"
