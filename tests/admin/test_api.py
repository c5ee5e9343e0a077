"""The JSON under /admin/api/."""

import inspect
import re

import pytest
from flask.testing import FlaskClient

from gdht.admin import create_app
from gdht.admin.invariants import EXPLANATIONS
from gdht.core import invariant
from gdht.core.ident import ident_hex
from gdht.core.invariant import Violation
from gdht.errors import LookupFailed, RemoteProtocolError
from gdht.node import check as check_module
from gdht.node.journal import Event

KEY = "ab" * 32


def _fields(peer):
    return {"id": ident_hex(peer.ident), "address": peer.address}


def test_ring_has_exactly_the_documented_fields(ring, client: FlaskClient):
    answer = client.get("/admin/api/ring").json
    status = ring.status()
    assert list(answer) == [
        "node", "predecessor", "successors", "fingers", "keys", "owned_ratio", "estimated_nodes",
    ]  # fmt: skip
    assert answer["node"] == {
        "id": ident_hex(ring.me.ident),
        "p2p_address": ring.me.address,
        "api_address": "127.0.0.1:7001",
        "admin_address": "127.0.0.1:8001",
        "state": "active",
    }
    assert answer["predecessor"] == _fields(status.predecessor)
    assert answer["successors"] == [_fields(peer) for peer in ring.clockwise(ring.me)[1:]]
    assert answer["fingers"][0] == {"start": ident_hex(ring.me.ident + 1), **_fields(ring.clockwise(ring.me)[1])}
    assert set(answer["keys"]) == {"owned", "replica", "misplaced", "bytes"}
    assert answer["estimated_nodes"] == 8


def test_a_lone_node_has_neither_predecessor_nor_successors(make_ring):
    ring = make_ring(1)
    answer = create_app(ring.status, ring, ring).test_client().get("/admin/api/ring").json
    assert (answer["predecessor"], answer["successors"], answer["fingers"]) == (None, [], [])
    assert answer["owned_ratio"] == 1


def test_walk_is_clockwise_from_this_node(ring, client: FlaskClient):
    answer = client.get("/admin/api/ring/walk").json
    assert answer["complete"] is True
    around = ring.clockwise(ring.me)
    assert [node["node"]["id"] for node in answer["nodes"]] == [ident_hex(peer.ident) for peer in around]
    assert list(answer["nodes"][1]) == ["node", "predecessor", "successors", "keys", "owned_ratio", "estimated_nodes"]
    assert answer["nodes"][1]["predecessor"] == _fields(ring.me)
    assert answer["nodes"][1]["keys"]["owned"] == ring.owned[around[1].ident]


def test_a_silent_node_stays_in_the_walk_with_its_error(ring, client: FlaskClient):
    ring.silent.add(ring.clockwise(ring.me)[2].ident)
    node = client.get("/admin/api/ring/walk").json["nodes"][2]
    assert node["error"] == "timed out"
    assert node["node"]["state"] is None
    assert (node["keys"], node["successors"]) == (None, [])


def test_a_partial_walk_says_so(ring, client: FlaskClient):
    ring.complete = False
    assert client.get("/admin/api/ring/walk").json["complete"] is False


# Check and events -----------------------------------------------------------------------------------------------------


def test_a_check_of_a_right_ring_has_exactly_the_documented_fields(client: FlaskClient):
    assert list(client.get("/admin/api/ring/check").json.items()) == [
        ("consistent", True), ("nodes", 8), ("violations", []), ("complete", True), ("seconds", 0.012),
    ]  # fmt: skip


def test_a_check_names_what_is_wrong_in_the_order_given(ring, client: FlaskClient):
    ring.violations = (Violation("live_successor", (7,), "all gone"), Violation("all_answer", (9, 7), "timed out"))
    answer = client.get("/admin/api/ring/check").json
    assert answer["consistent"] is False
    assert answer["violations"] == [
        {
            "invariant": "live_successor",
            "node": ident_hex(7),
            "detail": "all gone",
            "nodes_involved": [ident_hex(7)],
            "explanation": EXPLANATIONS["live_successor"],
        },
        {
            "invariant": "all_answer",
            "node": ident_hex(9),
            "detail": "timed out",
            "nodes_involved": [ident_hex(9), ident_hex(7)],
            "explanation": EXPLANATIONS["all_answer"],
        },
    ]


