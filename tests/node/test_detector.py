"""Who is given up, who is only slow, and when it is ourselves who are."""

import pytest

from gdht.core.messages import ErrorReason, P2pAck, P2pError, P2pPing
from gdht.errors import CallNotSent, CallTimeout, PeerSilent, PeerUnreachable, RemoteError
from gdht.node.detector import CALLS_MAX, lives, reach
from gdht.node.health import LATE_RATIO, PATIENCE, SCORE_MAX, Health

TIMEOUT_S = 2.0


@pytest.fixture
def node(world):
    return world.ideal(10, 20)[0]


def test_a_peer_that_answers_lives(world, node, at):
    assert lives(node, node.node, at(20))
    assert world.asked(P2pPing) == [20]


def test_a_refused_connection_is_death_at_once(world, node, at):
    world.script(20, PeerUnreachable("refused"))
    assert not lives(node, node.node, at(20))
    assert world.asked(P2pPing) == [20]


def test_one_that_is_no_member_any_more_is_given_up_at_once(world, node, at):
    world.script(20, P2pError(ErrorReason.NOT_JOINED, "isolated"))
    assert not lives(node, node.node, at(20))


def test_silence_is_death_only_in_two_calls(world, node, at):
    world.kill(20)
    assert not lives(node, node.node, at(20))
    assert world.asked(P2pPing) == [20] * PATIENCE
    assert node.node.stats.suspicions == {"confirmed": 1}
    assert node.node.health.score == 0, "the peer is dead; nothing points at us"


def test_who_answers_the_second_call_was_doubted_wrongly(world, node, at):
    answers = [CallTimeout("late"), P2pAck()]
    world.script(20, lambda request: answers.pop(0))
    assert lives(node, node.node, at(20))
    assert node.node.stats.suspicions == {"refuted": 1}
    assert node.node.health.score == 1


def test_silence_that_we_slept_through_does_not_count(world, node, at):
    """The process was stopped: the timer comes late, the answer may lie in the socket already."""

    def sleep_through(request):
        if len(world.calls) <= 2:
            world.clock_s += 3 * TIMEOUT_S
            return CallTimeout("late")
        return P2pAck()

    world.script(20, sleep_through)
    assert lives(node, node.node, at(20))
    assert len(world.calls) == 3
    assert node.node.health.score == SCORE_MAX


def test_even_an_observer_that_is_always_late_comes_to_an_end(world, node, at):
    def sleep_through(request):
        world.clock_s += 3 * TIMEOUT_S
        return CallTimeout("late")

    world.script(20, sleep_through)
    assert not lives(node, node.node, at(20))
    assert len(world.calls) == CALLS_MAX


def test_a_mere_refusal_is_told_apart_from_death(world, node, at):
    world.script(20, P2pError(ErrorReason.OVERLOAD, "busy"))
    assert lives(node, node.node, at(20))
    with pytest.raises(RemoteError):
        reach(node, node.node, at(20), P2pPing())


@pytest.mark.parametrize("reason", [ErrorReason.NOT_JOINED, ErrorReason.OVERLOAD])
def test_a_refusal_that_comes_in_time_shows_that_we_keep_up(world, node, at, reason):
    """Else a node all of whose neighbours are gone would wait ever longer for each of them."""
    node.node.health.woke(TIMEOUT_S)
    world.script(20, P2pError(reason, "no"))
    lives(node, node.node, at(20))
    assert node.node.health.score == SCORE_MAX - 1


def test_a_refusal_of_the_second_call_shows_that_we_are_slow(world, node, at):
    answers = [CallTimeout("late"), P2pError(ErrorReason.NOT_JOINED, "isolated")]
    world.script(20, lambda request: answers.pop(0))
    assert not lives(node, node.node, at(20))
    assert node.node.health.score == 1


def test_what_was_not_sent_says_nothing_of_the_peer(world, node, at):
    world.script(20, CallNotSent("too much under way"))
    assert lives(node, node.node, at(20))


# The score ------------------------------------------------------------------------------------------------------------


def test_a_healthy_node_waits_its_configured_timeout():
    assert Health(TIMEOUT_S).timeout_s == TIMEOUT_S


def test_lag_stretches_the_timeout_up_to_a_bound_and_answers_shrink_it_again():
    health = Health(TIMEOUT_S)
    assert health.woke(LATE_RATIO * TIMEOUT_S)
    assert health.timeout_s == 2 * TIMEOUT_S
    assert health.woke(100.0)
    assert health.timeout_s == (1 + SCORE_MAX) * TIMEOUT_S
    for _ in range(SCORE_MAX + 1):
        health.answered()
    assert health.timeout_s == TIMEOUT_S


@pytest.mark.parametrize("late_s", [0.0, -1.5, 0.9 * LATE_RATIO * TIMEOUT_S])
def test_a_timer_in_time_is_no_lag(late_s):
    health = Health(TIMEOUT_S)
    assert not health.woke(late_s)
    assert health.score == 0


def test_a_connection_that_does_not_come_about_is_silence_and_waited_for(world, node, at):
    """Said at once, from memory or for want of a route: that is no call without an answer yet."""
    world.script(20, PeerSilent("no route"))
    assert not lives(node, node.node, at(20))
    assert world.asked(P2pPing) == [20] * PATIENCE
    assert world.clock_s == PATIENCE * TIMEOUT_S
