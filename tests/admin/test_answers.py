"""Long answers give way to others while they are made, and are the same as if they had been made at once."""

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from flask import Flask, jsonify
from flask.testing import FlaskClient

from gdht.admin import create_app, create_warm_app, serialize_keys
from gdht.admin.answers import json_answer
from gdht.admin.source import Source
from gdht.core.placement import Role
from gdht.core.records import Version
from gdht.node import pace
from gdht.node.failures import FailedRequest
from gdht.node.journal import Event
from gdht.node.keys import HeldKey
from gdht.node.pace import STEADY, Pace

LONG = (
    "/metrics",
    "/admin/ring",
    "/admin/api/ring/view",
    "/admin/api/ring/walk",
    "/admin/api/ring/check",
    "/admin/keys?limit=1000",
    "/admin/api/keys?limit=1000",
    "/admin/events",
    "/admin/api/events",
    "/admin/requests",
    "/admin/api/requests",
)


@pytest.fixture
def given_way() -> list[None]:
    """One entry for each time that others were let run."""
    return []


@pytest.fixture
def make_busy_ring(make_ring: Callable[..., Any], monkeypatch) -> Callable[[], Any]:
    """`make_busy_ring()`: a faked ring with something to tell of everything, at a moment that stands still."""
    monkeypatch.setattr(serialize_keys, "time", SimpleNamespace(time=lambda: 1_700_000_000.0))

    def make() -> Any:
        ring = make_ring(40)
        keys = sorted(bytes([number]) * 32 for number in range(40))
        version = Version(1_700_000_000_123 << 16, 5)
        ring.held = [HeldKey(key, Role.OWNED, version, 12.5, 100, 3, False) for key in keys]
        ring.journal = [Event(n, 1.7e9, "successors", tuple(ring.peers[:3]), (), "pulled") for n in range(1, 40)]
        ring.failed = [FailedRequest(n, 1.6e9, "get", key, "timeout", "a <b>", 0, 0, 0.1) for n, key in enumerate(keys)]
        return ring

    return make


@pytest.fixture
def long_client(make_busy_ring: Callable[[], Any], given_way: list[None], monkeypatch) -> FlaskClient:
    """Asks a node whose turns are over after every step."""
    monkeypatch.setattr(pace, "TURN_S", -1.0)
    ring = make_busy_ring()
    return create_app(ring.status, ring, ring, "", lambda: given_way.append(None)).test_client()


@pytest.mark.parametrize("path", LONG)
def test_others_run_while_a_long_answer_is_made(long_client, given_way, path):
    assert long_client.get(path).status_code == 200
    assert len(given_way) > 10


def test_a_short_answer_is_made_at_once(ring, given_way):
    client = create_app(ring.status, ring, ring, "", lambda: given_way.append(None)).test_client()
    for path in ("/livez", "/readyz", "/health"):
        client.get(path)
    assert given_way == []


@pytest.mark.parametrize("path", LONG[1:])
def test_an_answer_in_turns_is_the_same_as_one_made_at_once(long_client, make_busy_ring, path):
    in_turns = long_client.get(path)
    ring = make_busy_ring()
    at_once = create_app(ring.status, ring, ring).test_client().get(path)
    assert (in_turns.data, list(in_turns.headers)) == (at_once.data, list(at_once.headers))


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"empty": [], "none": None, "nested": {}},
        {"list": [1, "two", [3.5, {"four": [None]}], {"é": "\u2028 <&>"}], "text": 'a "b"', "last": {"x": [1, [2]]}},
        {"tuple": (1, 2), "version": Version(1, 2)},
    ],
)
def test_json_in_pieces_is_what_flask_writes(app: Flask, value):
    with app.test_request_context():
        ours, theirs = json_answer(STEADY, value), jsonify(value)
    assert (ours.data, list(ours.headers)) == (theirs.data, list(theirs.headers))
    assert json.loads(ours.data) is not None


def test_every_answer_has_turns_of_its_own(ring):
    source = Source(ring.status, ring, lambda: None)
    assert isinstance(source.turns(), Pace)
    assert source.turns() is not source.turns()


def test_a_warm_application_has_compiled_its_pages_before_anybody_asks(ring, monkeypatch):
    app = create_warm_app(ring.status, ring, ring, "", lambda: None)

    def compile_page(*_: object) -> None:
        raise AssertionError("a page is compiled")

    monkeypatch.setattr(type(app.jinja_env), "compile", compile_page)
    client = app.test_client()
    assert [client.get(path).status_code for path in ("/admin/", *LONG)] == [200] * (1 + len(LONG))
