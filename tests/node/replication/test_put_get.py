"""put and get as their coordinator does them: to whom, how many answers suffice, what is tried again."""

from math import inf

import pytest

from gdht.core.messages import (
    VALUE_BYTES_MAX,
    ErrorReason,
    FailureReason,
    P2pError,
    P2pFailure,
    P2pGet,
    P2pGetNeighbours,
    P2pGetSuccessor,
    P2pPut,
    P2pReplyNeighbours,
    P2pReplySuccessor,
    P2pSuccess,
)
from gdht.core.records import CLOCK_AHEAD_S_MAX, STAMP_MAX, Version
from gdht.errors import PeerUnreachable
from gdht.node.handlers import handle
from gdht.node.journal import Cause
from gdht.node.membership import check_predecessor, found_ring
from gdht.node.replication.copies import to_copy
from gdht.node.replication.get import LAST_RESORT, GetOutcome, get, try_get
from gdht.node.replication.put import PutOutcome, put, try_put
from gdht.node.replication.search import ATTEMPTS_MAX, BUDGET_CALLS, RETRY_S
from gdht.node.replication.upkeep import expire
from gdht.node.status import State
from gdht.store.memory import RECORD_OVERHEAD_BYTES
from tests.node.conftest import version
from tests.node.replication.test_one_hop import join

SUCCESS_3 = PutOutcome("success", 3, 3)


@pytest.fixture
def ring(world):
    """Ten members, 10 to 100; 35 is owned by 40, then 50 and 60 follow."""
    return world.ideal(*range(10, 101, 10))


@pytest.fixture
def displaced(world, at):
    """The same ring with single copies, and a newcomer at 37 that only its neighbours know."""
    ring = world.ideal(*range(10, 101, 10), replication=1)
    newcomer = world.add(37, replication=1)
    newcomer.node.state = State.ACTIVE
    newcomer.node.set_ring(
        newcomer.node.ring.with_successors(at(40), at(50)).with_predecessors(at(30), at(20)), Cause.JOINED
    )
    newcomer.node.arc.accepted, newcomer.node.arc.lease_s = True, inf
    newcomer.node.confirm_arc(at(30), world.clock_s)
    newcomer.node.arc.make_sure(30)
    ring[3].node.set_ring(ring[3].node.ring.with_predecessors(at(37), at(30), at(20)), Cause.JOINED)
    return ring


def put_35(actor, value=b"value", ttl_s=60, replication=0):
    return put(actor, actor.node, (35).to_bytes(32, "big"), value, ttl_s, replication)


def get_35(actor):
    return get(actor, actor.node, (35).to_bytes(32, "big"))


def holders(ring, number=35):
    return [actor.me.ident for actor in ring if actor.holds(number) is not None]


def settle(ring):
    """What the maintenance tasks do when somebody was doubted."""
    for actor in ring:
        if actor.node.doubted and actor.me.ident not in actor.world.dead:
            actor.node.doubted = False
            check_predecessor(actor, actor.node)
            if not actor.node.ring.predecessors:
                actor.node.confirm_arc(actor.me, actor.now())  # whoever comes before it now has said so


def settling(world, ring):
    world.on_sleep = lambda: settle(ring)


# Put ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("coordinator", range(10))
def test_a_put_through_any_node_is_on_the_owner_and_the_nodes_after_it(ring, coordinator):
    assert put_35(ring[coordinator]) == SUCCESS_3
    assert holders(ring) == [40, 50, 60]


@pytest.mark.parametrize("replication", [1, 2, 3, 4])
def test_a_client_says_how_many_copies(ring, replication):
    assert put_35(ring[0], replication=replication) == PutOutcome("success", replication, replication)
    assert holders(ring) == [40, 50, 60, 70][:replication]


def test_more_copies_than_the_maximum_are_cut_to_it(ring):
    assert put_35(ring[0], replication=200).wanted == 4
    assert holders(ring) == [40, 50, 60, 70]


