"""Rounds of repair: each record on its owner and the nodes after it, and a true account of what is not."""

import pytest

from gdht.core.arcs import Arc
from gdht.core.ident import ident_bytes
from gdht.core.messages import P2pCompare, P2pTransfer
from gdht.node.handlers import handle
from gdht.node.journal import Cause
from gdht.node.replication.repair import repair


@pytest.fixture
def ring(world):
    """Ten members, 10 to 100; 35 is owned by 40, then 50 and 60 follow."""
    return world.ideal(*range(10, 101, 10))


def holders(ring, number=35):
    return [actor.me.ident for actor in ring if actor.holds(number) is not None]


def round_of(actor):
    repair(actor, actor.node)
    return actor.node.stats.keys_under_replicated


def oldest_s(actor):
    return actor.node.stats.keys_under_replicated_oldest_s


def test_the_owner_restores_missing_replicas(ring):
    ring[3].keep(35)
    assert round_of(ring[3]) == 0
    assert holders(ring) == [40, 50, 60]
    assert ring[3].node.stats.handoff_keys == {("sent", "repair"): 2}
    assert ring[4].node.stats.handoff_keys == {("received", "transfer"): 1}


@pytest.mark.parametrize("copies", [1, 2, 3, 4])
def test_each_record_gets_as_many_copies_as_it_asks_for(ring, copies):
    ring[3].keep(35, copies=copies)
    round_of(ring[3])
    assert holders(ring) == [40, 50, 60, 70][:copies]


def test_the_owner_gets_what_only_a_replica_has(ring):
    ring[5].keep(35)
    round_of(ring[3])
    assert holders(ring) == [40, 60]
    round_of(ring[3])
    assert holders(ring) == [40, 50, 60]


def test_an_older_copy_is_brought_up_to_date(ring):
    ring[3].keep(35, b"newer")
    ring[4].keep(35, b"older", age_ms=10)
    round_of(ring[3])
    assert ring[4].holds(35) == b"newer"


def test_when_nothing_differs_a_round_is_one_message_for_each_replica(world, ring):
    for number in range(31, 41):
        for actor in ring[3:6]:
            actor.keep(number)
    round_of(ring[3])
    assert [callee for _, callee, _ in world.calls] == world.asked(P2pCompare) == [50, 60, 70]


def test_expired_records_are_neither_sent_nor_counted(world, ring):
    ring[3].keep(35, ttl_s=1)
    world.clock_s += 1
    assert round_of(ring[3]) == 0
    assert not world.asked(P2pTransfer)


def test_moving_a_record_does_not_stretch_its_life(world, ring):
    ring[3].keep(35, ttl_s=10)
    world.clock_s += 4
    round_of(ring[3])
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
    round_of(lost)
    assert not world.calls


def test_a_ring_smaller_than_the_replication_holds_everything_everywhere(world):
    ring = world.ideal(10, 20)
    ring[0].keep(5)
    assert round_of(ring[0]) == 0
    assert round_of(ring[1]) == 0
    assert holders(ring, 5) == [10, 20]


def test_a_lone_node_has_nothing_to_repair(world):
    (lone,) = world.ideal(10)
    lone.keep(5)
    assert round_of(lone) == 0
    assert not world.calls


def test_a_round_ends_when_the_arc_is_no_longer_ours(world, ring, at):
    """Another round follows: the change has asked for it."""
    ring[3].keep(35)

    def join_meanwhile(request):
        ring[3].node.set_ring(ring[3].node.ring.with_predecessors(at(38), at(30)), Cause.NOTIFIED)
        return handle(ring[4].node, ring[3].me, request, ring[3].node.clock.lives_s())

    world.script(50, join_meanwhile)
    ring[3].node.repair_wanted.is_set = False
    round_of(ring[3])
    assert 60 not in world.asked(P2pCompare)
    assert ring[3].node.repair_wanted.is_set


# The account ----------------------------------------------------------------------------------------------------------


def test_a_replica_that_does_not_answer_lacks_all_of_its_records(world, ring):
    for number, copies in ((31, 1), (32, 2), (33, 3), (34, 3), (35, 4)):
        ring[3].keep(number, copies=copies)
    world.kill(60)
    assert round_of(ring[3]) == 3  # 60 holds copies of what has three or more
    world.dead.clear()
    assert round_of(ring[3]) == 0


def test_a_record_that_several_replicas_lack_counts_once(world, ring):
    ring[3].keep(34, copies=2)
    ring[3].keep(35, copies=3)
    world.kill(50, 60)
    assert round_of(ring[3]) == 2


def test_what_a_full_replica_does_not_take_is_counted(ring):
    ring[4].keep(34)
    ring[3].keep(35)
    ring[3].keep(36, copies=2)
    ring[4].node.store.size_bytes_max = ring[4].node.store.size_bytes
    ring[5].node.store.size_bytes_max = 0
    assert round_of(ring[3]) == 3  # 34 was fetched, and 60 does not take it


def test_a_record_counts_once_whether_named_or_among_all(world, ring):
    """50 is full and does not take 34 to 36; 60 does not answer, which concerns 35 and 36."""
    ring[3].keep(34, copies=2)
    ring[3].keep(35)
    ring[3].keep(36)
    ring[4].node.store.size_bytes_max = 0
    world.kill(60)
    assert round_of(ring[3]) == 3


def test_tombstones_are_not_counted(world, ring):
    actor = ring[3]
    record = actor.keep(35, ttl_s=1)
    actor.node.store.put(record._replace(tombstone_until_s=record.expires_at_s + 60))
    world.clock_s += 2
    actor.node.store.expire(actor.node.clock.lives_s(), 10)
    world.kill(50)
    assert round_of(actor) == 0


def test_replicas_that_are_not_known_yet_are_counted_as_missing(world, ring, at):
    """After many crashes the list is short until it has been pulled again."""
    actor = ring[3]
    actor.node.set_ring(actor.node.ring.with_successors(at(50)), Cause.JOINED)
    actor.keep(34, copies=2)
    actor.keep(35, copies=3)
    assert round_of(actor) == 1


def test_the_age_of_the_oldest_is_told(world, ring):
    ring[3].keep(35)
    world.kill(60)
    round_of(ring[3])
    assert oldest_s(ring[3]) == 0
    world.clock_s += 30
    round_of(ring[3])
    assert oldest_s(ring[3]) >= 30
    world.dead.clear()
    round_of(ring[3])
    assert oldest_s(ring[3]) == 0


def test_the_age_goes_on_when_another_replica_fails_instead(world, ring):
    """The record has had too few copies all the time."""
    ring[3].keep(35)
    world.kill(60)
    round_of(ring[3])
    world.clock_s += 30
    world.dead.clear()
    ring[5].node.store.size_bytes_max = 0
    assert round_of(ring[3]) == 1
    assert oldest_s(ring[3]) >= 30


def test_a_record_that_was_well_in_between_is_young_again(world, ring):
    for dead in (True, False, True):
        ring[3].keep(35)
        world.dead = {60} if dead else set()
        round_of(ring[3])
        world.clock_s += 30
    assert oldest_s(ring[3]) == 0


def test_only_living_records_of_our_arc_are_counted(ring):
    """What a replica refuses because it is over by then is missed by nobody."""
    actor = ring[3]
    actor.keep(35)
    actor.keep(25)
    ring[4].node.store.size_bytes_max = 0
    assert round_of(actor) == 1
    assert Arc(30, 40).holds(int.from_bytes(ident_bytes(35), "big"))
