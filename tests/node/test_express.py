"""Plans for requests that take one round trip, and what their answers settle; the rest goes on the long way."""

from contextlib import suppress
from random import Random
from typing import NamedTuple

import pytest

from gdht.core.ident import IDENTS, ident_bytes
from gdht.core.messages import VALUE_BYTES_MAX, FailureReason, P2pFailure, P2pGet, P2pPut, P2pSuccess
from gdht.core.placement import view_of
from gdht.core.records import CLOCK_AHEAD_S_MAX, TTL_MS_MAX, Record
from gdht.core.ring import Ring
from gdht.errors import CallTimeout, StoreError
from gdht.node.express import intake, judge_put, own_records, plan_get, plan_put
from gdht.node.handlers import handle
from gdht.node.journal import Cause
from gdht.node.replication.get import Asked, GetOutcome, finish_get, try_get
from gdht.node.replication.put import Begun, PutOutcome, finish_put, put
from gdht.node.status import State
from tests.node.conftest import World, version

SUCCESS_3 = PutOutcome("success", 3, 3)


@pytest.fixture
def ring(world):
    """Twenty members, 10 to 200, with lists of three."""
    return world.ideal(*range(10, 201, 10))


@pytest.fixture
def ten(ring, key):
    """The member at 10, which has put 115 before, and so has heard of its owner, 120, and those after it."""
    assert put(ring[0], ring[0].node, key(115), b"before", 60, 3) == SUCCESS_3
    ring[0].world.calls.clear()
    return ring[0]


def owners(plan):
    return [peer.ident for peer in plan.peers]


def carry_out(actor, plan):
    """What becomes of the writes of a plan."""
    outcomes = []
    for index, peer in enumerate(plan.peers):
        request = plan.request(index)
        own = peer == actor.me
        now_s = actor.node.clock.lives_s()
        outcomes.append(
            handle(actor.node, actor.me, request, now_s) if own else actor.world.ask(actor.me, peer, request)
        )
    return tuple(outcomes)


# Plans ----------------------------------------------------------------------------------------------------------------


def test_a_get_goes_to_the_owner_that_was_heard_of(ten, key, at):
    assert plan_get(ten.node, key(115)) == at(120)


def test_there_is_no_plan_for_a_place_nobody_was_heard_of_or_that_is_our_own(ten, key):
    assert plan_get(ten.node, key(75)) is None
    assert plan_get(ten.node, key(5)) is None


def test_a_node_that_is_no_member_has_no_plans(ten, key):
    ten.node.state = State.ISOLATED
    assert plan_get(ten.node, key(115)) is None
    assert plan_put(ten.node, key(115), b"v", 60, 3) is None


def test_a_put_goes_to_the_owner_and_those_after_it_and_only_the_owner_is_asked_as_such(ten, key, at):
    plan = plan_put(ten.node, key(115), b"v", 60, 3)
    assert owners(plan) == [120, 130, 140]
    requests = [plan.request(index) for index in range(3)]
    assert [request.as_owner for request in requests] == [True, False, False]
    assert plan.view == view_of((at(130), at(140)))
    assert {request.version for request in requests} == {plan.copy.version}


def test_a_put_of_what_we_own_goes_to_us_and_those_after_us(ring, key):
    assert owners(plan_put(ring[0].node, key(5), b"v", 60, 3)) == [10, 20, 30]


def test_a_put_in_a_ring_smaller_than_its_copies_goes_to_the_whole_ring(world, key):
    ten, _ = world.ideal(10, 20)
    assert owners(plan_put(ten.node, key(15), b"v", 60, 3)) == [20, 10]
    assert owners(plan_put(ten.node, key(5), b"v", 60, 3)) == [10, 20]


def test_a_lone_node_writes_to_itself(world, key):
    (lone,) = world.ideal(10)
    assert owners(plan_put(lone.node, key(15), b"v", 60, 3)) == [10]


def test_there_is_no_plan_for_more_copies_than_nodes_are_known(ten, key):
    assert plan_put(ten.node, key(115), b"v", 60, 4).peers
    ten.node.known_arcs.forget(ten.world.actors[140].me)
    assert plan_put(ten.node, key(115), b"v", 60, 4) is None