def test_copies_go_to_all_replicas_at_once(world, ring):
    """One does not answer; that costs one timeout, and the others were asked before it was over."""
    world.kill(50)
    assert put_35(ring[0]) == PutOutcome("success", 2, 3)
    assert world.asked(P2pPut) == [40, 50, 60]
    assert world.clock_s == ring[0].node.config.call_timeout


def test_only_the_owner_is_asked_as_the_owner(world, ring):
    put_35(ring[0])
    asked = {callee: request.as_owner for _, callee, request in world.calls if isinstance(request, P2pPut)}
    assert asked == {40: True, 50: False, 60: False}


def test_all_replicas_get_the_same_version_and_life(world, ring):
    put_35(ring[0])
    sent = {(request.version, request.ttl_ms) for _, _, request in world.calls if isinstance(request, P2pPut)}
    assert len(sent) == 1
    assert sent.pop()[1] == 60_000


@pytest.mark.parametrize("size", [0, VALUE_BYTES_MAX])
def test_values_of_the_extreme_sizes_are_stored(ring, size):
    assert put_35(ring[0], bytes(size)).result == "success"
    assert get_35(ring[9]) == GetOutcome("success", bytes(size))


def test_a_value_that_is_too_long_is_invalid_and_sent_nowhere(world, ring):
    assert put_35(ring[0], bytes(VALUE_BYTES_MAX + 1))[:3] == ("invalid", 0, 0)
    assert not world.calls


@pytest.mark.parametrize(("asked_s", "given_s"), [(0, 3600), (1, 1), (65535, 40_000)])
def test_a_life_is_the_default_when_not_said_and_cut_to_the_maximum(world, key, asked_s, given_s):
    (lone,) = world.ideal(10, max_ttl=40_000)
    found_ring(lone.node)
    put_35(lone, ttl_s=asked_s)
    now_s = lone.node.clock.lives_s()
    assert lone.node.store.get(key(35), now_s).ttl_ms(now_s) == pytest.approx(given_s * 1000, abs=1)


@pytest.mark.parametrize(
    ("word", "down", "attempts"),
    [("one", [50, 60], 1), ("majority", [60], 1), ("majority", [50, 60], 4), ("all", [], 1), ("all", [60], 4)],
)
def test_the_quorum_is_what_the_configuration_says(world, word, down, attempts):
    """Where it is not reached, those who were silent are asked once more; then others take their place, as the owner
    itself names them."""
    ring = world.ideal(*range(10, 101, 10), write_quorum=word)
    world.kill(*down)
    outcome = put_35(ring[0])
    assert outcome.result == "success"
    assert outcome.acknowledged >= {"one": 1, "majority": 2, "all": 3}[word]
    assert len(holders(ring)) == outcome.acknowledged
    assert world.asked(P2pPut).count(40) == attempts


@pytest.mark.parametrize("word", ["all", "majority"])
def test_copies_go_to_those_who_follow_the_owner_by_its_own_word(world, at, word):
    """The node that a lookup asked has a list that is behind: it lacks a newcomer after the owner."""
    ring = world.ideal(*range(10, 201, 10), write_quorum=word, successor_list_length=8)
    join(world, at, 125, (120, 110, 100), 130, 140, 150)
    assert put(ring[0], ring[0].node, (115).to_bytes(32, "big"), b"value", 60, 3) == SUCCESS_3
    assert [world.actors[ident].holds(115) for ident in (120, 125, 130)] == [b"value"] * 3


def test_a_quorum_does_not_shrink_with_the_nodes_that_do_not_answer(world):
    """Two of three are out of reach: one copy is no majority, however often it is tried."""
    ring = world.ideal(10, 20, 30)
    world.kill(20, 30)
    assert put(ring[0], ring[0].node, (5).to_bytes(32, "big"), b"value", 60, 3).result == "timeout"


