"""How much a node takes at once, in a clock of our own: a bound on time, that some slow ones do not lower."""

from collections import deque
from types import SimpleNamespace

import pytest

from gdht.net.admission import LATE_S, ONE_PEER_SHARE, Admission

STEP_S = 0.001
MOST, LEAST = 2048, 512


class Request:
    def __init__(self, started_s: float) -> None:
        self.started_s = started_s
        self.frame: bytes | None = None


class World:
    """Requests come at a rate; those that are taken are answered in turn, so many in each step."""

    def __init__(self) -> None:
        self.admission = Admission(MOST, LEAST)
        self.now_s = 1000.0
        self.queue: deque[Request] = deque()
        self.refused = self.answered = 0
        self.longest_s = 0.0

    def run(self, seconds: float, come: int, answer: int) -> None:
        self.refused = self.answered = 0
        self.longest_s = 0.0
        for _ in range(round(seconds / STEP_S)):
            self.now_s += STEP_S
            for _ in range(come):
                self.come()
            for _ in range(min(answer, len(self.queue))):
                self.answer(self.queue.popleft())

    def come(self) -> None:
        request = Request(self.now_s)
        if self.admission.admit(request):
            self.queue.append(request)
        else:
            self.refused += 1

    def answer(self, request: Request) -> None:
        request.frame = b""
        self.admission.under_way -= 1
        self.answered += 1
        self.longest_s = max(self.longest_s, self.now_s - request.started_s)


@pytest.fixture
def world() -> World:
    return World()


def test_as_many_as_may_be_are_taken_and_one_more_when_one_is_answered(world):
    for _ in range(MOST + 3):
        world.come()
    assert (world.refused, len(world.queue)) == (3, MOST)
    world.answer(world.queue.popleft())
    world.come()
    world.come()
    assert world.refused == 4


def test_what_is_answered_in_time_is_all_admitted(world):
    world.run(5, come=20, answer=20)
    assert world.refused == 0
    assert world.admission.under_way_max == MOST


@pytest.mark.parametrize("times", [2, 4, 10])
def test_of_more_than_can_be_served_so_much_is_taken_as_is_answered_in_time(world, times):
    world.run(1, come=8 * times, answer=8)
    world.run(5, come=8 * times, answer=8)
    assert world.longest_s < 2 * LATE_S
    assert world.answered == 5 / STEP_S * 8, "nothing is lost by refusing the others"


def test_where_everything_takes_long_a_few_are_taken_all_the_same(world):
    world.run(5, come=20, answer=1)
    assert LEAST <= world.admission.under_way_max < 1.5 * LEAST
    assert world.answered == 5 / STEP_S


def test_once_the_load_is_over_nothing_is_refused(world):
    world.run(2, come=80, answer=8)
    assert world.refused
    world.run(2 * LATE_S, come=0, answer=8)
    world.run(2, come=7, answer=8)
    assert world.refused == 0


def test_a_bound_that_was_lowered_rises_again_at_work_and_after_a_pause(world):
    world.run(2, come=80, answer=2)
    assert world.admission.under_way_max < MOST / 2
    world.run(3, come=5, answer=10)
    assert world.admission.under_way_max == MOST
    world.run(2, come=80, answer=2)
    world.run(60, come=0, answer=10)
    world.come()
    assert world.admission.under_way_max == MOST


def test_one_node_of_four_that_stands_still_has_nothing_refused_while_there_is_room(world):
    stuck = []
    for number in range(3000):
        world.now_s += STEP_S
        world.come()
        request = world.queue.popleft()
        if number % 4:
            world.answer(request)
        else:
            stuck.append(request)
    assert world.refused == 0
    assert world.admission.under_way_max == MOST
    assert world.admission.under_way == len(stuck) == 750


def test_what_is_refused_once_it_was_taken_does_not_count_as_answered():
    admission = Admission()
    request = SimpleNamespace(started_s=1.0, frame=None)
    assert admission.admit(request)
    admission.discount(request)
    admission.under_way -= 1
    assert admission._admitted - admission.under_way == 0
    assert not admission._looked_at


def test_what_may_wait_for_one_node_goes_with_the_bound():
    admission = Admission()
    before = admission.one_peer_max
    assert before == ONE_PEER_SHARE * admission.under_way_max
    admission._late_share = 1.0
    admission._adjust(LATE_S, answered=600)
    assert admission.one_peer_max == ONE_PEER_SHARE * admission.under_way_max < before


def test_what_is_remembered_to_be_looked_at_stays_little(world):
    world.run(3, come=200, answer=1)
    assert len(world.admission._looked_at) < 40


def test_a_node_is_pressed_when_much_is_under_way_or_the_bound_is_lowered(world):
    assert not world.admission.is_pressed
    for _ in range(LEAST + 1):
        world.come()
    assert world.admission.is_pressed
    world.answer(world.queue.popleft())
    assert not world.admission.is_pressed
    world.admission.under_way_max = MOST / 2
    assert world.admission.is_pressed
