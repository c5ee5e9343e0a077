"""Long answers in short turns: pages are rendered, and JSON is written, piece by piece, and others run in between.

The answer leaves when it is whole, so what comes out is the same as if it had been made at once.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from flask import Response, current_app, stream_template

from gdht.node.pace import Pace

LEVELS = 2
"""How deep JSON is taken apart: the fields of an answer, and the elements of those that are lists."""


def page(turns: Pace, template: str, **context: object) -> str:
    """A page from a template. Switches: as `turns` does."""
    return "".join(turns.over(stream_template(template, **context)))


def json_answer(turns: Pace, value: Mapping[str, Any]) -> Response:
    """What `jsonify` answers. Switches: as `turns` does."""
    text = "".join(turns.over(_pieces(value, LEVELS)))
    return Response(f"{text}\n", mimetype="application/json")


def _pieces(value: object, levels: int) -> Iterator[str]:
    if not levels or not value or not isinstance(value, dict | list):
        yield current_app.json.dumps(value, separators=(",", ":"))
    elif isinstance(value, dict):
        for index, (name, inner) in enumerate(value.items()):
            yield f"{',' if index else '{'}{current_app.json.dumps(name)}:"
            yield from _pieces(inner, levels - 1)
        yield "}"
    else:
        for index, inner in enumerate(value):
            yield "," if index else "["
            yield from _pieces(inner, levels - 1)
        yield "]"
