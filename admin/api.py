"""The JSON under /admin/api/."""

import re

from flask import Blueprint, Response, jsonify
from werkzeug.exceptions import BadRequest

from gdht.core.ident import key_ident

from .ring_view import ring_view
from .serialize import key_json, node_json, ring_json, trace_json, walk_json
from .source import Source

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
        routes.add_url_rule("/ring/view", "view", self.view)
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


def _checked(key: str) -> str:
    if not HEX_KEY.fullmatch(key):
        raise BadRequest(f"a key is 64 hex digits; this has {len(key)} characters")
    return key
