"""What a node answers to others, from local state and at once."""

from hashlib import sha256

import pytest

from gdht.core.messages import (
    Entry,
    ErrorReason,
    FailureReason,
    P2pAck,
    P2pCompare,
    P2pError,
    P2pFailure,
    P2pFetch,
    P2pGet,
    P2pGetNeighbours,
    P2pGetStatus,
    P2pGetSuccessor,
    P2pHello,
    P2pLeave,
    P2pNotify,
    P2pOffer,
    P2pPing,
    P2pPut,
    P2pReconcile,
    P2pReplyStat,
    P2pReplyStatus,
    P2pReplySuccessor,
    P2pStat,
    P2pSuccess,
    P2pTransfer,
)
from gdht.core.peer import Peer
from gdht.core.records import CLOCK_AHEAD_S_MAX, NO_VERSION, Version
from gdht.node.handlers import HANDLERS, NOTIFIED_MAX, handle
from gdht.node.replication.copies import TTL_S_MAX
from gdht.node.state import LEFT_MAX
from gdht.node.status import State


@pytest.fixture
def ask(world, at):
    """`ask(actor, request)`: what a node answers to a peer at 999."""
    return lambda actor, request, sender=999: handle(actor.node, at(sender), request, actor.node.clock.lives_s())


@pytest.fixture
def twenty(world):
    """The node at 20 of an ideal ring of 10, 20, 30 and 40."""
    return world.ideal(10, 20, 30, 40)[1]


def put(copy, as_owner=False):
    return P2pPut(*copy[:4], as_owner, copy.value)


# Who may ask ----------------------------------------------------------------------------------------------------------

FOR_MEMBERS = [
    P2pPing(),
    P2pGetSuccessor(1, strict=False),
    P2pGetNeighbours(),
    P2pNotify(),
    P2pLeave(),
    P2pPut(bytes(32), 1, 1, NO_VERSION, False, b""),
    P2pGet(bytes(32), as_owner=False),
    P2pOffer(()),
    P2pTransfer(()),
    P2pFetch(()),
    P2pCompare(1, ()),
    P2pReconcile(1, 0, 0, ()),
]


@pytest.mark.parametrize("state", [State.STARTING, State.JOINING, State.ISOLATED])
@pytest.mark.parametrize("request_", FOR_MEMBERS, ids=lambda request: type(request).__name__)
def test_a_node_outside_the_ring_refuses_what_asks_for_a_member(world, ask, request_, state):
    actor = world.add(20)
    actor.node.state = state
    assert ask(actor, request_) == P2pError(ErrorReason.NOT_JOINED, f"this node is {state.value}")


def test_a_node_that_has_left_refuses_too(twenty, ask):
    twenty.node.go()
    assert ask(twenty, P2pPing()).reason == ErrorReason.NOT_JOINED


@pytest.mark.parametrize("state", [State.ACTIVE, State.DRAINING, State.LEAVING])
def test_a_member_answers_pings_whatever_else_it_does(twenty, ask, state):
    twenty.node.state = state
    assert ask(twenty, P2pPing()) == P2pAck()


def test_what_a_node_tells_of_itself_needs_no_ring(world, ask):
    assert isinstance(ask(world.add(20), P2pGetStatus()), P2pReplyStatus)
    assert isinstance(ask(world.add(30), P2pStat(bytes(32))), P2pReplyStat)


def test_what_is_no_request_is_refused_and_nothing_is_raised(twenty, ask):
    assert ask(twenty, P2pHello(1, 1, "ring", twenty.me)).reason == ErrorReason.UNSUPPORTED


def test_everything_said_to_be_for_members_or_for_all_has_a_handler():
    assert set(HANDLERS) == {*map(type, FOR_MEMBERS), P2pGetStatus, P2pStat}


# The ring -------------------------------------------------------------------------------------------------------------


def test_a_lookup_step_repeats_what_was_asked(twenty, ask, at):
    reply = ask(twenty, P2pGetSuccessor(25, strict=True))
    assert reply == P2pReplySuccessor(25, True, (at(30), at(40), at(10)), start=20)


def test_neighbours_are_the_pointers_as_they_are(twenty, ask, at):
    reply = ask(twenty, P2pGetNeighbours())
    assert reply.predecessors == (at(10), at(40), at(30))
    assert reply.successors == (at(30), at(40), at(10))


def test_a_notification_only_schedules_a_rectify(twenty, ask, at):
    before = twenty.node.ring
    assert ask(twenty, P2pNotify(), sender=15) == P2pAck()
    assert twenty.node.ring is before
    assert twenty.node.notified == {15: at(15)}
    assert twenty.node.wake.is_set


def test_a_notification_by_the_present_predecessor_is_no_work(twenty, ask):
    assert ask(twenty, P2pNotify(), sender=10) == P2pAck()
    assert not twenty.node.notified
    assert not twenty.node.wake.is_set


