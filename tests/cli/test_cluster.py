"""`gdht cluster`: its ports, rows and lines, with nodes that are only numbers; real ones: test_cluster_processes."""

import json
import os
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from gdht.cli.cluster import Watcher, cluster
from gdht.cli.processes import FREE_PORTS, NODES_MAX, Child, Ports, make_ports, one_per_core
from gdht.cli.views import JsonView, LineView, Row, TableView
from gdht.config import Address
from gdht.errors import ListenError

NODE = {
    "node": {"id": "ab" * 32, "p2p_address": "127.0.0.1:9000", "state": "active"},
    "keys": {"owned": 3, "replica": 4},
    "successors": [{"id": "cd" * 32, "address": "127.0.0.1:9010"}],
    "lookup_seconds": {"get": {"count": 2, "mean": 0.010}, "put": {"count": 0, "mean": None}},
}


class Process:
    """A process that runs until it is told an exit code."""

    pid = 4711
    code: int | None = None

    def poll(self) -> int | None:
        return self.code


@pytest.fixture
def make_child(tmp_path: Path) -> Callable[..., Child]:
    def make(admin_url: str = "http://127.0.0.1:1", log: str = "") -> Child:
        path = tmp_path / "node-1.log"
        path.write_text(log)
        host, port = admin_url.removeprefix("http://").split(":")
        ports = Ports(Address(host, 9000), Address(host, 9001), Address(host, int(port)))
        process: subprocess.Popen[bytes] = Process()  # type: ignore[assignment]
        return Child(1, ports, path, process)

    return make


# Ports ----------------------------------------------------------------------------------------------------------------


def test_every_node_has_ten_ports_and_uses_the_first_three() -> None:
    assert make_ports(2, 20000) == [
        Ports(Address("127.0.0.1", 20000), Address("127.0.0.1", 20001), Address("127.0.0.1", 20002)),
        Ports(Address("127.0.0.1", 20010), Address("127.0.0.1", 20011), Address("127.0.0.1", 20012)),
    ]


def test_free_ports_lie_below_those_of_outgoing_connections() -> None:
    ports = make_ports(5, None)
    assert all(one.p2p.port in FREE_PORTS and one.admin.port in FREE_PORTS for one in ports)


def test_without_a_number_there_is_a_node_for_each_core(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: set(range(6)))
    context = cluster.make_context("cluster", [])
    assert context.params["nodes"] == 6


def test_a_machine_of_very_many_cores_gets_as_many_nodes_as_there_may_be(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: set(range(256)))
    assert one_per_core() == NODES_MAX


def test_ports_beyond_the_last_one_are_refused() -> None:
    assert make_ports(1, 65533)[0].admin.port == 65535
    with pytest.raises(ValueError, match="2 nodes from 65531 on go up to 65543"):
        make_ports(2, 65531)


def test_a_port_in_use_is_named_before_anything_starts(run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ListenError, match=f"127.0.0.1:{port}"):
            make_ports(1, port)
        result = run("cluster", "1", "--base-port", str(port))
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"Error: cannot listen on 127.0.0.1:{port} (Address already in use)")


@pytest.mark.parametrize(
    "line",
    [("0",), ("101",), ("many",), ("2", "--base-port", "65530"), ("2", "--ring", ""), ("2", "--replication", "20")],
)
def test_what_cannot_be_a_cluster_is_wrong_use(run, line: tuple[str, ...]) -> None:
    result = run("cluster", *line)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Error: " in result.stderr


