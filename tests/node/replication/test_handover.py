"""Leaving: every record goes to those who will hold it, and what that comes to is known beforehand."""

import logging
from math import inf

import pytest

from gdht.core.ident import ident_bytes
from gdht.core.messages import P2pCompare, P2pOffer, P2pPing, P2pReconcile, P2pTransfer
from gdht.errors import PeerUnreachable
from gdht.node.handlers import handle
from gdht.node.replication.handover import hand_over, hand_over_all, plan_leave
from gdht.node.status import Share


@pytest.fixture
def ring(world):
    """Ten members, 10 to 100; 35 is owned by 40, then 50 and 60 follow."""
    return world.ideal(*range(10, 101, 10))


def holders(ring, number=35):
    return [actor.me.ident for actor in ring if actor.holds(number) is not None]


def leave(actor):
    """How many had no taker."""
    return hand_over(actor, actor.node, inf, set())


def plan(actor):
    return {share.peer.ident: share.keys for share in plan_leave(actor, actor.node)}


CASES = [
    (1, 3, [40, 50]),
    (2, 3, [40, 50, 60]),
    (3, 3, [40, 50, 60, 70]),
    (3, 4, [50, 60, 70]),
    (3, 5, [60, 70]),
    (3, 8, [90, 100]),
]


@pytest.mark.parametrize(("copies", "place", "expected"), CASES)
def test_a_leaver_gives_each_record_to_those_who_will_hold_it(ring, copies, place, expected):
    ring[place].keep(35, copies=copies)
    assert leave(ring[place]) == 0
    assert holders(ring) == expected
    assert ring[place].node.stats.handoff_keys["sent", "leave"] == len(expected) - 1


@pytest.mark.parametrize("place", [3, 4, 5])
def test_in_a_ring_that_is_well_each_record_is_sent_once(ring, place):
    for actor in ring[3:6]:
        actor.keep(35)
    leave(ring[place])
    assert holders(ring) == [40, 50, 60, 70]
    assert ring[place].node.stats.handoff_keys["sent", "leave"] == 1


