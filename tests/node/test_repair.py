"""Records where they belong: a newcomer's share, rounds of repair, and handing over before leaving."""

import pytest

from gdht.core.ident import ident_bytes
from gdht.core.messages import ErrorReason, P2pError, P2pGetArc, P2pOffer, P2pReplyArc, P2pTransfer
from gdht.node.handlers import handle
from gdht.node.journal import Cause
from gdht.node.membership import join
from gdht.node.repair import count_keys, expire, hand_over, pull_share, repair


@pytest.fixture
def ring(world):
    """Ten members, 10 to 100; 35 is owned by 40, then 50 and 60 follow."""
    return world.ideal(*range(10, 101, 10))


def holders(ring, number=35):
    return [actor.me.ident for actor in ring if actor.holds(number) is not None]


def always():
    return True


# A newcomer's share ---------------------------------------------------------------------------------------------------


@pytest.fixture
def newcomer(world, ring, at):
    """A node at 45 that has just joined a ring in which each node holds what it should, 10 keys to a node."""
    for number in range(1, 100):
        owner = (number + 9) // 10 - 1
        for index in range(3):
            ring[(owner + index) % 10].keep(number)
    newcomer = world.add(45)
    join(newcomer, newcomer.node, at(10))
    return newcomer


def test_a_newcomer_gets_its_share_from_its_successor_alone(world, newcomer):
    pull_share(newcomer, newcomer.node)
    assert [number for number in range(1, 100) if newcomer.holds(number)] == list(range(21, 46))
    assert set(world.asked(P2pGetArc)) == {50}
    assert not newcomer.node.receiving
    assert newcomer.node.stats.handoff_keys == {("received", "join"): 25}


def test_a_newcomer_is_not_given_what_stays_with_its_successor(newcomer):
    pull_share(newcomer, newcomer.node)
    assert not any(newcomer.holds(number) for number in range(46, 51))


def test_a_successor_that_is_still_receiving_itself_is_not_enough(world, newcomer):
    world.actors[50].node.receiving = True
    pull_share(newcomer, newcomer.node)
    assert set(world.asked(P2pGetArc)) == {50, 60}
    assert all(newcomer.holds(number) for number in range(31, 46))


def test_a_successor_that_fails_is_passed_over(world, newcomer):
    world.kill(50)
    pull_share(newcomer, newcomer.node)
    assert all(newcomer.holds(number) for number in range(31, 46))
    assert not newcomer.node.receiving


def test_a_share_that_nobody_could_give_has_not_arrived(world, newcomer):
    """As long as nobody answered, "not here yet" is true and "not found" is not."""
    world.kill(50, 60, 70)
    pull_share(newcomer, newcomer.node)
    assert newcomer.node.receiving


def test_what_two_newcomers_have_of_each_other_is_all_there_is(world, newcomer):
    for ident in (50, 60, 70):
        world.actors[ident].node.receiving = True
    pull_share(newcomer, newcomer.node)
    assert not newcomer.node.receiving


def test_a_share_arrives_in_pieces_of_bounded_size(world, newcomer, monkeypatch):
    monkeypatch.setattr("gdht.node.copies.BATCH_RECORDS_MAX", 4)
    pull_share(newcomer, newcomer.node)
    assert all(newcomer.holds(number) for number in range(21, 46))
    assert len(world.asked(P2pGetArc)) == 7


def test_a_newer_record_put_meanwhile_is_not_replaced_by_the_share(newcomer):
    newcomer.keep(41, b"newer", age_ms=-10)
    pull_share(newcomer, newcomer.node)
    assert newcomer.holds(41) == b"newer"


# Repair ---------------------------------------------------------------------------------------------------------------


def test_the_owner_restores_missing_replicas(world, ring):
    ring[3].keep(35)
    assert repair(ring[3], ring[3].node) == 0
    assert holders(ring) == [40, 50, 60]
    assert ring[3].node.stats.handoff_keys == {("sent", "repair"): 2}
    assert ring[4].node.stats.handoff_keys == {("received", "transfer"): 1}


def test_a_replica_restores_the_owner(ring):
    ring[5].keep(35)
    repair(ring[5], ring[5].node)
    assert holders(ring) == [40, 60]


def test_what_everybody_has_is_offered_but_not_sent(world, ring):
    for actor in ring[3:6]:
        actor.keep(35)
    repair(ring[3], ring[3].node)
    assert world.asked(P2pOffer) == [50, 60]
    assert not world.asked(P2pTransfer)


