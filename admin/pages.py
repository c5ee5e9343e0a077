"""The pages under /admin/ for a browser; they work without JavaScript, which only keeps them fresh."""

from collections.abc import Callable, Mapping
from math import log2
from typing import TypeVar

from flask import Blueprint, Response, jsonify, make_response, redirect, request
from werkzeug.wrappers import Response as WerkzeugResponse

from gdht.core.ident import key_ident
from gdht.core.placement import Role
from gdht.errors import GdhtError
from gdht.node.failures import FAILURES_MAX, NOT_FOUND_MAX
from gdht.node.journal import EVENTS_MAX, Event
from gdht.node.stats import Histogram
from gdht.node.status import NodeStatus

from .answers import page
from .api import KEYS_MAX, checked_key, checked_number, checked_role
from .metric_table import OPERATIONS
from .quantiles import quantile
from .ring_layout import shape_path
from .ring_view import ROLES, ring_view
from .serialize import ring_json
from .source import Source
from .text import KEY_FORM, admin_url, parse_key
from .verdict import verdict

VIOLATIONS_SHOWN_MAX = 20
EVENTS_SHOWN_MAX = 200
REQUESTS_SHOWN_MAX = 200
KEYS_SHOWN_MAX = 50

MOODS = {"held": "good", "impaired": "", "expired": "", "absent": "bad", "unknown": "bad"}
"""How the verdict on a key is coloured."""

Answer = TypeVar("Answer")


