"""Drain and leave: what a node is told to do, and by whom it lets itself be told."""

import re

import pytest
from flask.testing import FlaskClient

from gdht.admin import create_app
from gdht.core.ident import ident_hex
from gdht.errors import PeerUnreachable
from gdht.node.status import Handover, State

BEARER = {"Authorization": "Bearer sesame"}


def word_of(html: str) -> str:
    """The word that stands in our own forms."""
    return re.search(r'name="word" value="([^"]{20,})"', html)[1]


# From programs --------------------------------------------------------------------------------------------------------


def test_drain_is_accepted_and_told_to_the_node(ring, client: FlaskClient):
    answer = client.post("/admin/api/drain")
    assert (answer.status_code, answer.json) == (202, {"state": "draining"})
    assert ring.done == ["drain"]


@pytest.mark.parametrize(("query", "timeout_s"), [("", 60.0), ("?timeout=2.5", 2.5), ("?timeout=120&dry_run=0", 120.0)])
def test_leave_is_accepted_with_its_deadline(ring, client: FlaskClient, query, timeout_s):
    answer = client.post(f"/admin/api/leave{query}")
    assert (answer.status_code, answer.json) == (202, {"state": "leaving"})
    assert ring.done == [("leave", timeout_s)]


@pytest.mark.parametrize("text", ["0", "-1", "x", "nan", "inf", "1e9"])
def test_a_deadline_that_makes_no_sense_is_refused(ring, client: FlaskClient, text):
    answer = client.post(f"/admin/api/leave?timeout={text}")
    assert answer.status_code == 400
    assert answer.json["error"].startswith("timeout is a number of seconds of more than 0")
    assert ring.done == []


@pytest.mark.parametrize(
    ("action", "error"),
    [
        ("leave?dryrun=1", "no such argument: dryrun; there are timeout, dry_run"),
        ("leave?dry_run=1&x=2&y=3", "no such argument: x, y; there are timeout, dry_run"),
        ("drain?dry_run=1", "no such argument: dry_run; there are none"),
    ],
)
def test_an_argument_that_there_is_not_is_refused_and_nothing_done(ring, client: FlaskClient, action, error):
    answer = client.post(f"/admin/api/{action}")
    assert (answer.status_code, answer.json) == (400, {"error": error})
    assert ring.done == []


@pytest.mark.parametrize("flag", ["dry_run=1", "dry_run=true", "dry_run=1&timeout=5"])
def test_a_dry_run_tells_who_would_get_what_and_does_nothing(ring, client: FlaskClient, flag):
    answer = client.post(f"/admin/api/leave?{flag}")
    assert answer.status_code == 200
    receivers = [
        {"id": ident_hex(peer.ident), "address": peer.address, "keys": 100 * n, "bytes": 70_000 * n}
        for n, peer in enumerate(ring.peers[1:3], 1)
    ]
    assert answer.json == {"receivers": receivers, "keys": 300, "bytes": 210_000}
    assert ring.done == []


@pytest.mark.parametrize("path", ["/admin/api/drain", "/admin/api/leave"])
def test_to_read_an_action_is_not_to_do_it(ring, client: FlaskClient, path):
    answer = client.get(path)
    assert (answer.status_code, answer.headers["Allow"]) == (405, "POST")
    assert ring.done == []


def test_with_a_token_set_actions_want_it(ring):
    client = create_app(ring.status, ring, ring, "sesame").test_client()
    assert client.post("/admin/api/drain").status_code == 401
    assert ring.done == []
    assert client.post("/admin/api/drain", headers=BEARER).status_code == 202


# From browsers --------------------------------------------------------------------------------------------------------

FOREIGN = [
    {"headers": {"Origin": "http://evil.example"}},
    {"headers": {"Origin": "null"}},
    {"headers": {"Sec-Fetch-Site": "cross-site"}},
    {"headers": {"Referer": "http://evil.example/"}},
    {"data": {"action": "leave"}},
    {"data": "word=x", "content_type": "text/plain"},
    {"data": {"word": "guessed", "action": "leave"}, "headers": {"Origin": "http://localhost"}},
]


@pytest.mark.parametrize("sent", FOREIGN)
@pytest.mark.parametrize("path", ["/admin/api/drain", "/admin/api/leave", "/admin/api/leave?dry_run=1", "/admin/leave"])
def test_what_another_page_has_a_browser_send_is_refused(ring, client: FlaskClient, path, sent):
    answer = client.post(path, **sent)
    assert answer.status_code == 403
    assert "only from a page of this node" in answer.text
    assert ring.done == []


def test_a_password_that_the_browser_sends_by_itself_is_not_enough(ring):
    client = create_app(ring.status, ring, ring, "sesame").test_client()
    answer = client.post("/admin/api/leave", auth=("me", "sesame"), headers={"Origin": "http://evil.example"})
    assert answer.status_code == 403
    assert ring.done == []


def test_a_script_that_knows_the_token_may_act_from_anywhere(ring):
    client = create_app(ring.status, ring, ring, "sesame").test_client()
    assert client.post("/admin/api/drain", headers={**BEARER, "Origin": "http://console.example"}).status_code == 202


