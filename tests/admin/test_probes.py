"""/livez, /readyz and /health."""

import pytest
from flask.testing import FlaskClient

from gdht.node.status import State

PROBES = ("/livez", "/readyz")


@pytest.mark.parametrize("path", PROBES)
def test_a_well_node_answers_ok(client: FlaskClient, path):
    answer = client.get(path)
    assert (answer.status_code, answer.data) == (200, b"ok")
    assert answer.mimetype == "text/plain"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("path", [*PROBES, "/health", "/metrics", "/admin/", "/admin/ring", "/admin/api/node"])
def test_only_get_and_head_are_taken(client: FlaskClient, path):
    assert client.head(path).status_code == 200
    assert client.head(path).data == b""
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        answer = client.open(path, method=method)
        assert answer.status_code == 405
        assert answer.headers["Allow"] == "GET, HEAD"


def test_a_draining_node_is_live_and_not_ready(ring, client: FlaskClient):
    ring.ready["not_draining"] = False
    assert client.get("/livez").status_code == 200
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert "[-]not_draining failed: not_draining seen\n" in answer.text
    assert answer.text.endswith("readyz check failed\n")


def test_a_deaf_listener_is_not_live_and_says_which(ring, client: FlaskClient):
    ring.live["p2p_listener"] = False
    answer = client.get("/livez")
    assert answer.status_code == 503
    assert "[-]p2p_listener failed" in answer.text
    assert "[+]event_loop ok" in answer.text


def test_verbose_lists_the_checks(client: FlaskClient):
    assert client.get("/readyz?verbose").text.splitlines() == [
        "[+]joined ok: joined seen",
        "[+]successor ok: successor seen",
        "[+]stabilize ok: stabilize seen",
        "[+]store_capacity ok: store_capacity seen",
        "[+]not_draining ok: not_draining seen",
        "readyz check passed",
    ]


def test_one_check_is_asked_by_name(ring, client: FlaskClient):
    ring.ready["successor"] = False
    assert client.get("/readyz/joined").data == b"ok"
    answer = client.get("/readyz/successor")
    assert (answer.status_code, answer.text) == (503, "[-]successor failed: successor seen\n")
    assert client.get("/readyz/joined?verbose").text == "[+]joined ok: joined seen\n"


def test_an_unknown_check_is_not_found_and_the_known_ones_are_named(client: FlaskClient):
    answer = client.get("/livez/disk")
    assert answer.status_code == 404
    assert answer.text == "livez has no check 'disk'; it has: event_loop, api_listener, p2p_listener\n"


def test_an_excluded_check_does_not_count(ring, client: FlaskClient):
    ring.ready["store_capacity"] = False
    assert client.get("/readyz?exclude=store_capacity").data == b"ok"
    assert "[+]store_capacity excluded" in client.get("/readyz?exclude=store_capacity&verbose").text
    ring.ready["joined"] = False
    assert client.get("/readyz?exclude=store_capacity").status_code == 503
    assert client.get("/readyz?exclude=store_capacity&exclude=joined").status_code == 200


def test_excluding_an_unknown_check_warns_and_does_not_fail(client: FlaskClient):
    answer = client.get("/readyz?exclude=disk&verbose")
    assert answer.status_code == 200
    assert "warning: nothing to exclude: no check is named 'disk'" in answer.text


@pytest.mark.parametrize("path", [*PROBES, "/livez/event_loop", "/health", "/metrics", "/admin/", "/admin/api/node"])
def test_a_node_that_cannot_describe_itself_is_down_without_a_traceback(ring, client: FlaskClient, path):
    ring.status_error = RuntimeError("secret internals")
    answer = client.get(path)
    assert answer.status_code == 503
    assert "RuntimeError" in answer.text
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text


def test_probes_never_call_the_ring(ring, client: FlaskClient):
    ring.error = AssertionError("asked the ring")
    for path in (*PROBES, "/livez?verbose", "/readyz?verbose", "/health", "/metrics", "/admin/", "/admin/api/node"):
        assert client.get(path).status_code == 200
    assert ring.walks == 0


def test_health_tells_people_the_same(ring, client: FlaskClient):
    answer = client.get("/health")
    assert answer.status_code == 200
    assert answer.json["status"] == "ok"
    assert answer.json["state"] == "active"
    assert answer.json["node_id"] == f"{ring.me.ident:064x}"
    assert answer.json["uptime_seconds"] == 3725.5
    assert answer.json["checks"]["joined"] == {"ok": True, "detail": "joined seen"}
    assert set(answer.json["checks"]) == set(ring.ready) | set(ring.live)


def test_health_has_the_code_of_readyz(ring, client: FlaskClient):
    ring.ready["joined"] = False
    ring.changes["state"] = State.JOINING
    answer = client.get("/health")
    assert (answer.status_code, answer.json["status"], answer.json["state"]) == (503, "degraded", "joining")
    ring.live["event_loop"] = False
    assert client.get("/health").json["status"] == "down"


def test_health_of_a_node_that_cannot_describe_itself_is_still_json(ring, client: FlaskClient):
    ring.status_error = RuntimeError("boom")
    answer = client.get("/health")
    assert (answer.status_code, answer.json["status"]) == (503, "down")
