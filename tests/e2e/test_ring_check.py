"""Is the ring right? Asked of real nodes while one of them hangs, comes back, and another dies."""

import json
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.e2e.harness import STEADY_NODES, Fleet, NodeProcess, clean_environ, clockwise, run, wait_until

NODES = 5
GDHT = (sys.executable, "-m", "gdht")


@pytest.fixture(scope="module")
def nodes(module_fleet: Fleet) -> list[NodeProcess]:
    """A ring of five, clockwise, for those that do something to it; each finds it whole."""
    return clockwise(module_fleet.ring(NODES))


def checked(node: NodeProcess) -> tuple[int, Any]:
    """Exit code and answer of `gdht ring check --json`."""
    done = run("ring", "check", "--json", "--admin", node.admin)
    assert done.stderr == b""
    return done.returncode, json.loads(done.stdout)


def wait_until_right(node: NodeProcess, members: int) -> None:
    """Until the check finds so many nodes and nothing wrong."""

    def is_right() -> bool:
        answer = node.json("ring/check")
        return bool(answer["consistent"]) and answer["nodes"] == members

    wait_until(is_right, f"{node.name} finds a right ring of {members}")


def test_every_node_finds_the_ring_right_and_says_so_with_exit_code_0(ring: list[NodeProcess]) -> None:
    for node in ring:
        wait_until_right(node, STEADY_NODES)
        done = run("ring", "check", "--admin", node.admin)
        assert (done.returncode, done.stderr) == (0, b"")
        assert done.stdout.startswith(b"The ring is right: 5 nodes seen in ")
    for node in ring:
        metrics = wait_until(lambda node=node: _with_verdict(node), f"{node.name} has looked around")
        assert metrics["gdht_ring_consistent"] == 1
        assert metrics["gdht_ring_second_ring_suspected"] == 0


def _with_verdict(node: NodeProcess) -> dict[str, float] | None:
    metrics = node.metrics()
    return metrics if "gdht_ring_consistent" in metrics else None


def test_a_ring_is_looked_at_while_clients_are_served(ring: list[NodeProcess]) -> None:
    keys = [random.randbytes(32) for _ in range(200)]
    with ring[0].connect() as client:
        client.put_all((key, b"x") for key in keys)
        assert ring[0].json("ring/check")["complete"]
        assert len(client.get_all(keys)) == len(keys)


def test_a_lone_node_is_a_right_ring(fleet: Fleet) -> None:
    lone = fleet.start()
    code, answer = checked(lone)
    assert (code, answer["consistent"], answer["nodes"]) == (0, True, 1)


def test_a_node_that_hangs_is_named_and_forgiven_when_it_is_back(nodes: list[NodeProcess]) -> None:
    asked, hangs = nodes[0], nodes[2]
    wait_until_right(asked, NODES)
    hangs.signal(signal.SIGSTOP)
    answer = wait_until(lambda: _if_wrong(asked), "the check says no")
    assert (answer["consistent"], answer["complete"]) == (False, True)
    silent = [one for one in answer["violations"] if one["invariant"] == "all_answer"]
    assert [one["node"] for one in silent] == [f"{hangs.ident:064x}"]
    assert silent[0]["detail"].startswith(f"{hangs.p2p}, ")
    wait_until_right(asked, NODES - 1)
    hangs.signal(signal.SIGCONT)
    for node in nodes:
        wait_until_right(node, NODES)


def _if_wrong(node: NodeProcess) -> Any:
    """The answer when the exit code says that the ring is wrong; a verdict is handed out again for a second."""
    code, answer = checked(node)
    return answer if code == 1 else None


def test_a_node_that_dies_leaves_a_right_ring_and_events_that_name_it(nodes: list[NodeProcess]) -> None:
    before, dies = nodes[1], nodes[2]
    wait_until_right(before, NODES)
    last = before.json("events")["last"]
    with _followed(before, last) as follower:
        dies.kill()
        wait_until_right(before, NODES - 1)
        line = follower.stdout.readline() if follower.stdout else b""
    event = json.loads(line)
    assert event["number"] == last + 1
    new = before.json(f"events?since={last}")["events"]
    lost = next(event for event in new if event["pointer"] == "successor")
    assert [peer["address"] for peer in lost["before"]] == [dies.p2p]
    assert [peer["address"] for peer in lost["after"]] == [nodes[3].p2p]
    assert lost["cause"] == "successor lost"
    assert run("ring", "check", "--admin", before.admin).returncode == 0


@contextmanager
def _followed(node: NodeProcess, since: int) -> Iterator["subprocess.Popen[bytes]"]:
    """`gdht events --follow --json` while the block runs."""
    command = ["events", "--follow", "--json", "--since", str(since), "--admin", node.admin]
    process = subprocess.Popen([*GDHT, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=clean_environ())
    try:
        yield process
    finally:
        process.kill()
        process.communicate()
