"""The JSON under /admin/api/."""

import re

from flask import Blueprint, Response, jsonify, request
from werkzeug.exceptions import BadRequest

from gdht.core.ident import key_ident
from gdht.core.placement import Role
from gdht.node.failures import FAILURES_MAX, NOT_FOUND_MAX

from .answers import json_answer
from .ring_view import ring_view
from .serialize import check_json, events_json, node_json, ring_json, trace_json, walk_json
from .serialize_keys import key_json, keys_json, requests_json
from .source import Source

EVENTS_MAX = 500
"""How many events one answer holds at the most, and unless less is asked for."""

KEYS_MAX = 1000
"""How many keys one answer holds at the most."""

KEYS_DEFAULT = 100
"""How many unless more or less is asked for."""

REQUESTS_MAX = FAILURES_MAX + NOT_FOUND_MAX

HEX_KEY = re.compile(r"[0-9a-fA-F]{64}")


class Api:
    """What programs ask of one node."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def blueprint(self) -> Blueprint:
        """The routes."""
        routes = Blueprint("api", __name__, url_prefix="/admin/api")
        routes.add_url_rule("/node", "node", self.node)
        routes.add_url_rule("/ring", "ring", self.ring)
        routes.add_url_rule("/ring/walk", "walk", self.walk)
        routes.add_url_rule("/ring/check", "check", self.check)
        routes.add_url_rule("/ring/view", "view", self.view)
        routes.add_url_rule("/events", "events", self.events)
        routes.add_url_rule("/keys", "keys", self.keys)
        routes.add_url_rule("/keys/<key>", "key", self.key)
        routes.add_url_rule("/requests", "requests", self.requests)
        routes.add_url_rule("/trace/<key>", "trace", self.trace)
        return routes

    def node(self) -> Response:
        """This node: checks, numbers, neighbours."""
        return jsonify(node_json(self._source.status()))

    def ring(self) -> Response:
        """This node's place in the ring."""
        return jsonify(ring_json(self._source.status()))

    def walk(self) -> Response:
        """Every node of the ring."""
        walk, turns = self._source.walk(), self._source.turns()
        return json_answer(turns, walk_json(walk, turns))

    def check(self) -> Response:
        """Whether the ring is right; one that is not is an answer too."""
        check, turns = self._source.check(), self._source.turns()
        return json_answer(turns, check_json(check, turns))

    def events(self) -> Response:
        """What happened to this node's pointers after event `since`, the oldest `limit` of it."""
        limit = min(checked_number("limit", EVENTS_MAX), EVENTS_MAX)
        last = max((event.number for event in self._source.events(0)), default=0)
        events, turns = self._source.events(checked_number("since", 0)), self._source.turns()
        return json_answer(turns, events_json(events, last, limit, turns))

    def view(self) -> Response:
        """What the ring page draws; made for that page, and free to change with it."""
        return json_answer(self._source.turns(), {**ring_view(self._source)})

    def key(self, key: str) -> tuple[Response, int]:
        """Who should hold a key and who does; 503 when its owner cannot be found."""
        report = self._source.where(checked_key(key))
        return jsonify(key_json(report)), 503 if report.error else 200

    def keys(self) -> Response:
        """The keys this node keeps, by pages: `role`, `after` a key, at most `limit`."""
        role, after = checked_role(request.args.get("role", "")), request.args.get("after", "")
        limit = min(checked_number("limit", KEYS_DEFAULT, least=1), KEYS_MAX)
        page, turns = self._source.keys(role, checked_key(after) if after else b"", limit), self._source.turns()
        return json_answer(turns, keys_json(page, turns))

    def requests(self) -> Response:
        """Recent requests of clients that did not succeed, newest first, of one `key` or all."""
        key = request.args.get("key")
        found = self._source.failures(None if key is None else checked_key(key))
        turns = self._source.turns()
        return json_answer(turns, requests_json(found[: checked_number("limit", REQUESTS_MAX)], turns))

    def trace(self, key: str) -> Response:
        """A lookup step by step; a failed lookup is an answer too."""
        return jsonify(trace_json(self._source.trace(key_ident(checked_key(key)))))


def checked_number(name: str, default: int, least: int = 0) -> int:
    """A whole number from the query. Raises: BadRequest."""
    text = request.args.get(name)
    if text is None:
        return default
    if not re.fullmatch("[0-9]{1,18}", text) or int(text) < least:
        raise BadRequest(f"{name} is a whole number of {least} or more")
    return int(text)


def checked_role(word: str) -> Role | None:
    """The role of that name, None for an empty one. Raises: BadRequest."""
    try:
        return Role(word) if word else None
    except ValueError as error:
        raise BadRequest(f"a role is one of {', '.join(role.value for role in Role)}") from error


def checked_key(key: str) -> bytes:
    """The 32 bytes of 64 hex digits. Raises: BadRequest."""
    if not HEX_KEY.fullmatch(key):
        raise BadRequest(f"a key is 64 hex digits; this has {len(key)} characters")
    return bytes.fromhex(key)
