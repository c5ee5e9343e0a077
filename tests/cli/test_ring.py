"""`gdht ring check` and `gdht ring --dot` against the real admin port, over a node made of plain values."""

import json
import re

import pytest

from gdht.cli.ring import VIOLATIONS_SHOWN_MAX, dot_lines
from gdht.core.ident import ident_hex
from gdht.core.invariant import Violation
from gdht.core.peer import Peer
from gdht.node.status import RingCheck, Walk, WalkedNode
from tests.cli.fake_ring import FAR, ME, NEXT, reply_of

TWO = (
    Violation("live_successor", (NEXT.ident,), "127.0.0.1:6002: all gone"),
    Violation("all_answer", (FAR.ident, NEXT.ident), "127.0.0.1:6003: \x1b[2Jtimed out [bold]"),
)


# Check ----------------------------------------------------------------------------------------------------------------


def test_a_right_ring_is_one_line_and_exit_code_0(ask) -> None:
    result = ask("ring", "check")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == "The ring is right: 3 nodes seen in 12.0 ms, all pointers agree.\n"


def test_a_wrong_ring_is_a_table_a_verdict_and_exit_code_1(ask, node) -> None:
    node[1].checked = RingCheck(3, True, TWO, 1.5)
    result = ask("ring", "check")
    assert (result.exit_code, result.stderr) == (1, "")
    rows = [line.split() for line in result.stdout.splitlines()[3:5]]
    assert [row[:3] for row in rows] == [
        ["live_successor", "800000000000", "127.0.0.1:6002:"],
        ["all_answer", "c00000000000", "127.0.0.1:6003:"],
    ]
    assert "?[2Jtimed out [bold]" in result.stdout
    last = result.stdout.splitlines()[-1]
    assert last == "The ring is NOT right: 2 violations, first live_successor; 3 nodes seen in 1500.0 ms."


@pytest.mark.parametrize("violations", [(), TWO[:1]])
def test_a_ring_seen_in_part_is_exit_code_1_and_says_so(ask, node, violations) -> None:
    node[1].checked = RingCheck(2, False, violations, 1.5)
    result = ask("ring", "check")
    assert result.exit_code == 1
    last = result.stdout.splitlines()[-1]
    if violations:
        assert last.endswith("1 violation, first live_successor; 2 nodes seen in 1500.0 ms, not the whole ring.")
    else:
        assert last == "The ring could not be seen whole: 2 nodes seen in 1500.0 ms, nothing wrong among those."


def test_json_is_the_nodes_whole_answer_with_the_same_exit_code(ask, node) -> None:
    node[1].checked = RingCheck(3, True, TWO, 1.5)
    result = ask("ring", "check", "--json")
    assert result.exit_code == 1
    assert [one["invariant"] for one in json.loads(result.stdout)["violations"]] == ["live_successor", "all_answer"]


def test_of_very_many_violations_the_first_are_shown(ask, node) -> None:
    node[1].checked = RingCheck(900, True, tuple(Violation("ideal_successors", (i,), "x") for i in range(900)), 1.5)
    result = ask("ring", "check")
    assert result.stdout.count("ideal_successors") == VIOLATIONS_SHOWN_MAX + 1
    assert f"and {900 - VIOLATIONS_SHOWN_MAX} more" in result.stdout


def test_options_before_check_would_be_lost_and_are_refused(run, node) -> None:
    result = run("ring", "--admin", node[0], "check")
    assert result.exit_code == 2
    assert "put options after check" in result.stderr


def test_the_environment_names_the_node_for_check_too(run, node) -> None:
    result = run("ring", "check", env={"GDHT_ADMIN": node[0], "GDHT_ADMIN_TOKEN": "secret"})
    assert result.exit_code == 0


@pytest.mark.parametrize("body", [b"{}", b'{"violations": 3}', b'{"violations": [{"node": 1}]}'])
def test_a_strange_verdict_is_one_line(run, admin_script, body) -> None:
    result = run("ring", "check", "--admin", admin_script(200, body).url)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "unknown fields" in result.stderr
    assert result.stderr.count("\n") == 1


# Graphviz -------------------------------------------------------------------------------------------------------------


def walked(*triples: tuple[Peer, Peer, Peer]) -> Walk:
    """Nodes with their predecessor and successor."""
    replies = [(peer, reply_of(peer, after)._replace(predecessors=(before,))) for peer, before, after in triples]
    return Walk(tuple(WalkedNode(peer, reply) for peer, reply in replies), complete=True)


def test_dot_draws_nodes_successors_and_predecessors(ask, node) -> None:
    node[1].walked = walked((ME, FAR, NEXT), (NEXT, ME, FAR), (FAR, NEXT, ME))
    result = ask("ring", "--dot")
    assert (result.exit_code, result.stderr) == (0, "")
    me, after, far = (ident_hex(peer.ident)[:12] for peer in (ME, NEXT, FAR))
    assert result.stdout.splitlines() == [
        "digraph ring {",
        "  layout=circo; node [shape=box, fontname=monospace];",
        f'  "{me}" [label="127.0.0.1:6001\\n{me}"];',
        f'  "{after}" [label="127.0.0.1:6002\\n{after}"];',
        f'  "{far}" [label="127.0.0.1:6003\\n{far}"];',
        f'  "{me}" -> "{after}" [style=solid];',
        f'  "{me}" -> "{far}" [style=dashed];',
        f'  "{after}" -> "{far}" [style=solid];',
        f'  "{after}" -> "{me}" [style=dashed];',
        f'  "{far}" -> "{me}" [style=solid];',
        f'  "{far}" -> "{after}" [style=dashed];',
        "}",
    ]


def test_dot_draws_what_is_broken_in_red(ask, node) -> None:
    node[1].walked = Walk((*walked((ME, NEXT, NEXT), (NEXT, FAR, FAR)).nodes, WalkedNode(FAR, None, "gone")), True)
    lines = ask("ring", "--dot").stdout.splitlines()
    red = [re.sub("0{11}", "", line.strip()) for line in lines if "color=red" in line]
    assert red == [
        '"c" [label="127.0.0.1:6003\\nc", color=red];',
        '"4" -> "8" [style=solid, color=red];',  # whose predecessor is FAR
        '"4" -> "8" [style=dashed, color=red];',  # whose successor is FAR
        '"8" -> "c" [style=solid, color=red];',
        '"8" -> "c" [style=dashed, color=red];',
    ]


def test_what_nodes_call_themselves_cannot_leave_the_quotes() -> None:
    evil = {"id": 'a"]; x [', "p2p_address": 'host\\"; }\n'}
    entry = {"node": {**evil, "state": "active"}, "predecessor": None, "successors": []}
    lines = [*dot_lines([entry])]
    assert len(lines) == 4
    assert lines[2].count('"') == 4


def test_a_walk_that_does_not_close_is_drawn_and_is_exit_code_1(ask, node) -> None:
    node[1].walked = Walk(walked((ME, FAR, NEXT)).nodes, complete=False)
    result = ask("ring", "--dot")
    assert result.exit_code == 1
    assert result.stdout.startswith("digraph ring {")
    assert "gdht ring check" in result.stderr


def test_dot_and_json_exclude_each_other(ask) -> None:
    assert ask("ring", "--dot", "--json").exit_code == 2