def test_a_second_pass_costs_no_more_than_comparing(world, ring):
    for number in range(1, 100):
        for index in range(3):
            ring[((number + 9) // 10 - 1 + index) % 10].keep(number)
    leave(ring[3])
    world.calls.clear()
    assert leave(ring[3]) == 0
    assert {type(request) for _, _, request in world.calls} == {P2pPing, P2pCompare}


def test_what_came_in_meanwhile_goes_with_the_second_pass(ring):
    ring[3].keep(35)
    leave(ring[3])
    ring[3].keep(36)
    leave(ring[3])
    assert holders(ring, 36) == [40, 50, 60, 70]


def test_records_without_a_taker_are_counted(world, ring):
    ring[3].keep(35, copies=1)
    ring[3].keep(36, copies=2)
    world.kill(*(actor.me.ident for actor in ring if actor is not ring[3]))
    assert leave(ring[3]) == 2


def test_what_is_over_needs_no_taker(world, ring):
    ring[3].keep(35, ttl_s=1)
    world.kill(*(actor.me.ident for actor in ring if actor is not ring[3]))
    world.clock_s += 1
    assert leave(ring[3]) == 0


def test_a_successor_that_takes_nothing_is_passed_over(world, ring):
    """It may be dead, or full, or about to leave itself; with a single copy nobody else has the record."""
    ring[3].keep(35, copies=1)
    world.kill(50)
    ring[5].node.sealed = True
    assert leave(ring[3]) == 0
    assert holders(ring) == [40, 70]


def test_a_full_successor_is_passed_over(ring):
    ring[3].keep(35, copies=1)
    ring[4].node.store.size_bytes_max = 0
    assert leave(ring[3]) == 0
    assert holders(ring) == [40, 60]


def test_a_leaver_whose_successors_are_all_gone_gives_its_records_to_a_node_before_it(world):
    ring = world.ideal(10, 20, 30, 40, 50)
    ring[4].keep(45)
    world.kill(10, 20, 30)
    assert leave(ring[4]) == 0
    assert ring[3].holds(45) == b"value"


def test_out_of_time_nothing_more_is_handed_over(world, ring):
    ring[3].keep(35)
    assert hand_over(ring[3], ring[3].node, ring[3].now(), set()) == 1
    assert not world.calls


def test_those_that_answer_do_not_wait_for_one_that_is_silent(world, ring):
    """The time is that of two calls in vain."""
    leaver = ring[3]
    for number in range(31, 41):
        leaver.keep(number)
    world.kill(50)
    assert hand_over_all(leaver, leaver.node, leaver.now() + 2 * leaver.node.config.call_timeout) == 0
    assert leaver.now() < leaver.node.config.call_timeout
    assert all(holders(ring, number) == [40, 60, 70] for number in range(31, 41))


def test_when_all_are_slow_they_are_waited_for(world, ring):
    ring[3].keep(35, copies=1)
    world.slow = {50: 0.7, 60: 0.6, 70: 0.6}
    assert hand_over(ring[3], ring[3].node, ring[3].now() + 4.0, set()) == 0
    assert holders(ring) == [40, 50]


def test_a_node_without_records_asks_nobody(world, ring):
    assert leave(ring[3]) == 0
    assert not world.calls


def test_who_fails_is_asked_no_more_in_a_pass_and_told_of_once(world, ring, caplog):
    """Stopping a whole ring, each node finds others that are about to leave themselves."""
    caplog.set_level(logging.INFO)
    leaver = ring[3]
    for number in range(1001):
        leaver.keep((number * 100 << 128) + 35)
    ring[5].node.sealed = True
    world.script(50, PeerUnreachable("connection refused"))
    told = set()
    hand_over(leaver, leaver.node, inf, told)
    asked = [type(request) for _, callee, request in world.calls if callee == 60]
    assert asked == [P2pPing, P2pCompare]
    hand_over(leaver, leaver.node, inf, told)
    lines = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert lines == [
        ("WARNING", f"hand-over failed peer={ring[4].me} error=connection refused"),
        ("INFO", f"hand-over failed peer={ring[5].me} error=not_joined: this node is about to leave"),
    ]


def test_nothing_is_taken_from_others_on_the_way_out(ring):
    ring[4].keep(35)
    leave(ring[3])
    assert ring[3].holds(35) is None


def test_a_leaver_keeps_its_copies(ring):
    """Should it crash in the middle and come back, nothing is lost."""
    ring[3].keep(35)
    leave(ring[3])
    assert ring[3].holds(35) == b"value"


# The whole of it ------------------------------------------------------------------------------------------------------


def test_while_the_first_pass_goes_on_puts_are_taken_and_then_no_more(world, ring):
    leaver = ring[3]
    sealed = []

    def look(request):
        sealed.append(leaver.node.sealed)
        if not leaver.node.sealed and isinstance(request, P2pReconcile):
            leaver.keep(36)
        return handle(ring[4].node, leaver.me, request, leaver.node.clock.lives_s())

    leaver.keep(35)
    world.script(50, look)
    assert hand_over_all(leaver, leaver.node, leaver.now() + 10) == 0
    assert sealed == sorted(sealed)
    assert set(sealed) == {False, True}
    assert holders(ring, 36) == [40, 50, 60, 70]


def test_a_leaver_that_finds_no_taker_tries_until_its_time_is_up(world, ring):
    leaver = ring[3]
    leaver.keep(35)
    world.kill(*(actor.me.ident for actor in ring if actor is not leaver))
    began_s = leaver.now()
    assert hand_over_all(leaver, leaver.node, began_s + 40) == 1
    assert leaver.now() >= began_s + 40
    status = leaver.node.handover.status(leaver.now() + 99)
    assert (status.kind, status.ended, status.without_taker) == ("leave", True, 1)
    assert status.seconds == pytest.approx(leaver.now() - began_s, abs=15)


def test_what_it_would_come_to_is_found_out_beside_it(world, ring):
    leaver = ring[3]
    totals = []

    def look(request):
        leaver.run_spawned()
        totals.append(leaver.node.handover.status(leaver.now()).keys_total)
        return handle(ring[4].node, leaver.me, request, leaver.node.clock.lives_s())

    for number in range(31, 41):
        leaver.keep(number)
    world.script(50, look)
    hand_over_all(leaver, leaver.node, leaver.now() + 10)
    assert totals[0] == 10


def test_what_is_still_to_be_found_out_at_the_end_is_not(ring):
    ring[3].keep(35)
    hand_over_all(ring[3], ring[3].node, ring[3].now() + 10)
    assert not ring[3].spawned


def test_progress_is_told(ring):
    for number in range(31, 41):
        for actor in ring[3:6]:
            actor.keep(number)
    leaver = ring[3]
    hand_over_all(leaver, leaver.node, leaver.now() + 10)
    status = leaver.node.handover.status(leaver.now())
    size_bytes = 10 * leaver.node.store.record_bytes(leaver.node.store.held(ident_bytes(31)))
    assert (status.keys_total, status.keys_done) == (10, 10)
    assert (status.bytes_total, status.bytes_done) == (size_bytes, size_bytes)
    assert (status.ended, status.without_taker) == (True, 0)
    assert leaver.node.stats.handoff_bytes["sent", "leave"] == 50


# What it would come to ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("copies", "place", "expected"), CASES)
def test_a_plan_names_who_would_come_to_hold_each_record(ring, copies, place, expected):
    for actor in ring[3 : 3 + copies]:
        actor.keep(35, copies=copies)
    ring[place].keep(35, copies=copies)
    assert plan(ring[place]) == {expected[-1]: 1}


def test_a_plan_moves_nothing(world, ring):
    ring[3].keep(35)
    plan(ring[3])
    assert {type(request) for _, _, request in world.calls} == {P2pCompare}
    assert not world.asked(P2pTransfer)
    assert not world.asked(P2pOffer)


def test_a_plan_tells_keys_and_bytes(ring):
    records = [ring[3].keep(number, b"v" * number) for number in range(31, 41)]
    size_bytes = sum(map(ring[3].node.store.record_bytes, records))
    assert plan_leave(ring[3], ring[3].node) == (Share(ring[6].me, 10, size_bytes),)


def test_what_a_receiver_has_already_is_not_planned(ring):
    for actor in (ring[3], ring[6]):
        actor.keep(35)
    assert plan(ring[3]) == {}


def test_a_receiver_that_does_not_answer_is_planned_with_all(world, ring):
    ring[3].keep(35)
    world.kill(70)
    assert plan(ring[3]) == {70: 1}


def test_a_plan_waits_for_a_receiver_that_does_not_answer_once(world, ring):
    for number, copies in (35, 1), (36, 2), (25, 2), (15, 3):
        ring[3].keep(number, copies=copies)
    world.kill(50)
    assert plan(ring[3]) == {50: 3, 60: 1}
    assert world.asked(P2pCompare).count(50) == 1


def test_in_a_ring_where_all_hold_everything_nothing_is_planned(world):
    ring = world.ideal(10, 20, 30)
    for actor in ring:
        actor.keep(5)
    assert plan(ring[0]) == {}