def test_defaults_and_bounds_of_a_put_are_as_on_the_long_way(ten, key):
    plan = plan_put(ten.node, key(115), b"v", 0, 0)
    assert (plan.copy.ttl_ms, plan.copy.replication) == (3_600_000, 3)
    assert plan_put(ten.node, key(115), bytes(VALUE_BYTES_MAX + 1), 60, 3) is None


# Verdicts -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def begun(ten, key):
    """A put of 115 as it was planned, and its outcomes when all goes well."""
    plan = plan_put(ten.node, key(115), b"v", 60, 3)
    return plan, carry_out(ten, plan)


def test_a_put_that_all_replicas_stored_is_a_success_and_counted(ten, begun):
    acknowledged = ten.node.stats.put_acknowledged_replicas.count
    assert judge_put(ten.node, *begun) == SUCCESS_3
    assert ten.node.stats.put_acknowledged_replicas.count == acknowledged + 1
    assert ten.node.stats.replica_writes["ok"] == 6


@pytest.mark.parametrize("index", range(3))
@pytest.mark.parametrize(
    "spoil",
    [
        lambda _: CallTimeout("silent"),
        lambda receipt: P2pFailure(receipt.key, FailureReason.STORE_FULL, ""),
        lambda receipt: receipt._replace(version=receipt.version._replace(stamp=receipt.version.stamp + 1)),
        lambda receipt: receipt._replace(replication=4),
        lambda receipt: receipt._replace(tombstone_ms=5000),
    ],
)
def test_a_put_of_which_one_answer_leaves_anything_open_is_not_settled(ten, begun, index, spoil):
    plan, outcomes = begun
    spoilt = (*outcomes[:index], spoil(outcomes[index]), *outcomes[index + 1 :])
    assert judge_put(ten.node, plan, spoilt) is None


def test_a_put_whose_owner_names_other_replicas_is_not_settled(ten, begun):
    plan, outcomes = begun
    assert judge_put(ten.node, plan, (outcomes[0]._replace(view=1), *outcomes[1:])) is None


def test_the_views_of_others_than_the_owner_do_not_count(ten, begun):
    plan, outcomes = begun
    assert judge_put(ten.node, plan, (outcomes[0], outcomes[1]._replace(view=1), outcomes[2])) == SUCCESS_3


# Going on the long way ------------------------------------------------------------------------------------------------


def finish(actor, plan, outcomes):
    return finish_put(actor, actor.node, Begun(plan.copy, plan.peers, outcomes, actor.now()))


def test_a_put_that_two_of_three_stored_is_a_success_without_another_round(ten, begun):
    plan, outcomes = begun
    ten.world.calls.clear()
    silent = (*outcomes[:2], CallTimeout("140 is silent"))
    assert finish(ten, plan, silent) == PutOutcome("success", 2, 3)
    assert ten.world.asked(P2pPut) == []


def test_a_put_whose_owner_was_wrong_is_written_to_the_right_one_in_the_same_version(ten, begun, key):
    plan, outcomes = begun
    wrong = (P2pFailure(key(115), FailureReason.NOT_RESPONSIBLE, ""), *outcomes[1:])
    ten.world.calls.clear()
    assert finish(ten, plan, wrong) == SUCCESS_3
    writes = [request for _, _, request in ten.world.calls if isinstance(request, P2pPut)]
    assert len(writes) == 3
    assert {write.version for write in writes} == {plan.copy.version}


def test_a_put_that_met_a_newer_version_outbids_it(ten, begun):
    plan, outcomes = begun
    newer = plan.copy.version._replace(stamp=plan.copy.version.stamp + 5)
    assert finish(ten, plan, (outcomes[0]._replace(version=newer), *outcomes[1:])) == SUCCESS_3
    assert all(ten.world.actors[ident].holds(115) == b"v" for ident in (120, 130, 140))


def test_a_put_that_nobody_took_is_tried_again_and_a_failure_is_written_down(ten, begun, key):
    plan, _ = begun
    ten.world.kill(*range(20, 201, 10))
    outcome = finish(ten, plan, tuple(CallTimeout("silent") for _ in plan.peers))
    assert outcome.result == "timeout"
    assert [(one.operation, one.key) for one in ten.node.failures.all()] == [("put", key(115))]


