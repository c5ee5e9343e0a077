"""The pages as the server sends them: all that is needed is there before any script runs."""

import re
from dataclasses import replace
from html import escape

import pytest
from flask.testing import FlaskClient

from gdht.admin import create_app
from gdht.admin.ring_view import make_view
from gdht.client import hash_key
from gdht.core.ident import ident_hex
from gdht.core.invariant import Violation
from gdht.core.peer import Peer
from gdht.errors import PeerUnreachable
from gdht.node.failures import FailedRequest
from gdht.node.journal import Event
from gdht.node.status import Share, State, Walk

PAGES = [
    *("/admin/", "/admin/ring", "/admin/ring/check", "/admin/events", "/admin/keys", "/admin/trace"),
    *("/admin/keys?key=hello", "/admin/trace?key=hello", "/admin/requests", "/admin/leave"),
]
HOSTILE = "\"><script>alert(1)</script>'&{{7*7}}:80"


def _rows(html: str) -> list[str]:
    return re.findall(r'<tr id="row-([0-9a-f]{64})"', html)


def test_the_root_leads_to_the_overview(client: FlaskClient):
    answer = client.get("/")
    assert (answer.status_code, answer.headers["Location"]) == (302, "/admin/")


@pytest.mark.parametrize("path", PAGES)
def test_pages_have_no_inline_code_and_nothing_from_elsewhere(client: FlaskClient, path):
    html = client.get(path).text
    assert not re.search(r"<script(?![^>]* src=\"/admin/static/)", html)
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:", html)
    assert not re.search(r"(src|href)=\"(?!/|#)", html)


@pytest.mark.parametrize("nodes", [1, 2, 8, 200])
def test_the_ring_page_has_a_row_and_a_dot_for_every_node(make_ring, nodes):
    ring = make_ring(nodes)
    html = create_app(ring.status, ring, ring).test_client().get("/admin/ring").text
    around = [ident_hex(peer.ident) for peer in ring.clockwise(ring.me)]
    assert _rows(html) == around
    assert re.findall(r'id="node-([0-9a-f]{64})"', html) == around
    assert f"Ring of {nodes} node" in html


def test_roles_are_in_the_table(ring, client: FlaskClient):
    html = client.get("/admin/ring").text
    assert 'data-cell="roles">this node<' in html
    assert 'data-cell="roles">successor 1, finger 0<' in html
    assert 'data-cell="roles">predecessor, successor 7<' in html


def test_a_partial_walk_is_said(ring, client: FlaskClient):
    ring.complete = False
    html = client.get("/admin/ring").text
    assert "This picture is partial: the walk met 4 nodes" in html
    assert len(_rows(html)) == 8  # those this node points at are shown too
    assert html.count("not met") >= 4


def test_without_a_walk_the_page_shows_what_the_node_knows(ring, client: FlaskClient):
    ring.error = PeerUnreachable("no route to <host>")
    answer = client.get("/admin/ring")
    assert answer.status_code == 200
    assert "The ring could not be walked: no route to &lt;host&gt;" in answer.text
    assert len(_rows(answer.text)) == 8


def test_a_silent_node_is_marked(ring, client: FlaskClient):
    silent = ring.clockwise(ring.me)[3]
    ring.silent.add(silent.ident)
    html = client.get("/admin/ring").text
    assert "1 node did not answer." in html
    assert f'<tr id="row-{ident_hex(silent.ident)}" data-key="{ident_hex(silent.ident)}" class="silent">' in html


