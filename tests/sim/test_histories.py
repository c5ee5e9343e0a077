"""Random histories of every family: a smoke selection of seeds; each failure prints the command that repeats it.

`make simulate` runs many more. Every seed that ever found a bug stays here, with what it found.
"""

import re
import subprocess
import sys
from dataclasses import replace

import pytest

from gdht.node import membership
from gdht.node.status import State
from gdht.sim.disk import SimDisk
from gdht.sim.scenario import Plan, draw, run_history
from gdht.sim.scheduler import SimulationFailed
from gdht.sim.suspicions import compare, false_suspicions


@pytest.mark.parametrize("seed", range(9))
def test_while_the_proofs_assumptions_hold_the_ring_is_safe_at_every_moment(seed):
    run_history(draw("safe", seed))


@pytest.mark.parametrize("seed", range(6))
def test_what_the_network_and_the_machines_do_to_a_ring_does_no_lasting_harm(seed):
    run_history(draw("rough", seed))


@pytest.mark.parametrize("seed", range(4))
def test_a_ring_that_lost_too_many_at_once_owns_up_to_it_and_recovers(seed):
    run_history(draw("breaking", seed))


@pytest.mark.parametrize("seed", range(4))
def test_the_parts_of_a_parted_ring_go_on_and_become_one_again(seed):
    run_history(draw("partition", seed))


@pytest.mark.parametrize("seed", range(8))
def test_whatever_crashes_and_comes_back_nothing_acknowledged_is_lost_if_there_are_disks(seed):
    run_history(draw("durable", seed))


@pytest.mark.parametrize("seed", range(4))
def test_lives_end_when_they_should_while_nodes_come_and_go(seed):
    run_history(draw("expiry", seed))


def test_a_ring_of_64_nodes_lives_through_churn():
    summary = run_history(Plan(seed=64, nodes=64, length=8, steps=60, step_s=0.1))
    assert summary.crashes + summary.leaves > 0
    assert summary.acknowledged > 0


def test_nodes_that_know_they_are_late_seldom_drop_the_living():
    patient = hasty = 0
    for seed in range(3):
        comparison = compare(draw("laggards", seed))
        patient += false_suspicions(comparison.patient)
        hasty += false_suspicions(comparison.hasty)
        assert comparison.patient.dropped_healthy == 0
    assert 3 * patient < 2 * hasty


FEW_COPIES = replace(draw("expiry", 30028), nodes=3, length=4, replication=1, skew_s=300.0, keys=2)


@pytest.mark.parametrize(
    ("bug", "plan"),
    [
        ("copies were never dropped when replication was successors + 1", Plan(seed=6, nodes=16, steps=50, length=2)),
        (
            "an isolated node joined with the dead list that had isolated it, for ever",
            Plan(family="rough", seed=25, nodes=5, steps=200, length=2, delay_s=0.005, loss=0.02, step_s=0.3),
        ),
        (
            "a first node founded a second ring as the way into the first was broken for a moment",
            Plan(seed=13, nodes=5, steps=120, length=2, step_s=0.3),
        ),
        ("isolated nodes of one part were remembered, but never told by whom", draw("partition", 10009)),
        ("all of a part stayed isolated, as nobody told them of the others", draw("partition", 10035)),
        ("the injector took six of ten nodes, as it had not seen that the ring was grown", draw("safe", 109)),
        ("a leaver whose successors were all dead took the last copy with it", draw("rough", 7)),
        ("a leaver that was isolated over its leave took the last copy with it", draw("rough", 15)),
        ("a leaver answered as the owner until a dead node would have heard its goodbye", draw("expiry", 40)),
        ("a leaver answered as the owner, and others took puts for its arc", draw("expiry", 95)),
        ("restarts soon after each other let stamps run ahead by ten seconds each", draw("durable", 268)),
        ("stamps far ahead beat what was put later", draw("durable", 409)),
        ("a node whose neighbours refused waited ten seconds for the dead one among them, twice", draw("rough", 331)),
        ("what had expired was counted as lost", draw("expiry", 82)),
        ("the last member, with a list of the dead, was taken for a ring", draw("durable", 366)),
        ("a node was to find the ring through a list of the dead", draw("safe", 150)),
        ("two neighbours left at once, and who knew only them was told by one", draw("expiry", 3020)),
        ("the injector did not see whom the list of a leaver skips, before another pulled it", draw("safe", 3526)),
        ("the injector let a node leave whose list a newcomer took", draw("expiry", 3525)),
        ("two crashed at once before they had written down that they were no longer alone", draw("durable", 3017)),
        ("with the owner dead, one old copy was enough when nobody else was known", draw("durable", 37)),
        ("the wait of a put for its stamp was added to its life", draw("durable", 186)),
        ("a newcomer was told to found a ring while the true one was down", draw("durable", 3097)),
        ("a newcomer founded a ring, and was asked after the true one had come back", draw("durable", 3694)),
        ("the time until a slow node took a put up was counted as its life", draw("rough", 3163)),
        ("while two of three holders stood still, the third was to know better", draw("laggards", 20304)),
        ("what was lost was owed again once something new was put", draw("breaking", 40160)),
        ("while two rings merged, everything was to be read", draw("partition", 40112)),
        ("with slow messages, all were to be sure of their records at one moment", draw("rough", 40117)),
        ("what was put in a ring of one beside the ring was to be read at once", draw("rough", 50038)),
        ("a record on its way from its owner to a newcomer was found with neither", FEW_COPIES),
    ],
    ids=lambda value: "" if isinstance(value, Plan) else value.replace(" ", "_"),
)
def test_histories_that_once_failed(bug, plan):
    run_history(plan)