def test_a_get_whose_owner_was_wrong_is_looked_up(ten, key, at):
    refusal = P2pFailure(key(115), FailureReason.NOT_RESPONSIBLE, "")
    found = finish_get(ten, ten.node, key(115), Asked(at(120), refusal, 0.0))
    assert found == GetOutcome("success", b"before")
    assert ten.node.stats.route_cache["stale"] == 1


def test_a_get_whose_owner_is_silent_finds_a_replica_without_asking_the_owner_again(ten, key, at):
    ten.world.kill(120)
    found = finish_get(ten, ten.node, key(115), Asked(at(120), CallTimeout("silent"), 0.0))
    assert found == GetOutcome("success", b"before")
    assert 120 not in ten.world.asked(P2pGet)


def test_a_get_that_the_owner_has_nothing_for_asks_the_replicas_as_before(ten, key, at):
    nothing = P2pFailure(key(116), FailureReason.NOT_FOUND, "")
    found = finish_get(ten, ten.node, key(116), Asked(at(120), nothing, 0.0))
    assert found == GetOutcome("not_found", None)
    assert 130 in ten.world.asked(P2pGet)


def test_receipts_of_a_put_name_the_replicas_that_the_owner_sees(ten, begun, at):
    _, outcomes = begun
    assert isinstance(outcomes[0], P2pSuccess)
    assert [outcome.view for outcome in outcomes] == [view_of((at(130), at(140))), 0, 0]


# Own values -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sure_from", [None, 200, 3, 8, 10, 150])
@pytest.mark.parametrize("leased_from", [200, 6, 10])
@pytest.mark.parametrize("accepted", [True, False])
def test_what_is_answered_at_once_is_what_the_long_look_at_each_key_answers(
    ring, key, sure_from, leased_from, accepted
):
    """(200, 10] is ours, as far as we are sure of it and have a lease of it."""
    ten = ring[0]
    for number in (1, 5, 7, 9, 10, 11, 150, 199, 200, 201):
        ten.keep(number)
    ten.node.arc.sure_from, ten.node.arc.leased_from, ten.node.arc.accepted = sure_from, leased_from, accepted
    now_s = ten.node.clock.lives_s()
    own = own_records(ten.node)
    for number in (1, 5, 7, 9, 10, 11, 150, 199, 200, 201):
        found = try_get(ten.node, key(number), now_s)
        assert (own.value(key(number)) if own else None) == (found.value if found else None), number


@pytest.fixture
def changes(ten, at):
    """What may change of what a node owns, each as one step."""
    node = ten.node
    node.arc.lease_s = 3.0
    return {
        "nothing": lambda: None,
        "time": lambda: ten.sleep(1.0),
        "lease over": lambda: setattr(node.arc, "leased_until_s", -1.0),
        "lease renewed": lambda: node.confirm_arc(at(200), ten.now()),
        "lease of a part": lambda: node.confirm_arc(at(5), ten.now()),
        "not accepted": lambda: node.arc.accept(False),
        "accepted": lambda: node.arc.accept(True),
        "joined anew": node.enter,
        "doubt": node.arc.doubt,
        "sure of all": lambda: node.arc.make_sure(200),
        "sure of a part": lambda: node.arc.make_sure(5),
        "newcomer before us": lambda: node.set_ring(node.ring.with_predecessors(at(7), at(200)), Cause.NOTIFIED),
        "predecessor unknown": lambda: node.set_ring(node.ring.with_predecessors(), Cause.NOTIFIED),
        "predecessor back": lambda: node.set_ring(node.ring.with_predecessors(at(200)), Cause.NOTIFIED),
        "alone": lambda: node.set_ring(Ring(node.me, 3), Cause.GOODBYE),
        "in a ring": lambda: node.set_ring(node.ring.with_successors(at(20), at(30)), Cause.JOINED),
        "draining": lambda: setattr(node, "state", State.DRAINING),
        "active": lambda: setattr(node, "state", State.ACTIVE),
    }


