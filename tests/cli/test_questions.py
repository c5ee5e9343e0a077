"""`gdht status`, `ring`, `where` and `trace` against the real admin port, over a node made of plain values."""

import json
import re
import socket
from dataclasses import replace

import pytest

from gdht.cli.admin_port import parse_admin
from gdht.client import hash_key
from gdht.core.ident import ident_hex
from gdht.core.peer import Peer
from gdht.node.keys import Holder
from gdht.node.stats import Stats
from gdht.node.status import Walk, WalkedNode
from tests.cli.fake_ring import FAR, ME, NEXT, reply_of, stat, status_of_me

# What is shown --------------------------------------------------------------------------------------------------------


def test_status_shows_who_where_and_how(ask) -> None:
    result = ask("status")
    assert (result.exit_code, result.stderr) == (0, "")
    for words in (
        ident_hex(ME.ident),
        "active",
        "1h 2m",
        "12 owned, 7 replica",
        "success 41",
        "mean 12.5 ms",
        "50.0 %",
    ):
        assert words in result.stdout
    assert "ok: turned 0.1 s ago" in result.stdout
    assert "FAILED: 9.0 s ago" in result.stdout


def test_status_of_a_lone_new_node_needs_no_neighbours(ask, node) -> None:
    node[1].status = replace(status_of_me(), predecessors=(), successors=(), fingers=(), consistent=None, stats=Stats())
    result = ask("status")
    assert result.exit_code == 0
    assert "unknown" not in result.stdout
    assert re.search(r"^predecessor +- *$", result.stdout, re.MULTILINE)


def test_status_tells_of_trouble_only_when_there_is_some(ask, node) -> None:
    quiet = ask("status").stdout
    assert "agree" in quiet
    for words in ("lost", "SECOND RING", "health", "DO NOT AGREE"):
        assert words not in quiet
    node[1].status = replace(status_of_me(), consistent=False, lost=(NEXT, FAR), second_ring=(FAR,), health_score=2)
    loud = ask("status").stdout
    for words in (
        "DO NOT AGREE",
        f"800000000000 at {NEXT.address}, c00000000000",
        "SECOND RING",
        "waits 3 times as long",
    ):
        assert words in loud


def test_ring_lists_every_node_and_why_one_is_silent(ask) -> None:
    result = ask("ring")
    assert (result.exit_code, result.stderr) == (0, "")
    assert ident_hex(ME.ident)[:12] in result.stdout
    assert "no answer: timed out" in result.stdout
    assert "25.0 %" in result.stdout


def test_one_is_singular(ask, node) -> None:
    node[1].status = replace(status_of_me(), estimated_nodes=1.2)
    node[1].hops = node[1].hops[:1]
    assert "about 1 node\n" in re.sub(" +\n", "\n", ask("status").stdout)
    assert ": 1 hop, " in ask("trace", "motd").stdout


def test_a_walk_that_does_not_close_is_shown_and_is_exit_code_1(ask, node) -> None:
    node[1].walked = replace(node[1].walked, complete=False)
    result = ask("ring")
    assert result.exit_code == 1
    assert NEXT.address in result.stdout
    assert result.stderr.startswith("The walk did not come full circle")


def test_where_shows_who_should_hold_a_key_and_who_does(ask, node) -> None:
    result = ask("where", "motd")
    assert (result.exit_code, result.stderr) == (0, "")
    for words in ("owner", "replica", "yes", "no answer: timed out", "59.5 s", "2023-11-14 22:13:20 by 400000000000"):
        assert words in result.stdout
    assert node[1].asked == [hash_key("motd")]


@pytest.mark.parametrize("who", ["{}", "c0000000@{}", "{}:"])
def test_where_names_the_address_of_a_silent_node_once(ask, node, who: str) -> None:
    error = f"{who.format(FAR.address)} did not answer within 2 s"
    node[1].holders = (Holder(NEXT, "owner", stat(True)), Holder(FAR, "replica", None, error))
    table = ask("where", "motd").stdout.partition("1 of 2 nodes")[0]
    assert "no answer: did not answer within 2 s" in table
    assert table.count(FAR.address) == 1


def test_where_is_exit_code_1_when_nobody_holds_the_key(ask, node) -> None:
    node[1].holders = (Holder(NEXT, "owner", stat(False)),)
    result = ask("where", "motd")
    assert result.exit_code == 1
    assert "no" in result.stdout
    assert result.stderr == "No node holds it: it was never stored, or its life is over.\n"


def test_where_says_why_the_owner_was_not_found(ask, node) -> None:
    node[1].holders, node[1].key_error = (), "nobody left to ask"
    result = ask("where", "motd")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "answers 503: nobody left to ask" in result.stderr


def test_trace_shows_each_hop_dead_ones_and_the_owner(ask) -> None:
    result = ask("trace", "motd")
    assert (result.exit_code, result.stderr) == (0, "")
    for words in ("finger 255", "dead: timed out", "2.0 ms", "answer or successor"):
        assert words in result.stdout
    assert result.stdout.endswith(f"owner 800000000000 at {NEXT.address}: 2 hops, 1 dead, 3.1 ms\n")


def test_a_lookup_that_fails_shows_its_hops_and_is_exit_code_1(ask, node) -> None:
    node[1].owner = None
    result = ask("trace", "motd")
    assert result.exit_code == 1
    assert "finger 255" in result.stdout
    assert "nobody left to ask" in result.stderr


