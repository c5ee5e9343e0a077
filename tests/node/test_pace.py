"""Work in short turns: nobody waits for longer than a turn, and short work is not interrupted."""

import pytest

from gdht.node.pace import STEADY, TURN_S, Pace


class Clock:
    """A clock that work moves on, and a count of how often others ran."""

    def __init__(self):
        self.now_s = 0.0
        self.turns = 0

    def give_way(self):
        self.turns += 1
        self.now_s += 5.0


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def pace(clock):
    return Pace(lambda: clock.now_s, clock.give_way)


def test_short_work_is_not_interrupted(clock, pace):
    for _ in pace.over(range(10)):
        clock.now_s += TURN_S / 20
    assert clock.turns == 0


def test_others_run_after_each_turn_and_a_turn_begins_when_they_have(clock, pace):
    for _ in pace.over(range(9)):
        clock.now_s += TURN_S / 2
    assert clock.turns == 3


def test_every_thing_comes_once_and_in_order(clock, pace):
    clock.now_s = 100.0
    assert list(pace.over("abc")) == ["a", "b", "c"]


def test_who_works_steadily_never_gives_way():
    assert list(STEADY.over(range(3))) == [0, 1, 2]
