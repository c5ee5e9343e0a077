"""Who is in the ring, and who is ready for clients: both follow the state, until the node has gone."""

import pytest

from gdht.node.express import own_records
from gdht.node.status import MEMBER_STATES, State


@pytest.fixture
def lone(world):
    """A member that is alone in its ring."""
    return world.ideal(20)[0].node


def test_a_node_that_has_not_begun_is_no_member(world):
    node = world.add(20).node
    assert node.state is State.STARTING
    assert (node.is_member, node.is_active) == (False, False)


@pytest.mark.parametrize("before", State)
@pytest.mark.parametrize("state", State)
def test_whether_it_is_a_member_and_active_follows_the_state(lone, before, state):
    lone.state = before
    lone.state = state
    assert lone.is_member == (state in MEMBER_STATES)
    assert lone.is_active == (state is State.ACTIVE)


def test_a_member_is_active_or_about_to_leave():
    assert set(MEMBER_STATES) == {State.ACTIVE, State.DRAINING, State.LEAVING}


@pytest.mark.parametrize("state", MEMBER_STATES)
def test_who_has_gone_is_no_member_whatever_its_state(lone, state):
    lone.state = state
    lone.go()
    assert lone.state is state
    assert (lone.is_member, lone.is_active) == (False, False)


@pytest.mark.parametrize("state", State)
def test_who_has_gone_does_not_come_back(lone, state):
    lone.go()
    lone.state = State.ISOLATED
    lone.state = state
    assert (lone.is_member, lone.is_active) == (False, False)


def test_who_has_gone_answers_nothing_at_once(lone):
    assert own_records(lone) is not None
    lone.go()
    assert own_records(lone) is None
