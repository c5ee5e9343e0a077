"""The application factory: routes, who may come in, headers on every answer, errors in the asker's language."""

import logging
from collections.abc import Callable

from flask import Flask, Response, jsonify, render_template, request
from flask.json.provider import DefaultJSONProvider
from werkzeug.exceptions import HTTPException

from gdht.errors import GdhtError
from gdht.node.status import NodeStatus

from . import text
from .access import Guard, challenge, has_token, is_open
from .actions import ActionApi, Actions
from .api import Api
from .departure import DeparturePage
from .metrics import Metrics
from .pages import Pages
from .probes import Probes
from .source import Queries, Source

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

FORM_BYTES_MAX = 4096
"""No form of ours is longer."""

logger = logging.getLogger(__name__)


def _stay() -> None:
    """Let nobody else run: there is nobody."""


def create_app(
    status: Callable[[], NodeStatus],
    queries: Queries,
    actions: Actions,
    token: str = "",
    give_way: Callable[[], None] = _stay,
) -> Flask:
    """The admin port as a WSGI application.

    status: a fresh snapshot per call, never switching. token: empty lets everybody in. give_way: lets others run; it is
    called every few milliseconds while a long answer is made.
    """
    app = Flask(__name__, static_folder=None)
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False  # Allow names only what there is
    app.config["MAX_CONTENT_LENGTH"] = FORM_BYTES_MAX
    assert isinstance(app.json, DefaultJSONProvider)
    app.json.sort_keys = False  # the order of the documentation
    app.jinja_options = {**app.jinja_options, "trim_blocks": True, "lstrip_blocks": True}
    app.jinja_env.filters.update(text.FILTERS)
    source, guard = Source(status, queries, give_way), Guard(token)
    parts = (Probes(source), Metrics(source), Api(source), Pages(source))
    acting = (ActionApi(actions, guard), DeparturePage(source, actions, guard))
    for part in (*parts, *acting):
        app.register_blueprint(part.blueprint())
    if token:
        app.before_request(lambda: _refusal(token))
    app.after_request(_with_headers)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(GdhtError, _gdht_error)
    app.register_error_handler(Exception, _bug)
    return app


def create_warm_app(
    status: Callable[[], NodeStatus], queries: Queries, actions: Actions, token: str, give_way: Callable[[], None]
) -> Flask:
    """The same with everything done that its first requests would hold others up with; takes a tenth of a second."""
    app = create_app(status, queries, actions, token, give_way)
    for name in app.jinja_env.list_templates():
        app.jinja_env.get_template(name)  # compiled, and kept
    app.url_map.update()
    return app


def _refusal(token: str) -> Response | None:
    if is_open(request.path) or has_token(token):
        return None
    hint = "this needs the admin token: Authorization: Bearer <token>; in a browser any name, the token as password"
    return challenge(_error(401, hint), request.path)


def _with_headers(response: Response) -> Response:
    response.headers.update(HEADERS)
    return response


def _http_error(error: HTTPException) -> Response:
    response = _error(error.code or 500, error.description or error.name)
    for name, value in error.get_headers():
        if name in ("Allow", "Location"):
            response.headers[name] = ", ".join(sorted(value.split(", "))) if name == "Allow" else value
    return response


def _gdht_error(error: GdhtError) -> Response:
    return _error(503 if error.retriable else 502, str(error))


def _bug(error: Exception) -> Response:
    logger.error("%s %s failed", request.method, request.path, exc_info=error)
    return _error(500, "an error inside this node; its log has the details")


def _error(code: int, message: str) -> Response:
    if f"{request.path}/".startswith("/admin/api/"):
        response = jsonify(error=message)
    elif request.path.startswith("/admin"):
        response = Response(render_template("error.html", code=code, message=message), mimetype="text/html")
    else:
        response = Response(message + "\n", mimetype="text/plain")
    response.status_code = code
    return response