def test_copies_that_were_refused_count_against_the_quorum(world):
    ring = world.ideal(*range(10, 101, 10), max_store_bytes=3 * (RECORD_OVERHEAD_BYTES + 10))
    for number in range(3):
        ring[4].keep(number, bytes(10))
        ring[5].keep(number, bytes(10))
    assert put_35(ring[0])[:3] == ("quorum", 1, 3)
    assert ring[0].node.stats.replica_writes == {"ok": 1, "refused": 2}


def test_put_counts_what_it_did(ring):
    put_35(ring[0])
    stats = ring[0].node.stats
    assert stats.replica_writes == {"ok": 3}
    assert stats.put_acknowledged_replicas.counts[3] == 1
    assert stats.lookups == {("put", "ok"): 1}
    assert stats.lookup_hops["put"].count == 1


def test_a_node_outside_the_ring_serves_no_client(world):
    actor = world.add(10)
    assert put_35(actor) == PutOutcome("error", 0, 0, "this node is starting")
    assert get_35(actor) == GetOutcome("error", None, "this node is starting")
    assert try_put(actor.node, bytes(32), b"", 1, 1, actor.node.clock.lives_s()) is None
    assert try_get(actor.node, bytes(32), actor.node.clock.lives_s()) is None


def test_a_put_that_reached_the_wrong_owner_finds_the_right_one(world, displaced):
    """The coordinator does not know the newcomer at 37, which owns 35 by now."""
    assert put_35(displaced[0]).result == "success"
    assert world.actors[37].holds(35) == b"value"
    assert world.asked(P2pPut) == [40, 37]


def test_an_owner_that_leaves_is_passed_over(world, ring, at):
    ring[3].node.sealed = True
    ring[4].node.set_ring(ring[4].node.ring.with_predecessors(at(30)), Cause.JOINED)
    ring[4].node.confirm_arc(at(30), world.clock_s)
    assert put_35(ring[0]).result == "success"
    assert holders(ring) == [50, 60, 70]


def test_a_put_whose_owner_just_died_is_tried_again_until_its_successor_knows(world, ring):
    settling(world, ring)
    world.kill(40)
    assert put_35(ring[0], replication=1).result == "success"
    assert holders(ring) == [50]


def test_a_put_gives_up_after_so_many_attempts(world, ring, at):
    def never_responsible(request):
        if isinstance(request, P2pPut):
            return P2pFailure(request.key, FailureReason.NOT_RESPONSIBLE, "")
        if isinstance(request, P2pGetNeighbours):
            return P2pReplyNeighbours((), ())
        return P2pReplySuccessor(request.ident, True, (at(40), at(50), at(60)))

    world.script(40, never_responsible)
    assert put_35(ring[0]).result != "success"
    assert world.asked(P2pPut).count(40) == ATTEMPTS_MAX
    assert world.clock_s == pytest.approx(RETRY_S * sum(range(ATTEMPTS_MAX - 1)))


def test_a_put_that_was_overtaken_by_a_later_stamp_is_given_a_later_one_still(world, ring):
    """The client's later put wins, even if the coordinator of its earlier one had a clock that is ahead."""
    for actor in ring[3:6]:
        actor.keep(35, b"before", age_ms=-5000)
    assert put_35(ring[0], b"after").result == "success"
    assert [actor.holds(35) for actor in ring[3:6]] == [b"after"] * 3


def test_one_replica_with_a_later_stamp_is_enough_to_restamp(world, ring):
    ring[5].keep(35, b"before", age_ms=-5000)
    put_35(ring[0], b"after")
    assert [actor.holds(35) for actor in ring[3:6]] == [b"after"] * 3
    versions = {actor.node.store.get((35).to_bytes(32, "big"), 0.0).version for actor in ring[3:6]}
    assert len(versions) == 1


def test_a_life_that_ends_before_the_owner_was_found_ends_the_put(world, ring):
    """A dead owner costs more than the second that the record was to live."""
    world.kill(40)
    assert put_35(ring[0], ttl_s=1, replication=1).result in ("timeout", "quorum")


