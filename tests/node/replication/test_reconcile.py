"""Reconciling an arc: both sides end up with the newest of everything, and pay for what differs only."""

from hashlib import sha256

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gdht.core.arcs import Arc
from gdht.core.ident import IDENTS, ident_bytes
from gdht.core.messages import (
    RECORDS_PER_MESSAGE_MAX,
    Entry,
    P2pCompare,
    P2pFetch,
    P2pOffer,
    P2pReconcile,
    P2pReplyCompare,
    P2pReplyFetch,
    P2pReplyReconcile,
    P2pTransfer,
)
from gdht.core.records import Record, Version
from gdht.errors import CallTimeout, RemoteError, RemoteProtocolError
from gdht.node.handlers import handle
from gdht.node.replication.copies import BATCH_BYTES_MAX
from gdht.node.replication.holdings import entries_in
from gdht.node.replication.reconcile import Task, count_at, reconcile
from gdht.wire.codec import encode_p2p
from tests.node.conftest import World

HALF = 1 << 255
CIRCLE = Arc(HALF, HALF)


def spread(number):
    """A place on the ring that looks like chance."""
    return int.from_bytes(sha256(b"%d" % number).digest(), "big")


@pytest.fixture
def pair(world):
    """Two members, half a circle apart."""
    return world.ideal(0, HALF)


def run(pair, arc=CIRCLE, least=1, **options):
    us, peer = pair
    return reconcile(us, us.node, arc, Task(peer.me, least, **options))


def requests(world, kind):
    return [request for _caller, _callee, request in world.calls if isinstance(request, kind)]


def both_hold(pair, number):
    return [actor.holds(number) for actor in pair]


def versions(actor, least=1):
    return {entry.key: entry.version for entry in entries_in(actor.node.store, CIRCLE, least)}


# What comes of it -----------------------------------------------------------------------------------------------------


def test_each_side_gets_what_it_lacks(pair):
    pair[0].keep(1, b"ours")
    pair[1].keep(2, b"theirs")
    outcome = run(pair)
    assert (outcome.ended, outcome.sent, outcome.received, outcome.unconfirmed) == (True, 1, 1, {})
    assert both_hold(pair, 1) == [b"ours", b"ours"]
    assert both_hold(pair, 2) == [b"theirs", b"theirs"]


@pytest.mark.parametrize("newer", [0, 1])
def test_the_newer_version_wins_on_both_sides(pair, newer):
    pair[newer].keep(1, b"newer")
    pair[1 - newer].keep(1, b"older", age_ms=10)
    run(pair)
    assert both_hold(pair, 1) == [b"newer", b"newer"]


def test_records_outside_of_the_arc_stay_where_they_are(pair):
    pair[0].keep(5)
    pair[0].keep(11)
    pair[1].keep(20)
    pair[1].keep(21)
    run(pair, Arc(10, 20))
    assert both_hold(pair, 5) == [b"value", None]
    assert both_hold(pair, 11) == [b"value", b"value"]
    assert both_hold(pair, 20) == [b"value", b"value"]
    assert both_hold(pair, 21) == [None, b"value"]


def test_records_with_too_few_copies_stay_where_they_are(pair):
    pair[0].keep(1, copies=1)
    pair[0].keep(2, copies=2)
    pair[1].keep(3, copies=1)
    run(pair, least=2)
    assert [both_hold(pair, number) for number in (1, 2, 3)] == [[b"value", None], [b"value"] * 2, [None, b"value"]]


@pytest.mark.parametrize("wider", [0, 1])
def test_the_wider_replication_wins_on_both_sides(pair, wider):
    pair[wider].keep(1, copies=4)
    pair[1 - wider].keep(1, copies=2)
    run(pair, least=2)
    assert [actor.node.store.held(ident_bytes(1)).replication for actor in pair] == [4, 4]


def test_a_newer_version_is_told_of_even_when_it_has_fewer_copies(pair):
    pair[0].keep(1, b"older", age_ms=10, copies=4)
    pair[1].keep(1, b"newer", copies=1)
    run(pair, least=4)
    assert both_hold(pair, 1) == [b"newer", b"newer"]


def test_a_peer_that_holds_an_older_version_with_more_copies_is_given_the_newer_one(pair):
    """It was never among those that the newer one was put to."""
    pair[0].keep(1, b"new", copies=3)
    pair[1].keep(1, b"old", age_ms=10, copies=4)
    outcome = run(pair, least=4)
    assert (outcome.sent, outcome.received) == (1, 0)
    assert both_hold(pair, 1) == [b"new", b"new"]
    outcome = run(pair, least=4)
    assert (outcome.sent, outcome.received) == (0, 1), "and has as many copies from now on"
    assert run(pair, least=4).received == 0


