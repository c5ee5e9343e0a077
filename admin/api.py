"""The JSON under /admin/api/."""

import re

from flask import Blueprint, Response, jsonify, request
from werkzeug.exceptions import BadRequest

from gdht.core.ident import key_ident

from .ring_view import ring_view
from .serialize import check_json, events_json, key_json, node_json, ring_json, trace_json, walk_json
from .source import Source

EVENTS_MAX = 500
"""How many events one answer holds at the most, and unless less is asked for."""

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
        routes.add_url_rule("/keys/<key>", "key", self.key)
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
        return jsonify(walk_json(self._source.walk()))

    def check(self) -> Response:
        """Whether the ring is right; one that is not is an answer too."""
        return jsonify(check_json(self._source.check()))

    def events(self) -> Response:
        """What happened to this node's pointers after event `since`, the oldest `limit` of it."""
        limit = min(_number("limit", EVENTS_MAX), EVENTS_MAX)
        last = max((event.number for event in self._source.events(0)), default=0)
        return jsonify(events_json(self._source.events(_number("since", 0)), last, limit))

    def view(self) -> Response:
        """What the ring page draws; made for that page, and free to change with it."""
        return jsonify(ring_view(self._source))

    def key(self, key: str) -> tuple[Response, int]:
        """Who should hold a key and who does; 503 when its owner cannot be found."""
        report = self._source.where(bytes.fromhex(_checked(key)))
        return jsonify(key_json(report)), 503 if report.error else 200

    def trace(self, key: str) -> Response:
        """A lookup step by step; a failed lookup is an answer too."""
        return jsonify(trace_json(self._source.trace(key_ident(bytes.fromhex(_checked(key))))))


def _number(name: str, default: int) -> int:
    """A whole number from the query."""
    text = request.args.get(name)
    if text is None:
        return default
    if not re.fullmatch("[0-9]{1,18}", text):
        raise BadRequest(f"{name} is a whole number of 0 or more")
    return int(text)


def _checked(key: str) -> str:
    if not HEX_KEY.fullmatch(key):
        raise BadRequest(f"a key is 64 hex digits; this has {len(key)} characters")
    return key