def test_the_command_of_a_plan_names_what_its_seed_does_not_draw():
    assert draw("rough", 7).command == "python -m gdht.sim.scenario --family rough --seed 7"
    changed = replace(draw("rough", 7), loss=0.5, nodes=7)
    assert changed.command == "python -m gdht.sim.scenario --family rough --seed 7 --nodes 7 --loss 0.5"


def test_the_command_of_a_plan_that_was_made_up_runs_just_that_plan():
    plan = Plan(seed=2, nodes=3, steps=10)
    command = [sys.executable, *plan.command.split()[1:]]
    printed = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    assert f"{plan}\n" in printed


def test_a_soak_of_a_few_seconds_ends_with_a_table_and_no_violation():
    command = [sys.executable, "-m", "gdht.sim.soak", "--minutes", "0.05", "--processes", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    last = done.stdout.splitlines()[-1].split()
    assert last[0] == "all"
    assert int(last[1]) > 0


# The checks can fail --------------------------------------------------------------------------------------------------


def test_a_candidate_adopted_without_its_list_is_found_out(monkeypatch):
    """What the 2001 protocol does: the list of a successor that may be dead by now is not asked for."""

    def adopt(rt, node, candidates, cause):
        if candidates and membership._is_closer(node, candidates[0]):
            node.set_ring(node.ring.with_successors(candidates[0]), cause)

    monkeypatch.setattr(membership, "adopt_closer", adopt)
    assert "live_successor" in first_failure("safe")


def test_a_node_that_hides_its_isolation_is_found_out(monkeypatch):
    monkeypatch.setattr("gdht.node.state.MEMBER_STATES", tuple(set(State) - {State.STARTING, State.JOINING}))
    assert "isolated" in first_failure("breaking") or "lost everybody" in first_failure("breaking")


def test_rings_that_do_not_look_for_each_other_are_found_out(monkeypatch):
    monkeypatch.setattr("gdht.node.tasks.look_for_others", lambda rt, node: None)
    assert "ideal_successors" in first_failure("partition")


def test_records_that_nobody_repairs_are_found_out(monkeypatch):
    monkeypatch.setattr("gdht.node.tasks.repair", lambda rt, node: 0)
    assert "replica" in first_failure("safe")


def test_a_disk_that_forgets_is_found_out(monkeypatch):
    monkeypatch.setattr(SimDisk, "applying", lambda disk, batch: lambda: None)
    assert "there is nothing" in first_failure("durable")


def test_acknowledging_before_the_disk_has_it_is_found_out(monkeypatch):
    monkeypatch.setattr("gdht.node.handlers.when_durable", lambda store, reply, refused: reply)
    assert re.search("had replaced|there is nothing", first_failure("durable", **SLOW_DISKS))


SLOW_DISKS = {"nodes": 1, "length": 3, "steps": 150, "step_s": 0.2, "skew_s": 0.0, "keys": 3, "sync_s": 0.3}


def first_failure(family: str, **options: float) -> str:
    """What is said of the first seed that fails."""
    for seed in range(12):
        try:
            run_history(replace(draw(family, seed), **options))
        except SimulationFailed as error:
            return str(error)
    return "none"