def test_no_flood_of_notifications_or_goodbyes_grows_without_bound(twenty, ask):
    for sender in range(100, 100 + 2 * NOTIFIED_MAX):
        assert ask(twenty, P2pNotify(), sender=sender) == P2pAck()
    for sender in range(1000, 1000 + 2 * NOTIFIED_MAX):
        assert ask(twenty, P2pLeave(), sender=sender) == P2pAck()
    assert len(twenty.node.notified) == NOTIFIED_MAX
    assert len(twenty.node.left) == LEFT_MAX
    assert not twenty.node.stabilize_now, "strangers have nothing to say goodbye to"


def test_who_says_goodbye_is_not_rectified_with_any_more(twenty, ask, at):
    ask(twenty, P2pNotify(), sender=15)
    ask(twenty, P2pLeave(), sender=15)
    assert not twenty.node.notified
    assert twenty.node.has_left(at(15))


def test_who_notifies_after_a_goodbye_is_back(twenty, ask, at):
    ask(twenty, P2pLeave(), sender=15)
    ask(twenty, P2pNotify(), sender=15)
    assert not twenty.node.has_left(at(15))


def test_an_isolated_node_remembers_who_takes_it_for_a_member(twenty, ask, at):
    twenty.node.state = State.ISOLATED
    for _ in range(2):
        ask(twenty, P2pGetNeighbours(), sender=15)
    assert twenty.node.contacts == (at(15),)


def test_only_a_neighbour_at_its_own_address_is_believed_that_it_leaves(twenty, at):
    impostor = Peer(10, "10.6.6.6:6666")
    handle(twenty.node, impostor, P2pLeave(), twenty.wall())
    assert twenty.node.ring.predecessor == at(10)
    assert not twenty.node.has_left(at(10))
    handle(twenty.node, at(10), P2pLeave(), twenty.wall())
    assert twenty.node.ring.predecessor is None


# Put and get ----------------------------------------------------------------------------------------------------------


def test_a_put_is_stored_and_told_without_its_value(twenty, world, ask, key):
    copy = world.copy(15, b"hello")
    assert ask(twenty, put(copy)) == P2pSuccess(key(15), 60_000, 3, copy.version, b"")
    assert twenty.holds(15) == b"hello"


def test_a_put_of_an_older_version_tells_the_newer_one_and_keeps_it(twenty, world, ask):
    new, old = world.copy(15, b"new"), world.copy(15, b"old", age_ms=10)
    ask(twenty, put(new))
    assert ask(twenty, put(old)).version == new.version
    assert twenty.holds(15) == b"new"


@pytest.mark.parametrize("as_owner_of", [25, 35, 5])
def test_only_the_owner_takes_what_is_meant_for_the_owner(twenty, world, ask, key, as_owner_of):
    refused = P2pFailure(key(as_owner_of), FailureReason.NOT_RESPONSIBLE, "")
    assert ask(twenty, put(world.copy(as_owner_of), as_owner=True)) == refused
    assert ask(twenty, P2pGet(key(as_owner_of), as_owner=True)) == refused
    assert twenty.holds(as_owner_of) is None
    assert ask(twenty, put(world.copy(15), as_owner=True)).version


def test_being_taken_for_the_owner_wrongly_makes_a_node_doubt_its_predecessor(twenty, ask, key):
    ask(twenty, P2pGet(key(5), as_owner=True))
    assert twenty.node.doubted
    assert twenty.node.wake.is_set


def test_a_replica_takes_what_it_does_not_own(twenty, world, ask):
    ask(twenty, put(world.copy(5)))
    assert twenty.holds(5) == b"value"


def test_a_get_tells_what_is_left_of_the_life(twenty, world, ask, key):
    ask(twenty, put(world.copy(15, ttl_ms=5000)))
    world.clock_s += 2.0
    reply = ask(twenty, P2pGet(key(15), as_owner=True))
    assert reply.value == b"value"
    assert reply.ttl_ms == pytest.approx(3000, abs=1)


def test_a_record_is_gone_at_the_end_of_its_life(twenty, world, ask, key):
    ask(twenty, put(world.copy(15, ttl_ms=1000)))
    world.clock_s += 0.5
    assert isinstance(ask(twenty, P2pGet(key(15), as_owner=True)), P2pSuccess)
    world.clock_s += 0.5
    assert ask(twenty, P2pGet(key(15), as_owner=True)) == P2pFailure(key(15), FailureReason.NOT_FOUND, "")
    assert not ask(twenty, P2pStat(key(15))).present


def test_a_tombstone_is_told_apart_from_nothing(twenty, world, ask, key):
    """Who asked must know that older copies that others may still hold do not count."""
    twenty.keep(15, b"old", ttl_s=3600, age_ms=10)
    twenty.keep(15, b"new", ttl_s=1)
    world.clock_s += 1.5
    told = ask(twenty, P2pGet(key(15), as_owner=True))
    assert (told.ttl_ms, told.value) == (0, b"")
    assert told.tombstone_ms == pytest.approx(3_598_500, abs=1)
    twenty.node.store.expire(twenty.node.clock.lives_s(), 10)
    assert ask(twenty, P2pGet(key(15), as_owner=True)) == told
    world.clock_s += 3600
    assert isinstance(ask(twenty, P2pGet(key(15), as_owner=True)), P2pFailure)


