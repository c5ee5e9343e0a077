"""Random histories: a smoke selection of seeds; each failure prints the command that repeats it."""

from random import Random

import pytest

from gdht.sim.scenario import Plan, run_history


def some_plan(seed: int, **given: float) -> Plan:
    """A plan whose sizes and speeds the seed decides."""
    rng = Random(f"{seed}/plan")
    chosen = {
        "nodes": rng.choice([1, 2, 3, 5, 8, 16]),
        "length": rng.choice([2, 3, 4, 8]),
        "delay_s": rng.choice([0.005, 0.02, 0.05]),
        "step_s": rng.choice([0.1, 0.3, 1.0]),
        "steps": rng.choice([40, 80, 120]),
    }
    return Plan(seed=seed, **(chosen | given))


@pytest.mark.parametrize("seed", range(15))
def test_a_ring_stays_safe_and_becomes_ideal_and_keeps_what_it_acknowledged(seed):
    run_history(some_plan(seed))


@pytest.mark.parametrize("seed", range(100, 105))
def test_lost_messages_do_no_lasting_harm(seed):
    run_history(some_plan(seed, loss=0.03))


@pytest.mark.parametrize("seed", range(200, 204))
def test_clocks_that_differ_do_no_harm(seed):
    run_history(some_plan(seed, skew_s=2.0))


def test_a_ring_of_64_nodes_lives_through_churn():
    summary = run_history(Plan(seed=64, nodes=64, length=8, steps=60, step_s=0.1))
    assert summary.crashes + summary.leaves > 0
    assert summary.acknowledged > 0


@pytest.mark.parametrize(
    ("bug", "plan"),
    [
        ("copies were never dropped when replication was successors + 1", Plan(seed=6, nodes=16, steps=50, length=2)),
        (
            "an isolated node joined with the dead list that had isolated it, for ever",
            Plan(seed=25, nodes=5, steps=200, length=2, delay_s=0.005, loss=0.02, step_s=0.3),
        ),
        (
            "a first node founded a second ring as the way into the first was broken for a moment",
            Plan(seed=13, nodes=5, steps=120, length=2, step_s=0.3),
        ),
    ],
    ids=lambda value: "" if isinstance(value, Plan) else value.replace(" ", "_"),
)
def test_histories_that_once_failed(bug, plan):
    run_history(plan)


def test_the_command_of_a_plan_names_what_is_not_the_default():
    assert Plan().command == "python -m gdht.sim.scenario"
    assert Plan(seed=3, delay_s=0.5).command == "python -m gdht.sim.scenario --seed 3 --delay-s 0.5"