def test_no_peer_can_push_our_clock_to_the_end_of_time(world, ring):
    """A peer that claims to hold an absurd version must not spoil the stamps of all our puts to come, nor this one."""
    last = Version(STAMP_MAX, 1)
    world.script(50, lambda request: P2pSuccess(request.key, 1, 3, last, b""))
    assert put_35(ring[0]).result == "success"
    assert ring[0].node.clock.stamp().stamp < STAMP_MAX // 2
    assert world.asked(P2pPut) == [40, 50, 60]


def test_a_put_that_reaches_too_few_nodes_is_no_success(world, at):
    """The owner is dead and the coordinator knows one node after it: a majority of three is two, not one of one."""
    ring = world.ideal(*range(10, 101, 10))
    coordinator = ring[0]  # knows 20, 30 and 40
    world.kill(30)
    world.actors[40].node.set_ring(world.actors[40].node.ring.with_predecessors(), Cause.JOINED)
    outcome = put(coordinator, coordinator.node, (25).to_bytes(32, "big"), b"value", 60, 3)
    assert outcome.result != "success" or outcome.acknowledged >= 2


def test_a_put_that_its_owner_did_not_store_is_no_success_however_many_others_did(world, ring):
    """Gets ask the owner first: should it come back, it would answer with the value from before."""
    world.kill(40)
    outcome = put_35(ring[0])
    assert outcome.result != "success"
    assert outcome.acknowledged >= 2
    assert "not_responsible" in outcome.detail


def test_a_put_that_failed_is_remembered_with_its_reason(world, ring, key):
    ring[3].node.store.size_bytes_max = 0
    put_35(ring[0])
    (failed,) = ring[0].node.failures.all()
    assert (failed.operation, failed.key, failed.result) == ("put", key(35), "quorum")
    assert failed.detail.startswith(f"{ring[3].me.address}: store_full the store is at its limit")
    assert not ring[1].node.failures.all()


# Tombstones -----------------------------------------------------------------------------------------------------------


def tombstone_left_s(actor, number=35):
    held = actor.node.store.held(number.to_bytes(32, "big"))
    return held.tombstone_until_s - actor.node.clock.lives_s()


def test_whoever_takes_a_short_lived_value_learns_how_long_an_older_one_may_live_elsewhere(world, ring):
    """Only one of the three had the old value; when the new one's life is over, none of them takes it back."""
    ring[5].keep(35, b"old", age_ms=5000, ttl_s=3600)
    assert put_35(ring[0], b"new", ttl_s=1) == SUCCESS_3
    for actor in ring[3:6]:
        assert tombstone_left_s(actor) == pytest.approx(3600, abs=1)


def test_who_keeps_a_tombstone_gets_the_newer_value_too(world, ring, key):
    """Else, where its owner does not answer, their word that there is nothing would count."""
    put_35(ring[0], value=b"one", ttl_s=60)
    put_35(ring[0], value=b"two", ttl_s=1)
    world.clock_s += 5.0
    for actor in ring:
        expire(actor, actor.node)
    assert put_35(ring[0], value=b"three", ttl_s=60, replication=1).result == "success"
    assert [actor.holds(35) for actor in ring[3:6]] == [b"three"] * 3


def test_nothing_is_said_of_older_copies_that_die_before_the_new_one(world, ring):
    put_35(ring[0], b"old", ttl_s=10)
    world.calls.clear()
    assert put_35(ring[0], b"new", ttl_s=60) == SUCCESS_3
    assert [actor.node.store.held((35).to_bytes(32, "big")).tombstone_until_s for actor in ring[3:6]] == [0.0] * 3
    assert world.asked(P2pPut) == [40, 50, 60], "one round is enough"


