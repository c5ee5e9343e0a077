"""Small rings in every history: counts, that the ways of counting less are sound, and that what is broken is found."""

import logging
import sys

import pytest

from gdht.core.ident import IDENTS
from gdht.core.peer import Peer
from gdht.node import membership
from gdht.node.journal import Cause
from gdht.node.lookup import find_successor
from gdht.node.runtime import Runtime
from gdht.node.state import NodeState
from gdht.sim.exhaustive import __main__ as command
from gdht.sim.exhaustive.node import Ending, Local, NodeRunner, Steps
from gdht.sim.exhaustive.quiet import Quiet
from gdht.sim.exhaustive.search import DEPTH_MAX, Search, explore
from gdht.sim.exhaustive.world import Space, first_steps


@pytest.fixture(autouse=True)
def _quiet_log(caplog):
    """Steps warn of every dead peer, thousands of times."""
    caplog.set_level(logging.CRITICAL, logger="gdht")


# All is well ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("nodes", "length", "members", "depth", "states", "transitions"),
    [
        (1, 2, 1, DEPTH_MAX, 1, 0),
        (2, 2, 1, DEPTH_MAX, 15, 28),
        (3, 2, 1, DEPTH_MAX, 1279, 4669),
        (3, 3, 1, DEPTH_MAX, 1248, 4573),
        (4, 2, 1, 11, 2885, 8714),
        (4, 3, 1, 11, 2885, 8714),
        (4, 2, 3, DEPTH_MAX, 742, 3012),
        (5, 3, 4, DEPTH_MAX, 2640, 13064),
        (5, 2, 4, 10, 14454, 52935),
        (5, 2, 3, 11, 7587, 32668),
        (5, 3, 1, 8, 2689, 7264),
    ],
)
def test_no_history_of_a_small_ring_breaks_it(nodes, length, members, depth, states, transitions):
    """The counts are exact: whoever changes a step sees here that the histories are others, and how many."""
    found = explore(Space(nodes, length), members, depth)
    assert found.history == ()
    assert (found.states, found.transitions) == (states, transitions)
    assert found.complete == (depth == DEPTH_MAX)
    assert found.rounds_max <= nodes + length
    assert found.well


@pytest.mark.parametrize(
    ("nodes", "length", "members", "depth", "states", "transitions"),
    [
        (2, 2, 1, DEPTH_MAX, 20, 35),
        (3, 2, 1, 20, 1286, 4023),
        (4, 2, 3, DEPTH_MAX, 1760, 6512),
        (5, 3, 4, 15, 927, 4128),
    ],
)
def test_nor_does_one_whose_answers_are_old_when_they_are_read(nodes, length, members, depth, states, transitions):
    """Handlers answer with the old pointers while a step waits, and never with a refusal; that is safe, too."""
    found = explore(Space(nodes, length, late=True), members, depth)
    assert found.history == ()
    assert (found.states, found.transitions) == (states, transitions)
    assert found.rounds_max <= nodes + length


# Counting less --------------------------------------------------------------------------------------------------------


def explored(space: Space, members: int = 1) -> Search:
    search = Search(space, members)
    while search.frontier:
        search.deepen()
    return search


def met(space: Space) -> list[Local]:
    """Every node that an exploration met."""
    search = explored(space)
    return [space.local(number) for number in sorted({number for world in search.parents for number in world[:-1]})]