def test_tombstones_travel(pair, world):
    """Or an older copy that a third node has would come back through the one that lacks the tombstone."""
    store, now_s = pair[0].node.store, pair[0].node.clock.lives_s()
    record = Record(ident_bytes(1), b"short", Version(1, 1), now_s + 1, 3, tombstone_until_s=now_s + 60)
    store.put(record)
    world.clock_s += 2
    store.expire(now_s + 2, 10)
    assert store.held(record.key).is_tombstone
    run(pair)
    held = pair[1].node.store.held(record.key)
    assert (held.is_tombstone, held.value) == (True, b"")
    assert held.tombstone_until_s == pytest.approx(now_s + 60, abs=0.01)


def test_what_is_over_is_neither_sent_nor_missed(pair, world):
    pair[0].keep(1, ttl_s=1)
    pair[1].keep(2, ttl_s=1)
    world.clock_s += 1
    assert run(pair).unconfirmed == {}
    assert [actor.node.store.count for actor in pair] == [1, 1]
    assert not world.asked(P2pTransfer)


def test_moving_a_record_does_not_stretch_its_life(pair, world):
    pair[0].keep(1, ttl_s=10)
    world.clock_s += 4
    run(pair)
    world.clock_s += 5.9
    assert both_hold(pair, 1) == [b"value", b"value"]
    world.clock_s += 0.1
    assert both_hold(pair, 1) == [None, None]


def test_a_peer_is_given_only_what_it_should_hold(pair):
    pair[0].keep(1, copies=1)
    pair[0].keep(2, copies=2)
    pair[1].keep(3, copies=1)
    run(pair, least=1, sends=2)
    assert [both_hold(pair, number) for number in (1, 2, 3)] == [[b"value", None], [b"value"] * 2, [b"value"] * 2]


def test_who_only_sends_takes_nothing(pair, world):
    pair[0].keep(1)
    pair[1].keep(2)
    run(pair, fetches=False)
    assert [both_hold(pair, number) for number in (1, 2)] == [[b"value", b"value"], [None, b"value"]]
    assert not world.asked(P2pFetch)


def test_what_the_peer_does_not_take_is_told(pair):
    pair[1].node.store.size_bytes_max = 0
    pair[0].keep(1, copies=3)
    outcome = run(pair)
    assert outcome.unconfirmed == {ident_bytes(1): 3}
    assert outcome.sent == 0


def test_what_is_moved_is_counted_by_keys_and_bytes(pair):
    pair[0].keep(1, b"12345")
    pair[1].keep(2, b"123")
    run(pair)
    stats, theirs = pair[0].node.stats, pair[1].node.stats
    assert stats.handoff_keys == {("sent", "repair"): 1, ("received", "repair"): 1}
    assert stats.handoff_bytes == {("sent", "repair"): 5, ("received", "repair"): 3}
    assert theirs.handoff_bytes == {("received", "transfer"): 5}


def test_a_peer_says_whether_it_had_all_of_the_arc(pair):
    assert run(pair, Arc(0, HALF)).complete
    assert not run(pair, Arc(IDENTS - 1, HALF)).complete
    pair[1].node.arc.doubt()
    assert not run(pair, Arc(0, HALF)).complete


def test_it_can_be_counted_what_a_peer_holds(pair):
    us, peer = pair
    peer.keep(1, copies=1)
    peer.keep(2, copies=2)
    assert [count_at(us, us.node, peer.me, CIRCLE, least) for least in (1, 2, 3)] == [2, 1, 0]


actions = st.lists(
    st.tuples(
        st.integers(0, 1), st.one_of(st.integers(0, 9), st.integers(0, 60)), st.integers(0, 3), st.integers(1, 4)
    ),
    max_size=60,
)