class Pages:
    """What a person sees of one node."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def blueprint(self) -> Blueprint:
        """The routes, and the files they use."""
        routes = Blueprint("pages", __name__, static_folder="static", static_url_path="/admin/static")
        routes.add_url_rule("/", "root", _to_overview)
        routes.add_url_rule("/admin/", "overview", self.overview)
        routes.add_url_rule("/admin/ring", "ring", self.ring)
        routes.add_url_rule("/admin/ring/check", "check", self.check)
        routes.add_url_rule("/admin/keys", "keys", self.keys)
        routes.add_url_rule("/admin/trace", "trace", self.trace)
        routes.add_url_rule("/admin/events", "events", self.events)
        routes.add_url_rule("/admin/requests", "requests", self.requests)
        return routes

    def overview(self) -> str:
        """This node: its state, neighbours and numbers."""
        status = self._source.status()
        return self._page("overview.html", status=status, admin_url=admin_url, **_numbers(status))

    def ring(self) -> Response:
        """The ring as a drawing and a table; JSON for those who ask for it."""
        types = request.accept_mimetypes
        if types["application/json"] > types["text/html"]:
            return jsonify(ring_json(self._source.status()))
        shapes = {role: shape_path(role, 7) for role in ROLES}
        view = ring_view(self._source)
        status = self._source.status()
        return make_response(self._page("ring.html", status=status, view=view, legend=shapes, check=None, shown_max=0))

    def check(self) -> tuple[str, int]:
        """Whether the ring is right, and what is wrong with it."""
        code, check, problem = 200, None, ""
        try:
            check = self._source.check()
        except GdhtError as error:
            code, problem = (503 if error.retriable else 502), str(error)
        status = self._source.status()
        parts = {"check": check, "problem": problem, "shown_max": VIOLATIONS_SHOWN_MAX}
        return self._page("check.html", status=status, **parts), code

    def events(self) -> str:
        """What happened to this node's pointers, newest first."""
        newest = self._source.turns().over(reversed(self._source.events(0)[-EVENTS_SHOWN_MAX:]))
        return self._page(
            "events.html",
            status=self._source.status(),
            rows=[_event_row(event) for event in newest],
            shown_max=EVENTS_SHOWN_MAX,
            remembered_max=EVENTS_MAX,
        )

    def requests(self) -> tuple[str, int]:
        """Which requests of clients did not succeed lately, and why."""
        code, asked, found, problem = self._asked(self._source.failures)
        text = self._page(
            "requests.html",
            status=self._source.status(),
            asked=asked,
            requests=(found if asked else self._source.failures()) or (),
            problem=problem,
            form=KEY_FORM,
            shown_max=REQUESTS_SHOWN_MAX,
            failures_max=FAILURES_MAX,
            not_found_max=NOT_FOUND_MAX,
        )
        return text, code

    def keys(self) -> tuple[str, int]:
        """Where a key should be, and where it is; without one, which keys this node keeps."""
        code, asked, report, problem = self._asked(self._source.where)
        if asked:
            code = 503 if report and report.error else code
            status = self._source.status()
            parts = {"report": report, "verdict": report and verdict(report), "moods": MOODS}
            return self._page("keys.html", status=status, asked=asked, problem=problem, form=KEY_FORM, **parts), code
        return self._own_keys(), code

    def _own_keys(self) -> str:
        role = checked_role(request.args.get("role", ""))
        after = request.args.get("after", "")
        limit = min(checked_number("limit", KEYS_SHOWN_MAX, least=1), KEYS_MAX)
        held = self._source.keys(role, checked_key(after) if after else b"", limit)
        parts = {"page": held, "role": role, "roles": list(Role), "limit": limit}
        return self._page("keys.html", status=self._source.status(), asked="", form=KEY_FORM, **parts)

    def trace(self) -> tuple[str, int]:
        """How a lookup of a key goes, step by step."""
        code, asked, trace, problem = self._asked(lambda key: self._source.trace(key_ident(key)))
        status = self._source.status()
        ideal = log2(max(1.0, status.estimated_nodes)) / 2
        text = self._page(
            "trace.html", status=status, asked=asked, trace=trace, problem=problem, form=KEY_FORM, ideal=ideal
        )
        return text, code

    def _page(self, template: str, **context: object) -> str:
        return page(self._source.turns(), template, **context)

    def _asked(self, ask: Callable[[bytes], Answer]) -> tuple[int, str, Answer | None, str]:
        """Ask about the key of the form: status code, what was typed, the answer if any, and what went wrong."""
        asked = request.args.get("key", "")
        if not asked:
            return 200, "", None, ""
        try:
            return 200, asked, ask(parse_key(asked)), ""
        except ValueError as error:
            return 400, asked, None, f"This is not a key: {error}."
        except GdhtError as error:
            return (503 if error.retriable else 502), asked, None, f"The ring could not be asked: {error}"


def _to_overview() -> WerkzeugResponse:
    return redirect("/admin/")


def _event_row(event: Event) -> dict[str, object]:
    """An event, and of its peers those that went and those that came."""
    return {
        "event": event,
        "gone": [peer for peer in event.before if peer not in event.after],
        "new": [peer for peer in event.after if peer not in event.before],
    }


def _numbers(status: NodeStatus) -> dict[str, object]:
    """Rows of the overview's tables: a word, its results, its times (median and 99th percentile), its mean hops."""
    stats = status.stats
    purposes = sorted({purpose for purpose, _ in stats.lookups})
    return {
        "requests": [_row(operation, stats.api_requests, stats.api_request_duration) for operation in OPERATIONS],
        "lookups": [
            {**_row(purpose, stats.lookups, stats.lookup_duration), "hops": _mean(stats.lookup_hops.get(purpose))}
            for purpose in purposes
        ],
    }


def _row(word: str, counts: Mapping[tuple[str, str], int], times: Mapping[str, Histogram]) -> dict[str, object]:
    results = {result: n for (name, result), n in sorted(counts.items()) if name == word and n}
    spread = times.get(word)
    return {
        "word": word,
        "total": sum(results.values()),
        "results": results,
        "times": [quantile(spread, q) if spread else None for q in (0.5, 0.99)],
    }


def _mean(spread: Histogram | None) -> float | None:
    return spread.total / spread.count if spread and spread.count else None