@pytest.mark.parametrize("base", [1, IDENTS // 3, IDENTS // 2, IDENTS - 1])
def test_a_step_is_the_same_at_every_turn_of_the_circle(base):
    """What makes the turns of a world one state: where zero lies, nothing depends on."""
    here, there = (NodeRunner(3, 2, Steps(), base) for base in (0, base))
    begun = 0
    for local in met(Space(3, 2)):
        for step in first_steps(local, 3):
            plain = here.begin(local, step)
            turned = there.begin(local, step)
            while plain.core.waiting and turned.core.waiting:
                assert plain.core.waiting.ask.target == turned.core.waiting.ask.target
                assert plain.core.pointers == turned.core.pointers
                plain, turned = here.resume(plain, Ending.REFUSED), there.resume(turned, Ending.REFUSED)
            assert plain == turned
            begun += 1
    assert begun > 50


def test_silence_leads_to_no_pointers_that_a_refusal_does_not_lead_to():
    """Why calls to the dead are refused in most explorations: half as many states, and none of them missing."""

    def pointers(endings: tuple[Ending, ...]) -> set[tuple]:
        space = Space(3, 2, endings=endings)
        return {
            tuple((space.local(number).core.life, space.local(number).core.pointers) for number in world[:-1])
            for world in explored(space).parents
        }

    def turns(found: set[tuple]) -> set[tuple]:
        return {world[turn:] + world[:turn] for world in found for turn in range(3)}

    assert turns(pointers(tuple(Ending))) == turns(pointers((Ending.REFUSED,)))


def test_a_world_and_its_turns_are_one():
    space = Space(4, 2)
    (start,) = space.start(1)
    places = start[:-1]
    assert {space.world(places[turn:] + places[:turn], 0) for turn in range(4)} == {start}


def test_the_ideal_ring_is_no_round_away_from_itself():
    space = Space(5, 2)
    assert [Quiet(space).rounds(world[:-1]) for world in space.start(4)] == [0]


# What is broken is found ----------------------------------------------------------------------------------------------


def stabilize_without_notifying(rt: Runtime, node: NodeState) -> None:
    if node.ring.successors:
        neighbours = membership.neighbours_of(rt, node, node.ring.first_successor)
        if neighbours is None:
            node.set_ring(node.ring.without(node.ring.first_successor), Cause.SUCCESSOR_LOST)


def join_with_the_first_answer(rt: Runtime, node: NodeState, contact: Peer) -> None:
    """What gdht once did: who lives is asked only after the list, so the list is out of date by then."""
    found = find_successor(rt, node, node.me.ident, purpose="join", strict=True, via=(contact,))
    successors = found.peers
    while len(successors) > 1 and membership.neighbours_of(rt, node, successors[0]) is None:
        successors = successors[1:]
    node.enter()
    node.set_ring(node.ring.with_successors(*successors).with_predecessors(found.responder), Cause.JOINED)


def test_a_join_with_a_list_that_is_out_of_date_is_found():
    found = explore(Space(5, 2, Steps(join=join_with_the_first_answer)), members=3, depth=10)
    assert (found.violations > 0, found.well) == (True, False)
    assert found.history[-1].startswith("principals")


def test_a_ring_that_does_not_become_ideal_is_found():
    found = explore(Space(2, 2, Steps(stabilize=stabilize_without_notifying)))
    assert (found.violations, found.rounds_max, found.well) == (0, None, False)
    assert found.history[-1] == "no ideal ring after quiet"


def test_a_node_that_gives_the_ring_up_is_found():
    found = explore(Space(2, 2, Steps(check_predecessor=lambda _, node: membership.isolate(node))))
    assert found.violations
    assert found.history[-1] == "isolated [none]: a member gave the ring up"


# The command ----------------------------------------------------------------------------------------------------------


def run(monkeypatch, capsys, *arguments: str) -> tuple[int, list[str]]:
    monkeypatch.setattr(sys, "argv", ["exhaustive", *arguments])
    return command.main(), capsys.readouterr().out.splitlines()


def test_the_command_prints_a_table(monkeypatch, capsys):
    code, lines = run(monkeypatch, capsys, "--nodes", "2", "--successors", "2", "--silent")
    assert code == 0
    assert lines[0].split() == command.COLUMNS.split()
    assert lines[1].split()[:3] == ["2", "2", "1"]
    assert lines[2:] == []


def test_the_command_tells_the_history_of_a_violation_and_fails(monkeypatch, capsys):
    broken = Steps(join=join_with_the_first_answer)
    monkeypatch.setattr(command, "Space", lambda nodes, length, **options: Space(nodes, length, broken, **options))
    code, lines = run(monkeypatch, capsys, "--nodes", "5", "--members", "3", "--depth", "10")
    assert code == 1
    assert lines[2].startswith("  1. ")