def test_a_log_dir_that_cannot_be_made_is_wrong_use(run, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = run("cluster", "1", "--log-dir", str(tmp_path / "file" / "logs"))
    assert result.exit_code == 2
    assert "--log-dir" in result.stderr


# Looking --------------------------------------------------------------------------------------------------------------


def test_a_node_is_described_by_its_admin_port(make_child, admin_script) -> None:
    server = admin_script(body=json.dumps(NODE).encode())
    watcher = Watcher(make_child(server.url), {"127.0.0.1:9010": "node 2"})
    assert watcher.look() == Row(1, "active", None, "ab" * 32, 3, 4, "node 2", 0.010)


def test_the_last_lookup_is_the_mean_of_those_since_the_look_before(make_child, admin_script) -> None:
    server = admin_script(body=json.dumps(NODE).encode())
    watcher = Watcher(make_child(server.url), {})
    watcher.look()
    later = {**NODE, "lookup_seconds": {"get": {"count": 3, "mean": 0.020}}}
    server.answer = (200, json.dumps(later).encode(), "application/json")
    assert watcher.look().lookup_seconds == pytest.approx(0.040)
    assert watcher.look().lookup_seconds == pytest.approx(0.040)


def test_a_stranger_as_successor_is_shown_by_its_identifier(make_child, admin_script) -> None:
    server = admin_script(body=json.dumps(NODE).encode())
    assert Watcher(make_child(server.url), {}).look().successor == "cdcdcdcdcdcd"


def test_a_node_is_starting_until_it_answers_and_then_it_does_not_answer(make_child, admin_script) -> None:
    server = admin_script(503, b"{}")
    watcher = Watcher(make_child(server.url), {})
    assert watcher.look() == Row(1, "starting", None)
    server.answer = (200, json.dumps(NODE).encode(), "application/json")
    watcher.look()
    server.answer = (503, b"{}", "application/json")
    row = watcher.look()
    assert row.state == "no answer"
    assert "503" in row.detail


def test_a_dead_node_is_down_with_exit_code_and_the_end_of_its_log(make_child) -> None:
    child = make_child(log="started\nError: cannot listen\n\n")
    child.process.code = 1
    row = Watcher(child, {}).look()
    assert (row.condition, row.detail) == ("down, exit 1", "Error: cannot listen")


def test_of_a_node_that_was_killed_the_signal_is_told_and_not_what_it_said_last(make_child) -> None:
    child = make_child(log="joined ring=default\n")
    child.process.code = -signal.SIGKILL
    row = Watcher(child, {}).look()
    assert (row.condition, row.detail) == ("down, exit -9", "killed by SIGKILL")


def test_more_copies_than_its_nodes_allow_is_wrong_use(run) -> None:
    result = run("cluster", "3", "--replication", "9")
    assert result.exit_code == 2
    assert "9 is not in the range 1<=x<=8" in result.stderr


def test_a_dead_node_without_a_log_has_nothing_to_say(make_child) -> None:
    child = make_child()
    child.process.code = 1
    assert Watcher(child, {}).look().detail == ""


# Showing --------------------------------------------------------------------------------------------------------------

ROW = Row(1, "active", None, "ab" * 32, 3, 4, "node 2", 0.010)
DOWN = Row(1, "down", 1, detail="Error: \x1b[31mcannot listen")


def test_lines_say_where_first_and_then_only_what_changes(make_child, tmp_path: Path, capsys) -> None:
    with LineView([make_child()], tmp_path) as view:
        for row in (ROW, ROW, DOWN, DOWN):
            view.show([row])
        view.end("Stopping.")
    assert capsys.readouterr().out.splitlines() == [
        "1 node; API: 127.0.0.1:9001; pages: http://127.0.0.1:1/admin/",
        f"Logs are in {tmp_path}; Ctrl-C stops all.",
        "node 1: active, 3 owned, 4 replica, successor node 2",
        "node 1: down, exit 1: Error: ?[31mcannot listen",
        "Stopping.",
    ]


def test_json_is_one_object_per_line_and_begins_with_the_places(make_child, tmp_path: Path, capsys) -> None:
    with JsonView([make_child()], tmp_path) as view:
        view.show([ROW])
        view.show([ROW])
        view.end("Stopping.")
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[0]["started"][0]["api_address"] == "127.0.0.1:9001"
    assert lines[1] == lines[2]
    assert (lines[1]["nodes"][0]["node_id"], lines[1]["nodes"][0]["lookup_seconds"]) == ("ab" * 32, 0.010)
    assert lines[3] == {"end": "Stopping."}


def test_the_table_fits_eighty_columns(make_child, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gdht.cli.tables.PLAIN_COLUMNS", 80)
    with TableView([make_child()], tmp_path) as view:
        view.show([ROW])
        view.show([DOWN])
        view.end("Stopping.")
    output = capsys.readouterr().out
    assert "down, exit 1" in output
    assert "node 1: Error: ?[31mcannot listen" in output
    table = output.partition("Ctrl-C stops all.\n")[2]
    assert max(map(len, table.splitlines())) <= 80