@pytest.mark.parametrize("path", [*PAGES, "/admin/api/ring/view"])
def test_what_peers_say_is_never_markup(ring, client: FlaskClient, path):
    hostile = Peer((ring.clockwise(ring.me)[1].ident + 1), HOSTILE)
    ring.peers = sorted([*ring.peers, hostile])
    ring.owned[hostile.ident] = 1
    reply = ring._reply
    ring._reply = lambda peer: (
        reply(ring.me)._replace(state=HOSTILE, api_address=HOSTILE, admin_address=HOSTILE)
        if peer == hostile
        else reply(peer)
    )
    owner = ring.owner
    ring.owner = lambda ident: hostile if "key" in path else owner(ident)
    ring.changes |= {"ring_name": HOSTILE, "predecessors": (hostile,), "lost": (hostile,), "second_ring": (hostile,)}
    ring.violations = (Violation("all_answer", (hostile.ident,), HOSTILE),)
    ring.journal = [Event(1, 1_700_000_000.0, "successor", (hostile,), (), HOSTILE)]
    ring.failed = [FailedRequest(1, 1_700_000_000.0, "put", hash_key("hello"), "quorum", HOSTILE, 0, 3, 0.1)]
    ring.shares = (Share(hostile, 1, 1),)
    answer = client.get(path)
    assert answer.status_code == 200
    if answer.mimetype == "text/html":
        assert "<script>alert" not in answer.text
        assert "{{7*7}}" in answer.text or path in ("/admin/keys", "/admin/trace")
        assert f'value="{HOSTILE}' not in answer.text
    else:
        assert all(node["admin_url"] != f"http://{HOSTILE}/admin/" for node in answer.json["nodes"])


def test_what_a_person_types_is_never_markup(client: FlaskClient):
    html = client.get("/admin/keys", query_string={"key": HOSTILE}).text
    assert escape(HOSTILE).replace("&#x27;", "&#39;").replace("&quot;", "&#34;") in html
    assert "<script>alert" not in html


def test_a_key_is_found_by_text_and_by_hex(client: FlaskClient):
    html = client.get("/admin/keys?key=hello").text
    digest = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    assert digest in html
    assert "1 of 3 nodes have the version of 2023-11-14 22:13:20 UTC" in html
    assert "8 nodes asked. Checksums agree." in html
    assert "missing" in html
    assert "no answer: timed out" in html
    assert "1 min 30 s" in html
    assert digest in client.get(f"/admin/keys?key=hex:{digest}").text


def test_a_bad_key_is_said_on_the_page(client: FlaskClient):
    for page in ("keys", "trace"):
        answer = client.get(f"/admin/{page}?key=hex:12")
        assert answer.status_code == 400
        assert "This is not a key: a key is a text, or hex: and 64 hex digits; after hex: there are 2" in answer.text


def test_a_trace_shows_hops_beside_the_ideal(client: FlaskClient):
    html = client.get("/admin/trace?key=hello").text
    assert "about 1.5 expected" in html  # half of log2(8)
    assert "finger 251" in html
    assert "dead: timed out" in html
    assert "505.1 ms" in html


def test_a_ring_that_cannot_be_asked_is_said_on_the_page(ring, client: FlaskClient):
    ring.error = PeerUnreachable("all gone")
    for page in ("keys", "trace"):
        answer = client.get(f"/admin/{page}?key=x")
        assert answer.status_code == 503
        assert "The ring could not be asked: all gone" in answer.text


def test_the_overview_tells_state_checks_and_numbers(ring, client: FlaskClient):
    ring.changes["state"] = State.DRAINING
    ring.ready["not_draining"] = False
    ring.stats.api_requests["get", "success"] += 1234
    ring.stats.api_requests["get", "timeout"] += 2
    ring.stats.lookups["get", "ok"] += 10
    ring.stats.lookup_hops["get"].observe(2, times=10)
    html = client.get("/admin/").text
    assert "draining" in html
    assert re.search(r'class="bad"><b>not_draining</b>', html)
    assert "1,236" in html
    assert "timeout" in html
    assert "2.00" in html


def test_an_unknown_page_is_a_page(client: FlaskClient):
    answer = client.get("/admin/nothing")
    assert (answer.status_code, answer.mimetype) == (404, "text/html")


def test_large_rings_label_only_what_this_node_points_at(make_ring):
    ring = make_ring(200)
    view = make_view(ring.status(), ring.walk())
    loud = [node for node in view["nodes"] if not node["quiet"]]
    assert all(node["role"] != "other" for node in loud)
    assert 10 <= len(loud) <= 24
    small = make_ring(24)
    assert not any(node["quiet"] for node in make_view(small.status(), small.walk())["nodes"])