def test_an_older_copy_is_brought_up_to_date(ring):
    ring[3].keep(35, b"newer")
    ring[4].keep(35, b"older", age_ms=10)
    repair(ring[3], ring[3].node)
    assert ring[4].holds(35) == b"newer"


def test_an_older_copy_never_replaces_a_newer_one(ring):
    ring[3].keep(35, b"older", age_ms=10)
    ring[4].keep(35, b"newer")
    repair(ring[3], ring[3].node)
    repair(ring[4], ring[4].node)
    assert [ring[3].holds(35), ring[4].holds(35)] == [b"newer", b"newer"]


def test_a_record_with_too_few_confirmed_replicas_is_counted(world, ring):
    ring[3].keep(35)
    ring[3].keep(36)
    world.kill(60)
    assert repair(ring[3], ring[3].node) == 2
    assert ring[3].node.stats.keys_under_replicated == 2
    world.dead.clear()
    assert repair(ring[3], ring[3].node) == 0
    assert ring[3].node.stats.keys_under_replicated == 0


def test_a_misplaced_copy_is_dropped_once_all_who_should_hold_it_do(ring):
    ring[8].keep(35)
    repair(ring[8], ring[8].node)
    assert holders(ring) == [40, 50, 60]


@pytest.mark.parametrize("down", [50, 60])
def test_a_misplaced_copy_stays_while_any_holder_has_not_confirmed(world, ring, down):
    ring[8].keep(35)
    world.kill(down)
    repair(ring[8], ring[8].node)
    assert ring[8].holds(35) == b"value"


def test_a_misplaced_copy_of_a_dead_owner_is_dropped_only_for_as_many_others(world, ring):
    ring[8].keep(35)
    world.kill(40)
    repair(ring[8], ring[8].node)
    assert 90 in holders(ring) or holders(ring) == [50, 60, 70]


def test_a_misplaced_copy_stays_while_a_holder_refuses_it(ring):
    ring[8].keep(35)
    ring[4].node.sealed = True
    repair(ring[8], ring[8].node)
    assert holders(ring) == [40, 60, 90]


def test_a_misplaced_copy_stays_while_the_owner_is_unknown(world, ring):
    ring[8].keep(35)
    for ident in (100, 10, 20, 30, 40):
        world.script(ident, P2pError(ErrorReason.OVERLOAD, "busy"))
    repair(ring[8], ring[8].node)
    assert holders(ring) == [90]


def test_a_misplaced_copy_that_changed_meanwhile_is_not_dropped(world, ring):
    ring[8].keep(35)

    def put_meanwhile(request):
        if isinstance(request, P2pOffer):
            ring[8].keep(35, b"newer", age_ms=-10)
        return handle(ring[3].node, ring[8].me, request, ring[8].wall())

    world.script(40, put_meanwhile)
    repair(ring[8], ring[8].node)
    assert ring[8].holds(35) == b"newer"
    assert ring[3].holds(35) == b"value"


def test_one_lookup_serves_all_misplaced_records_of_an_owner(world, ring):
    for number in range(31, 41):
        ring[8].keep(number)
    repair(ring[8], ring[8].node)
    assert ring[8].node.stats.lookups == {("repair", "ok"): 1}
    assert all(holders(ring, number) == [40, 50, 60] for number in range(31, 41))


def test_expired_records_are_neither_offered_nor_counted(world, ring):
    ring[3].keep(35, ttl_s=1)
    world.clock_s += 1
    assert repair(ring[3], ring[3].node) == 0
    assert not world.asked(P2pOffer)


def test_moving_a_record_does_not_stretch_its_life(world, ring):
    ring[3].keep(35, ttl_s=10)
    world.clock_s += 4
    repair(ring[3], ring[3].node)
    world.clock_s += 5.9
    assert holders(ring) == [40, 50, 60]
    world.clock_s += 0.1
    assert holders(ring) == []


def test_a_node_that_lost_its_predecessor_does_not_take_replicas_for_its_own(world, ring):
    """It owns what it owned and perhaps more, but its replicas need no new copies until it knows."""
    for actor in ring[3:6]:
        actor.keep(35)
    lost = ring[5]
    lost.node.set_ring(lost.node.ring.with_predecessors(), Cause.JOINED)
    repair(lost, lost.node)
    assert holders(ring) == [40, 50, 60]


def test_many_records_are_repaired_in_slices(ring, monkeypatch):
    monkeypatch.setattr("gdht.node.repair.ROUND_RECORDS", 3)
    for number in range(31, 41):
        ring[3].keep(number)
    repair(ring[3], ring[3].node)
    assert all(holders(ring, number) == [40, 50, 60] for number in range(31, 41))


