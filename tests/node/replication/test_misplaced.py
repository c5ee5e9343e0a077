"""Copies that are nobody's business here: handed on, confirmed, dropped; never the other way round."""

import pytest

from gdht.core.ident import ident_bytes
from gdht.core.messages import ErrorReason, P2pError, P2pOffer
from gdht.errors import StoreError
from gdht.node.handlers import handle
from gdht.node.replication.misplaced import hand_on_misplaced
from gdht.node.status import State


@pytest.fixture
def ring(world):
    """Ten members, 10 to 100; 35 is owned by 40, then 50 and 60 follow. 90 has no business with it."""
    return world.ideal(*range(10, 101, 10))


def holders(ring, number=35):
    return [actor.me.ident for actor in ring if actor.holds(number) is not None]


def hand_on(actor):
    """How many had to stay."""
    hand_on_misplaced(actor, actor.node)
    return actor.node.unplaced


def test_a_misplaced_copy_is_dropped_once_all_who_should_hold_it_do(ring):
    ring[8].keep(35)
    assert hand_on(ring[8]) == 0
    assert holders(ring) == [40, 50, 60]
    assert ring[8].node.stats.handoff_keys == {("sent", "repair"): 3}


def test_a_copy_beyond_the_last_replica_is_misplaced(ring):
    ring[6].keep(35)
    hand_on(ring[6])
    assert holders(ring) == [40, 50, 60]


@pytest.mark.parametrize("place", [3, 4, 5])
def test_the_copies_of_owner_and_replicas_stay(world, ring, place):
    ring[place].keep(35)
    assert hand_on(ring[place]) == 0
    assert holders(ring) == [ring[place].me.ident]
    assert not world.calls


def test_a_stale_copy_is_dropped_and_not_handed_on(ring):
    ring[8].keep(35, b"older", age_ms=10)
    for actor in ring[3:6]:
        actor.keep(35, b"newer")
    hand_on(ring[8])
    assert [actor.holds(35) for actor in ring[3:6]] == [b"newer"] * 3
    assert holders(ring) == [40, 50, 60]


@pytest.mark.parametrize("down", [50, 60])
def test_a_copy_stays_while_any_holder_has_not_confirmed(world, ring, down):
    ring[8].keep(35)
    world.kill(down)
    assert hand_on(ring[8]) == 1
    assert ring[8].holds(35) == b"value"


def test_a_copy_of_a_dead_owner_is_dropped_only_for_as_many_others(world, ring):
    ring[8].keep(35)
    world.kill(40)
    hand_on(ring[8])
    assert 90 in holders(ring) or holders(ring) == [50, 60, 70]


def test_a_copy_stays_while_a_holder_is_about_to_leave(ring):
    ring[8].keep(35)
    ring[4].node.sealed = True
    assert hand_on(ring[8]) == 1
    assert holders(ring) == [40, 60, 90]


def test_what_a_leaving_owner_has_just_handed_over_is_not_dropped_because_that_still_has_it(ring):
    """It is misplaced until the owner has said goodbye, and then it is the only copy."""
    for actor in ring[3:5]:
        actor.keep(35, copies=1)
    ring[3].node.state = State.LEAVING
    assert hand_on(ring[4]) == 1
    assert ring[4].holds(35) == b"value"


def test_a_copy_stays_while_a_holder_has_no_room(ring):
    ring[8].keep(35)
    ring[4].node.store.size_bytes_max = 0
    assert hand_on(ring[8]) == 1
    assert holders(ring) == [40, 60, 90]


def test_a_copy_stays_while_the_owner_is_unknown(world, ring):
    ring[8].keep(35)
    for ident in (100, 10, 20, 30, 40):
        world.script(ident, P2pError(ErrorReason.OVERLOAD, "busy"))
    assert hand_on(ring[8]) == 1
    assert holders(ring) == [90]


def test_a_copy_that_changed_meanwhile_is_not_dropped(world, ring):
    ring[8].keep(35)

    def put_meanwhile(request):
        if isinstance(request, P2pOffer):
            ring[8].keep(35, b"newer", age_ms=-10)
        return handle(ring[3].node, ring[8].me, request, ring[8].node.clock.lives_s())

    world.script(40, put_meanwhile)
    hand_on(ring[8])
    assert ring[8].holds(35) == b"newer"
    hand_on(ring[8])
    assert [actor.holds(35) for actor in ring[3:6]] == [b"newer"] * 3
    assert ring[8].holds(35) is None


def test_a_copy_that_cannot_be_dropped_stays_for_the_next_round(ring, monkeypatch):
    def refuse(key, version):
        raise StoreError("disk", "read-only")

    ring[8].keep(35)
    monkeypatch.setattr(ring[8].node.store, "remove", refuse)
    assert hand_on(ring[8]) == 1
    assert ring[8].holds(35) == b"value"


def test_one_lookup_serves_all_records_of_an_owner(ring):
    for number in range(31, 41):
        ring[8].keep(number)
    hand_on(ring[8])
    assert ring[8].node.stats.lookups == {("repair", "ok"): 1}
    assert all(holders(ring, number) == [40, 50, 60] for number in range(31, 41))


def test_misplaced_tombstones_are_handed_on_too(world, ring):
    """The owner may hold an older copy that they keep from coming back."""
    actor = ring[8]
    record = actor.keep(35, ttl_s=1)
    actor.node.store.put(record._replace(tombstone_until_s=record.expires_at_s + 60))
    world.clock_s += 2
    actor.node.store.expire(actor.node.clock.lives_s(), 10)
    hand_on(actor)
    assert [other.node.store.held(ident_bytes(35)).is_tombstone for other in ring[3:6]] == [True] * 3
    assert actor.node.store.held(ident_bytes(35)) is None


def test_what_is_well_placed_is_not_read(world, monkeypatch):
    """Or a round would read the whole store to find out that there is nothing to do."""
    ring = world.ideal(*(place << 248 for place in range(10, 101, 10)))
    for place in (35, 25, 15):
        ring[3].keep(place << 248)

    def read(*_):
        raise AssertionError("it was read")

    monkeypatch.setattr(ring[3].node.store, "entries", read)
    monkeypatch.setattr(ring[3].node.store, "held", read)
    assert hand_on(ring[3]) == 0