def test_a_finger_that_no_walk_meets_is_shown_hollow(ring):
    gone = ring.clockwise(ring.me)[4]
    status, walk = ring.status(), ring.walk()
    walk = Walk(tuple(node for node in walk.nodes if node.peer != gone), complete=True)
    (hollow,) = [node for node in make_view(status, walk)["nodes"] if node["unmet"]]
    assert hollow["key"] == ident_hex(gone.ident)
    assert hollow["cells"]["state"] == "not met"


def test_the_node_itself_is_shown_from_its_snapshot_and_not_from_an_older_walk(ring):
    walk = ring.walk()
    status = replace(ring.status(), state=State.LEAVING)
    assert make_view(status, walk)["nodes"][0]["cells"]["state"] == "leaving"


# Check and events -----------------------------------------------------------------------------------------------------


def test_the_ring_page_leads_to_a_check_without_making_one(ring, client: FlaskClient):
    assert 'href="/admin/ring/check"' in client.get("/admin/ring").text
    assert ring.checks == 0


def test_a_right_ring_is_told_so(ring, client: FlaskClient):
    assert "<b>Yes.</b> All pointers of 8 nodes agree." in client.get("/admin/ring/check").text


def test_a_wrong_ring_is_told_with_the_first_violation_and_the_nodes(ring, client: FlaskClient):
    wrong = ring.peers[3].ident
    ring.violations = (Violation("live_successor", (wrong,), "all gone"), Violation("principals", (1, 2), "2 of 8"))
    html = client.get("/admin/ring/check").text
    assert "<b>No.</b> 2 violations; first: <b>live_successor</b>." in html
    assert f'href="/admin/ring#node-{ident_hex(wrong)}"' in html
    assert f'data-nodes="{ident_hex(1)} {ident_hex(2)}"' in html
    assert "all gone" in html
    assert "Every member has a successor that lives" in html


def test_of_many_violations_the_first_are_shown(ring, client: FlaskClient):
    ring.violations = tuple(Violation("ideal_successors", (ident,), f"wrong {ident}.") for ident in range(500))
    html = client.get("/admin/ring/check").text
    assert "wrong 19." in html
    assert "wrong 20." not in html
    assert "And 480 more" in html


def test_a_ring_seen_in_part_is_neither_right_nor_wrong(ring, client: FlaskClient):
    ring.complete = False
    html = client.get("/admin/ring/check").text
    assert "<b>Not known.</b> Only a part of the ring could be seen: 4 nodes." in html


def test_a_check_that_failed_is_said_on_the_page(ring, client: FlaskClient):
    ring.error = PeerUnreachable("all <gone>")
    answer = client.get("/admin/ring/check")
    assert answer.status_code == 503
    assert "The ring could not be checked: all &lt;gone&gt;" in answer.text


def test_events_are_shown_newest_first_with_what_went_and_what_came(ring, client: FlaskClient):
    assert "Nothing yet." in client.get("/admin/events").text
    one, two, three = ring.peers[:3]
    ring.journal = [
        Event(1, 1_700_000_000.0, "predecessor", (), (one,), "notified"),
        Event(2, 1_700_000_001.0, "successors", (one, two), (two, three), "pulled from the successor"),
    ]
    html = client.get("/admin/events").text
    assert re.findall(r'<tr data-key="(\d+)"', html) == ["2", "1"]
    assert "2023-11-14 22:13:21" in html
    newest = html[html.index('data-key="2"') : html.index('data-key="1"')]
    assert re.findall(r'aria-label="(\w+)".*?"address">([^<]+)<', newest) == [
        ("gone", one.address),
        ("new", three.address),
    ]


def test_the_overview_tells_of_health_lost_peers_and_a_second_ring(ring, client: FlaskClient):
    html = client.get("/admin/").text
    assert "keeps up" in html
    assert "agree with this node" in html
    assert "second ring" not in html
    lost = ring.peers[4]
    ring.changes |= {"health_score": 2, "lost": (lost,), "second_ring": (lost,), "consistent": False}
    html = client.get("/admin/").text
    assert "waits 3 times as long" in html
    assert "do not agree" in html
    assert "There is a second ring of this name." in html
    assert "in another ring" in html
