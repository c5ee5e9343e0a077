"""`gdht drain` and `gdht leave` against real processes: the operator's way to take a node out."""

import json
import random
import re
import signal

from tests.e2e.harness import (
    LEAVE_S_MAX,
    Fleet,
    NodeProcess,
    clockwise,
    ring_problems,
    run,
    wait_for_none,
    wait_until,
)

KEYS = [random.randbytes(32) for _ in range(300)]


def filled(nodes: list[NodeProcess]) -> None:
    """Put all keys through the first node, on two nodes each."""
    with nodes[0].connect() as client:
        client.put_all(((key, key) for key in KEYS), replication=2)


def all_found(nodes: list[NodeProcess]) -> bool:
    with nodes[0].connect() as client:
        return client.get_all(KEYS) == {key: key for key in KEYS}


def test_a_node_that_is_told_to_leave_hands_over_what_it_planned_and_ends(fleet: Fleet) -> None:
    nodes = fleet.ring(4)
    filled(nodes)
    leaver, rest = nodes[3], nodes[:3]
    plan = json.loads(run("leave", "--dry-run", "--json", "--admin", leaver.admin).stdout)
    assert {one["address"] for one in plan["receivers"]} <= {node.p2p for node in rest}
    assert plan["keys"] > 0
    done = run("leave", "--timeout", "20", "--admin", leaver.admin)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"It has left: ")
    assert leaver.wait_end() == 0
    assert all_found(rest)
    wait_for_none(lambda: ring_problems(rest))


def test_a_leaver_that_finds_no_taker_says_so(fleet: Fleet) -> None:
    nodes = fleet.ring(2)
    filled(nodes)
    nodes[0].kill()
    done = run("leave", "--timeout", "1", "--admin", nodes[1].admin)
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"300 records found no taker" in done.stderr
    assert nodes[1].wait_end() == 0


def test_a_signal_hands_over_all_though_the_first_successor_is_silent(fleet: Fleet) -> None:
    nodes = fleet.ring(5)
    filled(nodes)
    silent = clockwise(nodes, nodes[0].ident)[1]
    rest = [node for node in nodes[1:] if node is not silent]
    silent.signal(signal.SIGSTOP)
    nodes[0].signal(signal.SIGTERM)
    assert nodes[0].wait_end(LEAVE_S_MAX) == 0
    silent.signal(signal.SIGCONT)
    (told,) = re.findall(r"leaving with keys=(\d+) handed_over=(\d+) without_taker=(\d+)", nodes[0].log)
    keys, handed_over, without_taker = map(int, told)
    assert handed_over >= keys > 0
    assert without_taker == 0
    wait_for_none(lambda: ring_problems([*rest, silent]))
    assert all_found(rest)


def test_a_drained_node_serves_no_client_but_its_keys_are_found_through_others(fleet: Fleet) -> None:
    nodes = fleet.ring(3)
    filled(nodes)
    with nodes[1].connect() as client:
        assert client.get(KEYS[0]) == KEYS[0]
        done = run("drain", "--admin", nodes[1].admin)
    assert (done.returncode, done.stderr) == (0, b"")
    assert (nodes[1].ask("/livez").status, nodes[1].ask("/readyz").status) == (200, 503)
    assert run("get", "x", "--api", nodes[1].api).returncode == 1
    assert all_found([nodes[0]])
    assert nodes[1].json("ring")["node"]["state"] == "draining"


def test_a_put_says_on_how_many_nodes_its_value_is_and_after_a_crash_where_it_is_missing(fleet: Fleet) -> None:
    nodes = fleet.ring(3, "--stabilize-interval", "1")
    ports = ("--api", nodes[0].api, "--admin", nodes[0].admin)
    assert run("put", "motd", "x", *ports).stdout == b"Stored on 3 of 3 replicas.\n"
    nodes[1].kill()

    def verdict() -> str:
        done = run("where", "motd", "--json", "--admin", nodes[0].admin)
        return str(json.loads(done.stdout)["verdict"])

    wait_until(lambda: "2 of 2 nodes" in verdict() and "the ring has no more nodes" in verdict(), "the verdict follows")