def test_an_old_copy_that_missed_a_short_lived_newer_one_does_not_come_back(world, ring, key):
    put_35(ring[0], b"old", ttl_s=3600)
    before = ring[5].node.store.held(key(35))
    put_35(ring[0], b"new", ttl_s=1)
    ring[5].node.store.remove(key(35), ring[5].node.store.held(key(35)).version)
    ring[5].node.store.put(before)  # as if the new one had never reached it
    world.clock_s += 1.5
    for actor in ring[3:5]:
        actor.node.store.expire(actor.node.clock.lives_s(), 10)
    copy = to_copy(before, ring[5].node.clock.lives_s())
    reply = world.ask(ring[5].me, ring[3].me, P2pPut(**copy._asdict(), as_owner=False))
    assert reply.version > before.version
    assert ring[3].holds(35) is None
    assert ring[5].holds(35) == b"old"
    assert get_35(ring[3]) == GetOutcome("not_found", None)


def test_a_tombstone_outweighs_the_older_copy_of_another_replica_when_the_owner_is_gone(world, ring, key):
    put_35(ring[0], b"old", ttl_s=3600)
    before = ring[5].node.store.held(key(35))
    put_35(ring[0], b"new", ttl_s=1)
    ring[5].node.store.remove(key(35), ring[5].node.store.held(key(35)).version)
    ring[5].node.store.put(before)
    world.clock_s += 1.5
    world.kill(40)
    assert get_35(ring[0]) == GetOutcome("not_found", None)
    ring[0].run_spawned()
    assert ring[5].holds(35) is None, "it is told of the tombstone"


# Get ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("coordinator", range(10))
def test_a_get_through_any_node_finds_the_value(ring, coordinator):
    put_35(ring[0])
    assert get_35(ring[coordinator]) == GetOutcome("success", b"value")


def test_a_get_of_nothing_asks_all_who_might_hold_it_and_then_says_not_found(world, ring):
    assert get_35(ring[0]) == GetOutcome("not_found", None)
    assert world.asked(P2pGet) == [40, 50, 60, 70]


def test_the_owner_s_word_is_enough_when_it_has_the_record(world, ring):
    put_35(ring[0])
    world.calls.clear()
    get_35(ring[9])
    assert world.asked(P2pGet) == [40]


def test_a_dead_owner_is_replaced_by_its_replicas(world, ring):
    put_35(ring[0])
    world.kill(40)
    assert get_35(ring[0]) == GetOutcome("success", b"value")


@pytest.mark.parametrize("survivor", [40, 50, 60])
def test_any_single_holder_that_survives_is_found(world, ring, survivor):
    put_35(ring[0])
    settling(world, ring)
    world.kill(*{40, 50, 60} - {survivor})
    assert get_35(ring[0]).value == b"value"


def test_a_newcomer_that_has_not_received_its_share_is_helped_out_by_its_replicas(ring):
    ring[4].keep(35)
    ring[3].node.arc.doubt()
    assert get_35(ring[0]).value == b"value"


def test_not_here_yet_by_everybody_is_not_not_found(ring):
    for actor in ring[3:7]:
        actor.node.arc.doubt()
    assert get_35(ring[0]).result != "not_found"


def test_a_replica_that_is_sure_answers_for_a_newcomer_that_is_not(world, ring):
    """Misses in the arc of a node that takes long to receive its share are as quick as others."""
    ring[3].node.arc.doubt()
    ring[4].node.arc.owned_from = 30  # it was the owner before
    assert get_35(ring[0]) == GetOutcome("not_found", None)
    assert world.asked(P2pGet).count(40) == 4, "as the owner, then for whatever copy it has, and all once more"


def test_while_the_owner_is_not_sure_a_record_on_its_way_to_it_is_not_missed(world, ring):
    """The owner is asked before it has got it, the node that gave it after it has dropped it."""
    ring[3].node.arc.doubt()
    ring[4].node.arc.owned_from = 30
    moved = []

    def former_owner(request):
        if isinstance(request, P2pGet) and not moved:
            moved.append(ring[3].keep(35))
        return handle(ring[4].node, ring[0].me, request, ring[4].node.clock.lives_s())

    world.script(50, former_owner)
    assert get_35(ring[0]).value == b"value"


def test_while_the_owner_is_not_sure_a_node_that_never_owned_the_place_proves_nothing(ring):
    """All holders may be down; the nodes that are next never had the record."""
    ring[3].node.arc.doubt()
    assert get_35(ring[0]).result == "error"