@pytest.mark.parametrize(("action", "done"), [("drain", "drain"), ("leave", ("leave", 12.0))])
def test_our_own_forms_carry_a_word_that_lets_them_act(ring, client: FlaskClient, action, done):
    word = word_of(client.get("/admin/leave").text)
    form = {"word": word, "action": action, "timeout": "12"}
    answer = client.post("/admin/leave", data=form, headers={"Origin": "http://localhost"})
    assert (answer.status_code, answer.headers["Location"]) == (303, "/admin/leave")
    assert ring.done == [done]


def test_the_word_is_another_one_in_every_process(ring):
    words = {word_of(create_app(ring.status, ring, ring).test_client().get("/admin/leave").text) for _ in range(3)}
    assert len(words) == 3


@pytest.mark.parametrize(
    ("host", "code"),
    [("localhost:8001", 303), ("127.0.0.1:8001", 303), ("[::1]:8001", 303), ("10.0.0.9", 303),
     ("rebound.example:8001", 403), ("node1", 403), ("127.0.0.1.evil.example", 403)],
)  # fmt: skip
def test_without_a_token_a_name_that_anybody_may_own_does_not_count_as_our_page(ring, client: FlaskClient, host, code):
    form = {"word": word_of(client.get("/admin/leave").text), "action": "drain"}
    answer = client.post("/admin/leave", data=form, headers={"Host": host})
    assert answer.status_code == code
    assert bool(ring.done) is (code == 303)


def test_with_a_token_pages_may_be_opened_by_any_name(ring):
    client = create_app(ring.status, ring, ring, "sesame").test_client()
    word = word_of(client.get("/admin/leave", headers=BEARER).text)
    form = {"word": word, "action": "drain"}
    answer = client.post("/admin/leave", data=form, auth=("me", "sesame"), headers={"Host": "node1.example"})
    assert answer.status_code == 303


@pytest.mark.parametrize("form", [{}, {"action": "explode"}])
def test_a_form_that_says_nothing_we_know_does_nothing(ring, client: FlaskClient, form):
    answer = client.post("/admin/leave", data={"word": word_of(client.get("/admin/leave").text), **form})
    assert answer.status_code == 400
    assert ring.done == []


def test_a_form_that_is_too_long_is_not_read(ring, client: FlaskClient):
    assert client.post("/admin/leave", data={"word": "x" * 100_000}).status_code == 413


# The page -------------------------------------------------------------------------------------------------------------


def test_the_page_tells_who_would_get_what(ring, client: FlaskClient):
    html = client.get("/admin/leave").text
    for share in ring.shares:
        assert share.peer.address in html
    assert "68.4 KiB" in html


def test_a_plan_that_cannot_be_made_is_said_and_leaving_is_still_offered(ring, client: FlaskClient):
    ring.error = PeerUnreachable("all <gone>")
    answer = client.get("/admin/leave")
    assert answer.status_code == 200
    assert "could not be asked: all &lt;gone&gt;" in answer.text
    assert 'value="leave"' in answer.text


def test_a_drained_node_is_not_offered_to_be_drained_again(ring, client: FlaskClient):
    ring.changes["state"] = State.DRAINING
    ring.stats.api_connections = 2
    html = client.get("/admin/leave").text
    assert "2 clients still connected" in html
    assert 'value="drain"' not in html


def test_a_leaver_tells_how_far_it_is_and_makes_no_plan(ring, client: FlaskClient):
    ring.changes |= {"state": State.LEAVING, "handover": Handover("leave", 1000, 250, 700_000, 175_000, 3.2)}
    ring.error = AssertionError("planned")
    html = client.get("/admin/leave").text
    assert 'max="1000" value="250"' in html
    assert "250 of about 1,000 copies (170.9 KiB) handed over in 3 s so far." in html
    assert "<form" not in html


def test_records_without_taker_are_told_at_the_end(ring, client: FlaskClient):
    moved = Handover("leave", 1000, 988, 700_000, 690_000, 60.0, ended=True, without_taker=12)
    ring.changes |= {"state": State.LEAVING, "handover": moved}
    html = client.get("/admin/leave").text
    assert "12 records found no taker." in html
    assert 'max="1000" value="988"' in html


def test_a_handover_is_in_the_node_answer_and_on_the_overview(ring, client: FlaskClient):
    assert client.get("/admin/api/node").json["handover"] is None
    ring.changes["handover"] = Handover("join", 1000, 250, 700_000, 175_000, 3.25)
    assert client.get("/admin/api/node").json["handover"] == {
        "kind": "join",
        "keys_total": 1000,
        "keys_done": 250,
        "bytes_total": 700_000,
        "bytes_done": 175_000,
        "seconds": 3.25,
        "ended": False,
        "keys_without_taker": 0,
    }
    assert "Records come in from the nodes after this one: 250 of about 1,000" in client.get("/admin/").text
    ring.changes["handover"] = Handover("join", 1000, 1000, 700_000, 700_000, 9.0, ended=True)
    assert "Records come in" not in client.get("/admin/").text


def test_the_overview_leads_to_the_page_and_tells_what_threatens_records(ring, client: FlaskClient):
    assert 'href="/admin/leave"' in client.get("/admin/").text
    ring.changes["store_error"] = "no space left on device"
    ring.stats.keys_under_replicated, ring.stats.keys_under_replicated_oldest_s = 3, 75.0
    html = client.get("/admin/").text
    assert "Writes are refused: no space left on device" in html
    assert "3 keys with too few copies, the first for 1 min 15 s" in html
    assert client.get("/admin/api/node").json["store"]["error"] == "no space left on device"
