"""Plans for requests that take one round trip, and what their answers settle; the rest goes on the long way."""

import pytest

from gdht.core.messages import VALUE_BYTES_MAX, FailureReason, P2pFailure, P2pGet, P2pPut, P2pSuccess
from gdht.core.placement import view_of
from gdht.errors import CallTimeout
from gdht.node.express import judge_put, own_records, plan_get, plan_put
from gdht.node.handlers import handle
from gdht.node.replication.get import Asked, GetOutcome, finish_get, try_get
from gdht.node.replication.put import Begun, PutOutcome, finish_put, put
from gdht.node.status import State

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