def test_a_ring_smaller_than_the_replication_holds_everything_everywhere(world):
    ring = world.ideal(10, 20)
    ring[0].keep(5)
    assert repair(ring[0], ring[0].node) == 0
    assert repair(ring[1], ring[1].node) == 0
    assert holders(ring, 5) == [10, 20]


# Handing over ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("copies", "place", "expected"),
    [
        (1, 3, [40, 50]),
        (2, 3, [40, 50, 60]),
        (3, 3, [40, 50, 60, 70]),
        (3, 4, [50, 60, 70]),
        (3, 5, [60, 70]),
        (3, 8, [90, 100]),
    ],
)
def test_a_leaver_gives_each_record_to_those_who_will_hold_it(ring, copies, place, expected):
    ring[place].keep(35, copies=copies)
    assert hand_over(ring[place], ring[place].node, always) == 0
    assert holders(ring) == expected
    assert ring[place].node.stats.handoff_keys["sent", "leave"] == len(expected) - 1


def test_records_without_a_taker_are_counted(world, ring):
    ring[3].keep(35, copies=1)
    ring[3].keep(36, copies=2)
    world.kill(*(actor.me.ident for actor in ring if actor is not ring[3]))
    assert hand_over(ring[3], ring[3].node, always) == 2


def test_a_successor_that_takes_nothing_is_passed_over(world, ring):
    """It may be dead, or full, or about to leave itself; with a single copy nobody else has the record."""
    ring[3].keep(35, copies=1)
    world.kill(50)
    ring[5].node.sealed = True
    assert hand_over(ring[3], ring[3].node, always) == 0
    assert holders(ring) == [40, 70]


def test_out_of_time_nothing_more_is_handed_over(world, ring):
    ring[3].keep(35)
    assert hand_over(ring[3], ring[3].node, lambda: False) == 1
    assert not world.calls


# Expiry and counting --------------------------------------------------------------------------------------------------


def test_what_has_expired_is_dropped_and_counted(world, ring, monkeypatch):
    monkeypatch.setattr("gdht.node.repair.EXPIRE_RECORDS", 3)
    for number in range(10):
        ring[3].keep(number, ttl_s=1 + number % 2)
    world.clock_s += 1
    expire(ring[3], ring[3].node)
    assert ring[3].node.store.count == 5
    assert ring[3].node.stats.store_expired_keys == 5


def test_records_are_counted_by_their_role(ring):
    for number in (31, 40, 25, 15, 5, 75):
        ring[3].keep(number)
    assert count_keys(ring[3], ring[3].node) == 6
    keys = ring[3].node.keys
    assert (keys.owned, keys.replica, keys.misplaced) == (2, 2, 2)


def test_bytes_are_counted_as_the_store_counts_them(ring):
    """Or the share of the store that is used would be wrong on pages and in alerts."""
    records = [ring[3].keep(number, b"12345") for number in (31, 25, 75)]
    count_keys(ring[3], ring[3].node)
    keys = ring[3].node.keys
    assert [keys.owned_bytes, keys.replica_bytes, keys.misplaced_bytes] == list(
        map(ring[3].node.store.record_bytes, records)
    )
    assert keys.bytes == ring[3].node.store.size_bytes


def test_counting_reads_a_store_of_any_size_in_slices(ring, monkeypatch):
    monkeypatch.setattr("gdht.node.copies.SCAN_RECORDS", 2)
    for number in range(1, 8):
        ring[3].node.store.put(ring[3].keep(number)._replace(key=ident_bytes(number << 248)))
    assert count_keys(ring[3], ring[3].node) == 14


def test_a_peer_that_repeats_itself_does_not_hold_a_newcomer_for_ever(world, at):
    """It says that there is more, and sends the same again."""
    world.ideal(10, 40)
    newcomer = world.add(20)
    join(newcomer, newcomer.node, at(40))
    copy = world.copy(15)
    world.script(40, lambda request: P2pReplyArc(True, True, (copy,)))
    pull_share(newcomer, newcomer.node)
    assert len(world.asked(P2pGetArc)) == 2
    assert not newcomer.node.receiving


def test_a_leaver_whose_successors_are_all_gone_gives_its_records_to_a_node_before_it(world):
    ring = world.ideal(10, 20, 30, 40, 50)
    ring[4].keep(45)
    world.kill(10, 20, 30)
    assert hand_over(ring[4], ring[4].node, lambda: True) == 0
    assert ring[3].holds(45) == b"value"