def test_before_its_share_has_arrived_a_node_never_says_not_found(twenty, world, ask, key):
    twenty.node.arc.doubt()
    assert ask(twenty, P2pGet(key(15), as_owner=True)).reason == FailureReason.NOT_HERE_YET
    twenty.keep(15)
    assert ask(twenty, P2pGet(key(15), as_owner=True)).reason == FailureReason.NOT_HERE_YET, "it may be an old copy"
    assert isinstance(ask(twenty, P2pGet(key(15), as_owner=False)), P2pSuccess)


def test_about_to_leave_a_node_takes_no_more_records_but_still_gives(twenty, world, ask, key):
    twenty.keep(15)
    twenty.node.sealed = True
    assert ask(twenty, put(world.copy(16))).reason == FailureReason.LEAVING
    assert ask(twenty, P2pTransfer((world.copy(16),))).reason == ErrorReason.NOT_JOINED
    assert ask(twenty, P2pOffer((Entry(key(16), Version(1, 1), 3),))).reason == ErrorReason.NOT_JOINED
    assert twenty.holds(16) is None
    assert isinstance(ask(twenty, P2pGet(key(15), as_owner=True)), P2pSuccess)


def test_a_stamp_from_far_ahead_is_refused(twenty, world, ask):
    ahead_ms = int(CLOCK_AHEAD_S_MAX * 1000)
    assert isinstance(ask(twenty, put(world.copy(15, age_ms=-ahead_ms))), P2pSuccess)
    refused = ask(twenty, put(world.copy(16, age_ms=-ahead_ms - 1)))
    assert refused.reason == FailureReason.INVALID
    assert twenty.holds(16) is None
    assert twenty.node.stats.store_rejected_writes == {"version": 1}


def test_a_copy_without_life_is_refused(twenty, world, ask):
    assert ask(twenty, put(world.copy(15, ttl_ms=0))).reason == FailureReason.INVALID
    assert twenty.node.stats.store_rejected_writes == {"ttl": 1}


def test_a_full_store_says_so(world, ask):
    (lone,) = world.ideal(20, max_store_bytes=1000)
    assert ask(lone, put(world.copy(15, bytes(1000)))).reason == FailureReason.STORE_FULL
    assert lone.node.stats.store_rejected_writes == {"full": 1}
    assert lone.node.store.size_bytes == 0


def test_no_copy_lives_longer_or_wider_than_this_node_allows(twenty, world, ask):
    reply = ask(twenty, put(world.copy(15, ttl_ms=(1 << 32) - 1, copies=200)))
    assert reply.ttl_ms == TTL_S_MAX * 1000
    assert reply.replication == twenty.node.config.max_replication


def test_a_node_that_saw_a_version_gives_later_ones(twenty, world, ask):
    copy = world.copy(15, age_ms=-60_000)
    ask(twenty, put(copy))
    assert twenty.node.clock.stamp() > copy.version


# Offers, transfers, arcs, inspection ----------------------------------------------------------------------------------


def test_of_what_is_offered_only_the_lacking_and_newer_is_wanted(twenty, world, ask, key):
    held = twenty.keep(15)
    later, earlier = (Version(held.version.stamp + step, 1) for step in (1, -1))
    offered = [(15, held.version), (15, later), (15, earlier), (16, earlier)]
    entries = tuple(Entry(key(number), version, 3) for number, version in offered)
    assert ask(twenty, P2pOffer(entries)).wanted == (False, True, False, True)
    assert ask(twenty, P2pOffer((Entry(key(15), held.version, 4),))).wanted == (True,), "it should be held more widely"


def test_a_transfer_answers_for_each_record(twenty, world, ask):
    twenty.keep(15, b"newer")
    records = (world.copy(15, b"older", age_ms=5), world.copy(16), world.copy(17, ttl_ms=0))
    assert ask(twenty, P2pTransfer(records)).held == (True, True, False)
    assert twenty.holds(15) == b"newer"
    assert twenty.node.stats.handoff_keys == {("received", "transfer"): 2}


def test_a_stat_tells_all_but_the_value(twenty, ask, key):
    held = twenty.keep(15, b"hello")
    digest = sha256(b"hello").digest()
    assert ask(twenty, P2pStat(key(15))) == P2pReplyStat(key(15), True, 3_600_000, 3, held.version, 5, digest)
    assert ask(twenty, P2pStat(key(16))) == P2pReplyStat(key(16), False, 0, 0, NO_VERSION, 0, bytes(32))


def test_a_status_tells_place_and_neighbours(twenty, ask, at):
    status = ask(twenty, P2pGetStatus())
    assert (status.state, status.predecessors[0], status.successors[0]) == ("active", at(10), at(30))