def test_an_owner_that_has_not_got_its_share_yet_does_not_answer_with_an_old_copy(world, ring):
    """It was cut off with its records; meanwhile others took a newer one."""
    ring[3].keep(35, b"old", age_ms=5000)
    ring[4].keep(35, b"new")
    ring[3].node.arc.doubt()
    assert get_35(ring[0]) == GetOutcome("success", b"new")
    assert get_35(ring[3]) == GetOutcome("success", b"new")


def test_the_newest_of_the_replicas_wins(ring):
    ring[4].keep(35, b"older", age_ms=10)
    ring[5].keep(35, b"newer")
    assert get_35(ring[0]) == GetOutcome("success", b"newer")


def test_whoever_has_an_older_copy_is_given_the_newest_beside_the_answer(ring):
    ring[3].node.arc.doubt()
    ring[3].keep(35, b"older", age_ms=10)
    ring[4].keep(35, b"newest")
    assert get_35(ring[0]).value == b"newest"
    ring[0].run_spawned()
    assert [actor.holds(35) for actor in ring[3:6]] == [b"newest"] * 3
    assert ring[0].node.stats.repaired_keys == {"read": 2}


def test_a_copy_is_no_answer_while_those_that_are_silent_may_hold_a_newer_one(world, ring):
    """Two of three stored the put that counts; if both are silent, the third does not know better."""
    for actor in ring[3:6]:
        actor.node.arc.doubt()
    ring[3].keep(35, b"old")
    answers = []

    def overloaded(request):
        answers.append(request)
        if isinstance(request, P2pGet) and len(answers) > 4:
            return P2pSuccess(request.key, 60_000, 3, version(world, age_ms=-5), b"new")
        return P2pError(ErrorReason.OVERLOAD, "busy")

    world.script(50, overloaded)
    world.script(60, overloaded)
    assert get_35(ring[0]).value == b"new"


def test_with_the_owner_dead_a_copy_is_no_answer_where_too_few_others_are_known(world, ring, at):
    """Its heir, the only one known, may have been away when the value was replaced."""
    lines = [(40,), (50,), (50, 60)]

    def predecessor(_request):
        return P2pReplySuccessor(35, True, tuple(map(at, lines.pop(0) if lines[1:] else lines[0])), 30)

    def heir(request):
        if isinstance(request, P2pGetSuccessor):
            return P2pReplySuccessor(35, False, (at(30),), 30)
        if isinstance(request, P2pGetNeighbours):
            return P2pReplyNeighbours((at(40),), (at(60),))
        if request.as_owner:
            return P2pFailure(request.key, FailureReason.NOT_RESPONSIBLE, "")
        return P2pSuccess(request.key, 60_000, 3, version(world), b"old")

    world.script(30, predecessor)
    world.script(40, PeerUnreachable("connection refused"))
    world.script(50, heir)
    ring[5].keep(35, b"new", age_ms=-5)
    ring[0].node.known_arcs.clear()
    ring[0].node.set_ring(ring[0].node.ring.with_successors(at(20), at(30)), Cause.PULLED)
    assert get_35(ring[0]).value == b"new"


def test_a_copy_is_better_than_nothing_when_the_others_stay_silent(world, ring):
    for actor in ring[3:6]:
        actor.node.arc.doubt()
    ring[3].keep(35, b"old")
    for ident in (50, 60):
        world.script(ident, P2pError(ErrorReason.OVERLOAD, "busy"))
    assert get_35(ring[0]) == GetOutcome("success", b"old", LAST_RESORT)


def test_whoever_lacked_the_record_is_given_it_beside_the_answer(ring):
    ring[4].keep(35)
    assert get_35(ring[0]).value == b"value"
    assert holders(ring) == [50]
    ring[0].run_spawned()
    assert holders(ring) == [40, 50, 60]
    assert ring[0].node.stats.repaired_keys == {"read": 2}