def test_a_ring_that_was_not_seen_whole_is_not_called_consistent(ring, client: FlaskClient):
    ring.complete = False
    answer = client.get("/admin/api/ring/check").json
    assert (answer["consistent"], answer["complete"], answer["nodes"], answer["violations"]) == (False, False, 4, [])


def test_every_invariant_that_a_check_may_name_is_explained_and_no_other():
    named = re.findall(r'Violation\(\s*"(\w+)"', inspect.getsource(invariant) + inspect.getsource(check_module))
    assert set(EXPLANATIONS) == set(named)


@pytest.fixture
def three_events(ring):
    """A predecessor that came, a successor that changed, a state entered."""
    one, two = ring.peers[:2]
    ring.journal = [
        Event(4, 1_700_000_000.25, "predecessor", (), (one,), "notified"),
        Event(5, 1_700_000_001.0, "successor", (one,), (two,), "successor lost"),
        Event(6, 1_700_000_002.0, "state", (), (), "isolated"),
    ]
    return ring.journal


def test_events_have_exactly_the_documented_fields(ring, three_events, client: FlaskClient):
    answer = client.get("/admin/api/events").json
    assert list(answer) == ["events", "more", "last"]
    assert answer["events"][1] == {
        "number": 5,
        "time": 1_700_000_001.0,
        "pointer": "successor",
        "before": [_fields(ring.peers[0])],
        "after": [_fields(ring.peers[1])],
        "cause": "successor lost",
    }
    assert [event["number"] for event in answer["events"]] == [4, 5, 6]
    assert (answer["more"], answer["last"]) == (False, 6)


def test_a_node_without_events_has_the_last_number_0(client: FlaskClient):
    assert client.get("/admin/api/events?since=9").json == {"events": [], "more": False, "last": 0}


@pytest.mark.parametrize(
    ("query", "numbers", "more"),
    [
        ("since=4", [5, 6], False), ("since=6", [], False), ("limit=2", [4, 5], True), ("since=4&limit=1", [5], True),
        ("limit=0", [], True), ("limit=999999999", [4, 5, 6], False),
    ],
)  # fmt: skip
def test_events_are_read_on_from_a_number_and_in_pieces(three_events, client: FlaskClient, query, numbers, more):
    answer = client.get(f"/admin/api/events?{query}").json
    assert ([event["number"] for event in answer["events"]], answer["more"], answer["last"]) == (numbers, more, 6)


@pytest.mark.parametrize("query", ["since=x", "since=-1", "limit=1.5", "limit=", "since=" + "9" * 30])
def test_a_number_that_is_none_is_refused(client: FlaskClient, query):
    answer = client.get(f"/admin/api/events?{query}")
    assert answer.status_code == 400
    assert answer.json == {"error": f"{query.partition('=')[0]} is a whole number of 0 or more"}


def test_node_tells_its_health_and_whom_it_lost(ring, client: FlaskClient):
    gone, elsewhere = ring.peers[2:4]
    ring.changes |= {"health_score": 2, "lost": (gone, elsewhere), "second_ring": (elsewhere,), "consistent": None}
    ring.stats.suspicions["refuted"] += 3
    answer = client.get("/admin/api/node").json
    assert (answer["health_score"], answer["consistent"], answer["suspicions"]) == (2, None, {"refuted": 3})
    assert (answer["lost"], answer["second_ring"]) == ([_fields(gone), _fields(elsewhere)], [_fields(elsewhere)])


# Keys and traces ------------------------------------------------------------------------------------------------------