@pytest.mark.parametrize("seed", range(60))
def test_what_is_remembered_of_what_we_own_is_never_out_of_date(ten, key, changes, seed):
    """Looked at after some of the changes only, so that what is remembered may be from several before."""
    node, rng = ten.node, Random(seed)
    for number in NEAR_TEN:
        ten.keep(number)
    for _ in range(30):
        change = rng.choice([*changes])
        changes[change]()
        if rng.random() < 0.5:
            continue
        remembered, node.own = own_records(node), None
        anew, node.own = own_records(node), remembered
        assert told(remembered, key) == told(anew, key), change


NEAR_TEN = (1, 5, 6, 7, 8, 10, 11, 150, 200, 201)


def told(own, key):
    """What is answered at once of some keys."""
    return own and [(own.value(key(number)), own.record(key(number)), own.owns(key(number))) for number in NEAR_TEN]


def test_while_nothing_changes_it_is_worked_out_once(ten):
    own = own_records(ten.node)
    ten.sleep(1.0)
    assert own_records(ten.node) is own
    assert own.now_s == ten.node.clock.lives_s()


# Writes of others -----------------------------------------------------------------------------------------------------

NODES = {
    "a member": lambda actor: None,
    "drains": lambda actor: setattr(actor.node, "state", State.DRAINING),
    "leaves": lambda actor: setattr(actor.node, "state", State.LEAVING),
    "is sealed": lambda actor: setattr(actor.node, "sealed", True),
    "has lost the ring": lambda actor: setattr(actor.node, "state", State.ISOLATED),
    "has gone": lambda actor: actor.node.go(),
    "has no lease": lambda actor: setattr(actor.node.arc, "leased_until_s", -1.0),
    "is not accepted": lambda actor: actor.node.arc.accept(False),
    "is unsure": lambda actor: actor.node.arc.doubt(),
    "is sure of a part": lambda actor: actor.node.arc.make_sure(14),
}
OWN, OTHER = (12, 13, 14, 15, 16, 17), (9, 25)
"""Keys of the node at 20, and of others."""

AGES_MS = (0, 1, 1000, -1000)
ODDITIES = [
    *({"number": number} for number in OTHER),
    *({"value": value} for value in (b"", bytes(600))),
    {"age_ms": -2 * int(CLOCK_AHEAD_S_MAX * 1000)},
    *({"ttl_ms": ttl_ms} for ttl_ms in (0, 1, 500, 50_000_000, TTL_MS_MAX, TTL_MS_MAX + 1, 2**32 - 1)),
    *({"replication": replication} for replication in (0, 1, 5, 255)),
    *({"tombstone_ms": tombstone_ms} for tombstone_ms in (1, 70_000, 2**32 - 1)),
]
"""What may be out of the ordinary of a write."""


class Written(NamedTuple):
    """A write of another node."""

    number: int
    age_ms: int
    as_owner: bool
    value: bytes = b"value"
    ttl_ms: int = 60_000
    replication: int = 3
    tombstone_ms: int = 0


def some_write(rng):
    """Most are ordinary, or odd in one way."""
    write = Written(rng.choice(OWN), rng.choice(AGES_MS), rng.random() < 0.5)
    for _ in range(rng.choice((0, 0, 1, 1, 2))):
        write = write._replace(**rng.choice(ODDITIES))
    return write


@pytest.mark.parametrize("seed", range(300))
def test_writes_taken_in_a_read_at_a_time_come_to_the_same_as_by_the_handler_alone(seed):
    """Two equal nodes get the same reads, with some time between them."""
    one, other = (node_at_20(Random(seed)) for _ in range(2))
    rng = Random(f"reads {seed}")
    for _ in range(6):
        after_s = rng.choice((0.0, 0.25, 45.0))
        for actor in (one, other):
            actor.world.clock_s += after_s
        writes = [some_write(rng) for _ in range(rng.randint(1, 4))]
        copies = [(copy_of(one.world, write), write.as_owner) for write in writes]
        by_handler_alone = [by_handler(one, copy, as_owner) for copy, as_owner in copies]
        assert list(map(same_life, in_one_read(other, copies), by_handler_alone)) == by_handler_alone
        assert everything(other) == everything(one)
    assert other.node.clock.stamp() == one.node.clock.stamp()