def test_nobody_is_given_a_record_that_is_not_its_business(ring):
    ring[4].keep(35, copies=2)
    get_35(ring[0])
    ring[0].run_spawned()
    assert holders(ring) == [40, 50]


def test_a_read_repair_does_not_lengthen_a_life(world, ring, key):
    ring[4].keep(35, ttl_s=10)
    world.clock_s += 4
    get_35(ring[0])
    ring[0].run_spawned()
    world.clock_s += 6
    assert holders(ring) == []


def test_a_get_with_the_owner_gone_and_nothing_found_is_not_sure(world, ring):
    world.kill(40)
    assert get_35(ring[0]).result == "timeout"


def test_a_get_finds_the_right_owner_when_it_asked_the_wrong_one(world, displaced):
    world.actors[37].keep(35)
    assert get_35(displaced[0]) == GetOutcome("success", b"value")
    assert world.asked(P2pGet) == [40, 37]


def test_a_lookup_that_never_succeeds_ends_in_an_error(world, ring):
    for actor in ring[1:]:
        world.script(actor.me.ident, P2pError(ErrorReason.OVERLOAD, "busy"))
    assert get_35(ring[0])[:2] == ("error", None)
    assert ring[0].node.stats.lookups["get", "no_route"] or ring[0].node.stats.lookups["get", "ok"]


def test_a_coordinator_that_owns_the_key_never_calls_itself(world, at):
    """The world fails a call to oneself; here the owner lacks the record and does not know the whole ring."""
    ring = world.ideal(10, 20, 30)
    ring[0].node.set_ring(ring[0].node.ring.with_predecessors(), Cause.JOINED)
    assert get(ring[0], ring[0].node, (5).to_bytes(32, "big")).value is None


def test_a_coordinator_whose_newcomer_owns_the_key_never_calls_itself(world, at):
    """The founder knows the second node as its predecessor only, until its next stabilization."""
    lone = world.ideal(10)[0]
    lone.node.set_ring(lone.node.ring.with_predecessors(at(20)), Cause.JOINED)
    assert get(lone, lone.node, (15).to_bytes(32, "big")).value is None


# One second -----------------------------------------------------------------------------------------------------------


def test_a_value_with_ttl_1_is_there_after_half_a_second_and_gone_after_the_second(world, ring):
    put_35(ring[0], ttl_s=1)
    world.clock_s += 0.5
    assert get_35(ring[9]).value == b"value"
    world.clock_s += 0.5
    assert get_35(ring[9]) == GetOutcome("not_found", None)


def test_the_time_an_attempt_took_is_taken_off_the_life(world, ring):
    settling(world, ring)
    world.kill(40)
    put_35(ring[0], ttl_s=60, replication=1)
    waited_s = world.clock_s
    assert waited_s >= 2.0
    held = ring[4].node.store.get((35).to_bytes(32, "big"), ring[4].node.clock.lives_s())
    assert held.ttl_ms(ring[4].node.clock.lives_s()) <= 60_000 - 2000


def test_the_time_that_a_put_waited_for_its_stamp_is_taken_off_its_life(world, ring):
    """Stamps are reserved on disk, which may be slow."""
    clock, reserve = ring[0].node.clock, ring[0].node.clock.reserve

    def slowly():
        return world.clock_s >= 1.5 and reserve()

    clock.reserve = slowly
    assert put_35(ring[0], ttl_s=60) == SUCCESS_3
    lives_s = ring[3].node.clock.lives_s()
    held = ring[3].node.store.get((35).to_bytes(32, "big"), lives_s)
    assert 58_000 < held.ttl_ms(lives_s) <= 58_500


# Without a switch -----------------------------------------------------------------------------------------------------


def test_a_lone_node_puts_and_gets_without_a_switch(world, key):
    (lone,) = world.ideal(10)
    found_ring(lone.node)
    assert try_get(lone.node, key(35), lone.node.clock.lives_s()) == GetOutcome("not_found", None)
    assert try_put(lone.node, key(35), b"value", 60, 0, lone.node.clock.lives_s()) == PutOutcome("success", 1, 1)
    assert try_get(lone.node, key(35), lone.node.clock.lives_s()) == GetOutcome("success", b"value")
    assert lone.node.stats.replica_writes == {"ok": 1}