def test_a_key_report_tells_who_holds_it(ring, client: FlaskClient):
    answer = client.get(f"/admin/api/keys/{KEY}").json
    assert answer["key"] == KEY
    owner, lacking, silent = answer["nodes"]
    assert (owner["role"], owner["present"], owner["bytes"], owner["ttl_remaining_seconds"]) == ("owner", True, 5, 90.5)
    assert owner["version"] == {"time": 1_700_000_000.123, "counter": 7, "coordinator": ident_hex(ring.me.ident)}
    assert (lacking["role"], lacking["present"], lacking["version"]) == ("replica", False, None)
    assert (silent["present"], silent["error"]) == (None, "timed out")


def test_a_trace_lists_the_hops(ring, client: FlaskClient):
    answer = client.get(f"/admin/api/trace/{KEY.upper()}").json
    assert answer["key"] == KEY
    assert [(hop["finger"], hop["seconds"], hop["dead"]) for hop in answer["hops"]] == [
        (251, 0.5, True), (249, 0.0012, False), (None, 0.0034, False),
    ]  # fmt: skip
    assert answer["owner"] == _fields(ring.owner(int(KEY, 16)))
    assert (answer["hops_total"], answer["dead_hops_total"], answer["seconds_total"]) == (3, 1, 0.5051)


@pytest.mark.parametrize("verb", ["keys", "trace"])
@pytest.mark.parametrize("key", ["12", "g" * 64, "a" * 65, "é" * 64])
def test_a_bad_key_is_refused_with_what_is_expected(client: FlaskClient, verb, key):
    answer = client.get(f"/admin/api/{verb}/{key}")
    assert answer.status_code == 400
    assert answer.json == {"error": f"a key is 64 hex digits; this has {len(key)} characters"}


@pytest.mark.parametrize(
    "path", ["/admin/api", "/admin/api/", "/admin/api/nothing", "/admin/api/keys/", "/admin/api/keys/a/b"]
)
def test_an_unknown_path_is_json_too(client: FlaskClient, path):
    answer = client.get(path)
    assert (answer.status_code, list(answer.json)) == (404, ["error"])


def test_a_wrong_method_is_json_too(client: FlaskClient):
    answer = client.post("/admin/api/ring")
    assert (answer.status_code, answer.headers["Allow"], list(answer.json)) == (405, "GET, HEAD", ["error"])


@pytest.mark.parametrize("path", ["ring/walk", "ring/check", f"keys/{KEY}", f"trace/{KEY}"])
@pytest.mark.parametrize(
    ("error", "code"),
    [(LookupFailed("no_route", "nobody left to ask"), 503), (RemoteProtocolError("size", "bad"), 502)],
)
def test_a_ring_that_cannot_be_asked_is_said_in_json(ring, client: FlaskClient, path, error, code):
    ring.error = error
    answer = client.get(f"/admin/api/{path}")
    assert (answer.status_code, answer.json) == (code, {"error": str(error)})


def test_a_bug_is_logged_and_shows_no_traceback(ring, client: FlaskClient, caplog):
    ring.error = ZeroDivisionError("inner detail")
    answer = client.get("/admin/api/ring/walk")
    assert (answer.status_code, list(answer.json)) == (500, ["error"])
    assert "inner detail" not in answer.text
    assert "ZeroDivisionError" in caplog.text


def test_node_tells_its_numbers(ring, client: FlaskClient):
    ring.stats.api_requests["get", "success"] += 4
    ring.stats.api_request_duration["get"].observe(0.002, times=4)
    answer = client.get("/admin/api/node").json
    assert answer["ring"] == "default"
    assert answer["requests"] == {"get": {"success": 4}}
    assert answer["request_seconds"]["get"]["count"] == 4
    assert answer["request_seconds"]["get"]["mean"] == pytest.approx(0.002)
    assert answer["checks"]["ready"]["joined"]["ok"] is True
    assert answer["store"]["capacity_bytes"] == 1 << 30


def test_the_ring_page_answers_json_to_programs(client: FlaskClient):
    asked = client.get("/admin/ring", headers={"Accept": "application/json"})
    assert asked.json == client.get("/admin/api/ring").json
    for accept in ("text/html,application/xhtml+xml,*/*;q=0.8", "*/*"):
        assert client.get("/admin/ring", headers={"Accept": accept}).mimetype == "text/html"