@settings(max_examples=80, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(actions, st.integers(1, 4), st.sampled_from([CIRCLE, Arc(HALF, HALF - 1), Arc(0, HALF), Arc(spread(1), 7)]))
def test_afterwards_both_hold_the_newest_of_what_either_held(puts, least, arc):
    world = World()
    pair = world.ideal(0, HALF)
    for side, number, age_ms, copies in puts:  # near each other, or anywhere
        pair[side].keep(number if number < 10 else spread(number), age_ms=age_ms, copies=copies)
    before = [versions(actor, least) for actor in pair]
    outcome = run(pair, arc, least)
    assert outcome.ended
    for key in before[0].keys() | before[1].keys():
        newest = max(held[key] for held in before if key in held)
        if arc.holds(int.from_bytes(key, "big")):
            assert all(versions(actor)[key] >= newest for actor in pair)
        else:
            assert [versions(actor, least).get(key) for actor in pair] == [held.get(key) for held in before]
    run(pair, arc, least)  # who took a newer version kept the wider replication of its older one: now that goes back
    world.calls.clear()
    assert run(pair, arc, least).received == 0
    assert not world.asked(P2pTransfer)


# What it costs --------------------------------------------------------------------------------------------------------


def fill(pair, records, *sides):
    for number in range(records):
        for side in sides:
            pair[side].keep(spread(number), b"v" * 100)


def cost_bytes(world):
    """The bytes of all requests so far."""
    return sum(len(encode_p2p(request, 1)) for _, _, request in world.calls)


def test_one_message_tells_that_nothing_differs(pair, world):
    fill(pair, 2000, 0, 1)
    run(pair)
    assert world.asked(P2pCompare) == [HALF]
    assert len(world.calls) == 1


def test_one_message_tells_that_the_peer_holds_just_its_part(pair, world):
    """A node that comes back has records that its successor never had: those with a single copy."""
    fill(pair, 300, 0, 1)
    for number in range(300, 600):
        pair[0].keep(spread(number), copies=1)
    run(pair, least=1, sends=2)
    assert len(world.calls) == 1


def test_the_cost_of_one_difference_hardly_grows_with_the_records(world, pair):
    costs = []
    for known, records in ((0, 500), (500, 8000)):
        for number in range(known, records):
            pair[0].keep(spread(number))
            pair[1].keep(spread(number))
        pair[0].keep(spread(100), b"newer", age_ms=-records)
        world.calls.clear()
        assert run(pair).sent == 1
        costs.append((len(world.calls), cost_bytes(world)))
    (few_messages, few_bytes), (many_messages, many_bytes) = costs
    assert many_messages <= few_messages + 2 <= 8
    assert few_bytes < 4_000
    assert many_bytes < 2 * few_bytes


def test_the_cost_follows_the_number_of_differences(world, pair):
    fill(pair, 8000, 0, 1)
    costs = []
    for round_number, differences in enumerate((10, 100), start=1):
        for number in range(differences):
            pair[number % 2].keep(spread(number), b"newer", age_ms=-round_number)
        world.calls.clear()
        outcome = run(pair)
        assert outcome.sent == outcome.received == differences // 2
        costs.append(cost_bytes(world))
    assert costs[0] < 10 * 3_000
    assert costs[1] < 100 * 2_000


def test_who_has_nothing_gets_it_all_without_a_search(pair, world):
    fill(pair, 1200, 1)
    assert run(pair).received == 1200
    assert len(world.asked(P2pCompare)) == 1
    assert len(world.asked(P2pReconcile)) == 38
    assert len(world.asked(P2pFetch)) == 13


def test_who_has_everything_gives_it_without_a_search(pair, world):
    fill(pair, 1200, 0)
    assert run(pair).sent == 1200
    assert len(world.asked(P2pCompare)) == 1
    assert len(world.asked(P2pReconcile)) == 38
    assert len(world.asked(P2pTransfer)) == 13
    assert not world.asked(P2pOffer)


def test_few_records_among_many_are_named_in_pieces_that_are_short_work(pair, world):
    """The other side has to look for each of them among many that are not asked for."""
    for number in range(2000):
        pair[1].keep(spread(number), copies=1 if number % 8 else 3)
    assert run(pair, least=2).received == 250
    assert len(world.asked(P2pReconcile)) == 8


def test_records_are_moved_in_short_messages_of_which_several_are_under_way(pair, world):
    for number in range(700):
        pair[number % 2].keep(spread(number))
    run(pair)
    assert max(len(request.keys) for request in requests(world, P2pFetch)) == 100
    assert max(len(request.records) for request in requests(world, P2pTransfer)) == 100
    assert len(pair[0].node.store.entries(b"", b"\xff" * 32, 1000)) == 700


def test_large_records_are_fetched_one_message_at_a_time(pair, world):
    for number in range(40):
        pair[1].keep(spread(number), b"v" * 60_000)
    assert run(pair).received == 40
    asked = [len(request.keys) for request in requests(world, P2pFetch)]
    assert asked == sorted(asked, reverse=True)
    assert max(asked) == 40


def test_records_crowded_into_one_place_are_named_and_not_searched(pair, world):
    for number in range(1500):
        pair[0].keep(number)
        pair[1].keep(number, age_ms=number == 700)
    assert run(pair).sent == 1
    assert len(world.asked(P2pReconcile)) == 8


def test_batches_are_bounded_by_bytes(pair, world):
    value = b"v" * 60_000
    for number in range(30):
        pair[number % 2].keep(spread(number), value)
    run(pair)
    assert len(world.asked(P2pFetch)) == 2
    for _, _, request in world.calls:
        assert len(encode_p2p(request, 1)) < BATCH_BYTES_MAX + 2 * len(value)


def test_pauses_leave_half_of_the_time_to_clients(pair, world):
    fill(pair, 1000, 0)
    world.script(HALF, lambda request: slowly(world, pair[1], request))
    began_s = world.clock_s
    run(pair)
    calls_s, pauses_s = 0.1 * len(world.calls), 0.1 * len(world.asked(P2pTransfer))
    assert world.clock_s - began_s == pytest.approx(calls_s + pauses_s)


def slowly(world, actor, request):
    world.clock_s += 0.1
    return handle(actor.node, actor.me, request, actor.node.clock.lives_s())


# When it goes wrong ---------------------------------------------------------------------------------------------------


def test_a_dead_peer_is_an_error(pair, world):
    world.kill(HALF)
    with pytest.raises(CallTimeout):
        run(pair)


def test_a_peer_that_is_about_to_leave_refuses(pair):
    pair[1].node.sealed = True
    with pytest.raises(RemoteError, match="about to leave"):
        run(pair)


def test_it_can_be_broken_off(pair, world):
    fill(pair, 100, 0)
    us, peer = pair
    turns = iter([True, False])
    outcome = reconcile(us, us.node, CIRCLE, Task(peer.me, 1), lambda: next(turns))
    assert not outcome.ended
    assert not world.asked(P2pReconcile)


def answers(pair, world, **replies):
    """The peer answers as it should, but for some kinds of requests."""
    by_name = {"compare": P2pCompare, "reconcile": P2pReconcile, "fetch": P2pFetch}
    lies = {by_name[name]: reply for name, reply in replies.items()}

    def answer(request):
        if type(request) in lies:
            return lies[type(request)](request)
        return handle(pair[1].node, pair[0].me, request, pair[1].node.clock.lives_s())

    world.script(HALF, answer)


@pytest.mark.parametrize("same", [(), (True, False)])
def test_answers_about_other_arcs_than_were_asked_for_are_refused(pair, world, same):
    answers(pair, world, compare=lambda request: P2pReplyCompare(True, same, (0,) * len(same)))
    with pytest.raises(RemoteProtocolError, match="arcs"):
        run(pair)


def full_page(request):
    """As many entries as fit into a reply, of keys just after the start of the arc."""
    return tuple(
        Entry(ident_bytes((request.start + 1 + index) % IDENTS), Version(1, 1), 3)
        for index in range(RECORDS_PER_MESSAGE_MAX)
    )


@pytest.mark.parametrize(
    "lie",
    [
        lambda request: P2pReplyReconcile(True, 7, (False,), ()),
        lambda request: P2pReplyReconcile(True, HALF + 1, (False,), full_page(request)),
    ],
    ids=["it stops half way for no reason", "it goes on beyond the arc"],
)
def test_a_peer_that_looks_elsewhere_is_refused(pair, world, lie):
    pair[0].keep(5)
    answers(pair, world, reconcile=lie)
    with pytest.raises(RemoteProtocolError):
        run(pair, Arc(0, HALF))


def test_what_was_not_asked_for_is_not_taken(pair, world):
    pair[1].keep(1)
    answers(pair, world, fetch=lambda request: P2pReplyFetch(1, (world.copy(2),)))
    assert run(pair).received == 0
    assert pair[0].holds(2) is None


def test_entries_outside_of_the_arc_are_not_fetched(pair, world):
    stray = Entry(ident_bytes(HALF + 5), Version(1, 1), 3)
    pair[0].keep(5)
    answers(pair, world, reconcile=lambda request: P2pReplyReconcile(True, request.end, (False,), (stray,)))
    assert run(pair, Arc(0, HALF)).received == 0
    assert not world.asked(P2pFetch)


def test_a_peer_that_delivers_nothing_of_what_it_named_holds_nobody_up(pair, world):
    fill(pair, 20, 1)
    answers(pair, world, fetch=lambda request: P2pReplyFetch(0, ()))
    assert run(pair).received == 0
    assert len(world.asked(P2pFetch)) == 20
