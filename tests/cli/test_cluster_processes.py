"""`gdht cluster` with real nodes: they form a ring, are seen to live and die, and none outlives the command."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gdht.client import Client, hash_key

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(90)]

RING_S_MAX = 40.0
END_S_MAX = 20.0
Json = dict[str, Any]


class Cluster:
    """A running `gdht cluster --json`, and handles on its nodes that stay theirs however they end."""

    def __init__(self, count: int, logs: Path) -> None:
        line = [sys.executable, "-m", "gdht", "cluster", str(count), "--json", "--log-dir", str(logs)]
        self.process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.started: list[Json] = self.read()["started"]
        self.nodes = [os.pidfd_open(node["pid"]) for node in self.started]

    def read(self) -> Json:
        """The next line; it comes within about a second."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"the cluster has ended: {self.process.communicate()[1]}"
        return json.loads(line)  # type: ignore[no-any-return]

    def read_until(self, fits: Callable[[list[Json]], bool]) -> list[Json]:
        """The rows of all nodes, once they fit."""
        deadline = time.monotonic() + RING_S_MAX
        while True:
            rows: list[Json] = self.read()["nodes"]
            if fits(rows):
                return rows
            assert time.monotonic() < deadline, rows

    def end(self, number: signal.Signals) -> str:
        """Send it a signal and wait for its end; what it wrote on standard error."""
        self.process.send_signal(number)
        return self.process.communicate(timeout=END_S_MAX)[1]

    def all_nodes_end(self) -> bool:
        """Whether every node's process ends in time."""
        return all(select.select([node], [], [], END_S_MAX)[0] for node in self.nodes)

    def clean_up(self) -> None:
        self.process.kill()
        self.process.communicate()
        for node in self.nodes:
            if not select.select([node], [], [], 0)[0]:
                signal.pidfd_send_signal(node, signal.SIGKILL)
            os.close(node)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    running = Cluster(3, tmp_path / "logs")
    yield running
    running.clean_up()


def is_ring(rows: list[Json]) -> bool:
    """Whether all are active, and each is the successor of exactly one other."""
    active = all(row["state"] == "active" for row in rows)
    return active and {row["successor"] for row in rows} == {f"node {row['node']}" for row in rows}


def test_three_nodes_form_a_ring_serve_and_are_all_taken_down_by_ctrl_c(cluster: Cluster) -> None:
    rows = cluster.read_until(is_ring)
    assert all(row["lookup_seconds"] is not None for row in rows if row["node"] != 1)
    key = hash_key("motd")
    with Client(cluster.started[0]["api_address"]) as client:
        client.put(key, b"hello")
    with Client(cluster.started[2]["api_address"]) as client:
        assert client.get(key) == b"hello"
    cluster.read_until(lambda rows: sum(row["owned"] for row in rows) == 1)
    assert "Traceback" not in cluster.end(signal.SIGINT)
    assert cluster.process.returncode == 0
    assert cluster.all_nodes_end()


def test_a_node_that_dies_is_shown_as_down_and_the_others_go_on(cluster: Cluster) -> None:
    cluster.read_until(is_ring)
    signal.pidfd_send_signal(cluster.nodes[1], signal.SIGKILL)
    rows = cluster.read_until(lambda rows: rows[1]["state"] == "down" and rows[0]["successor"] == "node 3")
    assert rows[1]["exit_code"] == -signal.SIGKILL
    assert (rows[0]["state"], rows[2]["state"]) == ("active", "active")
    cluster.end(signal.SIGTERM)
    assert cluster.process.returncode == 0
    assert cluster.all_nodes_end()


def test_no_node_outlives_a_cluster_that_is_killed(cluster: Cluster) -> None:
    cluster.read_until(is_ring)
    cluster.end(signal.SIGKILL)
    assert cluster.all_nodes_end()


def test_a_cluster_without_nodes_ends_with_exit_code_1(cluster: Cluster) -> None:
    for node in cluster.nodes:
        signal.pidfd_send_signal(node, signal.SIGKILL)
    output, errors = cluster.process.communicate(timeout=END_S_MAX)
    assert json.loads(output.splitlines()[-1]) == {"end": "All nodes are down."}
    assert (cluster.process.returncode, errors) == (1, "")


def test_a_ctrl_c_while_nodes_are_starting_leaves_none_behind(cluster: Cluster) -> None:
    cluster.end(signal.SIGINT)
    assert cluster.process.returncode == 0
    assert cluster.all_nodes_end()


@pytest.fixture
def own_logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which clusters make their own log directories."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


@pytest.fixture
def one(own_logs: Path) -> Iterator["subprocess.Popen[str]"]:
    """A cluster of one node with logs of its own, its node active."""
    line = [sys.executable, "-m", "gdht", "cluster", "1"]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    assert process.stdout is not None
    try:
        while "active" not in (shown := process.stdout.readline()):
            assert shown, "the cluster has ended"
        yield process
    finally:
        process.kill()
        process.communicate()


def test_logs_of_its_own_are_removed_after_a_clean_stop(own_logs: Path, one: "subprocess.Popen[str]") -> None:
    assert list(own_logs.glob("gdht-cluster-*/node-1.log"))
    one.send_signal(signal.SIGINT)
    assert one.communicate(timeout=END_S_MAX)[0].endswith("All nodes left; their logs are removed.\n")
    assert list(own_logs.iterdir()) == []


def test_logs_stay_when_a_node_died(own_logs: Path, one: "subprocess.Popen[str]") -> None:
    (log,) = own_logs.glob("gdht-cluster-*/node-1.log")
    children = Path(f"/proc/{one.pid}/task/{one.pid}/children").read_text().split()
    os.kill(int(children[0]), signal.SIGKILL)
    assert one.communicate(timeout=END_S_MAX)[0].endswith(f"Logs stay in {log.parent}.\n")
    assert log.exists()