def node_at_20(rng):
    """A node in a world of its own, with little or much room, some records, and often in an odd state."""
    actor = World().ideal(10, 20, 30, 40, 50, max_store_bytes=rng.choice((2000, 1 << 20)))[1]
    now_s = actor.node.clock.lives_s()
    for number in rng.sample(OWN + OTHER, rng.randint(0, 4)):
        until_s = rng.choice((0.0, 0.0, now_s + 20.0, now_s + 50_000.0))
        lives_s = rng.choice((-1.0, 0.0005, 30.0, 3600.0))
        stamped, replication = version(actor.world, rng.choice(AGES_MS)), rng.choice((1, 3, 5))
        record = Record(ident_bytes(number), b"kept", stamped, now_s + lives_s, replication, until_s)
        actor.node.store.put(record.buried() if until_s and rng.random() < 0.5 else record)
    NODES[rng.choice(["a member", *NODES])](actor)
    return actor


def copy_of(world, write):
    copy = world.copy(write.number, write.value, write.age_ms, write.ttl_ms, write.replication)
    return copy._replace(tombstone_ms=write.tombstone_ms)


def in_one_read(actor, copies):
    """The answers to writes of which those in front are taken in, as by `gdht.net.peer_connection`."""
    answers = []
    taking = intake(actor.node)
    with suppress(StoreError):
        for copy, as_owner in copies if taking else ():
            receipt = taking.take(copy, as_owner)
            if receipt is None:
                break
            answers.append(receipt)
    return answers + [by_handler(actor, copy, as_owner) for copy, as_owner in copies[len(answers) :]]


def same_life(answer, like):
    """An answer with as much life as another one, when it is the same to a millisecond."""
    if type(answer) is type(like) is P2pSuccess and abs(answer.ttl_ms - like.ttl_ms) <= 1:
        return answer._replace(ttl_ms=like.ttl_ms)
    return answer


def everything(actor):
    """All that a write may change, but for the clock."""
    node = actor.node
    records = node.store.scan(b"", ident_bytes(IDENTS - 1), 100)
    return records, node.store.size_bytes, dict(node.stats.store_rejected_writes), node.doubted, node.contacts


def test_what_is_as_most_are_is_taken_at_once(ring, world, at):
    twenty = ring[1]
    twenty.keep(15, age_ms=1000, ttl_s=1.0)
    for number in (14, 15):
        receipt = at_once(twenty, world.copy(number), as_owner=True)
        assert receipt.view == view_of((at(30), at(40)))
        assert twenty.holds(number) == b"value"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda node: setattr(node, "sealed", True),
        lambda node: setattr(node, "state", State.ISOLATED),
        lambda node: node.go(),
    ],
)
def test_a_node_that_takes_no_records_takes_none_at_once(ring, spoil):
    spoil(ring[1].node)
    assert intake(ring[1].node) is None


@pytest.mark.parametrize("number", [9, 25])
def test_a_write_to_the_owner_of_what_we_do_not_own_is_left_to_the_handler(ring, world, number):
    assert at_once(ring[1], world.copy(number), as_owner=True) is None
    assert ring[1].holds(number) is None


@pytest.mark.parametrize("kind", ["drains", "has no lease", "is not accepted", "is unsure"])
def test_a_node_that_is_not_sure_of_its_arc_leaves_writes_to_the_owner_to_the_handler(ring, world, kind):
    NODES[kind](ring[1])
    assert at_once(ring[1], world.copy(15), as_owner=True) is None
    assert at_once(ring[1], world.copy(15), as_owner=False) is not None


def test_a_full_store_refuses_what_is_taken_at_once(world):
    (lone,) = world.ideal(20, max_store_bytes=1000)
    with pytest.raises(StoreError, match="at its limit"):
        intake(lone.node).take(world.copy(15, value=bytes(1000)), as_owner=False)
    assert lone.node.store.count == 0


def at_once(actor, copy, as_owner):
    """The receipt; None when the write is left to the handler."""
    return intake(actor.node).take(copy, as_owner)


def by_handler(actor, copy, as_owner):
    request = P2pPut(**copy._asdict(), as_owner=as_owner)
    return handle(actor.node, actor.me, request, actor.node.clock.lives_s())
