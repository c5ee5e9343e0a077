"""How long peers take: what is remembered of it, and what follows from that; and the budget beside."""

from math import inf
from random import Random

import pytest

from gdht.node import latency as latency_module
from gdht.node.budget import Budget
from gdht.node.latency import ANSWERS_MIN, Latency

DRAWS = {
    "steady": lambda rng: 0.02,
    "uniform": lambda rng: rng.uniform(0.01, 0.03),
    "normal": lambda rng: max(rng.gauss(0.02, 0.004), 0.0),
    "exponential": lambda rng: rng.expovariate(50),
}


@pytest.fixture
def latency():
    return Latency()


def tell(latency, peer, *seconds, times=ANSWERS_MIN):
    for one in seconds * times:
        latency.note(peer, one)


def test_of_a_peer_with_few_answers_nothing_is_said(latency, at):
    tell(latency, at(1), 0.02, times=ANSWERS_MIN - 1)
    assert latency.mean_s(at(1)) is latency.p95_s(at(1)) is latency.p95_s(at(2)) is latency.typical_p95_s is None
    assert latency.usual_s(at(1)) == inf


@pytest.mark.parametrize("name", DRAWS)
def test_about_95_of_100_answers_come_within_the_95th_percentile(latency, at, name):
    rng = Random(1)
    late = 0
    for number in range(5000):
        seconds = DRAWS[name](rng)
        late += number >= 100 and seconds > latency.p95_s(at(1))
        latency.note(at(1), seconds)
    assert late / 4900 <= 0.08
    assert latency.mean_s(at(1)) == pytest.approx(0.02, rel=0.6)


def test_it_follows_a_peer_that_has_become_slow(latency, at):
    tell(latency, at(1), 0.02, times=50)
    tell(latency, at(1), 0.3, times=20)
    assert latency.mean_s(at(1)) > 0.25


def test_of_an_unknown_peer_the_average_is_expected(latency, at):
    tell(latency, at(1), 0.01)
    tell(latency, at(2), 0.03)
    assert latency.expected_s(at(3)) == latency.expected_s(None) == pytest.approx(0.02, rel=0.3)
    assert latency.expected_s(at(1)) == pytest.approx(0.01)


def test_one_slow_peer_is_not_typical(latency, at):
    for ident in range(1, 8):
        tell(latency, at(ident), 0.3 if ident == 4 else 0.02)
    assert latency.typical_p95_s < 0.05
    assert latency.usual_s(at(4)) == latency.typical_p95_s
    assert latency.p95_s(at(4)) >= 0.3


def test_nor_is_the_slower_one_of_two(latency, at):
    tell(latency, at(1), 0.3)
    tell(latency, at(2), 0.02)
    assert latency.usual_s(at(1)) < 0.05


def test_a_near_peer_is_late_by_its_own_measure(latency, at):
    for ident in range(1, 8):
        tell(latency, at(ident), 0.005 if ident == 4 else 0.08)
    assert latency.usual_s(at(4)) < 0.01


def test_only_so_many_peers_are_remembered_those_heard_of_last(monkeypatch, at):
    latency = Latency(peers_max=2)
    for ident in (1, 2, 3):
        tell(latency, at(ident), 0.02)
    assert [latency.mean_s(at(ident)) is not None for ident in (1, 2, 3)] == [False, True, True]


def test_who_remembers_none_finds_all_alike(at):
    latency = Latency(peers_max=0)
    tell(latency, at(1), 0.01)
    tell(latency, at(2), 0.03)
    assert latency.expected_s(at(1)) == latency.expected_s(at(2))
    assert latency.usual_s(at(1)) == inf


def test_what_is_typical_is_worked_out_now_and_then(monkeypatch, at):
    monkeypatch.setattr(latency_module, "TYPICAL_EVERY", 5)
    latency = Latency()
    assert latency.typical_p95_s is None
    tell(latency, at(1), 0.02)
    assert latency.typical_p95_s is None
    latency.note(at(1), 0.02)
    assert latency.typical_p95_s == pytest.approx(0.026)


# Budget ---------------------------------------------------------------------------------------------------------------


def test_what_is_spent_stays_a_share_of_the_work():
    budget = Budget(0.1, 5)
    spent = 0
    for _ in range(1000):
        budget.earn()
        spent += budget.spend()
    assert 100 <= spent <= 105


def test_no_more_is_saved_up_than_allowed():
    budget = Budget(1, 3)
    for _ in range(100):
        budget.earn()
    assert [budget.spend() for _ in range(5)] == [True, True, True, False, False]