def test_a_lookup_without_hops_has_no_table(ask, node) -> None:
    node[1].hops = ()
    assert ask("trace", "motd").stdout == f"owner 800000000000 at {NEXT.address}: 0 hops, 0 dead, 3.1 ms\n"


@pytest.mark.parametrize("line", [("status",), ("ring",), ("where", "motd"), ("trace", "motd")])
def test_json_is_the_whole_answer_of_the_node(ask, line: tuple[str, ...]) -> None:
    result = ask(*line, "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    assert ME.address in json.dumps(json.loads(result.stdout)) or line[0] in ("where", "trace")


def test_what_other_nodes_call_themselves_cannot_steer_the_terminal(ask, node) -> None:
    evil = Peer(5, "\x1b[2Jhost:1 [bold red]")
    node[1].walked = Walk((WalkedNode(evil, reply_of(evil, evil)),), complete=True)
    output = ask("ring").stdout
    assert "\x1b" not in output
    assert "?[2Jhost:1 [bold red]" in output


# When it does not work ------------------------------------------------------------------------------------------------


def test_a_missing_and_a_wrong_token_are_told_apart(run, node) -> None:
    result = run("status", "--admin", node[0])
    assert (result.exit_code, result.stdout) == (1, "")
    assert "wants a token: give the right one with --token or GDHT_ADMIN_TOKEN" in result.stderr
    result = run("status", "--admin", node[0], env={"GDHT_ADMIN_TOKEN": "wrong"})
    assert "refuses this token" in result.stderr


def test_nobody_listening_says_what_to_try(run, free_address: str) -> None:
    for line in (("status",), ("ring",), ("where", "motd"), ("trace", "motd")):
        result = run(*line, "--admin", free_address)
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr == (
            f"Error: no answer from http://{free_address} (Connection refused): "
            "is the node running, and is this its admin address (--admin)?\n"
        )


@pytest.mark.parametrize(
    ("status", "body", "content_type", "message"),
    [
        (200, b"<html>hello</html>", "text/html", "not JSON"),
        (200, b"[]", "application/json", "not a JSON object"),
        (200, b"{}", "application/json", "unknown fields (KeyError"),
        (200, b'{"node": 1, "nodes": 1, "hops": 1, "keys": 1}', "application/json", "unknown fields"),
        (404, b"not here", "text/plain", "it answers 404"),
        (302, b"", "text/plain", "it answers 302"),
        (503, b'{"error": "still \\u001b starting"}', "application/json", "answers 503: still ? starting"),
        (500, b'{"error"', "application/json", "it answers 500"),
        (500, b'["error"]', "application/json", "it answers 500"),
    ],
)
@pytest.mark.parametrize("line", [("status",), ("ring",), ("where", "motd"), ("trace", "motd")])
def test_a_strange_answer_is_one_line(run, admin_script, line, status, body, content_type, message) -> None:
    server = admin_script(status, body, content_type)
    result = run(*line, "--admin", server.url)
    assert (result.exit_code, result.stdout) == (1, "")
    assert message in result.stderr
    assert server.url in result.stderr
    assert result.stderr.count("\n") == 1


def test_what_is_not_http_is_one_line(run, api_port) -> None:
    result = run("status", "--admin", api_port.address, "--timeout", "1")
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1


def test_the_token_is_not_sent_on_to_a_redirection_and_no_proxy_is_asked(run, admin_script) -> None:
    target = admin_script()
    result = run("status", "--admin", target.url, "--token", "t", env={"http_proxy": "http://127.0.0.1:1"})
    assert target.asked == [("/admin/api/node", "Bearer t")]
    assert result.exit_code == 1


def test_a_node_that_does_not_answer_in_time_is_one_line(run, free_address: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        result = run("status", "--admin", f"127.0.0.1:{silent.getsockname()[1]}", "--timeout", "0.2")
    assert result.exit_code == 1
    assert "did not answer within 0.2 s: try again, or give it longer with --timeout" in result.stderr


@pytest.mark.parametrize(
    "url", ["nowhere", "ftp://host:1", "http://", "http://h:99999", "127.0.0.1:x", "http://a b:1/"]
)
def test_an_admin_address_that_is_none_is_wrong_use(run, url: str) -> None:
    result = run("status", "--admin", url)
    assert result.exit_code == 2
    assert "--admin" in result.stderr


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("127.0.0.1:8001", "http://127.0.0.1:8001"),
        ("[::1]:8001", "http://[::1]:8001"),
        ("http://127.0.0.1:8001/", "http://127.0.0.1:8001"),
        ("http://127.0.0.1:8001/admin/", "http://127.0.0.1:8001"),
        ("https://node.example.org/gdht", "https://node.example.org/gdht"),
    ],
)
def test_an_admin_address_is_read_in_every_form_people_paste(text: str, url: str) -> None:
    assert parse_admin(text) == url


@pytest.mark.parametrize("variable", ["GDHT_ADMIN", "GDHT_ADMIN_ADDRESS"])
def test_the_environment_names_the_admin_port(run, admin_script, variable: str) -> None:
    server = admin_script()
    run("status", env={variable: server.url.removeprefix("http://")})
    assert server.asked == [("/admin/api/node", None)]