def test_what_others_must_hold_too_is_not_put_without_a_switch(ring, key):
    assert try_put(ring[3].node, key(35), b"value", 60, 2, ring[3].node.clock.lives_s()) is None
    assert try_put(ring[3].node, key(35), b"value", 60, 0, ring[3].node.clock.lives_s()) is None
    assert try_put(ring[4].node, key(35), b"value", 60, 1, ring[4].node.clock.lives_s()) is None
    assert try_put(ring[3].node, key(35), b"value", 60, 1, ring[3].node.clock.lives_s()) == PutOutcome("success", 1, 1)


def test_only_an_owner_that_has_the_record_gets_without_a_switch(ring, key):
    for actor in ring[3:6]:
        actor.keep(35)
    assert try_get(ring[3].node, key(35), ring[3].node.clock.lives_s()) == GetOutcome("success", b"value")
    assert try_get(ring[4].node, key(35), ring[4].node.clock.lives_s()) is None
    assert try_get(ring[3].node, key(36), ring[3].node.clock.lives_s()) is None


def test_a_full_store_fails_a_put_without_a_switch(world, key):
    (lone,) = world.ideal(10, max_store_bytes=400)
    assert try_put(lone.node, key(35), bytes(200), 60, 1, lone.node.clock.lives_s())[:3] == ("quorum", 0, 1)
    assert lone.node.stats.store_rejected_writes == {"full": 1}


def test_whoever_leaves_takes_the_slow_path(ring, key):
    ring[3].keep(35)
    ring[3].node.state = State.LEAVING
    assert try_get(ring[3].node, key(35), ring[3].node.clock.lives_s()) is None
    assert try_put(ring[3].node, key(35), b"value", 60, 1, ring[3].node.clock.lives_s()) is None


# Bounds and refusals --------------------------------------------------------------------------------------------------


def test_an_old_value_does_not_come_back_when_a_newer_one_with_fewer_copies_expires(world, ring):
    """The replicas of the old one hear of the new one too, and forget both with it."""
    assert put_35(ring[0], b"old", ttl_s=3600, replication=3).result == "success"
    assert put_35(ring[0], b"new", ttl_s=1, replication=1).result == "success"
    assert get_35(ring[0]).value == b"new"
    world.clock_s += 1.5
    assert get_35(ring[0]).result == "not_found"


def test_a_put_that_the_owner_refuses_is_no_success(world, ring):
    """A get asks the owner first: it would go on to read the value from before."""
    assert put_35(ring[0], b"first").result == "success"
    owner = ring[3].node
    owner.store.size_bytes_max = owner.store.size_bytes
    assert put_35(ring[0], b"second, and longer").result == "quorum"


def test_no_request_takes_longer_than_its_budget(world, ring, at):
    """A peer that names ever more owners that do not answer holds a client up for a bounded time."""
    names = iter(range(41, 10**6))

    def liar(request):
        if isinstance(request, P2pGetSuccessor):
            return P2pReplySuccessor(request.ident, True, tuple(at(next(names)) for _ in range(20)))
        if isinstance(request, P2pGetNeighbours):
            return P2pReplyNeighbours((), ())
        return P2pFailure(request.key, FailureReason.NOT_RESPONSIBLE, "")

    world.script(40, liar)
    get_35(ring[0])
    config = ring[0].node.config
    assert world.clock_s <= (BUDGET_CALLS + 3) * config.call_timeout


def test_a_clock_that_is_set_back_does_not_lock_a_node_out(world, ring):
    world.wall_ahead_s = 2 * CLOCK_AHEAD_S_MAX
    ring[0].node.clock.stamp()
    world.wall_ahead_s = 0.0
    assert put_35(ring[0]).result == "success"
