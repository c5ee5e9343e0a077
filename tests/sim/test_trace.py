"""The digest tells two runs apart exactly when something happened differently."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from gdht.sim.families import FAMILIES
from gdht.sim.scenario import Plan, draw, run_history
from gdht.sim.trace import TAIL_EVENTS, Trace


def digest_of(*events: tuple) -> str:
    trace = Trace()
    for event in events:
        trace.note(*event)
    return trace.digest


EVENT = (1.0, "crash", "10.0.0.1:6000", "why")


def test_the_same_events_have_the_same_digest():
    assert digest_of(EVENT, EVENT) == digest_of(EVENT, EVENT)


@pytest.mark.parametrize(
    "other",
    [
        (1.0000001, "crash", "10.0.0.1:6000", "why"),
        (1.0, "leave", "10.0.0.1:6000", "why"),
        (1.0, "crash", "10.0.0.2:6000", "why"),
        (1.0, "crash", "10.0.0.1:6000", "wh"),
        (1.0, "crash", "10.0.0.1:6000w", "hy"),
    ],
)
def test_any_difference_changes_the_digest(other):
    assert digest_of(EVENT) != digest_of(other)


def test_the_tail_is_bounded_and_readable():
    trace = Trace()
    for second in range(2 * TAIL_EVENTS):
        trace.note(float(second), "crash", "10.0.0.1:6000", "why")
    trace.frame(99.5, "P2pPing", "10.0.0.2:6000", bytes(12))
    assert len(trace.tail) == TAIL_EVENTS
    assert trace.tail[-1].split() == ["99.500000", "10.0.0.2:6000", "P2pPing", "12", "bytes"]
    assert trace.events == 2 * TAIL_EVENTS + 1


def replay(plan: Plan, hash_seed: str) -> str:
    """What the plan's own command line prints."""
    command = [sys.executable, *plan.command.split()[1:]]
    environ = os.environ | {"PYTHONHASHSEED": hash_seed}
    return subprocess.run(command, env=environ, check=True, capture_output=True, text=True, timeout=60).stdout


@pytest.mark.parametrize("family", FAMILIES)
def test_a_plan_decides_every_event_under_any_hash_seed(family):
    plan = replace(draw(family, 5), nodes=6, steps=30)
    first, second = replay(plan, "0"), replay(plan, "1")
    assert first == second
    assert run_history(plan).digest in first


def test_another_seed_is_another_history():
    assert run_history(Plan(seed=1, nodes=3, steps=20)).digest != run_history(Plan(seed=2, nodes=3, steps=20)).digest
